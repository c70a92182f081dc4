package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"leasehold/internal/errs"
	"leasehold/policy"
)

func mustParse(t testing.TB, name, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(name, text)
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return p
}

// The texts are those of the recordings policy-crud-errors and sys-policies where they occur there.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	const frame = "1 error occurred:\n\t* "
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, c := range []struct{ name, text, want string }{
		{"unclosed block", `path "a" {`, `At 1:12: object expected closing RBRACE got: EOF`},
		{"unknown capability", `path "a" { capabilities = ["fly"] }`, `path "a": invalid capability "fly"`},
		{"unknown shorthand", `path "a" { policy = "fly" }`, `path "a": invalid policy "fly"`},
		{"shorthand of another type", `path "a" { policy = 1 }`, `path "a": invalid policy ""`},
		{"unknown key", `path "a" { caps = ["read"] }`, frame + `path "a": invalid key "caps" on line 1` + "\n\n"},
		{"unknown key, later line", "path \"a\" {\n\n  caps = [\"read\"]\n}", frame + `path "a": invalid key "caps" on line 3` + "\n\n"},
		{"two unknown keys", `path "a" { x = 1, y = 2 }`,
			"2 errors occurred:\n\t* path \"a\": invalid key \"x\" on line 1\n\t* path \"a\": invalid key \"y\" on line 1\n\n"},
		{"unknown top-level key", `foo "a" { capabilities = ["read"] }`, frame + `invalid key "foo" on line 0` + "\n\n"},
		{"unknown JSON key", "{\n\"path\":{\n\"a\":{\"caps\":1}}}", frame + `path "a": invalid key "caps" on line 3` + "\n\n"},
		{"plus before star", `path "a/+*" { capabilities = ["read"] }`, `path "a/+*": invalid use of wildcards ('+*' is forbidden)`},
		{"wrapping limits crossed", `path "a" { min_wrapping_ttl = "2h" max_wrapping_ttl = "1h" }`, `max_wrapping_ttl cannot be less than min_wrapping_ttl`},
		{"wrapping limit negative", `path "a" { min_wrapping_ttl = "-1h" }`, `path "a": min_wrapping_ttl: a duration cannot be negative`},
		{"wrapping limit unreadable", `path "a" { max_wrapping_ttl = "x" }`, `path "a": max_wrapping_ttl: time: invalid duration "x"`},
		{"wrapping limit out of range", `path "a" { max_wrapping_ttl = "9999999999999d" }`, `path "a": max_wrapping_ttl: duration out of range`},
		{"wrapping limit of another type", `path "a" { max_wrapping_ttl = true }`, `path "a": max_wrapping_ttl: expected a duration`},
		{"template not closed", `path "a/{{identity.entity.id" { capabilities = ["read"] }`, `failed to validate policy templating: unbalanced templating characters`},
		{"template not opened", `path "a/id}}" { capabilities = ["read"] }`, `failed to validate policy templating: unbalanced templating characters`},
		{"template in template", `path "{{a{{b}}" {}`, `failed to validate policy templating: unbalanced templating characters`},
		{"key set twice", `path "a" { allowed_parameters {} allowed_parameters {} }`, `path "a": key "allowed_parameters" is set twice`},
		{"JSON key set twice", `{"path":{"a":{"policy":"deny","policy":"write"}}}`, `path "a": key "policy" is set twice`},
		{"parameter listed twice", `path "a" { denied_parameters { "X" = [], "x" = ["1"] } }`, `path "a": denied_parameters: "x" is listed twice`},
		{"parameter null", `{"path":{"a":{"allowed_parameters":{"x":[null]}}}}`, `path "a": allowed_parameters: null is not a value`},
		{"parameter object", `path "a" { allowed_parameters { x = [{}] } }`, `path "a": allowed_parameters: an object is not a value`},
		{"capabilities not text", `path "a" { capabilities = [1] }`, `path "a": capabilities: expected a list of text`},
		{"path without a label", `path { capabilities = ["read"] }`, `path "capabilities": expected a block`},
		{"path with a value", `path = "x"`, `path: expected a block`},
		{"expiration unreadable", `path "a" { expiration = 5 }`, `path "a": expiration: expected an RFC 3339 time`},
		{"HCL nested too deeply", `path "a" { x = ` + deep + ` }`, `At 1:47: nested too deeply`},
		{"JSON nested too deeply", `{"path":` + deep + `}`, `JSON: nested too deeply`},
		{"JSON cut off", `{"path":{"a":`, `JSON: unexpected end of the text`},
		{"JSON with a tail", `{"path":{}} {}`, `JSON: text after the end of the object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Parse("p", c.text)
			var shown *errs.Error
			if !errors.As(err, &shown) || shown.Code != errs.Invalid || shown.Shown() != "failed to parse policy: "+c.want {
				t.Errorf("Parse(%q)\n got %q\nwant %q", c.text, err, "failed to parse policy: "+c.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text string }{
		{"empty", ``},
		{"name ignored", `name = "ignored"` + "\n" + `path "n" { policy = "read" }`},
		{"label unquoted", `path n { capabilities = ["read", "list"] }`},
		{"comments, trailing comma", "# one\n// two\n/* three */ path \"n\" { capabilities = [\"read\", \"list\",] # four\n}"},
		{"leading slash", `path "/n" { policy = "read" }`},
		{"same path twice", `path "n" { capabilities = ["read"] } path "n" { capabilities = ["list"] }`},
		{"assigned object", `path = { "n" = { capabilities = ["read", "list"] } }`},
		{"here document", "path \"n\" { policy = \"read\" comment = <<EOF\ntext\nEOF\n}"},
		{"JSON", `{"path":{"n":{"capabilities":["read","list"]}}}`},
		{"JSON list", `{"name":"x","path":[{"n":{"capabilities":["read"]}},{"n":{"capabilities":["list"]}}]}`},
		{"JSON list of blocks", `{"path":{"n":[{"capabilities":["read","list"]}]}}`},
		{"template unknown", `path "n" { policy = "read" } path "{{identity.nope}}" { policy = "deny" }`},
		{"every other key", `path "n" { policy = "read" comment = "c" subscribe_event_types = ["*"]
			min_wrapping_ttl = 0 max_wrapping_ttl = "0s" required_parameters = [] allowed_parameters = {} denied_parameters {} }`},
		{"every capability", `path "n" { capabilities = ["read", "list"] } path "m" {
			capabilities = ["create","read","update","delete","list","patch","sudo","deny","scan","subscribe","recover"] }`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			acl := policy.NewACL([]*policy.Policy{mustParse(t, "p", c.text)}, nil)
			want := "list read"
			if c.text == "" {
				want = "deny"
			}
			if got := strings.Join(acl.Capabilities("n"), " "); got != want {
				t.Errorf("capabilities of n after %q: got %q, want %q", c.text, got, want)
			}
		})
	}
}

// A restriction that nothing here enforces takes the capability away instead.
func TestUnenforcedRestrictionsWithhold(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		`control_group = { ttl = "1h" }`:                "deny",
		`mfa_methods = ["m"]`:                           "deny",
		`pagination_limit = 5`:                          "read",
		`list_scan_response_keys_filter_path = "{{k}}"`: "read",
	} {
		acl := policy.NewACL([]*policy.Policy{mustParse(t, "p", `path "n" { policy = "read" `+key+` }`)}, nil)
		if got := strings.Join(acl.Capabilities("n"), " "); got != want {
			t.Errorf("with %s: got %q, want %q", key, got, want)
		}
	}
}

func TestExpiration(t *testing.T) {
	t.Parallel()
	p := mustParse(t, "p", `
		path "n" { capabilities = ["read"] }
		path "n" { capabilities = ["update"] expiration = "2030-01-01T00:00:00Z" }
		path "m" { capabilities = ["list"] expiration = "2031-01-01T00:00:00Z" }`)
	y30, y31 := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now      time.Time
		n, m     string
		wantNext time.Time
	}{
		{y30.Add(-time.Second), "read update", "list", y30},
		{y30, "read", "list", y31},
		{y31, "read", "deny", time.Time{}},
	} {
		live, next := p.At(c.now)
		acl := policy.NewACL([]*policy.Policy{live}, nil)
		n, m := strings.Join(acl.Capabilities("n"), " "), strings.Join(acl.Capabilities("m"), " ")
		if n != c.n || m != c.m || !next.Equal(c.wantNext) {
			t.Errorf("at %v: n %q, m %q, next %v; want %q, %q, %v", c.now, n, m, next, c.n, c.m, c.wantNext)
		}
	}
	if got := policy.NewACL([]*policy.Policy{p}, nil).Capabilities("n"); got[0] != "deny" {
		t.Errorf("without At: got %v, want a denial", got)
	}
	plain := mustParse(t, "p", `path "n" { policy = "read" }`)
	if live, next := plain.At(y30); live != plain || !next.IsZero() {
		t.Error("a policy without expirations is not returned itself")
	}
}

func TestBuiltins(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"root":              {`cannot update "root" policy`, `cannot delete "root" policy`},
		"response-wrapping": {`cannot update "response-wrapping" policy`, `cannot delete "response-wrapping" policy`},
		"default":           {"", "cannot delete default policy"},
		"other":             {"", ""},
	} {
		for i, err := range []error{policy.CheckUpdate(name), policy.CheckDelete(name)} {
			if got := ""; err == nil && want[i] != got || err != nil && err.Error() != want[i] {
				t.Errorf("%s: got %v, want %q", name, err, want[i])
			}
		}
	}
	const text = `path "secret/a" { capabilities = ["read"] }`
	for _, sent := range []string{text, "cGF0aCAic2VjcmV0L2EiIHsgY2FwYWJpbGl0aWVzID0gWyJyZWFkIl0gfQ=="} {
		if got := policy.DecodeText(sent); got != text {
			t.Errorf("DecodeText(%q) = %q", sent, got)
		}
	}
}
