package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
	"leasehold/server/config"
)

// loadSeals reads a configuration and an environment.
func loadSeals(t *testing.T, text string, env map[string]string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load([]string{path}, func(name string) string { return env[name] })
}

func TestSeals(t *testing.T) {
	t.Parallel()
	secrets := cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })
	static := config.Seal{Type: "static", Static: config.StaticSeal{
		CurrentKeyID: "2", CurrentKey: secret.NewText("env://K"), PreviousKeyID: "1", PreviousKey: secret.NewText("file:///k"),
	}}
	full := config.TransitSeal{
		Address: "https://a:8200", Token: secret.NewText("t"), KeyName: "k", MountPath: "m/", Namespace: "n/", RenewedOutside: true,
		CACertFile: "ca", ClientCertFile: "cc", ClientKeyFile: "ck", ServerName: "sn", SkipVerify: true,
	}
	const staticBlock = `seal "static" {
		current_key_id = "2" current_key = "env://K" previous_key_id = "1" previous_key = "file:///k" }`
	const transitBlock = `seal "transit" {
		address = "https://a:8200" token = "t" key_name = "k" mount_path = "m/" namespace = "n/" disable_renewal = "true"
		tls_ca_cert = "ca" tls_client_cert = "cc" tls_client_key = "ck" tls_server_name = "sn" tls_skip_verify = "true" }`
	for _, test := range []struct {
		name, text string
		env        map[string]string
		seal       config.Seal
		former     []config.Seal
		warnings   []string
	}{
		{name: "none", seal: config.Seal{Type: "shamir"}},
		{name: "shamir", text: `seal "shamir" {}`, seal: config.Seal{Type: "shamir"}},
		{name: "static", text: staticBlock, seal: static},
		{name: "transit", text: transitBlock, seal: config.Seal{Type: "transit", Transit: full}},
		{
			name: "JSON", text: `{"seal": [{"static": {"current_key_id": "2", "current_key": "env://K", "previous_key_id": "1", "previous_key": "file:///k"}}]}`,
			seal: static,
		},
		{
			name: "from an auto seal", text: strings.Replace(staticBlock, "{", `{ disabled = "true"`, 1),
			seal: config.Seal{Type: "shamir"}, former: []config.Seal{static},
		},
		{
			name: "from one to another", text: strings.Replace(staticBlock, "{", "{ disabled = true", 1) + "\n" + transitBlock,
			seal: config.Seal{Type: "transit", Transit: full}, former: []config.Seal{static},
		},
		{
			name: "in one JSON object", text: `{"seal": {"static": {"disabled": "true"}, "transit": {"key_name": "k"}}}`,
			seal:   config.Seal{Type: "transit", Transit: config.TransitSeal{KeyName: "k"}},
			former: []config.Seal{{Type: "static"}},
		},
		{
			name: "unknown keys", text: `seal "static" { current_key_id = "1" key = "canary" priority = "1" }`,
			seal:     config.Seal{Type: "static", Static: config.StaticSeal{CurrentKeyID: "1"}},
			warnings: []string{`seal "static": unknown key "key"`, `seal "static": no effect in this server: "priority"`},
		},
		{
			name: "a disabled one that cannot be left", text: `seal "awskms" { disabled = "true" secret_key = "canary" }`,
			seal:     config.Seal{Type: "shamir"},
			warnings: []string{`seal "awskms" has no effect`},
		},
		{
			name: "the type from the environment", env: map[string]string{
				"VAULT_SEAL_TYPE": "transit", "VAULT_ADDR": "https://e:8200", "VAULT_TOKEN": "et", "VAULT_TRANSIT_SEAL_KEY_NAME": "ek",
				"VAULT_TRANSIT_SEAL_MOUNT_PATH": "em", "VAULT_TRANSIT_SEAL_DISABLE_RENEWAL": "true", "VAULT_NAMESPACE": "en",
				"VAULT_CACERT": "eca", "VAULT_CLIENT_CERT": "ecc", "VAULT_CLIENT_KEY": "eck", "VAULT_TLS_SERVER_NAME": "esn", "VAULT_SKIP_VERIFY": "1",
			},
			seal: config.Seal{Type: "transit", Transit: config.TransitSeal{
				Address: "https://e:8200", Token: secret.NewText("et"), KeyName: "ek", MountPath: "em", Namespace: "en", RenewedOutside: true,
				CACertFile: "eca", ClientCertFile: "ecc", ClientKeyFile: "eck", ServerName: "esn", SkipVerify: true,
			}},
		},
		{
			name: "what wins", text: transitBlock, env: map[string]string{
				"VAULT_ADDR": "https://e:8200", "VAULT_TOKEN": "et", "BAO_TRANSIT_SEAL_KEY_NAME": "ek", "LEASEHOLD_TRANSIT_SEAL_MOUNT_PATH": "em",
				"VAULT_TRANSIT_SEAL_DISABLE_RENEWAL": "false", "VAULT_NAMESPACE": "en", "VAULT_CACERT": "eca", "VAULT_SKIP_VERIFY": "false",
			},
			seal: config.Seal{Type: "transit", Transit: config.TransitSeal{
				Address: "https://a:8200", Token: secret.NewText("t"), KeyName: "ek", MountPath: "em", Namespace: "en",
				CACertFile: "ca", ClientCertFile: "cc", ClientKeyFile: "ck", ServerName: "sn", SkipVerify: true,
			}},
		},
		{
			name: "a former one is only filled up", text: `seal "transit" { disabled = "true" key_name = "k" }`,
			env:    map[string]string{"VAULT_TOKEN": "et", "VAULT_TRANSIT_SEAL_KEY_NAME": "ek", "VAULT_TRANSIT_SEAL_MOUNT_PATH": "em"},
			seal:   config.Seal{Type: "shamir"},
			former: []config.Seal{{Type: "transit", Transit: config.TransitSeal{Token: secret.NewText("et"), KeyName: "k", MountPath: "em"}}},
		},
		{
			name: "another type from the environment", text: staticBlock, env: map[string]string{"BAO_SEAL_TYPE": "shamir"},
			seal:     config.Seal{Type: "shamir"},
			warnings: []string{`seal "static" has no effect: environment variable BAO_SEAL_TYPE names another type`},
		},
		{
			name: "VAULT_ADDR means nothing to others", text: staticBlock, env: map[string]string{"VAULT_ADDR": "https://e:8200", "VAULT_SKIP_VERIFY": "perhaps"},
			seal: static,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := loadSeals(t, test.text, test.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.seal, got.Seal, secrets); diff != "" {
				t.Errorf("in force: %s", diff)
			}
			if diff := cmp.Diff(test.former, got.FormerSeals, secrets); diff != "" {
				t.Errorf("former: %s", diff)
			}
			for i, want := range test.warnings {
				if i >= len(got.Warnings) || !strings.Contains(got.Warnings[i], want) {
					t.Errorf("warnings %q, want %q", got.Warnings, want)
				}
			}
			if len(got.Warnings) != len(test.warnings) || strings.Contains(strings.Join(got.Warnings, ""), "canary") {
				t.Errorf("warnings %q", got.Warnings)
			}
		})
	}
}

