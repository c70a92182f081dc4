package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/lease"
	"leasehold/store"
)

// grouped is a target that can undo several leases at once, but for those that it only undoes by themselves.
type grouped struct {
	*target
	alone  []string
	groups chan int // how many leases each call had
}

func (d *grouped) RevokeGroup(ctx context.Context, rs []lease.Record) []error {
	failed := make([]error, len(rs))
	for i, r := range rs {
		if slices.Contains(d.alone, string(r.Payload)) {
			failed[i] = errors.New("not together with others")
		} else {
			failed[i] = d.Revoke(ctx, r)
		}
	}
	d.groups <- len(rs)
	return failed
}

func (w *world) group(alone ...string) *grouped {
	g := &grouped{target: w.target, alone: alone, groups: make(chan int, 1000)}
	w.leases.Register("test", g)
	return g
}

func TestDueLeasesAreUndoneInGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.group("user-003", "user-020")
	for range 40 {
		w.issue()
	}
	w.clock.Advance(time.Hour)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
	close(g.groups)
	together := 0
	for n := range g.groups {
		together += n
	}
	if together < 38 {
		t.Errorf("%d leases were undone in groups, want all or nearly all of 40", together)
	}
	for name, n := range w.target.drops {
		if n != 1 {
			t.Errorf("%s was dropped %d times", name, n)
		}
	}
}

// One of a group is refused: it alone is blamed, and the others go.
func TestOneRefusalInAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.group()
	var bad lease.Record
	for i := range 20 {
		if r := w.issue(); i == 5 {
			bad = r
		}
	}
	w.target.failOnly = string(bad.Payload)
	w.target.setFail(errors.New("it owns something"))
	w.clock.Advance(time.Hour)
	w.reap()
	w.wantUsers(string(bad.Payload))
	r, err := w.leases.Lookup(t.Context(), bad.ID)
	if err != nil || r.Attempts != 1 {
		t.Errorf("attempts %d, %v; want 1", r.Attempts, err)
	}
	w.target.setFail(nil)
	w.clock.Advance(time.Minute)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
}

// A target that does not answer any more: one lease may be blamed, the rest is given back.
func TestSilenceInAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.group()
	var ids []string
	for range 10 {
		ids = append(ids, w.issue().ID)
	}
	w.target.setFail(lease.ErrUnknown)
	w.clock.Advance(time.Hour)
	w.reap()
	blamed := 0
	for _, id := range ids {
		r, err := w.leases.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		blamed += r.Attempts
	}
	if blamed > 1 {
		t.Errorf("%d leases were blamed for a target that does not answer", blamed)
	}
	w.target.setFail(nil)
	w.clock.Advance(time.Minute)
	w.reap()
	w.wantUsers()
	w.wantLeases(0)
}

// A row that somebody has edited does not open. It must not keep the others from being revoked, nor be forgotten.
func TestADamagedRowHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.group()
	for range 5 {
		w.issue()
	}
	damaged := w.issue()
	err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE leases SET payload = (SELECT payload FROM leases WHERE id <> $1 ORDER BY id LIMIT 1) WHERE id = $1`, damaged.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Hour)
	w.reap()
	w.wantUsers("user-006")
	var attempts, left int
	err = w.store.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT attempts, (SELECT COUNT(*) FROM leases) FROM leases WHERE id = $1`, damaged.ID).Scan(&attempts, &left)
	})
	if err != nil || attempts != 1 || left != 1 {
		t.Errorf("attempts %d, %d rows left, %v; want 1 and 1", attempts, left, err)
	}
}

// A revocation that hangs holds up one worker. What becomes due meanwhile is undone by the others.
func TestAHangingRevocationHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hanging := &hanging{target: w.target, name: "user-001", began: make(chan struct{}), end: make(chan struct{})}
	w.leases.Register("test", hanging)
	w.issue()
	w.clock.Advance(time.Hour)
	if err := w.leases.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-hanging.began
	w.issue(func(in *lease.Intent) { in.TTL = time.Second })
	w.clock.Advance(time.Second)
	if err := w.leases.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	for len(w.target.names()) > 1 { // ends when the second user is gone; if that hangs, the test's timeout tells
		if err := w.leases.Reap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.wantUsers("user-001")
	close(hanging.end)
	w.leases.Wait()
	w.wantUsers()
}

// hanging is a target where one user's drop waits.
type hanging struct {
	*target
	name       string
	began, end chan struct{}
}

func (d *hanging) Revoke(ctx context.Context, r lease.Record) error {
	if string(r.Payload) == d.name {
		close(d.began)
		<-d.end
	}
	return d.target.Revoke(ctx, r)
}

// A creation whose outcome is unknown is on record afterwards, also when the intent was forgotten meanwhile.
func TestAnUnknownCreationIsNeverForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.leases.Issue(t.Context(), w.intent(), func(ctx context.Context, r lease.Record) error {
		if err := w.leases.RevokeForce(ctx, "database/creds/app"); err != nil { // an operator does not wait
			t.Error(err)
		}
		return errors.Join(lease.ErrUnknown, w.target.create(ctx, r)) // and the creation lands after all
	})
	if !errors.Is(err, lease.ErrUnknown) {
		t.Fatalf("got %v", err)
	}
	w.wantUsers("user-001")
	w.clock.Advance(time.Minute)
	w.reap()
	w.wantUsers()
}

// A hundred leases that all cannot be revoked are one line in the log, and a hundred in the list.
func TestTheLogIsNotFlooded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log strings.Builder
	w.leases.Log = slog.New(slog.NewTextHandler(&log, nil))
	for range 100 {
		w.issue()
	}
	w.target.setFail(errors.New("they own something"))
	w.clock.Advance(time.Hour)
	for range 10 {
		w.reap()
		w.clock.Advance(time.Minute)
	}
	irrevocable, err := w.leases.Irrevocable(t.Context(), 0)
	if err != nil || len(irrevocable) != 100 {
		t.Errorf("%d are listed, %v; want 100", len(irrevocable), err)
	}
	if n := strings.Count(log.String(), "needs an operator"); n < 1 || n > 2 {
		t.Errorf("the log has %d lines about them, want one or two:\n%s", n, log.String())
	}
}
