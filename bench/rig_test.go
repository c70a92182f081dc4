package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "leasehold-bench-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if binary, err = proctest.Build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

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
	srv := proctest.New(b, binary, "")
	must(b, srv.Start())
	must(b, srv.Init())
	call := func(path string, body map[string]any) {
		if _, err := srv.Root(http.MethodPut, path, body); err != nil {
			b.Fatalf("%s: %v", path, err)
		}
	}
	call("sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(srv.Dir, "audit.log")}})
	call("sys/mounts/database", map[string]any{"type": "database"})
	call("database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://{{username}}:{{password}}@" + db.Addr + "/" + db.Database + "?sslmode=disable",
		"username": db.User, "password": db.Password, "allowed_roles": "*", "max_open_connections": connections,
	})
	for _, r := range recipes {
		call("database/roles/"+r.name, map[string]any{"db_name": "pg", "default_ttl": "24h", "creation_statements": r.create + ";" + r.grant})
	}
	return srv
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

// measure runs work b.N times by a number of clients and reports the rate and the 99th percentile.
func measure(b *testing.B, clients int, unit string, work func(ctx context.Context, i int) error) {
	b.Helper()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wait sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if err := work(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit+"/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(0, "ns/op") // the rate says it
}
