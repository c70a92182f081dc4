package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/database"
	"leasehold/lease"
	"leasehold/store"
)

// workers is how many groups of revocations go on at once for a target, and slots how many connections they have to share.
const (
	workers = 8
	slots   = 2
)

// owe makes leases of a target that have ended. There are no users behind them, so that each costs the database one look.
func (w *world) owe(target string, n int) {
	w.Helper()
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := range n / 8 {
				payload, _ := json.Marshal(map[string]string{"role": target, "user": fmt.Sprintf("v-%s-%s-%d-%d", w.name, target, client, i)})
				_, err := w.leases.Issue(context.Background(), lease.Intent{
					Kind: database.Kind, MountUUID: w.mount.UUID, Path: "database/creds/" + target, Target: target,
					TTL: time.Minute, Payload: payload,
				}, func(context.Context, lease.Record) error { return nil })
				if err != nil {
					w.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	w.clock.Advance(2 * time.Minute)
}

// turns is the order in which a database is asked for things.
type turns struct {
	mu    sync.Mutex
	order []byte // c: a creation begins, d: a revocation does; guarded by mu

	free    chan struct{} // closed: nothing waits
	waits   chan struct{} // receives when a revocation waits for a permit
	permit  chan struct{}
	creates chan struct{} // receives when a creation begins
}

func newTurns() *turns {
	return &turns{free: make(chan struct{}), waits: make(chan struct{}), permit: make(chan struct{}), creates: make(chan struct{})}
}

// rule is for a proxy. Every revocation begins with a prepared look, which is sent without its text.
func (o *turns) rule(sql string) verdict {
	switch {
	case strings.Contains(sql, "CREATE ROLE"):
		o.note('c')
		o.pass(o.creates)
	case sql == "":
		o.note('d')
		if o.pass(o.waits) {
			select {
			case <-o.permit:
			case <-o.free:
			}
		}
	}
	return verdict{}
}

// pass tells whoever is interested, and reports false when nobody is.
func (o *turns) pass(c chan<- struct{}) bool {
	select {
	case c <- struct{}{}:
		return true
	case <-o.free:
		return false
	}
}

func (o *turns) note(what byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.order = append(o.order, what)
}

func (o *turns) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.order)
}

// reapByAll has all the workers begin that a target may have: after the first two, one comes each second.
func (w *world) reapByAll() {
	w.Helper()
	for range workers {
		w.must(w.leases.Reap(w.Context()))
		w.clock.Advance(time.Second)
	}
}

// eventually returns once the number of rows is as wanted: other goroutines are about to write them.
func (w *world) eventually(want int, query string, args ...any) {
	w.Helper()
	for n := -1; n != want; {
		w.must(w.store.View(w.Context(), func(tx *store.Tx) error { return tx.QueryRow(query, args...).Scan(&n) }))
	}
}

// TestRequestsGoFirst: with two connections and thousands of revocations due, a request waits for the slot that comes free
// next, and for no revocation that waits as well. Another database takes no notice.
func TestRequestsGoFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{targets: []string{"a", "b"}, conns: slots, budget: 10 * time.Minute})
	w.mustIssue("a") // the first asks how the server keeps passwords
	w.owe("a", either(480, 5000))
	o := newTurns()
	goOn := sync.OnceFunc(func() { close(o.free) })
	t.Cleanup(goOn)
	w.proxies["a"].obey(o.rule)
	w.reapByAll()
	for range slots {
		<-o.waits
	}
	// The others have claimed and wait for a slot.
	w.eventually(workers*16, `SELECT COUNT(*) FROM leases WHERE state = 'revoking'`)

	for round := range 10 {
		done := make(chan error, 1)
		go func() {
			_, err := w.issue("a", 0)
			done <- err
		}()
		w.eventually(1, `SELECT COUNT(*) FROM leases WHERE state = 'pending'`)
		if round == 0 {
			w.elsewhere(o)
		}
		waited := -1
		for began := false; !began; waited++ { // one slot at a time comes free
			o.permit <- struct{}{}
			select {
			case <-o.creates:
				began = true
			case <-o.waits:
			}
		}
		w.must(<-done)
		<-o.waits // a revocation has the slot that the request leaves
		// It may have been about to join the queue when the first slot came free, but not for long.
		if waited > 1 {
			t.Fatalf("round %d: a request has waited while %d revocations began", round, waited)
		}
	}
	goOn()
	w.leases.Wait()
	w.proxies["a"].obey(nil)
	w.close()
}

// elsewhere works at the other database, while all connections of the first are taken and do not move.
func (w *world) elsewhere(o *turns) {
	w.Helper()
	at := o.String()
	w.owe("b", 40)
	short := w.mustIssue("b")
	for range 20 {
		l := w.mustIssue("b")
		w.must(w.renew(l))
		w.must(w.revoke(l))
	}
	w.must(w.leases.Revoke(w.Context(), short.lease, false))
	w.forget(short)
	w.must(w.leases.Reap(w.Context()))
	w.eventually(0, `SELECT COUNT(*) FROM leases l JOIN lease_targets t ON t.seq = l.target WHERE t.name = 'b'`)
	if now := o.String(); now != at {
		w.Errorf("the other database was not stuck meanwhile: from %s to %s", at, now)
	}
}

// TestRevocationsAreNotStarved: under a stream of requests that never ends, every fourth slot is a revocation's.
func TestRevocationsAreNotStarved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{targets: []string{"a"}, conns: slots, budget: 10 * time.Minute})
	w.mustIssue("a")
	w.owe("a", either(480, 5000))
	o := newTurns()
	w.proxies["a"].obey(o.rule)
	w.reapByAll()
	w.eventually(workers*16, `SELECT COUNT(*) FROM leases WHERE state = 'revoking'`)
	const clients = 16
	close(o.free)
	w.issueMany("a", clients, either(100, 1600), 0)
	w.leases.Wait()
	w.proxies["a"].obey(nil)
	order := o.String()
	order = order[:strings.LastIndex(order, "d")] // what came while revocations were due
	longest := 0
	for run := range strings.SplitSeq(order, "d") {
		longest = max(longest, len(run))
	}
	t.Logf("of %d requests at most %d in a row", strings.Count(order, "c"), longest)
	// Without the gate's rule, all clients but those that are being served would stand before a revocation, again and again.
	if longest > clients {
		t.Errorf("%d requests came in a row while revocations waited: %s", longest, order)
	}
	w.close()
}
