package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// How many Updates a second are durable, alone and with 32 callers at once? Each inserts one row with a sealed cell;
// synchronous=FULL.
//
// Two cores, hardly loaded: 3 900 alone, 38 000 with 64 callers. With a dozen other busy processes: 320 alone, 18 000
// with 32.
func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			st := storetest.New(b, notes)
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			if callers == 1 {
				for i := range b.N {
					insertNote(b, st, fmt.Sprint(i))
				}
			} else {
				var next atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						insertNote(b, st, fmt.Sprint(next.Add(1)))
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func insertNote(tb testing.TB, st *store.Store, id string) {
	err := st.Update(context.Background(), func(tx *store.Tx) error {
		sealed, err := tx.Seal(store.Cell{Table: "notes", Column: "body", Key: id}, []byte("a body of some thirty-odd bytes"))
		if err != nil {
			return err
		}
		_, err = tx.Exec(`insert into notes (id, size, body) values ($1, $2, $3)`, id, 31, sealed)
		return err
	})
	if err != nil {
		tb.Error(err)
	}
}

// What does a View of one indexed row and its sealed cell cost?
//
// Two cores, hardly loaded: 12 µs, 1.4 kB, 35 allocations. A tenth of it is the cell.
func BenchmarkView(b *testing.B) {
	st := storetest.New(b, notes)
	insertNote(b, st, "one")
	b.ReportAllocs()
	for b.Loop() {
		err := st.View(context.Background(), func(tx *store.Tx) error {
			var sealed []byte
			if err := tx.QueryRow(`select body from notes where id = $1`, "one").Scan(&sealed); err != nil {
				return err
			}
			_, err := tx.Open(store.Cell{Table: "notes", Column: "body", Key: "one"}, sealed)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Does the time to open a store grow with its rows?
//
// Two cores, hardly loaded: 1.2 ms to close and open, with a thousand rows and with a million.
func BenchmarkOpen(b *testing.B) {
	for _, rows := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store.db")
			open := func() *store.Store {
				st, err := store.Open(context.Background(), store.Config{
					Dialect:    sqlite.New(sqlite.Config{Path: path}),
					Clock:      clock.System{},
					Migrations: []store.Migration{notes},
				})
				if err != nil {
					b.Fatal(err)
				}
				return st
			}
			st := open()
			err := st.Update(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Exec(`with recursive n (i) as (select 1 union all select i + 1 from n where i < $1)
					insert into notes (id, size, body) select 'note ' || i, i, zeroblob(80) from n`, rows)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := st.Close(); err != nil {
					b.Fatal(err)
				}
				st = open()
			}
			if err := st.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
