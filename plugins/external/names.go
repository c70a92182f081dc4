package external

import "sync"

// naming learns whether a plugin calls users as it is told. What it did with one name says what it does with those that are
// no longer and have no other kinds of characters: it may cut names, change their case, or replace what its database does not take.
// Safe for concurrent use.
type naming struct {
	mu       sync.Mutex
	length   int           // of the longest name that was taken over; guarded by mu
	kinds    map[rune]bool // of the characters in such names; guarded by mu
	stubborn bool          // a name was not taken over; guarded by mu
}

// note records what became of a name. It reports whether this is the first that was not taken over.
func (n *naming) note(asked, given string) (news bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if asked != given {
		news = !n.stubborn
		n.stubborn = true
		return news
	}
	n.length = max(n.length, len(asked))
	if n.kinds == nil {
		n.kinds = map[rune]bool{}
	}
	for _, r := range asked {
		n.kinds[kind(r)] = true
	}
	return false
}

// covers reports whether the plugin is known to use this name.
func (n *naming) covers(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stubborn || len(name) > n.length {
		return false
	}
	for _, r := range name {
		if !n.kinds[kind(r)] {
			return false
		}
	}
	return true
}

// forget begins anew: it is another program now.
func (n *naming) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.length, n.kinds, n.stubborn = 0, nil, false
}

// kind is one letter for all of a case, one digit for all, and any other character itself.
func kind(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return 'a'
	case 'A' <= r && r <= 'Z':
		return 'A'
	case '0' <= r && r <= '9':
		return '0'
	}
	return r
}
