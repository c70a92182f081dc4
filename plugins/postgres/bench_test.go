package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/internal/testdb"
	"leasehold/plugins"
)

// What does the plugin cost beside the database's own work? The same SQL is run by hand on a pgx pool: CREATE ROLE and
// GRANT SELECT ON ALL TABLES (5 tables) in one transaction, REVOKE and DROP ROLE in another, both in turns, without which
// neither gets through. fsync is on. Both begin without users.
//
//	go test ./plugins/postgres -run '^$' -bench User -benchtime 200x -count 5
//
// PostgreSQL 15 and the client on the same two cores, users per second, plugin and bare:
//
//	clients          1          8          32
//	create    198  233   299  327   273  236
//	drop      590  443   905  704   680  438
//
// The processor time for a creation is 5.3 ms against 4.5 ms: making the SCRAM verifier takes 0.8 ms, here on the database's
// cores. With password_authentication=password creation is as fast as by hand (253 and 246 with one client).

func benchDatabase(b *testing.B, clients int) (*testdb.Server, plugins.Database, *pgxpool.Pool) {
	b.Helper()
	s := testdb.Postgres(b, testdb.Durable())
	s.Exec(b, fiveTables)
	options := settings(s, s.User, s.Password)
	options["max_open_connections"] = fmt.Sprint(clients)
	db := open(b, options)
	bare, err := pgxpool.New(b.Context(), s.URL()+fmt.Sprintf("&pool_max_conns=%d", clients))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bare.Close)
	return s, db, bare
}

// spread runs f(0) to f(n-1) on so many goroutines.
func spread(b *testing.B, clients, n int, f func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// inTurn runs statements by hand.
func inTurn(ctx context.Context, pool *pgxpool.Pool, first, turn, last string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, sql := range []string{first, "SELECT pg_advisory_xact_lock(1)", turn, last} {
			if sql == "" || sql == "SELECT pg_advisory_xact_lock(1)" && turn == "" {
				continue
			}
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// measure runs f for b.N users and reports the rate, and the processor time of client and server, which says more on a
// machine that has other work.
func measure(b *testing.B, s *testdb.Server, f func()) {
	b.Helper()
	before := cpu(b, s)
	b.ResetTimer()
	f()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
	b.ReportMetric(float64((cpu(b, s)-before).Microseconds())/1000/float64(b.N), "cpu-ms/user")
}

// cpu is the processor time of this process and of the sessions in the database.
func cpu(b *testing.B, s *testdb.Server) time.Duration {
	b.Helper()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	total := own.Utime.Nano() + own.Stime.Nano()
	rows, _ := s.Conn(b).Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		var running int64
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		_, _ = fmt.Sscan(string(text), &running) // a session that has ended counts nothing
		total += running
	}
	return time.Duration(total)
}

// vacuum clears away what the setting up left.
func vacuum(b *testing.B, s *testdb.Server) {
	b.Helper()
	for _, sql := range []string{"VACUUM FULL pg_class", "VACUUM ANALYZE pg_shdepend", "VACUUM ANALYZE pg_authid", "CHECKPOINT"} {
		s.Exec(b, sql)
	}
}

func BenchmarkUser(b *testing.B) {
	for _, clients := range []int{1, 8, 32} {
		for _, who := range []string{"plugin", "bare"} {
			s, db, bare := benchDatabase(b, clients)
			users := make([]plugins.User, 0)
			create := func(i int) error { return db.CreateUser(b.Context(), users[i]) }
			drop := func(i int) error { return db.DropUser(b.Context(), users[i].Name, nil) }
			if who == "bare" {
				create = func(i int) error {
					return inTurn(b.Context(), bare, fmt.Sprintf(`CREATE ROLE %q WITH LOGIN PASSWORD '%s' VALID UNTIL '2099-01-02 03:04:05+0000'`,
						users[i].Name, users[i].Password.Reveal()), fmt.Sprintf(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO %q`, users[i].Name), "")
				}
				drop = func(i int) error {
					return inTurn(b.Context(), bare, "", fmt.Sprintf(`REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM %q`, users[i].Name),
						fmt.Sprintf(`DROP ROLE %q`, users[i].Name))
				}
			}
			refill := func(b *testing.B) {
				users = users[:0]
				for range b.N + clients {
					users = append(users, newUser(createRole, grantTables))
				}
				// The first call of each connection opens it.
				spread(b, clients, clients, func(i int) error { return create(b.N + i) })
				spread(b, clients, clients, func(i int) error { return drop(b.N + i) })
				vacuum(b, s)
			}
			b.Run(fmt.Sprintf("create/clients=%d/%s", clients, who), func(b *testing.B) {
				refill(b)
				measure(b, s, func() { spread(b, clients, b.N, create) })
				spread(b, clients, b.N, drop)
			})
			b.Run(fmt.Sprintf("drop/clients=%d/%s", clients, who), func(b *testing.B) {
				refill(b)
				spread(b, clients, b.N, create)
				measure(b, s, func() { spread(b, clients, b.N, drop) })
			})
		}
	}
}

// Does a drop cost more the more users live? With a right on each table it must: the tables' access lists name all users,
// by hand as here. With membership in a group they do not. Users per second with one client, plugin and bare:
//
//	live             100         2000
//	grants      755  761     187  175
//	membership  886 2206     696 1980
//
// Beside the 0.5 ms of the bare DROP ROLE, looking before and for sessions after is the other half.
func BenchmarkDropAmong(b *testing.B) {
	for _, live := range []int{100, 2000} {
		for _, right := range []string{"grants", "membership"} {
			for _, who := range []string{"plugin", "bare"} {
				b.Run(fmt.Sprintf("live=%d/%s/%s", live, right, who), func(b *testing.B) {
					s, db, bare := benchDatabase(b, 1)
					prefix := newUser().Name
					names := make([]string, live+b.N)
					for i := range names {
						names[i] = fmt.Sprintf("%s-%d", prefix, i)
					}
					s.Exec(b, fmt.Sprintf(`CREATE ROLE "%[1]s-group"; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "%[1]s-group"`, prefix))
					group, revoke := fmt.Sprintf("%s-group", prefix), ""
					s.Exec(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 0..%d LOOP EXECUTE format('CREATE ROLE %%I LOGIN', '%s-' || i); END LOOP; END $$`,
						len(names)-1, prefix))
					list := `"` + strings.Join(names, `", "`) + `"`
					if right == "grants" {
						s.Exec(b, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+list)
						revoke = "REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM %q"
					} else {
						s.Exec(b, fmt.Sprintf("GRANT %q TO %s", group, list))
					}
					vacuum(b, s)
					if err := db.DropUser(b.Context(), "nobody", nil); err != nil {
						b.Fatal(err)
					}
					if err := bare.Ping(b.Context()); err != nil {
						b.Fatal(err)
					}
					drop := func(i int) error { return db.DropUser(b.Context(), names[i], nil) }
					if who == "bare" {
						drop = func(i int) error {
							turn := ""
							if revoke != "" {
								turn = fmt.Sprintf(revoke, names[i])
							}
							return inTurn(b.Context(), bare, "", turn, fmt.Sprintf("DROP ROLE %q", names[i]))
						}
					}
					measure(b, s, func() { spread(b, 1, b.N, drop) })
					rest := `"` + strings.Join(append(names[b.N:], group), `", "`) + `"`
					s.Exec(b, fmt.Sprintf("DROP OWNED BY %s; DROP ROLE %s", rest, rest))
				})
			}
		}
	}
}
