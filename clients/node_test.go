package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNodeVault runs testdata/node/flow.js with the versions that its lock file names, which npm fetches or has.
func TestNodeVault(t *testing.T) {
	t.Parallel()
	srv, dir := safe(t), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "node"))); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "ADDR="+srv.URL(), "TOKEN="+srv.RootToken)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v (Debian packages nodejs and npm)\n%s", name, err, out)
		}
	}
	run("npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	run("node", "flow.js")
}
