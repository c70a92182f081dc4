package storetest

import (
	"fmt"
	"testing"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
)

// Open makes an unlocked store for a test: [NewAt] or [OnPostgres].
type Open func(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store

// OnPostgres is NewAt on a database of the test's own, on the PostgreSQL server that the package's tests share.
func OnPostgres(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store {
	t.Helper()
	url := secret.NewText(testdb.Shared(t).Scratch(t).URL())
	return OpenAt(t, postgres.New(postgres.Config{URL: url, MaxConns: 8, Clock: clk}), clk, migrations...)
}

// Databases are all that a store runs on.
var Databases = map[string]Open{"sqlite": NewAt, "postgresql": OnPostgres}

// MainOnBoth runs every test twice, and has *open make stores on SQLite and then on PostgreSQL:
// TestMain is os.Exit(storetest.MainOnBoth(m, &newStore)).
func MainOnBoth(m *testing.M, open *Open) int {
	return testdb.Main(func() int {
		*open = NewAt
		if code := m.Run(); code != 0 {
			return code
		}
		fmt.Println("the same on PostgreSQL:")
		*open = OnPostgres
		return m.Run()
	})
}
