package postgres_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/keyring"
)

// How many Updates a second are durable on PostgreSQL, alone and with 32 callers, and what does a View cost? fsync on,
// the server on the same machine.
//
// Two cores and a dozen other busy processes: 210 Updates a second alone, 1 020 with 32 callers (4 connections); a View
// of one row takes 0.25 ms.
func BenchmarkStore(b *testing.B) {
	server := testdb.Postgres(b, testdb.Durable())
	st, err := opener(server)(b, notes)
	if err != nil {
		b.Fatal(err)
	}
	st.Unlock(keyring.New(st.Clock().Now()))
	var next atomic.Int64
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("update/callers=%d", callers), func(b *testing.B) {
			one := func() {
				if err := put(st, fmt.Sprint(next.Add(1))); err != nil {
					b.Error(err)
				}
			}
			if callers == 1 {
				for b.Loop() {
					one()
				}
			} else {
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one()
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			err := st.View(context.Background(), func(tx *store.Tx) error {
				var id string
				return tx.QueryRow(`select id from notes where id = '1'`).Scan(&id)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
