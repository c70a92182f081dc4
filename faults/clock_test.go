package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/store"
)

// jump is by how much the clock is set.
const jump = 10 * time.Minute

// TestClockSetBackAndForth: leases are issued, renewed, revoked and end while the clock is set ten minutes ahead and back
// again. A lease ends no more than the jump before what its client was told, and no more than the jump after it.
func TestClockSetBackAndForth(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			c := &clockRun{
				world: newWorld(t, setup{targets: []string{"a"}, shared: shared}),
				dice:  rand.New(rand.NewPCG(seed, 0)), told: map[string]time.Time{},
			}
			for role, ttl := range clockRoles {
				c.role(role, "a", ttl)
			}
			c.truth = c.clock.Now()
			for range either(70, 5000) {
				c.step()
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("set %d times, %d leases, %d ended by time, %d ended by a client", c.jumps, c.issued, c.ended, len(c.gone)-c.ended)
			if c.jumps < either(4, 10) || c.ended < either(4, 10) {
				t.Error("too little has happened to show anything")
			}
			for range 10 { // until all have ended
				c.truth = c.truth.Add(jump)
				c.clock.Advance(jump)
				c.reap()
				c.look()
			}
			if len(c.held) > 0 {
				t.Errorf("leases that have not ended: %v", c.held)
			}
			c.close()
		})
	}
}

var clockRoles = map[string]time.Duration{"s": 4 * time.Minute, "m": 15 * time.Minute, "l": 40 * time.Minute}

// clockRun is a world with a true time beside its clock's.
type clockRun struct {
	*world
	dice  *rand.Rand
	truth time.Time
	ahead bool
	last  time.Time            // what the store's time was last
	told  map[string]time.Time // by lease: its end by the true time, as its client was told

	jumps, issued, ended int
}

func (c *clockRun) step() {
	d := time.Duration(c.dice.Int64N(int64(2 * time.Minute)))
	c.truth = c.truth.Add(d)
	c.clock.Advance(d)
	if c.dice.IntN(6) == 0 {
		c.jumps++
		if c.ahead = !c.ahead; c.ahead {
			c.clock.Advance(jump)
		} else {
			c.clock.Advance(-jump)
		}
	}
	switch some, have := c.any(); {
	case c.dice.IntN(3) > 0 || !have:
		roles := []string{"s", "m", "l"}
		resp, err := c.send(engine.Read, "creds/"+roles[c.dice.IntN(3)], nil, 0)
		c.must(err)
		l := login{lease: resp.Secret.LeaseID}
		l.user, _ = resp.Data["username"].(string)
		c.held[l.lease], c.told[l.lease] = l, c.truth.Add(resp.Secret.Duration)
		c.issued++
	case c.dice.IntN(3) > 0:
		r, _, err := c.leases.Renew(context.Background(), some.lease, clockRoles["m"])
		if err == nil {
			c.told[some.lease] = c.truth.Add(r.ExpiresAt.Sub(r.LastRenewal))
		} else if c.truth.Before(c.told[some.lease].Add(-jump)) {
			c.Errorf("a lease that lives is not renewed: %v", err)
		}
	default:
		c.must(c.revoke(some))
	}
	c.reap()
	c.look()
}

func (c *clockRun) any() (login, bool) {
	for _, l := range c.held {
		return l, true
	}
	return login{}, false
}

// look compares each lease, its user and what its client was told.
func (c *clockRun) look() {
	c.Helper()
	c.must(c.store.View(context.Background(), func(tx *store.Tx) error {
		if tx.Now().Before(c.last) {
			c.Errorf("the store's time went back from %s to %s", c.last, tx.Now())
		}
		c.last = tx.Now()
		return nil
	}))
	there := map[string]bool{}
	for _, user := range c.users("%") {
		there[user] = true
	}
	rows := c.rows()
	for id, l := range c.held {
		_, leased := rows[l.user]
		switch left := c.told[id].Sub(c.truth); {
		case leased != there[l.user]:
			c.Errorf("%s: leased %v, user %v", l, leased, there[l.user])
		case !leased && left > jump:
			c.Errorf("%s was revoked, and its client was told that it lives for another %s", l, left)
		case leased && left < -jump:
			c.Errorf("%s is there %s after what its client was told", l, -left)
		case !leased:
			c.ended++
			delete(c.held, id)
			c.gone[id] = l
		}
	}
	for _, l := range c.gone {
		if there[l.user] {
			c.Errorf("%s has ended and is there", l)
		}
	}
}

// TestJumpMeanwhile sets the clock ahead while the database is at work.
func TestJumpMeanwhile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(w *world) error
	}{
		{"creation", func(w *world) error {
			_, err := w.issue("a", 0)
			return err
		}},
		{"renewal", func(w *world) error { return w.renew(w.heldOf("a")[0]) }},
		{"revocation", func(w *world) error { return w.revoke(w.heldOf("a")[0]) }},
		{"rotation", func(w *world) error { return w.rotate("a") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{targets: []string{"a"}})
			w.mustIssue("a")
			reached, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			first := true
			w.proxies["a"].obey(func(sql string) verdict {
				if first && strings.Contains(sql, "COMMIT") { // no other request comes before reached is closed
					first = false
					close(reached)
					<-goOn
				}
				return verdict{}
			})
			go func() { done <- test.do(w) }()
			<-reached
			w.proxies["a"].obey(nil)
			w.clock.Advance(jump)
			w.reap()
			w.mustIssue("a")
			close(goOn)
			err := <-done
			t.Logf("answered: %v", err)
			w.look(test.name + " across a jump")
			w.clock.Advance(-jump)
			w.look(test.name + " across a jump, and back")
		})
	}
}

// TestClockSetBackInAnOutage: a database that is back is used again, though the clock was set back while it was down.
func TestClockSetBackInAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{targets: []string{"a"}})
	l := w.mustIssue("a")
	w.proxies["a"].refuse()
	for range 5 {
		if _, err := w.issue("a", 0); err == nil {
			t.Fatal("a database that is down was used")
		}
	}
	w.must(w.leases.Revoke(t.Context(), l.lease, false))
	w.forget(l)
	w.reap()
	w.clock.Advance(-jump)
	w.proxies["a"].heal()
	for waited := time.Duration(0); ; waited += time.Second {
		_, err := w.issue("a", 0)
		if err == nil {
			t.Logf("issued after %s", waited)
			break
		}
		if waited > 30*time.Second {
			t.Fatalf("%s after the database came back: %v", waited, err)
		}
		w.clock.Advance(time.Second)
	}
	w.clock.Advance(jump) // the store's time has stood still meanwhile
	w.close()
}
