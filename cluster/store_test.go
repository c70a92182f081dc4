//go:build faults

package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
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

// TestFailover kills the store's primary under load, and promotes its standby, which has all that was acknowledged. The nodes
// find it by themselves.
func TestFailover(t *testing.T) {
	t.Parallel()
	dice := newDice(t)
	for failover := range times(t, "LEASEHOLD_FAILOVERS", 1) {
		dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		t.Run(fmt.Sprint(failover+1), func(t *testing.T) {
			primary := testdb.Postgres(t, testdb.Durable())
			standby := testdb.Standby(t, primary)
			both, err := url.Parse(primary.URL())
			if err != nil {
				t.Fatal(err)
			}
			both.Host += "," + standby.Addr
			r := newRig(t, primary, options{targets: 1, url: both.String()})
			r.folders = append(r.folders, filepath.Dir(standby.LogFile))
			r.nodesOn(both.String(), 3)

			l := r.load(dice)
			r.awaitAnswers(20 + dice.IntN(60))
			<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment is the dice's
			primary.Kill()
			<-time.After(time.Duration(dice.IntN(300)) * time.Millisecond)
			standby.Promote(t)
			r.awaitService()
			l.end()
			r.close()
			r.finish()
		})
	}
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
