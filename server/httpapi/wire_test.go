package httpapi_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"leasehold/server/servertest"
)

// exchange is one request and what must come back.
type exchange struct {
	name, method, path string
	token              string // "root" is the root token
	headers            []string
	body               any
	status             int
	want               string // in the raw body; "": an empty body; "*": anything
	header             string // "Name: value" that must be there
}

func run(t *testing.T, s *servertest.Server, tests []exchange) {
	t.Helper()
	for _, test := range tests {
		token := test.token
		if token == "root" {
			token = s.RootToken
		}
		got, err := s.Do(test.method, strings.TrimPrefix(test.path, "/v1/"), token, test.body, test.headers...)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got.Status != test.status {
			t.Errorf("%s: %s %s: status %d, want %d: %s", test.name, test.method, test.path, got.Status, test.status, got.Raw)
			continue
		}
		if body := string(got.Raw); test.want == "" && body != "" || !strings.Contains(body, strings.TrimPrefix(test.want, "*")) {
			t.Errorf("%s: body %q, want %q", test.name, body, test.want)
		}
		if name, value, ok := strings.Cut(test.header, ": "); ok && got.Header.Get(name) != value {
			t.Errorf("%s: %s is %q, want %q", test.name, name, got.Header.Get(name), value)
		}
		if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s: standard headers are missing: %v", test.name, got.Header)
		}
	}
}

