package httpapi

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in, want string
		verdict  verdict
	}{
		{"/v1/secret/a", "/v1/secret/a", pathClean},
		{"/v1/secret/", "/v1/secret/", pathClean},
		{"/", "/", pathClean},
		{"", "/", pathClean},
		{"/v1//a", "/v1/a", pathMoved},
		{"//", "/", pathMoved},
		{"//evil.example/", "/evil.example/", pathMoved},
		{"/v1/a/../b", "/v1/b", pathMoved},
		{"/v1/a/./", "/v1/a/", pathMoved},
		{"/v1/a/..", "/v1", pathMoved},
		{"/../../etc", "/etc", pathMoved},
		{"/v1/a/...", "/v1/a/...", pathClean},
		{"/v1/.hidden", "/v1/.hidden", pathClean},
		{"/v1/a b/ü", "/v1/a b/ü", pathClean},
		{"/v1/a\x01", "", pathBad},
		{"/v1/a\x00", "", pathBad},
		{"/v1/a\x7f", "", pathBad},
		{"/v1/a\u0085", "", pathBad},
		{"/v1/a\xff", "", pathBad},
		{"/v1/\xc0\xaf", "", pathBad},
	} {
		got, verdict := canonical(test.in)
		if got != test.want || verdict != test.verdict {
			t.Errorf("canonical(%q) = %q, %d; want %q, %d", test.in, got, verdict, test.want, test.verdict)
		}
	}
}

// FuzzCanonical: what comes out has one form only, and nothing in it can be read in two ways.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"/v1/a", "//", "/v1/../a/", "/v1/./.", "a", "", "/a\x00", "/\xff", "/..%2f", "/a/ /b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, v := canonical(in)
		if v == pathBad {
			return
		}
		if again, v := canonical(out); v != pathClean || again != out {
			t.Fatalf("%q: not stable: %q becomes %q (%d)", in, out, again, v)
		}
		if v == pathClean && out != in && out != "/"+in {
			t.Fatalf("%q: changed to %q without a redirect", in, out)
		}
		if !utf8.ValidString(out) || strings.ContainsFunc(out, unicode.IsControl) || out[0] != '/' || strings.Contains(out, "//") {
			t.Fatalf("%q: not canonical: %q", in, out)
		}
		if segments := strings.Split(out, "/"); slices.Contains(segments, ".") || slices.Contains(segments, "..") {
			t.Fatalf("%q: dot segments: %q", in, out)
		}
	})
}
