package policy

import (
	"slices"
	"strings"
	"time"
)

// ACL is what the policies of one token allow. It does not change; safe for concurrent use.
type ACL struct {
	root  bool
	exact map[string]*grant
	wild  wildcards
}

// grant is what all policies together say of one path.
type grant struct {
	pattern
	capabilities capability
	minWrap      time.Duration
	maxWrap      time.Duration
	allowed      parameters
	denied       parameters
	required     []string
	sources      []source
}

// source is what one policy adds to a grant.
type source struct {
	names        []string // the policy's name, as a list of one that verdicts can share
	capabilities capability
}

// Request is what is asked of an ACL.
type Request struct {
	Operation string         // read, list, create, update, delete, patch, header, scan or help
	Path      string         // canonical, without "/v1/"; a list ends in "/"
	Data      map[string]any // the body, or the query of a read
	WrapTTL   time.Duration  // zero: the answer is not wrapped
}

// Verdict is the answer. Its list is shared: do not change it.
type Verdict struct {
	Allowed  bool
	Sudo     bool     // allowed, and the rule carries sudo; or root
	Granting []string // names of the policies whose rule allowed it
}

// NewACL compiles policies for one caller; identity is nil for a token without an entity. A nil policy is skipped:
// a token may name one that is gone.
func NewACL(policies []*Policy, identity *Identity) *ACL {
	a := &ACL{exact: map[string]*grant{}}
	grants := map[string]*grant{}
	for _, p := range policies {
		if p == nil {
			continue
		}
		if p.Name == RootName {
			return &ACL{root: true}
		}
		name := []string{p.Name}
		for i := range p.rules {
			r := &p.rules[i]
			path := r.path
			if r.templated {
				var ok bool
				if path, ok = fill(path, identity); !ok {
					continue
				}
			}
			g := grants[path]
			if g == nil {
				g = &grant{}
				grants[path] = g
			}
			g.add(r, name)
		}
	}
	for path, g := range grants {
		var wild bool
		if g.pattern, wild = newPattern(path); wild {
			a.wild.add(g)
		} else {
			a.exact[path] = g
		}
	}
	a.wild.sort()
	return a
}

// add merges a rule for the same path.
func (g *grant) add(r *rule, name []string) {
	capabilities := r.capabilities
	if !r.ends.IsZero() {
		capabilities = denied // see Policy.At
	}
	if (g.capabilities|capabilities)&denied != 0 {
		g.capabilities = denied
		return
	}
	g.capabilities |= capabilities
	g.minWrap = smaller(g.minWrap, r.minWrap)
	g.maxWrap = smaller(g.maxWrap, r.maxWrap)
	g.allowed = g.allowed.merge(r.allowed)
	g.denied = g.denied.merge(r.denied)
	for _, required := range r.required {
		if !slices.Contains(g.required, required) {
			g.required = append(g.required, required)
		}
	}
	if n := len(g.sources); n > 0 && g.sources[n-1].names[0] == name[0] {
		g.sources[n-1].capabilities |= capabilities
		return
	}
	g.sources = append(g.sources, source{name, capabilities})
}

