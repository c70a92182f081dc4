package postgres_test

import (
	"sync/atomic"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
)

// TestObserver: an Update that meets another is told of, and is not a commit that failed.
func TestObserver(t *testing.T) {
	t.Parallel()
	var commits, failures, collisions atomic.Int64
	st, err := store.Open(t.Context(), store.Config{
		Dialect: postgres.New(postgres.Config{URL: secret.NewText(testdb.Postgres(t).URL()), MaxConns: 4}), Clock: clock.System{},
		Migrations: []store.Migration{{Package: "counter", Version: 1, SQL: []string{
			`create table counter (n BIGINT not null) STRICT`, `insert into counter (n) values (0)`,
		}}},
		Observer: store.Observer{
			Committed: func(_ time.Duration, updates int, err error) {
				if err != nil {
					failures.Add(1)
				}
				commits.Add(int64(updates))
			},
			Collided: func() { collisions.Add(1) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	add := func(between func() error) error {
		first := true
		return st.Update(t.Context(), func(tx *store.Tx) error {
			var n int64
			if err := tx.QueryRow(`select n from counter`).Scan(&n); err != nil {
				return err
			}
			if first { // the other comes between reading and writing
				first = false
				if err := between(); err != nil {
					return err
				}
			}
			_, err := tx.Exec(`update counter set n = $1`, n+1)
			return err
		})
	}
	alone := func() error { return nil }
	if err := add(func() error { return add(alone) }); err != nil {
		t.Fatal(err)
	}
	if commits.Load() != 2 || failures.Load() != 0 || collisions.Load() != 1 {
		t.Errorf("%d commits, %d failures, %d collisions, want 2, 0, 1", commits.Load(), failures.Load(), collisions.Load())
	}
}
