package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"leasehold/auth"
	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/plugins/postgres"
	"leasehold/store"
	pgstore "leasehold/store/postgres"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// full says that the long form was asked for.
var full = os.Getenv("LEASEHOLD_FAULTS") == "full"

// either is a number for the short form and one for the long form.
func either[T any](short, long T) T {
	if full {
		return long
	}
	return short
}

// setup is what a world is like. The zero value: an SQLite store, and the product's own budgets.
type setup struct {
	targets  []string      // the connections; each has a role of its name
	shared   bool          // the store is a PostgreSQL database, behind a proxy as well
	budget   time.Duration // for creating and for revoking
	conns    int           // of a connection's pool; 0: 4
	urlQuery string        // added to the connections' URLs
}

// world is a node without its listeners, and what its clients were told.
type world struct {
	*testing.T
	setup
	name       string // of whoever asks, and so a part of the users' names
	clock      *clock.Fake
	store      *store.Store
	tokens     *auth.Store
	leases     *lease.Manager
	engine     *database.Engine
	mount      engine.Mount
	log        *lines
	admin      *pgx.Conn
	proxies    map[string]*proxy // by target
	storeProxy *proxy            // with a shared store

	mu   sync.Mutex
	held map[string]login      // acknowledged, and nobody has asked for their end; guarded by mu
	gone map[string]login      // revocation acknowledged, or their end is past; guarded by mu
	live map[int64]secret.Text // acknowledged tokens that live; guarded by mu
}

// login is what a client was given.
type login struct{ lease, user, password, target string }

const (
	longTTL = 30 * 24 * time.Hour // outlives every test
	plugin  = "postgresql-database-plugin"
)

// worlds counts them.
var worlds atomic.Int64

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{
		T: t, setup: s, name: fmt.Sprint("w", worlds.Add(1)), log: &lines{}, proxies: map[string]*proxy{},
		clock: clock.NewFake(time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)),
		mount: engine.Mount{UUID: "mount", Path: "database/", Type: "database", DefaultTTL: longTTL, MaxTTL: 10 * longTTL},
		held:  map[string]login{}, gone: map[string]login{}, live: map[int64]secret.Text{},
	}
	w.admin = testdb.Shared(t).Conn(t)
	w.openStore()
	w.start()
	for _, name := range s.targets {
		w.addTarget(name)
	}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) openStore() {
	w.Helper()
	migrations := slices.Concat(auth.Migrations(), lease.Migrations(), database.Migrations())
	dialect := sqlite.New(sqlite.Config{Path: filepath.Join(w.TempDir(), "store.db")})
	if w.shared {
		moved := testdb.Shared(w).Scratch(w)
		w.storeProxy = newProxy(w.T, moved.Addr)
		moved.Addr = w.storeProxy.addr
		dialect = pgstore.New(pgstore.Config{URL: secret.NewText(moved.URL()), MaxConns: 8, Clock: w.clock})
	}
	w.store = storetest.OpenAt(w.T, dialect, w.clock, migrations...)
}

// start makes the parts anew, as a restarted process would.
func (w *world) start() {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	w.tokens, err = auth.New(auth.Config{Store: w.store, DueLeases: func(tx *store.Tx, token int64, limit int) (int, error) {
		return w.leases.DueByToken(tx, token, limit)
	}})
	w.must(err)
	w.leases, err = lease.New(lease.Config{
		Store: w.store, Log: log, Alive: w.tokens.Alive, CreateBudget: w.budget, RevokeBudget: w.budget,
		MountTTL: func(string) (time.Duration, time.Duration) { return w.mount.DefaultTTL, w.mount.MaxTTL },
	})
	w.must(err)
	e, err := database.New(database.Config{
		Store: w.store, Leases: w.leases, CreateTimeout: w.budget, Clock: w.clock, Log: log,
		Drivers: map[string]plugins.Driver{plugin: postgres.Driver{}},
	})
	w.must(err)
	w.Cleanup(e.Close)
	w.engine = e
}

type data = map[string]any

// addTarget configures a connection to the server through a proxy of its own, and a role of its name.
func (w *world) addTarget(name string) {
	w.Helper()
	pg := testdb.Shared(w)
	p := newProxy(w.T, pg.Addr)
	w.proxies[name] = p
	user, password := "broker_"+w.name+"_"+name, secret.Random(secret.Base62, 20).Reveal()
	w.sql(`CREATE ROLE ` + user + ` SUPERUSER LOGIN PASSWORD '` + password + `'`)
	conns := w.conns
	if conns == 0 {
		conns = 4
	}
	w.request(engine.Update, "config/"+name, data{
		"plugin_name": plugin, "username": user, "password": password, "allowed_roles": "*", "max_open_connections": conns,
		"connection_url": "postgresql://{{username}}:{{password}}@" + p.addr + "/" + pg.Database + "?sslmode=disable" + w.urlQuery,
	})
	w.role(name, name, longTTL)
}

