package database_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
)

const firstPassword = "root-first"

// rootWorld is a world whose connection logs in as a superuser of its own.
func rootWorld(t *testing.T) (w *world, root string) {
	t.Helper()
	w = newWorld(t)
	root = w.root(firstPassword)
	w.must(engine.Update, "config/pg", w.settings(data{"username": root, "password": firstPassword}))
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly})
	return w, root
}

// works demands that users can be made and revoked, also by a new process.
func (w *world) works() {
	w.Helper()
	for range 2 {
		a := w.creds("app")
		w.revoke(a.lease)
		if w.exists(a.user) {
			w.Error("the user is still there")
		}
		w.must(engine.Update, "reset/pg", nil)
		w.start()
	}
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	before := w.creds("app")
	w.must(engine.Update, "rotate-root/pg", nil)
	if w.logsIn(root, firstPassword) {
		t.Error("the first password still works")
	}
	w.revoke(before.lease)
	w.works()
	w.refused(engine.Update, "config/pg", data{"password": firstPassword}, errs.Invalid, "...error verifying connection")
	w.must(engine.Update, "config/pg", data{"password_policy": "digits", "root_rotation_statements": `ALTER ROLE "{{username}}" PASSWORD '{{password}}'; COMMENT ON ROLE "{{name}}" IS 'by statement'`})
	w.must(engine.Update, "rotate-root/pg", nil)
	if got := w.value("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1", root); got != "by statement" {
		t.Errorf("the rotation statements did not run: %q", got)
	}
	w.works()
}

// A rotation that the database refuses changes nothing.
func TestRotateRootRefused(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	w.must(engine.Update, "config/pg", data{"root_rotation_statements": "SELECT 1/0"})
	w.refused(engine.Update, "rotate-root/pg", nil, errs.Unavailable, "...division by zero")
	if !w.logsIn(root, firstPassword) {
		t.Error("the password changed")
	}
	w.must(engine.Update, "config/pg", data{"root_rotation_statements": []string{}}) // the row is settled: no conflict
	w.works()
}

// Statements that the database runs and that leave the password as it is must not cost the broker its login.
func TestRotateRootWithoutEffect(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	w.must(engine.Update, "config/pg", data{"root_rotation_statements": `COMMENT ON ROLE "{{name}}" IS '{{password}}'`})
	w.refused(engine.Update, "rotate-root/pg", nil, errs.Unavailable, "...statements ran, but the new password does not log in")
	if !w.logsIn(root, firstPassword) {
		t.Error("the password changed")
	}
	w.works()
	w.must(engine.Update, "config/pg", data{"root_rotation_statements": []string{}})
	w.must(engine.Update, "rotate-root/pg", nil)
	w.works()
}

// The process dies, or the answer is lost, at each step of a rotation. Whatever happens, a new process can work, and
// the password that the row settles with is the one that the database has.
func TestRotateRootCrash(t *testing.T) {
	t.Parallel()
	unknown := &plugins.Error{Op: "alter user", Class: plugins.Unknown, Err: errors.New("the line went dead")}
	for _, test := range []struct {
		name    string
		alter   func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error
		rotated bool
		answer  string // what the client hears; empty: nothing, or a success
	}{
		{"before the change", func(context.Context, plugins.Database, string, plugins.Change) error {
			runtime.Goexit()
			return nil
		}, false, ""},
		{"after the change", func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			if err := db.AlterUser(ctx, name, c); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		}, true, ""},
		{"answer lost, changed", func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			if err := db.AlterUser(ctx, name, c); err != nil {
				return err
			}
			return unknown
		}, true, ""},
		{"answer lost, not changed", func(context.Context, plugins.Database, string, plugins.Change) error {
			return unknown
		}, false, framed("alter user: the line went dead")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, root := rootWorld(t)
			leased := w.creds("app")
			w.hooks.set(func(h *hooks) { h.alter = test.alter })
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, err = w.send(engine.Update, "rotate-root/pg", nil)
			}()
			<-done
			if test.answer != "" {
				w.isRefusal(err, errs.Unavailable, test.answer)
			} else if err != nil {
				t.Errorf("the rotation: %v", err)
			}
			if w.logsIn(root, firstPassword) == test.rotated {
				t.Errorf("the first password works: %v", !test.rotated)
			}
			w.hooks.set(func(h *hooks) { h.alter = nil })

			w.start()
			w.revoke(leased.lease)
			if w.exists(leased.user) {
				t.Error("the user is still there")
			}
			w.works()
			if !test.rotated {
				// While a late change could still come, the row keeps both passwords and takes no other change.
				for _, path := range []string{"rotate-root/pg", "config/pg"} {
					w.refused(engine.Update, path, data{}, errs.Conflict, "...are being rotated")
				}
				w.clock.Advance(time.Minute)
			}
			w.must(engine.Update, "rotate-root/pg", nil)
			w.must(engine.Update, "config/pg", nil)
			w.works()
			if w.logsIn(root, firstPassword) {
				t.Error("the first password still works")
			}
		})
	}
}

