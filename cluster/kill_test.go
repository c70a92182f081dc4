//go:build faults

package cluster

import (
	"testing"

	"leasehold/internal/testdb"
)

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
			r.killSome(dice)
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
