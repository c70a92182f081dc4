package database_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/store"
)

// user makes a login that nobody manages yet, dropped when the test ends.
func (w *world) user() string {
	w.Helper()
	name := "static_" + strings.ToLower(secret.Random(secret.Base62, 10).Reveal())
	w.pg.Exec(w.T, `CREATE ROLE `+name+` LOGIN PASSWORD 'first'`)
	w.Cleanup(func() {
		c, err := testdb.Shared(w).Connect(context.Background())
		if err != nil {
			w.Errorf("drop %s: %v", name, err)
			return
		}
		defer func() { _ = c.Close(context.Background()) }()
		if _, err := c.Exec(context.Background(), `DROP ROLE IF EXISTS `+name); err != nil {
			w.Errorf("drop %s: %v", name, err)
		}
	})
	return name
}

// static makes a static role "st" for a new user.
func (w *world) static(more data) (user string) {
	w.Helper()
	user = w.user()
	body := data{"db_name": "pg", "username": user, "rotation_period": "1h"}
	for name, value := range more {
		body[name] = value
	}
	w.must(engine.Update, "static-roles/st", body)
	return user
}

// password is the present one, which has to log in.
func (w *world) password(role string) string {
	w.Helper()
	data := w.must(engine.Read, "static-creds/"+role, nil).Data
	password := data["password"].(string)
	if !w.logsIn(data["username"].(string), password) {
		w.Errorf("the password of %s does not log in", role)
	}
	return password
}

// rotate does what is due and waits for it.
func (w *world) rotate() {
	w.Helper()
	if err := w.engine.RunOnce(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.engine.Wait()
}

func (w *world) rotation(role string) data {
	w.Helper()
	return w.must(engine.Read, "static-roles/"+role, nil).Data
}

func TestStaticRole(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.refused(engine.List, "static-roles/", nil, errs.NotFound, "")
		user := w.static(nil)
		if w.logsIn(user, "first") {
			w.Error("the first password still works")
		}
		first := w.password("st")
		want := data{
			"username": user, "db_name": "pg", "credential_type": "password", "rotation_period": int64(3600),
			"rotation_statements": []string{}, "last_vault_rotation": "2040-05-06T07:08:09Z", "next_rotation": "2040-05-06T08:08:09Z",
			"next_attempt": "2040-05-06T08:08:09Z", "unfinished": false, "failed_attempts": 0, "last_error": "",
		}
		if diff := cmp.Diff(want, w.must(engine.Read, "static-roles/st", nil).Data); diff != "" {
			w.Error(diff)
		}
		want = data{
			"username": user, "password": first, "rotation_period": int64(3600), "ttl": int64(3600), "last_vault_rotation": "2040-05-06T07:08:09Z",
		}
		if diff := cmp.Diff(want, w.must(engine.Read, "static-creds/st", nil).Data); diff != "" {
			w.Error(diff)
		}
		w.must(engine.Update, "rotate-role/st", nil)
		second := w.password("st")
		if second == first || w.logsIn(user, first) {
			w.Error("the rotation did nothing")
		}
		w.clock.Advance(time.Minute)
		w.must(engine.Update, "static-roles/st", data{"username": user, "rotation_period": "2h", "credential_config": data{"password_policy": "digits"}})
		got := w.must(engine.Read, "static-creds/st", nil).Data
		if got["password"] != second || got["ttl"] != int64(7140) || got["rotation_period"] != int64(7200) {
			w.Errorf("after an update: %v", got)
		}
		w.must(engine.Update, "rotate-role/st", nil)
		if third := w.password("st"); len(third) != 12 || strings.Trim(third, "0123456789") != "" {
			w.Error("the role's policy was not asked")
		}
		if diff := cmp.Diff([]string{"st"}, w.must(engine.List, "static-roles/", nil).Data["keys"]); diff != "" {
			w.Error(diff)
		}
		w.refused(engine.Update, "roles/st", data{"db_name": "pg"}, errs.Invalid, "Role and Static Role names must be unique")
		w.refused(engine.Read, "roles/st", nil, errs.NotFound, "")
		w.must(engine.Delete, "roles/st", nil)

		last := w.password("st")
		w.must(engine.Delete, "static-roles/st", nil)
		w.must(engine.Delete, "static-roles/st", nil)
		if !w.logsIn(user, last) {
			w.Error("deleting the role changed its user")
		}
		w.refused(engine.Read, "static-roles/st", nil, errs.NotFound, "")
		w.refused(engine.Read, "static-creds/st", nil, errs.Invalid, "unknown role: st")
		w.refused(engine.Update, "rotate-role/st", nil, errs.Invalid, "no static role found for role name")
		w.static(nil)
		if err := w.engine.Unmount(w.Context(), w.mount); err != nil {
			w.Fatal(err)
		}
		if n := w.rows("database_rotations"); n != 0 {
			w.Errorf("%d rows are left after the unmount", n)
		}
	})
}

func TestStaticRoleRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/shy", w.settings(data{"allowed_roles": []string{"other"}}))
	user := w.static(nil)
	for _, test := range []struct {
		name string
		body data
		code errs.Code
		text string
	}{
		{"app", data{"db_name": "pg", "username": user, "rotation_period": 5}, errs.Invalid, "Role and Static Role names must be unique"},
		{"x", data{"username": user}, errs.Invalid, "database name is a required field"},
		{"x", data{"db_name": "pg"}, errs.Invalid, "username is a required field to create a static account"},
		{"x", data{"db_name": "pg", "username": user}, errs.Invalid, "one of rotation_schedule or rotation_period must be provided to create a static account"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 4}, errs.Invalid, "rotation_period must be 5 seconds or more"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "rotation_schedule": "* * * * *"}, errs.Invalid,
			"mutually exclusive fields rotation_period and rotation_schedule were both specified; only one of them can be provided"},
		{"x", data{"db_name": "pg", "username": user, "rotation_schedule": "* * * *"}, errs.Invalid, "...could not parse rotation_schedule: "},
		{"x", data{"db_name": "pg", "username": user, "rotation_schedule": "TZ=Asia/Tokyo 0 3 * * *"}, errs.Invalid, "...could not parse rotation_schedule: "},
		{"x", data{"db_name": "pg", "username": user, "rotation_schedule": "0 3 * * *", "rotation_window": "59m"}, errs.Invalid, "rotation_window must be 3600 seconds or more"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "rotation_window": "2h"}, errs.Invalid, "rotation_window is invalid with use of rotation_period"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "credential_type": "smoke"}, errs.Invalid, `invalid credential_type "smoke"`},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "credential_type": "rsa_private_key"}, errs.Invalid, `unsupported credential_type: "rsa_private_key"`},
		{"x", data{"db_name": "none", "username": user, "rotation_period": 5}, errs.Unavailable, framed(`failed to find entry for connection with name: "none"`)},
		{"x", data{"db_name": "shy", "username": user, "rotation_period": 5}, errs.Unavailable, framed(`"x" is not an allowed role`)},
		{"x", data{"db_name": "pg", "username": "no_such_user", "rotation_period": 5}, errs.Unavailable, "...does not exist"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "rotation_statements": "SELECT 1/0"}, errs.Unavailable, "...division by zero"},
		{"x", data{"db_name": "pg", "username": w.pg.User, "rotation_period": 5}, errs.Invalid, "...rotate-root/pg"},
		{"x", data{"db_name": "pg", "username": user, "rotation_period": 5, "credential_config": data{"password_policy": "none"}}, errs.Unavailable, "...failed to generate password"},
		{"st", data{"username": "someone_else"}, errs.Invalid, "cannot update static account username"},
		{"st", data{"rotation_period": "2h"}, errs.Invalid, "cannot update static account username"},
		{"st", data{"username": user, "db_name": "none"}, errs.Unavailable, framed(`failed to find entry for connection with name: "none"`)},
	} {
		w.refused(engine.Update, "static-roles/"+test.name, test.body, test.code, test.text)
	}
	w.refused(engine.Read, "static-roles/x", nil, errs.NotFound, "")
	if n := w.rows("database_rotations"); n != 1 {
		t.Errorf("%d rows, want that of the one role that was made", n)
	}
	w.password("st")
	resp := w.must(engine.Update, "static-roles/twin", data{"db_name": "pg", "username": user, "rotation_period": 5})
	if resp == nil || len(resp.Warnings) != 1 {
		t.Error("two roles of one user, and no warning")
	}
	w.must(engine.Update, "config/pg", data{"allowed_roles": []string{"other"}})
	w.refused(engine.Read, "static-creds/st", nil, errs.Unavailable, framed(`"st" is not an allowed role`))
	w.refused(engine.Update, "rotate-role/st", nil, errs.Unavailable,
		framed(`unable to finish rotating credentials; retries will continue in the background but it is also safe to retry manually: "st" is not an allowed role`))
	w.must(engine.Delete, "config/pg", nil)
	w.refused(engine.Read, "static-creds/st", nil, errs.Unavailable, framed(`failed to find entry for connection with name: "pg"`))
}

