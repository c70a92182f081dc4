package cluster

import (
	"math/rand/v2"
	"sync"
	"time"
)

// fate is what is known of a lease or a token.
type fate int

const (
	held  fate = iota // acknowledged, and nobody asked to end it
	asked             // somebody asked to end it, and had no answer
	gone              // its end was acknowledged
)

// token is a token that a client was given.
type token struct {
	text   string
	parent *token // nil: the root token, which lives on
	own    fate
}

// fate takes the ancestors' into account: a token ends with any of them.
func (t *token) fate() fate {
	worst := held
	for ; t != nil; t = t.parent {
		worst = max(worst, t.own)
	}
	return worst
}

// creds is a login that a client was given.
type creds struct {
	lease, user, password string
	role                  string
	target                int
	token                 *token    // nil: the root token
	ends                  time.Time // not before this, by what was acknowledged
	own                   fate
}

func (c *creds) fate() fate { return max(c.own, c.token.fate()) }

// book is what clients were told. Safe for concurrent use; the fields of its tokens and leases are guarded by mu, too.
type book struct {
	mu      sync.Mutex
	leases  map[string]*creds // by lease id
	tokens  map[string]*token // by text
	secrets map[string]bool   // what must be found nowhere
	sweeps  map[string]*sweep // by role

	acknowledged int
	surprises    map[string]int // unexpected answers: text -> how often
	wrong        []string       // what was seen to be wrong under load
}

// sweep is what is known of the revocations of a role's prefix.
type sweep struct {
	running int // under way
	begun   int // ever
}

func newBook() *book {
	return &book{
		leases: map[string]*creds{}, tokens: map[string]*token{}, secrets: map[string]bool{}, sweeps: map[string]*sweep{},
		surprises: map[string]int{},
	}
}

func (b *book) secret(texts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range texts {
		b.secrets[text] = true
	}
}

func (b *book) sweepLocked(role string) *sweep {
	if b.sweeps[role] == nil {
		b.sweeps[role] = &sweep{}
	}
	return b.sweeps[role]
}

// beginIssue returns what a lease's end depends on: pass it to issued.
func (b *book) beginIssue(role string) (begun int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sweepLocked(role)
	if s.running > 0 {
		return -1
	}
	return s.begun
}

// issued notes an acknowledged lease. One that a revocation of its prefix may have met is not counted on.
func (b *book) issued(c *creds, begun int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sweepLocked(c.role).begun != begun {
		c.own = asked
	}
	b.leases[c.lease] = c
	b.secrets[c.password] = true
	b.acknowledged++
}

func (b *book) created(t *token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[t.text] = t
	b.secrets[t.text] = true
	b.acknowledged++
}

// beginSweep takes a role's leases out of what must be kept. The returned function notes that the revocation was
// acknowledged, or not.
func (b *book) beginSweep(role string) func(acknowledged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sweepLocked(role)
	s.running++
	s.begun++
	var met []*creds
	for _, c := range b.leases {
		if c.role == role {
			c.own = max(c.own, asked)
			met = append(met, c)
		}
	}
	return func(acknowledged bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		s.running--
		for _, c := range met {
			if acknowledged {
				c.own = gone
			}
		}
	}
}

// ask and end change what is known of one lease or token.
func (b *book) ask(f *fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*f = max(*f, asked)
}

func (b *book) end(f *fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*f = gone
}

func (b *book) fateOf(of interface{ fate() fate }) fate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return of.fate()
}

func (b *book) renewed(c *creds, ends time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ends.After(c.ends) {
		c.ends = ends
	}
}

// surprise notes an answer that is no failure by itself, but that should be rare.
func (b *book) surprise(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.surprises[text]++
}

func (b *book) bad(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, text)
}

// someLease and someToken pick one of a fate; nil: there is none.
func (b *book) someLease(f fate) *creds {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.leases { // in no order
		if c.fate() == f {
			return c
		}
	}
	return nil
}

func (b *book) someToken(f fate) *token {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tokens { // in no order
		if t.fate() == f {
			return t
		}
	}
	return nil
}

// all are the leases of a fate.
func (b *book) all(f fate) (some []*creds) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.leases {
		if c.fate() == f {
			some = append(some, c)
		}
	}
	return some
}

func (b *book) allTokens(f fate) (some []*token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tokens {
		if t.fate() == f {
			some = append(some, t)
		}
	}
	return some
}

// size is how many leases are held.
func (b *book) size() (leases, tokens int) { return len(b.all(held)), len(b.allTokens(held)) }

// forget drops what has ended, so that a long run does not grow.
func (b *book) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, c := range b.leases {
		if c.fate() == gone {
			delete(b.leases, id)
		}
	}
	for text, t := range b.tokens {
		if t.fate() == gone {
			delete(b.tokens, text)
		}
	}
}

// role is one of those that the rig has made.
func (r *rig) someRole(dice *rand.Rand) (name string, target int) {
	target = dice.IntN(len(r.targets))
	return []string{"app", "web", "batch"}[dice.IntN(3)] + string(rune('0'+target)), target
}
