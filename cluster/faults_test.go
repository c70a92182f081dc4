package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
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

// killSome kills nodes under load, one, two, or all of them, and starts them again while the others go on.
func (r *rig) killSome(dice *rand.Rand) {
	r.t.Helper()
	r.awaitAnswers(dice.IntN(40))
	<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment of death is the dice's
	victims := dice.Perm(len(r.nodes))[:[]int{1, 1, 1, 2, 3}[dice.IntN(5)]]
	for _, i := range victims {
		r.nodes[i].Kill()
	}
	for _, i := range victims {
		if err := r.nodes[i].Restart(); err != nil {
			r.explain()
			r.t.Fatal(err)
		}
	}
}

// stopAndGoOn stops a node until the others have buried it, and for a while more: sometimes shorter than it may live without
// a sign, sometimes, when there is time, longer than an intent or a claim lasts.
func (r *rig) stopAndGoOn(dice *rand.Rand, n *node, long bool) {
	r.t.Helper()
	number := r.registered(n)
	n.paused.Store(true)
	n.Pause()
	switch roll := dice.IntN(10); {
	case long && roll < 3:
		<-time.After(time.Duration(dice.IntN(4000)) * time.Millisecond)
	case long && roll == 3:
		<-time.After(100 * time.Second)
	case long && roll == 4:
		<-time.After(30 * time.Second)
	default:
		r.awaitBuried(number)
		r.awaitAnswers(dice.IntN(40))
	}
	n.Continue()
	n.paused.Store(false)
}

// awaitBuried waits until the others have taken over what nodes had claimed.
func (r *rig) awaitBuried(numbers ...int64) {
	r.t.Helper()
	r.await(func() string {
		nodes := count(r, r.look, `SELECT count(*) FROM nodes WHERE seq = ANY ($1)`, numbers)
		claims := count(r, r.look, `SELECT count(*) FROM leases WHERE claimant = ANY ($1)`, numbers)
		if nodes == 0 && claims == 0 {
			return ""
		}
		return fmt.Sprintf("%d silent nodes are to be buried, %d claims to be taken over", nodes, claims)
	})
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

// newPair is a rig whose store has a standby, and the URL of both.
func newPair(t *testing.T) (r *rig, standby *testdb.Server, both string) {
	t.Helper()
	primary := testdb.Postgres(t, testdb.Durable())
	standby = testdb.Standby(t, primary)
	both = strings.Replace(primary.URL(), primary.Addr, primary.Addr+","+standby.Addr, 1)
	r = newRig(t, primary, options{targets: 1, url: both})
	r.folders = append(r.folders, filepath.Dir(standby.LogFile))
	return r, standby, both
}

// failOver kills the store's primary under load, and promotes its standby, which has all that was acknowledged. The nodes find it
// by themselves.
func (r *rig) failOver(dice *rand.Rand, standby *testdb.Server) {
	r.t.Helper()
	r.awaitAnswers(20 + dice.IntN(60))
	<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment is the dice's
	r.store.Kill()
	<-time.After(time.Duration(dice.IntN(300)) * time.Millisecond)
	standby.Promote(r.t)
	r.awaitService()
}

// awaitService waits until every node serves.
func (r *rig) awaitService() {
	r.t.Helper()
	r.await(func() string {
		for i, n := range r.nodes {
			if _, err := n.Root(http.MethodGet, "sys/policies/acl/app", nil); err != nil {
				return fmt.Sprintf("node %d is to serve again: %v", i, err)
			}
		}
		return ""
	})
	r.awaitAnswers(40)
}
