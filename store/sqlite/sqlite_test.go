package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

func opener(path string) storetest.Opener {
	return func(t testing.TB, migrations ...store.Migration) (*store.Store, error) {
		st, err := store.Open(context.Background(), store.Config{
			Dialect:    sqlite.New(sqlite.Config{Path: path}),
			Clock:      clock.System{},
			Migrations: migrations,
		})
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
		}
		return st, err
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Conformance(t, func(t testing.TB) storetest.Opener {
		return opener(filepath.Join(t.TempDir(), "store.db"))
	})
}
