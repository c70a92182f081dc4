package httpapi

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// verdict is what is to be done with a path.
type verdict int

const (
	pathClean verdict = iota
	pathMoved         // 307 to the clean form
	pathBad           // 400 without a body
)

// canonical makes the one form of a path that everything behind it sees. p is percent-decoded once.
//
// A path with empty or dot segments is not served under its clean name: the client is sent there, so that what a
// policy allows and what a proxy in front has checked are the same string. Control characters and broken UTF-8 never
// pass.
func canonical(p string) (string, verdict) {
	if !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
		return "", pathBad
	}
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if clean != "/" && strings.HasSuffix(p, "/") {
		if clean == p[:len(p)-1] {
			return p, pathClean
		}
		return clean + "/", pathMoved
	}
	if clean != p {
		return clean, pathMoved
	}
	return p, pathClean
}
