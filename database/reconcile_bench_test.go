package database_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/testdb"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// What does it cost to compare that many users with as many leases, and how much memory is held meanwhile? All are in order, but for one
// orphan, for whose sake every lease of the store is looked at.
//
// 100,000 take 1.4 s of this process's time on SQLite and 1.3 s on PostgreSQL, and hold 8 MB.
func BenchmarkReconcile(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgresql"} {
		for _, n := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", dialect, n), func(b *testing.B) { benchReconcile(b, dialect, n) })
		}
	}
}

func benchReconcile(b *testing.B, dialect string, n int) {
	pg := testdb.Postgres(b) // of its own: its roles go with it
	st := newStore(b, dialect, clock.System{})
	leases, err := lease.New(lease.Config{
		Store: st, Alive: func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) { return time.Hour, time.Hour },
	})
	if err != nil {
		b.Fatal(err)
	}
	hooks := &hooks{}
	e, err := database.New(database.Config{Store: st, Leases: leases, Drivers: map[string]plugins.Driver{plugin: driver{hooks: hooks}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Close)
	send := func(op engine.Operation, path string, body data) *engine.Response {
		resp, err := e.Handle(b.Context(), &engine.Request{
			Operation: op, Path: path, Data: body, Mount: engine.Mount{UUID: "bench", Path: "database/", DefaultTTL: time.Hour, MaxTTL: time.Hour},
		})
		if err != nil {
			b.Fatalf("%s: %v", path, err)
		}
		return resp
	}
	send(engine.Update, "config/pg", data{
		"plugin_name": plugin, "allowed_roles": "*", "username": pg.User, "password": pg.Password,
		"connection_url": "postgresql://{{username}}:{{password}}@" + pg.Addr + "/" + pg.Database + "?sslmode=disable",
	})
	send(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly})
	first := issued(send(engine.Read, "creds/app", nil))
	prefix := first.user + "-"
	pg.Exec(b, fmt.Sprintf(`DO $$ DECLARE mark text := shobj_description('%q'::regrole, 'pg_authid'); BEGIN FOR i IN 1..%d LOOP
		EXECUTE format('CREATE ROLE %%I', '%[3]s' || i); EXECUTE format('COMMENT ON ROLE %%I IS %%L', '%[3]s' || i, mark);
		IF i %% 1000 = 0 THEN COMMIT; END IF; END LOOP; END $$`, first.user, n, prefix))
	for from := 2; from <= n; from += 5000 { // all but the first
		err := st.Update(b.Context(), func(tx *store.Tx) error {
			for i := from; i < min(from+5000, n+1); i++ {
				id := fmt.Sprintf("database/creds/app/%024d", i)
				payload, err := json.Marshal(map[string]string{"role": "app", "user": fmt.Sprint(prefix, i)})
				if err != nil {
					return err
				}
				sealed, err := tx.Seal(store.Cell{Table: "leases", Column: "payload", Key: id}, payload)
				if err != nil {
					return err
				}
				now := store.Micros(tx.Now())
				if _, err := tx.Exec(`INSERT INTO leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at,
						renewable, attempts, drops, version, payload)
					VALUES ($1, 1, 0, 'active', $2, $3, $2, 0, 0, 1, 0, 0, 2, $4)`, id, now+3_600_000_000, now, sealed); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	before, held := heap(), 0.0
	hooks.asked = func(names []string) error {
		if names == nil {
			held = heap() - before
		}
		return nil
	}
	cpu := func() time.Duration {
		var own syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
			b.Fatal(err)
		}
		return time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	spent := cpu()
	b.ResetTimer()
	for range b.N {
		found := send(engine.Read, "reconcile/pg", nil).Data
		if found["orphan_count"] != 1 || found["missing_count"] != 0 || found["user_count"] != n+1 {
			b.Fatalf("got %v orphans, %v missing, %v users", found["orphan_count"], found["missing_count"], found["user_count"])
		}
	}
	b.StopTimer()
	b.ReportMetric(held, "MB-held")
	b.ReportMetric((cpu()-spent).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "users/s")
	hooks.asked = nil
}
