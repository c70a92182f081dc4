package store_test

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/sqlite"
)

// pairs has rows that need each other by the time of the commit, so that a commit can be made to fail.
var pairs = store.Migration{Package: "pairs", Version: 1, SQL: []string{
	`create table pairs (id BIGINT not null primary key, other BIGINT not null references pairs (id) deferrable initially deferred) STRICT`,
}}

func TestObserver(t *testing.T) {
	t.Parallel()
	var commits, updates, failures atomic.Int64
	st, err := store.Open(t.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: filepath.Join(t.TempDir(), "store.db")}), Clock: clock.System{},
		Migrations: []store.Migration{pairs},
		Observer: store.Observer{Committed: func(took time.Duration, n int, err error) {
			if took < 0 {
				t.Errorf("a commit took %s", took)
			}
			if err != nil {
				failures.Add(1)
				return
			}
			commits.Add(1)
			updates.Add(int64(n))
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	pair := func(id, other int) error {
		return st.Update(t.Context(), func(tx *store.Tx) error {
			if id == 0 {
				return errors.New("refused")
			}
			_, err := tx.Exec(`insert into pairs (id, other) values ($1, $2)`, id, other)
			return err
		})
	}
	const n = 60
	var wait sync.WaitGroup
	for i := range n { // every third changes nothing
		wait.Go(func() {
			id := i + 1
			if i%3 == 0 {
				id = 0
			}
			if err := pair(id, id); (err == nil) != (id != 0) {
				t.Errorf("%d: %v", id, err)
			}
		})
	}
	wait.Wait()
	if updates.Load() != n*2/3 || commits.Load() < 1 || failures.Load() != 0 {
		t.Errorf("%d updates in %d commits, %d failures, want %d updates", updates.Load(), commits.Load(), failures.Load(), n*2/3)
	}
	if err := pair(1000, 2000); err == nil {
		t.Fatal("a row without its other was committed")
	}
	if failures.Load() != 1 || updates.Load() != n*2/3 {
		t.Errorf("after a commit that failed: %d failures, %d updates", failures.Load(), updates.Load())
	}
}
