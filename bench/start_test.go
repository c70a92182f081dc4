package bench

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/lease"
	programme "leasehold/server"
	"leasehold/server/proctest"
	"leasehold/store"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

// BenchmarkStart asks whether start-up and memory depend on the number of leases. ready-ms is from the start of the process
// until it has been unsealed and has answered a lookup; RSS is read a moment later. Aim: under 1 s and 100 MB, flat.
func BenchmarkStart(b *testing.B) {
	for _, leases := range []int{0, 10_000, 200_000} {
		b.Run(fmt.Sprintf("leases=%d", leases), func(b *testing.B) {
			srv := proctest.New(b, binary, "")
			must(b, srv.Start())
			must(b, srv.Init())
			srv.Stop()
			fill(b, srv, leases)
			var ready time.Duration
			var rss float64
			for range b.N {
				began := time.Now()
				must(b, srv.Restart())
				if _, err := srv.Root("LIST", "sys/leases/lookup", nil); err != nil && leases > 0 {
					b.Fatal(err)
				}
				ready += time.Since(began)
				rss += residentMB(b, srv.PID())
				srv.Stop()
			}
			b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ready-ms")
			b.ReportMetric(rss/float64(b.N), "RSS-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fill writes active leases into the stopped server's store, by the lease package itself.
func fill(b *testing.B, srv *proctest.Server, n int) {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: filepath.Join(srv.Dir, "leasehold.db")}), Clock: clock.System{}, Migrations: programme.Migrations(),
	})
	must(b, err)
	defer func() { must(b, st.Close()) }()
	key, err := base64.StdEncoding.DecodeString(srv.UnsealKey)
	must(b, err)
	if _, err := seal.New(st, slog.New(slog.DiscardHandler)).Unseal(b.Context(), key); err != nil {
		b.Fatal(err)
	}
	leases, err := lease.New(lease.Config{
		Store:    st,
		Alive:    func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) { return time.Hour, time.Hour },
	})
	must(b, err)
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			for range n / 64 {
				_, err := leases.Issue(b.Context(), lease.Intent{
					Kind: "database", MountUUID: "bench", Path: "database/creds/app", Target: "pg", TTL: 700 * time.Hour, Renewable: true,
					Payload: []byte(`{"role":"app","user":"v-token-app-AAAAAAAAAAAAAAAAAAAA-1700000000"}`),
				}, func(context.Context, lease.Record) error { return nil })
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			must(b, err)
			return float64(kb) / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
