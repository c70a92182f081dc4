package external_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/plugins/external"
)

func TestExecutable(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "plugins")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "below"), 0o755))
	for name, mode := range map[string]os.FileMode{
		"good": 0o755, "below/good": 0o755, "data": 0o644, "open": 0o777, "../outside": 0o755,
	} {
		must(os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		must(os.Chmod(filepath.Join(dir, name), mode))
	}
	must(os.Symlink("good", filepath.Join(dir, "link")))
	must(os.Symlink("../outside", filepath.Join(dir, "escape")))
	must(os.Symlink(dir, filepath.Join(root, "linked")))
	for _, test := range []struct{ dir, command, want, err string }{
		{dir, "good", "good", ""},
		{dir, "below/good", "below/good", ""},
		{dir, "link", "good", ""},
		{dir, "escape", "", "leads out of plugin_directory"},
		{dir, "../outside", "", "the name of a program in plugin_directory"},
		{dir, filepath.Join(dir, "good"), "", "the name of a program in plugin_directory"},
		{dir, "", "", "the name of a program in plugin_directory"},
		{dir, "missing", "", "there is no program"},
		{dir, "below", "", "is no executable file"},
		{dir, "data", "", "is no executable file"},
		{dir, "open", "", "may be changed by others"},
		{"", "good", "", "no plugin_directory is configured"},
		{filepath.Join(root, "linked"), "good", "", "without symbolic links"},
		{"plugins", "good", "", "absolute path"},
	} {
		got, err := external.Executable(test.dir, test.command)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q in %q: got %q, %v; want %q", test.command, test.dir, got, err, test.err)
			}
			continue
		}
		if err != nil || got != filepath.Join(dir, test.want) {
			t.Errorf("%q: got %q, %v", test.command, got, err)
		}
	}
}
