package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine/envelope"
	"leasehold/internal/errs"
)

var roomy = limits{bytes: 1 << 20, memory: 1 << 24, strings: 1000}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	n := func(s string) json.Number { return json.Number(s) }
	for _, test := range []struct {
		name, body string
		want       map[string]any
		err        string
	}{
		{name: "nothing", body: ""},
		{name: "blanks", body: " \r\n\t"},
		{name: "null", body: "null"},
		{name: "empty", body: "{}", want: map[string]any{}},
		{name: "kinds", body: `{"a":1,"b":"x","c":true,"d":null,"e":[1,"y"],"f":{"g":2}}`, want: map[string]any{
			"a": n("1"), "b": "x", "c": true, "d": nil, "e": []any{n("1"), "y"}, "f": map[string]any{"g": n("2")}}},
		{name: "numbers keep their text", body: `{"a":12345678901234567890,"b":1.50,"c":1e3}`, want: map[string]any{
			"a": n("12345678901234567890"), "b": n("1.50"), "c": n("1e3")}},
		{name: "a key twice", body: `{"a":{"x":1},"a":{"y":2}}`, want: map[string]any{"a": map[string]any{"y": n("2")}}},
		{name: "escapes", body: `{"a":"\"}\\","b":"\u00e9"}`, want: map[string]any{"a": `"}\`, "b": "é"}},
		{name: "array", body: "[1,2]", err: "failed to decode JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{name: "text", body: `"x"`, err: "failed to decode JSON input: json: cannot unmarshal string into Go value of type map[string]interface {}"},
		{name: "number", body: `7`, err: "failed to decode JSON input: json: cannot unmarshal number into Go value of type map[string]interface {}"},
		{name: "boolean", body: `true`, err: "failed to decode JSON input: json: cannot unmarshal bool into Go value of type map[string]interface {}"},
		{name: "broken", body: `{"v": `, err: "failed to decode JSON input: unexpected EOF"},
		{name: "not JSON", body: `a=b`, err: "failed to decode JSON input: invalid character"},
		{name: "text after", body: `{} x`, err: "failed to decode JSON input: text after the object"},
		{name: "object after", body: `{}{}`, err: "failed to decode JSON input: text after the object"},
		{name: "deep", body: `{"a":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + "}", err: "exceeded maximum depth"},
		{name: "strings", body: `{"a":[` + strings.Repeat(`"",`, 1000) + `""]}`,
			err: "refused JSON input due to high complexity: exceeded maximum number of strings"},
		{name: "memory", body: `{"a":[` + strings.Repeat(`0,`, 400000) + `0]}`, err: "exceeded maximum memory"},
	} {
		got, err := decodeJSON([]byte(test.body), roomy)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || errs.CodeOf(err) != errs.Invalid {
				t.Errorf("%s: got %v, want %q", test.name, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestDecodeForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		contentType, body string
		form              bool
	}{
		{"application/x-www-form-urlencoded", "v=form", true},
		{"application/x-www-form-urlencoded; charset=utf-8", "v=form", true},
		{"application/x-www-form-urlencoded", ` {"v":"json"}`, false},
		{"application/x-www-form-urlencoded", "[1]", false},
		{"application/x-www-form-urlencoded", "", false},
		{"text/plain", "v=form", false},
		{"", "v=form", false},
	} {
		if got := isForm(test.contentType, []byte(test.body)); got != test.form {
			t.Errorf("isForm(%q, %q) = %v", test.contentType, test.body, got)
		}
	}
	got, err := decodeForm([]byte("v=form&w=a&w=b&x="), roomy)
	if diff := cmp.Diff(map[string]any{"v": "form", "w": "a,b", "x": ""}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := decodeForm([]byte("a=%zz"), roomy); err == nil {
		t.Error("a broken form was accepted")
	}
}

// FuzzDecodeJSON: what passes is what the standard decoder reads, alone in the body, and survives our encoder.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"a":1}`, `{"a":[1,{"b":"\ud800"}],"a":2}`, `{"a":"\\\""}`, "{\"a\":\"\xff\"}", `[`, `{"a":1e999}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeJSON(body, roomy)
		if err != nil {
			if errs.CodeOf(err) != errs.Invalid {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if got == nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is not JSON and was accepted", body)
		}
		encoded, err := envelope.AppendValue(nil, got)
		if err != nil {
			t.Fatalf("%q: encode: %v", body, err)
		}
		var again map[string]any
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		decoder.UseNumber()
		if err := decoder.Decode(&again); err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("%q: %#v was encoded as %s: %v", body, got, encoded, err)
		}
	})
}