// A change that comes into force after it was given up locks nobody out.
func TestRotateRootLate(t *testing.T) {
	t.Parallel()
	w, root := rootWorld(t)
	var late func() error
	w.hooks.set(func(h *hooks) {
		h.alter = func(_ context.Context, db plugins.Database, name string, c plugins.Change) error {
			late = func() error { return w.alter(name, c) }
			return &plugins.Error{Op: "alter user", Class: plugins.Unknown, Err: errors.New("no answer")}
		}
	})
	w.refused(engine.Update, "rotate-root/pg", nil, errs.Unavailable, "...no answer")
	w.hooks.set(func(h *hooks) { h.alter = nil })
	w.works() // with the first password
	if err := late(); err != nil {
		t.Fatal(err)
	}
	if w.logsIn(root, firstPassword) {
		t.Fatal("the late change did not come into force")
	}
	w.start()
	w.works()
}

// alter changes a password as the superuser of the server.
func (w *world) alter(name string, c plugins.Change) error {
	d, err := (driver{hooks: w.hooks}).Open(plugins.Settings{
		"connection_url": w.pg.URL(),
	})
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.AlterUser(w.Context(), name, c)
}

// Rotations at once: one at a time, and users are made all the while.
func TestRotateRootConcurrent(t *testing.T) {
	t.Parallel()
	w, _ := rootWorld(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	rotated := 0
	for range 2 {
		wait.Go(func() {
			for range 5 {
				_, err := w.send(engine.Update, "rotate-root/pg", nil)
				switch {
				case err == nil:
					mu.Lock()
					rotated++
					mu.Unlock()
				case errs.CodeOf(err) != errs.Conflict:
					t.Errorf("rotation: %v", err)
				}
			}
		})
	}
	for range 3 {
		wait.Go(func() {
			for range 8 {
				if _, err := w.send(engine.Read, "creds/app", nil); err != nil {
					t.Errorf("creds: %v", err)
				}
			}
		})
	}
	wait.Wait()
	if rotated == 0 {
		t.Error("no rotation succeeded")
	}
	w.works()
	if err := w.leases.RevokePrefix(t.Context(), "database/creds/app", true); err != nil {
		t.Error(err)
	}
}

// A revocation and a renewal whose connection gets another password after they have read it begin again.
func TestRotatedMeanwhile(t *testing.T) {
	t.Parallel()
	w, _ := rootWorld(t)
	a := w.creds("app")
	rotate := sync.OnceFunc(func() { w.must(engine.Update, "rotate-root/pg", nil) })
	w.start() // nobody is logged in yet
	w.hooks.set(func(h *hooks) {
		h.alter = func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			if name == a.user {
				rotate()
			}
			return db.AlterUser(ctx, name, c)
		}
	})
	if _, _, err := w.leases.Renew(t.Context(), a.lease, time.Hour); err != nil {
		t.Errorf("renew: %v", err)
	}
	rotate = sync.OnceFunc(func() { w.must(engine.Update, "rotate-root/pg", nil) })
	w.start()
	w.hooks.set(func(h *hooks) {
		h.drop = func(ctx context.Context, db plugins.Database, name string, statements []string) error {
			rotate()
			return db.DropUser(ctx, name, statements)
		}
	})
	if err := w.leases.Revoke(t.Context(), a.lease, true); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if w.exists(a.user) {
		t.Error("the user is still there")
	}
}