// Roles rotate by themselves when their time has come, and not before; many of them at once.
func TestStaticRotation(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		const many = 18 // more than a batch
		before := map[string]string{}
		for i := range many {
			role := fmt.Sprintf("st%d", i)
			w.must(engine.Update, "static-roles/"+role, data{"db_name": "pg", "username": w.user(), "rotation_period": "1h"})
			before[role] = w.must(engine.Read, "static-creds/"+role, nil).Data["password"].(string)
		}
		w.clock.Advance(time.Hour - time.Second)
		w.rotate()
		if got := w.must(engine.Read, "static-creds/st0", nil).Data; got["password"] != before["st0"] || got["ttl"] != int64(1) {
			w.Errorf("before its time: %v", got)
		}
		w.clock.Advance(time.Second)
		other := *w // another node of the store
		other.start()
		var both sync.WaitGroup
		both.Go(w.rotate)
		both.Go(other.rotate)
		both.Wait()
		for role, old := range before {
			if w.password(role) == old {
				w.Errorf("%s was not rotated", role)
			}
		}
		if got := w.rotation("st7"); got["next_rotation"] != "2040-05-06T09:08:09Z" || got["unfinished"] != false || got["last_error"] != "" {
			w.Errorf("status: %v", got)
		}
	})
}

func TestStaticSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.static(data{"rotation_period": nil, "rotation_schedule": "0 8 * * *", "rotation_window": "1h"}) // it is 07:08:09
	got := w.must(engine.Read, "static-creds/st", nil).Data
	if got["ttl"] != int64(51*60+51) || got["rotation_schedule"] != "0 8 * * *" || got["rotation_window"] != int64(3600) || got["rotation_period"] != nil {
		t.Errorf("static-creds: %v", got)
	}
	first := w.password("st")
	w.clock.Advance(52*time.Minute + time.Hour) // the window closed nine seconds ago
	w.rotate()
	if w.password("st") != first {
		t.Error("rotated behind its window")
	}
	if got := w.rotation("st"); got["next_rotation"] != "2040-05-07T08:00:00Z" {
		t.Errorf("status: %v", got)
	}
	w.clock.Advance(24*time.Hour - 10*time.Minute)
	w.rotate()
	if w.password("st") == first {
		t.Error("not rotated within its window")
	}
	w.must(engine.Update, "static-roles/st", data{"username": got["username"], "rotation_period": "1h"})
	if got := w.must(engine.Read, "static-creds/st", nil).Data; got["rotation_schedule"] != nil || got["rotation_period"] != int64(3600) || got["ttl"] != int64(3600) {
		t.Errorf("after the change to a period: %v", got)
	}
}