// smaller is the lesser of two limits, of which zero is none.
func smaller(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Root reports whether everything is allowed.
func (a *ACL) Root() bool { return a.root }

var rootNames = []string{RootName}

// Check decides a request. The rest of the pipeline must not run it unless the verdict says Allowed.
func (a *ACL) Check(r Request) Verdict {
	if a.root {
		return Verdict{Allowed: true, Sudo: true, Granting: rootNames}
	}
	if r.Operation == "help" {
		return Verdict{Allowed: true}
	}
	g := a.find(r.Path, r.Operation == "list" || r.Operation == "scan")
	if g == nil {
		return Verdict{}
	}
	need := needed(r.Operation)
	if g.capabilities&need == 0 || !g.wraps(r.WrapTTL) {
		return Verdict{}
	}
	switch need {
	case canCreate, canUpdate, canPatch, canRead:
		if !g.admit(r.Data) {
			return Verdict{}
		}
	}
	return Verdict{Allowed: true, Sudo: g.capabilities&sudo != 0, Granting: g.granting(need)}
}

// find is the one rule that decides about path, or nil.
func (a *ACL) find(path string, list bool) *grant {
	path = strings.TrimPrefix(path, "/")
	if g := a.exact[path]; g != nil {
		return g
	}
	folder, slash := strings.CutSuffix(path, "/")
	slash = slash && list
	if slash {
		if g := a.exact[folder]; g != nil {
			return g
		}
	}
	g := a.wild.best(path)
	if g == nil && slash {
		g = a.wild.best(folder)
	}
	return g
}

// wraps holds the request's wrapping against the limits of the rule.
func (g *grant) wraps(ttl time.Duration) bool {
	if g.minWrap > 0 && ttl < g.minWrap {
		return false
	}
	return g.maxWrap == 0 || ttl > 0 && ttl <= g.maxWrap
}

// granting names the policies that give a capability. One policy is the common case and costs nothing.
func (g *grant) granting(need capability) []string {
	if len(g.sources) == 1 {
		return g.sources[0].names
	}
	var names []string
	for _, s := range g.sources {
		if s.capabilities&need != 0 {
			names = append(names, s.names[0])
		}
	}
	return names
}

// Capabilities lists what the token may do at path, as a list request would be judged: sorted names, ["deny"] for
// nothing, ["root"] for everything.
func (a *ACL) Capabilities(path string) []string {
	if a.root {
		return []string{"root"}
	}
	return a.at(path).names()
}

func (a *ACL) at(path string) capability {
	if g := a.find(path, true); g != nil {
		return g.capabilities
	}
	return 0
}

// HasAccessBelow reports whether the token may do anything at a mount's path (with its trailing slash) or below.
//
// Each granting rule that reaches there is tried with one path of its own, so a rule that a more specific denial hides
// does not count.
func (a *ACL) HasAccessBelow(mount string) bool {
	if a.root || a.at(mount)&^denied != 0 {
		return true
	}
	for path, g := range a.exact {
		if strings.HasPrefix(path, mount) && g.capabilities&^denied != 0 {
			return true
		}
	}
	for _, grants := range a.wild.byLiteral {
		for _, g := range grants {
			if sample, ok := g.sample(mount); ok && g.capabilities&^denied != 0 && a.at(sample)&^denied != 0 {
				return true
			}
		}
	}
	return false
}

// sample is a path at or below mount that the pattern covers, if there is one.
func (p *pattern) sample(mount string) (string, bool) {
	text, star := strings.CutSuffix(p.path, "*")
	segments, within := strings.Split(text, "/"), strings.Split(strings.TrimSuffix(mount, "/"), "/")
	for i, segment := range segments {
		switch {
		case segment != "+":
		case i < len(within):
			segments[i] = within[i]
		default:
			segments[i] = "\x00" // no rule for a real path names it
		}
	}
	text = strings.Join(segments, "/")
	if star && strings.HasPrefix(mount, text) {
		return mount, true
	}
	return text, strings.HasPrefix(text, mount)
}

// Resultant is the whole of the ACL as clients draw their menus from it: root, or exact_paths and glob_paths, each a
// map from path to capabilities. Plain prefixes stand there without their "*".
//
// Wire: GET sys/internal/ui/resultant-acl.
func (a *ACL) Resultant() map[string]any {
	if a.root {
		return map[string]any{"root": true}
	}
	exact, globs := map[string]any{}, map[string]any{}
	for path, g := range a.exact {
		exact[path] = map[string]any{"capabilities": g.capabilities.names()}
	}
	for _, grants := range a.wild.byLiteral {
		for _, g := range grants {
			name := g.path
			if g.plus == 0 {
				name = g.literal
			}
			globs[name] = map[string]any{"capabilities": g.capabilities.names()}
		}
	}
	return map[string]any{"root": false, "exact_paths": exact, "glob_paths": globs}
}
