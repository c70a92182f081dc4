package database_test

import (
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestRevocationStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.pg.Exec(t, "CREATE TABLE log (what text)")
	count := func(what string) string { return w.value("SELECT count(*) FROM log WHERE what = $1", what) }
	gone := func(word string) []string {
		return []string{`INSERT INTO log VALUES ('` + word + ` {{name}}'); DROP OWNED BY "{{username}}"; DROP ROLE "{{name}}"`}
	}
	w.must(engine.Update, "roles/cust", data{
		"db_name": "pg", "creation_statements": createStatement, "revocation_statements": gone("first"),
		"renew_statements": "INSERT INTO log VALUES ('renew {{name}}')",
	})
	a, b, c, d := w.creds("cust"), w.creds("cust"), w.creds("cust"), w.creds("cust")

	if _, _, err := w.leases.Renew(t.Context(), a.lease, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := count("renew " + a.user); got != "1" {
		t.Errorf("the renewal statements ran %s times", got)
	}
	w.revoke(a.lease)
	if count("first "+a.user) != "1" || w.exists(a.user) {
		t.Error("the role's statements did not run")
	}
	w.must(engine.Update, "roles/cust", data{"revocation_statements": gone("second")})
	w.revoke(b.lease)
	if count("second "+b.user) != "1" || w.exists(b.user) {
		t.Error("the role's present statements did not run")
	}

	// A role that moved to another connection does not speak for the users that it left behind.
	w.must(engine.Update, "roles/cust", data{"db_name": "elsewhere", "revocation_statements": "SELECT 1/0"})
	w.revoke(c.lease)
	if count("first "+c.user) != "1" || w.exists(c.user) {
		t.Error("the recorded statements did not run after the role had moved")
	}

	w.must(engine.Delete, "roles/cust", nil)
	_, _, err := w.leases.Renew(t.Context(), d.lease, time.Minute)
	w.isRefusal(err, errs.Invalid, `...could not find role with name "cust"`)
	w.revoke(d.lease)
	if count("first "+d.user) != "1" || w.exists(d.user) {
		t.Error("the recorded statements did not run after the role was gone")
	}
}

func TestRevocationRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "roles/bad", data{"db_name": "pg", "creation_statements": createStatement, "revocation_statements": "SELECT 1/0"})
	a := w.creds("bad")
	w.isRefusal(w.leases.Revoke(t.Context(), a.lease, true), errs.Invalid, "...division by zero")
	if _, err := w.leases.Lookup(t.Context(), a.lease); err != nil || !w.logsIn(a.user, a.password) {
		t.Errorf("lease or user went with a refused revocation: %v", err)
	}
	w.must(engine.Update, "roles/bad", data{"revocation_statements": []string{}})
	w.revoke(a.lease)
	if w.exists(a.user) {
		t.Error("the user is still there")
	}
}

// Creation is all or nothing, and blocks stay whole.
func TestCreationStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.pg.Exec(t, "CREATE TABLE log (what text)")
	w.must(engine.Update, "roles/atomic", data{"db_name": "pg", "creation_statements": createOnly + "; INSERT INTO log VALUES ('half'); SELECT 1/0"})
	w.refused(engine.Read, "creds/atomic", nil, errs.Unavailable, "...division by zero")
	if got := w.value("SELECT count(*) FROM log"); got != "0" {
		t.Errorf("half a creation left %s rows", got)
	}
	w.must(engine.Update, "roles/block", data{"db_name": "pg", "creation_statements": `DO $$ BEGIN CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}'; INSERT INTO log VALUES ('block'); END $$`})
	a := w.creds("block")
	if !w.logsIn(a.user, a.password) {
		t.Error("the user cannot log in")
	}
	w.revoke(a.lease)
}
