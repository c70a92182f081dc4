package token_test

import (
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func defaults(change func(data map[string]any)) map[string]any {
	data := map[string]any{
		"allowed_entity_aliases": nil, "allowed_policies": []string{}, "allowed_policies_glob": []string{}, "disallowed_policies": []string{},
		"disallowed_policies_glob": []string{}, "explicit_max_ttl": int64(0), "name": "r", "orphan": false, "path_suffix": "", "period": int64(0),
		"renewable": true, "token_explicit_max_ttl": int64(0), "token_no_default_policy": false, "token_period": int64(0),
		"token_type": "default-service",
	}
	if change != nil {
		change(data)
	}
	return data
}

func TestRoleFields(t *testing.T) {
	f := newFixture(t)
	read := func() map[string]any {
		t.Helper()
		resp, err := f.do(f.root, false, engine.Read, "roles/r", "")
		f.must(err)
		return resp.Data
	}
	_, err := f.do(f.root, false, engine.Read, "roles/r", "")
	f.refused(err, errs.NotFound, "")
	_, err = f.do(f.root, false, engine.List, "roles/", "")
	f.refused(err, errs.NotFound, "")

	if resp := f.post("roles/r", `{"no_such_field":1}`); resp != nil {
		t.Errorf("a new role: got %+v, want an empty answer", resp)
	}
	f.same("a new role", read(), defaults(nil))

	f.post("roles/r", `{"allowed_policies":"B, a","disallowed_policies":["c"],"allowed_policies_glob":"dev-*","disallowed_policies_glob":["prod-*"],
		"orphan":true,"renewable":"false","path_suffix":"ver-1","token_period":"6h","token_explicit_max_ttl":"48h",
		"token_bound_cidrs":"127.0.0.0/8,10.0.0.1,10.0.0.2/32","token_num_uses":"7","token_type":"service","token_no_default_policy":true,
		"allowed_entity_aliases":"web-*,Fixed"}`)
	full := defaults(func(d map[string]any) {
		d["allowed_entity_aliases"], d["allowed_policies"], d["allowed_policies_glob"] = []string{"fixed", "web-*"}, []string{"a", "b"}, []string{"dev-*"}
		d["disallowed_policies"], d["disallowed_policies_glob"] = []string{"c"}, []string{"prod-*"}
		d["orphan"], d["renewable"], d["path_suffix"], d["token_no_default_policy"], d["token_type"] = true, false, "ver-1", true, "service"
		d["token_bound_cidrs"], d["token_num_uses"] = []string{"127.0.0.0/8", "10.0.0.1", "10.0.0.2"}, 7
		d["token_explicit_max_ttl"], d["token_period"] = int64(172800), int64(21600)
	})
	f.same("every field", read(), full)
	f.post("roles/r", `{"token_period":"1h","orphan":null}`)
	full["token_period"] = int64(3600)
	f.same("one field changed", read(), full)

	f.post("roles/r", `{"period":"2h","explicit_max_ttl":3600,"bound_cidrs":["127.0.0.1/32"]}`)
	full["period"], full["token_period"], full["explicit_max_ttl"], full["token_explicit_max_ttl"] = int64(7200), int64(7200), int64(3600), int64(3600)
	full["bound_cidrs"], full["token_bound_cidrs"] = []string{"127.0.0.1"}, []string{"127.0.0.1"}
	f.same("old names", read(), full)

	resp := f.post("roles/r", `{"period":"2h","token_period":"3h","explicit_max_ttl":1,"token_explicit_max_ttl":2,"bound_cidrs":"::1","token_bound_cidrs":"::2"}`)
	f.same("both names", resp.Warnings, []string{
		"Both 'token_period' and deprecated 'period' value supplied, ignoring the deprecated value",
		"Both 'token_explicit_max_ttl' and deprecated 'explicit_max_ttl' value supplied, ignoring the deprecated value",
		"Both 'token_bound_cidrs' and deprecated 'bound_cidrs' value supplied, ignoring the deprecated value",
	})
	full["period"], full["token_period"], full["explicit_max_ttl"], full["token_explicit_max_ttl"] = int64(0), int64(10800), int64(0), int64(2)
	full["token_bound_cidrs"] = []string{"::2"}
	delete(full, "bound_cidrs")
	f.same("the new names won", read(), full)

	f.post("roles/r", `{"allowed_policies":"","disallowed_policies":[],"path_suffix":"","token_bound_cidrs":[],"token_num_uses":0,"allowed_entity_aliases":[],
		"token_period":"","token_explicit_max_ttl":0,"allowed_policies_glob":"","disallowed_policies_glob":"","orphan":false,"renewable":true,
		"token_no_default_policy":false,"token_type":"default-service"}`)
	f.same("emptied", read(), defaults(nil))

	f.post("roles/q", `{}`)
	resp, err = f.do(f.root, false, engine.List, "roles/", "")
	f.must(err)
	f.same("list", resp.Data, map[string]any{"keys": []string{"q", "r"}})
	for range 2 {
		if resp, err := f.do(f.root, false, engine.Delete, "roles/q", ""); resp != nil || err != nil {
			t.Errorf("delete: %v, %v", resp, err)
		}
	}
	facts, err := f.engine.Describe(t.Context(), &engine.Request{Operation: engine.Update, Path: "roles/q"})
	if err != nil || !facts.Creates {
		t.Errorf("a write to a role that is not there: %+v, %v, want a create", facts, err)
	}
	facts, err = f.engine.Describe(t.Context(), &engine.Request{Operation: engine.Update, Path: "roles/r"})
	if err != nil || facts.Creates {
		t.Errorf("a write to a role that is there: %+v, %v, want an update", facts, err)
	}
}

func TestRoleWarnsOfMaximum(t *testing.T) {
	f := newFixture(t)
	resp := f.post("roles/r", `{"token_explicit_max_ttl":"9000h"}`)
	f.same("warnings", resp.Warnings, []string{"Given explicit max TTL of 32400000 is greater than system/mount allowed value of 2764800 seconds; " +
		"until this is fixed attempting to create tokens against this role will result in an error"})
}

func TestRoleRefuses(t *testing.T) {
	f := newFixture(t)
	batch := "'token_type' cannot be 'batch' when role is set to generate "
	for body, text := range map[string]string{
		`{"path_suffix":"v1"}`:                 `given role path suffix contains invalid characters; must match \w[\w-.]+\w`,
		`{"path_suffix":"/"}`:                  `given role path suffix contains invalid characters; must match \w[\w-.]+\w`,
		`{"path_suffix":"a..b"}`:               "error registering path suffix: path cannot contain parent references",
		`{"token_type":"nope"}`:                `invalid 'token_type' value "nope"`,
		`{"token_type":""}`:                    `invalid 'token_type' value ""`,
		`{"token_num_uses":-1}`:                "'token_num_uses' cannot be negative",
		`{"token_bound_cidrs":"999.1.1.1/8"}`:  `"999.1.1.1/8" is neither an IP address nor a CIDR block`,
		`{"token_type":"batch"}`:               batch + "non-orphan tokens",
		`{"token_type":"batch","orphan":true}`: batch + "renewable tokens",
		`{"token_type":"batch","orphan":true,"renewable":false,"token_period":1}`:           batch + "periodic tokens",
		`{"token_type":"batch","orphan":true,"renewable":false,"token_explicit_max_ttl":1}`: batch + "tokens with an explicit max TTL",
		`{"token_type":"batch","orphan":true,"renewable":false,"token_num_uses":1}`:         batch + "tokens with limited use count",
	} {
		_, err := f.do(f.root, false, engine.Update, "roles/bad", body)
		if e := errs.From(err); e == nil || e.Code != errs.Invalid || e.Text != text {
			t.Errorf("%s: got %v, want %q", body, err, text)
		}
	}
	for _, body := range []string{`{"token_period":-1}`, `{"token_explicit_max_ttl":"1d12h"}`, `{"token_explicit_max_ttl":"1w"}`, `{"token_num_uses":"many"}`, `{"renewable":"perhaps"}`} {
		if _, err := f.do(f.root, false, engine.Update, "roles/bad", body); errs.CodeOf(err) != errs.Invalid {
			t.Errorf("%s: got %v, want a refusal", body, err)
		}
	}
	if names, err := f.tokens.Roles(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("refused writes left the roles %q, %v", names, err)
	}
	f.post("roles/batch", `{"token_type":"batch","orphan":true,"renewable":false}`)
}

// What a role's lists let through.
func TestRolePolicies(t *testing.T) {
	f := newFixture(t)
	caller := f.token("create", `{"policies":["one"],"ttl":"1h"}`)
	tests := []struct {
		name, role, body string
		want             []string
		refuse           string
	}{
		{"no lists, nothing asked", `{}`, `{}`, []string{"default", "one"}, ""},
		{"no lists, subset", `{}`, `{"policies":["one"]}`, []string{"default", "one"}, ""},
		{"no lists, more", `{}`, `{"policies":["a"]}`, nil, "child policies must be subset of parent"},
		{"no lists, no default", `{"token_no_default_policy":true}`, `{}`, []string{"one"}, ""},
		{"allowed exceeds the caller", `{"allowed_policies":"a,b"}`, `{}`, []string{"a", "b", "default"}, ""},
		{"allowed, one of them", `{"allowed_policies":"a,b"}`, `{"policies":["A"]}`, []string{"a", "default"}, ""},
		{"allowed, other", `{"allowed_policies":"a"}`, `{"policies":["one"]}`, nil,
			`token policies (["default" "one"]) must be subset of the role's allowed policies (["a" "default"]) or glob policies ([])`},
		{"allowed, no default asked", `{"allowed_policies":"a"}`, `{"policies":["a"],"no_default_policy":true}`, []string{"a"}, ""},
		{"allowed, role without default", `{"allowed_policies":"a","token_no_default_policy":true}`, `{}`, []string{"a"}, ""},
		{"glob, matches", `{"allowed_policies_glob":"dev-*"}`, `{"policies":["dev-web"]}`, []string{"default", "dev-web"}, ""},
		{"glob, nothing asked", `{"allowed_policies_glob":"dev-*"}`, `{}`, []string{"default"}, ""},
		{"glob, other", `{"allowed_policies_glob":"dev-*"}`, `{"policies":["ops"]}`, nil,
			`token policies (["default" "ops"]) must be subset of the role's allowed policies (["default"]) or glob policies (["dev-*"])`},
		{"disallowed", `{"allowed_policies_glob":"dev-*","disallowed_policies":"dev-admin"}`, `{"policies":["dev-admin"]}`, nil, `token policy "dev-admin" is disallowed by this role`},
		{"disallowed glob", `{"disallowed_policies_glob":"*-admin"}`, `{"policies":["dev-admin"]}`, nil, `token policy "dev-admin" is disallowed by this role`},
		{"disallowed, others inherit", `{"disallowed_policies":"b"}`, `{}`, []string{"default", "one"}, ""},
		{"disallowed, the caller's own", `{"disallowed_policies":"one"}`, `{}`, nil, `token policy "one" is disallowed by this role`},
		{"default disallowed is not added", `{"disallowed_policies":"default"}`, `{"policies":["a"]}`, []string{"a"}, ""},
		{"default disallowed by glob", `{"disallowed_policies_glob":"def*"}`, `{"policies":["a"]}`, []string{"a"}, ""},
		{"default disallowed and asked for", `{"disallowed_policies":"default"}`, `{"policies":["default"]}`, nil, `token policy "default" is disallowed by this role`},
		{"root by role", `{"allowed_policies":"root"}`, `{}`, nil, "root tokens may not be created without parent token being root"},
		{"root by disallow list", `{"disallowed_policies":"b"}`, `{"policies":["root"]}`, nil, "root tokens may not be created without parent token being root"},
		{"internal policy by glob", `{"allowed_policies_glob":"*"}`, `{"policies":["response-wrapping"]}`, nil, `cannot assign policy "response-wrapping"`},
	}
	for _, tt := range tests {
		_, err := f.do(f.root, false, engine.Delete, "roles/r", "")
		f.must(err)
		f.post("roles/r", tt.role)
		resp, err := f.do(caller, false, engine.Update, "create/r", tt.body)
		if tt.refuse != "" {
			if e := errs.From(err); e == nil || e.Text != tt.refuse {
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
}

// What else a role decides, beside what was asked for.
func TestRoleLimits(t *testing.T) {
	f := newFixture(t)
	lesser := func(what string, seconds string) string {
		return what + " specified both during creation call and in role; using the lesser value of " + seconds + " seconds"
	}
	tests := []struct {
		name, role, body string
		want             made
	}{
		{"nothing", `{}`, `{}`, made{ttl: month, renewable: true, kind: "service"}},
		{"orphan, not renewable", `{"orphan":true,"renewable":false}`, `{"renewable":true}`, made{ttl: month, orphan: true, kind: "service"}},
		{"request not renewable", `{}`, `{"renewable":false}`, made{ttl: month, kind: "service"}},
		{"no_parent is the role's to say", `{}`, `{"no_parent":true}`, made{ttl: month, renewable: true, kind: "service"}},
		{"role's uses", `{"token_num_uses":3}`, `{}`, made{ttl: month, renewable: true, uses: 3, kind: "service"}},
		{"fewer uses asked", `{"token_num_uses":3}`, `{"num_uses":2}`, made{ttl: month, renewable: true, uses: 2, kind: "service"}},
		{"more uses asked", `{"token_num_uses":3}`, `{"num_uses":9}`, made{ttl: month, renewable: true, uses: 3, kind: "service"}},
		{"period", `{"token_period":"6h"}`, `{"ttl":"1h"}`, made{ttl: 6 * time.Hour, renewable: true, kind: "service"}},
		{"shorter period asked", `{"token_period":"6h"}`, `{"period":"1h"}`, made{ttl: time.Hour, renewable: true, kind: "service", warnings: []string{lesser("Period", "3600")}}},
		{"longer period asked", `{"token_period":"6h"}`, `{"period":"7h"}`, made{ttl: 6 * time.Hour, renewable: true, kind: "service", warnings: []string{lesser("Period", "21600")}}},
		{"explicit maximum", `{"token_explicit_max_ttl":"1h"}`, `{"ttl":"30m"}`, made{ttl: 30 * time.Minute, renewable: true, kind: "service"}},
		{"both explicit maxima", `{"token_explicit_max_ttl":"1h"}`, `{"ttl":"50m","explicit_max_ttl":"40m"}`, made{ttl: 40 * time.Minute, renewable: true, kind: "service",
			warnings: []string{lesser("Explicit max TTL", "2400"), `TTL of "50m" exceeded the effective max_ttl of "40m"; TTL value is capped accordingly`}}},
		{"batch role", `{"token_type":"batch","orphan":true,"renewable":false}`, `{"type":"service","ttl":"1h"}`, made{ttl: time.Hour, orphan: true, kind: "batch"}},
		{"service role", `{"token_type":"service"}`, `{"type":"batch","ttl":"1h"}`, made{ttl: time.Hour, renewable: true, kind: "service"}},
		{"default batch", `{"token_type":"default-batch"}`, `{"ttl":"1h"}`, made{ttl: time.Hour, kind: "batch"}},
		{"default batch, service asked", `{"token_type":"default-batch"}`, `{"type":"service","ttl":"1h"}`, made{ttl: time.Hour, renewable: true, kind: "service"}},
		{"batch asked of a periodic role", `{"token_period":"6h"}`, `{"type":"batch","ttl":"1h"}`, made{ttl: time.Hour, kind: "batch"}},
		{"batch asked of a role with a maximum", `{"token_explicit_max_ttl":"30m"}`, `{"type":"batch","ttl":"1h"}`, made{ttl: 30 * time.Minute, kind: "batch",
			warnings: []string{`TTL of "1h" exceeded the effective max_ttl of "30m"; TTL value is capped accordingly`}}},
	}
	for _, tt := range tests {
		_, err := f.do(f.root, false, engine.Delete, "roles/r", "")
		f.must(err)
		f.post("roles/r", `{"allowed_policies":"a"}`)
		f.post("roles/r", tt.role)
		resp, err := f.do(f.root, false, engine.Update, "create/r", tt.body)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		a := resp.Auth
		tt.want.policies = []string{"a", "default"}
		if got := (made{a.TokenPolicies, a.Duration, a.Renewable, a.Orphan, a.NumUses, a.TokenType, resp.Warnings}); !equal(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
	f.post("roles/r", `{"token_num_uses":2,"token_type":"default-service","allowed_policies":"a"}`)
	_, err := f.do(f.root, false, engine.Update, "create/r", `{"type":"batch"}`)
	f.refused(err, errs.Invalid, `batch tokens cannot have "num_uses" set`)
}

// A role's name and suffix are in the path; what only the role says is not shown in lookups.
func TestRolePath(t *testing.T) {
	f := newFixture(t)
	f.post("roles/r", `{"path_suffix":"ver-2","token_period":"6h","token_explicit_max_ttl":"60h","token_bound_cidrs":"192.0.2.0/24","allowed_policies":"a"}`)
	data := f.data(f.token("create/r", `{}`))
	for key, want := range map[string]any{
		"path": "auth/token/create/r/ver-2", "role": "r", "period": nil, "explicit_max_ttl": int64(0), "bound_cidrs": []string{"192.0.2.0/24"}, "creation_ttl": int64(21600),
	} {
		f.same(key, data[key], want)
	}
	data = f.data(f.token("create/r", `{"period":"1h"}`))
	f.same("period asked for", data["period"], any(int64(3600)))
}
