package sys_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/broker/sys"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

type fields = map[string]any

// step is a request of root's and what it must be answered: an error text as the wire shows it, or the JSON of some of
// the answer's data. Neither: success.
type step struct {
	op   engine.Operation
	path string
	data fields
	err  string
	want string
}

const (
	read   = engine.Read
	list   = engine.List
	write  = engine.Update
	remove = engine.Delete
)

func run(t *testing.T, n *brokertest.Node, steps []step) {
	t.Helper()
	for i, s := range steps {
		resp, err := n.Do(n.Root, s.op, s.path, s.data)
		got := ""
		if e := errs.From(err); e != nil {
			got = e.Shown()
			if e.Code == errs.NotFound && got == "" {
				got = "404"
			}
		} else if err != nil {
			t.Fatalf("step %d, %s %s: %v", i, s.op, s.path, err)
		}
		if got != s.err {
			t.Errorf("step %d, %s %s: error %q, want %q", i, s.op, s.path, got, s.err)
			continue
		}
		if s.want == "" {
			continue
		}
		var want fields
		if err := json.Unmarshal([]byte(s.want), &want); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		encoded, _ := json.Marshal(resp.Data)
		var have fields
		_ = json.Unmarshal(encoded, &have)
		if !contains(have, want) {
			t.Errorf("step %d, %s %s: %s, want %s", i, s.op, s.path, encoded, s.want)
		}
	}
}

// contains reports whether have holds all of want, at any depth.
func contains(have, want any) bool {
	w, isObject := want.(fields)
	if !isObject {
		return reflect.DeepEqual(have, want)
	}
	h, ok := have.(fields)
	if !ok {
		return false
	}
	for key, value := range w {
		if !contains(h[key], value) {
			return false
		}
	}
	return true
}

func TestPluginCatalog(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	sum := strings.Repeat("ab", 32)
	run(t, n, []step{
		{read, "sys/plugins/catalog", nil, "", `{"auth":[],"database":[],"secret":[],"detailed":[]}`},
		{list, "sys/plugins/catalog/database", nil, "404", ""},
		{list, "sys/plugins/catalog/none", nil, `"none" is no kind of plugin: use one of auth, database, secret`, ""},
		{read, "sys/plugins/catalog/database/x", nil, "404", ""},
		{read, "sys/plugins/catalog/database/x", fields{"version": "one"}, `version "one" is not a valid semantic version: it must have the form v1.2.3`, ""},
		{write, "sys/plugins/catalog/database/x", fields{"command": "x"}, "missing SHA-256 value", ""},
		{write, "sys/plugins/catalog/database/x", fields{"command": "x", "sha256": "abc"}, "sha256 must be the program's SHA-256 in 64 hexadecimal digits: sha256sum shows it", ""},
		{write, "sys/plugins/catalog/database/x", fields{"sha256": sum}, "missing command value", ""},
		{write, "sys/plugins/catalog/database/x", fields{"command": "x", "sha256": sum, "version": "v1.0.0+builtin"}, `version "v1.0.0+builtin" is that of a built-in plugin, and cannot be registered`, ""},
		{write, "sys/plugins/catalog/secret/x", fields{"command": "x", "sha256": sum}, `plugins of kind "secret" cannot be registered: only database plugins run as programs of their own`, ""},
		{write, "sys/plugins/catalog/database/x", fields{"command": "x", "sha256": sum}, "this server launches no programs", ""},
		{remove, "sys/plugins/catalog/database/x", nil, "", ""},
		{write, "sys/plugins/reload/backend", nil, "plugin or mounts must be provided", ""},
		{write, "sys/plugins/reload/backend", fields{"plugin": "x", "mounts": []any{"a"}}, "plugin and mounts cannot be set at the same time", ""},
		{write, "sys/plugins/reload/backend", fields{"mounts": []any{"none"}}, `no matching mount at "none/"`, ""},
	})
}

