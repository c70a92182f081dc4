package database

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
)

const (
	// breakAfter is how many calls in a row may go without an answer before a database is taken to be down.
	breakAfter = 3

	// While it is down, one call in a while asks for a sign of life. The pause doubles from the first to the last, half of
	// it random: what waits is worked off within seconds of the database's return.
	firstPause = time.Second
	lastPause  = 5 * time.Second

	// probeTimeout is how long a sign of life may take.
	probeTimeout = 5 * time.Second
)

// errDown answers calls to a database that is down. Nothing was sent.
var errDown = errs.Framed(errs.Unavailable, "the database has not answered several times in a row: it is asked again every few seconds").
	Because(lease.ErrUnreachable)

// breaker keeps calls from a database that does not answer: each would hold a connection, and a client, for as long as it
// may take. Safe for concurrent use; no lock is held during a call.
type breaker struct {
	clock clock.Clock

	mu      sync.Mutex
	silent  int       // calls in a row without an answer; guarded by mu
	until   time.Time // nobody asks before; guarded by mu
	probing bool      // somebody asks for a sign of life; guarded by mu
}

// pass is nil when the database may be called. Where it is down and it is time to ask, the caller has to, with probe.
func (b *breaker) pass(probe func() error) error {
	mine, err := b.turn()
	if err != nil || !mine {
		return err
	}
	answered := false
	defer func() { b.note(answered) }() // also when the probe panics
	if err := probe(); err != nil && plugins.ClassOf(err) != plugins.Refused && plugins.ClassOf(err) != plugins.Permanent {
		return errDown
	}
	answered = true
	return nil
}

// turn reports whether the caller is to ask for a sign of life.
func (b *breaker) turn() (mine bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.until.Sub(b.clock.Now())
	switch {
	case b.silent < breakAfter:
		return false, nil
	case b.probing || left > 0 && left <= lastPause: // longer than any pause: the clock was set back
		return false, errDown
	}
	b.probing = true
	return true, nil
}

// note counts a call that was answered, if only with a refusal, or not.
func (b *breaker) note(answered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if answered {
		b.silent = 0
		return
	}
	b.silent++
	if b.silent >= breakAfter {
		pause := min(firstPause<<min(b.silent-breakAfter, 10), lastPause)
		b.until = b.clock.Now().Add(pause/2 + rand.N(pause/2))
	}
}

// watch counts what came of a call. One that the caller broke off says nothing about the database.
func (b *breaker) watch(ctx context.Context, err error) {
	switch {
	case err == nil, plugins.ClassOf(err) == plugins.Refused, plugins.ClassOf(err) == plugins.Permanent:
		b.note(true)
	case !errors.Is(context.Cause(ctx), context.Canceled):
		b.note(false)
	}
}
