package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The reference evaluator: the sentences of the wire contract one by one, with no thought of speed. It shares only the
// parser and the filling of templates with the real one.

// refAllowed says whether the rules of all policies allow a request.
func refAllowed(rules []rule, r Request) bool {
	winner := refWinner(rules, r.Path, r.Operation == "list")
	wanted := map[string]capability{"read": canRead, "list": canList, "create": canCreate, "update": canUpdate, "delete": canDelete, "patch": canPatch}[r.Operation]
	if refCapabilities(winner)&wanted == 0 {
		return false
	}
	if r.Operation != "delete" && r.Operation != "list" && !refParameters(winner, r.Data) {
		return false
	}
	// Smallest minimum, smallest maximum of those that are set.
	var least, most time.Duration
	for _, w := range winner {
		if w.minWrap > 0 && (least == 0 || w.minWrap < least) {
			least = w.minWrap
		}
		if w.maxWrap > 0 && (most == 0 || w.maxWrap < most) {
			most = w.maxWrap
		}
	}
	if least > 0 || most > 0 {
		return r.WrapTTL > 0 && r.WrapTTL >= least && (most == 0 || r.WrapTTL <= most)
	}
	return true
}

// refWinner is every rule of the one path that decides.
func refWinner(rules []rule, path string, list bool) []rule {
	path = strings.TrimPrefix(path, "/")
	candidates := []string{path}
	if list && strings.HasSuffix(path, "/") {
		candidates = append(candidates, path[:len(path)-1])
	}
	for _, p := range candidates {
		for _, r := range rules {
			if r.path == p && !refWild(r.path) {
				return refSame(rules, r.path)
			}
		}
	}
	for _, p := range candidates {
		best := ""
		for _, r := range rules {
			if refWild(r.path) && refPattern(r.path).MatchString(p) && (best == "" || refBetter(r.path, best)) {
				best = r.path
			}
		}
		if best != "" {
			return refSame(rules, best)
		}
	}
	return nil
}

func refSame(rules []rule, path string) []rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.path != path })
}

func refWild(path string) bool {
	return strings.HasSuffix(path, "*") || slices.Contains(strings.Split(path, "/"), "+")
}

func refPattern(path string) *regexp.Regexp {
	text, end := path, "$"
	if strings.HasSuffix(path, "*") {
		text, end = path[:len(path)-1], ""
	}
	segments := strings.Split(text, "/")
	for i, s := range segments {
		if segments[i] = regexp.QuoteMeta(s); s == "+" {
			segments[i] = "[^/]*"
		}
	}
	return regexp.MustCompile("(?s)^" + strings.Join(segments, "/") + end)
}

func refBetter(a, b string) bool {
	first := func(p string) int {
		at := 0
		for _, s := range strings.Split(p, "/") {
			if s == "+" {
				return at
			}
			at += len(s) + 1
		}
		return len(p) - 1 // the star
	}
	plus := func(p string) int {
		n := 0
		for _, s := range strings.Split(p, "/") {
			if s == "+" {
				n++
			}
		}
		return n
	}
	starA, starB := strings.HasSuffix(a, "*"), strings.HasSuffix(b, "*")
	switch {
	case first(a) != first(b):
		return first(a) > first(b)
	case starA != starB:
		return starB
	case plus(a) != plus(b):
		return plus(a) < plus(b)
	case len(a) != len(b):
		return len(a) > len(b)
	default:
		return a > b
	}
}

func refCapabilities(winner []rule) capability {
	var all capability
	for _, w := range winner {
		all |= w.capabilities
	}
	if all&denied != 0 {
		return 0
	}
	return all
}

func refParameters(winner []rule, data map[string]any) bool {
	sent := map[string][]any{}
	for k, v := range data {
		sent[strings.ToLower(k)] = append(sent[strings.ToLower(k)], v)
	}
	anyAllowed := false
	for _, w := range winner {
		for _, name := range w.required {
			if _, ok := sent[name]; !ok {
				return false
			}
		}
		anyAllowed = anyAllowed || len(w.allowed) > 0
	}
	values := func(name string, of func(rule) parameters) (list []any, listed, all bool) {
		for _, w := range winner {
			if v, ok := of(w)[name]; ok {
				listed, all, list = true, all || len(v) == 0, append(list, v...)
			}
		}
		return list, listed, all
	}
	matches := func(list []any, v any) bool {
		for _, w := range list {
			switch w := w.(type) {
			case string:
				if s, ok := v.(string); ok {
					quoted := regexp.QuoteMeta(strings.TrimSuffix(strings.TrimPrefix(w, "*"), "*"))
					if strings.HasPrefix(w, "*") {
						quoted = "(?s).*" + quoted
					}
					if strings.HasSuffix(w, "*") {
						quoted += "(?s).*"
					}
					if regexp.MustCompile("^(?:" + quoted + ")$").MatchString(s) {
						return true
					}
				}
			case bool:
				if b, ok := v.(bool); ok && b == w {
					return true
				}
			case []any:
				if fmt.Sprintf("%T%#v", w, w) == fmt.Sprintf("%T%#v", v, v) {
					return true
				}
			}
		}
		return false
	}
	deniedOf := func(r rule) parameters { return r.denied }
	allowedOf := func(r rule) parameters { return r.allowed }
	for name, vs := range sent {
		for _, v := range vs {
			if _, every, _ := values("*", deniedOf); every {
				return false
			}
			if list, listed, all := values(name, deniedOf); listed && (all || matches(list, v)) {
				return false
			}
			if !anyAllowed {
				continue
			}
			_, anyName, _ := values("*", allowedOf)
			list, listed, all := values(name, allowedOf)
			if listed && !all && !matches(list, v) || !listed && !anyName {
				return false
			}
		}
	}
	return true
}

