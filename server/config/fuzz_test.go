package config

import (
	"strings"
	"testing"
)

// FuzzRead: whatever a file holds, reading it ends in a configuration or in one line that names the file; a
// configuration that passes has usable listeners.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"storage \"file\" { path = \"p\" }\nlistener \"tcp\" { tls_disable = true }",
		`{"storage": {"inmem": {}}, "listener": [{"tcp": {"tls_disable": "true"}}]}`,
		"listener \"tcp\" { custom_response_headers { \"404\" = { \"X-A\" = [\"b\"] } } }",
		"log_file = <<EOF\n x\nEOF\n", "a = <<-E\n  b\n  E\n", `a = ["b", 1, true, ["c"], {d = 1}]`, `"a" "b" { c = 0x1f d = 1e9 }`,
		"max_lease_ttl = 99999999999999999999", `{"max_lease_ttl": 1e400}`, `a "${b}" {}`, "# c\n/* d */ disable_mlock = true // e",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		l := &loader{config: Default()}
		if err := l.read("name", src); err != nil {
			if !strings.HasPrefix(err.Error(), "name:") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("not one line that names the file: %q", err)
			}
			return
		}
		if l.config.Validate() != nil {
			return
		}
		for _, listener := range l.config.Listeners {
			if listener.Address == "" || listener.MaxRequestDuration < 0 {
				t.Fatalf("unusable listener: %+v", listener)
			}
		}
	})
}
