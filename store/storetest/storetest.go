// Package storetest makes stores for the tests of other packages, and holds the suite that every dialect passes.
package storetest

import (
	"path/filepath"
	"testing"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/sqlite"
)

// New is an open, unlocked SQLite store in a folder that goes with the test.
func New(t testing.TB, migrations ...store.Migration) *store.Store {
	t.Helper()
	return NewAt(t, clock.System{}, migrations...)
}

// NewAt is New with a clock of the test's.
func NewAt(t testing.TB, clk clock.Clock, migrations ...store.Migration) *store.Store {
	t.Helper()
	return OpenAt(t, sqlite.New(sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")}), clk, migrations...)
}

// OpenAt is NewAt on a database of the test's own.
func OpenAt(t testing.TB, dialect store.Dialect, clk clock.Clock, migrations ...store.Migration) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Dialect: dialect, Clock: clk, Migrations: migrations})
	if err != nil {
		t.Fatalf("open a store: %v", err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	st.Unlock(keyring.New(clk.Now()))
	return st
}