// refRules are the rules of all policies as one caller has them.
func refRules(policies []*Policy, id *Identity) []rule {
	var rules []rule
	for _, p := range policies {
		for _, r := range p.rules {
			if r.templated {
				var ok bool
				if r.path, ok = fill(r.path, id); !ok {
					continue
				}
			}
			if !r.ends.IsZero() {
				r.capabilities = denied
			}
			rules = append(rules, r)
		}
	}
	return rules
}

var refIdentity = &Identity{
	EntityID: "e1", EntityName: "ann", Metadata: map[string]string{"k": "v", "bad": "a/*"},
	Groups: []Group{{ID: "g1", Name: "grp"}},
}

// compare fails the test when the ACL and the reference disagree on any operation at path.
func compare(t *testing.T, policies []*Policy, path string, data map[string]any, wrap time.Duration) {
	t.Helper()
	if !utf8.ValidString(path) {
		return // never gets past the HTTP layer, and the reference's regular expressions work on characters
	}
	for _, id := range []*Identity{nil, refIdentity} {
		acl, rules := NewACL(policies, id), refRules(policies, id)
		for _, op := range []string{"read", "list", "create", "update", "delete", "patch"} {
			r := Request{Operation: op, Path: path, Data: data, WrapTTL: wrap}
			if got, want := acl.Check(r).Allowed, refAllowed(rules, r); got != want {
				t.Fatalf("%+v with identity %v: got %v, the reference says %v", r, id != nil, got, want)
			}
		}
		got, want := acl.Capabilities(path), refCapabilities(refWinner(rules, path, true)).names()
		if !slices.Equal(got, want) {
			t.Fatalf("capabilities of %q: got %v, the reference says %v", path, got, want)
		}
	}
}

// FuzzParse: no text stops the process, and what parses never grants more (or less) than the reference.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		DefaultText, ResponseWrappingText,
		`path "a/+/{{identity.entity.id}}*" { policy = "write" min_wrapping_ttl = "1m" }`,
		`path "a" { capabilities = ["update"] allowed_parameters = { "k" = ["v*", true, 1, ["x"]] } required_parameters = ["k"] }`,
		`{"path":{"a/*":{"capabilities":["read"]},"+":{"policy":"deny"}}}`,
		`{"path":[{"a":{"denied_parameters":{"*":[]},"policy":"sudo"}}]}`,
		"path \"a\" { comment = <<-EOF\n  x\n  EOF\n expiration = \"2030-01-01T00:00:00Z\" }",
		`path "a/{{identity.groups.names.grp.id}}" { capabilities = ["patch"] max_wrapping_ttl = 5 }`,
	} {
		f.Add(text, `path "a" { policy = "read" }`, "a/x/e1", `{"k":"v"}`, int64(time.Minute))
	}
	f.Fuzz(func(t *testing.T, one, two, path, body string, wrap int64) {
		var policies []*Policy
		for _, text := range []string{one, two} {
			p, err := Parse("p", text)
			if err != nil {
				return
			}
			policies = append(policies, p)
		}
		var data map[string]any
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		_ = d.Decode(&data) // whatever could be read of it
		compare(t, policies, path, data, time.Duration(wrap))
		for _, p := range policies { // a path that a rule speaks of finds more than a random one
			for _, r := range p.rules {
				compare(t, policies, strings.TrimSuffix(r.path, "*"), data, time.Duration(wrap))
			}
		}
		NewACL(policies, refIdentity).HasAccessBelow(path)
	})
}

// Random rules over few segments, so that many cover the same path; the seed is fixed.
func TestMatchAgainstReference(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "b", "ab", "+", "+", ""}
	text := func(ends ...string) string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = segments[random.IntN(len(segments))]
		}
		return strings.Join(parts, "/") + ends[random.IntN(len(ends))]
	}
	for range 3000 {
		p := &Policy{Name: "p"}
		for i := range 2 + random.IntN(8) {
			path := text("", "", "*", "/*", "a*")
			if !strings.Contains(path, "+*") {
				p.rules = append(p.rules, rule{path: path, capabilities: 1 << (i % len(capabilityNames))})
			}
		}
		compare(t, []*Policy{p}, strings.ReplaceAll(text("", "/"), "+", "b"), nil, 0)
	}
}

// FuzzMatch compares which of many rules wins, with paths made of few characters, so that they meet often.
func FuzzMatch(f *testing.F) {
	f.Add("a/*\na/+\na/b", "a/b")
	f.Add("+/+\n+/b*\na/+/*\n*\na//+", "a/b/")
	f.Add("s/+/+/z\ns/q/+/z\ns/+/r/z\n/+", "s/q/r/z")
	f.Fuzz(func(t *testing.T, lines, path string) {
		reduce := strings.NewReplacer("c", "a", "d", "b", "e", "/", "f", "+", "g", "*", "h", "/+/")
		p := &Policy{Name: "p"}
		grants := []capability{canRead, canList, canUpdate, canDelete, canPatch, canCreate, denied}
		for i, line := range strings.Split(reduce.Replace(lines), "\n") {
			if i > 12 || strings.Contains(line, "+*") || !json.Valid([]byte(`"`+line+`"`)) {
				continue
			}
			text := fmt.Sprintf(`{"path":{"%s":{"capabilities":["%s"]}}}`, line, grants[i%len(grants)].names()[0])
			one, err := Parse("p", text)
			if err != nil {
				continue
			}
			p.rules = append(p.rules, one.rules...)
		}
		compare(t, []*Policy{p}, reduce.Replace(path), nil, 0)
	})
}
