package transfer_test

import (
	"runtime"
	"testing"
	"time"

	"leasehold/lease"
	"leasehold/store/transfer"
)

// How many leases a second are moved, copied and compared, and how much memory does it take? Rows are as those of the
// database engine, with some 300 bytes of sealed payload.
func BenchmarkMove(b *testing.B) {
	const leases = 200_000
	for from, source := range kinds {
		for to, destination := range kinds {
			b.Run(from+" to "+to, func(b *testing.B) {
				p := source(b)
				mustClose(b, mustOpen(b, p, lease.Migrations()...))
				p.raw(b, `insert into leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at,
						renewable, attempts, drops, version, payload)
					with recursive n (i) as (select 1 union all select i + 1 from n where i < $1)
					select 'database/creds/app/aBcDeFgHiJkLmNoPqRsT' || i, 1 + i % 5, i % 1000, 'active', 1700000000000000 + i, 1700000000000000,
						1700000000000000 + i, 1800000000000000, 1700000000000000, 1, 0, 0, 1, $2 from n`, leases, make([]byte, 300))
				var copying, comparing time.Duration
				var peak uint64 // bytes in use, as seen after each batch
				for b.Loop() {
					b.StopTimer()
					to := destination(b)
					b.StartTimer()
					_, err := move(b.Context(), p, to, func(cfg *transfer.Config) {
						cfg.Migrations = lease.Migrations()
						cfg.Report = func(p transfer.Progress) {
							var m runtime.MemStats
							runtime.ReadMemStats(&m)
							peak = max(peak, m.HeapAlloc)
							if p.Ended && p.Phase == transfer.Copying {
								copying += p.Elapsed
							} else if p.Ended {
								comparing += p.Elapsed
							}
						}
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				rows := float64(leases * b.N)
				b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(rows/copying.Seconds(), "copied/s")
				b.ReportMetric(rows/comparing.Seconds(), "compared/s")
				b.ReportMetric(float64(peak)/(1<<20), "heap-MiB")
			})
		}
	}
}
