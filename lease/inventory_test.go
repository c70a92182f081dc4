package lease_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/lease"
	"leasehold/store"
)

// fill writes so many active leases of a target in one transaction, with their numbers as payloads.
func (w *world) fill(target string, n int) {
	w.t.Helper()
	w.issue(func(in *lease.Intent) { in.Target, in.Payload = target, []byte("0") })
	err := w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		for i := 1; i < n; i++ {
			id := fmt.Sprintf("database/creds/app/%s%020d", target, i)
			sealed, err := tx.Seal(store.Cell{Table: "leases", Column: "payload", Key: id}, fmt.Append(nil, i))
			if err != nil {
				return err
			}
			end := store.Micros(tx.Now().Add(time.Hour))
			_, err = tx.Exec(`INSERT INTO leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at,
					renewable, attempts, drops, version, payload, claimant)
				VALUES ($1, (SELECT seq FROM lease_targets WHERE name = $2), 0, 'active', $3, $4, $3, 0, 0, 1, 0, 0, 2, $5, 0)`,
				id, target, end, store.Micros(tx.Now()), sealed)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) targetNamed(name string) lease.Target {
	w.t.Helper()
	targets, err := w.leases.Targets(w.t.Context(), "test")
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(targets, func(t lease.Target) bool { return t.Name == name })
	if i < 0 {
		w.t.Fatalf("no target %q in %v", name, targets)
	}
	return targets[i]
}

func TestWalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many = 4345 // more than two pages
	w.fill("a", many)
	w.fill("b", 3)
	w.issue(func(in *lease.Intent) { in.Target, in.Payload = "a", fmt.Append(nil, many) })
	for name, want := range map[string]int{"a": many + 1, "b": 3} {
		next, pages := 0, 0
		err := w.leases.Walk(t.Context(), w.targetNamed(name), func(page []lease.Record) error {
			pages++
			for _, r := range page {
				if r.Target != name || string(r.Payload) != fmt.Sprint(next) {
					t.Fatalf("target %s: lease %d is %+v", name, next, r)
				}
				next++
			}
			return nil
		})
		if err != nil || next != want || pages != want/2000+1 {
			t.Errorf("target %s: got %d leases on %d pages, %v; want %d", name, next, pages, err, want)
		}
	}
	if targets, err := w.leases.Targets(t.Context(), "another"); err != nil || len(targets) > 0 {
		t.Errorf("targets of another kind: got %v, %v", targets, err)
	}
	stop := fmt.Errorf("enough")
	if err := w.leases.Walk(t.Context(), w.targetNamed("a"), func([]lease.Record) error { return stop }); err != stop {
		t.Errorf("got %v, want the error of visit", err)
	}
}

// Renewals and revocations move leases about in every index but that of seq: none that stays is passed over.
func TestWalkAmongChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill("a", 2100)
	stays := map[string]bool{}
	err := w.leases.Walk(t.Context(), w.targetNamed("a"), func(page []lease.Record) error {
		for _, r := range page {
			stays[r.ID] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := 1; ctx.Err() == nil; i = i%2099 + 1 {
			id := fmt.Sprintf("database/creds/app/a%020d", i)
			if i%2 == 0 {
				_, _, _ = w.leases.Renew(ctx, id, time.Duration(i)*time.Second) // fails when the walk is over
			} else {
				_ = w.store.Update(ctx, func(tx *store.Tx) error { // as a revocation that is tried in vain
					_, err := tx.Exec(`UPDATE leases SET state = 'revoking', due_at = $1, version = version + 1 WHERE id = $2`, i, id)
					return err
				})
			}
		}
	})
	for range 5 {
		seen := map[string]bool{}
		err := w.leases.Walk(t.Context(), w.targetNamed("a"), func(page []lease.Record) error {
			for _, r := range page {
				if seen[r.ID] {
					t.Errorf("lease %s came twice", r.ID)
				}
				seen[r.ID] = true
			}
			return nil
		})
		if err != nil || len(seen) != len(stays) {
			t.Errorf("got %d leases, %v; want %d", len(seen), err, len(stays))
		}
	}
	stop()
	wait.Wait()
}

// A page is found by the primary key: if the leases of a target were collected for each, a million would cost the square of it.
func TestWalkPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill("a", 3000)
	explain := map[string]string{"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[w.store.Dialect()]
	for _, q := range []struct {
		query string
		args  []any
	}{{lease.PageEndSQL, []any{5, 1000}}, {lease.PageSQL, []any{5, 1005, 1}}} {
		var plan strings.Builder
		err := w.store.View(t.Context(), func(tx *store.Tx) error {
			plan.Reset()
			rows, err := tx.Query(explain+q.query, q.args...)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			for rows.Next() {
				cells := make([]any, len(columns))
				for i := range cells {
					cells[i] = new(any)
				}
				if err := rows.Scan(cells...); err != nil {
					return err
				}
				fmt.Fprintln(&plan, *cells[len(cells)-1].(*any))
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan.String(), "leases_pkey") && !strings.Contains(plan.String(), "USING INTEGER PRIMARY KEY (rowid>?") {
			t.Errorf("%s: the plan is not one by the primary key:\n%s", q.query, plan.String())
		}
	}
}