// role writes a role. Its users have no password, whose hashing would take most of the time.
func (w *world) role(name, target string, ttl time.Duration) {
	w.Helper()
	w.request(engine.Update, "roles/"+name, data{
		"db_name": target, "default_ttl": ttl.String(), "max_ttl": (10 * longTTL).String(),
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN VALID UNTIL '{{expiration}}'`,
	})
}

func (w *world) sql(statement string) {
	w.Helper()
	_, err := w.admin.Exec(context.Background(), statement)
	w.must(err)
}

// send runs one request as the root token, or as the given one.
func (w *world) send(op engine.Operation, path string, body data, token int64) (*engine.Response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var decoded data
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	if err := d.Decode(&decoded); err != nil {
		return nil, err
	}
	return w.engine.Handle(context.Background(), &engine.Request{
		Operation: op, Mount: w.mount, Path: path, Data: decoded,
		Caller: &engine.Caller{DisplayName: w.name, Type: "service", Root: true, LeaseParent: token},
	})
}

// request is send for what has to succeed.
func (w *world) request(op engine.Operation, path string, body data) {
	w.Helper()
	if _, err := w.send(op, path, body, 0); err != nil {
		w.Fatalf("%s %s: %v", op, path, err)
	}
}

// issue takes credentials and remembers them as acknowledged. Safe for concurrent use, as all that clients do.
func (w *world) issue(role string, token int64) (login, error) {
	resp, err := w.send(engine.Read, "creds/"+role, nil, token)
	if err != nil {
		return login{}, err
	}
	l := login{lease: resp.Secret.LeaseID, target: role}
	l.user, _ = resp.Data["username"].(string)
	l.password, _ = resp.Data["password"].(string)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[l.lease] = l
	return l, nil
}

func (w *world) mustIssue(role string) login {
	w.Helper()
	l, err := w.issue(role, 0)
	if err != nil {
		w.Fatalf("issue on %s: %v", role, err)
	}
	return l
}

// issueMany has n users made, by so many clients at once.
func (w *world) issueMany(role string, clients, n int, token int64) {
	w.Helper()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for range (n + clients - 1 - i) / clients {
				if _, err := w.issue(role, token); err != nil {
					w.Errorf("issue on %s: %v", role, err)
					return
				}
			}
		})
	}
	all.Wait()
	if w.Failed() {
		w.FailNow()
	}
}

// renew asks for the longest lifetime.
func (w *world) renew(l login) error {
	_, _, err := w.leases.Renew(context.Background(), l.lease, longTTL)
	return err
}

// revoke takes the lease out of what must be kept before it asks, and puts it into what must be gone when it is answered.
func (w *world) revoke(l login) error {
	w.forget(l)
	err := w.leases.Revoke(context.Background(), l.lease, true)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gone[l.lease] = l
	}
	return err
}

// forget says that nobody relies on a lease any more.
func (w *world) forget(l login) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, l.lease)
}

// heldOf are the acknowledged leases of a role.
func (w *world) heldOf(role string) []login {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []login
	for _, l := range w.held {
		if l.target == role {
			all = append(all, l)
		}
	}
	return all
}

// end says that the time of a role's leases is past.
func (w *world) end(role string) {
	for _, l := range w.heldOf(role) {
		w.mu.Lock()
		delete(w.held, l.lease)
		w.gone[l.lease] = l
		w.mu.Unlock()
	}
}

// token makes a token that outlives the test.
func (w *world) token(parent int64) (int64, error) {
	t, text, err := w.tokens.Create(context.Background(), auth.Spec{
		Path: "auth/token/create", Parent: parent, DisplayName: "token", Policies: []string{"default"}, TTL: longTTL, Renewable: true,
	})
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[t.Seq] = text
	return t.Seq, nil
}

// reap is what the server does each second.
func (w *world) reap() {
	w.Helper()
	w.must(w.tokens.RunOnce(w.Context()))
	w.must(w.leases.RunOnce(w.Context()))
	w.must(w.engine.RunOnce(w.Context()))
}

// settle lets so much time pass that every outcome that was unknown is known: a creation's four drops, and every back-off.
func (w *world) settle() {
	w.Helper()
	w.reap()
	for _, d := range []time.Duration{30 * time.Second, 20 * time.Second, 3 * time.Minute, 16 * time.Minute} {
		w.clock.Advance(d)
		w.reap()
	}
}

// users are the names of a role's users.
func (w *world) users(role string) []string {
	w.Helper()
	rows, err := w.admin.Query(context.Background(), `SELECT rolname FROM pg_roles WHERE rolname LIKE $1 ORDER BY 1`, "v-"+w.name+"-"+role+"-%")
	w.must(err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	w.must(err)
	return names
}

// rows are all leases of the store, in any state, as their users.
func (w *world) rows() (users map[string]lease.Record) {
	w.Helper()
	users = map[string]lease.Record{}
	targets, err := w.leases.Targets(w.Context(), database.Kind)
	w.must(err)
	for _, target := range targets {
		w.must(w.leases.Walk(w.Context(), target, func(page []lease.Record) error {
			for _, r := range page {
				var payload struct{ User string }
				if err := json.Unmarshal(r.Payload, &payload); err != nil {
					return err
				}
				if other, twice := users[payload.User]; twice {
					w.Errorf("two leases have the user %s: %s and %s", payload.User, other.ID, r.ID)
				}
				users[payload.User] = r
			}
			return nil
		}))
	}
	return users
}

// close is the closing check. Nothing may be going on.
func (w *world) close() {
	w.Helper()
	w.settle()
	leases := w.rows()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(leases)), w.users("%"), cmpopts.EquateEmpty()); diff != "" {
		w.Errorf("users of leases (-), users in the database (+):\n%s", diff)
	}
	for user, r := range leases {
		if r.State != lease.Active {
			w.Errorf("lease %s of %s is still %s: %s", r.ID, user, r.State, r.Failure)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.held {
		if leases[l.user].ID != l.lease {
			w.Errorf("the acknowledged lease %s of %s is lost", l.lease, l.user)
		}
	}
	for _, l := range w.gone {
		if r, there := leases[l.user]; there {
			w.Errorf("the lease %s of %s has ended, and is still there: %s", l.lease, l.user, r.State)
		}
	}
	for seq, text := range w.live {
		if _, err := w.tokens.Authenticate(w.Context(), text, "127.0.0.1"); err != nil {
			w.Errorf("the acknowledged token %d is lost: %v", seq, err)
		}
	}
}

// lines counts what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte("\n"))
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l login) String() string { return fmt.Sprintf("%s (%s)", l.user, l.lease) }
