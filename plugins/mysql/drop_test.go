package mysql_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/plugins"
)

func TestDropRefusesOwnUser(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	own, password := newAdmin(t, s, "CREATE USER ON *.*", "SELECT ON mysql.*")
	db := open(t, settings(s, own, password))
	for _, statements := range [][]string{nil, {dropUser}} {
		wantClass(t, db.DropUser(t.Context(), own, statements), plugins.Permanent)
	}
	if err := db.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// A session that outlived its account is ended when the user is dropped again.
func TestSessionWithoutAccount(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createUser)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	conn := sessionOf(t, func() (*sql.DB, error) { return connect(s, u.Name, u.Password.Reveal()) })
	s.Exec(t, "DROP USER `"+u.Name+"`@`%`")
	if _, err := conn.ExecContext(t.Context(), "DO 1"); err != nil {
		t.Fatalf("MariaDB itself has ended the session: %v", err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "DO 1"); err == nil {
		t.Error("the session lives")
	}
}

// sessionOf opens one connection of another user.
func sessionOf(t *testing.T, connect func() (*sql.DB, error)) *sql.Conn {
	t.Helper()
	db, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// A connection's user that may see sessions but not end them says so, and has taken the login away. A managed service offers a
// procedure instead.
func TestWithoutRightToKill(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	own, password := newAdmin(t, s, "CREATE USER, PROCESS ON *.*", "SELECT ON mysql.*")
	db := open(t, settings(s, own, password))
	u := newUser(createUser)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	conn := sessionOf(t, func() (*sql.DB, error) { return connect(s, u.Name, u.Password.Reveal()) })
	err := db.DropUser(t.Context(), u.Name, nil)
	wantClass(t, err, plugins.Refused)
	if !strings.Contains(err.Error(), "CONNECTION ADMIN") {
		t.Errorf("got %v", err)
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Error("the account is there")
	}
	s.Exec(t, "CREATE PROCEDURE mysql.rds_kill(id BIGINT) SQL SECURITY DEFINER KILL CONNECTION id; GRANT EXECUTE ON PROCEDURE mysql.rds_kill TO "+own)
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "DO 1"); err == nil {
		t.Error("the session lives")
	}
}

// Without PROCESS the sessions of others are not to be seen.
func TestWithFewestRights(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	own, password := newAdmin(t, s, "CREATE USER ON *.*", "SELECT ON mysql.*")
	db := open(t, settings(s, own, password))
	u := newUser(createUser)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if login(t, s, u.Name, u.Password) == nil {
		t.Error("the login works")
	}
	// Who may not look is told so before anything is made.
	blind, password := newAdmin(t, s, "CREATE USER ON *.*")
	db = open(t, settings(s, blind, password))
	err := db.CreateUser(t.Context(), u)
	wantClass(t, err, plugins.Refused)
	if !strings.Contains(err.Error(), "SELECT on mysql.*") {
		t.Errorf("got %v", err)
	}
	if got := accounts(t, s, u.Name); got != "0" {
		t.Error("the account is there")
	}
}

// Statements that name a user who is gone already, or rights that he never had, do no harm; others do.
func TestDropByStatements(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	db := open(t, settings(s, s.User, s.Password))
	note := "INSERT INTO " + name + ".t1 VALUES (1)"
	rows := func() string { return ask(t, s, "SELECT COUNT(*) FROM "+name+".t1") }
	u := newUser(createUser)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	all := []string{"REVOKE SELECT ON " + name + ".t1 FROM '{{name}}'@'%'", dropUser, note}
	for i, want := range []string{"1", "2"} {
		if err := db.DropUser(t.Context(), u.Name, all); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
		if got := rows(); got != want {
			t.Errorf("attempt %d: got %s rows, want %s", i, got, want)
		}
	}
	// The user is gone, but there was other work to do.
	wantClass(t, db.DropUser(t.Context(), u.Name, []string{dropUser, "SIGNAL SQLSTATE '45000'"}), plugins.Refused)
	u = newUser(createUser)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	wantClass(t, db.DropUser(t.Context(), u.Name, []string{note}), plugins.Refused)
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Errorf("the user was locked all the same: %v", err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
}

// The connection breaks at each statement of a drop: the next attempt finishes it.
func TestDropIsBroken(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	p := newProxy(t, s)
	for _, at := range []string{"SET SESSION", "ALTER USER", "SELECT ID", "DROP USER", "SELECT Host"} {
		db := open(t, settings(s, s.User, s.Password))
		u := newUser(createUser)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		p.loseAnswerTo(at)
		cut := open(t, settings(p.MariaServer, s.User, s.Password))
		err := cut.DropUser(t.Context(), u.Name, nil)
		if got := plugins.ClassOf(err); err == nil || got != plugins.Unknown && got != plugins.Unreachable {
			t.Errorf("cut at %s: got %v (%v)", at, err, got)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Errorf("cut at %s: drop again: %v", at, err)
		}
		if got := accounts(t, s, u.Name); got != "0" {
			t.Errorf("cut at %s: the user is there", at)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	p := newProxy(t, s)
	options := settings(p.MariaServer, s.User, s.Password)
	options["max_open_connections"] = "1"
	db := open(t, options)
	if err := db.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := newUser(createUser + "GRANT SELECT ON mysql.user TO '{{name}}'")
	for _, step := range []struct {
		what string
		want int64
		call func(context.Context) error
	}{
		{"create", 5, func(ctx context.Context) error { return db.CreateUser(ctx, u) }},
		{"drop", 7, func(ctx context.Context) error { return db.DropUser(ctx, u.Name, nil) }},
		{"drop again", 3, func(ctx context.Context) error { return db.DropUser(ctx, u.Name, nil) }},
	} {
		before := p.queries.Load()
		if err := step.call(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := p.queries.Load() - before; got != step.want {
			t.Errorf("%s: %d round trips, want %d", step.what, got, step.want)
		}
	}
}
