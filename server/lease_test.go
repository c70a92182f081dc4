package server_test

import (
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
	"leasehold/server/servertest"
)

// shop is a server with a connection and a role whose users live for ttl.
func shop(t *testing.T, ttl string) (*servertest.Server, *testdb.Server) {
	t.Helper()
	db := testdb.Postgres(t)
	s := servertest.Start(t, servertest.Options{})
	s.Root(t, http.MethodPut, "sys/mounts/database", map[string]any{"type": "database"})
	s.Root(t, http.MethodPut, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "username": db.User, "password": db.Password, "allowed_roles": "*",
		"connection_url": "postgresql://{{username}}:{{password}}@" + db.Addr + "/" + db.Database + "?sslmode=disable",
	})
	s.Root(t, http.MethodPut, "database/roles/app", map[string]any{
		"db_name": "pg", "default_ttl": ttl, "max_ttl": "1h",
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
	})
	return s, db
}

type login struct{ lease, user, password string }

func issue(t *testing.T, s *servertest.Server) login {
	t.Helper()
	got := s.Root(t, http.MethodGet, "database/creds/app", nil)
	data, _ := got["data"].(map[string]any)
	var l login
	l.lease, _ = got["lease_id"].(string)
	l.user, _ = data["username"].(string)
	l.password, _ = data["password"].(string)
	return l
}

func connect(t *testing.T, db *testdb.Server, l login) error {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.URL())
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = l.user, l.password
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}

// awaitGone returns once the user is not there; it never gives up, so a user that stays fails the test by its timeout.
func awaitGone(t *testing.T, db *testdb.Server, user string) {
	t.Helper()
	conn := db.Conn(t)
	for left := 1; left > 0; {
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_roles where rolname = $1", user).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCredentials is the main job through a real listener: a user that works, until its lease is revoked.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s, db := shop(t, "10m")
	l := issue(t, s)
	if err := connect(t, db, l); err != nil {
		t.Fatalf("the user cannot log in: %v", err)
	}
	s.Root(t, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": l.lease, "sync": true})
	if err := connect(t, db, l); err == nil {
		t.Error("the user of a revoked lease can log in")
	}
}

// TestReaperIsWoken: nobody asks for anything, and the user goes all the same: when its lease ends, when its token is
// revoked, and when its lease ended while the server was down.
func TestReaperIsWoken(t *testing.T) {
	t.Parallel()
	s, db := shop(t, "1s")
	awaitGone(t, db, issue(t, s).user)

	s.Root(t, http.MethodPut, "database/roles/app", map[string]any{
		"db_name": "pg", "default_ttl": "10m", "creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`,
	})
	auth, _ := s.Root(t, http.MethodPost, "auth/token/create", map[string]any{"ttl": "1h"})["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	data, _ := s.Must(t, http.MethodGet, "database/creds/app", token, nil)["data"].(map[string]any)
	user, _ := data["username"].(string)
	s.Must(t, http.MethodPost, "auth/token/revoke-self", token, nil)
	awaitGone(t, db, user)

	kept := issue(t, s)
	s.Root(t, http.MethodPut, "database/roles/app", map[string]any{"default_ttl": "1s", "db_name": "pg"})
	late := issue(t, s)
	s.Restart(t)
	awaitGone(t, db, late.user)
	if err := connect(t, db, kept); err != nil {
		t.Errorf("a lease that has not ended lost its user over a restart: %v", err)
	}
}
