//go:build faults

package cluster

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/failpoint"
	"leasehold/internal/testdb"
)

// TestRandomStops stops nodes under load for longer than they may be silent, and lets them go on. The others take over, and
// what the stopped node writes late changes nothing.
func TestRandomStops(t *testing.T) {
	t.Parallel()
	stops := times(t, "LEASEHOLD_STOPS", 1)
	dice := newDice(t)
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{})
	r.nodesOn(r.store.URL(), 3)
	for done := 0; done < stops; {
		l := r.load(dice)
		for range min(10, stops-done) {
			r.awaitAnswers(dice.IntN(40))
			<-time.After(time.Duration(dice.IntN(30)) * time.Millisecond) // the moment is the dice's
			r.stopAndGoOn(dice, r.nodes[dice.IntN(len(r.nodes))], stops > 1)
			done++
		}
		r.awaitAnswers(20)
		l.end()
		r.close()
		if t.Failed() {
			t.Fatalf("after stop %d", done)
		}
	}
	t.Logf("%d stops, %d acknowledged leases and tokens", stops, r.book.acknowledged)
	r.finish()
}

// stop is a node that is stopped between two steps, and what happens meanwhile.
type stop struct {
	point, name string
	role        string                // it issues by, of its own
	connection  string                // of that role, and its own where the point is one of a rotation
	lease       *creds                // that it renews or revokes
	meanwhile   func(r *rig, s *stop) // what the others do beside taking over; nil: nothing

	node *node
	err  error // of its operation
}

// id is a part of names.
func (s *stop) id() string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(s.point + "-" + s.name)
}

// operations are what runs into a failpoint, by the point's prefix.
var operations = map[string]func(r *rig, s *stop) error{
	"lease/issue/":     func(r *rig, s *stop) error { _, err := r.issue(s.node, s.role, 0, nil); return err },
	"lease/renew/":     func(r *rig, s *stop) error { return r.renew(s.node, s.lease) },
	"lease/revoke/":    func(r *rig, s *stop) error { return r.revoke(s.node, s.lease, true) },
	"database/rotate/": func(r *rig, s *stop) error { return r.rotate(s.node, s.connection) },
}

// disturbances are what the other nodes do while one is stopped, by the point's prefix.
var disturbances = map[string]map[string]func(r *rig, s *stop){
	"lease/issue/": {
		"revoked":     func(r *rig, s *stop) { r.must(r.revokePrefix(r.nodes[0], s.role, true)) },
		"swept often": func(r *rig, s *stop) { r.sweepAll(s) },
	},
	"lease/renew/": {
		"revoked": func(r *rig, s *stop) { r.must(r.revoke(r.nodes[0], s.lease, true)) },
		"renewed": func(r *rig, s *stop) { r.must(r.renew(r.nodes[0], s.lease)) },
	},
	"lease/revoke/": {
		"renewed": func(r *rig, s *stop) { _ = r.renew(r.nodes[0], s.lease) }, // it is refused, or there is no such lease
	},
	"database/rotate/": {
		"used":          func(r *rig, s *stop) { r.use(s) },
		"rotated":       func(r *rig, s *stop) { _ = r.rotate(r.nodes[0], s.connection) }, // it is refused while the other is under way
		"given up":      func(r *rig, s *stop) { r.expireRotation(s); r.use(s) },
		"rotated later": func(r *rig, s *stop) { r.expireRotation(s); r.use(s); r.must(r.rotate(r.nodes[0], s.connection)) },
	},
}

func byPrefix[T any](t *testing.T, table map[string]T, point string) T {
	t.Helper()
	for prefix, value := range table {
		if strings.HasPrefix(point, prefix) {
			return value
		}
	}
	t.Fatalf("no operation of this test runs into %s: add it", point)
	panic("unreachable")
}