// What fails is tried again, later and later, while the old password goes on to work.
func TestStaticRetries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	user := w.static(nil)
	first := w.password("st")
	tries := 0
	fail := func(class plugins.Class) {
		w.hooks.set(func(h *hooks) {
			h.alter = func(context.Context, plugins.Database, string, plugins.Change) error {
				tries++
				return &plugins.Error{Op: "alter user", Class: class, Err: errors.New("not today")}
			}
		})
	}
	fail(plugins.Refused)
	w.clock.Advance(time.Hour)
	for _, pause := range []time.Duration{0, 9, 3, 19, 4, 39, 6} {
		w.clock.Advance(pause * time.Second)
		w.rotate()
	}
	if tries != 4 { // at once, and after 10, 20 and 40 seconds and up to a tenth
		t.Errorf("%d tries, want 4", tries)
	}
	if got := w.rotation("st"); got["failed_attempts"] != 4 || got["last_error"] != "alter user: not today" || got["unfinished"] != false {
		t.Errorf("status: %v", got)
	}
	if w.password("st") != first {
		t.Error("another password is handed out")
	}
	w.refused(engine.Update, "rotate-role/st", nil, errs.Unavailable,
		framed("unable to finish rotating credentials; retries will continue in the background but it is also safe to retry manually: alter user: not today"))

	fail(plugins.Unreachable)
	w.clock.Advance(6 * time.Minute)
	tries = 0
	w.rotate()
	if got := w.rotation("st"); tries != 1 || got["failed_attempts"] != 5 {
		t.Errorf("%d tries at a database that cannot be reached; status: %v", tries, got)
	}
	w.hooks.set(func(h *hooks) { h.alter = nil })
	w.clock.Advance(10 * time.Second)
	w.start() // a new process knows of no parked database
	w.rotate()
	if w.password("st") == first || w.logsIn(user, first) {
		t.Error("not rotated after the database was back")
	}
	if got := w.rotation("st"); got["failed_attempts"] != 0 || got["last_error"] != "" {
		t.Errorf("status: %v", got)
	}
}

// Statements that say yes and do not set the password change nothing that is handed out, and both passwords are kept.
func TestStaticStatementsThatDoNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	idle := data{"db_name": "pg", "username": w.user(), "rotation_period": "1h", "rotation_statements": "SELECT 1"}
	w.refused(engine.Update, "static-roles/idle", idle, errs.Unavailable, "...the new password does not log in")
	w.refused(engine.Read, "static-roles/idle", nil, errs.NotFound, "")

	user := w.static(nil)
	first := w.password("st")
	w.must(engine.Update, "static-roles/st", data{"username": user, "rotation_statements": "SELECT 1"})
	w.refused(engine.Update, "rotate-role/st", nil, errs.Unavailable, "...the new password does not log in")
	if got := w.rotation("st"); w.password("st") != first || got["unfinished"] != true || !strings.Contains(got["last_error"].(string), "does not log in") {
		t.Errorf("status: %v", got)
	}
	w.must(engine.Update, "static-roles/st", data{"username": user, "rotation_statements": []string{}})
	w.clock.Advance(time.Minute)
	w.rotate()
	if got := w.rotation("st"); w.password("st") == first || got["unfinished"] != false || got["last_error"] != "" {
		t.Errorf("after the statements were mended: %v", got)
	}

	// Of a user that cannot log in at all, the database's word is taken.
	w.pg.Exec(t, `ALTER ROLE `+user+` NOLOGIN`)
	last := w.rotation("st")["last_vault_rotation"]
	w.clock.Advance(time.Minute)
	w.must(engine.Update, "rotate-role/st", nil)
	if got := w.rotation("st"); got["last_vault_rotation"] == last || got["unfinished"] != false {
		t.Errorf("a user that cannot log in: %v", got)
	}
}

// A new password is tried unless nothing is in doubt about it: a login is dear.
func TestStaticLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	logins := func(what string, want int, rotate func()) {
		t.Helper()
		_, before := w.hooks.count()
		last := w.rotation("st")["last_vault_rotation"]
		w.clock.Advance(time.Hour)
		rotate()
		if _, after := w.hooks.count(); after-before != want || w.rotation("st")["last_vault_rotation"] == last {
			t.Errorf("%s: %d logins, want %d; status: %v", what, after-before, want, w.rotation("st"))
		}
	}
	user := w.static(nil)
	logins("by hand", 1, func() { w.must(engine.Update, "rotate-role/st", nil) })
	logins("planned", 0, w.rotate)
	w.must(engine.Update, "static-roles/st", data{"username": user, "rotation_statements": `ALTER ROLE "{{name}}" PASSWORD '{{password}}'`})
	logins("by statements of the operator's own", 1, w.rotate)
	w.must(engine.Update, "static-roles/st", data{"username": user, "rotation_statements": []string{}})
	logins("after a failure", 1, func() {
		w.hooks.set(func(h *hooks) {
			h.alter = func(context.Context, plugins.Database, string, plugins.Change) error {
				return &plugins.Error{Op: "alter user", Class: plugins.Refused, Err: errors.New("not now")}
			}
		})
		w.rotate()
		w.hooks.set(func(h *hooks) { h.alter = nil })
		w.clock.Advance(time.Minute)
		w.rotate()
	})
	logins("after a success", 0, w.rotate)
}

