package envelope

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leasehold/engine"
	"leasehold/internal/secret"
)

func TestAppendValue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   any
		want string
	}{
		{nil, "null"},
		{"a\"\\\n\t\r\x01<>&é\xff\u2028", `"a\"\\\n\t\r\u0001<>&é\ufffd` + "\u2028" + `"`},
		{secret.NewText("s3cret"), `"s3cret"`},
		{true, "true"},
		{-5, "-5"},
		{int64(math.MaxInt64), "9223372036854775807"},
		{uint8(7), "7"},
		{1.5, "1.5"},
		{float64(3), "3"},
		{1e300, "1e+300"},
		{json.Number("12345678901234567890"), "12345678901234567890"},
		{json.Number("-1.50e3"), "-1.50e3"},
		{json.Number(""), "0"},
		{time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), `"2026-01-02T03:04:05.0000006Z"`},
		{[]string{"a", "b"}, `["a","b"]`},
		{[]string{}, "[]"},
		{[]string(nil), "null"},
		{[]any{1, "x", nil}, `[1,"x",null]`},
		{[]any(nil), "null"},
		{map[string]any{"b": 1, "a": map[string]string{"y": "2", "x": "1"}}, `{"a":{"x":"1","y":"2"},"b":1}`},
		{map[string]any{}, "{}"},
		{map[string]any(nil), "null"},
		{map[string]string(nil), "null"},
		{map[string]bool{"z": true}, `{"z":true}`},
		{[]map[string]any{{"a": nil}}, `[{"a":null}]`},
		{json.RawMessage(`{"raw":1}`), `{"raw":1}`},
	} {
		got, err := AppendValue(nil, test.in)
		if err != nil || string(got) != test.want {
			t.Errorf("%#v: %s %v, want %s", test.in, got, err, test.want)
		}
	}
	for _, bad := range []any{math.NaN(), json.Number("1x"), make(chan int), map[string]any{"a": []any{func() {}}}} {
		if got, err := AppendValue(nil, bad); err == nil {
			t.Errorf("%T was encoded as %s", bad, got)
		}
	}
}

// FuzzAppendText: whatever a text holds, it comes out as one JSON text with the same value.
func FuzzAppendText(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\x00\x1f\u2028\xff\xc0\xaf")
	f.Fuzz(func(t *testing.T, in string) {
		var out string
		encoded := AppendText(nil, in)
		if err := json.Unmarshal(encoded, &out); err != nil {
			t.Fatalf("%q became %s: %v", in, encoded, err)
		}
		if want := strings.ToValidUTF8(in, "\ufffd"); utf8.ValidString(in) && out != in || !utf8.ValidString(in) && len(out) < len(want) {
			t.Fatalf("%q came back as %q", in, out)
		}
	})
}

func credentials() *engine.Response {
	return &engine.Response{
		Data:   map[string]any{"username": "v-token-app-kQ2fXw8sTzR1mVbN3pLc-1795328640", "password": "A1a-hT7vZk2Qd9WcXs4R"},
		Secret: &engine.Secret{LeaseID: "database/creds/app/8sTzR1mVbN3pLcA1ahT7vZk2", Duration: time.Hour, Renewable: true},
	}
}

const benchID = "3ebd9daa-1f82-4ab9-9265-5ec03c99b51f"

func TestEnvelopeIsWhatEncodingJSONReads(t *testing.T) {
	t.Parallel()
	encoded, err := Append(nil, benchID, credentials(), "database")
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatalf("%s: %v", encoded, err)
	}
	if err := json.Unmarshal(viaStandardLibrary(t, credentials()), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func viaStandardLibrary(t testing.TB, r *engine.Response) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		ID            string         `json:"request_id"`
		LeaseID       string         `json:"lease_id"`
		Renewable     bool           `json:"renewable"`
		LeaseDuration int            `json:"lease_duration"`
		Data          map[string]any `json:"data"`
		WrapInfo      any            `json:"wrap_info"`
		Warnings      []string       `json:"warnings"`
		Auth          any            `json:"auth"`
		MountType     string         `json:"mount_type"`
	}{benchID, r.Secret.LeaseID, r.Secret.Renewable, int(r.Secret.Duration / time.Second), r.Data, nil, nil, nil, "database"})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkAnswer: what does it cost to write the answer of database/creds, against encoding/json?
func BenchmarkAnswer(b *testing.B) {
	resp := credentials()
	buffer := make([]byte, 0, 2048)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buffer, err = Append(buffer[:0], benchID, resp, "database"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			viaStandardLibrary(b, resp)
		}
	})
}
