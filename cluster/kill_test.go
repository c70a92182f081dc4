//go:build faults

package cluster

import (
	"math/rand/v2"
	"testing"
	"time"

	"leasehold/internal/testdb"
)

// newDice is a random source whose seed is in the log.
func newDice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestRandomKills kills nodes under load, one, two, or all of them, and starts them again while the others go on.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	kills := times(t, "LEASEHOLD_KILLS", 3)
	dice := newDice(t)
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{})
	r.nodesOn(r.store.URL(), 3)
	for done := 0; done < kills; {
		l := r.load(dice)
		for range min(20, kills-done) {
			r.awaitAnswers(dice.IntN(40))
			<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment of death is the dice's
			victims := dice.Perm(len(r.nodes))[:[]int{1, 1, 1, 2, 3}[dice.IntN(5)]]
			for _, i := range victims {
				r.nodes[i].Kill()
			}
			for _, i := range victims {
				if err := r.nodes[i].Restart(); err != nil {
					r.explain()
					t.Fatal(err)
				}
			}
			done++
		}
		r.awaitAnswers(20)
		l.end()
		r.close()
		if t.Failed() {
			t.Fatalf("after kill %d", done)
		}
	}
	t.Logf("%d kills, %d acknowledged leases and tokens", kills, r.book.acknowledged)
	if r.book.acknowledged < 2*kills {
		t.Errorf("only %d leases and tokens were acknowledged: the load does not load", r.book.acknowledged)
	}
	r.finish()
}
