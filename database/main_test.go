package database_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/plugins/mysql"
	"leasehold/plugins/postgres"
	"leasehold/store"
	storepg "leasehold/store/postgres"
	"leasehold/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

const plugin = "postgresql-database-plugin"

// Statements of the wire recordings.
const (
	createStatement = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`
	createOnly      = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}'`
)

// world is an engine with everything real around it but the clock, and a hook into the plugin.
type world struct {
	*testing.T
	pg     *testdb.Server
	clock  *clock.Fake
	store  *store.Store
	leases *lease.Manager
	engine *database.Engine
	hooks  *hooks
	mount  engine.Mount
	caller *engine.Caller

	timeout time.Duration             // the engine's CreateTimeout
	number  int64                     // of the engine's node
	drivers map[string]plugins.Driver // beside PostgreSQL's and MySQL's
	log     *slog.Logger              // nil: nothing is logged

	external   func(name, version string) plugins.Driver // nil: nothing is registered
	registered func(ctx context.Context, name, version string) (bool, error)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, "sqlite")
}

// newWorldOn is newWorld with a store of that kind.
func newWorldOn(t *testing.T, dialect string) *world {
	t.Helper()
	return newWorldAt(t, dialect, time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC))
}

// newWorldAt is newWorldOn with a clock that begins at now.
func newWorldAt(t *testing.T, dialect string, now time.Time) *world {
	t.Helper()
	clk := clock.NewFake(now)
	w := &world{
		T: t, pg: testdb.Shared(t).Scratch(t), clock: clk, hooks: &hooks{},
		store:  newStore(t, dialect, clk),
		mount:  engine.Mount{UUID: "mount-" + secret.Random(secret.Base62, 8).Reveal(), Path: "database/", Type: "database", DefaultTTL: 768 * time.Hour, MaxTTL: 768 * time.Hour},
		caller: &engine.Caller{DisplayName: "token", Type: "service", Root: true},
	}
	w.start()
	return w
}

func newStore(t testing.TB, dialect string, clk clock.Clock) *store.Store {
	t.Helper()
	migrations := append(lease.Migrations(), database.Migrations()...)
	if dialect == "sqlite" {
		return storetest.NewAt(t, clk, migrations...)
	}
	url := secret.NewText(testdb.Shared(t).Scratch(t).URL())
	return storetest.OpenAt(t, storepg.New(storepg.Config{URL: url, MaxConns: 8, Clock: clk}), clk, migrations...)
}

