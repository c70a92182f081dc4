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
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/lease"
	programme "leasehold/server"
	"leasehold/server/proctest"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

// BenchmarkStart asks whether start-up and memory depend on the number of leases. ready-ms is from the start of the process
// until it has been unsealed and has answered a lookup; RSS is read a moment later. Aim: under 1 s, and within 20 MB of an
// empty store, with a million leases on either store.
func BenchmarkStart(b *testing.B) {
	for _, kind := range []string{"sqlite", "postgresql"} {
		for _, leases := range []int{0, 10_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/leases=%d", kind, leases), func(b *testing.B) {
				srv, dialect := onStore(b, kind)
				must(b, srv.Start())
				must(b, srv.Init())
				srv.Stop()
				fill(b, srv, dialect, leases, func(i int) (user string, left time.Duration) {
					return fmt.Sprintf("v-token-app-AAAAAAAAAAAAAAAAAAAA-%d", i), 700 * time.Hour
				})
				var ready time.Duration
				var rss float64
				b.ResetTimer()
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
}

// onStore is a server on a store of the given kind, and what opens the same store here.
func onStore(b *testing.B, kind string) (*proctest.Server, store.Dialect) {
	b.Helper()
	if kind == "sqlite" {
		srv := proctest.New(b, binary, "")
		return srv, sqlite.New(sqlite.Config{Path: filepath.Join(srv.Dir, "leasehold.db")})
	}
	db := testdb.Postgres(b, testdb.Durable())
	return proctest.NewOn(b, binary, proctest.PostgreSQL(db.URL()), ""), postgres.New(postgres.Config{URL: secret.NewText(db.URL())})
}

// fill writes active leases of database/creds/app into a stopped server's store. The first is written by the lease package,
// the others as its copies with their own ids, users and ends.
// It returns when the first ends.
func fill(b *testing.B, srv *proctest.Server, dialect store.Dialect, n int, lives func(i int) (user string, left time.Duration)) time.Time {
	b.Helper()
	if n == 0 {
		return time.Time{}
	}
	st, err := store.Open(b.Context(), store.Config{Dialect: dialect, Clock: clock.System{}, Migrations: programme.Migrations()})
	must(b, err)
	defer func() { must(b, st.Close()) }()
	key, err := base64.StdEncoding.DecodeString(srv.UnsealKey)
	must(b, err)
	if _, err := seal.New(st, slog.New(slog.DiscardHandler)).Unseal(b.Context(), key); err != nil {
		b.Fatal(err)
	}
	mount := "bench"
	_ = st.View(b.Context(), func(tx *store.Tx) error { // there may be a mount that the leases are to be of
		return tx.QueryRow(`SELECT uuid FROM mounts WHERE path = 'database/'`).Scan(&mount)
	})
	leases, err := lease.New(lease.Config{
		Store:    st,
		Alive:    func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) { return time.Hour, time.Hour },
	})
	must(b, err)
	payload := func(i int) ([]byte, time.Duration) {
		user, left := lives(i)
		return fmt.Appendf(nil, `{"role":"app","user":%q}`, user), left
	}
	body, left := payload(0)
	first, err := leases.Issue(b.Context(), lease.Intent{
		Kind: "database", MountUUID: mount, Path: "database/creds/app", Target: "pg", TTL: left, Renewable: true, Payload: body,
	}, func(context.Context, lease.Record) error { return nil })
	must(b, err)
	const page = 500
	for from := 1; from < n; from += page {
		must(b, st.Update(b.Context(), func(tx *store.Tx) error {
			rows := make([]string, 0, page)
			args := []any{first.Seq}
			for i := from; i < min(from+page, n); i++ {
				id := fmt.Sprintf("database/creds/app/%024d", i)
				body, left := payload(i)
				sealed, err := tx.Seal(store.Cell{Table: "leases", Column: "payload", Key: id}, body)
				if err != nil {
					return err
				}
				at := len(args)
				// PostgreSQL takes a parameter for text where nothing says what it is.
				rows = append(rows, fmt.Sprintf("($%d, CAST($%d AS BIGINT), COALESCE($%d, (SELECT payload FROM leases WHERE seq = 0)))", at+1, at+2, at+3))
				args = append(args, id, store.Micros(first.IssuedAt.Add(left)), sealed)
			}
			_, err := tx.Exec(`WITH fresh (id, due, payload) AS (VALUES `+strings.Join(rows, ", ")+`)
				INSERT INTO leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at, renewable,
					attempts, drops, version, payload)
				SELECT fresh.id, l.target, l.token, l.state, fresh.due, l.issued_at, fresh.due, l.not_after, l.renewed_at, l.renewable,
					0, 0, 1, fresh.payload FROM fresh, leases l WHERE l.seq = $1`, args...)
			return err
		}))
	}
	return first.ExpiresAt
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
