package database

import (
	"regexp"
	"strings"
)

// hidden stands in answers where a connection URL holds a password.
const hidden = "xxxxx"

const passwordPlaceholder = "{{password}}"

var (
	// hostsOnly is the part of a URL before the first slash when it has no user information: hosts with ports.
	hostsOnly = regexp.MustCompile(`^(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?(?:,(?:\[[^\]]*\]|[^:@\[\]]*)(?::\d*)?)*$`)
	// inQuery is a password among the parameters of a URL.
	inQuery = regexp.MustCompile(`(?i)([?&;](?:ssl)?(?:password|pwd)=)([^&#;]*)`)
	// inPairs is a password among key=value pairs, which are separated by blanks (libpq) or semicolons (ADO); the value
	// may be quoted, or escaped with backslashes.
	inPairs = regexp.MustCompile(`(?i)((?:^|[\s;])(?:ssl)?(?:password|pwd)\s*=\s*)('(?:[^'\\]|\\.)*'|"[^"]*"|\{[^{][^}]*\}|(?:[^\s;\\]|\\.)*)`)
)

// withoutPassword is a connection URL in which a password that was written into it is hidden, and whether there was
// one. It knows the forms that the databases take: scheme://user:password@host, user:password@net(host)/db, and
// key=value pairs. What is not well-formed is hidden generously.
func withoutPassword(url string) (masked string, found bool) {
	masked, pairs := url, inPairs
	from, to := 0, 0
	if at := strings.Index(url, "://"); at >= 0 {
		pairs = inQuery
		from, to = passwordOfURL(url, at+len("://"))
	} else {
		from, to = passwordBefore(url, 0, strings.LastIndexByte(url[:strings.LastIndexByte(url, '/')+1], '@'))
	}
	if from < to && url[from:to] != passwordPlaceholder {
		masked, found = url[:from]+hidden+url[to:], true
	}
	masked = pairs.ReplaceAllStringFunc(masked, func(pair string) string {
		parts := pairs.FindStringSubmatch(pair)
		switch strings.Trim(parts[2], `'"`) {
		case "", hidden, passwordPlaceholder:
			return pair
		}
		found = true
		return parts[1] + hidden
	})
	return masked, found
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
