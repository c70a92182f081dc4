package database

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// What a name is made of, when a template is run for the shape of its names instead of a name.
const (
	anything = "\x01" // of a display name, a role's name, or whatever was made of one
	random   = "\x02"
	hexDigit = "\x03" // of a UUID or a hash
	digit    = "\x04" // of a time
)

// longest is how much of a display name or role name a shape allows for.
const longest = 64

var (
	kindRun = regexp.MustCompile("\x01+|\x02+|\x03+|\x04+")
	kinds   = map[string]string{
		anything: `[A-Za-z0-9_.@+=/:~-]{0,%d}`, random: `[A-Za-z0-9]{%d}`, hexDigit: `[0-9A-Fa-f-]{%d}`, digit: `[0-9]{%d}`,
	}
)

// shape is an expression that the names fit which a template makes; nil when it would say too little, as no part of them is
// random. A name that fits proves nothing: it is worth a look.
func (u *usernames) shape() *regexp.Regexp {
	t, err := u.template.Clone()
	if err != nil {
		return nil
	}
	out := &boundedBuffer{limit: maxName}
	name := strings.Repeat(anything, longest)
	if t.Funcs(shapeFunctions()).Execute(out, nameData{DisplayName: name, RoleName: name}) != nil {
		return nil
	}
	text := out.String()
	if strings.Count(text, random)+strings.Count(text, hexDigit) < enoughRandom {
		return nil
	}
	expression := kindRun.ReplaceAllStringFunc(regexp.QuoteMeta(text), func(run string) string {
		return fmt.Sprintf(kinds[run[:1]], len(run))
	})
	shape, err := regexp.Compile("^" + expression + "$")
	if err != nil { // a run is longer than expressions can say
		return nil
	}
	return shape
}

// shapeFunctions are the functions of templates that do not keep the kinds of characters as they are.
func shapeFunctions() template.FuncMap {
	some := func(kind string) func(n int) string {
		return func(n int) string { return strings.Repeat(kind, max(0, min(n, maxName))) }
	}
	fixed := func(kind string, n int) func() string { return func() string { return some(kind)(n) } }
	like := func(kind string, length func(n int) int) func(s string) string {
		return func(s string) string { return some(kind)(length(len(s))) }
	}
	same := func(n int) int { return n }
	double := func(n int) int { return 2 * n }
	return template.FuncMap{
		"random":           some(random),
		"uuid":             fixed(hexDigit, 36),
		"unix_time":        fixed(digit, 10),
		"unix_time_millis": fixed(digit, 13),
		"timestamp":        like(anything, double), // the names of months and zones are longer than some of their layouts
		"sha256":           like(hexDigit, func(int) int { return 64 }),
		"truncate_sha256":  func(n int, s string) string { return some(anything)(min(n, len(s))) },
		"base64":           like(anything, double),
		"decode_base64":    like(anything, same),
		"hex":              like(anything, double),
		"decode_hex":       like(anything, same),
		"matches_glob":     func(_, _ string) bool { return true },
	}
}