// start makes the engine anew, as a restarted process would.
func (w *world) start() {
	w.Helper()
	var err error
	w.leases, err = lease.New(lease.Config{
		Store: w.store,
		Alive: func(*store.Tx, int64) (bool, error) { return true, nil },
		MountTTL: func(string) (time.Duration, time.Duration) {
			return w.mount.DefaultTTL, w.mount.MaxTTL
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	drivers := map[string]plugins.Driver{plugin: driver{hooks: w.hooks}, "mysql-database-plugin": mysql.Driver{}}
	maps.Copy(drivers, w.drivers)
	e, err := database.New(database.Config{
		Store: w.store, Leases: w.leases, CreateTimeout: w.timeout, Node: func() int64 { return w.number }, Log: w.log,
		Drivers: drivers, External: w.external, Registered: w.registered,
		PasswordPolicy: func(_ context.Context, name string) (func() (secret.Text, error), error) {
			w.hooks.mu.Lock()
			hook := w.hooks.policy
			w.hooks.policy = nil
			w.hooks.mu.Unlock()
			if hook != nil {
				hook()
			}
			if charset, ok := map[string]string{"digits": "0123456789", "upper": "ABCDEF"}[name]; ok {
				return func() (secret.Text, error) { return secret.Random(charset, 12), nil }, nil
			}
			return nil, errs.New(errs.Invalid, "no password policy %q", name)
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(e.Close)
	w.engine = e
}

type data = map[string]any

// send runs one request; the body goes through JSON, as a client's does.
func (w *world) send(op engine.Operation, path string, body data) (*engine.Response, error) {
	w.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	decoded := data{}
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	if err := d.Decode(&decoded); err != nil {
		w.Fatal(err)
	}
	return w.engine.Handle(w.Context(), &engine.Request{
		Operation: op, Mount: w.mount, Path: path, Data: decoded, Caller: w.caller,
	})
}

// must is send for what has to succeed.
func (w *world) must(op engine.Operation, path string, body data) *engine.Response {
	w.Helper()
	resp, err := w.send(op, path, body)
	if err != nil {
		w.Fatalf("%s %s: %v", op, path, err)
	}
	return resp
}

// refused demands an error with the code, whose shown text is the text or, after "...", contains it.
func (w *world) refused(op engine.Operation, path string, body data, code errs.Code, text string) {
	w.Helper()
	_, err := w.send(op, path, body)
	w.isRefusal(err, code, text)
}

func (w *world) isRefusal(err error, code errs.Code, text string) {
	w.Helper()
	shown := errs.From(err)
	if shown == nil {
		w.Fatalf("got %v, want a refusal with %q", err, text)
	}
	part, contains := strings.CutPrefix(text, "...")
	if shown.Code != code || shown.Shown() != text && !(contains && strings.Contains(shown.Shown(), part)) {
		w.Errorf("got code %d, %q; want code %d, %q", shown.Code, shown.Shown(), code, text)
	}
}

func framed(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }

// settings of a connection to the test's database, changed by more.
func (w *world) settings(more data) data {
	s := data{
		"plugin_name":    plugin,
		"connection_url": "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/" + w.pg.Database + "?sslmode=disable",
		"username":       w.pg.User, "password": w.pg.Password, "allowed_roles": []string{"*"},
	}
	for name, value := range more {
		s[name] = value
	}
	return s
}

// connect writes the connection "pg", and the role "app" with createStatement.
func (w *world) connect() {
	w.Helper()
	w.must(engine.Update, "config/pg", w.settings(nil))
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createStatement, "default_ttl": "1h", "max_ttl": "4h"})
}

// account is what creds answered.
type account struct{ user, password, lease string }

func (w *world) creds(role string) account {
	w.Helper()
	return issued(w.must(engine.Read, "creds/"+role, nil))
}

func issued(resp *engine.Response) account {
	return account{resp.Data["username"].(string), resp.Data["password"].(string), resp.Secret.LeaseID}
}

// logsIn reports whether a user can log in.
func (w *world) logsIn(user, password string) bool {
	w.Helper()
	cfg, err := pgx.ParseConfig(w.pg.URL())
	if err != nil {
		w.Fatal(err)
	}
	cfg.User, cfg.Password = user, password
	c, err := pgx.ConnectConfig(w.Context(), cfg)
	if err != nil {
		return false
	}
	return c.Close(w.Context()) == nil
}

// value is the one value of a query, as text.
func (w *world) value(sql string, args ...any) string {
	w.Helper()
	var text *string
	if err := w.pg.Conn(w.T).QueryRow(w.Context(), "SELECT ("+sql+")::text", args...).Scan(&text); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	if text == nil {
		return "null"
	}
	return *text
}

func (w *world) exists(user string) bool {
	w.Helper()
	return w.value("SELECT count(*) FROM pg_roles WHERE rolname = $1", user) == "1"
}

// revoke ends a lease and demands success.
func (w *world) revoke(id string) {
	w.Helper()
	if err := w.leases.Revoke(w.Context(), id, true); err != nil {
		w.Fatalf("revoke %s: %v", id, err)
	}
}

// reap works off what is due, and what the engine itself has to do.
func (w *world) reap() {
	w.Helper()
	if err := w.leases.RunOnce(w.Context()); err != nil {
		w.Fatal(err)
	}
	if err := w.engine.RunOnce(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// root makes a superuser for a connection of its own, dropped when the test ends.
func (w *world) root(password string) string {
	w.Helper()
	name := "root_" + strings.ToLower(secret.Random(secret.Base62, 10).Reveal())
	w.pg.Exec(w.T, `CREATE ROLE `+name+` SUPERUSER LOGIN PASSWORD '`+password+`'`)
	w.Cleanup(func() {
		c, err := testdb.Shared(w).Connect(context.Background())
		if err != nil {
			w.Errorf("drop %s: %v", name, err)
			return
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(context.Background(), `DROP ROLE IF EXISTS `+name); err != nil {
			w.Errorf("drop %s: %v", name, err)
		}
	})
	return name
}

// hooks stand before the plugin's calls; nil ones are passed by.
type hooks struct {
	mu     sync.Mutex
	policy func() // called once, after the connection was read and before anything is written
	create func(ctx context.Context, db plugins.Database, u plugins.User) error
	alter  func(ctx context.Context, db plugins.Database, name string, c plugins.Change) error
	drop   func(ctx context.Context, db plugins.Database, name string, statements []string) error
	asking func()                     // called before the database is asked which users it has
	asked  func(names []string) error // called after it has answered
	opened int                        // open databases
	opens  int                        // databases that were ever opened
}

// set changes the hooks under their lock.
func (h *hooks) set(fn func(h *hooks)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(h)
}

func (h *hooks) count() (opened, opens int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened, h.opens
}

type driver struct {
	postgres.Driver
	hooks *hooks
}

func (d driver) Open(s plugins.Settings) (plugins.Database, error) {
	db, err := d.Driver.Open(s)
	if err != nil {
		return nil, err
	}
	d.hooks.set(func(h *hooks) { h.opened++; h.opens++ })
	return &hooked{Database: db, Lister: db.(plugins.Lister), Marker: db.(plugins.Marker), Granter: db.(plugins.Granter), hooks: d.hooks}, nil
}

type hooked struct {
	plugins.Database
	plugins.Lister
	plugins.Marker
	plugins.Granter
	hooks *hooks
}

func (h *hooked) CreateUser(ctx context.Context, u plugins.User) error {
	h.hooks.mu.Lock()
	hook := h.hooks.create
	h.hooks.mu.Unlock()
	if hook != nil {
		return hook(ctx, h.Database, u)
	}
	return h.Database.CreateUser(ctx, u)
}

func (h *hooked) AlterUser(ctx context.Context, name string, c plugins.Change) error {
	h.hooks.mu.Lock()
	hook := h.hooks.alter
	h.hooks.mu.Unlock()
	if hook != nil {
		return hook(ctx, h.Database, name, c)
	}
	return h.Database.AlterUser(ctx, name, c)
}

func (h *hooked) DropUser(ctx context.Context, name string, statements []string) error {
	h.hooks.mu.Lock()
	hook := h.hooks.drop
	h.hooks.mu.Unlock()
	if hook != nil {
		return hook(ctx, h.Database, name, statements)
	}
	return h.Database.DropUser(ctx, name, statements)
}

func (h *hooked) Accounts(ctx context.Context, names []string, each func(plugins.Account)) error {
	h.hooks.mu.Lock()
	asking, asked := h.hooks.asking, h.hooks.asked
	h.hooks.mu.Unlock()
	if asking != nil {
		asking()
	}
	err := h.Marker.Accounts(ctx, names, each)
	if err == nil && asked != nil {
		err = asked(names)
	}
	return err
}

func (h *hooked) Close() error {
	h.hooks.set(func(h *hooks) { h.opened-- })
	return h.Database.Close()
}

// rows counts a table.
func (w *world) rows(table string) (n int) {
	w.Helper()
	err := w.store.View(w.Context(), func(tx *store.Tx) error { return tx.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n) })
	if err != nil {
		w.Fatal(err)
	}
	return n
}
