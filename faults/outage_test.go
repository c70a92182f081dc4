package faults

import (
	"testing"
	"time"
)

// outages are the ways in which a database is not there.
var outages = []struct {
	name  string
	begin func(*proxy)
}{
	{"refused", (*proxy).refuse},
	{"hanging", (*proxy).hang},
	{"black hole", (*proxy).vanish},
}

// TestOutage: a database is down for an hour in which its leases end, and the other one is not concerned. When it is back,
// all that is due is gone within five minutes, and nobody needs an operator.
func TestOutage(t *testing.T) {
	t.Parallel()
	leases := either(100, 10_000)
	step := either(10*time.Minute, time.Minute) // between two looks of the reaper; each may last as long as the budget
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{targets: []string{"a", "b"}, budget: 5 * time.Second, urlQuery: "&connect_timeout=3"})
			w.role("short", "a", 35*time.Minute)
			parent, err := w.token(0)
			w.must(err)
			w.issueMany("a", 1, 5, parent)
			w.issueMany("short", 4, leases, parent)
			victim, err := w.token(parent)
			w.must(err)
			condemned, err := w.issue("a", victim)
			w.must(err)
			logged := w.log.count()

			outage.begin(w.proxies["a"])
			if l, err := w.issue("a", parent); err == nil {
				t.Fatalf("%s was issued on a database that is down", l)
			}
			for passed := time.Duration(0); passed < time.Hour; passed += step {
				w.clock.Advance(step)
				w.reap()
				l := w.mustIssue("b")
				w.must(w.renew(l))
				w.must(w.revoke(l))
			}
			// What clients ask of it meanwhile is remembered.
			w.must(w.tokens.Revoke(t.Context(), victim))
			w.mu.Lock()
			delete(w.live, victim)
			delete(w.held, condemned.lease)
			w.gone[condemned.lease] = condemned
			w.mu.Unlock()
			asked := w.heldOf("a")[0]
			for range 8 { // a client that does not give up
				if err := w.revoke(asked); err == nil {
					t.Error("a user of a database that is down is said to be gone")
				}
			}
			if n := len(w.users("short")); n != leases {
				t.Fatalf("%d users of %d are there before the database is back: the test shows nothing", n, leases)
			}

			w.proxies["a"].heal()
			w.end("short")
			back := w.clock.Now()
			for len(w.users("short")) > 0 && w.clock.Now().Sub(back) < 5*time.Minute {
				w.clock.Advance(time.Second)
				w.reap()
			}
			if n := len(w.users("short")); n > 0 {
				t.Errorf("%d of %d users are left five minutes after the database is back", n, leases)
			}
			t.Logf("all gone %s after the return", w.clock.Now().Sub(back))
			w.must(w.renew(w.mustIssue("a")))
			counts, err := w.leases.CountIrrevocable(t.Context())
			w.must(err)
			if len(counts) > 0 {
				t.Errorf("leases that need an operator, by mount: %v", counts)
			}
			if n := w.log.count() - logged; n > 20 {
				t.Errorf("the outage has filled %d lines of the log:\n%s", n, w.log)
			}
			w.close()
		})
	}
}

// TestForsakenConnects: attempts to connect that nobody will ever answer do not keep their places in the pool when the
// database is back.
func TestForsakenConnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{targets: []string{"a"}, budget: time.Second, conns: 2})
	p := w.proxies["a"]
	p.refuse()
	if _, err := w.issue("a", 0); err == nil { // and so there is no open connection left
		t.Fatal("a database that is down was used")
	}
	p.heal()
	p.hang()
	for range 2 {
		if _, err := w.issue("a", 0); err == nil {
			t.Fatal("a database that hangs was used")
		}
	}
	p.forsake()
	const enough = 40 // each waits for a second, unless the database is taken to be down
	for attempt := 1; ; attempt++ {
		w.clock.Advance(10 * time.Second)
		_, err := w.issue("a", 0)
		if err == nil {
			t.Logf("issued at attempt %d", attempt)
			break
		}
		if attempt == enough {
			t.Fatalf("nothing was issued in %d attempts: %v", attempt, err)
		}
	}
	w.close()
}
