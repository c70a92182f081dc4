package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/policy"
)

// newACL compiles texts as the policies p1, p2, ...
func newACL(t testing.TB, id *policy.Identity, texts ...string) *policy.ACL {
	t.Helper()
	var ps []*policy.Policy
	for i, text := range texts {
		ps = append(ps, mustParse(t, "p"+string(rune('1'+i)), text))
	}
	return policy.NewACL(ps, id)
}

func wantCapabilities(t *testing.T, acl *policy.ACL, want map[string]string) {
	t.Helper()
	for path, w := range want {
		if got := strings.Join(acl.Capabilities(path), " "); got != w {
			t.Errorf("capabilities of %q: got %q, want %q", path, got, w)
		}
	}
}

// As in the recording policy-path-matching.
func TestPathMatching(t *testing.T) {
	t.Parallel()
	wantCapabilities(t, newACL(t, nil, `
		path "a/exact" { capabilities = ["read"] }
		path "a/pre*" { capabilities = ["list"] }
		path "a/dir/*" { capabilities = ["read", "list"] }
		path "b/+/c" { capabilities = ["read"] }
		path "b/+/d/*" { capabilities = ["update"] }
		path "/lead/x" { capabilities = ["read"] }
		path "g/+" { capabilities = ["read"] }
		path "+/top" { capabilities = ["delete"] }
		path "lit/a+b/*/c" { capabilities = ["patch"] }
		path "+" { capabilities = ["create"] }`,
	), map[string]string{
		"a/exact": "read", "a/exact/": "read", "a/exac": "deny", "a/exact/x": "deny",
		"a/pre": "list", "a/prefix": "list", "a/pre/x/y": "list", "a/pr": "deny",
		"a/dir": "deny", "a/dir/": "list read", "a/dir/x": "list read", "a/dir/x/y": "list read",
		"b/1/c": "read", "b/c": "deny", "b/1/2/c": "deny", "b//c": "read", "b/1/c/": "read",
		"b/1/d": "deny", "b/1/d/": "update", "b/1/d/e": "update", "b/1/d/e/f": "update", "b/1/2/d/e": "deny",
		"lead/x": "read", "/lead/x": "read",
		"g/1": "read", "g/": "read", "g/1/2": "deny",
		"z/top": "delete", "/top": "create", "top": "create", "": "create",
		// a "*" that is not last and a "+" that is not a whole segment are plain text
		"lit/a+b/*/c": "patch", "lit/aXb/Y/c": "deny",
	})
}

// As in the recording policy-priority.
func TestPriority(t *testing.T) {
	t.Parallel()
	wantCapabilities(t, newACL(t, nil, `
		path "a/*" { capabilities = ["read"] }
		path "a/b/*" { capabilities = ["update"] }
		path "a/b/c" { capabilities = ["delete"] }
		path "a/+/c" { capabilities = ["list"] }
		path "k/+/x" { capabilities = ["read"] }
		path "k/1*" { capabilities = ["update"] }
		path "k/1/*" { capabilities = ["delete"] }
		path "s/+/+/z" { capabilities = ["read"] }
		path "s/q/+/z" { capabilities = ["update"] }
		path "s/+/r/z" { capabilities = ["delete"] }
		path "t/+" { capabilities = ["read"] }
		path "t/*" { capabilities = ["update"] }
		path "u/+/a*" { capabilities = ["read"] }
		path "u/+/ab*" { capabilities = ["update"] }
		path "u/+/+/*" { capabilities = ["delete"] }
		path "v/+/b/+" { capabilities = ["read"] }
		path "v/+/+/b" { capabilities = ["update"] }`,
	), map[string]string{
		"a/x": "read", "a/b/x": "update", "a/b/c": "delete", "a/x/c": "list", "a/b/c/d": "update", "a/b/": "update",
		"k/1/x": "delete", "k/2/x": "read", "k/1/y": "delete", "k/1": "update",
		"s/1/2/z": "read", "s/q/2/z": "update", "s/1/r/z": "delete", "s/q/r/z": "update",
		"t/1": "read", "t/1/2": "update",
		"u/1/abc": "update", "u/1/ac": "read", "u/1/abc/d": "update",
		"v/1/b/b": "read", // equal but for the text: the greater one
	})
}

