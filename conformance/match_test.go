package conformance

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// matcher compares an answer with a recorded one by the rules of the wire contract's README, "Matching a response".
type matcher struct {
	unordered, superset, closed map[string]bool // by shown path
}

func newMatcher(l *line) *matcher {
	set := func(paths []string) map[string]bool {
		out := map[string]bool{}
		for _, p := range paths {
			out[showPath(parsePath(p))] = true
		}
		return out
	}
	return &matcher{unordered: set(l.Unordered), superset: set(l.Superset), closed: set(l.Closed)}
}

func showPath(steps []any) string {
	out := "$"
	for _, step := range steps {
		out += fmt.Sprintf("[%v]", step)
	}
	return out
}

// match returns the differences; none: the answer conforms.
func (m *matcher) match(want, got any, path string) []string {
	switch want := want.(type) {
	case map[string]any:
		return m.object(want, got, path)
	case []any:
		return m.array(want, got, path)
	case string:
		if matchText(want, got) {
			return nil
		}
	case json.Number:
		if n, ok := got.(json.Number); ok && sameNumber(want, n) {
			return nil
		}
	default: // booleans and null
		if want == got {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: want %s, got %s", path, short(want), short(got))}
}

func (m *matcher) object(want map[string]any, got any, path string) []string {
	object, ok := got.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: want an object, got %s", path, short(got))}
	}
	var diffs []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		below := fmt.Sprintf("%s[%s]", path, key)
		if value, ok := object[key]; ok {
			diffs = append(diffs, m.match(want[key], value, below)...)
		} else {
			diffs = append(diffs, fmt.Sprintf("%s: missing, want %s", below, short(want[key])))
		}
	}
	if m.closed[path] {
		for key := range object {
			if _, ok := want[key]; !ok {
				diffs = append(diffs, fmt.Sprintf("%s[%s]: must not be there", path, key))
			}
		}
	}
	return diffs
}