func TestMounts(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	run(t, n, []step{
		{read, "sys/mounts", nil, "", `{"sys/":{"type":"system","seal_wrap":true,"options":null,"config":{"passthrough_request_headers":["Accept"]}},
			"cubbyhole/":{"type":"cubbyhole","local":true},"identity/":{"type":"identity","config":{"passthrough_request_headers":["Authorization"]}}}`},
		{write, "sys/mounts/team/kv", fields{"type": "kv", "description": "d", "options": fields{"version": "1"}, "config": fields{
			"default_lease_ttl": "1h", "max_lease_ttl": "24h", "listing_visibility": "unauth", "passthrough_request_headers": "X-One, X-Two"}}, "", ""},
		{read, "sys/mounts/team/kv", nil, "", `{"type":"kv","description":"d","options":{"version":"1"},
			"config":{"default_lease_ttl":3600,"max_lease_ttl":86400,"force_no_cache":false,"listing_visibility":"unauth","passthrough_request_headers":["X-One","X-Two"]}}`},
		{write, "sys/mounts/team/kv/tune", fields{"default_lease_ttl": 7200, "description": "e", "listing_visibility": "hidden"}, "", ""},
		{read, "sys/mounts/team/kv/tune", nil, "", `{"default_lease_ttl":7200,"max_lease_ttl":86400,"description":"e","listing_visibility":"hidden","options":{"version":"1"}}`},
		{write, "sys/mounts/team/kv/tune", fields{"max_lease_ttl": "system", "default_lease_ttl": "system"}, "", ""},
		{read, "sys/mounts/team/kv/tune", nil, "", `{"default_lease_ttl":2764800,"max_lease_ttl":2764800}`},
		{write, "sys/mounts/team/kv/tune", fields{"max_lease_ttl": "1h"}, "", ""},
		{read, "sys/mounts/team/kv/tune", nil, "", `{"default_lease_ttl":3600,"max_lease_ttl":3600}`},
		{write, "sys/mounts/team/kv/tune", fields{"options": fields{"version": "2"}}, "", ""},
		{write, "sys/mounts/team/kv/tune", fields{"options": fields{"version": "1"}}, "cannot downgrade mount from version 2", ""},
		{write, "sys/mounts/k2", fields{"type": "kv-v2"}, "", ""},
		{read, "sys/mounts/k2", nil, "", `{"type":"kv","options":{"version":"2"}}`},

		{write, "sys/mounts/team/kv/tune", fields{"default_lease_ttl": "5h", "max_lease_ttl": "1h"}, "backend max lease TTL of 3600 would be less than backend default lease TTL of 18000", ""},
		{write, "sys/mounts/team/kv/tune", fields{"listing_visibility": "sometimes"}, "invalid listing_visibility sometimes", ""},
		{write, "sys/mounts/team/kv/tune", fields{"default_lease_ttl": "x"}, `time: invalid duration "x"`, ""},
		{write, "sys/mounts/team/kv/tune", fields{"token_type": "batch"}, "'token_type' can only be modified on auth mounts", ""},
		{write, "sys/mounts/team/kv/tune", fields{"options": fields{"version": "3"}}, "invalid version provided: 3", ""},
		{write, "sys/mounts/sys/tune", fields{"description": "x"}, "cannot tune parameter description of sys/", ""},
		{write, "sys/mounts/sys/tune", fields{"audit_non_hmac_request_keys": "a"}, "", ""},
		{write, "sys/mounts/nope/tune", fields{"description": "x"}, `tune of path "nope/" failed: no mount entry found`, ""},
		{read, "sys/mounts/nope/tune", nil, `cannot fetch sysview for path "nope/"`, ""},
		{read, "sys/mounts/nope", nil, "No secret engine mount at nope/", ""},
		{write, "sys/mounts/team/kv", fields{"type": "kv"}, "path is already in use at team/kv/", ""},
		{write, "sys/mounts/team", fields{"type": "kv"}, "path is already in use at team/kv/", ""},
		{write, "sys/mounts/team/kv/sub", fields{"type": "kv"}, "path is already in use at team/kv/", ""},
		{write, "sys/mounts/x", nil, "backend type must be specified as a string", ""},
		{write, "sys/mounts/x", fields{"type": "plugin"}, "plugin_name must be provided for plugin backend", ""},
		{write, "sys/mounts/x", fields{"type": "none"}, "plugin not found in the catalog: none", ""},
		{write, "sys/mounts/x", fields{"type": "kv", "config": fields{"default_lease_ttl": "3h", "max_lease_ttl": "2h"}}, "given default lease TTL greater than given max lease TTL", ""},
		{write, "sys/mounts/x", fields{"type": "kv", "config": fields{"default_lease_ttl": "900h"}}, "given default lease TTL greater than system max lease TTL of 2764800", ""},
		{write, "sys/mounts/x", fields{"type": "kv", "config": fields{"default_lease_ttl": "zzz"}}, `unable to parse default TTL of zzz: time: invalid duration "zzz"`, ""},
		{write, "sys/mounts/x", fields{"type": "lab", "options": fields{"version": "2"}}, `secrets engine "lab" does not allow setting a version`, ""},
		{write, "sys/mounts/sys", fields{"type": "kv"}, `cannot mount "sys/"`, ""},
		{write, "sys/mounts/auth/x", fields{"type": "kv"}, `cannot mount "auth/x/"`, ""},
		{remove, "sys/mounts/identity", nil, `cannot unmount "identity/"`, ""},
		{remove, "sys/mounts/team/kv", nil, "", ""},
		{remove, "sys/mounts/team/kv", nil, "", ""},
	})
}

