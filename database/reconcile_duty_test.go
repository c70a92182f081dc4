package database_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// node is a process on the world's store.
type node struct {
	*world
	name   string
	engine *database.Engine
	log    *bytes.Buffer

	mu   sync.Mutex
	told []string // what OnReconciled heard; guarded by mu
}

func (w *world) node(name string) *node {
	w.Helper()
	n := &node{world: w, name: name, log: &bytes.Buffer{}}
	leases, err := lease.New(lease.Config{
		Store: w.store, Alive: func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) { return time.Hour, time.Hour },
	})
	if err != nil {
		w.Fatal(err)
	}
	n.engine, err = database.New(database.Config{
		Store: w.store, Leases: leases, Clock: w.clock, Drivers: map[string]plugins.Driver{plugin: driver{hooks: w.hooks}},
		OnReconciled: func(mount, connection string, orphans, missing, foreign int) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if mount != w.mount.UUID {
				w.Errorf("told of the mount %q", mount)
			}
			n.told = append(n.told, fmt.Sprintf("%s %d %d", connection, orphans, missing))
		},
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(n.engine.Close)
	return n
}

// round lets a node look for what is due, some seconds after the last time, and waits for what it has begun.
func (n *node) round() {
	n.Helper()
	n.clock.Advance(16 * time.Second)
	if err := n.engine.RunOnce(n.Context()); err != nil {
		n.Fatal(err)
	}
	n.engine.Wait()
}

// wantTold demands what OnReconciled has heard since the last time.
func (n *node) wantTold(want ...string) {
	n.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.told, want) {
		n.Errorf("%s was told %q, want %q", n.name, n.told, want)
	}
	n.told = nil
}

func (w *world) status() data {
	w.Helper()
	return w.must(engine.Read, "reconcile/pg/status", nil).Data
}

func (w *world) nextAt() time.Time {
	w.Helper()
	text, _ := w.status()["next_at"].(string)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		w.Fatalf("next_at: %v", w.status())
	}
	return at
}

func (w *world) until(at time.Time) { w.clock.Advance(at.Sub(w.clock.Now())) }

// Two nodes share a store. One of them does what is due, both know what was found, and the log says it once.
func TestReconcileSchedule(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		start := w.clock.Now()
		if got := w.status(); got["schedule"] != "@every 24h0m0s" || got["next_at"] != nil || got["checked_at"] != nil {
			w.Errorf("status at first: got %v", got)
		}
		a, b := w.node("a"), w.node("b")
		a.round()
		b.round()
		if first := w.nextAt(); first.Before(start) || first.After(start.Add(25*time.Hour)) {
			w.Errorf("planned for %v", first)
		}
		a.wantTold()

		lost, other := w.orphan("app"), w.orphan("app")
		w.until(w.nextAt())
		a.round()
		b.round()
		a.wantTold("pg 2 0")
		b.wantTold("pg 2 0")
		checked := w.clock.Now().Add(-16 * time.Second)
		if got := w.status(); got["orphan_count"] != 2 || got["checked_at"] != checked.Format(time.RFC3339Nano) || got["error"] != "" {
			w.Errorf("status: got %v, want it as of %v", got, checked)
		}
		for day := range 3 { // the same orphans are no news
			next := w.nextAt()
			if pause := next.Sub(checked); pause < 21*time.Hour || pause > 24*time.Hour {
				w.Errorf("day %d: planned after %v", day, pause)
			}
			w.until(next)
			b.round()
			a.round()
			checked = w.clock.Now().Add(-16 * time.Second)
			a.wantTold("pg 2 0")
			b.wantTold("pg 2 0")
		}
		w.dropByHand(other.user)
		w.until(w.nextAt())
		b.round()
		a.round()
		logged := func() int {
			return strings.Count(a.log.String()+b.log.String(), "users whose leases are gone")
		}
		if logged() != 2 {
			w.Errorf("logged %d times, want once for each set of orphans:\n%s%s", logged(), a.log, b.log)
		}
		if all := a.log.String() + b.log.String(); strings.Contains(all, lost.user) || !strings.Contains(all, "orphans=2") || !strings.Contains(all, "orphans=1") {
			w.Errorf("the log:\n%s", all)
		}

		w.reconcile(data{"remove": true})
		a.round()
		b.round()
		a.wantTold("pg 1 0", "pg 0 0")
		b.wantTold("pg 1 0", "pg 0 0")

		// A node that starts learns the last result; one that is gone is forgotten.
		c := w.node("c")
		c.round()
		c.wantTold("pg 0 0")
		w.must(engine.Delete, "config/pg", nil)
		c.round()
		c.wantTold("pg 0 0")
		if w.rows("database_reconciles") != 0 {
			w.Error("a deleted connection is still to be reconciled")
		}
	})
}