func (m *matcher) array(want []any, got any, path string) []string {
	array, ok := got.([]any)
	if !ok {
		return []string{fmt.Sprintf("%s: want an array, got %s", path, short(got))}
	}
	if !m.superset[path] && len(want) != len(array) {
		return []string{fmt.Sprintf("%s: want %d elements, got %d: %s", path, len(want), len(array), short(got))}
	}
	if !m.superset[path] && !m.unordered[path] {
		var diffs []string
		for i := range want {
			diffs = append(diffs, m.match(want[i], array[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
		return diffs
	}
	// Give each recorded element one of its own: a maximum matching, because several may fit a placeholder.
	owner := make([]int, len(array))
	for j := range owner {
		owner[j] = -1
	}
	var place func(i int, seen map[int]bool) bool
	place = func(i int, seen map[int]bool) bool {
		for j := range array {
			if seen[j] || len(m.match(want[i], array[j], path+"[]")) > 0 {
				continue
			}
			seen[j] = true
			if owner[j] < 0 || place(owner[j], seen) {
				owner[j] = i
				return true
			}
		}
		return false
	}
	var diffs []string
	for i := range want {
		if !place(i, map[int]bool{}) {
			diffs = append(diffs, fmt.Sprintf("%s: no element like %s", path, short(want[i])))
		}
	}
	return diffs
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, err1 := a.Float64()
	y, err2 := b.Float64()
	return err1 == nil && err2 == nil && x == y
}

func short(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(data) > 200 {
		return string(data[:200]) + "…"
	}
	return string(data)
}

const (
	base64Char = `[A-Za-z0-9+/=_-]`
	uuidForm   = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
)

// textForms are the placeholders for text, alone or inside a string.
var textForms = map[string]string{
	"string": `(?s:.*)`, "nonempty": `(?s:.+)`, "uuid": uuidForm,
	"rfc3339":  `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)`,
	"gotime":   `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [+-]\d{4} [A-Z]+(?: m=[+-][\d.]+)?`,
	"token":    `(?:s|b|r|hvs|hvb|hvr)\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9]{4,8})?`,
	"accessor": `[A-Za-z0-9_.-]{8,64}`, "username": `\S{1,128}`, "password": `\S{8,256}`,
	"ident": `[A-Za-z0-9_.:/-]+`, "nonce": `[A-Za-z0-9_.:+/=-]+`, "hex": `[0-9a-fA-F]+`,
	"base64": base64Char + `+`, "b64": base64Char + `*`,
	"jwt": `[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`, "pem": `(?s:-----BEGIN .*-----END [A-Z0-9 ]+-----\s*)`,
	"serial": `[0-9a-f]{2}(?::[0-9a-f]{2})+`, "serial-dashed": `[0-9a-f]{2}(?:-[0-9a-f]{2})+`,
	"url":        `[a-z][a-z0-9+.-]*://\S*`,
	"ciphertext": `vault:v\d+:` + base64Char + `+`, "signature": `vault:v\d+:` + base64Char + `+`, "hmac": `(?:vault:v\d+:` + base64Char + `+)`,
	"version": `v?\d+\.\d+\.\d+\S*`, "product": `[A-Za-z][A-Za-z0-9 ]*`, "int": `-?\d+`, "unix": `\d{10}`,
}

// formWithArgument is the expression of <name:argument> inside text; "" when there is no such form.
func formWithArgument(name, arg string) string {
	quoted := regexp.QuoteMeta(arg)
	switch name {
	case "accessor":
		return quoted + `_[0-9a-f]{8}`
	case "pem":
		return `(?s:-----BEGIN ` + quoted + `-----.*-----END ` + quoted + `-----\s*)`
	case "ciphertext":
		return `vault:` + quoted + `:` + base64Char + `+`
	case "signature":
		return `vault:` + quoted + `:(?:` + base64Char + `|:)+`
	case "hmac":
		return `vault:` + quoted + `:` + base64Char + `+`
	case "lease_id":
		return quoted + `\S+`
	case "prefix":
		return quoted + `(?s:.*)`
	case "contains":
		return `(?i:(?s:.*)` + quoted + `(?s:.*))`
	case "regex":
		return `(?:` + arg + `)`
	case "b64":
		return base64Char + `*`
	case "hex":
		return `[0-9a-fA-F]*`
	case "int":
		return `-?\d+`
	}
	return ""
}

var placeholder = regexp.MustCompile(`<([a-z0-9_-]+)(?::([^<>]*))?>`)

// matchText compares a recorded string, which may hold placeholders.
func matchText(want string, got any) bool {
	name, arg, hasArg, alone := onlyPlaceholder(want)
	if alone {
		if verdict, isValue := matchValue(name, arg, got); isValue {
			return verdict
		}
	}
	text, ok := got.(string)
	if !ok {
		return false
	}
	if text == want {
		return true
	}
	if alone && hasArg && (name == "b64" || name == "hex") {
		return decodedLength(name, text) == arg
	}
	expr, from, found := "", 0, false
	for _, m := range placeholder.FindAllStringSubmatchIndex(want, -1) {
		form := ""
		if m[4] < 0 {
			form = textForms[want[m[2]:m[3]]]
		} else {
			form = formWithArgument(want[m[2]:m[3]], want[m[4]:m[5]])
		}
		if form == "" {
			continue // text in angle brackets
		}
		expr += regexp.QuoteMeta(want[from:m[0]]) + form
		from, found = m[1], true
	}
	return found && regexp.MustCompile(`^(?:`+expr+regexp.QuoteMeta(want[from:])+`)$`).MatchString(text)
}

func onlyPlaceholder(want string) (name, arg string, hasArg, alone bool) {
	m := placeholder.FindStringSubmatchIndex(want)
	if m == nil || m[0] != 0 || m[1] != len(want) {
		return "", "", false, false
	}
	if m[4] >= 0 {
		return want[m[2]:m[3]], want[m[4]:m[5]], true, true
	}
	return want[m[2]:m[3]], "", false, true
}

func decodedLength(name, text string) string {
	var data []byte
	var err error
	if name == "hex" {
		data, err = hex.DecodeString(text)
	} else {
		data, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil {
		return "undecodable"
	}
	return strconv.Itoa(len(data))
}

// matchValue decides the placeholders that stand for a value that is not text.
func matchValue(name, arg string, got any) (verdict, isValue bool) {
	n, isNumber := got.(json.Number)
	value := 0.0
	if isNumber {
		value, _ = n.Float64()
	}
	switch name {
	case "any":
		return true, true
	case "bool":
		_, ok := got.(bool)
		return ok, true
	case "object":
		_, ok := got.(map[string]any)
		return ok, true
	case "array":
		_, ok := got.([]any)
		return ok, true
	case "int":
		return isNumber && value == float64(int64(value)) && inRange(value, arg), true
	case "number", "float":
		return isNumber && inRange(value, arg), true
	case "unix":
		return isNumber && value > 1_500_000_000 && value < 10_000_000_000, true
	case "unix_ns":
		return isNumber && value > 1e17, true
	}
	return false, false
}

func inRange(v float64, limits string) bool {
	low, high, ok := strings.Cut(limits, "..")
	if !ok {
		return true
	}
	if n, err := strconv.ParseFloat(low, 64); err == nil && v < n {
		return false
	}
	n, err := strconv.ParseFloat(high, 64)
	return err != nil || v <= n
}
