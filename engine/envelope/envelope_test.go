package envelope_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/engine/envelope"
	"leasehold/internal/secret"
)

const id = "3ebd9daa-1f82-4ab9-9265-5ec03c99b51f"

func encode(t testing.TB, r *engine.Response) string {
	t.Helper()
	text, err := envelope.Append(nil, id, r, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What was read again is written as it was before.
func TestParseReadsWhatAppendWrites(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*engine.Response{
		"nothing":  {},
		"no data":  {Data: map[string]any{}},
		"warnings": {Warnings: []string{"a", "<b>"}},
		"lease":    {Data: map[string]any{"password": secret.NewText("s3cret")}, Secret: &engine.Secret{LeaseID: "a/b/c", Duration: time.Hour, Renewable: true}},
		"hint":     {Data: map[string]any{"v": nil}, Secret: &engine.Secret{Duration: 768 * time.Hour}},
		"values": {Data: map[string]any{
			"big": json.Number("12345678901234567890"), "f": json.Number("1.50"), "e": json.Number("1E5"), "u": "é世<>&\u2028", "b": false,
			"deep": map[string]any{"list": []any{json.Number("1"), map[string]any{"z": []string{"x"}}}}, "at": time.Unix(1, 5).UTC(),
		}},
		"token": {Auth: &engine.Auth{
			ClientToken: secret.NewText("hvs.x"), Accessor: "acc", Policies: []string{"default", "p"}, TokenPolicies: []string{"p"},
			IdentityPolicies: []string{"i"}, Metadata: map[string]string{"a": "b"}, Duration: time.Minute, Renewable: true, EntityID: "e",
			TokenType: "service", Orphan: true, NumUses: 3,
		}},
		"batch token": {Auth: &engine.Auth{ClientToken: secret.NewText("hvb.x"), TokenType: "batch"}},
	} {
		t.Run(name, func(t *testing.T) {
			written := encode(t, r)
			read, err := envelope.Parse([]byte(written))
			if err != nil {
				t.Fatal(err)
			}
			if again := encode(t, read); again != written {
				t.Errorf("got  %s\nwant %s", again, written)
			}
			if read.Empty() != r.Empty() {
				t.Errorf("empty: %t, want %t", read.Empty(), r.Empty())
			}
		})
	}
}

// Of a wrapped answer nothing is written but where it is.
func TestWrappedAnswer(t *testing.T) {
	t.Parallel()
	got, err := envelope.Append(nil, id, &engine.Response{
		Data: map[string]any{"v": "canary"}, Warnings: []string{"canary"}, Duplicate: true,
		Secret: &engine.Secret{LeaseID: "canary"}, Auth: &engine.Auth{ClientToken: secret.NewText("canary")},
		Wrap: &engine.Wrap{
			TTL: time.Minute, Token: secret.NewText("hvs.w"), Accessor: "acc", CreatedAt: time.Unix(1, 0).UTC(), CreationPath: "a/b",
			WrappedAccessor: "in",
		},
	}, "kv")
	const want = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.w",` +
		`"accessor":"acc","ttl":60,"creation_time":"1970-01-01T00:00:01Z","creation_path":"a/b","wrapped_accessor":"in"},` +
		`"warnings":null,"auth":null,"mount_type":"kv"}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestParseErrorsSayNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "canary", `{"data":"canary"}`, `{"auth":{"num_uses":"canary"}}`} {
		if _, err := envelope.Parse([]byte(text)); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzParse: whatever object an answer's data is, it comes back as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,"x",null,{"b":false}]}`))
	f.Add([]byte(`{"":{"é\u0000":-0.0}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var data map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if decoder.Decode(&data) != nil {
			return
		}
		written := encode(t, &engine.Response{Data: data})
		read, err := envelope.Parse([]byte(written))
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if again := encode(t, read); again != written {
			t.Fatalf("%s became %s", written, again)
		}
	})
}
