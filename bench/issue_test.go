package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// BenchmarkIssue asks how near issuing credentials comes to the limit: what bare pgx does with the same SQL, the same pool
// and the same number of clients. Aim: 0.9 of it.
//
// One credential costs: 2 store commits (intent, active), shared with others that wait; 1 View for token and generations, 1
// for role and connection; 1 database transaction; 2 audit lines.
func BenchmarkIssue(b *testing.B) {
	for _, r := range recipes {
		db := database(b)
		limit, srv := pool(b, db), server(b, db)
		for _, clients := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/clients=%d", r.name, clients), func(b *testing.B) {
				compare(b, clients, "creds",
					func(ctx context.Context, i int) error { return bareCreate(ctx, limit, r, name(b, i)) },
					func(context.Context, int) error {
						_, err := srv.Root(http.MethodGet, "database/creds/"+r.name, nil)
						return err
					})
				clear(b, db, srv)
			})
		}
	}
}

// BenchmarkRevoke asks the same of revocations, with a number of other users alive. Aim: 0.8 of a bare REVOKE and DROP, and
// no slower with 2,000 users alive than with 100, beyond what bare SQL slows down itself.
//
// One revocation costs: 2 store commits (claim, delete), shared; 2 round trips to the database; 2 audit lines.
func BenchmarkRevoke(b *testing.B) {
	for _, r := range recipes {
		for _, alive := range []int{100, 2000} {
			db := database(b)
			limit, srv := pool(b, db), server(b, db)
			spread(b, alive, func(i int) error { return bareCreate(b.Context(), limit, r, fmt.Sprintf("alive-%d", i)) })
			for _, clients := range []int{1, 8} {
				b.Run(fmt.Sprintf("%s/alive=%d/clients=%d", r.name, alive, clients), func(b *testing.B) {
					spread(b, b.N, func(i int) error { return bareCreate(b.Context(), limit, r, name(b, i)) })
					ids := issued(b, srv, r, b.N)
					compare(b, clients, "revocations",
						func(ctx context.Context, i int) error { return bareDrop(ctx, limit, r, name(b, i)) },
						func(_ context.Context, i int) error {
							_, err := srv.Root(http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": ids[i], "sync": true})
							return err
						})
				})
			}
		}
	}
}

func name(b *testing.B, i int) string { return fmt.Sprintf("bare-%d-%d", b.N, i) }

// clear drops the users that a measurement leaves, so that each begins with none.
func clear(b *testing.B, db *testdb.Server, srv *proctest.Server) {
	b.Helper()
	if _, err := srv.Root(http.MethodPut, "sys/leases/revoke-prefix/database", map[string]any{"sync": true}); err != nil {
		b.Fatal(err)
	}
	db.Exec(b, `DO $$ DECLARE r record; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'bare-%' LOOP
		EXECUTE format('DROP OWNED BY %I', r.rolname); EXECUTE format('DROP ROLE %I', r.rolname); END LOOP; END $$`)
	db.Exec(b, `VACUUM FULL pg_class`)
}

// bareCreate is the limit: one transaction, ordered by an advisory lock where rights on objects are given, because without it
// parallel grants collide and are slower still.
func bareCreate(ctx context.Context, p *pgxpool.Pool, r recipe, name string) error {
	fill := strings.NewReplacer("{{name}}", name, "{{password}}", secret.Random(secret.Base62, 20).Reveal(), "{{expiration}}", "2099-01-01 00:00:00+0000")
	return transaction(ctx, p, fill.Replace(r.create), r.grant != "", fill.Replace(r.grant))
}

func bareDrop(ctx context.Context, p *pgxpool.Pool, r recipe, name string) error {
	revoke := strings.ReplaceAll(r.revoke, "{{name}}", name)
	return transaction(ctx, p, "", r.revoke != "", revoke, fmt.Sprintf("DROP ROLE %q", name))
}

func transaction(ctx context.Context, p *pgxpool.Pool, before string, ordered bool, after ...string) error {
	script := []string{"BEGIN"}
	if before != "" {
		script = append(script, before)
	}
	if ordered {
		script = append(script, "SELECT pg_advisory_xact_lock(1)")
	}
	for _, s := range after {
		if s != "" {
			script = append(script, s)
		}
	}
	_, err := p.Exec(ctx, strings.Join(append(script, "COMMIT"), ";"))
	return err
}

// issued takes n leases.
func issued(b *testing.B, srv *proctest.Server, r recipe, n int) []string {
	b.Helper()
	ids := make([]string, n)
	spread(b, n, func(i int) error {
		got, err := srv.Root(http.MethodGet, "database/creds/"+r.name, nil)
		if err == nil {
			ids[i], _ = got["lease_id"].(string)
		}
		return err
	})
	return ids
}

// spread runs work n times by eight clients, unmeasured.
func spread(b *testing.B, n int, work func(i int) error) {
	b.Helper()
	jobs := make(chan int)
	failed := make(chan error, connections)
	for range connections {
		go func() {
			var first error
			for i := range jobs {
				if err := work(i); err != nil && first == nil {
					first = err
				}
			}
			failed <- first
		}()
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	for range connections {
		must(b, <-failed)
	}
}
