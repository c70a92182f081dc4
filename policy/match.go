package policy

import (
	"cmp"
	"slices"
	"strings"
)

// pattern is a rule path with a wildcard: a trailing "*" stands for any text, a "+" for one whole segment, which may
// be empty.
type pattern struct {
	literal string // what stands before the first wildcard
	tail    string // from the first "+" on; empty for a plain prefix
	star    bool   // the path ends in "*"
	plus    int    // number of "+" segments
	path    string
}

// newPattern takes a rule's path apart; false when it has no wildcard.
func newPattern(path string) (pattern, bool) {
	p := pattern{path: path, literal: path}
	if text, star := strings.CutSuffix(path, "*"); star {
		p.literal, p.star = text, true
	}
	for at := 0; at <= len(path); {
		segment, _, _ := strings.Cut(path[at:], "/")
		if segment == "+" {
			if p.plus == 0 {
				p.literal, p.tail = path[:at], path[at:]
			}
			p.plus++
		}
		at += len(segment) + 1
	}
	return p, p.star || p.plus > 0
}

// matches reports whether the pattern covers path.
func (p *pattern) matches(path string) bool {
	rest, ok := strings.CutPrefix(path, p.literal)
	return ok && (p.plus == 0 || matchSegments(p.tail, rest))
}

// matchSegments compares segment by segment; a last segment that ends in "*" takes all that is left.
func matchSegments(tail, rest string) bool {
	for {
		want, wants, wantMore := strings.Cut(tail, "/")
		if head, star := strings.CutSuffix(want, "*"); star && !wantMore {
			return strings.HasPrefix(rest, head)
		}
		have, haves, haveMore := strings.Cut(rest, "/")
		if want != "+" && want != have || wantMore != haveMore {
			return false
		}
		if !wantMore {
			return true
		}
		tail, rest = wants, haves
	}
}

// compare orders patterns, the better one first. Among all that cover a path, the best one decides.
func (p *pattern) compare(q *pattern) int {
	return cmp.Or(
		cmp.Compare(len(q.literal), len(p.literal)), // the first wildcard stands later
		compareBool(p.star, q.star),                 // no "*" at the end
		cmp.Compare(p.plus, q.plus),                 // fewer "+"
		cmp.Compare(len(q.path), len(p.path)),       // longer text
		cmp.Compare(q.path, p.path),                 // lexically greater
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// wildcards finds the best pattern for a path without looking at those that begin otherwise.
//
// All patterns that cover a path and are equally good by the first comparison have the same literal, so it is enough
// to try the literal lengths that occur, longest first.
type wildcards struct {
	lengths   []int // of the literals, descending
	byLiteral map[string][]*grant
}

func (w *wildcards) add(g *grant) {
	if w.byLiteral == nil {
		w.byLiteral = map[string][]*grant{}
	}
	w.byLiteral[g.literal] = append(w.byLiteral[g.literal], g)
}

// sort must follow the last add.
func (w *wildcards) sort() {
	for literal, grants := range w.byLiteral {
		slices.SortFunc(grants, func(a, b *grant) int { return a.compare(&b.pattern) })
		if !slices.Contains(w.lengths, len(literal)) {
			w.lengths = append(w.lengths, len(literal))
		}
	}
	slices.SortFunc(w.lengths, func(a, b int) int { return b - a })
}

func (w *wildcards) best(path string) *grant {
	for _, n := range w.lengths {
		if n > len(path) {
			continue
		}
		for _, g := range w.byLiteral[path[:n]] {
			if g.matches(path) {
				return g
			}
		}
	}
	return nil
}
