//go:build faults

package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

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

// cutOff cuts a node off until the others have buried it, and a while more.
func (r *rig) cutOff(dice *rand.Rand, alone *node, p *proxy, c cut) {
	r.t.Helper()
	r.awaitAnswers(dice.IntN(40))
	revoked, err := r.createToken(r.nodes[0], nil)
	r.must(err)
	r.must(r.askToken(alone, revoked))
	number := r.registered(alone)
	<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment is the dice's

	alone.paused.Store(true)
	p.cut(c)
	r.must(r.revokeToken(r.nodes[0], r.nodes[1], revoked))
	asked := make(chan error)
	go func() { asked <- r.askToken(alone, revoked) }() // it may have no answer before the cut is over
	r.awaitBuried(number)
	r.awaitAnswers(dice.IntN(40))
	p.heal(dice.IntN(2) == 0)
	r.t.Logf("the cut-off node was asked for a revoked token: %v", <-asked)
	alone.paused.Store(false)

	r.await(func() string {
		if now := r.number(alone); now == 0 || now == number {
			return "the node that was cut off is to come back"
		}
		if _, err := alone.Root(http.MethodGet, "sys/policies/acl/app", nil); err != nil {
			return fmt.Sprintf("the node that was cut off is to serve again: %v", err)
		}
		return ""
	})
	r.must(r.askToken(alone, revoked))
	r.awaitAnswers(20)
}