// As in the recording policy-merge-deny.
func TestMergeAndDeny(t *testing.T) {
	t.Parallel()
	p1 := `path "a/x" { capabilities = ["read"] } path "a/*" { capabilities = ["list"] } path "d/*" { capabilities = ["read", "update"] }`
	p2 := `path "a/x" { capabilities = ["update"] } path "a/*" { capabilities = ["delete"] } path "d/secret" { capabilities = ["deny"] } path "e" { capabilities = ["deny"] }`
	p3 := `path "d/secret" { capabilities = ["read"] } path "e" { capabilities = ["read"] } path "f" { capabilities = ["read", "deny"] }`
	wantCapabilities(t, newACL(t, nil, p1, p2, p3), map[string]string{
		"a/x": "read update", "a/y": "delete list", "d/x": "read update", "d/secret": "deny", "e": "deny", "f": "deny",
	})
	wantCapabilities(t, newACL(t, nil, p1, p3), map[string]string{
		"a/x": "read", "a/y": "list", "d/secret": "read", "e": "read", "f": "deny",
	})
}

// As in the recording policy-legacy-shorthand.
func TestShorthands(t *testing.T) {
	t.Parallel()
	wantCapabilities(t, newACL(t, nil, `
		path "r/*" { policy = "read" }
		path "w/*" { policy = "write" }
		path "s/*" { policy = "sudo" }
		path "d/*" { policy = "deny" }
		path "mix/*" { policy = "read" capabilities = ["delete"] }`,
	), map[string]string{
		"r/x": "list read", "w/x": "create delete list read update", "s/x": "create delete list read sudo update",
		"d/x": "deny", "mix/x": "delete list read",
	})
}

// As in the recording policy-default-content.
func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	wantCapabilities(t, newACL(t, nil, policy.DefaultText), map[string]string{
		"auth/token/lookup-self": "read", "auth/token/renew-self": "update", "auth/token/revoke-self": "update",
		"sys/capabilities-self": "update", "sys/internal/ui/resultant-acl": "read", "sys/leases/renew": "update",
		"sys/leases/lookup": "update", "cubbyhole/a": "create delete list read update",
		"cubbyhole/a/b": "create delete list read update", "sys/wrapping/wrap": "update", "sys/wrapping/lookup": "update",
		"sys/wrapping/unwrap": "update", "sys/tools/hash": "update", "sys/tools/hash/sha2-256": "update",
		"identity/oidc/provider/default/authorize": "read update", "auth/token/lookup-self/": "read",

		"secret/a": "deny", "auth/token/create": "deny", "auth/token/lookup": "deny", "auth/token/renew": "deny",
		"sys/policies/acl": "deny", "sys/mounts": "deny", "sys/tools/random": "deny", "identity/entity/id/x": "deny",
		"sys/wrapping/rewrap": "deny", "cubbyhole": "deny", "sys/leases/revoke": "deny",
		"identity/entity/id/": "deny", "identity/entity/id/{{identity.entity.id}}": "deny",
	})
	wantCapabilities(t, newACL(t, nil, policy.ResponseWrappingText), map[string]string{
		"cubbyhole/response": "create read", "sys/wrapping/unwrap": "update", "cubbyhole/x": "deny",
	})
}

