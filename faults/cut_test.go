package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/engine"
)

// striker makes the rule of a proxy that does something to one request, the nth from now on.
type striker struct {
	left atomic.Int64
	how  verdict
}

func strike(nth int, how cut) *striker {
	s := &striker{how: verdict{cut: how}}
	s.left.Store(int64(nth))
	return s
}

func (s *striker) rule(string) verdict {
	if s.left.Add(-1) == 0 {
		return s.how
	}
	return verdict{}
}

// struck reports whether the request has come.
func (s *striker) struck() bool { return s.left.Load() <= 0 }

// operations are what a client asks for. Each is told of a lease that nobody else works with.
var operations = []struct {
	name string
	do   func(w *world, l login) error
}{
	{"create", func(w *world, _ login) error {
		_, err := w.issue("a", 0)
		return err
	}},
	{"renew", func(w *world, l login) error { return w.renew(l) }},
	{"revoke", func(w *world, l login) error { return w.revoke(l) }},
	{"rotate", func(w *world, _ login) error { return w.rotate("a") }},
}

func (w *world) rotate(target string) error {
	_, err := w.send(engine.Update, "rotate-root/"+target, nil, 0)
	return err
}

// TestEveryCut breaks the connection to the database, or to the store, at each request of each operation: before the server
// has seen it, and after the server has answered and before the broker has read that.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"database", "store"} {
		for _, operation := range operations {
			t.Run(at+" "+operation.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, setup{targets: []string{"a"}, shared: at == "store"})
				p := w.proxies["a"]
				if at == "store" {
					p = w.storeProxy
				}
				cuts := 0
				first := rand.IntN(2)
				for nth, struck := 1, true; struck; nth++ {
					for _, how := range either([]cut{before + cut((first+nth)%2)}, []cut{before, after}) {
						l := w.mustIssue("a")
						s := strike(nth, how)
						p.obey(s.rule)
						err := operation.do(w, l)
						p.obey(nil)
						if struck = s.struck(); !struck {
							if err != nil {
								t.Fatalf("nothing was cut, and it fails: %v", err)
							}
							continue
						}
						cuts++
						w.look(fmt.Sprintf("cut %d at request %d, answered %v", how, nth, err))
					}
				}
				t.Logf("%d cuts", cuts)
				if cuts < either(2, 4) {
					t.Errorf("only %d cuts: the proxy does not see the requests", cuts)
				}
			})
		}
	}
}

// look is the closing check, and that the broker goes on: it is not locked out, and what it hands out works.
func (w *world) look(after string) {
	w.Helper()
	w.close()
	l, err := w.issue("a", 0)
	if err == nil {
		err = w.renew(l)
	}
	if err == nil {
		err = w.revoke(l)
	}
	if err != nil {
		w.Errorf("the broker does not go on: %v", err)
	}
	if w.Failed() {
		w.Fatalf("%s; the log:\n%s", after, w.log)
	}
}

// TestRandomCuts breaks connections under load, to the database and to the store.
func TestRandomCuts(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			dice := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, setup{targets: []string{"a"}, shared: shared})
			proxies := []*proxy{w.proxies["a"]}
			if shared {
				proxies = append(proxies, w.storeProxy)
			}
			parent, err := w.token(0)
			w.must(err)
			const cutsPerRound = 8
			for range either(2, 125) {
				var left atomic.Int64
				left.Store(cutsPerRound)
				for _, p := range proxies {
					p.obey(randomCuts(dice.Uint64(), &left))
				}
				var clients sync.WaitGroup
				for range 6 {
					dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
					clients.Go(func() {
						for left.Load() > 0 {
							w.anything(dice, parent)
						}
					})
				}
				clients.Wait()
				for _, p := range proxies {
					p.obey(nil)
				}
				w.look("cuts under load")
			}
		})
	}
}

// randomCuts is a rule that cuts one request in ten, until none is left to cut.
func randomCuts(seed uint64, left *atomic.Int64) func(string) verdict {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0))
	return func(string) verdict {
		mu.Lock()
		defer mu.Unlock()
		if dice.IntN(10) > 0 || left.Add(-1) < 0 {
			return verdict{}
		}
		return verdict{cut: before + cut(dice.IntN(2))}
	}
}

