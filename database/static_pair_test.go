package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
)

// pair makes a static role "st" of two new users that take turns.
func (w *world) pair() (first, second string) {
	w.Helper()
	second = w.user()
	return w.static(data{"second_username": second}), second
}

// handed is what static-creds hands out, which has to log in.
func (w *world) handed() (user, password string) {
	w.Helper()
	got := w.must(engine.Read, "static-creds/st", nil).Data
	user, password = got["username"].(string), got["password"].(string)
	if !w.logsIn(user, password) {
		w.Errorf("%s is handed out and does not log in", user)
	}
	return user, password
}

// Each rotation hands out the other user; the one before stays good for one more.
func TestTwoUsers(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		first, second := w.pair()
		if got := w.rotation("st"); got["username"] != first || got["second_username"] != second {
			w.Errorf("static role: %v", got)
		}
		former, password := w.handed()
		if former != first {
			w.Errorf("%s is handed out first", former)
		}
		for i := range 4 {
			w.must(engine.Update, "rotate-role/st", nil)
			user, next := w.handed()
			if want := []string{second, first}[i%2]; user != want {
				w.Errorf("rotation %d hands out %s, want %s", i, user, want)
			}
			if !w.logsIn(former, password) {
				w.Errorf("rotation %d took the former user's password away", i)
			}
			w.must(engine.Update, "rotate-role/st", nil)
			if w.logsIn(former, password) {
				w.Errorf("rotation %d left a password that is two rotations old", i)
			}
			former, password = user, next
			w.must(engine.Update, "rotate-role/st", nil)
			former, password = w.handed()
		}
	})
}

func TestTwoUsersRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	first, second := w.pair()
	body := func(more data) data {
		all := data{"db_name": "pg", "username": first, "second_username": second, "rotation_period": "1h"}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	w.refused(engine.Update, "static-roles/st", body(data{"second_username": w.user()}), errs.Invalid, "cannot update static account second_username")
	w.refused(engine.Update, "static-roles/st", body(data{"second_username": ""}), errs.Invalid, "cannot update static account second_username")
	w.refused(engine.Update, "static-roles/x", body(data{"second_username": first}), errs.Invalid, "username and second_username have to be two users")
	w.refused(engine.Update, "static-roles/x", body(data{"second_username": w.pg.User}), errs.Invalid, "...rotate-root/pg")
	w.must(engine.Update, "config/own", w.settings(data{"username": nil, "password": nil, "self_managed": true}))
	w.refused(engine.Update, "static-roles/x", body(data{"db_name": "own", "password": "first"}), errs.Invalid, "...self-managed")
	if got := w.must(engine.Update, "static-roles/twin", data{"db_name": "pg", "username": second, "rotation_period": "1h"}); got == nil || len(got.Warnings) != 1 {
		t.Error("two roles have one user, and no warning")
	}
}

// A role gets its second user later; what is handed out stays until the next rotation.
func TestSecondUserLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	first := w.static(nil)
	_, password := w.handed()
	second := w.user()
	w.must(engine.Update, "static-roles/st", data{"username": first, "second_username": second})
	if user, same := w.handed(); user != first || same != password {
		t.Error("naming a second user changed what is handed out")
	}
	w.clock.Advance(time.Hour)
	w.rotate()
	if user, _ := w.handed(); user != second || !w.logsIn(first, password) {
		t.Errorf("%s is handed out after the rotation", user)
	}
}

// Whatever becomes of a rotation, what is handed out does not change before the other user logs in with its new password.
func TestTwoUsersFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	first, second := w.pair()
	_, password := w.handed()
	same := func(when string) {
		t.Helper()
		if user, now := w.handed(); user != first || now != password {
			t.Errorf("%s: something else is handed out", when)
		}
	}
	for name, alter := range map[string]func(context.Context, plugins.Database, string, plugins.Change) error{
		"refused": func(context.Context, plugins.Database, string, plugins.Change) error {
			return &plugins.Error{Op: "alter user", Class: plugins.Refused, Err: errors.New("not today")}
		},
		"not answered": func(context.Context, plugins.Database, string, plugins.Change) error {
			return &plugins.Error{Op: "alter user", Class: plugins.Unknown, Err: errors.New("the line went dead")}
		},
		"nothing done": func(context.Context, plugins.Database, string, plugins.Change) error { return nil },
	} {
		w.hooks.set(func(h *hooks) { h.alter = alter })
		if _, err := w.send(engine.Update, "rotate-role/st", nil); errs.CodeOf(err) != errs.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		same(name)
	}
	w.hooks.set(func(h *hooks) { h.alter = nil })
	w.pg.Exec(t, `ALTER ROLE `+second+` NOLOGIN`)
	w.refused(engine.Update, "rotate-role/st", nil, errs.Unavailable, "...does not log in")
	same("a user that may not log in")
	w.pg.Exec(t, `ALTER ROLE `+second+` LOGIN`)
	w.must(engine.Update, "rotate-role/st", nil)
	if user, _ := w.handed(); user != second || !w.logsIn(first, password) {
		t.Errorf("%s is handed out after the rotation", user)
	}
}

