package cluster

import (
	"strings"
	"testing"
)

// TestEachFaultOnce lets everything happen once to three nodes under load: some are killed, one is stopped for longer than it may
// be silent, one is cut off from the store, and at last the store fails over to its standby. Before and after, what one node
// has acknowledged holds on all.
func TestEachFaultOnce(t *testing.T) {
	t.Parallel()
	dice := newDice(t)
	r, standby, both := newPair(t)
	r.nodesOn(both, 2)
	p := newProxy(t, r.store.Addr)
	alone := r.node(strings.Replace(both, r.store.Addr, p.Addr, 1))
	r.prepareAgreement()
	r.agree(0)

	l := r.load(dice)
	faults := []struct {
		name   string
		happen func()
	}{
		{"nodes are killed", func() { r.killSome(dice) }},
		{"a node is stopped", func() { r.stopAndGoOn(dice, r.nodes[dice.IntN(len(r.nodes))], false) }},
		{"a node is cut off", func() { r.cutOff(dice, alone, p, cuts[dice.IntN(len(cuts))]) }},
	}
	for _, i := range dice.Perm(len(faults)) {
		t.Log(faults[i].name)
		faults[i].happen()
	}
	t.Log("the store fails over")
	r.failOver(dice, standby)
	l.end()
	r.close()
	r.agree(1)
	r.finish()
	t.Logf("%d acknowledged leases and tokens", r.book.acknowledged)
	if r.book.acknowledged < 20 {
		t.Errorf("only %d leases and tokens were acknowledged: the load does not load", r.book.acknowledged)
	}
}