const empty = `{"errors":[]}`

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	run(t, s, []exchange{
		{name: "double slash", method: "GET", path: "/v1/sys//mounts", token: "root", status: 307, want: "Temporary Redirect", header: "Location: /v1/sys/mounts"},
		{name: "dot segments", method: "GET", path: "/v1/sys/x/../mounts", token: "root", status: 307, want: "Temporary Redirect", header: "Location: /v1/sys/mounts"},
		{name: "the body is HTML", method: "GET", path: "/v1/sys/./mounts", token: "root", status: 307, want: "<a href=", header: "Content-Type: text/html; charset=utf-8"},
		{name: "encoded dot segments", method: "GET", path: "/v1/sys/%2e%2e/sys/mounts", token: "root", status: 307, want: "*", header: "Location: /v1/sys/mounts"},
		{name: "encoded slashes", method: "GET", path: "/v1/sys%2F%2Fmounts", token: "root", status: 307, want: "*", header: "Location: /v1/sys/mounts"},
		{name: "query is kept", method: "PUT", path: "/v1/sys//x?a=b%20c", token: "root", status: 307, header: "Location: /v1/sys/x?a=b%20c"},
		{name: "names are encoded again", method: "GET", path: "/v1//a%20b%3Fc", token: "root", status: 307, want: "*", header: "Location: /v1/a%20b%3Fc"},
		{name: "percent-encoding", method: "GET", path: "/v1/sys/%6dounts", token: "root", status: 200, want: `"sys/":{`},
		{name: "decoded once", method: "GET", path: "/v1/sys/%256dounts", token: "root", status: 404, want: "unsupported path"},
		{name: "control character", method: "GET", path: "/v1/sys/a%01", token: "root", status: 400},
		{name: "NUL", method: "GET", path: "/v1/sys/a%00", token: "root", status: 400},
		{name: "DEL", method: "GET", path: "/v1/sys/a%7f", token: "root", status: 400},
		{name: "broken UTF-8", method: "GET", path: "/v1/sys/a%ff", token: "root", status: 400},
		{name: "overlong dot", method: "GET", path: "/v1/sys/%c0%ae%c0%ae/x", token: "root", status: 400},
		{name: "no route", method: "GET", path: "/v1/nowhere/x", token: "root", status: 404, want: `{"errors":["no handler for route \"nowhere/x\". route entry not found."]}`},
		{name: "no route, no token", method: "GET", path: "/v1/nowhere/x", status: 403, want: `{"errors":["permission denied"]}`},
		{name: "empty path", method: "GET", path: "/v1/", token: "root", status: 404, want: `no handler for route \"\"`},

		{name: "LIST", method: "LIST", path: "/v1/sys/policies/acl", token: "root", status: 200, want: `"keys":["default","root"]`},
		{name: "list=true", method: "GET", path: "/v1/sys/policies/acl?list=true", token: "root", status: 200, want: `"keys":["default","root"]`},
		{name: "list=1 with slash", method: "GET", path: "/v1/sys/policies/acl/?list=1", token: "root", status: 200, want: `"keys":["default","root"]`},
		{name: "list=yes", method: "GET", path: "/v1/sys/policies/acl?list=yes", token: "root", status: 400, want: empty},
		{name: "list=false reads", method: "GET", path: "/v1/sys/policies/acl/default?list=false", token: "root", status: 200, want: `"name":"default"`},
		{name: "empty list", method: "LIST", path: "/v1/auth/token/roles", token: "root", status: 404, want: empty},
		{name: "POST and PUT are one", method: "POST", path: "/v1/sys/policies/acl/a", token: "root", body: map[string]any{"policy": `path "a" {}`}, status: 204, header: "Content-Type: application/json"},
		{name: "DELETE", method: "DELETE", path: "/v1/sys/policies/acl/a", token: "root", status: 204},
		{name: "TRACE", method: "TRACE", path: "/v1/sys/mounts", token: "root", status: 405, want: empty},
		{name: "an invented method", method: "BREW", path: "/v1/sys/mounts", token: "root", status: 405, want: empty},
		{name: "OPTIONS without CORS", method: "OPTIONS", path: "/v1/sys/mounts", token: "root", status: 400, want: empty},
		{name: "HEAD", method: "HEAD", path: "/v1/sys/mounts", token: "root", status: 405, header: "Content-Type: application/json"},
		{name: "operation", method: "DELETE", path: "/v1/sys/mounts", token: "root", status: 405, want: `{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}`},
		{name: "write to a folder", method: "POST", path: "/v1/sys/policies/acl/", token: "root", body: map[string]any{}, status: 400, want: "cannot write to a path ending in '/'"},

		{name: "PATCH of another type", method: "PATCH", path: "/v1/sys/mounts", token: "root", headers: []string{"Content-Type", "application/json"}, body: "{}", status: 415,
			want: "PATCH requires Content-Type of application/merge-patch+json, provided application/json"},
		{name: "PATCH without a type", method: "PATCH", path: "/v1/sys/mounts", token: "root", body: "{}", status: 400, want: "mime: no media type"},
		{name: "PATCH", method: "PATCH", path: "/v1/sys/mounts", token: "root", headers: []string{"Content-Type", "application/merge-patch+json; charset=utf-8"}, body: "{}", status: 405,
			want: "unsupported operation"},

		{name: "help", method: "GET", path: "/v1/sys/mounts?help=1", token: "root", status: 200, want: `"see_also":null`},
		{name: "help without a token", method: "GET", path: "/v1/sys/mounts?help=1", status: 403, want: "permission denied"},
	})
}

func TestOutsideTheAPI(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	for _, path := range []string{"/", "/v1", "/v2/sys/health", "/ui/", "/favicon.ico"} {
		r, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Send(r)
		if err != nil || got.Status != http.StatusNotFound || strings.TrimSpace(string(got.Raw)) != empty {
			t.Errorf("%s: %d %q %v", path, got.Status, got.Raw, err)
		}
	}
}

// TestRequestLines sends what no client library would.
func TestRequestLines(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	for _, test := range []struct{ line, want string }{
		{"GET http://elsewhere.example/v1/sys/init HTTP/1.1", "200"},
		{"GET /v1/sys/init/../init HTTP/1.1", "307"},
		{"GET //evil.example/..//v1/sys/init HTTP/1.1", "307"},
		{"GET /v1/sys/%zz HTTP/1.1", "400"},
		{"GET v1/sys/init HTTP/1.1", "400"},
		{"OPTIONS * HTTP/1.1", "200"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "%s\r\nHost: x\r\nConnection: close\r\n\r\n", test.line)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", test.line, err)
		}
		if !strings.HasPrefix(resp.Status, test.want) {
			t.Errorf("%s: %s, want %s", test.line, resp.Status, test.want)
		}
		if location := resp.Header.Get("Location"); strings.HasPrefix(location, "//") || strings.Contains(location, "evil") && !strings.HasPrefix(location, "/") {
			t.Errorf("%s: leads elsewhere: %q", test.line, location)
		}
		_ = resp.Body.Close()
		_ = conn.Close()
	}
}

