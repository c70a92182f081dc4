package database_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/testdb"
)

// connectMariaDB makes a connection "my" to a new server.
func (w *world) connectMariaDB() (maria *testdb.MariaServer, logsIn func(user, password string) bool) {
	w.Helper()
	maria = testdb.MariaDB(w.T)
	w.must(engine.Update, "config/my", data{
		"plugin_name": "mysql-database-plugin", "connection_url": "{{username}}:{{password}}@tcp(" + maria.Addr + ")/",
		"username": maria.User, "password": maria.Password, "allowed_roles": "*",
	})
	return maria, func(user, password string) bool {
		db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/", user, password, maria.Addr))
		if err != nil {
			w.Error(err)
			return false
		}
		defer func() { _ = db.Close() }()
		return db.PingContext(w.Context()) == nil
	}
}

// A static role on MariaDB, by the plugin's own statement and by the role's, some of which are there to stay when a later one fails.
func TestStaticRoleOfMariaDB(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	maria, login := w.connectMariaDB()
	maria.Exec(t, `CREATE USER kept@'%' IDENTIFIED BY 'first'`)
	logsIn := func(password string) bool { return login("kept", password) }
	present := func() string {
		t.Helper()
		password := w.must(engine.Read, "static-creds/st", nil).Data["password"].(string)
		if !logsIn(password) {
			t.Error("the password does not log in")
		}
		return password
	}
	w.must(engine.Update, "static-roles/st", data{"db_name": "my", "username": "kept", "rotation_period": "1h"})
	first := present()
	if logsIn("first") {
		t.Error("the first password still works")
	}
	w.must(engine.Update, "static-roles/st", data{"username": "kept", "rotation_statements": []string{
		`ALTER USER '{{username}}'@'%' IDENTIFIED BY '{{password}}'`, `SELECT no_such_column FROM mysql.user`,
	}})
	w.clock.Advance(time.Hour)
	w.rotate() // the password is changed, and the statement after it fails
	second := present()
	if second == first {
		t.Error("the database has another password than the one that is handed out")
	}
	w.must(engine.Update, "static-roles/st", data{"username": "kept", "rotation_statements": []string{}})
	w.clock.Advance(time.Minute)
	w.rotate()
	if got := w.rotation("st"); present() != second || got["unfinished"] != false {
		t.Errorf("status: %v", got)
	}
	w.must(engine.Update, "static-roles/st", data{"username": "kept", "rotation_statements": "SELECT '{{password}}'"})
	w.refused(engine.Update, "rotate-role/st", nil, errs.Unavailable, "...the new password does not log in")
	if present() != second {
		t.Error("statements that change nothing changed what is handed out")
	}
}
