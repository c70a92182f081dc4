//go:build faults

package cluster

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/failpoint"
	"leasehold/internal/testdb"
)

// TestTheDeadAreReplaced kills nodes with claims in their hands, and does not start them again. Their work is taken over
// because they are dead, and not because the claims have run out.
func TestTheDeadAreReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{targets: 1})
	r.nodesOn(r.store.URL(), 2)
	r.watchClaims()
	var dead []*stop
	for _, point := range failpoint.Points {
		if strings.HasPrefix(point, "lease/") && !strings.HasPrefix(point, "lease/renew/") && point != "lease/issue/after-activate" {
			dead = append(dead, &stop{point: point, name: "killed"})
		}
	}
	numbers := map[*stop]int64{}
	for _, s := range dead {
		r.prepare(s)
		s.node = r.node(r.store.URL(), "LEASEHOLD_FAILPOINT="+s.point)
		numbers[s] = r.registered(s.node)
	}
	var working sync.WaitGroup
	for _, s := range dead {
		working.Go(func() { _ = byPrefix(t, operations, s.point)(r, s) })
	}
	working.Wait()
	for _, s := range dead {
		<-s.node.Exited() // the point ended it; a point that is never passed hangs here and fails by the test's timeout
		r.retire(s.node)
	}
	r.awaitBuried(slices.Collect(maps.Values(numbers))...)
	r.close()
	for _, s := range dead {
		if c := r.released(s.role); c.heir != 0 || !c.at.Before(c.until) {
			t.Errorf("%s: released at %v to node %d, claimed until %v", s.point, c.at, c.heir, c.until)
		}
	}
	r.finish()
}

// released is how a node lost a claim.
type released struct {
	heir      int64 // the node that claimed the row next; 0: it was given back, to be claimed by any
	at, until time.Time
}

// watchClaims has the store note who loses a claim, when, and to whom.
func (r *rig) watchClaims() {
	r.t.Helper()
	for _, statement := range []string{
		`CREATE TABLE lost_claims (lease text, heir bigint, at timestamptz, until timestamptz)`,
		`CREATE FUNCTION note_lost_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO lost_claims VALUES (OLD.id, NEW.claimant, clock_timestamp(), to_timestamp(OLD.due_at / 1000000.0));
			RETURN NULL;
		END $$`,
		`CREATE TRIGGER note_lost_claims AFTER UPDATE ON leases FOR EACH ROW
			WHEN (OLD.claimant <> 0 AND OLD.claimant <> NEW.claimant) EXECUTE FUNCTION note_lost_claim()`,
	} {
		_, err := r.look.Exec(r.t.Context(), statement)
		r.must(err)
	}
}

// released is how the first claim on a lease of a role was lost.
func (r *rig) released(role string) (c released) {
	r.t.Helper()
	err := r.look.QueryRow(r.t.Context(), `SELECT heir, at, until FROM lost_claims WHERE lease LIKE $1 ORDER BY at LIMIT 1`, "%/"+role+"/%").
		Scan(&c.heir, &c.at, &c.until)
	r.must(err)
	return c
}
