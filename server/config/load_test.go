package config_test

import (
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"github.com/google/go-cmp/cmp"

	"leasehold/server/config"
)

func noEnv(string) string { return "" }

// load writes one file and loads it.
func load(t *testing.T, name, text string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load([]string{path}, noEnv)
}

const typical = `
storage "raft" { path = "/srv/data"  node_id = "n1" }
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/tls/chain.pem"
  tls_key_file  = "/etc/tls/key.pem"
}
api_addr     = "https://vault.example.com:8200"
cluster_addr = "https://10.0.0.1:8201"
disable_mlock = true
`

const typicalJSON = `{
  "storage": {"raft": {"path": "/srv/data", "node_id": "n1"}},
  "listener": [{"tcp": {
    "address": "0.0.0.0:8200", "tls_cert_file": "/etc/tls/chain.pem", "tls_key_file": "/etc/tls/key.pem"
  }}],
  "api_addr": "https://vault.example.com:8200",
  "cluster_addr": "https://10.0.0.1:8201",
  "disable_mlock": "true"
}`

func TestTypicalFile(t *testing.T) {
	t.Parallel()
	listener := config.NewListener("tcp")
	listener.Address = "0.0.0.0:8200"
	listener.TLS.CertFile, listener.TLS.KeyFile = "/etc/tls/chain.pem", "/etc/tls/key.pem"
	want := config.Default()
	want.Storage = config.Storage{Type: "raft", Path: "/srv/data"}
	want.Listeners = []*config.Listener{listener}
	want.APIAddr, want.ClusterAddr, want.LockMemory = "https://vault.example.com:8200", "https://10.0.0.1:8201", false

	for name, text := range map[string]string{"typical.hcl": typical, "typical.json": typicalJSON, "no-extension": typicalJSON} {
		got, err := load(t, name, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.Warnings = nil
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(config.Storage{}.URL)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryKey(t *testing.T) {
	t.Parallel()
	c, err := load(t, "all.hcl", `
storage "file" { path = "/srv/data" }
default_lease_ttl = 3600
max_lease_ttl = "2d"
default_max_request_duration = "30s"
disable_mlock = "true"
unsafe_allow_api_audit_creation = 1
allow_audit_log_prefixing = true
enable_response_header_hostname = true
pid_file = "/run/leasehold.pid"
plugin_directory = "/usr/lib/leasehold/plugins"
log_level = "TRACE"
log_format = "json"
log_file = "/var/log/leasehold/"
log_requests_level = "debug"
cluster_name = "one"
listener "tcp" {
  address = "[::1]:8300"
  tls_disable = "1"
  http_read_header_timeout = "5s"
  http_read_timeout = 6
  http_write_timeout = "7s"
  http_idle_timeout = "8s"
  max_request_size = "1024"
  max_request_duration = "9s"
  max_request_json_memory = 2048
  max_request_json_strings = -1
  x_forwarded_for_authorized_addrs = "10.1.2.3/8, ::1"
  x_forwarded_for_hop_skips = "1"
  x_forwarded_for_reject_not_present = true
  x_forwarded_for_reject_not_authorized = true
  cors_enabled = true
  cors_allowed_origins = ["https://a.example"]
  cors_allowed_headers = "X-One,X-Two"
  disable_unauthed_rekey_endpoints = false
  disable_unauthed_generate_root_endpoints = false
  custom_response_headers {
    "default" = { "X-A" = ["1", "2"] }
    "4xx" = { "x-b" = "3" }
    "404" = { "X-C" = ["4"] }
  }
}
listener "unix" {
  address = "/run/leasehold.sock"
  socket_mode = "0660"
  socket_user = "app"
  socket_group = "app"
}
listener "tcp" {
  tls_cert_file = "c"
  tls_key_file = "k"
  tls_min_version = "tls13"
  tls_max_version = "tls13"
  tls_cipher_suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
  tls_client_ca_file = "ca"
  tls_require_and_verify_client_cert = true
}
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	debug := slog.LevelDebug
	plain := config.NewListener("tcp")
	plain.Address, plain.TLS = "[::1]:8300", nil
	plain.ReadHeaderTimeout, plain.ReadTimeout, plain.WriteTimeout, plain.IdleTimeout = 5*time.Second, 6*time.Second, 7*time.Second, 8*time.Second
	plain.MaxRequestBytes, plain.MaxRequestDuration, plain.MaxJSONBytes, plain.MaxJSONStrings = 1024, 9*time.Second, 2048, -1
	plain.ForwardedFor = config.ForwardedFor{
		Authorized: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		HopSkips:   1, RejectAbsent: true, RejectNotAuthorized: true,
	}
	plain.CORS = config.CORS{Enabled: true, AllowedOrigins: []string{"https://a.example"}, AllowedHeaders: []string{"X-One", "X-Two"}}
	plain.UnauthenticatedRekey, plain.UnauthenticatedGenerateRoot = true, true
	plain.Headers = map[string]http.Header{"default": {"X-A": {"1", "2"}}, "4xx": {"X-B": {"3"}}, "404": {"X-C": {"4"}}}
	socket := config.NewListener("unix")
	socket.Address, socket.SocketMode, socket.SocketUser, socket.SocketGroup, socket.TLS = "/run/leasehold.sock", 0o660, "app", "app", nil
	socket.MaxRequestDuration = 30 * time.Second
	secure := config.NewListener("tcp")
	secure.MaxRequestDuration = 30 * time.Second
	secure.TLS = &config.TLS{
		CertFile: "c", KeyFile: "k", MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13, ClientCAFile: "ca",
		CipherSuites:       []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		RequireClientCerts: true, AskForClientCerts: true,
	}
	want := &config.Config{
		Storage: config.Storage{Type: "file", Path: "/srv/data"}, Seal: config.Seal{Type: "shamir"}, ClusterName: "one",
		Listeners:       []*config.Listener{plain, socket, secure},
		DefaultLeaseTTL: time.Hour, MaxLeaseTTL: 48 * time.Hour, MaxRequestDuration: 30 * time.Second,
		APIAudit: true, AuditPrefixing: true, ShowHostname: true, PIDFile: "/run/leasehold.pid", PluginDirectory: "/usr/lib/leasehold/plugins",
		LogLevel: config.LevelTrace, LogFormat: "json", LogFile: "/var/log/leasehold/", RequestLogLevel: &debug,
		Telemetry: config.Default().Telemetry,
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(c.Storage.URL), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := c.Storage.File(); got != "/srv/data/leasehold.db" {
		t.Errorf("file %q", got)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, text, want string }{
		{"wrong kind", "a.hcl", "disable_mlock = true\ndefault_lease_ttl = [1]", `a.hcl:2: default_lease_ttl: expected a duration such as "30s", or seconds`},
		{"wrong kind in JSON", "a.json", "{\n\n\"disable_mlock\": {}}", `a.json:3: disable_mlock: expected true or false`},
		{"inside a block", "a.hcl", "listener \"tcp\" {\n tls_disable = \"maybe\"\n}", `a.hcl:2: listener "tcp": tls_disable: expected true or false`},
		{"inside storage", "a.hcl", "storage \"file\" {\n path = 1\n}", `a.hcl:2: storage "file": path: expected a text`},
		{"listener without a label", "a.hcl", "listener { address = \"a\" }", `a.hcl:1: listener: expected a block such as: listener "tcp" { ... }, or "unix"`},
		{"two storages in a block", "a.json", `{"storage": {"file": {}, "inmem": {}}}`, `a.json:1: storage: expected one block`},
		{"insecure cipher", "a.hcl", "listener \"tcp\" { tls_cipher_suites = \"TLS_RSA_WITH_RC4_128_SHA\" }", "tls_cipher_suites: expected names of cipher suites"},
		{"bad TLS version", "a.hcl", `listener "tcp" { tls_min_version = "ssl3" }`, `tls_min_version: expected "tls10"`},
		{"refused header", "a.hcl", "listener \"tcp\" {\n custom_response_headers {\n \"default\" = {\n \"x-vault-x\" = \"1\" }}}", "a.hcl:4: listener \"tcp\": custom_response_headers: headers that begin with X-Vault- cannot be set"},
		{"bad header status", "a.hcl", "listener \"tcp\" {\n custom_response_headers {\n \"999\" = { \"X-A\" = \"1\" }}}", "a.hcl:3: listener \"tcp\": custom_response_headers: expected \"default\""},
		{"audit", "a.hcl", "audit \"file\" \"x\" {}", "a.hcl:1: audit: not supported: enable audit devices through the API"},
		{"ACME", "a.hcl", `listener "tcp" { tls_acme_email = "a@b" }`, "tls_acme_email: not supported"},
		{"broken HCL", "a.hcl", "pid_file = 1\nlistener \"tcp\" {", "a.hcl:2: "},
		{"broken JSON", "a.json", "{\n\"pid_file\": tru", "a.json:2: "},
		{"text after JSON", "a.json", "{} {}", "a.json:1: expected the end of the file"},
		{"deep JSON", "a.json", `{"a":` + strings.Repeat("[", 100), "a.json:1: nested too deeply"},
		{"missing file", "../missing/a.hcl", "", "no such file"},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, test.file)
		if !strings.Contains(test.file, "missing") {
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := config.Load([]string{path}, noEnv)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", test.name, err, test.want)
		}
	}
}

func TestErrorsHoldNoValues(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`default_lease_ttl = "canary-1"`, `disable_mlock = "canary-1"`, `log_level = "canary-1"`, `log_format = "canary-1"`,
		`listener "tcp" { max_request_size = "canary-1" }`, `listener "tcp" { tls_cipher_suites = "canary-1" }`,
		`listener "tcp" { x_forwarded_for_authorized_addrs = "canary-1" }`,
	} {
		if _, err := load(t, "a.hcl", text); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const storage = "storage \"inmem\" {}\n"
	const listener = "listener \"tcp\" { tls_disable = true }\n"
	for _, test := range []struct{ name, text, want string }{
		{"no storage", listener, "a storage block is needed"},
		{"no listener", storage, "at least one listener block is needed"},
		{"unknown storage", `storage "consul" {}` + "\n" + listener, `storage "consul" is not known`},
		{"postgresql", `storage "postgresql" { table = "t" }` + "\n" + listener, `storage "postgresql": connection_url is needed`},
		{"connections", `storage "postgresql" { connection_url = "canary" max_parallel = -1 }` + "\n" + listener, `max_parallel must be between 0 and 10000`},
		{"no path", `storage "file" {}` + "\n" + listener, `storage "file": path is needed`},
		{"other seal", storage + listener + `seal "awskms" { secret_key = "canary" }`, `seal "awskms" is not supported`},
		{"ttls", storage + listener + `max_lease_ttl = "1h"`, "default_lease_ttl 768h0m0s is greater than max_lease_ttl 1h0m0s"},
		{"no certificate", storage + `listener "tcp" {}`, "tls_cert_file and tls_key_file are needed"},
		{"plugins", storage + listener + `plugin_directory = "plugins"`, `plugin_directory must be an absolute path, and is "plugins"`},
		{"address", storage + `listener "tcp" { tls_disable = true address = "8200" }`, "address must be host:port"},
		{"client CA", storage + `listener "tcp" { tls_cert_file = "c" tls_key_file = "k" tls_require_and_verify_client_cert = true }`, "needs tls_client_ca_file"},
		{"template", storage + listener + `api_addr = "http://{{ GetPrivateIP }}:8200"`, "address templates are not supported"},
		{"a disabled seal is not in force", storage + listener + `seal "transit" { disabled = "true" }`, ""},
	} {
		c, err := load(t, "a.hcl", test.text)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		err = c.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows a value: %v", test.name, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	c, err := load(t, "a.hcl", "storage \"file\" {\n path = \"p\"\n fsync = true\n}\nlistener \"tcp\" {\n tls_disable = true\n agent_api {}\n hat = 1\n}\ncache_size = 10\nno_such = {}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(c.Warnings, "\n")
	for _, want := range []string{
		`a.hcl:3: storage "file": unknown key "fsync"`,
		`a.hcl:7: listener "tcp": no effect in this server: "agent_api"`,
		`a.hcl:8: listener "tcp": unknown key "hat"`,
		`a.hcl:10: no effect in this server: "cache_size"`,
		`a.hcl:11: unknown key "no_such"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestMerging(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"10.hcl":   `storage "inmem" {} log_level = "debug" listener "tcp" { address = "127.0.0.1:1" tls_disable = true }`,
		"20.json":  `{"log_level": "warn", "listener": {"tcp": [{"address": "127.0.0.1:2", "tls_disable": true}, {"address": "127.0.0.1:3", "tls_disable": true}]}}`,
		"README":   `not a configuration {{{`,
		"30.hcl~":  `not a configuration {{{`,
		"zz.other": `not a configuration {{{`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := filepath.Join(t.TempDir(), "last")
	if err := os.WriteFile(last, []byte(`storage "file" { path = "p" } api_addr = "http://file"`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"VAULT_API_ADDR": "http://env", "VAULT_LOG_LEVEL": "error", "BAO_LOG_LEVEL": "trace"}
	c, err := config.Load([]string{dir, last}, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, l := range c.Listeners {
		addresses = append(addresses, l.Address)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, addresses); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if c.Storage.Type != "file" || c.APIAddr != "http://env" || c.LogLevel != config.LevelTrace {
		t.Errorf("storage %q, api_addr %q, log_level %v", c.Storage.Type, c.APIAddr, c.LogLevel)
	}
	if _, err := config.Load(nil, func(name string) string { return map[string]string{"VAULT_LOG_FORMAT": "perhaps"}[name] }); err == nil ||
		err.Error() != "environment variable VAULT_LOG_FORMAT: expected \"standard\" or \"json\"" {
		t.Errorf("bad variable: %v", err)
	}
	if _, err := config.Load([]string{t.TempDir()}, noEnv); err == nil || !strings.Contains(err.Error(), "holds no .hcl or .json file") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{typical, "https://vault.example.com:8200"},
		{`listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }`, "http://127.0.0.1:8200"},
		{`listener "tcp" { address = "0.0.0.0:8200" } listener "tcp" { address = "[::1]:8201" }`, "https://[::1]:8201"},
		{`listener "unix" { address = "/run/s" }`, ""},
	} {
		c, err := load(t, "a.hcl", test.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.URL(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.text, got, test.want)
		}
	}
}