// A call that finds nothing to do is the rule: one each second. It reads nothing most of the time.
func TestReconcileIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	n := w.node("a")
	n.round()
	w.until(w.nextAt())
	n.clock.Advance(-time.Second)
	for range 13 { // due after the first of these, but the rows are not read again so soon
		n.clock.Advance(time.Second)
		if err := n.engine.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n.engine.Wait()
	n.round()
	n.wantTold("pg 0 0")
}

// Two nodes that look at the same moment do not both do the work, and one that died with it is followed.
func TestReconcileClaims(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, w.node(fmt.Sprint(i)))
		}
		nodes[0].round()
		w.until(w.nextAt())
		var asked sync.Mutex
		runs := 0
		w.hooks.set(func(h *hooks) {
			h.asked = func(names []string) error {
				asked.Lock()
				defer asked.Unlock()
				if len(names) == 0 {
					runs++
				}
				return nil
			}
		})
		w.clock.Advance(time.Minute)
		var wait sync.WaitGroup
		for _, n := range nodes {
			wait.Go(func() {
				if err := n.engine.RunOnce(w.Context()); err != nil {
					w.Error(err)
				}
				n.engine.Wait()
			})
		}
		wait.Wait()
		if runs != 1 {
			w.Errorf("compared %d times, want once", runs)
		}

		// Died half-way: its context is cancelled as by a stop, and nothing is recorded.
		w.until(w.nextAt())
		ctx, die := context.WithCancel(w.Context())
		w.hooks.set(func(h *hooks) { h.asked = func([]string) error { die(); return ctx.Err() } })
		w.clock.Advance(time.Minute)
		if err := nodes[1].engine.RunOnce(ctx); err != nil {
			w.Fatal(err)
		}
		nodes[1].engine.Wait()
		w.hooks.set(func(h *hooks) { h.asked = nil })
		before := w.status()["checked_at"]
		nodes[2].round()
		if w.status()["checked_at"] != before {
			w.Error("compared before the claim has run out")
		}
		w.clock.Advance(15 * time.Minute)
		nodes[2].round()
		if w.status()["checked_at"] == before {
			w.Error("the work of a dead node was not taken over")
		}
	})
}

// A database that cannot be asked is told of, and asked again within the hour.
func TestReconcileFailure(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		n := w.node("a")
		n.round()
		w.orphan("app")
		w.until(w.nextAt())
		n.round()
		n.wantTold("pg 1 0")
		w.hooks.set(func(h *hooks) {
			h.asked = func([]string) error {
				return &plugins.Error{Op: "list users", Class: plugins.Refused, Err: errors.New("it is shutting down")}
			}
		})
		w.until(w.nextAt())
		n.round()
		failedAt := w.clock.Now()
		if got := w.status(); got["error"] != "list users: it is shutting down" || got["orphan_count"] != 1 {
			w.Errorf("status: got %v, want the error and the last result", got)
		}
		if next := w.nextAt(); next.After(failedAt.Add(time.Hour)) {
			w.Errorf("tried again at %v, after %v", next, next.Sub(failedAt))
		}
		n.wantTold()
		w.hooks.set(func(h *hooks) { h.asked = nil })
		w.until(w.nextAt())
		n.round()
		if got := w.status(); got["error"] != "" {
			w.Errorf("status after that: got %v", got)
		}
	})
}

func TestReconcileSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node("a")
	for _, test := range []struct {
		more     data
		schedule string
		next     string // after the first Saturday of May 2040, 07:08; empty: somewhere within the period
		never    bool
	}{
		{data{}, "@every 24h0m0s", "", false},
		{data{"reconcile_period": "6h"}, "@every 6h0m0s", "", false},
		{data{"reconcile_period": 7200}, "@every 2h0m0s", "", false},
		{data{"reconcile_period": "2d"}, "@every 48h0m0s", "", false},
		{data{"reconcile_period": "0"}, "off", "", true},
		{data{"reconcile_schedule": "off"}, "off", "", true},
		{data{"reconcile_schedule": "30 3 * * *"}, "30 3 * * *", "2040-05-07T03:30:00Z", false},
		{data{"reconcile_schedule": "@weekly"}, "@weekly", "2040-05-13T00:00:00Z", false},
		{data{"reconcile_schedule": "0 0 30 2 *"}, "0 0 30 2 *", "", true},
		{data{"reconcile_schedule": "", "reconcile_period": ""}, "@every 24h0m0s", "", false},
	} {
		w.must(engine.Update, "config/pg", w.settings(data{"reconcile_schedule": "", "reconcile_period": ""}))
		w.must(engine.Update, "config/pg", test.more)
		n.round()
		got := w.status()
		next, planned := got["next_at"].(string)
		if got["schedule"] != test.schedule || planned == test.never || test.next != "" && next != test.next {
			t.Errorf("%v: got %v", test.more, got)
		}
	}
	shown := w.must(engine.Read, "config/pg", nil).Data["connection_details"].(map[string]any)
	if shown["reconcile_schedule"] != "" || shown["reconcile_period"] != "" {
		t.Errorf("connection_details: got %v", shown)
	}
	for _, more := range []data{
		{"reconcile_period": "59s"}, {"reconcile_period": -1}, {"reconcile_period": "soon"}, {"reconcile_schedule": "daily"},
		{"reconcile_schedule": "* * * *"}, {"reconcile_schedule": 3}, {"reconcile_schedule": "@every 1s"},
		{"reconcile_schedule": "@daily", "reconcile_period": "1h"},
	} {
		w.refused(engine.Update, "config/pg", more, errs.Invalid, "...reconcile_")
	}
	// Writing something else does not put the next time off.
	w.must(engine.Update, "config/pg", data{"reconcile_period": "6h"})
	n.round()
	next := w.nextAt()
	w.must(engine.Update, "config/pg", data{"allowed_roles": "app"})
	n.round()
	if got := w.nextAt(); !got.Equal(next) {
		t.Errorf("planned for %v, then for %v", next, got)
	}
}

// A mount that is removed leaves nothing to be reconciled, and others keep theirs.
func TestReconcileUnmount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	gone := w.mount
	w.mount.UUID += "0"
	w.connect()
	if err := w.engine.Unmount(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if n := w.rows("database_reconciles"); n != 1 {
		t.Errorf("got %d rows, want that of the other mount", n)
	}
}

// Connections that were there before the table was are planned like others.
func TestReconcileMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "old.db")
	old, err := store.Open(t.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: path}), Clock: w.clock, Migrations: slices.Concat(lease.Migrations(), database.Migrations()[:1]),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = old.Update(t.Context(), func(tx *store.Tx) error {
		for name, retired := range map[string]int{"m/pg": 0, "m/gone": 1} {
			if _, err := tx.Exec(`INSERT INTO database_connections (id, mount, name, version, retired, settings, staged_until)
				VALUES ($1, 'm', $1, 'v', $2, $3, 0)`, name, retired, []byte("sealed")); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	now := storetest.OpenAt(t, sqlite.New(sqlite.Config{Path: path}), w.clock, slices.Concat(lease.Migrations(), database.Migrations())...)
	var got []string
	err = now.View(t.Context(), func(tx *store.Tx) error {
		got = nil
		rows, err := tx.Query(`SELECT id, schedule, due_at FROM database_reconciles`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, schedule string
			var due int64
			if err := rows.Scan(&id, &schedule, &due); err != nil {
				return err
			}
			got = append(got, fmt.Sprint(id, " ", schedule, " ", due))
		}
		return rows.Err()
	})
	if diff := cmp.Diff([]string{"m/pg @every 24h0m0s 0"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
