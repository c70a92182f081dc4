package database_test

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
)

// rootStatus is what a read of the connection tells.
func (w *world) rootStatus() data {
	w.Helper()
	return w.must(engine.Read, "config/pg", nil).Data
}

func (w *world) wantRoot(name string, want any) {
	w.Helper()
	if got := w.rootStatus()[name]; got != want {
		w.Errorf("%s is %v, want %v", name, got, want)
	}
}

func (w *world) in(d time.Duration) string { return w.clock.Now().Add(d).Format(time.RFC3339Nano) }

// after moves the clock and has what is due done.
func (w *world) after(d time.Duration) {
	w.Helper()
	w.clock.Advance(d)
	w.rotate()
}

func TestRootRotatesByItself(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	if _, shown := w.rootStatus()["next_rotation"]; shown || w.rows("database_root_rotations") != 0 {
		t.Error("a connection without a rhythm has one")
	}
	w.must(engine.Update, "config/pg", data{"rotation_period": "1h"})
	w.wantRoot("rotation_period", int64(3600))
	w.wantRoot("next_rotation", w.in(time.Hour))
	w.wantRoot("last_rotation", nil)
	w.after(time.Hour - time.Second)
	if !w.logsIn(root, firstPassword) {
		t.Fatal("it was rotated before its time")
	}
	w.must(engine.Update, "config/pg", data{"max_open_connections": 3}) // leaves the plan alone
	w.wantRoot("next_rotation", w.in(time.Second))
	w.after(time.Second)
	if w.logsIn(root, firstPassword) {
		t.Fatal("the first password still works")
	}
	w.wantRoot("last_rotation", w.in(0))
	w.wantRoot("next_rotation", w.in(time.Hour))
	w.works()

	// One that is asked for begins a new period; another rhythm a new plan; none ends it.
	w.after(30 * time.Minute)
	w.must(engine.Update, "rotate-root/pg", nil)
	w.wantRoot("next_rotation", w.in(time.Hour))
	w.must(engine.Update, "config/pg", data{"rotation_period": 7200})
	w.wantRoot("next_rotation", w.in(2*time.Hour))
	w.must(engine.Update, "config/pg", data{"disable_automated_rotation": true})
	w.wantRoot("disable_automated_rotation", true)
	w.wantRoot("rotation_period", int64(7200))
	w.wantRoot("next_rotation", nil)
	w.must(engine.Update, "config/pg", data{"disable_automated_rotation": false})
	w.wantRoot("next_rotation", w.in(2*time.Hour))
	w.must(engine.Update, "config/pg", data{"rotation_period": 0})
	w.wantRoot("rotation_period", nil)
	if n := w.rows("database_root_rotations"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	w.must(engine.Update, "config/pg", data{"rotation_period": "1h"})
	w.must(engine.Delete, "config/pg", nil)
	if n := w.rows("database_root_rotations"); n != 0 {
		t.Errorf("%d rows are left of a connection that is gone", n)
	}
}

func TestRootSchedule(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t) // at 07:08:09
	w.must(engine.Update, "config/pg", data{"rotation_schedule": "0 9 * * *", "rotation_window": "1h"})
	w.wantRoot("rotation_window", int64(3600))
	w.wantRoot("next_rotation", "2040-05-06T09:00:00Z")
	w.after(4 * time.Hour) // nobody was there in time
	if !w.logsIn(root, firstPassword) {
		t.Error("it was rotated after its window")
	}
	w.wantRoot("next_rotation", "2040-05-07T09:00:00Z")
	w.after(22*time.Hour + 30*time.Minute)
	if w.logsIn(root, firstPassword) {
		t.Error("it was not rotated within its window")
	}
	w.wantRoot("next_rotation", "2040-05-08T09:00:00Z")
	w.works()
}

// A rotation that fails is tried again, and says why; a new process goes on with it.
func TestRootRotationFails(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	w.must(engine.Update, "config/pg", data{"rotation_period": "1h", "root_rotation_statements": "SELECT 1/0"})
	planned := w.in(time.Hour)
	w.after(time.Hour)
	w.wantRoot("failed_attempts", 1)
	w.wantRoot("next_rotation", planned)
	if text, _ := w.rootStatus()["last_error"].(string); !strings.Contains(text, "division by zero") {
		t.Errorf("last_error: %q", text)
	}
	w.after(5 * time.Second) // too early
	w.wantRoot("failed_attempts", 1)
	w.start()
	w.after(10 * time.Second)
	w.wantRoot("failed_attempts", 2)
	w.must(engine.Update, "config/pg", data{"root_rotation_statements": []string{}})
	w.after(time.Minute)
	w.wantRoot("failed_attempts", 0)
	w.wantRoot("last_error", "")
	if w.logsIn(root, firstPassword) {
		t.Error("it was not rotated")
	}
	w.works()
}

// While one node is at it no other is; and what a dead one has claimed is due again.
func TestRootClaims(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	w.must(engine.Update, "config/pg", data{"rotation_period": "1h"})
	var calls atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	w.hooks.set(func(h *hooks) {
		h.alter = func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			if calls.Add(1) == 1 {
				close(entered)
				<-release
			}
			return db.AlterUser(ctx, name, c)
		}
	})
	w.clock.Advance(time.Hour)
	first := w.engine
	if err := first.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-entered
	w.start()
	w.rotate() // the other node has nothing to do
	close(release)
	first.Wait()
	if calls.Load() != 1 || w.logsIn(root, firstPassword) {
		t.Errorf("%d rotations, want 1", calls.Load())
	}
	// The process dies with its claim, and with a password staged.
	w.hooks.set(func(h *hooks) {
		h.alter = func(context.Context, plugins.Database, string, plugins.Change) error {
			runtime.Goexit()
			return nil
		}
	})
	last := w.in(0)
	w.after(time.Hour)
	w.hooks.set(func(h *hooks) { h.alter = nil })
	w.start()
	w.after(time.Minute)
	w.wantRoot("last_rotation", last)
	w.after(5 * time.Minute)
	w.wantRoot("last_rotation", w.in(0))
	w.works()
}

func TestRootRhythmRefusals(t *testing.T) {
	t.Parallel()
	w, _ := rootWorld(t)
	for _, test := range []struct {
		body data
		want string
	}{
		{data{"rotation_period": "1h", "rotation_schedule": "0 9 * * *"}, "...mutually exclusive"},
		{data{"rotation_period": "4s"}, "rotation_period must be 5 seconds or more"},
		{data{"rotation_schedule": "whenever"}, "...could not parse rotation_schedule"},
		{data{"rotation_window": "1h"}, "rotation_window goes with rotation_schedule"},
		{data{"rotation_schedule": "0 9 * * *", "rotation_window": "1m"}, "rotation_window must be 3600 seconds or more"},
		{data{"rotation_period": "1h", "rotation_window": "1h"}, "rotation_window is invalid with use of rotation_period"},
		{data{"rotation_period": "1h", "password": ""}, "...the password cannot be rotated by itself"},
		{data{"rotation_period": "x"}, "...rotation_period"},
	} {
		w.refused(engine.Update, "config/pg", test.body, errs.Invalid, test.want)
	}
	if n := w.rows("database_root_rotations"); n != 0 {
		t.Errorf("%d rows of refused writes", n)
	}
}
