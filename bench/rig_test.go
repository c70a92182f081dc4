package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary)) }

// connections is the size of the pool on both sides.
const connections = 8

// recipe is what a role does, as two statements.
type recipe struct{ name, create, grant, revoke string }

// recipes are the two ways to give rights: on the objects, and by membership, which leaves the objects alone.
var recipes = []recipe{
	{
		name:   "grants",
		create: `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
		grant:  `GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"`,
		revoke: `REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM "{{name}}"`,
	},
	{
		name:   "membership",
		create: `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE readers`,
	},
}

// database is a durable PostgreSQL with five tables and a group.
func database(b *testing.B) *testdb.Server {
	b.Helper()
	db := testdb.Postgres(b, testdb.Durable())
	db.Exec(b, `CREATE ROLE readers NOLOGIN`)
	for i := range 5 {
		db.Exec(b, fmt.Sprintf(`CREATE TABLE t%d (id int)`, i))
	}
	return db
}

// server is the program with one connection and one role for each recipe, audit on.
func server(b *testing.B, db *testdb.Server) *proctest.Server {
	b.Helper()
	srv := audited(b, "database", map[string]any{"type": "database"})
	write(b, srv, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://{{username}}:{{password}}@" + db.Addr + "/" + db.Database + "?sslmode=disable",
		"username": db.User, "password": db.Password, "allowed_roles": "*", "max_open_connections": connections,
	})
	for _, r := range recipes {
		write(b, srv, "database/roles/"+r.name, map[string]any{"db_name": "pg", "default_ttl": "24h", "creation_statements": r.create + ";" + r.grant})
	}
	return srv
}

// write is a request with the root token that has to succeed.
func write(b *testing.B, srv *proctest.Server, path string, body map[string]any) {
	b.Helper()
	if _, err := srv.Root(http.MethodPut, path, body); err != nil {
		b.Fatalf("%s: %v", path, err)
	}
}

func pool(b *testing.B, db *testdb.Server) *pgxpool.Pool {
	b.Helper()
	config, err := pgxpool.ParseConfig(db.URL())
	must(b, err)
	config.MaxConns = connections
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	p, err := pgxpool.NewWithConfig(b.Context(), config)
	must(b, err)
	b.Cleanup(p.Close)
	return p
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// side is one of those that are compared.
type side struct {
	name string
	work func(ctx context.Context, i int) error
	took []time.Duration // of each call
	busy time.Duration   // all rounds
}

func (s *side) rate() float64 { return float64(len(s.took)) / s.busy.Seconds() }

// p99 is in milliseconds.
func (s *side) p99() float64 {
	slices.Sort(s.took)
	return float64(s.took[len(s.took)*99/100].Microseconds()) / 1000
}

// turns runs each side b.N times by a number of clients, in turns of a few calls, so that a disk or a machine that has a bad
// second has it for all.
func turns(b *testing.B, clients int, sides ...*side) {
	b.Helper()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(5*clients, b.N-done)
		for _, s := range sides {
			s.round(b, clients, done, n)
		}
		done += n
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op") // the rates say it
}

// compare takes turns of the limit and the program, and reports both rates, their ratio, and both 99th percentiles.
func compare(b *testing.B, clients int, unit string, limit, program func(ctx context.Context, i int) error) {
	b.Helper()
	bare, ours := &side{work: limit}, &side{work: program}
	turns(b, clients, bare, ours)
	if b.Failed() {
		return
	}
	b.ReportMetric(bare.rate(), "limit-"+unit+"/s")
	b.ReportMetric(ours.rate(), unit+"/s")
	b.ReportMetric(ours.rate()/bare.rate(), "of-limit")
	b.ReportMetric(bare.p99(), "limit-p99-ms")
	b.ReportMetric(ours.p99(), "p99-ms")
}

// besides takes turns of the program and of what it is made of, and reports the rate of each by its name, and the program's
// 99th percentile.
func besides(b *testing.B, clients int, program *side, others ...*side) {
	b.Helper()
	turns(b, clients, append(others, program)...)
	if b.Failed() {
		return
	}
	for _, s := range append(others, program) {
		b.ReportMetric(s.rate(), s.name+"/s")
	}
	b.ReportMetric(program.p99(), "p99-ms")
}

// round runs calls from to from+n.
func (s *side) round(b *testing.B, clients, from, n int) {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wait sync.WaitGroup
	began := time.Now()
	for range clients {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				begun := time.Now()
				if err := s.work(b.Context(), from+i); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	wait.Wait()
	s.busy += time.Since(began)
	s.took = append(s.took, took...)
}
