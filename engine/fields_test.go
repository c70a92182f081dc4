package engine_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   any
		want time.Duration
		err  string
	}{
		{in: nil, want: 0},
		{in: "", want: 0},
		{in: "0", want: 0},
		{in: json.Number("90"), want: 90 * time.Second},
		{in: "90", want: 90 * time.Second},
		{in: "90s", want: 90 * time.Second},
		{in: "1.5h", want: 90 * time.Minute},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "250ms", want: 0},
		{in: "1500ms", want: time.Second},
		{in: "2d", want: 48 * time.Hour},
		{in: json.Number("90.0"), err: "could not parse"},
		{in: json.Number("1e3"), err: "could not parse"},
		{in: json.Number("-1"), err: "negative"},
		{in: "-1", err: "negative"},
		{in: "-1h", err: "negative"},
		{in: "-2d", err: "negative"},
		{in: "1d12h", err: "unknown unit"},
		{in: "1w", err: "unknown unit"},
		{in: "abc", err: `invalid duration "abc"`},
		{in: "1h x", err: "unknown unit"},
		{in: true, err: "boolean"},
		{in: []any{json.Number("1")}, err: "array"},
		{in: json.Number("9223372036854775807"), err: "too long"},
		{in: "99999999999999d", err: "too long"},
	}
	for _, test := range tests {
		got, err := engine.ParseDuration(test.in)
		if test.err == "" && (err != nil || got != test.want) {
			t.Errorf("%v: got %v, %v, want %v", test.in, got, err, test.want)
		}
		if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%v: got %v, %v, want an error with %q", test.in, got, err, test.err)
		}
	}
}

// FuzzParseDuration: what is accepted is whole seconds, not negative, and means the same when it is given as seconds.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"", "0", "90", "1h30m", "2d", "1.5h", "-1", "9223372036854775807", "1d12h", "106751d", "1e9h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := engine.ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 || d%time.Second != 0 {
			t.Fatalf("%q: %v", text, d)
		}
		again, err := engine.ParseDuration(json.Number(strconv.FormatInt(int64(d/time.Second), 10)))
		if err != nil || again != d {
			t.Fatalf("%q: %v, then %v, %v", text, d, again, err)
		}
	})
}

// answer runs one request through a router with one path and returns the fields that its handler saw.
func answer(t *testing.T, schema engine.Schema, data map[string]any) (*engine.Fields, error) {
	t.Helper()
	var seen *engine.Fields
	router := engine.NewRouter(&engine.Path{Pattern: "x", Fields: schema, Ops: engine.Ops{
		engine.Update: func(_ context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
			seen = f
			return nil, nil
		},
	}})
	_, err := router.Handle(t.Context(), &engine.Request{Operation: engine.Update, Path: "x", Data: data})
	return seen, err
}

func TestFields(t *testing.T) {
	t.Parallel()
	f, err := answer(t, engine.Schema{
		"text": engine.Text, "number": engine.Text, "flag": engine.Text, "int": engine.Int, "intText": engine.Int, "yes": engine.Bool,
		"one": engine.Bool, "list": engine.CommaList, "array": engine.CommaList, "empty": engine.CommaList, "single": engine.TextList,
		"map": engine.TextMap, "pairs": engine.TextMap, "ttl": engine.Duration, "null": engine.Text,
	}, map[string]any{
		"text": "a", "number": json.Number("7"), "flag": true, "int": json.Number("7"), "intText": "7", "yes": "true", "one": json.Number("1"),
		"list": " a, b,c,, ", "array": []any{" a ", json.Number("1")}, "empty": "", "single": "one, two", "map": map[string]any{"k": true},
		"pairs": []any{"a=1", "b=x=y"}, "ttl": "1m", "null": nil, "unknown": "z",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{
		"text": f.Text("text"), "number": f.Text("number"), "flag": f.Text("flag"), "int": f.Int("int"), "intText": f.Int("intText"),
		"yes": f.Bool("yes"), "one": f.Bool("one"), "list": f.List("list"), "array": f.List("array"), "empty": f.List("empty"),
		"single": f.List("single"), "map": f.Map("map"), "pairs": f.Map("pairs"), "ttl": f.Duration("ttl"),
	}
	want := map[string]any{
		"text": "a", "number": "7", "flag": "1", "int": 7, "intText": 7, "yes": true, "one": true, "list": []string{"a", "b", "c"},
		"array": []string{"a", "1"}, "empty": []string{}, "single": []string{"one, two"}, "map": map[string]string{"k": "1"},
		"pairs": map[string]string{"a": "1", "b": "x=y"}, "ttl": time.Minute,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if f.Has("null") || !f.Given("null") || f.Has("missing") || f.Given("missing") {
		t.Error("null is given and has no value; what is missing is neither")
	}
	if f.Text("missing") != "" || f.Int("missing") != 0 || !f.BoolOr("missing", true) {
		t.Error("a missing field does not read as its zero value")
	}
}

func TestFieldsRefuse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kind  engine.Kind
		value any
		want  string
	}{
		{engine.Text, []any{}, "unconvertible type 'array'"},
		{engine.Int, "many", "strconv.ParseInt: invalid syntax"},
		{engine.Int, json.Number("1.5"), "strconv.ParseInt: invalid syntax"},
		{engine.Int, json.Number("99999999999999999999"), "value out of range"},
		{engine.Bool, "perhaps", "strconv.ParseBool: invalid syntax"},
		{engine.Duration, "soon", `invalid duration "soon"`},
		{engine.TextMap, "x", `invalid key pair "x"`},
		{engine.TextMap, json.Number("1"), "expected a map"},
		{engine.Object, "x", "expected an object"},
	}
	for _, test := range tests {
		_, err := answer(t, engine.Schema{"f": test.kind}, map[string]any{"f": test.value})
		if errs.CodeOf(err) != errs.Invalid || !strings.Contains(err.Error(), `for field "f": `) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want an Invalid with %q", test.value, err, test.want)
		}
	}
}