// Clients log in all the time with what they have just read, and no password is ever refused. A client holds on to it for one rotation
// at most, as is promised: the next one waits until each has read anew. LEASEHOLD_ROTATIONS, which `make soak` sets, has it run longer.
func TestTwoUsersUnderLoad(t *testing.T) {
	t.Parallel()
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		w := patientWorld(t)
		maria, _ := w.connectMariaDB()
		maria.Exec(t, `CREATE USER first@'%' IDENTIFIED BY 'x'`)
		maria.Exec(t, `CREATE USER second@'%' IDENTIFIED BY 'x'`)
		w.must(engine.Update, "static-roles/st", data{"db_name": "my", "username": "first", "second_username": "second", "rotation_period": "1h"})
		w.rotateUnderLoad(30, func(user, password string) (answered bool, err error) {
			db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", user, password, maria.Addr))
			if err == nil {
				defer func() { _ = db.Close() }()
				err = db.PingContext(t.Context())
			}
			return errors.As(err, new(*mysql.MySQLError)), err
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		w := patientWorld(t)
		w.connect()
		w.pair()
		w.rotateUnderLoad(3, func(user, password string) (answered bool, err error) { // a login costs a process there
			config, err := pgx.ParseConfig(w.pg.URL())
			if err == nil {
				config.User, config.Password = user, password
				var conn *pgx.Conn
				if conn, err = pgx.ConnectConfig(t.Context(), config); err == nil {
					err = conn.Close(t.Context())
				}
			}
			return errors.As(err, new(*pgconn.PgError)), err
		})
	})
}

// patientWorld gives a rotation more time than a machine is busy.
func patientWorld(t *testing.T) *world {
	w := newWorld(t)
	w.timeout = 5 * time.Minute
	w.start()
	return w
}

// rotateUnderLoad calls login all the time. A login that was not answered, as on a machine that is too busy, is tried again.
func (w *world) rotateUnderLoad(rotations int, login func(user, password string) (answered bool, err error)) {
	w.Helper()
	const clients = 16
	if text := os.Getenv("LEASEHOLD_ROTATIONS"); text != "" {
		var err error
		if rotations, err = strconv.Atoi(text); err != nil {
			w.Fatal(err)
		}
	}
	var mu sync.Mutex
	changed := sync.NewCond(&mu)
	rotated, logins := 0, 0      // guarded by mu
	uses := make([]int, clients) // how many rotations were over when a client read what it logs in with now; guarded by mu
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for {
				mu.Lock()
				at := rotated
				uses[i] = at
				changed.Broadcast()
				mu.Unlock()
				if at == rotations {
					return
				}
				answer, err := w.send(engine.Read, "static-creds/st", nil)
				if err != nil {
					w.Errorf("static-creds: %v", err)
					continue
				}
				user, password := answer.Data["username"].(string), answer.Data["password"].(string)
				for again := true; again && w.Context().Err() == nil; {
					answered, err := login(user, password)
					if again = err != nil && !answered; err != nil && answered {
						w.Errorf("%s was refused after %d rotations: %v", user, at, err)
					}
				}
				mu.Lock()
				logins++
				mu.Unlock()
			}
		})
	}
	for range rotations {
		mu.Lock()
		for slices.Min(uses) < rotated { // what was handed out is good for one more rotation, not two
			changed.Wait()
		}
		mu.Unlock()
		if _, err := w.send(engine.Update, "rotate-role/st", nil); err != nil {
			w.Errorf("rotate: %v", err)
		}
		mu.Lock()
		rotated++
		mu.Unlock()
	}
	all.Wait()
	w.Logf("%d logins of %d clients during %d rotations", logins, clients, rotations)
}
