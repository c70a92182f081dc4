package token

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// A star stands for any text, everything else for itself.
func FuzzMatches(f *testing.F) {
	for _, pattern := range []string{"", "*", "dev-*", "*-admin", "a*b*c", "**", "a", "a*a"} {
		for _, text := range []string{"", "a", "dev-", "dev-web", "dev-admin", "abc", "abcbc", "aa"} {
			f.Add(pattern, text)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return // never so in decoded JSON, and no regular expression
		}
		want := regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`).MatchString(text)
		if got := matches(pattern, text); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, text, got, want)
		}
	})
}