func TestBadSeals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`seal "static" { current_key = ["canary"] }`:           "config.hcl:1: seal \"static\": current_key: expected a text",
		`seal "static" { current_key = 12345678901234567890 }`: "current_key: expected a text",
		`seal "static" { disabled = "canary" }`:                "disabled: expected true or false",
		`seal "transit" { tls_skip_verify = "canary" }`:        "tls_skip_verify: expected true or false",
		`seal = "canary"`:                                                  "",
		"seal \"static\" {}\nseal \"transit\" {}":                          `config.hcl:2: seal: two seals are in force, "static" and "transit"`,
		"seal \"static\" { current_key = \"canary\" }\nseal \"static\" {}": `two seals are in force`,
		`seal "static" { current_key_id = { canary = 1 } }`:                "current_key_id: expected a text",
		"seal {\n  static = \"canary\"\n}":                                 `expected a block such as`,
	} {
		_, err := loadSeals(t, text, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "123456")) {
			t.Errorf("%s: the error repeats the value: %v", text, err)
		}
	}
	if _, err := loadSeals(t, "", map[string]string{"VAULT_SEAL_TYPE": "transit", "VAULT_SKIP_VERIFY": "canary"}); err == nil || !strings.Contains(err.Error(), "VAULT_SKIP_VERIFY: expected true or false") {
		t.Errorf("a variable: %v", err)
	}
}
