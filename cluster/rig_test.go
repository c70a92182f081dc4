package cluster

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

const creation = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON orders TO "{{name}}";`

const brokerPassword = "canary-broker-Pw0rd-3f9a"

// patience is how long an event is waited for before the test fails. It is no measure of how long it may take.
const patience = 3 * time.Minute

// rig is a store, target databases, nodes, and what clients were told.
type rig struct {
	t       *testing.T
	store   *testdb.Server
	folders []string      // of the store's servers and of retired nodes
	look    *pgxpool.Pool // of the store
	targets []*target
	nodes   []*node
	book    *book

	roles    []string
	answered chan struct{} // receives after an answered operation under load
}

// node is a server of the rig.
type node struct {
	*proctest.Server
	paused atomic.Bool // told to stop where it is: it would answer later
}

// target is a database in which users are made.
type target struct {
	*testdb.Server
	pool *pgxpool.Pool
}

// options are what tests set differently.
type options struct {
	targets int    // 0: 2
	url     string // of the store as nodes see it; empty: the store's own
}

// newRig starts a store and targets. It has no nodes yet.
func newRig(t *testing.T, store *testdb.Server, o options) *rig {
	t.Helper()
	r := &rig{t: t, store: store, folders: []string{filepath.Dir(store.LogFile)}, book: newBook(), answered: make(chan struct{})}
	if o.url == "" {
		o.url = store.URL()
	}
	r.look = r.pool(o.url)
	if o.targets == 0 {
		o.targets = 2
	}
	for range o.targets {
		db := testdb.Postgres(t)
		r.targets = append(r.targets, &target{db, r.pool(db.URL())})
		r.makeBroker(r.targets[len(r.targets)-1], "broker")
		db.Exec(t, `CREATE TABLE orders (id int)`)
	}
	r.book.secret(brokerPassword)
	return r
}

// makeBroker makes a user that connections log in as. It is made unseen, so that the server's log does not hold its password
// from the start.
func (r *rig) makeBroker(target *target, name string) {
	r.t.Helper()
	quiet, err := target.Connect(context.Background())
	r.must(err)
	defer func() { _ = quiet.Close(context.Background()) }()
	for _, statement := range []string{`SET log_statement = 'none'`, `CREATE ROLE "` + name + `" SUPERUSER LOGIN PASSWORD '` + brokerPassword + `'`} {
		_, err := quiet.Exec(r.t.Context(), statement)
		r.must(err)
	}
}

// pool is a pool of connections for looking, closed when the test ends.
func (r *rig) pool(url string) *pgxpool.Pool {
	r.t.Helper()
	config, err := pgxpool.ParseConfig(url)
	r.must(err)
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	r.must(err)
	r.t.Cleanup(pool.Close)
	return pool
}

// node adds a node on the store at url, and starts it. The first initialises the store and writes the configuration.
func (r *rig) node(url string, env ...string) *node {
	r.t.Helper()
	n := &node{Server: proctest.NewOn(r.t, binary, proctest.PostgreSQL(url), "")}
	r.must(n.Start(env...))
	r.nodes = append(r.nodes, n)
	if len(r.nodes) > 1 {
		r.must(n.Join(r.nodes[0].Server))
		return n
	}
	r.must(n.Init())
	key, err := base64.StdEncoding.DecodeString(n.UnsealKey)
	r.must(err)
	r.book.secret(n.RootToken, n.UnsealKey, hex.EncodeToString(key), string(key))
	r.configure()
	return n
}

// nodesOn adds several nodes.
func (r *rig) nodesOn(url string, count int) {
	r.t.Helper()
	for range count {
		r.node(url)
	}
}

// configure writes an audit device, a policy, and for each target a connection and three roles.
func (r *rig) configure() {
	r.t.Helper()
	r.root(http.MethodPut, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]any{"file_path": filepath.Join(r.nodes[0].Dir, "audit.log")},
	})
	r.root(http.MethodPost, "sys/policies/acl/app", map[string]any{"policy": `path "database/creds/*" { capabilities = ["read"] }
		path "auth/token/create" { capabilities = ["update"] }`})
	r.root(http.MethodPost, "sys/mounts/database", map[string]any{"type": "database"})
	for i, target := range r.targets {
		r.connect(fmt.Sprint("pg", i), target, "broker")
		for _, role := range []string{"app", "web", "batch"} {
			r.role(fmt.Sprint(role, i), fmt.Sprint("pg", i))
		}
	}
}

// connect configures a connection.
func (r *rig) connect(name string, target *target, user string) {
	r.t.Helper()
	r.root(http.MethodPost, "database/config/"+name, map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"connection_url": "postgresql://{{username}}:{{password}}@" + target.Addr + "/" + target.Database + "?sslmode=disable",
		"username":       user, "password": brokerPassword, "allowed_roles": "*", "max_open_connections": 8,
	})
}

// role configures a role. Every issue and every renewal asks for the same lifetime, so no later one ends before an earlier.
func (r *rig) role(name, connection string) {
	r.t.Helper()
	r.roles = append(r.roles, name)
	r.root(http.MethodPost, "database/roles/"+name, map[string]any{
		"db_name": connection, "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": creation,
	})
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// root asks the first node with the root token.
func (r *rig) root(method, path string, body any) map[string]any {
	r.t.Helper()
	got, err := r.nodes[0].Root(method, path, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// retire ends a node for good.
func (r *rig) retire(n *node) {
	n.Stop()
	r.folders = append(r.folders, n.Dir)
	r.nodes = slices.DeleteFunc(r.nodes, func(other *node) bool { return other == n })
}

// answering is any node that was not told to stop where it is.
func (r *rig) answering(dice *rand.Rand) *node {
	for {
		if n := r.nodes[dice.IntN(len(r.nodes))]; !n.paused.Load() {
			return n
		}
	}
}

// await polls until nothing is missing any more. The event is in another process, so there is nothing to wait on.
func (r *rig) await(missing func() string) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			r.explain()
			r.t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// explain logs the ends of the nodes' logs.
func (r *rig) explain() {
	for i, n := range r.nodes {
		log, _ := os.ReadFile(n.LogFile())
		r.t.Logf("the log of node %d ends:\n%s", i, log[max(0, len(log)-2500):])
	}
}

// query reads one column of texts.
func query(r *rig, pool *pgxpool.Pool, sql string, args ...any) []string {
	r.t.Helper()
	rows, _ := pool.Query(context.Background(), sql, args...)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return texts
}

// count reads one number.
func count(r *rig, pool *pgxpool.Pool, sql string, args ...any) (n int64) {
	r.t.Helper()
	if err := pool.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// number is a node's number in the store; 0: it is not registered.
func (r *rig) number(n *node) int64 {
	r.t.Helper()
	return count(r, r.look, `SELECT coalesce(max(seq), 0) FROM nodes WHERE api_address = $1`, n.URL())
}

// registered is a node's number once it has one: a slow one may have been taken for dead a moment ago.
func (r *rig) registered(n *node) (number int64) {
	r.t.Helper()
	r.await(func() string {
		if number = r.number(n); number == 0 {
			return "a node is to register"
		}
		return ""
	})
	return number
}

// stopped reports whether a node's process stands still.
func (r *rig) stopped(n *node) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	r.must(err)
	_, rest, _ := strings.Cut(string(stat), ") ") // behind the program's name comes the state
	return strings.HasPrefix(rest, "T")
}

// status is that of an answer; 0: there was none.
func status(err error) int {
	var answer *proctest.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &answer):
		return answer.Status
	}
	return 0
}
