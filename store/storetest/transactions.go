package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/store"
)

// transactions are the checks of atomicity, isolation and time.
var transactions = []check{
	{"an error undoes everything", func(t *testing.T, db database) {
		st := db.mustOpen()
		refused := errors.New("refused")
		called := false
		err := st.Update(t.Context(), func(tx *store.Tx) error {
			tx.AfterCommit(func() { called = true })
			if _, err := tx.Exec(`insert into items (id, n) values ('a', 1)`); err != nil {
				return err
			}
			return refused
		})
		if !errors.Is(err, refused) || called || mustScan[int64](t, st, `select count(*) from items`) != 0 {
			t.Errorf("got %v, AfterCommit called: %v", err, called)
		}
	}},
	{"AfterCommit comes after the commit, once", func(t *testing.T, db database) {
		st := db.mustOpen()
		var seen []int64
		mustUpdate(t, st, func(tx *store.Tx) error {
			for range 2 {
				tx.AfterCommit(func() { seen = append(seen, mustScan[int64](t, st, `select count(*) from items`)) })
			}
			_, err := tx.Exec(`insert into items (id, n) values ('a', 1)`)
			return err
		})
		if !cmp.Equal(seen, []int64{1, 1}) {
			t.Errorf("got %v", seen)
		}
	}},
	{"a panic and a Goexit undo their own Update and no other", func(t *testing.T, db database) {
		st := db.mustOpen()
		var group sync.WaitGroup
		for i := range 60 {
			group.Go(func() {
				defer func() { _ = recover() }()
				_ = st.Update(t.Context(), func(tx *store.Tx) error {
					if _, err := tx.Exec(`insert into items (id, n) values ($1, $2)`, fmt.Sprint(i), i%3); err != nil {
						return err
					}
					switch i % 3 {
					case 1:
						panic("on purpose")
					case 2:
						runtime.Goexit()
					}
					return nil
				})
			})
		}
		group.Wait()
		if got := mustList[int64](t, st, `select n from items`); len(got) != 20 || mustScan[int64](t, st, `select sum(n) from items`) != 0 {
			t.Errorf("got %v", got)
		}
		// Views as well, and with rows open.
		for range 40 {
			func() {
				defer func() { _ = recover() }()
				_ = st.View(t.Context(), func(tx *store.Tx) error {
					rows, err := tx.Query(`select n from items`)
					if err != nil {
						return err
					}
					rows.Next()
					panic("on purpose")
				})
			}()
		}
		if got := mustScan[int64](t, st, `select count(*) from items`); got != 20 {
			t.Errorf("got %d rows", got)
		}
	}},
	{"each of many Updates is whole or not there", func(t *testing.T, db database) {
		st := db.mustOpen()
		refused := errors.New("refused")
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				for i := range 25 {
					id := fmt.Sprintf("%d-%d", w, i)
					err := st.Update(t.Context(), func(tx *store.Tx) error {
						for _, part := range []string{"x", "y"} {
							if _, err := tx.Exec(`insert into items (id, n) values ($1, $2)`, id+part, i); err != nil {
								return err
							}
							if i%4 == 1 {
								return refused
							}
						}
						if i%4 == 2 {
							_, err := tx.Exec(`insert into items (id, n) values ($1, 0)`, id+"x")
							return err
						}
						return nil
					})
					want := []error{nil, refused, store.ErrConflict, nil}[i%4]
					if !errors.Is(err, want) {
						t.Errorf("%s: got %v, want %v", id, err, want)
					}
				}
			})
		}
		group.Wait()
		// Of each 25, i%4 is 0 or 3 for 13.
		if got := mustScan[int64](t, st, `select count(*) from items`); got != 8*13*2 {
			t.Errorf("got %d rows, want %d", got, 8*13*2)
		}
		if got := mustScan[int64](t, st, `select count(*) from items where n % 4 in (1, 2)`); got != 0 {
			t.Errorf("%d rows of Updates that failed", got)
		}
	}},
	{"what was read holds until the commit", func(t *testing.T, db database) {
		// Each Update moves one unit if the two accounts together allow it: under weaker isolation two of them, reading
		// the same state, would both go through.
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 10), ('b', 10)`)
		var moved atomic.Int64
		var group sync.WaitGroup
		for w := range 4 {
			group.Go(func() {
				for range 7 {
					done := false
					err := st.Update(t.Context(), func(tx *store.Tx) error {
						done = false
						var sum int64
						if err := tx.QueryRow(`select sum(n) from items`).Scan(&sum); err != nil {
							return err
						}
						if sum == 0 {
							return nil
						}
						done = true
						_, err := tx.Exec(`update items set n = n - 1 where id = $1`, string("ab"[w%2]))
						return err
					})
					if err != nil {
						t.Error(err)
					}
					if done {
						moved.Add(1)
					}
				}
			})
		}
		group.Wait()
		if sum := mustScan[int64](t, st, `select sum(n) from items`); moved.Load() != 20 || sum != 0 {
			t.Errorf("moved %d, left %d", moved.Load(), sum)
		}
	}},
	{"a View is one snapshot", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 1)`)
		err := st.View(t.Context(), func(tx *store.Tx) error {
			before, err := column[int64](tx, `select n from items`)
			if err != nil {
				return err
			}
			mustExec(t, st, `update items set n = 2`)
			after, err := column[int64](tx, `select n from items`)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := mustScan[int64](t, st, `select n from items`); got != 2 {
			t.Errorf("the next View sees %d", got)
		}
	}},
	{"what is not committed is seen by nobody", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustUpdate(t, st, func(tx *store.Tx) error {
			if _, err := tx.Exec(`insert into items (id, n) values ('a', 1)`); err != nil {
				return err
			}
			if got := mustScan[int64](t, st, `select count(*) from items`); got != 0 {
				t.Errorf("a View sees %d rows", got)
			}
			return nil
		})
	}},
	{"two claimers never get the same row", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `with recursive up (i) as (select 1 union all select i + 1 from up where i < 200)
			insert into items (id, n) select cast(i as text), 0 from up`)
		var mu sync.Mutex
		claimed := map[int64]int{}
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					var got []int64
					err := st.Update(t.Context(), func(tx *store.Tx) (err error) {
						got, err = column[int64](tx, `with picked as materialized (
								select seq from items where n = 0 order by seq limit 7 `+tx.ClaimSuffix()+`)
							update items set n = 1 where seq in (select seq from picked) returning seq`)
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
					if len(got) == 0 {
						return
					}
					mu.Lock()
					for _, seq := range got {
						claimed[seq]++
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		for seq, times := range claimed {
			if times != 1 {
				t.Errorf("row %d was claimed %d times", seq, times)
			}
		}
		// A claimer may find the last rows locked and stop, but nobody stops while it holds them.
		if len(claimed) != 200 {
			t.Errorf("%d rows were claimed, want 200", len(claimed))
		}
	}},
	{"a cancelled call changes nothing", func(t *testing.T, db database) {
		st := db.mustOpen()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		insert := func(tx *store.Tx) error {
			_, err := tx.Exec(`insert into items (id, n) values ('a', 1)`)
			return err
		}
		if err := st.Update(gone, insert); !errors.Is(err, context.Canceled) {
			t.Errorf("Update: got %v", err)
		}
		if err := st.View(gone, func(tx *store.Tx) error { return tx.QueryRow(`select 1`).Err() }); !errors.Is(err, context.Canceled) {
			t.Errorf("View: got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := st.Update(ctx, func(tx *store.Tx) error {
			if err := insert(tx); err != nil {
				return err
			}
			cancel()
			_, err := tx.Exec(`insert into items (id, n) values ('b', 1)`)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled inside: got %v", err)
		}
		if got := mustScan[int64](t, st, `select count(*) from items`); got != 0 {
			t.Errorf("got %d rows", got)
		}
	}},
	{"time stands still in a transaction and never goes back", func(t *testing.T, db database) {
		st := db.mustOpen()
		var last time.Time
		for range 50 {
			var now time.Time
			mustUpdate(t, st, func(tx *store.Tx) error {
				now = tx.Now()
				if _, err := tx.Exec(`insert into items (id, n) values ($1, 0)`, now.Format(time.RFC3339Nano)); err != nil && !errors.Is(err, store.ErrConflict) {
					return err
				}
				if !tx.Now().Equal(now) {
					t.Errorf("time moved from %v to %v", now, tx.Now())
				}
				return nil
			})
			if now.Before(last) || now.Location() != time.UTC || now.Nanosecond()%1000 != 0 {
				t.Errorf("got %v after %v", now, last)
			}
			last = now
			err := st.View(t.Context(), func(tx *store.Tx) error {
				if tx.Now().Before(last) {
					t.Errorf("a View is at %v, after a commit at %v", tx.Now(), last)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"after Close nothing runs", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 1)`)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		nothing := func(tx *store.Tx) error { return tx.QueryRow(`select 1`).Err() }
		if st.Update(t.Context(), nothing) == nil || st.View(t.Context(), nothing) == nil || st.Unlocked() {
			t.Error("a closed store works")
		}
	}},
}