func TestAuthMounts(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	run(t, n, []step{
		{read, "sys/auth", nil, "", `{"token/":{"type":"token","options":null,"config":{"token_type":"default-service"}}}`},
		{write, "sys/auth/people", fields{"type": "door", "config": fields{"default_lease_ttl": "30m", "max_lease_ttl": 7200, "token_type": "batch"}}, "", ""},
		{read, "sys/auth/people", nil, "", `{"type":"door","options":{},"config":{"default_lease_ttl":1800,"max_lease_ttl":7200,"token_type":"batch"}}`},
		{read, "sys/mounts/auth/people/tune", nil, "", `{"default_lease_ttl":1800,"token_type":"batch"}`},
		{write, "sys/auth/people/tune", fields{"token_type": "default-service", "user_lockout_config": fields{"lockout_threshold": "3", "lockout_duration": "10m", "lockout_disable": false}}, "", ""},
		{read, "sys/auth/people/tune", nil, "", `{"token_type":"default-service","user_lockout_threshold":3,"user_lockout_duration":600,"user_lockout_counter_reset_duration":0,"user_lockout_disable":false}`},
		{write, "sys/auth/people/tune", fields{"token_type": "odd"}, "invalid value for 'token_type'", ""},
		{write, "sys/auth/token/tune", fields{"token_type": "batch"}, "'token_type' cannot be set for 'token' or 'ns_token' auth mounts", ""},
		{write, "sys/mounts/auth/token/tune", fields{"default_lease_ttl": "1h"}, "", ""},
		{write, "sys/auth/people", fields{"type": "door"}, "path is already in use at people/", ""},
		{write, "sys/auth/token", fields{"type": "door"}, "path is already in use at token/", ""},
		{write, "sys/auth/x", nil, "backend type must be specified as a string", ""},
		{remove, "sys/auth/token", nil, "token credential backend cannot be disabled", ""},
		{read, "sys/auth/none", nil, "No auth engine at none/", ""},
		{write, "sys/remount", fields{"from": "auth/people", "to": "people"}, `cannot remount auth mount to non-auth mount "people/"`, ""},
		{write, "sys/remount", fields{"from": "sys", "to": "x"}, `cannot remount "sys/"`, ""},
		{write, "sys/remount", fields{"from": "none", "to": "x"}, `no matching mount at "none/"`, ""},
		{write, "sys/remount", fields{"from": "auth/people", "to": "auth/token"}, `path already in use at "auth/token/"`, ""},
		{write, "sys/remount", fields{"from": "x"}, "both 'from' and 'to' path must be specified as a string", ""},
		{read, "sys/remount/status/none", nil, "404", ""},
		{write, "sys/remount", fields{"from": "auth/people", "to": "auth/staff"}, "", ""},
		{read, "sys/auth/staff", nil, "", `{"type":"door"}`},
		{remove, "sys/auth/staff", nil, "", ""},
	})
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	text := `path "a" { capabilities = ["read"] }`
	run(t, n, []step{
		{list, "sys/policies/acl", nil, "", `{"keys":["default","root"]}`},
		{write, "sys/policies/acl/Team", fields{"policy": text}, "", ""},
		{read, "sys/policies/acl/TEAM", nil, "", `{"name":"team","policy":"path \"a\" { capabilities = [\"read\"] }"}`},
		{read, "sys/policy/team", nil, "", `{"name":"team","rules":"path \"a\" { capabilities = [\"read\"] }"}`},
		{write, "sys/policy/old", fields{"rules": text}, "", ""},
		{read, "sys/policy", nil, "", `{"keys":["default","old","team","root"],"policies":["default","old","team","root"]}`},
		{write, "sys/policies/acl/b64", fields{"policy": "cGF0aCAiYSIgeyBjYXBhYmlsaXRpZXMgPSBbInJlYWQiXSB9"}, "", ""},
		{read, "sys/policies/acl/b64", nil, "", `{"policy":"path \"a\" { capabilities = [\"read\"] }"}`},
		{read, "sys/policies/acl/root", nil, "", `{"name":"root","policy":""}`},
		{read, "sys/policies/acl/none", nil, "404", ""},
		{write, "sys/policies/acl/bad", nil, "'policy' parameter not supplied or empty", ""},
		{write, "sys/policies/acl/bad", fields{"policy": `path "a" { capabilities = ["fly"] }`}, `failed to parse policy: path "a": invalid capability "fly"`, ""},
		{write, "sys/policies/acl/root", fields{"policy": text}, `cannot update "root" policy`, ""},
		{write, "sys/policies/acl/response-wrapping", fields{"policy": text}, `cannot update "response-wrapping" policy`, ""},
		{remove, "sys/policies/acl/root", nil, `cannot delete "root" policy`, ""},
		{remove, "sys/policies/acl/default", nil, "cannot delete default policy", ""},
		{remove, "sys/policies/acl/team", nil, "", ""},
		{remove, "sys/policy/team", nil, "", ""},
		{write, "sys/policies/acl/default", fields{"policy": text}, "", ""},
	})
	if got := n.Must(write, "sys/policies/acl/Up", fields{"policy": text}).Warnings; len(got) != 1 || got[0] != "policy name was converted to up" {
		t.Errorf("warnings %q", got)
	}
	if got := n.Must(write, "sys/policy/old", fields{"rules": text}).Warnings; len(got) != 1 || got[0] != "'rules' is deprecated, please use 'policy' instead" {
		t.Errorf("warnings %q", got)
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	token := n.MustToken(`path "a/*" { capabilities = ["update", "read"] } path "a/no" { capabilities = ["deny"] }`, nil)
	lookup := n.Must(write, "auth/token/lookup", fields{"token": token.Reveal()}).Data
	run(t, n, []step{
		{write, "sys/capabilities", fields{"token": token.Reveal(), "paths": "a/x"}, "", `{"a/x":["read","update"],"capabilities":["read","update"]}`},
		{write, "sys/capabilities", fields{"token": token.Reveal(), "paths": []any{"a/x", "a/no", "b"}}, "", `{"a/x":["read","update"],"a/no":["deny"],"b":["deny"]}`},
		{write, "sys/capabilities-accessor", fields{"accessor": lookup["accessor"], "path": "a/x"}, "", `{"capabilities":["read","update"]}`},
		{write, "sys/capabilities-self", fields{"path": "any"}, "", `{"any":["root"]}`},
		{write, "sys/capabilities-self", nil, "paths must be supplied", ""},
		{write, "sys/capabilities", fields{"paths": "x"}, "1 error occurred:\n\t* no token found\n\n", ""},
		{write, "sys/capabilities", fields{"token": "none", "paths": "x"}, "1 error occurred:\n\t* invalid token\n\n", ""},
		{write, "sys/capabilities-accessor", fields{"paths": "x"}, "missing accessor", ""},
		{write, "sys/capabilities-accessor", fields{"accessor": "none", "paths": "x"}, "1 error occurred:\n\t* invalid accessor\n\n", ""},
	})
}

// Leases of secrets and of tokens are one table to clients.
func TestLeases(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(write, "sys/mounts/lab", fields{"type": "lab", "config": fields{"default_lease_ttl": "10m", "max_lease_ttl": "1h"}})
	id := n.Must(read, "lab/lend/a", nil).Secret.LeaseID
	last := id[strings.LastIndexByte(id, '/')+1:]
	token := n.MustToken("", nil)
	tokenLease := "auth/token/create/" + n.Must(list, "sys/leases/lookup/auth/token/create", nil).Data["keys"].([]string)[0]
	run(t, n, []step{
		{list, "sys/leases/lookup", nil, "", `{"keys":["auth/","lab/"]}`},
		{list, "sys/leases/lookup/lab/lend/a", nil, "", `{"keys":["` + last + `"]}`},
		{list, "sys/leases/lookup/lab/none", nil, "404", ""},
		{read, "sys/leases/lookup", nil, "1 error occurred:\n\t* unsupported operation\n\n", ""},
		{write, "sys/leases/lookup", fields{"lease_id": id}, "", `{"id":"` + id + `","path":"lab/lend/a","renewable":true,"ttl":600,"last_renewal":null}`},
		{write, "sys/leases/lookup", fields{"lease_id": tokenLease}, "", `{"path":"auth/token/create","renewable":true,"ttl":3600}`},
		{write, "sys/leases/lookup", nil, "lease_id must be specified", ""},
		{write, "sys/leases/lookup", fields{"lease_id": "lab/lend/a/none"}, "invalid lease", ""},
		{write, "sys/leases/lookup", fields{"lease_id": "auth/token/create/none"}, "invalid lease", ""},
		{write, "sys/leases/renew", fields{"lease_id": tokenLease}, "tokens cannot be renewed through this endpoint", ""},
		{write, "sys/leases/renew", fields{"lease_id": "auth/none"}, "lease not found", ""},
		{write, "sys/leases/renew", nil, "lease_id must be specified", ""},
		{write, "sys/leases/revoke", fields{"lease_id": "lab/lend/a/none"}, "", ""},
		{write, "sys/leases/revoke-prefix/lab/none", nil, "", ""},
		{read, "sys/leases/count", nil, "404", ""},
		{read, "sys/leases/count", fields{"type": "irrevocable"}, "", `{"lease_count":0,"counts":{}}`},
		{read, "sys/leases", fields{"type": "irrevocable"}, "", `{"lease_count":0,"leases":[]}`},
		{read, "sys/leases", nil, "404", ""},
		{read, "sys/leases", fields{"type": "irrevocable", "limit": "x"}, "1 error occurred:\n\t* invalid 'limit' provided: \"x\" is not a number\n\n", ""},
		{read, "sys/leases", fields{"type": "irrevocable", "limit": "0"}, "1 error occurred:\n\t* limit must be 'none' or a positive integer\n\n", ""},
	})
	for _, path := range []string{"sys/leases/renew/", "sys/renew/"} {
		if got := n.Must(write, path+id, fields{"increment": 120}).Secret; got.LeaseID != id || got.Duration != 2*time.Minute {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := n.Must(write, "sys/leases/tidy", nil); got.Status != 202 || len(got.Warnings) != 1 {
		t.Errorf("tidy: %+v", got)
	}

	if got := n.Must(write, "sys/leases/revoke", fields{"lease_id": id, "sync": false}); got.Status != 202 {
		t.Errorf("revoke without sync: %+v", got)
	}
	run(t, n, []step{{write, "sys/leases/lookup", fields{"lease_id": id}, "", `{"renewable":false,"ttl":0}`}})
	if err := n.Leases.RunOnce(t.Context()); err != nil || n.Lab.Lent() != 0 {
		t.Errorf("%d things are out, %v", n.Lab.Lent(), err)
	}
	n.Must(write, "sys/revoke/"+tokenLease, nil)
	if _, err := n.Do(token, read, "auth/token/lookup-self", nil); errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("the token of a revoked lease: %v", err)
	}
	n.Must(read, "lab/lend/b", nil)
	n.Must(write, "sys/revoke-prefix/lab", nil)
	if n.Lab.Lent() != 0 {
		t.Errorf("%d things are out", n.Lab.Lent())
	}

	n.Must(read, "lab/lend/c", nil)
	n.Lab.Refuse(errs.New(errs.Invalid, "no"))
	if _, err := n.Do(n.Root, write, "sys/leases/revoke-prefix/lab", nil); errs.CodeOf(err) != errs.Invalid {
		t.Errorf("a refused revocation: %v", err)
	}
	n.Must(write, "sys/revoke-force/lab", nil)
	run(t, n, []step{{list, "sys/leases/lookup/lab", nil, "404", ""}})
}

func TestTools(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	run(t, n, []step{
		{write, "sys/tools/hash", fields{"input": "aGVsbG8="}, "", `{"sum":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`},
		{write, "sys/tools/hash/sha3-224", fields{"input": "aGVsbG8=", "format": "base64"}, "", `{"sum":"uH+IxycC//F0jli4fpFBpCwNvtwpp4yw1KXNgQ=="}`},
		{write, "sys/tools/hash", nil, "", `{"sum":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`},
		{write, "sys/tools/hash", fields{"algorithm": "md5"}, "unsupported algorithm md5", ""},
		{write, "sys/tools/hash", fields{"input": "not base64!"}, "unable to decode input as base64: illegal base64 data at input byte 3", ""},
		{write, "sys/tools/hash", fields{"format": "x"}, `unsupported encoding format x; must be "hex" or "base64"`, ""},
		{write, "sys/tools/random", fields{"format": "octal"}, `unsupported encoding format "octal"; must be "hex" or "base64"`, ""},
		{write, "sys/tools/random", fields{"bytes": 0}, "'bytes' cannot be less than 1", ""},
		{write, "sys/tools/random/200000", nil, "'bytes' should be less than 131072", ""},
	})
	for path, size := range map[string]int{"sys/tools/random": 64, "sys/tools/random/8": 16, "sys/tools/random/seal/4": 8, "sys/tools/random/platform": 64} {
		if got := n.Must(write, path, fields{"format": "hex"}).Data["random_bytes"].(string); len(got) != size {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	run(t, n, []step{
		{read, "sys/config/cors", nil, "", `{"enabled":false}`},
		{write, "sys/config/cors", nil, "1 error occurred:\n\t* at least one origin or the wildcard must be provided\n\n", ""},
		{write, "sys/config/cors", fields{"allowed_origins": "https://a.example", "allowed_headers": "X-One"}, "", ""},
		{read, "sys/config/cors", nil, "", `{"enabled":true,"allowed_origins":["https://a.example"]}`},
		{read, "sys/config/auditing/request-headers", nil, "", `{"headers":{}}`},
		{write, "sys/config/auditing/request-headers/X-A", fields{"hmac": true}, "", ""},
		{read, "sys/config/auditing/request-headers", nil, "", `{"headers":{"x-a":{"hmac":true}}}`},
		{read, "sys/config/auditing/request-headers/X-A", nil, "", `{"X-A":{"hmac":true}}`},
		{read, "sys/config/auditing/request-headers/none", nil, "Could not find header in config", ""},
		{remove, "sys/config/auditing/request-headers/X-A", nil, "", ""},
		{list, "sys/config/ui/headers", nil, "404", ""},
		{write, "sys/config/ui/headers/x-frame-options", fields{"values": []any{"DENY"}}, "", ""},
		{list, "sys/config/ui/headers", nil, "", `{"keys":["X-Frame-Options"]}`},
		{read, "sys/config/ui/headers/X-Frame-Options", fields{"multivalue": "true"}, "", `{"values":["DENY"]}`},
		{write, "sys/config/ui/headers/X-Bad", fields{"values": []any{"a\r\nb"}}, "header values must not contain line breaks", ""},
		{write, "sys/config/ui/headers/X-Vault-Any", fields{"values": []any{"a"}}, "X-Vault headers cannot be set", ""},
		{read, "sys/key-status", nil, "", `{"term":1}`},
		{write, "sys/rotate", nil, "", ""},
		{read, "sys/key-status", nil, "", `{"term":2}`},
		{read, "sys/rotate/config", nil, "", `{"enabled":true,"interval":0,"max_operations":3865470566}`},
		{write, "sys/rotate/config", fields{"interval": "1h"}, "interval must be greater or equal to 24h0m0s", ""},
		{write, "sys/rotate/config", fields{"max_operations": 10}, "max_operations must be in the range [1000000,3865470566]", ""},
		{write, "sys/rotate/config", fields{"interval": "48h"}, "", ""},
		{read, "sys/rotate/config", nil, "", `{"interval":"48h0m0s"}`},
		{write, "sys/step-down", nil, "", ""},
		{list, "sys/version-history", nil, "", `{"keys":["1.2.3"],"key_info":{"1.2.3":{"previous_version":null}}}`},
		{read, "sys/ha-status", nil, "", ""},
		{read, "sys/host-info", nil, "", ""},
	})
	if c, err := n.CORS(t.Context()); !c.Enabled || err != nil {
		t.Errorf("the server does not know of CORS: %+v, %v", c, err)
	}
	if got := n.UIHeaders().Get("X-Frame-Options"); got != "DENY" {
		t.Errorf("the server's header is %q", got)
	}
	n.Clock.Advance(49 * time.Hour)
	if err := n.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, n, []step{{read, "sys/key-status", nil, "", `{"term":3}`}})
}

// Ceremonies answer outside the envelope, without a token, only where the settings say so.
func TestCeremoniesAndTokens(t *testing.T) {
	t.Parallel()
	shut := brokertest.New(t, broker.Settings{})
	open := brokertest.New(t, broker.Settings{UnauthenticatedRekey: true, UnauthenticatedGenerateRoot: true})
	for _, path := range []string{"sys/rekey/init", "sys/generate-root/attempt"} {
		if _, err := shut.Do(secret.Text{}, read, path, nil); errs.CodeOf(err) != errs.Unauthenticated {
			t.Errorf("%s without a token: %v", path, err)
		}
		if got := shut.Must(read, path, nil); got.Raw != nil || got.Data["required"] != 1 {
			t.Errorf("%s with a token: %+v", path, got)
		}
		got, err := open.Do(secret.Text{}, read, path, nil)
		if err != nil || got.Raw == nil || !json.Valid(got.Raw.Body) {
			t.Errorf("%s without a token where none is needed: %+v, %v", path, got, err)
		}
	}
	if _, err := open.Do(secret.Text{}, read, "sys/rotate/root/init", nil); errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("rotate/root without a token: %v", err)
	}
}

func TestInternalUI(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(write, "sys/mounts/open", fields{"type": "lab", "config": fields{"listing_visibility": "unauth"}})
	n.Must(write, "sys/mounts/team/kv", fields{"type": "kv"})
	token := n.MustToken(`path "team/kv/data/app" { capabilities = ["read"] }`, nil)
	plain := n.MustToken("", nil)

	visible := func(token secret.Text) fields {
		resp, err := n.Do(token, read, "sys/internal/ui/mounts", nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Data["secret"].(fields)
	}
	if got := visible(secret.Text{}); len(got) != 1 || len(got["open/"].(fields)) != 3 {
		t.Errorf("without a token: %v", got)
	}
	if got := visible(token); got["team/kv/"] == nil || got["open/"].(fields)["uuid"] == nil {
		t.Errorf("with access: %v", got)
	}
	if got := visible(plain); got["team/kv/"] != nil {
		t.Errorf("without access: %v", got)
	}

	resp, err := n.Do(token, read, "sys/internal/ui/mounts/team/kv/any", nil)
	if err != nil || resp.Data["path"] != "team/kv/" {
		t.Errorf("got %+v, %v", resp, err)
	}
	for _, path := range []string{"team/kv/any", "nowhere/x"} {
		_, err := n.Do(plain, read, "sys/internal/ui/mounts/"+path, nil)
		want := "preflight capability check returned 403, please ensure client's policies grant access to path \"" + path + "/\""
		if e := errs.From(err); e == nil || e.Code != errs.Denied || e.Shown() != want {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := n.Do(secret.Text{}, read, "sys/internal/ui/mounts/"+path, nil); errs.CodeOf(err) != errs.Unauthenticated {
			t.Errorf("%s without a token: %v", path, err)
		}
	}
	if resp, err := n.Do(plain, read, "sys/internal/ui/resultant-acl", nil); err != nil || resp.Data["root"] != false {
		t.Errorf("got %+v, %v", resp, err)
	}
}

func TestPasswordPolicies(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	framed := func(text string) string {
		return "1 error occurred:\n\t* invalid password policy: 1 error occurred:\n\t* " + text + "\n\n\n\n"
	}
	text := "length = 20\nrule \"charset\" {\n charset = \"abcdefghij\"\n min-chars = 2\n}\nrule \"charset\" {\n charset = \"0123456789\"\n min-chars = 3\n}"
	run(t, n, []step{
		{list, "sys/policies/password", nil, "404", ""},
		{write, "sys/policies/password/p", fields{"policy": text}, "", ""},
		{list, "sys/policies/password", nil, "", `{"keys":["p"]}`},
		{write, "sys/policies/password/j", fields{"policy": `{"length":8,"rule":[{"charset":{"charset":"äöü"}}]}`}, "", ""},
		{write, "sys/policies/password/b64", fields{"policy": "bGVuZ3RoID0gMTIKcnVsZSAiY2hhcnNldCIgeyBjaGFyc2V0ID0gIlhZWiIgfQ=="}, "", ""},
		{write, "sys/policies/password/x", nil, "1 error occurred:\n\t* missing policy\n\n", ""},
		{write, "sys/policies/password/x", fields{"policy": `length = 3 rule "charset" { charset = "ab" }`}, "1 error occurred:\n\t* passwords must be between 4 and 100 characters\n\n", ""},
		{write, "sys/policies/password/x", fields{"policy": `length = 5` + "\n" + `rule "charset" { charset = "ab" min-chars = 9 }`}, framed("specified rules require at least 9 characters but 5 is specified"), ""},
		{write, "sys/policies/password/x", fields{"policy": `length = 20`}, framed("no charset specified"), ""},
		{write, "sys/policies/password/x", fields{"policy": `length = 20` + "\n" + `rule "words" { charset = "ab" }`}, framed("unrecognized rule type words"), ""},
		{read, "sys/policies/password/none", nil, "1 error occurred:\n\t* policy does not exist\n\n", ""},
		{read, "sys/policies/password/none/generate", nil, "1 error occurred:\n\t* policy does not exist\n\n", ""},
		{remove, "sys/policies/password/p", nil, "", ""},
		{read, "sys/policies/password/p", nil, "1 error occurred:\n\t* policy does not exist\n\n", ""},
	})
	for name, size := range map[string]int{"j": 8, "b64": 12} {
		password := n.Must(read, "sys/policies/password/"+name+"/generate", nil).Data["password"].(string)
		if len([]rune(password)) != size {
			t.Errorf("%s: %q", name, password)
		}
	}
}

// Every password of a policy keeps its rules, and no character is out of reach.
func TestGeneratedPasswords(t *testing.T) {
	t.Parallel()
	p, err := sys.ParsePasswordPolicy("length = 6\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 2\n}\nrule \"charset\" {\n charset = \"01\"\n min-chars = 3\n}")
	if err != nil {
		t.Fatal(err)
	}
	places := map[int]map[rune]bool{}
	for range 2000 {
		letters, digits := 0, 0
		for i, r := range p.Generate().Reveal() {
			if places[i] == nil {
				places[i] = map[rune]bool{}
			}
			places[i][r] = true
			if strings.ContainsRune("abc", r) {
				letters++
			} else if strings.ContainsRune("01", r) {
				digits++
			}
		}
		if letters+digits != 6 || letters < 2 || digits < 3 {
			t.Fatalf("%d letters and %d digits", letters, digits)
		}
	}
	for i := range 6 {
		if len(places[i]) != 5 {
			t.Errorf("place %d has seen %d of 5 characters", i, len(places[i]))
		}
	}
}

func FuzzParsePasswordPolicy(f *testing.F) {
	f.Add("length = 20\nrule \"charset\" { charset = \"ab\" min-chars = 2 }")
	f.Add(`{"length":8,"rule":[{"charset":{"charset":"abc"}}]}`)
	f.Add("length = 9223372036854775807")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := sys.ParsePasswordPolicy(text)
		if err != nil {
			if errs.CodeOf(err) != errs.Invalid {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if got := len([]rune(p.Generate().Reveal())); got != p.Length {
			t.Fatalf("%d characters, want %d", got, p.Length)
		}
	})
}
