package history

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// binary is built once.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary)) }

// nodes is how many servers share the store.
const nodes = 3

// world is three nodes on one store, the database that they make users in, and what clients know of it all.
type world struct {
	t      *testing.T
	node   [nodes]*proctest.Server
	down   [nodes]atomic.Bool // something is being done to the node: clients of others stay away
	store  *testdb.Server
	target *testdb.Server
	faults bool // calls may have no answer

	record *record
	names  atomic.Int64

	mu       sync.Mutex
	policies []*policy      // in use, like the next five; guarded by mu
	roles    []*role        // guarded by mu
	secrets  []*secret      // guarded by mu
	trees    []*tree        // guarded by mu
	mounts   []*mount       // guarded by mu
	limited  []*limited     // guarded by mu
	leases   []*lease       // all that clients were told of; guarded by mu
	worn     map[string]int // how many calls each object has had without an answer; guarded by mu
	strange  map[string]int // answers that no verb expects, and how often they came; guarded by mu
}

func newWorld(t *testing.T, faults bool) *world {
	t.Helper()
	w := &world{t: t, faults: faults, record: newRecord(), worn: map[string]int{}, strange: map[string]int{}}
	w.store, w.target = testdb.Postgres(t, testdb.With("log_statement", "none")), testdb.Postgres(t, testdb.With("log_statement", "none"))
	storage := proctest.PostgreSQL(w.store.URL())
	for i := range w.node {
		w.node[i] = proctest.NewOn(t, binary, storage, "")
		must(t, w.node[i].Start())
		if i == 0 {
			must(t, w.node[0].Init())
		} else {
			must(t, w.node[i].Join(w.node[0]))
		}
	}
	w.root(http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	w.root(http.MethodPost, "sys/mounts/database", map[string]any{"type": "database"})
	w.root(http.MethodPut, "sys/policies/acl/holder", map[string]any{
		"policy": `path "auth/token/*" { capabilities = ["create", "update", "read", "sudo"] }
			path "database/creds/*" { capabilities = ["read"] }`,
	})
	for _, letter := range letters {
		w.root(http.MethodPost, "kv/data/"+letter, map[string]any{"data": map[string]any{"there": true}})
	}
	w.root(http.MethodPost, "database/config/steady", w.connectionBody(w.target.User, w.target.Password))
	for _, role := range []string{"steady", "held"} {
		w.root(http.MethodPost, "database/roles/"+role, roleBody("steady", lifetime(0)))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// root is a call that must succeed.
func (w *world) root(method, path string, body any) map[string]any {
	w.t.Helper()
	got, err := w.node[0].Root(method, path, body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// connectionBody is a connection to the target as one of its superusers.
func (w *world) connectionBody(user, password string) map[string]any {
	return map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"connection_url": "postgresql://{{username}}:{{password}}@" + w.target.Addr + "/" + w.target.Database + "?sslmode=disable",
		"username":       user, "password": password, "allowed_roles": "*", "max_open_connections": 6,
		"username_template": userTemplate(0),
	}
}

// userTemplate makes names that tell which template was in force. All begin with what [world.users] looks for.
func userTemplate(n int) string { return fmt.Sprintf("v-%d-{{random 20}}", n) }

func roleBody(connection string, ttl int) map[string]any {
	return map[string]any{
		"db_name": connection, "default_ttl": ttl, "max_ttl": "240h",
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
	}
}

// name is a new number for an object.
func (w *world) name() int { return int(w.names.Add(1)) }

// complain notes an answer that nothing explains.
func (w *world) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strange[fmt.Sprintf(format, args...)]++
}

// sql runs a statement at the target.
func (w *world) sql(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := w.target.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// users are the names in the target that the nodes made, and until when each can log in.
func (w *world) users() map[string]time.Time {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := w.target.Connect(ctx)
	must(w.t, err)
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT rolname, rolvaliduntil FROM pg_roles WHERE rolname LIKE 'v-%'`)
	must(w.t, err)
	type user struct {
		Name  string
		Until time.Time
	}
	users, err := pgx.CollectRows(rows, pgx.RowToStructByPos[user])
	must(w.t, err)
	there := map[string]time.Time{}
	for _, u := range users {
		there[u.Name] = u.Until
	}
	return there
}

// text walks into an answer.
func text(answer map[string]any, keys ...string) string {
	s, _ := dig(answer, keys...).(string)
	return s
}

func number(answer map[string]any, keys ...string) float64 {
	n, _ := dig(answer, keys...).(float64)
	return n
}

func dig(answer map[string]any, keys ...string) any {
	var at any = answer
	for _, key := range keys {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}
