//go:build faults

package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"leasehold/internal/testdb"
)

// TestStoreRestarts restarts the store under load, in good order and by a crash. All nodes serve again by themselves.
func TestStoreRestarts(t *testing.T) {
	t.Parallel()
	restarts := times(t, "LEASEHOLD_FAILOVERS", 1)
	dice := newDice(t)
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{targets: 1})
	r.nodesOn(r.store.URL(), 3)
	ends := []func(){r.store.Stop, r.store.Crash, r.store.Kill}
	first := dice.IntN(len(ends))
	for restart := range restarts {
		l := r.load(dice)
		r.awaitAnswers(dice.IntN(40))
		<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment is the dice's
		ends[(first+restart)%len(ends)]()
		<-time.After(time.Duration(dice.IntN(300)) * time.Millisecond)
		r.must(r.store.Restart())
		r.awaitService()
		l.end()
		r.close()
		if t.Failed() {
			t.Fatalf("after restart %d", restart+1)
		}
	}
	r.finish()
}

// TestFailover fails over, each time with a new store.
func TestFailover(t *testing.T) {
	t.Parallel()
	dice := newDice(t)
	for failover := range times(t, "LEASEHOLD_FAILOVERS", 1) {
		dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		t.Run(fmt.Sprint(failover+1), func(t *testing.T) {
			r, standby, both := newPair(t)
			r.nodesOn(both, 3)
			l := r.load(dice)
			r.failOver(dice, standby)
			l.end()
			r.close()
			r.finish()
		})
	}
}
