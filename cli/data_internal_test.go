package cli

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzData checks that a plain value arrives as it was given, whatever it looks like, and that an error never repeats
// an argument.
func FuzzData(f *testing.F) {
	for _, arg := range []string{"a=b", "a=", "=b", "a", "-", "@x", "a=@x", `a=\@x`, "a=-", "a=b=c", "a=\n", "{}", ""} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		const marker = "canary"
		e := &env{stdin: strings.NewReader(marker)}
		data, err := e.parseData([]string{arg + marker})
		if err != nil {
			f, ok := err.(*failure)
			isFile := strings.HasPrefix(arg, "@") || strings.Contains(arg, "=@")
			if !ok || !isFile && strings.Contains(f.Error(), marker) {
				t.Fatalf("%q: error %v", arg, err)
			}
			return
		}
		key, want, _ := strings.Cut(arg+marker, "=")
		if strings.HasPrefix(want, "@") {
			return // the content of a file that happens to exist
		}
		if strings.HasPrefix(want, `\@`) {
			want = want[1:]
		}
		if diff := cmp.Diff(map[string]any{key: want}, data); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", arg, diff)
		}
	})
}

// TestShellQuote lets a shell read the words back.
func TestShellQuote(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "a", "a b", "it's", `"`, `\`, "$HOME", "`id`", "a\nb", "*", "a;b", "é", `{"a":"b"}`, "''", "#x", "~"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+shellQuote(word)).Output() // #nosec G204 -- what is tested
		if err != nil || string(out) != word {
			t.Errorf("%q came back as %q, %v", word, out, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "250ms": 250 * time.Millisecond, "-1": -time.Second,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1d12h", "1w", "x", "1.5"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %v; want an error", text, got)
		}
	}
}
