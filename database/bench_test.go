package database_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/plugins/postgres"
	"leasehold/store"
	"leasehold/store/storetest"
)

// BenchmarkCredentials asks what the engine costs beside the database's own work: "plugin" makes and drops users by the
// plugin alone, "engine" through creds and revoke, with the store's two commits for each. Both databases are durable.
func BenchmarkCredentials(b *testing.B) {
	pg := testdb.Postgres(b, testdb.Durable())
	settings := plugins.Settings{
		"connection_url": "postgresql://{{username}}:{{password}}@" + pg.Addr + "/" + pg.Database + "?sslmode=disable",
		"username":       pg.User, "password": pg.Password, "max_open_connections": "16",
	}
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("plugin/%d", clients), func(b *testing.B) {
			db, err := postgres.Driver{}.Open(settings)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			parallel(b, clients, func(ctx context.Context) error {
				name := "bench-" + secret.Random(secret.Base62, 20).Reveal()
				err := db.CreateUser(ctx, plugins.User{
					Name: name, Password: secret.Random(secret.Base62, 20), Statements: []string{createOnly},
					Expiration: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
				})
				if err != nil {
					return err
				}
				return db.DropUser(ctx, name, nil)
			})
		})
		b.Run(fmt.Sprintf("engine/%d", clients), func(b *testing.B) {
			e, leases := benchEngine(b)
			send := func(ctx context.Context, op engine.Operation, path string, body data) (*engine.Response, error) {
				return e.Handle(ctx, &engine.Request{
					Operation: op, Path: path, Data: body, Caller: &engine.Caller{DisplayName: "token"},
					Mount: engine.Mount{UUID: "bench", Path: "database/", DefaultTTL: time.Hour, MaxTTL: time.Hour},
				})
			}
			body := data{"plugin_name": plugin, "allowed_roles": "*"}
			for name, value := range settings {
				body[name] = value
			}
			for path, body := range map[string]data{"config/pg": body, "roles/app": {"db_name": "pg", "creation_statements": createOnly}} {
				if _, err := send(b.Context(), engine.Update, path, body); err != nil {
					b.Fatal(err)
				}
			}
			parallel(b, clients, func(ctx context.Context) error {
				resp, err := send(ctx, engine.Read, "creds/app", nil)
				if err != nil {
					return err
				}
				return leases.Revoke(ctx, resp.Secret.LeaseID, true)
			})
		})
	}
}

func benchEngine(b *testing.B) (*database.Engine, *lease.Manager) {
	b.Helper()
	st := storetest.NewAt(b, clock.System{}, append(lease.Migrations(), database.Migrations()...)...)
	leases, err := lease.New(lease.Config{
		Store: st, Alive: func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) { return time.Hour, time.Hour },
	})
	if err != nil {
		b.Fatal(err)
	}
	e, err := database.New(database.Config{Store: st, Leases: leases, Drivers: map[string]plugins.Driver{plugin: postgres.Driver{}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Close)
	return e, leases
}

// parallel runs work b.N times with that many clients, and reports accounts per second.
func parallel(b *testing.B, clients int, work func(context.Context) error) {
	b.Helper()
	b.ResetTimer()
	turns := make(chan struct{}, b.N)
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	failed := make(chan error, clients)
	for range clients {
		go func() {
			var err error
			for range turns {
				if err = work(b.Context()); err != nil {
					break
				}
			}
			failed <- err
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accounts/s")
}
