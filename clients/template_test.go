package clients

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// readerPolicy is what the template needs beside its database role.
const readerPolicy = `
path "secret/data/app"  { capabilities = ["read"] }
path "secret/metadata/" { capabilities = ["list"] }
path "old/app"          { capabilities = ["read"] }
`

// TestConsulTemplate renders testdata/template/app.ctmpl with consul-template, built from the module beside it: values of both
// versions, a list, and credentials on a lease that work.
func TestConsulTemplate(t *testing.T) {
	t.Parallel()
	srv, db := shop(t)
	for _, step := range []struct {
		path string
		body map[string]any
	}{
		{"sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}},
		{"sys/mounts/old", map[string]any{"type": "kv"}},
		{"secret/data/app", map[string]any{"data": map[string]any{"word": "new"}}},
		{"old/app", map[string]any{"word": "plain"}},
		{"sys/policies/acl/reader", map[string]any{"policy": readerPolicy}},
	} {
		if _, err := srv.Root(http.MethodPut, step.path, step.body); err != nil {
			t.Fatalf("%s: %v", step.path, err)
		}
	}
	made, err := srv.Root(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"app", "reader"}, "ttl": "30m"})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := made["auth"].(map[string]any)["client_token"].(string)

	dir := t.TempDir()
	program, rendered := filepath.Join(dir, "consul-template"), filepath.Join(dir, "app.conf")
	build := exec.Command("go", "build", "-C", filepath.Join("testdata", "template"), "-o", program, "github.com/hashicorp/consul-template")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build consul-template: %v\n%s", err, out)
	}
	render := exec.Command(program, "-once", "-vault-addr="+srv.URL(), "-vault-renew-token=false",
		"-template="+filepath.Join("testdata", "template", "app.ctmpl")+":"+rendered)
	render.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "VAULT_TOKEN=" + token}
	if out, err := render.CombinedOutput(); err != nil {
		t.Fatalf("consul-template: %v\n%s", err, out)
	}
	text, err := os.ReadFile(rendered)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, word := range strings.Fields(string(text)) {
		name, value, _ := strings.Cut(word, "=")
		got[name] = value
	}
	for name, want := range map[string]string{"word": "new", "version": "1", "old": "plain", "key": "app"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if err := login(t, db, got["user"], got["password"]); err != nil {
		t.Errorf("log in: %v", err)
	}
	if _, err := srv.Root(http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": got["lease"]}); err != nil {
		t.Errorf("the lease: %v", err)
	}
}
