package mssql_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

const inShop = `USE [shop]; CREATE USER [{{name}}] FOR LOGIN [{{name}}]; GRANT SELECT ON SCHEMA::dbo TO [{{name}}];`

func newShop(t testing.TB) *server {
	t.Helper()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop", "USE shop", "CREATE TABLE t1 (a int)")
	return s
}

// A creation whose answer is lost leaves nothing behind, wherever it is, or says that it does not know.
func TestCreateLosesAnswer(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"SET LOCK_TIMEOUT", "SELECT @@SPID", "SELECT sid", "BEGIN TRANSACTION", "CREATE LOGIN", "USE", "CREATE USER", "GRANT", "COMMIT",
		"ALTER SERVER ROLE", "CREATE SERVER ROLE"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			db := open(t, settings(s, s.User, s.Password))
			u := newUser(createLogin, inShop)
			u.Mark = "leasehold store=abc"
			s.LoseAnswerTo(statement)
			err := db.CreateUser(t.Context(), u)
			want := plugins.Refused
			if strings.HasPrefix(statement, "SE") {
				want = plugins.Unreachable
			}
			wantClass(t, err, want)
			s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
			s.want(t, 0, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
			if err := db.CreateUser(t.Context(), u); err != nil {
				t.Errorf("create again: %v", err)
			}
		})
	}
}

// Without the right to see sessions nobody can tell whether what was lost has ended.
func TestLostWithoutRights(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.exec(t, "CREATE LOGIN few WITH PASSWORD = 'few-Few-1'", "GRANT ALTER ANY LOGIN TO few", "USE shop", "CREATE USER few FOR LOGIN few", "ALTER ROLE db_owner ADD MEMBER few")
	db := open(t, settings(s, "few", "few-Few-1"))
	u := newUser(createLogin, inShop)
	s.LoseAnswerTo("COMMIT")
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Unknown)
	// The stand-in commits what it was sent; the record of the intent then leads to a drop, and that finds it.
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
}

// A revocation whose answer is lost does not know; the next one comes to an end.
func TestDropLosesAnswer(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"ALTER LOGIN", "SELECT session_id", "KILL", "SELECT name FROM sys.databases", "SELECT name FROM [shop]", "USE", "ALTER AUTHORIZATION",
		"DROP USER", "DROP LOGIN"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			db := open(t, settings(s, s.User, s.Password))
			u := newUser(createLogin, inShop)
			if err := db.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			s.exec(t, "USE shop", "CREATE SCHEMA mine AUTHORIZATION ["+u.Name+"]")
			session, err := logIn(t.Context(), s, u.Name, u.Password.Reveal(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			s.LoseAnswerTo(statement)
			wantClass(t, db.DropUser(t.Context(), u.Name, nil), plugins.Unknown)
			if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
				t.Fatal(err)
			}
			s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
			s.want(t, 0, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
			if session.Use(t.Context()) == nil {
				t.Error("a session outlived its user")
			}
		})
	}
}

func TestAlterLosesAnswer(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createLogin)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	s.LoseAnswerTo("ALTER LOGIN")
	wantClass(t, db.AlterUser(t.Context(), u.Name, plugins.Change{Password: secret.NewText("An0ther-one")}), plugins.Unknown)
	statements := []string{"ALTER LOGIN [{{name}}] WITH PASSWORD = '{{password}}'; SELECT 1"}
	s.LoseAnswerTo("SELECT 1")
	wantClass(t, db.AlterUser(t.Context(), u.Name, plugins.Change{Password: secret.NewText("A-th1rd-one"), Statements: statements}), plugins.Refused)
	if _, err := logIn(t.Context(), s, u.Name, "A-th1rd-one", ""); err == nil {
		t.Error("a change that was rolled back holds")
	}
	s.LoseAnswerTo("COMMIT")
	wantClass(t, db.AlterUser(t.Context(), u.Name, plugins.Change{Password: secret.NewText("A-f0urth-one"), Statements: statements}), plugins.Unknown)
}

// A USE holds for the statements after it and for nobody else.
func TestUseStaysInItsSession(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.IgnoreResets()
	set := settings(s, s.User, s.Password)
	set["max_open_connections"] = "1"
	db := open(t, set)
	for range 3 {
		u := newUser(createLogin, "USE [shop]", "CREATE USER [{{name}}] FOR LOGIN [{{name}}]")
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		s.want(t, 1, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
		home := newUser(createLogin, "CREATE USER [{{name}}] FOR LOGIN [{{name}}]")
		if err := db.CreateUser(t.Context(), home); err != nil {
			t.Fatal(err)
		}
		s.want(t, 1, "SELECT COUNT(*) FROM master.sys.database_principals WHERE name = @p1", home.Name)
		broken := newUser(createLogin, "USE [shop]", "CREATE USER [dbo] FOR LOGIN [{{name}}]")
		wantClass(t, db.CreateUser(t.Context(), broken), plugins.Permanent)
		for _, name := range []string{u.Name, home.Name} {
			if err := db.DropUser(t.Context(), name, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := s.Sessions(s.User); n > 2 { // the administrator's own is one
		t.Errorf("the connection was not used again: %d sessions", n)
	}
}

// A server that takes a connection and is silent does not hold a call up for longer than the caller wants.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l := silent(t)
	db := open(t, plugins.Settings{"connection_url": "sqlserver://sa:x@" + l, "username": "sa", "password": "x"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantClass(t, db.Verify(ctx), plugins.Unreachable)
}

// A caller who gives up needs no rights for the roll-back: the session is still there to be asked.
func TestGivenUpWithoutRights(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.exec(t, "CREATE LOGIN few WITH PASSWORD = 'few-Few-1'", "GRANT ALTER ANY LOGIN TO few", "USE shop", "CREATE USER few FOR LOGIN few", "ALTER ROLE db_owner ADD MEMBER few")
	db := open(t, settings(s, "few", "few-Few-1"))
	if err := db.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := newUser(createLogin, inShop, "WAITFOR DELAY '00:01:40'")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	failed := make(chan error)
	go func() { failed <- db.CreateUser(ctx, u) }()
	for !s.Writing() {
		runtime.Gosched()
	}
	cancel()
	wantClass(t, <-failed, plugins.Refused)
	if s.Writing() {
		t.Error("the transaction is still open")
	}
	s.want(t, 0, "SELECT COUNT(*) FROM sys.server_principals WHERE name = @p1", u.Name)
}

// Wherever the statements go, it is looked for a contained user in its database.
func TestContainedUserIsLookedForAtHome(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop CONTAINMENT = PARTIAL")
	set := settings(s, s.User, s.Password)
	set["connection_url"], set["contained_db"] = set["connection_url"].(string)+"?database=shop", true
	db := open(t, set)
	u := newUser("CREATE USER [{{name}}] WITH PASSWORD = '{{password}}'; USE [master]")
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := db.DropUser(t.Context(), u.Name, []string{"USE [shop]; DROP USER [{{name}}]; USE [master]"}); err != nil {
		t.Fatal(err)
	}
	s.want(t, 0, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE name = @p1", u.Name)
	for _, name := range []string{"dbo", "guest"} {
		if err := db.DropUser(t.Context(), name, nil); err != nil {
			t.Errorf("%s, which is no user of anybody's: %v", name, err)
		}
	}
}