// A process dies, or an answer is lost, on either side of the statement. Whatever happens, static-creds hands out a password that
// logs in at once, and the rotation is finished.
func TestStaticCrash(t *testing.T) {
	t.Parallel()
	unknown := &plugins.Error{Op: "alter user", Class: plugins.Unknown, Err: errors.New("the line went dead")}
	type alter = func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error
	for name, alter := range map[string]alter{
		"before": func(context.Context, plugins.Database, string, plugins.Change) error { runtime.Goexit(); return nil },
		"after": func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			if err := db.AlterUser(ctx, name, c); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		},
		"answer lost, changed": func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error {
			return errors.Join(db.AlterUser(ctx, name, c), unknown)
		},
		"answer lost, not changed": func(context.Context, plugins.Database, string, plugins.Change) error { return unknown },
	} {
		for _, operation := range []string{"rotate-role/st", "static-roles/new"} {
			t.Run(name+" "+operation, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.connect()
				w.static(nil)
				first := w.password("st")
				made := w.user()
				w.hooks.set(func(h *hooks) { h.alter = alter })
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = w.send(engine.Update, operation, data{"db_name": "pg", "username": made, "rotation_period": "1h"})
				}()
				<-done
				w.hooks.set(func(h *hooks) { h.alter = nil })
				w.start()
				w.password("st")
				w.clock.Advance(30 * time.Second) // the claim has run out
				w.rotate()
				role := "st"
				if operation == "static-roles/new" {
					role = "new"
				}
				if w.password(role) == first {
					t.Error("the rotation was not finished")
				}
				w.clock.Advance(time.Minute)
				w.rotate() // what is to be sent once more
				password := w.password(role)
				if got := w.rotation(role); got["unfinished"] != false {
					t.Errorf("status: %v", got)
				}
				w.must(engine.Update, "rotate-role/"+role, nil)
				if w.password(role) == password {
					t.Error("the next rotation did nothing")
				}
			})
		}
	}
}

// A dead node's claim is taken over at once, and a straggler's work does not last.
func TestStaticTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.number = 7
	w.start()
	w.connect()
	user := w.static(nil)
	var late func() error
	w.hooks.set(func(h *hooks) {
		h.alter = func(_ context.Context, _ plugins.Database, name string, c plugins.Change) error {
			late = func() error { return w.alter(name, c) }
			runtime.Goexit()
			return nil
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.send(engine.Update, "rotate-role/st", nil)
	}()
	<-done
	w.hooks.set(func(h *hooks) { h.alter = nil })
	w.number = 8
	w.start()
	w.rotate()
	if got := w.rotation("st"); got["unfinished"] != true {
		t.Errorf("a live node's claim was taken over: %v", got)
	}
	if err := w.store.Update(t.Context(), func(tx *store.Tx) error { return w.engine.Died(tx, 7) }); err != nil {
		t.Fatal(err)
	}
	w.rotate()
	staged := w.password("st")
	w.must(engine.Update, "rotate-role/st", nil)
	if w.password("st") == staged {
		t.Fatal("the next rotation did nothing")
	}
	if err := late(); err != nil { // the dead node's statement takes effect after all
		t.Fatal(err)
	}
	if !w.logsIn(user, staged) {
		t.Fatal("the straggler did not come into force")
	}
	w.clock.Advance(30 * time.Second)
	w.rotate()
	w.password("st")
	if got := w.rotation("st"); got["unfinished"] != false {
		t.Errorf("status: %v", got)
	}
}

// A node that was stopped in the middle of a rotation, for longer than anybody waits, goes on after others have rotated twice: its
// password is in force for a moment, and the role is rotated once more.
func TestStaticLatecomer(t *testing.T) {
	t.Parallel()
	for _, users := range []string{"one user", "two users"} {
		t.Run(users, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.number = 7
			w.start()
			w.connect()
			if users == "two users" {
				w.pair()
			} else {
				w.static(nil)
			}
			entered, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			w.hooks.set(func(h *hooks) {
				h.alter = func(_ context.Context, _ plugins.Database, name string, c plugins.Change) error {
					close(entered)
					<-goOn
					return w.alter(name, c)
				}
			})
			go func() {
				defer close(done)
				_, _ = w.send(engine.Update, "rotate-role/st", nil)
			}()
			<-entered
			w.hooks.set(func(h *hooks) { h.alter = nil })
			other := *w
			other.number = 8
			other.start()
			if err := other.store.Update(t.Context(), func(tx *store.Tx) error { return other.engine.Died(tx, 7) }); err != nil {
				t.Fatal(err)
			}
			other.rotate()
			other.must(engine.Update, "rotate-role/st", nil)
			other.must(engine.Update, "rotate-role/st", nil)
			w.clock.Advance(time.Minute)
			other.rotate()
			other.password("st")
			before := other.rotation("st")["last_vault_rotation"]

			close(goOn)
			<-done
			w.clock.Advance(time.Second)
			other.rotate()
			other.password("st")
			if other.rotation("st")["last_vault_rotation"] == before {
				t.Error("the role was not rotated once more")
			}
		})
	}
}

