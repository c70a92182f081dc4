package history

import (
	"slices"
	"strconv"
	"strings"
)

const (
	maxTokens = 14
	maxLeases = 6
	none      = -1
)

// treeState is a tree of tokens, of which the first is there from the start, and the leases that were issued to them.
type treeState struct {
	tokens [maxTokens]tokenState
	leases [maxLeases]heldState
}

type tokenState struct {
	made, ended, batch bool
	severed            bool // ended without its children
	parent             int
}

// heldState is a lease that ends with a token.
type heldState struct {
	leaseState
	owner int
}

// alive reports whether a token and all that it hangs on are.
func (s *treeState) alive(token int) bool {
	for t := token; t != none; {
		k := s.tokens[t]
		if !k.made || k.ended {
			return false
		}
		if t = k.parent; t != none && s.tokens[t].severed {
			return !k.batch // a batch token needs its parent's row
		}
	}
	return true
}

// orphan reports whether a token hangs on nothing.
func (s *treeState) orphan(token int) bool {
	parent := s.tokens[token].parent
	return parent == none || s.tokens[parent].severed
}

// A tree of tokens.
//
//	create ON TO ARG  token TO by token ON; ARG: child, orphan or batch; no: ON has ended
//	self ON           a request of the token itself; ANSWER: orphan or child
//	lookup ON         by its text or accessor, by another; ANSWER the same
//	renew-token ON    no: it has ended
//	revoke ON         with all below it; that of an ended one is not refused
//	revoke-self ON    no: it has ended
//	revoke-orphan ON  alone; no: it has ended
//	list              ANSWER: those that are alive, batch tokens apart
//	issue ON TO       lease TO to token ON; no: the token has ended
//	renew-lease TO    no: the lease or its token has ended
//	lookup-lease TO   yes: there; no: gone
//	login TO          at the database
func stepTree(s treeState, o operation) (treeState, bool) {
	switch o.verb {
	case "create":
		if !s.alive(o.on) {
			return s, o.class != yes
		}
		s.tokens[o.to] = tokenState{made: true, parent: o.on, batch: o.arg == "batch"}
		if o.arg == "orphan" {
			s.tokens[o.to].parent = none
		}
		return s, o.class != no
	case "self", "lookup":
		if !s.alive(o.on) {
			return s, o.class == no
		}
		return s, o.class == yes && (o.answer == "orphan") == s.orphan(o.on)
	case "renew-token":
		return s, (o.class == yes) == s.alive(o.on)
	case "list":
		return s, o.answer == s.list()
	case "revoke":
		s.tokens[o.on].ended = true
		return s, o.class != no
	case "revoke-self", "revoke-orphan":
		if !s.alive(o.on) {
			return s, o.class != yes
		}
		s.tokens[o.on].ended, s.tokens[o.on].severed = true, o.verb == "revoke-orphan"
		return s, o.class != no
	}
	return stepHeld(s, o)
}

// stepHeld are the leases of a tree. That their token has ended condemns them; the reaper then comes by.
func stepHeld(s treeState, o operation) (treeState, bool) {
	if o.verb == "issue" {
		if !s.alive(o.on) {
			return s, o.class == no
		}
		s.leases[o.to] = heldState{leaseState{phase: active}, o.on}
		return s, o.class != no
	}
	held := &s.leases[o.to]
	good := held.phase == active && s.alive(held.owner)
	if held.phase == active && !good {
		held.phase = condemned
	}
	possible := false
	switch o.verb {
	case "renew-lease":
		return s, (o.class == yes) == good
	case "lookup-lease":
		if o.class == yes {
			return s, held.phase != ended
		}
		possible, held.phase = !good, ended
	case "login":
		held.leaseState, possible = held.triedIn(o)
	default:
		panic(o.verb)
	}
	return s, possible
}

// list are the numbers of the living tokens that have an accessor.
func (s *treeState) list() string {
	var living []int
	for t, k := range s.tokens {
		if k.made && !k.batch && s.alive(t) {
			living = append(living, t)
		}
	}
	return numbers(living)
}

func numbers(all []int) string {
	slices.Sort(all)
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}
