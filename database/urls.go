package database

import (
	"regexp"
	"slices"
	"strings"
)

// hidden stands in answers where a connection URL holds a password.
const hidden = "xxxxx"

const passwordPlaceholder = "{{password}}"

var (
	// hostsOnly is the part of a URL before the first slash when it has no user information: hosts with ports.
	hostsOnly = regexp.MustCompile(`^(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?(?:,(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?)*$`)
	// inQuery is a password among the parameters of a URL.
	inQuery = regexp.MustCompile(`(?i)[?&;](?:ssl)?(?:password|pwd)=([^&#;]*)`)
	// Key=value pairs are separated by blanks (libpq) or semicolons (ADO), and their values may be quoted.
	inPairs     = regexp.MustCompile(`(?i)(?:^|[\s;])(?:ssl)?(?:password|pwd)\s*=\s*`)
	quotedValue = regexp.MustCompile(`^(?:'(?:[^'\\]|\\.)*'|"[^"]*"|\{\{password\}\}|\{[^{}]*\})`)
	nextByBlank = regexp.MustCompile(`\s+\w+\s*=`)
	nextByMark  = regexp.MustCompile(`;\s*\w[\w ]*=`)
)

// withoutPassword is a connection URL in which a password that was written into it is hidden, and whether there was
// one. It knows the forms that the databases take: scheme://user:password@host, user:password@net(host)/db, and
// key=value pairs. What is not well-formed is hidden generously.
func withoutPassword(url string) (masked string, found bool) {
	masked = url
	hide := func(from, to int) {
		switch strings.Trim(masked[from:to], `'"`) {
		case "", hidden, passwordPlaceholder:
		default:
			masked, found = masked[:from]+hidden+masked[to:], true
		}
	}
	at := strings.Index(url, "://")
	if at < 0 {
		hide(passwordBefore(url, 0, strings.LastIndexByte(url[:strings.LastIndexByte(url, '/')+1], '@')))
		for _, from := range backwards(inPairs.FindAllStringIndex(masked, -1)) {
			hide(from[1], from[1]+valueLength(masked[from[1]:]))
		}
		return masked, found
	}
	hide(passwordOfURL(url, at+len("://")))
	for _, place := range backwards(inQuery.FindAllStringSubmatchIndex(masked, -1)) {
		hide(place[2], place[3])
	}
	return masked, found
}

// valueLength is how far the value goes that text begins with. Where it may end in two places, the later one counts.
func valueLength(text string) int {
	if quoted := quotedValue.FindString(text); quoted != "" {
		return len(quoted)
	}
	end := -1
	for _, next := range []*regexp.Regexp{nextByBlank, nextByMark} {
		if at := next.FindStringIndex(text); at != nil {
			end = max(end, at[0])
		}
	}
	if end < 0 {
		end = len(strings.TrimRight(text, "; \t\r\n"))
	}
	return end
}

// backwards is for replacing at several places: the later ones first, so that the earlier ones stay where they are.
func backwards(places [][]int) [][]int {
	slices.Reverse(places)
	return places
}

// passwordOfURL finds the password in a URL whose part after the scheme begins at start.
func passwordOfURL(url string, start int) (from, to int) {
	upTo := func(ends string) string {
		if i := strings.IndexAny(url[start:], ends); i >= 0 {
			return url[start : start+i]
		}
		return url[start:]
	}
	authority := upTo("/?#")
	switch {
	case strings.Contains(authority, "@"):
		return passwordBefore(url, start, start+strings.LastIndexByte(authority, '@'))
	case strings.Contains(upTo("?#"), "@") || !hostsOnly.MatchString(authority): // a password with a raw slash or the like
		return passwordBefore(url, start, strings.LastIndexByte(url, '@'))
	default:
		return 0, 0
	}
}

// passwordBefore is what stands between the first colon after start and the @ at end.
func passwordBefore(url string, start, end int) (from, to int) {
	if end < start {
		return 0, 0
	}
	colon := strings.IndexByte(url[start:end], ':')
	if colon < 0 {
		return 0, 0
	}
	return start + colon + 1, end
}
