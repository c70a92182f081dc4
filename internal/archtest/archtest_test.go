package archtest

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// testSupport may be imported by tests, and by other test support.
var testSupport = []string{
	"internal/testdb", "store/storetest", "plugins/plugintest", "broker/brokertest", "server/servertest", "server/proctest",
	"plugins/mssql/tdstest",
}

func TestImports(t *testing.T) {
	allowed := readArrows(t)
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "leasehold/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := local(words[0])
		if slices.Contains(testSupport, from) {
			continue
		}
		seen++
		for _, path := range words[1:] {
			to := local(path)
			switch {
			case to == path: // not ours
			case slices.Contains(testSupport, to):
				t.Errorf("%s imports %s, which is for tests", from, to)
			case strings.HasPrefix(to, "internal/"):
				if strings.HasPrefix(from, "internal/") {
					t.Errorf("%s imports %s: internal packages use the standard library alone", from, to)
				}
			case !slices.Contains(allowed[from], to):
				t.Errorf("%s imports %s, which docs/architecture.md does not allow", from, to)
			}
		}
	}
	if seen < len(allowed) {
		t.Errorf("go list showed %d packages, docs/architecture.md names %d", seen, len(allowed))
	}
}

// local is a package's path below the module; other modules' paths stay as they are.
func local(path string) string {
	if path == "leasehold" {
		return "."
	}
	return strings.TrimPrefix(path, "leasehold/")
}

// readArrows reads the block of arrows.
func readArrows(t *testing.T) map[string][]string {
	t.Helper()
	file, err := os.Open("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	arrows := map[string][]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if from, to, ok := strings.Cut(lines.Text(), " -> "); ok {
			arrows[strings.TrimSpace(from)] = strings.Fields(to)
		}
	}
	if len(arrows) == 0 {
		t.Fatal("docs/architecture.md holds no arrows")
	}
	return arrows
}