// As in the recording policy-templates.
func TestTemplates(t *testing.T) {
	t.Parallel()
	id := &policy.Identity{
		EntityID: "e-1", EntityName: "ann-e",
		Metadata: map[string]string{"team": "red", "bad": "a/b", "star": "x*", "plus": "+", "mail": "ann+x@y", "empty": "", "do.t": "dot"},
		Aliases:  map[string]policy.Alias{"acc_1": {ID: "al-1", Name: "ann", Metadata: map[string]string{"m": "n"}, CustomMetadata: map[string]string{"floor": "3"}}},
		Groups:   []policy.Group{{ID: "g-1", Name: "grp", Metadata: map[string]string{"dept": "x1"}}, {ID: "g-2", Name: "grp.dotted"}},
	}
	text := `
		path "a/{{identity.entity.id}}/*" { capabilities=["read"] }
		path "b/{{ identity.entity.name }}" { capabilities=["read"] }
		path "c/{{identity.entity.metadata.team}}" { capabilities=["read"] }
		path "d/{{identity.entity.aliases.acc_1.name}}/{{identity.entity.aliases.acc_1.id}}/{{identity.entity.aliases.acc_1.metadata.m}}" { capabilities=["read"] }
		path "e/{{identity.entity.aliases.acc_1.custom_metadata.floor}}" { capabilities=["read"] }
		path "f/{{identity.groups.names.grp.id}}" { capabilities=["read"] }
		path "g/{{identity.groups.ids.g-1.name}}" { capabilities=["read"] }
		path "h/{{identity.groups.names.grp.metadata.dept}}" { capabilities=["read"] }
		path "h/{{identity.groups.names.grp.dotted.id}}" { capabilities=["read"] }
		path "i/{{identity.entity.metadata.missing}}" { capabilities=["read"] }
		path "j/{{identity.groups.names.other.id}}" { capabilities=["read"] }
		path "k/{{identity.entity.metadata.bad}}" { capabilities=["read"] }
		path "l/{{identity.entity.metadata.star}}" { capabilities=["read"] }
		path "m/{{identity.entity.metadata.plus}}" { capabilities=["read"] }
		path "n/{{identity.entity.metadata.mail}}" { capabilities=["read"] }
		path "o/{{identity.entity.metadata.empty}}" { capabilities=["read"] }
		path "p/{{identity.entity.metadata.do.t}}" { capabilities=["read"] }
		path "q/{{identity.entity.aliases.acc_2.name}}" { capabilities=["read"] }
		path "r/{{identity.nope}}/{{nope}}" { capabilities=["read"] }
		path "s/x" { capabilities=["read"] }`
	wantCapabilities(t, newACL(t, id, policy.DefaultText, text), map[string]string{
		"a/e-1/x": "read", "b/ann-e": "read", "c/red": "read", "d/ann/al-1/n": "read", "e/3": "read", "f/g-1": "read",
		"g/grp": "read", "h/x1": "read", "h/g-2": "read", "i/": "deny", "i/{{identity.entity.metadata.missing}}": "deny",
		"j/": "deny", "c/blue": "deny", "k/a/b": "deny", "l/x*": "deny", "l/xy": "deny", "m/+": "deny", "m/y": "deny",
		"n/ann+x@y": "read", "o/": "deny", "p/dot": "read", "q/": "deny", "r//": "deny", "s/x": "read",
		"identity/entity/id/e-1": "read", "identity/entity/name/ann-e": "read",
	})
	wantCapabilities(t, newACL(t, nil, text), map[string]string{"a/e-1/x": "deny", "s/x": "read"})
}

// Both ways to the same path merge, a denial included.
func TestTemplateMerges(t *testing.T) {
	t.Parallel()
	acl := newACL(t, &policy.Identity{EntityID: "e-1"},
		`path "a/{{identity.entity.id}}" { capabilities = ["deny"] }`, `path "a/e-1" { capabilities = ["read"] }`)
	wantCapabilities(t, acl, map[string]string{"a/e-1": "deny"})
}