func TestTokenAndHeaders(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	const self = "/v1/auth/token/lookup-self"
	run(t, s, []exchange{
		{name: "X-Vault-Token", method: "GET", path: self, token: "root", status: 200, want: `"display_name":"root"`},
		{name: "Bearer", method: "GET", path: self, headers: []string{"Authorization", "Bearer " + s.RootToken}, status: 200, want: "*"},
		{name: "Bearer, trimmed", method: "GET", path: self, headers: []string{"Authorization", "Bearer  " + s.RootToken + " "}, status: 200, want: "*"},
		{name: "bearer", method: "GET", path: self, headers: []string{"Authorization", "bearer " + s.RootToken}, status: 403, want: `{"errors":["permission denied"]}`},
		{name: "Basic", method: "GET", path: self, headers: []string{"Authorization", "Basic abc"}, status: 403, want: "permission denied"},
		{name: "X-Vault-Token wins", method: "GET", path: self, token: "bad", headers: []string{"Authorization", "Bearer " + s.RootToken}, status: 403, want: "permission denied"},
		{name: "none", method: "GET", path: self, status: 403, want: "permission denied"},

		{name: "wrap: not a duration", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-TTL", "abc"}, status: 400, want: `error parsing X-Vault-Wrap-TTL header: time: invalid duration`},
		{name: "wrap: negative", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-TTL", "-5m"}, status: 400, want: "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative"},
		{name: "wrap: as JWT", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-TTL", "5m", "X-Vault-Wrap-Format", "JWT"}, status: 400, want: "no wrapping tokens in the form of a JWT"},
		{name: "wrap: the format alone", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-Format", "jwt"}, status: 200, want: `"wrap_info":null`},
		{name: "wrap", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-TTL", "5m"}, status: 200, want: `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"hvs.`},
		{name: "wrap: zero", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Wrap-TTL", "0"}, status: 200, want: `"wrap_info":null`},

		{name: "root namespace", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Namespace", ""}, status: 200, want: "*"},
		{name: "root namespace by name", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Namespace", "root/"}, status: 200, want: "*"},
		{name: "another namespace", method: "GET", path: self, token: "root", headers: []string{"X-Vault-Namespace", "team/"}, status: 404, want: "namespace not found"},
		{name: "root-only path", method: "GET", path: "/v1/sys/health", headers: []string{"X-Vault-Namespace", "team"}, status: 400, want: "operation unavailable in namespaces"},
		{name: "root-only path below", method: "PUT", path: "/v1/sys/generate-root/attempt", headers: []string{"X-Vault-Namespace", "team"}, status: 400, want: "operation unavailable in namespaces"},
	})
}

func TestBodies(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Listener: "tls_disable = true\n max_request_size = 2000\n max_request_json_strings = 20"})
	const path = "/v1/sys/policies/acl/p"
	policy := func(text string) string { return `{"policy":"` + text + `"}` }
	run(t, s, []exchange{
		{name: "any content type", method: "PUT", path: path, token: "root", headers: []string{"Content-Type", "text/plain"}, body: policy(`path \"a\" {}`), status: 204},
		{name: "form", method: "PUT", path: path, token: "root", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, body: "policy=path+%22b%22+%7B%7D", status: 204},
		{name: "the form was read", method: "GET", path: path, token: "root", status: 200, want: `"policy":"path \"b\" {}"`},
		{name: "JSON despite the form's type", method: "PUT", path: path, token: "root", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, body: policy(`path \"c\" {}`), status: 204},
		{name: "empty", method: "PUT", path: path, token: "root", status: 400, want: "'policy' parameter not supplied or empty"},
		{name: "null", method: "PUT", path: path, token: "root", body: "null", status: 400, want: "'policy' parameter not supplied or empty"},
		{name: "broken", method: "PUT", path: path, token: "root", body: `{"policy": `, status: 400, want: "failed to decode JSON input: unexpected EOF"},
		{name: "array", method: "PUT", path: path, token: "root", body: "[1,2]", status: 400, want: "failed to decode JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{name: "text after", method: "PUT", path: path, token: "root", body: "{}x", status: 400, want: "failed to decode JSON input: text after the object"},
		{name: "too many strings", method: "PUT", path: path, token: "root", body: `{"a":["` + strings.Repeat(`","`, 30) + `"]}`, status: 400, want: "exceeded maximum number of strings"},
		{name: "too large", method: "PUT", path: path, token: "root", body: policy(strings.Repeat("#", 3000)), status: 413, want: `{"errors":["http: request body too large"]}`},
		{name: "the query adds nothing to a write", method: "PUT", path: path + "?policy=x", token: "root", body: "{}", status: 400, want: "'policy' parameter not supplied or empty"},
		{name: "the body adds nothing to a read", method: "GET", path: path, token: "root", body: "{{{", status: 200, want: `"name":"p"`},
		{name: "fixed paths have the same limits", method: "PUT", path: "/v1/sys/unseal", body: strings.Repeat(" ", 3000), status: 413, want: "too large"},
		{name: "fixed paths want objects, too", method: "PUT", path: "/v1/sys/unseal", body: "7", status: 400, want: "JSON input"},
	})
	// A length that is not told beforehand is counted while it comes.
	r, err := http.NewRequest(http.MethodPut, s.URL+path, struct{ *strings.Reader }{strings.NewReader(policy(strings.Repeat("#", 3000)))})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	r.Header.Set("X-Vault-Token", s.RootToken)
	if got, err := s.Send(r); err != nil || got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: %d %s %v", got.Status, got.Raw, err)
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	keys := []string{"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth", "mount_type"}
	created := s.Root(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"default"}, "ttl": "1h", "unknown": 1, "meta": map[string]any{"a": "b"}})
	for _, key := range keys {
		if _, ok := created[key]; !ok {
			t.Errorf("no %q in %v", key, created)
		}
	}
	if created["data"] != nil || created["lease_id"] != "" || created["mount_type"] != "token" {
		t.Errorf("data %v, lease_id %v, mount_type %v", created["data"], created["lease_id"], created["mount_type"])
	}
	if got := fmt.Sprint(created["warnings"]); got != "[Endpoint ignored these unrecognized parameters: [unknown]]" {
		t.Errorf("warnings %s", got)
	}
	auth, _ := created["auth"].(map[string]any)
	for _, key := range []string{"client_token", "accessor", "policies", "token_policies", "metadata", "lease_duration", "renewable", "entity_id", "token_type", "orphan", "mfa_requirement", "num_uses"} {
		if _, ok := auth[key]; !ok {
			t.Errorf("no auth.%s in %v", key, auth)
		}
	}
	if fmt.Sprint(auth["lease_duration"]) != "3600" || auth["mfa_requirement"] != nil || fmt.Sprint(auth["metadata"]) != "map[a:b]" {
		t.Errorf("auth: %v", auth)
	}
	if _, ok := auth["identity_policies"]; ok {
		t.Error("identity_policies without any")
	}
	twice := s.Root(t, http.MethodGet, "sys/key-status", nil)
	data, _ := twice["data"].(map[string]any)
	if twice["term"] == nil || twice["term"] != data["term"] {
		t.Errorf("data does not stand at the top level, too: %v", twice)
	}
}

func TestSealedServer(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{Bare: true})
	run(t, s, []exchange{
		{name: "init status", method: "GET", path: "/v1/sys/init", status: 200, want: `{"initialized":false}`},
		{name: "other paths", method: "GET", path: "/v1/sys/mounts", token: "x", status: 503, want: `{"errors":["Vault is sealed"]}`},
		{name: "seal status", method: "GET", path: "/v1/sys/seal-status", status: 200, want: `"storage_type":"file"`},
		{name: "health", method: "GET", path: "/v1/sys/health", status: 501, want: `"initialized":false`},
		{name: "health, HEAD", method: "HEAD", path: "/v1/sys/health?uninitcode=218", status: 218},
		{name: "health, no body", method: "GET", path: "/v1/sys/health?uninitcode=204", status: 204},
		{name: "health, not a number", method: "GET", path: "/v1/sys/health?standbycode=abc", status: 400, want: empty},
		{name: "health, not a status", method: "GET", path: "/v1/sys/health?uninitcode=99", status: 400, want: empty},
		{name: "health, not a boolean", method: "GET", path: "/v1/sys/health?standbyok=perhaps", status: 400, want: empty},
		{name: "health, POST", method: "POST", path: "/v1/sys/health", status: 405, want: empty},
		{name: "leader", method: "GET", path: "/v1/sys/leader", status: 200, want: `"ha_enabled":false`},
		{name: "unseal before init", method: "PUT", path: "/v1/sys/unseal", body: map[string]any{"key": "00"}, status: 400, want: "'key' must be a valid hex or base64 string"},
		{name: "init: threshold", method: "PUT", path: "/v1/sys/init", body: map[string]any{"secret_shares": 5, "secret_threshold": 6}, status: 400, want: `{"errors":["invalid seal configuration: threshold cannot be larger than shares"]}`},
		{name: "init: recovery", method: "PUT", path: "/v1/sys/init", body: map[string]any{"secret_shares": 1, "secret_threshold": 1, "recovery_shares": 1, "recovery_threshold": 1}, status: 400,
			want: "parameters recovery_shares,recovery_threshold not applicable to seal type shamir"},
		{name: "init: PGP keys", method: "PUT", path: "/v1/sys/init", body: map[string]any{"secret_shares": 1, "secret_threshold": 1, "pgp_keys": []string{"a", "b"}}, status: 400,
			want: "count mismatch between number of provided PGP keys and number of shares"},
		{name: "init: a kind that is not a number", method: "PUT", path: "/v1/sys/init", body: map[string]any{"secret_shares": "x"}, status: 400, want: `\"secret_shares\"`},
		{name: "init: DELETE", method: "DELETE", path: "/v1/sys/init", status: 405, want: empty},
		{name: "seal when sealed", method: "PUT", path: "/v1/sys/seal", status: 204},
	})
	s.Init(t)
	run(t, s, []exchange{
		{name: "second init", method: "PUT", path: "/v1/sys/init", body: map[string]any{"secret_shares": 1, "secret_threshold": 1}, status: 400, want: "already initialized"},
		{name: "open", method: "GET", path: "/v1/sys/health", status: 200, want: `"cluster_id":"`},
		{name: "reset when open", method: "PUT", path: "/v1/sys/unseal", body: map[string]any{"reset": true}, status: 400, want: "vault is unsealed"},
		{name: "key when open", method: "PUT", path: "/v1/sys/unseal", body: map[string]any{"key": s.UnsealKeys[0]}, status: 200, want: `"sealed":false`},
		{name: "no key", method: "PUT", path: "/v1/sys/unseal", body: map[string]any{}, status: 400, want: "'key' must be specified in request body as JSON, or 'reset' set to true"},
		{name: "seal without a token", method: "PUT", path: "/v1/sys/seal", status: 403, want: `{"errors":["permission denied"]}`},
		{name: "rekey wants a token", method: "GET", path: "/v1/sys/rekey/init", status: 403, want: "permission denied"},
		{name: "seal", method: "PUT", path: "/v1/sys/seal", token: "root", status: 204},
		{name: "sealed", method: "GET", path: "/v1/auth/token/lookup-self", token: "root", status: 503, want: "Vault is sealed"},
		{name: "health, sealed", method: "GET", path: "/v1/sys/health", status: 503, want: `"standby":true`},
	})
}

func TestForwardedFor(t *testing.T) {
	t.Parallel()
	const cidrs = `bound_cidrs`
	trusting := servertest.Start(t, servertest.Options{InMemory: true, Listener: `tls_disable = true
	x_forwarded_for_authorized_addrs = "127.0.0.1"
	x_forwarded_for_hop_skips = 1`})
	// The address is seen by what depends on it: a token that is bound to one.
	role := map[string]any{"token_" + cidrs: "203.0.113.7"}
	trusting.Must(t, "POST", "auth/token/roles/r", trusting.RootToken, role, "X-Forwarded-For", "203.0.113.7, 10.0.0.1")
	bound := trusting.Must(t, "POST", "auth/token/create/r", trusting.RootToken, map[string]any{"policies": "default"}, "X-Forwarded-For", "203.0.113.7, 10.0.0.1")
	token, _ := bound["auth"].(map[string]any)["client_token"].(string)
	const self = "/v1/auth/token/lookup-self"
	run(t, trusting, []exchange{
		{name: "the right address", method: "GET", path: self, token: token, headers: []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.7", "X-Forwarded-For", "10.0.0.1"}, status: 200, want: "*"},
		{name: "another address", method: "GET", path: self, token: token, headers: []string{"X-Forwarded-For", "203.0.113.7, 198.51.100.1, 10.0.0.1"}, status: 403, want: "permission denied"},
		{name: "too few", method: "GET", path: self, token: token, headers: []string{"X-Forwarded-For", "203.0.113.7"}, status: 400, want: "fewer addresses"},
		{name: "not an address", method: "GET", path: self, token: token, headers: []string{"X-Forwarded-For", "someone, 10.0.0.1"}, status: 400, want: "does not hold an address"},
		{name: "absent", method: "GET", path: self, token: token, status: 403, want: "permission denied"},
	})

	distrusting := servertest.Start(t, servertest.Options{InMemory: true, Bare: true, Listener: `tls_disable = true
	x_forwarded_for_authorized_addrs = "192.0.2.0/24"
	x_forwarded_for_reject_not_present = true
	x_forwarded_for_reject_not_authorized = true`})
	run(t, distrusting, []exchange{
		{name: "not authorised", method: "GET", path: "/v1/sys/init", headers: []string{"X-Forwarded-For", "203.0.113.7"}, status: 400, want: "client address not authorized for x-forwarded-for and configured to reject connection"},
		{name: "absent", method: "GET", path: "/v1/sys/init", status: 400, want: "missing x-forwarded-for header and configured to reject when not present"},
	})
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Listener: `tls_disable = true
	cors_enabled = true
	cors_allowed_origins = ["https://a.example"]
	cors_allowed_headers = ["X-Mine"]
	cors_allow_credentials = true`})
	asked := func(origin, method string) []string {
		return []string{"Origin", origin, "Access-Control-Request-Method", method}
	}
	run(t, s, []exchange{
		{name: "allowed", method: "GET", path: "/v1/sys/init", headers: []string{"Origin", "https://a.example"}, status: 200, want: "*", header: "Access-Control-Allow-Origin: https://a.example"},
		{name: "credentials", method: "GET", path: "/v1/sys/init", headers: []string{"Origin", "https://a.example"}, status: 200, want: "*", header: "Access-Control-Allow-Credentials: true"},
		{name: "varies", method: "GET", path: "/v1/sys/init", headers: []string{"Origin", "https://a.example"}, status: 200, want: "*", header: "Vary: Origin"},
		{name: "another origin", method: "GET", path: "/v1/sys/init", headers: []string{"Origin", "https://evil.example"}, status: 403, want: `{"errors":["origin not allowed"]}`},
		{name: "no origin", method: "GET", path: "/v1/sys/init", status: 200, want: "*"},
		{name: "preflight", method: "OPTIONS", path: "/v1/secret/x", headers: asked("https://a.example", "LIST"), status: 200, header: "Access-Control-Max-Age: 300"},
		{name: "preflight, bad method", method: "OPTIONS", path: "/v1/secret/x", headers: asked("https://a.example", "TRACE"), status: 405},
		{name: "preflight, another origin", method: "OPTIONS", path: "/v1/secret/x", headers: asked("https://evil.example", "PUT"), status: 403, want: "origin not allowed"},
	})
	// The setting of the API takes the listener's place.
	s.Root(t, http.MethodPut, "sys/config/cors", map[string]any{"allowed_origins": "*"})
	s.Root(t, http.MethodGet, "sys/config/cors", nil) // a node sees a change with its next request
	run(t, s, []exchange{
		{name: "by the API", method: "GET", path: "/v1/sys/init", headers: []string{"Origin", "https://evil.example"}, status: 200, want: "*", header: "Access-Control-Allow-Origin: https://evil.example"},
	})
}

func TestCustomHeaders(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Bare: true, Config: "enable_response_header_hostname = true", Listener: `tls_disable = true
	custom_response_headers {
		"default" = { "X-A" = ["all"], "X-B" = ["all"] }
		"4xx" = { "X-B" = ["class"], "X-C" = ["class"] }
		"404" = { "X-C" = ["one"] }
	}`})
	for _, test := range []struct{ path, a, b, c string }{
		{"sys/init", "all", "all", ""},
		{"sys/health?standbyok=x", "all", "class", "class"},
		{"../elsewhere", "all", "all", ""},
	} {
		got, err := s.Do(http.MethodGet, test.path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, b, c := got.Header.Get("X-A"), got.Header.Get("X-B"), got.Header.Get("X-C"); a != test.a || b != test.b || c != test.c {
			t.Errorf("%s (%d): %q %q %q, want %q %q %q", test.path, got.Status, a, b, c, test.a, test.b, test.c)
		}
		if got.Header.Get("X-Vault-Hostname") == "" {
			t.Errorf("%s: no host name", test.path)
		}
	}
}

// A write's URL may ask for a check, where the policies allow that; of other parameters there nothing is said.
func TestQueryOfWrites(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	role := map[string]any{"db_name": "none", "creation_statements": "CREATE ROLE"}
	policy := func(rule string) map[string]any {
		return map[string]any{"policy": `path "database/roles/*" { capabilities = ["create", "update"]
			` + rule + ` }`}
	}
	token := func(text, policy string) map[string]any {
		return map[string]any{"id": text, "policies": []string{policy}}
	}
	run(t, s, []exchange{
		{name: "mount", method: "POST", path: "/v1/sys/mounts/database", token: "root", body: map[string]any{"type": "database"}, status: 204},
		{name: "another parameter", method: "POST", path: "/v1/database/roles/app?other=true", token: "root", body: role, status: 204},
		{name: "no check", method: "POST", path: "/v1/database/roles/app?verify=false", token: "root", body: role, status: 204},
		{name: "a check", method: "POST", path: "/v1/database/roles/new?verify=true", token: "root", body: role, status: 400, want: `"steps":[{"ok":false,"step":"create",`},
		{name: "not stored", method: "GET", path: "/v1/database/roles/new", token: "root", status: 404, want: empty},
		{name: "not a truth value", method: "POST", path: "/v1/database/roles/new?verify=x", token: "root", body: role, status: 400, want: "verify"},
		{name: "the policy without checks", method: "POST", path: "/v1/sys/policies/acl/unchecked", token: "root", body: policy(`denied_parameters = { verify = [] }`), status: 204},
		{name: "the policy with names", method: "POST", path: "/v1/sys/policies/acl/named", token: "root", body: policy(`allowed_parameters = { db_name = [], creation_statements = [] }`), status: 204},
		{name: "a token without checks", method: "POST", path: "/v1/auth/token/create", token: "root", body: token("unchecked", "unchecked"), status: 200, want: `"client_token":"unchecked"`},
		{name: "a token with names", method: "POST", path: "/v1/auth/token/create", token: "root", body: token("named", "named"), status: 200, want: `"client_token":"named"`},
		{name: "a check that is denied", method: "POST", path: "/v1/database/roles/new?verify=true", token: "unchecked", body: role, status: 403, want: "permission denied"},
		{name: "a check that is not allowed", method: "POST", path: "/v1/database/roles/new?verify=true", token: "named", body: role, status: 403, want: "permission denied"},
		{name: "in the body", method: "POST", path: "/v1/database/roles/new", token: "unchecked", body: map[string]any{"verify": true}, status: 403, want: "permission denied"},
		{name: "another parameter is no matter", method: "POST", path: "/v1/database/roles/new?other=true", token: "named", body: role, status: 204},
		{name: "a secret is not a parameter", method: "POST", path: "/v1/cubbyhole/x?verify=true", token: "root", body: map[string]any{"a": "b"}, status: 204},
		{name: "as it was written", method: "GET", path: "/v1/cubbyhole/x", token: "root", status: 200, want: `"data":{"a":"b"}`},
	})
}
