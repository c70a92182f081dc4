package auth

import (
	"fmt"
	"os"
	"testing"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/storetest"
)

// Server is the PostgreSQL server of the tests. It logs every statement with its parameters.
var Server *testdb.Server

func TestMain(m *testing.M) {
	server, stop, err := testdb.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	Server = server
	code := m.Run()
	stop()
	os.Exit(code)
}

// Database opens a fresh, unlocked store on the test's clock.
type Database func(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store

// Databases are all that the store runs on.
var Databases = map[string]Database{"sqlite": storetest.NewAt, "postgresql": newOnPostgres}

func newOnPostgres(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store {
	t.Helper()
	url := secret.NewText(Server.Scratch(t).URL())
	return storetest.OpenAt(t, postgres.New(postgres.Config{URL: url, MaxConns: 8, Clock: clk}), clk, migrations...)
}
