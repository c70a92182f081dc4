package bench

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/testdb"
	programme "leasehold/server"
	"leasehold/server/proctest"
	"leasehold/store"
)

const (
	staticLead    = 5 * time.Second  // for starting the server
	staticPatient = 10 * time.Minute // then it is given up
)

// staticRoles is how many there are.
var staticRoles = func() int {
	if n, err := strconv.Atoi(os.Getenv("LEASEHOLD_ROLES")); err == nil {
		return n
	}
	return 10_000
}()

// BenchmarkStaticRoles has static roles come due at one moment, as those do that share a line of cron: roles that come due
// over a minute are easier. rotated-s is from that moment until all have another password, which each of them is asked for afterwards;
// RSS is read before that moment and all along. Aim: within the minute, and no more memory than ten roles would take. LEASEHOLD_ROLES
// says how many; the full measure is 10,000.
//
// One rotation costs 2 store commits (claim, settle), shared with others that wait; a 16th of a View for the row, and 1 for the connection; and
// one statement on the database. It would be a login more after a failure, or by statements of the operator's own.
func BenchmarkStaticRoles(b *testing.B) {
	b.Run("postgresql", func(b *testing.B) {
		for range b.N {
			db := database(b)
			db.Exec(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 0..%d LOOP EXECUTE format('CREATE ROLE %%I LOGIN', 's-' || i); END LOOP; END $$`, staticRoles-1))
			conn := db.Conn(b)
			rotateAtOnce(b, "pg", func(srv *proctest.Server) { configure(b, srv, "database", db) }, func() (left int) {
				must(b, conn.QueryRow(b.Context(), `SELECT count(*) FROM pg_authid WHERE rolname LIKE 's-%' AND rolpassword IS NULL`).Scan(&left))
				return left
			})
		}
	})
	b.Run("mariadb", func(b *testing.B) {
		for range b.N {
			db := testdb.MariaDB(b, testdb.Durable())
			db.Exec(b, fmt.Sprintf(`BEGIN NOT ATOMIC FOR i IN 0..%d DO EXECUTE IMMEDIATE CONCAT('CREATE USER "s-', i, '"'); END FOR; END`, staticRoles-1))
			conn := db.DB(b)
			rotateAtOnce(b, "maria", func(srv *proctest.Server) {
				write(b, srv, "sys/mounts/database", map[string]any{"type": "database"})
				configureMariaDB(b, srv, db)
			}, func() (left int) {
				must(b, conn.QueryRowContext(b.Context(), `SELECT COUNT(*) FROM mysql.user WHERE User LIKE 's-%' AND authentication_string = ''`).Scan(&left))
				return left
			})
		}
	})
}

// rotateAtOnce is the measurement. The users s-0, s-1 and so on are there, without a password; left counts those that still are.
func rotateAtOnce(b *testing.B, connection string, configure func(*proctest.Server), left func() int) {
	b.Helper()
	srv, dialect := onStore(b, "sqlite")
	must(b, srv.Start())
	must(b, srv.Init())
	configure(srv)
	spread(b, staticRoles, func(i int) error {
		_, err := srv.Root(http.MethodPut, fmt.Sprintf("database/static-roles/s-%d", i), map[string]any{
			"db_name": connection, "username": fmt.Sprintf("s-%d", i), "rotation_period": "24h", "skip_import_rotation": true, "password": "known",
		})
		return err
	})
	srv.Stop()
	due := dueTogether(b, dialect)
	must(b, srv.Restart())
	before := residentMB(b, srv.PID())
	time.Sleep(time.Until(due))
	highest := before
	for n := left(); n > 0; n = left() {
		if time.Since(due) > staticPatient {
			b.Fatalf("%d of %d roles are not rotated after %s", n, staticRoles, staticPatient)
		}
		highest = max(highest, residentMB(b, srv.PID()))
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(due).Seconds()
	spread(b, staticRoles, func(i int) error { // it says no where there is no password yet
		_, err := srv.Root(http.MethodGet, fmt.Sprintf("database/static-creds/s-%d", i), nil)
		return err
	})
	b.ReportMetric(took, "rotated-s")
	b.ReportMetric(float64(staticRoles)/took, "rotations/s")
	b.ReportMetric(before, "RSS-MB")
	b.ReportMetric(highest, "highest-RSS-MB")
	b.ReportMetric(0, "ns/op")
}

// dueTogether writes one moment into all static roles of a stopped server, and returns it.
func dueTogether(b *testing.B, dialect store.Dialect) (due time.Time) {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{Dialect: dialect, Clock: clock.System{}, Migrations: programme.Migrations()})
	must(b, err)
	defer func() { must(b, st.Close()) }()
	must(b, st.Update(b.Context(), func(tx *store.Tx) error {
		due = tx.Now().Add(staticLead)
		_, err := tx.Exec(`UPDATE database_rotations SET planned_at = $1, due_at = $1`, store.Micros(due))
		return err
	}))
	return due
}
