package history

import "strconv"

// leaseState is a lease and its user in the database.
type leaseState struct {
	phase int
	until int // what it was last granted, in steps of grantStep
}

const (
	unborn    = iota
	active    // the user can log in
	condemned // its end is decided; the user can log in still, perhaps
	dropped   // the user is gone, the record is there
	ended     // both are gone
)

// grantStep tells lifetimes apart by what is left of them a little later, in seconds.
const grantStep = 1000

func grant(seconds float64) int { return int(seconds+grantStep-1) / grantStep }

// A lease. A synchronous revocation is a condemn and an end, of the same times; so is that of a prefix or a mount, for each
// lease that is there when it takes effect.
//
//	issue ON        ON: the grant
//	renew ON        no: the lease is being revoked, or gone
//	condemn
//	end
//	lookup ON       yes: it is good for the grant ON; no ANSWER: "ending" or "gone"
//	listed          yes: it is in the list; no: it is not
//	login           at the database
func stepLease(s leaseState, o operation) (leaseState, bool) {
	if s.phase == unborn {
		switch o.verb {
		case "issue":
			return leaseState{active, o.on}, o.class != no
		case "condemn", "end": // of a prefix
			return s, true
		}
		return s, o.verb == "listed" && o.class == no
	}
	switch o.verb {
	case "renew":
		if s.phase != active {
			return s, o.class != yes
		}
		s.until = o.on
		return s, o.class != no
	case "condemn":
		if s.phase == active {
			s.phase = condemned
		}
		return s, true
	case "end":
		s.phase = ended
		return s, true
	case "lookup", "listed":
		return s.seen(o)
	case "login":
		return s.triedIn(o)
	}
	panic(o.verb)
}

// seen is the state after the record was looked for. It outlives the user.
func (s leaseState) seen(o operation) (leaseState, bool) {
	there := s.phase == condemned || s.phase == dropped
	switch {
	case o.verb == "listed" && o.class == yes:
		return s, there || s.phase == active
	case o.class == yes:
		return s, s.phase == active && s.until == o.on
	case o.answer == "ending":
		return s, there
	}
	allowed := s.phase != active
	s.phase = ended
	return s, allowed
}

// triedIn is the state after a login. A user that is gone does not come back.
func (s leaseState) triedIn(o operation) (leaseState, bool) {
	switch {
	case o.class == yes:
		return s, s.phase == active || s.phase == condemned
	case s.phase == active:
		return s, false
	case s.phase == condemned:
		s.phase = dropped
	}
	return s, true
}

func (s leaseState) String() string {
	return [...]string{"unborn", "active", "condemned", "dropped", "ended"}[s.phase] + " " + strconv.Itoa(s.until)
}
