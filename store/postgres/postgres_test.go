package postgres_test

import (
	"context"
	"testing"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/storetest"
)

func opener(server *testdb.Server) storetest.Opener {
	return func(t testing.TB, migrations ...store.Migration) (*store.Store, error) {
		st, err := store.Open(context.Background(), store.Config{
			Dialect:    postgres.New(postgres.Config{URL: secret.NewText(server.URL()), MaxConns: 8}),
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
	server := testdb.Postgres(t, testdb.Durable())
	storetest.Conformance(t, func(t testing.TB) storetest.Opener { return opener(server.Scratch(t)) })
}

func TestNodesThatStartTogether(t *testing.T) {
	t.Parallel()
	storetest.TogetherOpen(t, opener(testdb.Postgres(t, testdb.Durable())))
}