// Rotations of one role at once, by hand and by themselves, on two nodes: whatever wins, what is handed out logs in.
func TestStaticRotationsAtOnce(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.static(data{"rotation_period": "5s"})
		other := *w
		other.start()
		var all sync.WaitGroup
		for _, node := range []*world{w, &other} {
			for range 2 {
				all.Go(func() {
					for range 3 {
						if _, err := node.send(engine.Update, "rotate-role/st", nil); err != nil {
							w.Errorf("rotate: %v", err)
						}
					}
				})
			}
			all.Go(func() {
				for range 2 { // for less time, together, than a claim lasts
					w.clock.Advance(5 * time.Second)
					node.rotate()
				}
			})
		}
		all.Wait()
		w.clock.Advance(time.Minute)
		w.rotate()
		w.password("st")
	})
}

// A user that is taken over as it is, and one that changes its own password.
func TestStaticImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	user := w.static(data{"skip_import_rotation": true})
	if !w.logsIn(user, "first") {
		t.Error("the import rotated")
	}
	w.refused(engine.Read, "static-creds/st", nil, errs.Unavailable, "...not known before its first rotation")
	if got := w.must(engine.Read, "static-roles/st", nil).Data; got["skip_import_rotation"] != true || got["last_vault_rotation"] != nil || got["password"] != nil {
		t.Errorf("static role: %v", got)
	}
	w.must(engine.Update, "static-roles/st", data{"username": user, "password": "first"})
	if w.password("st") != "first" {
		t.Error("the password that was told is not handed out")
	}
	w.clock.Advance(time.Hour)
	w.rotate()
	if w.password("st") == "first" {
		t.Error("not rotated when the first period was over")
	}

	w.must(engine.Update, "config/own", w.settings(data{"username": nil, "password": nil, "self_managed": true}))
	own := w.user()
	body := data{"db_name": "own", "username": own, "rotation_period": "1h"}
	w.refused(engine.Update, "static-roles/own", body, errs.Invalid, "...password is a required field")
	body["password"] = "wrong"
	if _, err := w.send(engine.Update, "static-roles/own", body); errs.CodeOf(err) != errs.Unavailable {
		t.Errorf("a password that does not log in: %v", err)
	}
	body["self_managed_password"], body["password"] = "first", nil
	w.must(engine.Update, "static-roles/own", body)
	first := w.password("own")
	w.must(engine.Update, "rotate-role/own", nil)
	if w.password("own") == first || w.logsIn(own, "first") {
		t.Error("not rotated")
	}
}

// A leased user that was left behind, and that a static role manages now, is no orphan.
func TestStaticUserIsNoOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	a := w.orphan("app")
	w.reconcile(nil).want([]string{a.user}, nil)
	w.must(engine.Update, "static-roles/st", data{"db_name": "pg", "username": a.user, "rotation_period": "1h"})
	w.reconcile(data{"remove": true}).want(nil, nil)
	w.password("st")
	w.must(engine.Delete, "static-roles/st", nil)
	w.reconcile(data{"remove": true}).want([]string{a.user}, nil)
	if w.exists(a.user) {
		t.Error("the orphan is still there")
	}
}
