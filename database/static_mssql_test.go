package database_test

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/microsoft/go-mssqldb" // the driver "sqlserver"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
	"leasehold/plugins/mssql"
	"leasehold/plugins/mssql/tdstest"
)

// sqlServer is a stand-in for SQL Server, and what the world needs to know it.
func (w *world) sqlServer(setup ...string) *tdstest.Server {
	w.Helper()
	s, err := tdstest.Start()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Stop)
	w.drivers = map[string]plugins.Driver{"mssql-database-plugin": mssql.Driver{}}
	w.start()
	for _, statement := range setup {
		if err := onSQLServer(w.Context(), s, s.User, s.Password, "", statement); err != nil {
			w.Fatal(err)
		}
	}
	return s
}

// onSQLServer logs in and runs a batch.
func onSQLServer(ctx context.Context, s *tdstest.Server, user, password, home, batch string) error {
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: s.Addr, RawQuery: url.Values{"database": {home}, "encrypt": {"disable"}}.Encode()}
	db, err := sql.Open("sqlserver", u.String())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, batch)
	return err
}

// Each static role changes its own password, with no right to do so but that it knows the present one.
func TestSelfManagedOfSQLServer(t *testing.T) {
	t.Parallel()
	const first, wrong = "F1rst-first", "Wr0ng-wrong"
	for _, test := range []struct{ name, home, change string }{
		{"login", "", "ALTER LOGIN"}, {"contained", "shop", "ALTER USER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.sqlServer("CREATE DATABASE shop CONTAINMENT = PARTIAL",
				"CREATE LOGIN kept WITH PASSWORD = '"+first+"'; USE shop; CREATE USER kept WITH PASSWORD = '"+first+"'")
			w.must(engine.Update, "config/ms", data{
				"plugin_name": "mssql-database-plugin", "connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr + "?database=" + test.home,
				"self_managed": true, "contained_db": test.home != "", "allowed_roles": "*",
			})
			logsIn := func(password string) bool {
				return onSQLServer(t.Context(), s, "kept", password, test.home, "SELECT 1") == nil
			}
			present := func() string {
				t.Helper()
				password := w.must(engine.Read, "static-creds/st", nil).Data["password"].(string)
				if !logsIn(password) {
					t.Error("the password does not log in")
				}
				return password
			}
			body := data{"db_name": "ms", "username": "kept", "rotation_period": "1h"}
			w.refused(engine.Update, "static-roles/st", body, errs.Invalid, "...password is a required field")
			body["password"] = wrong
			if _, err := w.send(engine.Update, "static-roles/st", body); errs.CodeOf(err) != errs.Unavailable || strings.Contains(err.Error(), wrong) {
				t.Errorf("a password that does not log in: %v", err)
			}
			body["password"] = first
			w.must(engine.Update, "static-roles/st", body)
			second := present()
			if second == first || logsIn(first) {
				t.Error("the role that was made has not rotated")
			}
			w.must(engine.Update, "rotate-role/st", nil)
			third := present()
			if third == second || logsIn(second) {
				t.Error("not rotated when it was asked for")
			}
			w.clock.Advance(time.Hour)
			s.LoseAnswerTo(test.change) // it has taken effect all the same
			w.rotate()
			if fourth := present(); fourth == third || logsIn(third) || w.rotation("st")["unfinished"] != false {
				t.Errorf("after an answer was lost: %v", w.rotation("st"))
			}
			// Somebody else changes it: nobody can rotate it until the role is told.
			enter, outside := "", "0utside-outside"
			if test.home != "" {
				enter = "USE " + test.home + "; "
			}
			if err := onSQLServer(t.Context(), s, s.User, s.Password, "", enter+test.change+" kept WITH PASSWORD = '"+outside+"'"); err != nil {
				t.Fatal(err)
			}
			if _, err := w.send(engine.Update, "rotate-role/st", nil); errs.CodeOf(err) != errs.Unavailable {
				t.Errorf("a password that is not the present one: %v", err)
			}
			w.must(engine.Update, "static-roles/st", data{"username": "kept", "password": outside})
			w.must(engine.Update, "rotate-role/st", nil)
			if present() == outside {
				t.Error("not rotated after the role was told")
			}
		})
	}
}
