package lease_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"leasehold/lease"
)

func TestObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var told []string
	word := func(err error) string {
		switch {
		case err == nil:
			return "ok"
		case errors.Is(err, lease.ErrUnreachable):
			return "unreachable"
		}
		return "failed"
	}
	w.leases.Observer = lease.Observer{
		Issued: func(mount string, took time.Duration, err error) {
			told = append(told, fmt.Sprintf("issued %s %s %s", mount, took, word(err)))
		},
		Renewed: func(took time.Duration) { told = append(told, fmt.Sprintf("renewed %s", took)) },
		Undone: func(mount, target string, took time.Duration, err error) {
			told = append(told, fmt.Sprintf("undone %s/%s %s %s", mount, target, took, word(err)))
		},
	}
	want := func(lines ...string) {
		t.Helper()
		if !slices.Equal(told, lines) {
			t.Errorf("told %q, want %q", told, lines)
		}
		told = nil
	}
	r := w.issue()
	want("issued m1 0s ok")
	if _, _, err := w.leases.Renew(t.Context(), r.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	want("renewed 0s")
	w.target.setFail(errors.New("no"))
	if _, err := w.leases.Issue(t.Context(), w.intent(), w.target.create); err == nil {
		t.Fatal("issued at a target that refuses")
	}
	want("issued m1 0s failed")
	if err := w.leases.Revoke(t.Context(), r.ID, true); err == nil {
		t.Fatal("revoked at a target that refuses")
	}
	want("undone m1/pg 0s failed")
	w.target.setFail(lease.ErrUnreachable)
	if _, _, err := w.leases.Renew(t.Context(), r.ID, time.Hour); err == nil {
		t.Fatal("renewed at a target that is not there")
	}
	w.clock.Advance(2 * time.Hour)
	w.reap()
	want("undone m1/pg 0s unreachable") // what is due with it is not tried
}

func TestCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	backlog := func(want lease.Backlog) {
		t.Helper()
		got, err := w.leases.Backlogs(t.Context())
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("backlogs: %+v, %v; want %+v", got, err, want)
		}
	}
	for range 3 {
		w.issue()
	}
	w.issue(func(in *lease.Intent) { in.TTL = 3 * time.Hour })
	backlog(lease.Backlog{MountUUID: "m1", Target: "pg"})
	w.clock.Advance(2 * time.Hour)
	backlog(lease.Backlog{MountUUID: "m1", Target: "pg", Due: 3, Oldest: time.Hour})
	counts, err := w.leases.CountByState(t.Context())
	if err != nil || counts[lease.Active] != 4 || counts[lease.Pending] != 0 || counts[lease.Revoking] != 0 || len(counts) != 3 {
		t.Errorf("by state: %v, %v", counts, err)
	}
	w.target.setFail(lease.ErrUnreachable)
	w.reap()
	backlog(lease.Backlog{MountUUID: "m1", Target: "pg", Due: 3, Parked: true}) // due since they were given back
	if counts, err = w.leases.CountByState(t.Context()); err != nil || counts[lease.Active] != 1 || counts[lease.Revoking] != 3 {
		t.Errorf("by state: %v, %v", counts, err)
	}
	w.target.setFail(nil)
	w.clock.Advance(time.Minute)
	w.reap()
	backlog(lease.Backlog{MountUUID: "m1", Target: "pg"})
}
