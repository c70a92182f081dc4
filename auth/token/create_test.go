package token_test

import (
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// made is what a test looks at in a new token.
type made struct {
	policies  []string
	ttl       time.Duration
	renewable bool
	orphan    bool
	uses      int
	kind      string
	warnings  []string
}

func TestCreate(t *testing.T) {
	f := newFixture(t)
	none := []string(nil)
	standard := made{[]string{"a", "default"}, month, true, false, 0, "service", nil}
	with := func(change func(m *made)) made {
		m := standard
		change(&m)
		return m
	}
	ttl := func(d time.Duration, warnings ...string) made {
		return with(func(m *made) { m.ttl, m.warnings = d, warnings })
	}
	policies := func(names ...string) made { return with(func(m *made) { m.policies = names }) }
	forever := made{[]string{"root"}, 0, false, false, 0, "service", nil}

	tests := []struct {
		name, body string
		want       made
	}{
		{"nothing asked for", `{}`, forever},
		{"no body", ``, forever},
		{"one policy", `{"policies":["a"]}`, standard},
		{"policies are cleaned", `{"policies":["B"," a ","a","","default"]}`, policies("a", "b", "default")},
		{"root swallows the others", `{"policies":["a","Root"]}`, forever},
		{"one text is one name", `{"policies":"a,b"}`, with(func(m *made) {
			m.policies, m.warnings = []string{"a,b", "default"}, []string{`Policy "a,b" does not exist`}
		})},
		{"no default policy", `{"policies":["a"],"no_default_policy":true}`, policies("a")},
		{"no policy at all", `{"policies":["default"],"no_default_policy":true}`, policies(none...)},
		{"only empty names", `{"policies":[""]}`, policies("default")},

		{"seconds", `{"policies":["a"],"ttl":90}`, ttl(90 * time.Second)},
		{"seconds as text", `{"policies":["a"],"ttl":"90"}`, ttl(90 * time.Second)},
		{"units", `{"policies":["a"],"ttl":"1h30m"}`, ttl(90 * time.Minute)},
		{"days", `{"policies":["a"],"ttl":"1d"}`, ttl(24 * time.Hour)},
		{"old name", `{"policies":["a"],"lease":"2h"}`, ttl(2 * time.Hour)},
		{"both names", `{"policies":["a"],"lease":"2h","ttl":"3h"}`, ttl(3 * time.Hour)},
		{"null", `{"policies":["a"],"ttl":null}`, standard},
		{"above the maximum", `{"policies":["a"],"ttl":"9000h"}`,
			ttl(month, `TTL of "9000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly`)},
		{"above the explicit maximum", `{"policies":["a"],"ttl":"3h","explicit_max_ttl":"1h"}`,
			ttl(time.Hour, `TTL of "3h" exceeded the effective max_ttl of "1h"; TTL value is capped accordingly`)},
		{"explicit maximum alone", `{"policies":["a"],"explicit_max_ttl":"1h"}`,
			ttl(time.Hour, `TTL of "768h" exceeded the effective max_ttl of "1h"; TTL value is capped accordingly`)},
		{"explicit maximum above the mount's", `{"policies":["a"],"explicit_max_ttl":"9000h"}`, standard},
		{"periodic", `{"policies":["a"],"period":"6h","ttl":"1h"}`, ttl(6 * time.Hour)},
		{"periodic and capped", `{"policies":["a"],"period":"2h","explicit_max_ttl":"1h"}`,
			ttl(time.Hour, `period of "2h" exceeded the effective max_ttl of "1h"; period value is capped accordingly`)},
		{"root with a ttl", `{"policies":["root"],"ttl":"1h"}`, made{[]string{"root"}, time.Hour, true, false, 0, "service", nil}},
		{"root with an explicit maximum", `{"policies":["root"],"explicit_max_ttl":"1h"}`, made{[]string{"root"}, time.Hour, true, false, 0, "service", nil}},
		{"root with a period", `{"policies":["root"],"period":"1h"}`, made{[]string{"root"}, time.Hour, true, false, 0, "service", nil}},

		{"not renewable", `{"policies":["a"],"renewable":false}`, with(func(m *made) { m.renewable = false })},
		{"limited uses", `{"policies":["a"],"num_uses":5}`, with(func(m *made) { m.uses = 5 })},
		{"no parent", `{"policies":["a"],"no_parent":true}`, with(func(m *made) { m.orphan = true })},
		{"batch", `{"policies":["a"],"type":"batch","ttl":"20m"}`, made{[]string{"a", "default"}, 20 * time.Minute, false, false, 0, "batch", nil}},
		{"service by name", `{"policies":["a"],"type":"service"}`, standard},
		{"missing policies", `{"policies":["y","x","a"]}`, with(func(m *made) {
			m.policies, m.warnings = []string{"a", "default", "x", "y"}, []string{`Policy "x" does not exist`, `Policy "y" does not exist`}
		})},
		{"warnings in order", `{"policies":["x"],"ttl":"9000h","id":"own","more":1}`, with(func(m *made) {
			m.policies = []string{"default", "x"}
			m.warnings = []string{
				`TTL of "9000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly`,
				"Supplying a custom ID for the token uses the weaker SHA1 hashing instead of the more secure SHA2-256 HMAC for token obfuscation. " +
					"SHA1 hashed tokens on the wire leads to less secure lookups.",
				`Policy "x" does not exist`,
				"Endpoint ignored these unrecognized parameters: [more]",
			}
		})},
	}
	for _, tt := range tests {
		resp, err := f.do(f.root, false, engine.Update, "create", tt.body)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		a := resp.Auth
		got := made{a.TokenPolicies, a.Duration, a.Renewable, a.Orphan, a.NumUses, a.TokenType, resp.Warnings}
		if a.Policies == nil || len(a.Policies) != len(a.TokenPolicies) {
			t.Errorf("%s: policies %q, token policies %q", tt.name, a.Policies, a.TokenPolicies)
		}
		if !equal(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		if !f.works(a.ClientToken) {
			t.Errorf("%s: the token does not work", tt.name)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t)
	conversion := "Field validation failed: error converting input for field "
	for body, text := range map[string]string{
		`{"ttl":"-1h"}`:                                   "ttl must be positive",
		`{"lease":"-1h"}`:                                 "lease must be positive",
		`{"ttl":"abc"}`:                                   `time: invalid duration "abc"`,
		`{"ttl":true}`:                                    "could not parse duration from input of type boolean",
		`{"period":"-1h"}`:                                "period must be positive",
		`{"explicit_max_ttl":"-1h"}`:                      "explicit_max_ttl must be positive",
		`{"num_uses":-1}`:                                 "number of uses cannot be negative",
		`{"num_uses":"abc"}`:                              conversion + `"num_uses": '' cannot parse value as 'int': strconv.ParseInt: invalid syntax`,
		`{"renewable":"maybe"}`:                           conversion + `"renewable": '' cannot parse value as 'bool': strconv.ParseBool: invalid syntax`,
		`{"meta":"x"}`:                                    conversion + `"meta": invalid key pair "x"`,
		`{"type":"weird"}`:                                "invalid 'token_type' value",
		`{"entity_alias":"x"}`:                            "'entity_alias' is only allowed in combination with token role",
		`{"id":"s.abc"}`:                                  "custom token ID cannot have the 's.' prefix",
		`{"id":"hvs.abc"}`:                                "custom token ID cannot have the 'hvs.' prefix",
		`{"id":"hvb.abc"}`:                                "custom token ID cannot have a '.' in the value",
		`{"id":"a.b"}`:                                    "custom token ID cannot have a '.' in the value",
		`{"policies":["response-wrapping"]}`:              `cannot assign policy "response-wrapping"`,
		`{"policies":["Response-Wrapping "]}`:             `cannot assign policy "response-wrapping"`,
		`{"type":"batch","policies":["root"]}`:            "batch tokens cannot be root tokens",
		`{"type":"batch"}`:                                "batch tokens cannot be root tokens",
		`{"type":"batch","policies":["a"],"period":"1h"}`: `batch tokens cannot have "period" set`,
		`{"type":"batch","policies":["a"],"num_uses":2}`:  `batch tokens cannot have "num_uses" set`,
		`{"type":"batch","policies":["a"],"explicit_max_ttl":1}`: `batch tokens cannot have "explicit_max_ttl" set`,
		`{"type":"batch","policies":["a"],"id":"own"}`:           `batch tokens cannot have "id" set`,
	} {
		_, err := f.do(f.root, false, engine.Update, "create", body)
		if e := errs.From(err); e == nil || e.Code != errs.Invalid || e.Shown() != text {
			t.Errorf("%s: got %v, want %q", body, err, text)
		}
	}
	if accessors, err := f.tokens.Accessors(t.Context()); err != nil || len(accessors) != 1 {
		t.Errorf("%d tokens exist, %v, want the root token alone", len(accessors), err)
	}
	f.post("create", `{"policies":["a"],"id":"own"}`)
	_, err := f.do(f.root, false, engine.Update, "create", `{"policies":["a"],"id":"own"}`)
	f.refused(err, errs.Invalid, "cannot create a token with a duplicate ID")
	_, err = f.do(f.root, false, engine.Read, "create", "")
	f.refused(err, errs.Unsupported, framed("unsupported operation"))
	_, err = f.do(f.root, false, engine.List, "create/", "")
	f.refused(err, errs.NotFound, framed("unsupported path"))
	_, err = f.do(f.root, false, engine.Update, "create/nobody", "")
	f.refused(err, errs.Invalid, "unknown role nobody")
}

// Who may ask for what.
func TestCreatePrivileges(t *testing.T) {
	f := newFixture(t)
	maker := f.token("create", `{"policies":["maker","a"],"ttl":"1h"}`)
	bare := f.token("create", `{"policies":["maker"],"no_default_policy":true,"ttl":"1h"}`)
	expiringRoot := f.token("create", `{"ttl":"1h"}`)
	batch := f.token("create", `{"type":"batch","policies":["maker"],"ttl":"1h"}`)
	limited := f.token("create", `{"policies":["maker"],"num_uses":1,"ttl":"1h"}`)
	tests := []struct {
		name   string
		as     secret.Text
		sudo   bool
		body   string
		want   []string
		refuse string
	}{
		{"inherits", maker, false, `{}`, []string{"a", "default", "maker"}, ""},
		{"inherits without default", maker, false, `{"no_default_policy":true}`, []string{"a", "maker"}, ""},
		{"inherits no default", bare, false, `{}`, []string{"maker"}, ""},
		{"subset", maker, false, `{"policies":["A"]}`, []string{"a", "default"}, ""},
		{"subset without default", maker, false, `{"policies":["a"],"no_default_policy":true}`, []string{"a"}, ""},
		{"default is not added when the caller has it not", bare, false, `{"policies":["maker"]}`, []string{"maker"}, ""},
		{"default cannot be had by asking", bare, false, `{"policies":["default"]}`, nil, "child policies must be subset of parent"},
		{"more", maker, false, `{"policies":["a","b"]}`, nil, "child policies must be subset of parent"},
		{"root", maker, false, `{"policies":["root"]}`, nil, "child policies must be subset of parent"},
		{"anything with sudo", bare, true, `{"policies":["b"]}`, []string{"b", "default"}, ""},
		{"root with sudo", maker, true, `{"policies":["root"]}`, nil, "root tokens may not be created without parent token being root"},
		{"orphan", maker, false, `{"no_parent":true}`, nil, "root or sudo privileges required to create orphan token"},
		{"orphan with sudo", maker, true, `{"policies":["a"],"no_parent":true}`, []string{"a", "default"}, ""},
		{"id", maker, false, `{"id":"abcdef"}`, nil, "root or sudo privileges required to specify token id"},
		{"id with sudo", maker, true, `{"policies":["a"],"id":"abcdef"}`, []string{"a", "default"}, ""},
		{"period", maker, false, `{"period":"1h"}`, nil, "root or sudo privileges required to create periodic token"},
		{"period of zero", maker, false, `{"period":0}`, []string{"a", "default", "maker"}, ""},
		{"period with sudo", maker, true, `{"policies":["a"],"period":"1h"}`, []string{"a", "default"}, ""},
		{"expiring root", expiringRoot, false, `{}`, nil, "expiring root tokens cannot create non-expiring root tokens"},
		{"expiring root, longer ttl", expiringRoot, false, `{"ttl":"2h"}`, []string{"root"}, ""},
		{"expiring root, explicit maximum", expiringRoot, false, `{"explicit_max_ttl":"2h"}`, []string{"root"}, ""},
		{"batch", batch, true, `{}`, nil, "batch tokens cannot create more tokens"},
		{"last use", limited, true, `{}`, nil, "restricted use token cannot generate child tokens"},
	}
	for _, tt := range tests {
		resp, err := f.do(tt.as, tt.sudo, engine.Update, "create", tt.body)
		if tt.refuse != "" {
			if e := errs.From(err); e == nil || e.Code != errs.Invalid || e.Text != tt.refuse {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.refuse)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		f.same(tt.name, resp.Auth.TokenPolicies, tt.want)
	}
	limited = f.token("create", `{"policies":["maker"],"num_uses":3,"ttl":"1h"}`)
	_, err := f.do(limited, true, engine.Update, "create", "")
	f.refused(err, errs.Invalid, "restricted use token cannot generate child tokens")
}

func TestCreateStores(t *testing.T) {
	f := newFixture(t)
	f.clock.Advance(1500 * time.Millisecond)
	text := f.token("create", `{"policies":["a"],"ttl":"90s","explicit_max_ttl":"1h","meta":{"user":"armon","n":1,"b":true},"num_uses":5,"display_name":"web app/01!"}`)
	data := f.data(text)
	if accessor, _ := data["accessor"].(string); len(accessor) != 24 {
		t.Errorf("accessor %q", accessor)
	}
	delete(data, "accessor")
	f.same("lookup", data, map[string]any{
		"creation_time": dawn.Unix() + 1, "creation_ttl": int64(90), "display_name": "token-web-app-01", "entity_id": "",
		"expire_time": "2025-03-01T12:01:31.5Z", "explicit_max_ttl": int64(3600), "id": text.Reveal(), "issue_time": "2025-03-01T12:00:01.5Z",
		"meta": map[string]string{"user": "armon", "n": "1", "b": "1"}, "num_uses": 5, "orphan": false, "path": "auth/token/create",
		"policies": []string{"a", "default"}, "renewable": true, "ttl": int64(90), "type": "service",
	})
	for name, want := range map[string]string{"x": "token-x", "x-": "token-x", "x--": "token-x-", "é": "token-", "-": "token-"} {
		text := f.token("create", `{"policies":["a"],"display_name":"`+name+`"}`)
		if got := f.data(text)["display_name"]; got != want {
			t.Errorf("display name %q: got %q, want %q", name, got, want)
		}
	}
	f.same("no display name", f.data(f.token("create", `{}`))["display_name"], any("token"))
}

// A child has its parent's entity and addresses and ends with it; an orphan has neither and does not.
func TestCreateOrphans(t *testing.T) {
	f := newFixture(t)
	f.post("roles/bound", `{"token_bound_cidrs":["192.0.2.0/24"],"allowed_entity_aliases":"*","allowed_policies":"a"}`)
	parent := f.token("create/bound", `{"entity_alias":"Web"}`)
	child := f.postAs(parent, "create", `{}`).Auth
	orphan := f.postAs(parent, "create-orphan", `{}`).Auth
	grandchild := f.postAs(child.ClientToken, "create", `{}`).Auth
	if child.EntityID != "entity-of-web" || grandchild.EntityID != "entity-of-web" || orphan.EntityID != "" {
		t.Errorf("entities of child, grandchild, orphan: %q, %q, %q", child.EntityID, grandchild.EntityID, orphan.EntityID)
	}
	cidrs := func(text secret.Text) any { return f.data(text)["bound_cidrs"] }
	f.same("child's addresses", cidrs(child.ClientToken), any([]string{"192.0.2.0/24"}))
	f.same("orphan's addresses", cidrs(orphan.ClientToken), nil)
	f.same("orphan's path", f.data(orphan.ClientToken)["path"], any("auth/token/create-orphan"))
	if child.Orphan || !orphan.Orphan {
		t.Error("the child is an orphan, or the orphan is none")
	}
	f.postAs(parent, "revoke-self", "")
	for what, alive := range map[string]bool{"parent": f.works(parent), "child": f.works(child.ClientToken), "grandchild": f.works(grandchild.ClientToken)} {
		if alive {
			t.Errorf("the %s works after the revocation", what)
		}
	}
	if !f.works(orphan.ClientToken) {
		t.Error("the orphan ended with the token that made it")
	}
}

func TestEntityAlias(t *testing.T) {
	f := newFixture(t)
	f.post("roles/r", `{"allowed_entity_aliases":["web-*","Solo"]}`)
	for _, alias := range []string{"web-1", "SOLO"} {
		if got := f.post("create/r", `{"entity_alias":"`+alias+`"}`).Auth.EntityID; got == "" {
			t.Errorf("%s: no entity", alias)
		}
	}
	_, err := f.do(f.root, false, engine.Update, "create/r", `{"entity_alias":"db"}`)
	f.refused(err, errs.Invalid, "invalid 'entity_alias' value")
	bare := fixtureWith(t, false)
	bare.post("roles/r", `{"allowed_entity_aliases":["*"]}`)
	_, err = bare.do(bare.root, false, engine.Update, "create/r", `{"entity_alias":"web-1"}`)
	f.refused(err, errs.Invalid, "invalid 'entity_alias' value")
}

func equal(a, b made) bool {
	same := func(x, y []string) bool {
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if x[i] != y[i] {
				return false
			}
		}
		return true
	}
	return same(a.policies, b.policies) && same(a.warnings, b.warnings) && a.ttl == b.ttl && a.renewable == b.renewable &&
		a.orphan == b.orphan && a.uses == b.uses && a.kind == b.kind
}
