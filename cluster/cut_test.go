//go:build faults

package cluster

import (
	"strings"
	"testing"

	"leasehold/internal/testdb"
)

// TestCutOff cuts the connection between one node and the store, in each way. What that node cannot know it must not answer:
// above all it must not accept a token that was revoked at another node. It comes back by itself.
func TestCutOff(t *testing.T) {
	t.Parallel()
	rounds := times(t, "LEASEHOLD_CUTS", 1)
	dice := newDice(t)
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{targets: 1})
	r.nodesOn(r.store.URL(), 2)
	p := newProxy(t, r.store.Addr)
	alone := r.node(strings.ReplaceAll(r.store.URL(), r.store.Addr, p.Addr))
	first := dice.IntN(len(cuts))
	for round := range rounds {
		c := cuts[(first+round)%len(cuts)]
		t.Log(c.name)
		l := r.load(dice)
		r.cutOff(dice, alone, p, c)
		l.end()
		r.close()
		if t.Failed() {
			t.Fatalf("after cut %d", round+1)
		}
	}
	r.finish()
}