// TestStoppedAtEveryPoint stops nodes exactly between two steps, and lets them go on when the others have taken over: what
// they then do must change nothing that was decided without them. The dice choose what happens meanwhile; with
// LEASEHOLD_STOPS every point meets everything that can happen.
func TestStoppedAtEveryPoint(t *testing.T) {
	t.Parallel()
	const together = 10 // nodes that stand still at once
	dice := newDice(t)
	r := newRig(t, testdb.Postgres(t, testdb.Durable()), options{targets: 1})
	r.nodesOn(r.store.URL(), 2)
	var stops []*stop
	for _, point := range failpoint.Points {
		table := byPrefix(t, disturbances, point)
		names := append(slices.Sorted(maps.Keys(table)), "left alone")
		if times(t, "LEASEHOLD_STOPS", 0) == 0 {
			names = []string{names[dice.IntN(len(names))]}
		}
		for _, name := range names {
			stops = append(stops, &stop{point: point, name: name, meanwhile: table[name]})
		}
	}
	for wave := range slices.Chunk(stops, together) {
		r.stopBetweenSteps(wave)
		r.close()
		if t.Failed() {
			break
		}
	}
	r.finish()
}

// stopBetweenSteps has nodes run into their points, waits until the others have taken over, and lets them go on.
func (r *rig) stopBetweenSteps(stops []*stop) {
	r.t.Helper()
	var working sync.WaitGroup
	var numbers []int64
	for _, s := range stops {
		r.prepare(s)
		s.node = r.node(r.store.URL(), "LEASEHOLD_FAILPOINT=stop:"+s.point)
		numbers = append(numbers, r.registered(s.node))
	}
	for _, s := range stops {
		working.Go(func() { s.err = byPrefix(r.t, operations, s.point)(r, s) })
	}
	r.await(func() string {
		for _, s := range stops {
			if !r.stopped(s.node) {
				return "a node does not come to " + s.point
			}
		}
		return ""
	})
	r.awaitBuried(numbers...)
	for _, s := range stops {
		if s.meanwhile != nil {
			s.meanwhile(r, s)
		}
	}
	for _, s := range stops {
		s.node.Continue()
	}
	working.Wait()
	for _, s := range stops {
		r.t.Logf("%s, %s: %v", s.point, s.name, s.err)
		if strings.HasPrefix(s.point, "database/rotate/") {
			r.use(s)
		}
		r.retire(s.node)
	}
}

// prepare makes what the operation needs.
func (r *rig) prepare(s *stop) {
	r.t.Helper()
	id := s.id()
	s.role, s.connection = "role-"+id, "pg0"
	if strings.HasPrefix(s.point, "database/rotate/") {
		s.connection = "connection-" + id
		r.makeBroker(r.targets[0], "broker-"+id)
		r.connect(s.connection, r.targets[0], "broker-"+id)
	}
	r.role(s.role, s.connection)
	if strings.HasPrefix(s.point, "lease/renew/") || strings.HasPrefix(s.point, "lease/revoke/") {
		var err error
		s.lease, err = r.issue(r.nodes[0], s.role, 0, nil)
		r.must(err)
	}
}

func (r *rig) rotate(n *node, connection string) error {
	_, err := n.Root(http.MethodPost, "database/rotate-root/"+connection, nil)
	return err
}

// use issues on a connection with fresh logins: neither half of a rotation may lock the broker out.
func (r *rig) use(s *stop) {
	r.t.Helper()
	_, err := r.targets[0].pool.Exec(r.t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, "broker-"+s.id())
	r.must(err)
	for i, n := range r.nodes[:2] {
		r.await(func() string { // a node may first have to notice that its connection is gone
			if _, err := r.issue(n, s.role, 0, nil); err != nil {
				return fmt.Sprintf("%s, %s: node %d is to use the connection: %v", s.point, s.name, i, err)
			}
			return ""
		})
	}
}

// expireRotation lets the time pass after which nobody expects a rotation that was begun to take effect.
func (r *rig) expireRotation(s *stop) {
	r.t.Helper()
	_, err := r.look.Exec(r.t.Context(), `UPDATE database_connections SET staged_until = 1 WHERE staged IS NOT NULL AND name = $1`, s.connection)
	r.must(err)
}

// sweepAll lets the time pass in which an intent is swept again and again, until nothing is left of it.
func (r *rig) sweepAll(s *stop) {
	r.t.Helper()
	prefix := "database/creds/" + s.role + "/%"
	r.await(func() string {
		_, err := r.look.Exec(r.t.Context(), `UPDATE leases SET due_at = 1, version = version + 1
			WHERE id LIKE $1 AND state = 'revoking' AND claimant = 0`, prefix)
		r.must(err)
		if count(r, r.look, `SELECT count(*) FROM leases WHERE id LIKE $1 AND state <> 'active'`, prefix) > 0 {
			return "an intent is to be swept to its end"
		}
		return ""
	})
}
