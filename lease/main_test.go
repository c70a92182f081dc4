package lease_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/storetest"
)

// newStore makes an unlocked store of the database that the present round runs on.
var newStore func(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store

// TestMain runs every test twice: on SQLite, and on a real PostgreSQL.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		server, stop, err := testdb.Start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		newStore = storetest.NewAt
		if code := m.Run(); code != 0 {
			stop()
			return code
		}
		fmt.Println("the same on PostgreSQL:")
		newStore = func(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store {
			t.Helper()
			url := secret.NewText(server.Scratch(t).URL())
			return storetest.OpenAt(t, postgres.New(postgres.Config{URL: url, MaxConns: 8, Clock: clk}), clk, migrations...)
		}
		code := m.Run()
		stop()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}