func TestOperations(t *testing.T) {
	t.Parallel()
	operations := []string{"read", "header", "list", "create", "update", "delete", "patch", "scan", "help", "", "sudo", "deny"}
	for granted, want := range map[string]string{
		"read": "read header", "list": "list", "create": "create", "update": "update", "delete": "delete",
		"patch": "patch", "scan": "scan", "sudo": "", "deny": "", "subscribe": "",
	} {
		acl := newACL(t, nil, `path "a" { capabilities = ["`+granted+`"] }`)
		var got []string
		for _, op := range operations {
			if v := acl.Check(policy.Request{Operation: op, Path: "a"}); v.Allowed && op != "help" {
				got = append(got, op)
			} else if v.Sudo || v.Granting != nil {
				t.Errorf("%s with %s: refused, yet %+v", op, granted, v)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s grants %v, want %q", granted, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	acl := newACL(t, nil,
		`path "a" { capabilities = ["read", "update"] } path "b" { capabilities = ["read"] }`,
		`path "a" { capabilities = ["update", "sudo"] }`,
		`path "a" { capabilities = ["read"] }`)
	for _, c := range []struct {
		op, path string
		want     policy.Verdict
	}{
		{"read", "a", policy.Verdict{Allowed: true, Sudo: true, Granting: []string{"p1", "p3"}}},
		{"update", "a", policy.Verdict{Allowed: true, Sudo: true, Granting: []string{"p1", "p2"}}},
		{"delete", "a", policy.Verdict{}},
		{"read", "b", policy.Verdict{Allowed: true, Granting: []string{"p1"}}},
		{"read", "c", policy.Verdict{}},
	} {
		if diff := cmp.Diff(c.want, acl.Check(policy.Request{Operation: c.op, Path: c.path})); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.op, c.path, diff)
		}
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	acl := policy.NewACL([]*policy.Policy{nil, policy.Root()}, nil)
	want := policy.Verdict{Allowed: true, Sudo: true, Granting: []string{"root"}}
	if diff := cmp.Diff(want, acl.Check(policy.Request{Operation: "delete", Path: "sys/raw/x"})); diff != "" {
		t.Error(diff)
	}
	wantCapabilities(t, acl, map[string]string{"anything": "root"})
	if !acl.Root() || !acl.HasAccessBelow("x/") {
		t.Error("root is not root")
	}
	if diff := cmp.Diff(map[string]any{"root": true}, acl.Resultant()); diff != "" {
		t.Error(diff)
	}
	if none := policy.NewACL(nil, nil); none.Root() || none.Check(policy.Request{Operation: "read", Path: "x"}).Allowed {
		t.Error("no policies allow something")
	}
}

// As in the recording policy-list-slash.
func TestListSlash(t *testing.T) {
	t.Parallel()
	acl := newACL(t, nil, `
		path "kv1/dir" { capabilities = ["list"] }
		path "kv1/dir2/" { capabilities = ["list"] }
		path "kv1/dir2" { capabilities = ["read"] }
		path "kv1/+/deep" { capabilities = ["list"] }`)
	for path, want := range map[string]bool{"kv1/dir/": true, "kv1/dir2/": true, "kv1/": false, "kv1/x/deep/": true, "kv1/x/deep//": false} {
		if got := acl.Check(policy.Request{Operation: "list", Path: path}).Allowed; got != want {
			t.Errorf("list %s: got %v, want %v", path, got, want)
		}
	}
	if acl.Check(policy.Request{Operation: "read", Path: "kv1/dir2/"}).Allowed {
		t.Error("a read with a slash was judged by the rule without it")
	}
}

// The first half as in the recording policy-parameters.
func TestParameters(t *testing.T) {
	t.Parallel()
	acl := newACL(t, nil, `
		path "allow" { capabilities=["create","update"] allowed_parameters = { "a" = [] "b" = ["x","y"] } }
		path "allowstar" { capabilities=["create","update"] allowed_parameters = { "a" = ["1"] "*" = [] } }
		path "deny" { capabilities=["create","update"] denied_parameters = { "bad" = [] "mode" = ["rw","x*"] } }
		path "denyall" { capabilities=["create","update"] denied_parameters = { "*" = [] } }
		path "req" { capabilities=["create","update"] required_parameters = ["who","why"] }
		path "both" { capabilities=["create","update"] allowed_parameters = { "a" = [] } denied_parameters = { "a" = ["no"] } }
		path "types" { capabilities=["update"] allowed_parameters = { "n" = [5, 1.5] "b" = [true] "l" = [["a", "b"]] "t" = "only" "any" = ["*"] } }
		path "globs" { capabilities=["update"] allowed_parameters = { "g" = ["*end", "*mid*", "start*"] } }
		path "case" { capabilities=["update"] denied_parameters = { "BAD" = [] } required_parameters = ["Who"] }
		path "ops" { capabilities=["create","update","patch","read","list","delete"] required_parameters = ["who"] }`)
	for _, c := range []struct {
		path, body string
		want       bool
	}{
		{"allow", `{"a":"anything"}`, true},
		{"allow", `{"a":"z","b":"x"}`, true},
		{"allow", `{"b":"z"}`, false},
		{"allow", `{"c":"1"}`, false},
		{"allow", `{"A":"q"}`, true},
		{"allow", `{}`, true},
		{"allowstar", `{"zzz":"q","a":"1"}`, true},
		{"allowstar", `{"a":"2"}`, false},
		{"deny", `{"good":"1"}`, true},
		{"deny", `{"bad":"x"}`, false},
		{"deny", `{"mode":"ro"}`, true},
		{"deny", `{"mode":"rw"}`, false},
		{"deny", `{"mode":"xyz"}`, false},
		{"denyall", `{"q":"1"}`, false},
		{"denyall", `{}`, true},
		{"req", `{"who":"me"}`, false},
		{"req", `{}`, false},
		{"req", `{"who":"me","why":"x","more":"1"}`, true},
		{"both", `{"a":"yes"}`, true},
		{"both", `{"a":"no"}`, false},
		{"both", `{"b":"yes"}`, false},
		{"types", `{"n":5}`, false},
		{"types", `{"n":"5"}`, false},
		{"types", `{"b":true}`, true},
		{"types", `{"b":false}`, false},
		{"types", `{"b":"true"}`, false},
		{"types", `{"l":["a","b"]}`, true},
		{"types", `{"l":["a"]}`, false},
		{"types", `{"t":"only"}`, true},
		{"types", `{"t":null}`, false},
		{"types", `{"any":"thing"}`, true},
		{"types", `{"any":1}`, false},
		{"globs", `{"g":"the end"}`, true},
		{"globs", `{"g":"a mid b"}`, true},
		{"globs", `{"g":"starts"}`, true},
		{"globs", `{"g":"other"}`, false},
		{"case", `{"WHO":1,"Bad":1}`, false},
		{"case", `{"WHO":1}`, true},
		{"case", `{"whom":1}`, false},
	} {
		var data map[string]any
		d := json.NewDecoder(strings.NewReader(c.body))
		d.UseNumber()
		if err := d.Decode(&data); err != nil {
			t.Fatal(err)
		}
		if got := acl.Check(policy.Request{Operation: "update", Path: c.path, Data: data}).Allowed; got != c.want {
			t.Errorf("update %s %s: got %v, want %v", c.path, c.body, got, c.want)
		}
	}
	for op, want := range map[string]bool{"create": false, "update": false, "patch": false, "read": false, "list": true, "delete": true} {
		if got := acl.Check(policy.Request{Operation: op, Path: "ops"}).Allowed; got != want {
			t.Errorf("%s ops without the required parameter: got %v, want %v", op, got, want)
		}
	}
}

func TestMergeRestrictions(t *testing.T) {
	t.Parallel()
	acl := newACL(t, nil, `path "a" { capabilities=["update"] min_wrapping_ttl="1m" max_wrapping_ttl="1h" required_parameters=["x"]
			allowed_parameters={ "x" = ["1"] "y" = [] "w" = [] } denied_parameters = { "z" = ["1"] } }`,
		`path "a" { capabilities=["update"] min_wrapping_ttl="2m" max_wrapping_ttl="30m" required_parameters=["y"]
			allowed_parameters={ "x" = ["2"] "y" = ["1"] "z" = [] } denied_parameters = { "z" = ["2"] "w" = [] } }`)
	for _, c := range []struct {
		name string
		wrap time.Duration
		data map[string]any
		want bool
	}{
		{"least wrapping, first value", time.Minute, map[string]any{"x": "1", "y": "1"}, true},
		{"longest wrapping, second value, empty list wins", 30 * time.Minute, map[string]any{"x": "2", "y": "any"}, true},
		{"below both minima", 59 * time.Second, map[string]any{"x": "1", "y": "1"}, false},
		{"above the lesser maximum", time.Hour, map[string]any{"x": "1", "y": "1"}, false},
		{"first name required", time.Minute, map[string]any{"y": "1"}, false},
		{"second name required", time.Minute, map[string]any{"x": "1"}, false},
		{"value in neither", time.Minute, map[string]any{"x": "3", "y": "1"}, false},
		{"denied by the first", time.Minute, map[string]any{"x": "1", "y": "1", "z": "1"}, false},
		{"denied by the second", time.Minute, map[string]any{"x": "1", "y": "1", "z": "2"}, false},
		{"denied by neither", time.Minute, map[string]any{"x": "1", "y": "1", "z": "3"}, true},
		{"denied altogether", time.Minute, map[string]any{"x": "1", "y": "1", "w": "1"}, false},
	} {
		if got := acl.Check(policy.Request{Operation: "update", Path: "a", Data: c.data, WrapTTL: c.wrap}).Allowed; got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// As in the recording policy-wrapping-ttl.
func TestWrappingLimits(t *testing.T) {
	t.Parallel()
	acl := newACL(t, nil, `
		path "a" { capabilities=["read","list"] min_wrapping_ttl = "1m" max_wrapping_ttl = 3600 }
		path "b" { capabilities=["read"] min_wrapping_ttl = "1s" }
		path "c" { capabilities=["read"] max_wrapping_ttl = "1d" }`)
	for _, c := range []struct {
		op, path string
		wrap     time.Duration
		want     bool
	}{
		{"read", "a", 0, false}, {"read", "a", 30 * time.Second, false}, {"read", "a", 2 * time.Hour, false},
		{"read", "a", 10 * time.Minute, true}, {"read", "a", time.Minute, true}, {"read", "a", time.Hour, true},
		{"list", "a", 0, false}, {"list", "a", time.Hour, true},
		{"read", "b", 0, false}, {"read", "b", 5 * time.Second, true},
		{"read", "c", 0, false}, {"read", "c", 24 * time.Hour, true}, {"read", "c", 25 * time.Hour, false},
	} {
		if got := acl.Check(policy.Request{Operation: c.op, Path: c.path, WrapTTL: c.wrap}).Allowed; got != c.want {
			t.Errorf("%s %s wrapped for %v: got %v, want %v", c.op, c.path, c.wrap, got, c.want)
		}
	}
}

func TestHasAccessBelow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       bool // for secret/team/
	}{
		{"exact below", `path "secret/team/a" { policy = "read" }`, true},
		{"exact denial below", `path "secret/team/a" { policy = "deny" }`, false},
		{"the mount without its slash", `path "secret/team" { policy = "read" }`, true},
		{"another mount", `path "secret/teams/a" { policy = "read" }`, false},
		{"prefix below", `path "secret/team/a/*" { policy = "read" }`, true},
		{"prefix above", `path "secret/*" { policy = "read" }`, true},
		{"prefix inside the mount's name", `path "secret/te*" { policy = "read" }`, true},
		{"prefix beside", `path "secret/ti*" { policy = "read" }`, false},
		{"denial hides the prefix above", `path "*" { policy = "read" } path "secret/team/*" { policy = "deny" }`, false},
		{"a hole in the denial", `path "secret/team/*" { policy = "deny" } path "secret/team/a/b" { policy = "read" }`, true},
		{"segments across", `path "+/+/x" { policy = "read" }`, true},
		{"segments that stop short", `path "+/team" { policy = "read" }`, true},
		{"segments elsewhere", `path "+/other/x" { policy = "read" }`, false},
		{"segments below", `path "secret/team/+/x" { policy = "read" }`, true},
		{"segments with star", `path "+/+/a/+/*" { policy = "read" }`, true},
		{"segments hidden by a denial", `path "+/+/x" { policy = "read" } path "secret/team/*" { policy = "deny" }`, false},
		{"sudo alone", `path "secret/team/a" { capabilities = ["sudo"] }`, true},
		{"nothing", ``, false},
	} {
		if got := newACL(t, nil, c.text).HasAccessBelow("secret/team/"); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestResultant(t *testing.T) {
	t.Parallel()
	caps := func(names ...string) any { return map[string]any{"capabilities": names} }
	want := map[string]any{
		"root":        false,
		"exact_paths": map[string]any{"a": caps("list", "read"), "b": caps("deny")},
		"glob_paths":  map[string]any{"c/": caps("update"), "d/+/e": caps("read"), "d/+/e*": caps("list"), "": caps("deny")},
	}
	got := newACL(t, nil, `path "a" { policy = "read" } path "b" { policy = "deny" } path "c/*" { capabilities = ["update"] }
		path "d/+/e" { capabilities = ["read"] } path "d/+/e*" { capabilities = ["list"] } path "*" { policy = "deny" }`).Resultant()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