// anything does one of the things that clients and the server do. Every error is an answer.
func (w *world) anything(dice *rand.Rand, parent int64) {
	var some login
	for _, l := range w.heldOf("a") {
		some = l
		break
	}
	switch n := dice.IntN(20); {
	case n < 8 || some == (login{}):
		_, _ = w.issue("a", parent)
	case n < 12:
		_ = w.renew(some)
	case n < 16:
		_ = w.revoke(some)
	case n < 17:
		_ = w.rotate("a")
	case n < 18:
		_, _ = w.token(parent)
	default:
		w.clock.Advance(2 * time.Second) // for what has backed off
		_ = w.tokens.RunOnce(w.Context())
		_ = w.leases.Reap(w.Context())
	}
}

// TestLateCommit has a commit reach the database when the broker has given up long ago.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	// The times after which the drops of a creation with an unknown outcome come, each after the one before.
	sweeps := []time.Duration{26 * time.Second, 16 * time.Second, 151 * time.Second, 901 * time.Second}
	for swept := range sweeps {
		t.Run(fmt.Sprintf("created after %d drops", swept), func(t *testing.T) {
			t.Parallel()
			w, held := newLateWorld(t)
			held.give(w, func() error { _, err := w.issue("a", 0); return err })
			for _, pause := range sweeps[:swept] {
				w.clock.Advance(pause)
				w.reap()
			}
			held.land("COMMIT")
			if n := len(w.users("a")); n != 1 {
				t.Fatalf("%d users are there after the late commit: the test shows nothing", n)
			}
			if rows := w.rows(); len(rows) != 1 {
				t.Fatalf("the row of the lease is gone before its last drop: %v", rows)
			}
			w.look("a late creation")
		})
	}
	t.Run("renewed after the revocation", func(t *testing.T) {
		t.Parallel()
		w, held := newLateWorld(t)
		l := w.lasting()
		held.give(w, func() error { return w.renew(l) })
		// The server has changed the role and not committed: the drop has to wait for it, and gives up.
		if err := w.revoke(l); err == nil {
			t.Error("a user whose row another transaction has locked is said to be gone")
		}
		held.land("COMMIT")
		w.look("a late renewal")
		w.must(w.revoke(l))
		w.look("the revocation after it")
	})
	t.Run("rotated after other requests", func(t *testing.T) {
		t.Parallel()
		w, held := newLateWorld(t)
		held.give(w, func() error { return w.rotate("a") })
		l := w.lasting()
		held.land("COMMIT")
		w.must(w.revoke(l))
		w.look("a late rotation")
	})
}

// lateness is a commit that is held back.
type lateness struct {
	p      *proxy
	until  chan struct{}
	landed chan string
	took   atomic.Bool
}

// newLateWorld is a world in which a broker gives up soon, and a server does not end sessions that wait for their client.
func newLateWorld(t *testing.T) (*world, *lateness) {
	t.Helper()
	w := newWorld(t, setup{targets: []string{"a"}, budget: 4 * time.Second})
	const patient = `SET LOCAL idle_in_transaction_session_timeout = 0;`
	w.request(engine.Update, "roles/a", data{
		"creation_statements": patient + `CREATE ROLE "{{name}}" LOGIN VALID UNTIL '{{expiration}}'`,
		"renew_statements":    patient + `ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'`,
	})
	w.request(engine.Update, "config/a", data{"root_rotation_statements": []string{patient, `ALTER ROLE "{{name}}" PASSWORD '{{password}}'`}})
	return w, &lateness{p: w.proxies["a"], until: make(chan struct{}), landed: make(chan string, 1)}
}

// give runs an operation whose commit is held back, and demands that it fails. On a slow machine the time may be over before
// the commit is sent; then it is done again.
func (l *lateness) give(w *world, operation func() error) {
	w.Helper()
	l.p.loseCancels()
	for !l.took.Load() {
		l.p.obey(func(sql string) verdict {
			if !strings.Contains(sql, "COMMIT") || l.took.Swap(true) {
				return verdict{}
			}
			return verdict{cut: late, until: l.until, landed: l.landed}
		})
		err := operation()
		l.p.obey(nil)
		if l.took.Load() && err == nil {
			w.Fatal("an operation whose commit was not answered has succeeded")
		}
	}
}

// land lets the commit go on, and demands that the server answers with tag.
func (l *lateness) land(tag string) {
	l.p.t.Helper()
	close(l.until)
	if got := <-l.landed; got != tag {
		l.p.t.Fatalf("the server answers %q to the late commit, want %q", got, tag)
	}
}

// lasting issues until it succeeds: the database may be taken to be down for a while.
func (w *world) lasting() login {
	w.Helper()
	for {
		l, err := w.issue("a", 0)
		if err == nil {
			return l
		}
		w.clock.Advance(time.Second)
	}
}
