package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// BenchmarkNodes asks what several nodes on one PostgreSQL store issue, store and target on separate clusters, next to what
// bare pgx does with the same SQL and the same number of connections. Aim: 0.7 of it.
//
// One credential costs 2 store transactions of 6 and 5 round trips, 2 of them waiting for the disk, and 2 reads of 3 round
// trips.
func BenchmarkNodes(b *testing.B) {
	for _, nodes := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			target, storage := database(b), testdb.Postgres(b, testdb.Durable())
			limit := pool(b, target)
			var all []*proctest.Server
			for i := range nodes {
				srv := proctest.NewOn(b, binary, proctest.PostgreSQL(storage.URL()), "")
				must(b, srv.Start())
				if i == 0 {
					must(b, srv.Init())
					configure(b, srv, "database", target)
				} else {
					must(b, srv.Join(all[0]))
				}
				all = append(all, srv)
			}
			compare(b, 8*nodes, "creds",
				func(ctx context.Context, i int) error { return bareCreate(ctx, limit, recipes[1], name(b, i)) },
				func(_ context.Context, i int) error {
					_, err := all[i%nodes].Root(http.MethodGet, "database/creds/app", nil)
					return err
				})
		})
	}
}

// BenchmarkCycles issues and revokes on one role again and again. Aim: the 99th percentile of the last thousand within a tenth
// of the first thousand's, and a catalogue that does not grow. LEASEHOLD_CYCLES says how many; the full measure is 100,000.
func BenchmarkCycles(b *testing.B) {
	cycles := 20_000
	if text := os.Getenv("LEASEHOLD_CYCLES"); text != "" {
		n, err := strconv.Atoi(text)
		must(b, err)
		cycles = n
	}
	for range b.N {
		target := database(b)
		srv := proctest.New(b, binary, "")
		must(b, srv.Start())
		must(b, srv.Init())
		configure(b, srv, "database", target)
		conn := target.Conn(b)
		before := catalogue(b, conn)
		took := make([]time.Duration, cycles)
		var next atomic.Int64
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for i := int(next.Add(1)) - 1; i < cycles; i = int(next.Add(1)) - 1 {
					began := time.Now()
					got, err := srv.Root(http.MethodGet, "database/creds/app", nil)
					if err == nil {
						_, err = srv.Root(http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": got["lease_id"], "sync": true})
					}
					if err != nil {
						b.Error(err)
						return
					}
					took[i] = time.Since(began)
				}
			})
		}
		wait.Wait()
		p99 := func(some []time.Duration) float64 {
			some = slices.Sorted(slices.Values(some))
			return float64(some[len(some)*99/100].Microseconds()) / 1000
		}
		b.ReportMetric(p99(took[:1000]), "first-p99-ms")
		b.ReportMetric(p99(took[cycles-1000:]), "last-p99-ms")
		b.ReportMetric(float64(catalogue(b, conn)-before), "catalogue-rows")
		b.ReportMetric(0, "ns/op")
	}
}

// catalogue counts what users leave behind in the catalogue: memberships, and entries of access lists.
func catalogue(b *testing.B, conn *pgx.Conn) (n int) {
	b.Helper()
	must(b, conn.QueryRow(b.Context(), `SELECT (SELECT count(*) FROM pg_auth_members) +
		(SELECT coalesce(sum(cardinality(relacl)), 0) FROM pg_class) + (SELECT count(*) FROM pg_shdepend)`).Scan(&n))
	return n
}
