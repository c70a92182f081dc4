package crash

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/server/proctest"
)

// binary is built with failpoints, once.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary, "failpoint")) }

// creds is a login that a client was given.
type creds struct{ lease, user, password string }

// target is the database that the server makes users in. It has a user "broker", for the server, and a log of statements.
type target interface {
	name() string               // of its connection
	connection() map[string]any // the body of config/:name, but for user and password
	setup() []string            // statements that make the user, unseen by the log, and something to read
	exec(statement string) error
	creation() string         // the role's statements
	users() ([]string, error) // that the broker made, sorted
	login(c creds) error
	log() (path, evidence string) // evidence is a text that a log of statements must hold
}

// rig is a server, its database, and what clients were told.
type rig struct {
	t   *testing.T
	srv *proctest.Server
	db  target

	answered chan struct{} // receives after an operation under load

	mu      sync.Mutex
	held    map[string]creds // acknowledged, and nobody asked to revoke them; guarded by mu
	gone    map[string]creds // revocation acknowledged; guarded by mu
	secrets map[string]bool  // whatever must be found nowhere; guarded by mu
}

const brokerPassword = "canary-broker-Pw0rd-3f9a"

// newRig starts PostgreSQL and a server with one connection and one role, and an audit file.
func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, newPostgres(t))
}

// newRigOn starts a server for a database.
func newRigOn(t *testing.T, db target) *rig {
	t.Helper()
	r := &rig{
		t: t, db: db, srv: proctest.New(t, binary, ""), answered: make(chan struct{}),
		held: map[string]creds{}, gone: map[string]creds{}, secrets: map[string]bool{brokerPassword: true},
	}
	for _, statement := range db.setup() {
		r.sql(statement)
	}
	r.must(r.srv.Start())
	r.must(r.srv.Init())
	r.secrets[r.srv.RootToken] = true
	key, err := base64.StdEncoding.DecodeString(r.srv.UnsealKey)
	r.must(err)
	r.secrets[r.srv.UnsealKey], r.secrets[hex.EncodeToString(key)], r.secrets[string(key)] = true, true, true

	r.root(http.MethodPut, "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(r.srv.Dir, "audit.log")}})
	r.root(http.MethodPost, "sys/mounts/database", map[string]any{"type": "database"})
	config := db.connection()
	config["username"], config["password"], config["allowed_roles"], config["max_open_connections"] = "broker", brokerPassword, "*", 8
	r.root(http.MethodPost, "database/config/"+db.name(), config)
	r.root(http.MethodPost, "database/roles/app", map[string]any{
		"db_name": db.name(), "default_ttl": "1h", "max_ttl": "24h", "creation_statements": db.creation(),
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) sql(statement string) {
	r.t.Helper()
	r.must(r.db.exec(statement))
}

func (r *rig) root(method, path string, body any) map[string]any {
	r.t.Helper()
	got, err := r.srv.Root(method, path, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// issue takes credentials and remembers them as acknowledged.
func (r *rig) issue() (creds, error) {
	got, err := r.srv.Root(http.MethodGet, "database/creds/app", nil)
	if err != nil {
		return creds{}, err
	}
	data, _ := got["data"].(map[string]any)
	c := creds{}
	c.lease, _ = got["lease_id"].(string)
	c.user, _ = data["username"].(string)
	c.password, _ = data["password"].(string)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[c.lease] = c
	r.secrets[c.password] = true
	return c, nil
}

func (r *rig) renew(c creds) error {
	_, err := r.srv.Root(http.MethodPut, "sys/leases/renew", map[string]any{"lease_id": c.lease, "increment": 1800})
	return err
}

// revoke takes the lease out of what must be kept before it asks, and puts it into what must be gone when it is answered.
func (r *rig) revoke(c creds, sync bool) error {
	r.mu.Lock()
	delete(r.held, c.lease)
	r.mu.Unlock()
	_, err := r.srv.Root(http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": c.lease, "sync": sync})
	if err == nil {
		r.mu.Lock()
		r.gone[c.lease] = c
		r.mu.Unlock()
	}
	return err
}

// users are the names that the broker made and that exist.
func (r *rig) users() []string {
	r.t.Helper()
	names, err := r.db.users()
	r.must(err)
	return names
}

// leases are the ids that the server knows.
func (r *rig) leases() []string {
	r.t.Helper()
	got, err := r.srv.Root("LIST", "sys/leases/lookup/database/creds/app", nil)
	var answer *proctest.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	r.must(err)
	data, _ := got["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	var ids []string
	for _, key := range keys {
		ids = append(ids, fmt.Sprint("database/creds/app/", key))
	}
	return ids
}

// close is the closing check. It waits for the reaper's round, because what a dead process left is worked off after the
// store is unsealed; it does not wait for anything to expire.
func (r *rig) close() {
	r.t.Helper()
	var users, leases []string
	for deadline := time.Now().Add(30 * time.Second); ; {
		users, leases = r.users(), r.leases()
		if len(users) == len(leases) && !r.anyGoneLeft(users) || time.Now().After(deadline) {
			break
		}
		<-time.After(20 * time.Millisecond) // the event, a drop in another process, can only be polled for
	}
	if len(users) != len(leases) {
		r.t.Errorf("%d users in the database, %d live leases", len(users), len(leases))
		r.explain(leases)
	}
	for _, c := range r.held {
		if !slices.Contains(users, c.user) {
			r.t.Errorf("acknowledged user %s is lost", c.user)
		}
		if !slices.Contains(leases, c.lease) {
			r.t.Errorf("acknowledged lease %s is lost", c.lease)
		}
	}
	for _, c := range r.gone {
		if slices.Contains(users, c.user) {
			r.t.Errorf("revoked user %s is still there", c.user)
		}
	}
}

// explain logs what the server says of the leases that should not be there, and the end of its log.
func (r *rig) explain(leases []string) {
	said := 0
	for _, id := range leases {
		if _, held := r.held[id]; held || said == 5 {
			continue
		}
		said++
		got, err := r.srv.Root(http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": id})
		r.t.Logf("%s: %v %v", id, got["data"], err)
	}
	log, _ := os.ReadFile(r.srv.LogFile())
	r.t.Logf("the server's log ends:\n%s", log[max(0, len(log)-3000):])
}

func (r *rig) anyGoneLeft(users []string) bool {
	for _, c := range r.gone {
		if slices.Contains(users, c.user) {
			return true
		}
	}
	return false
}

// login tries credentials at the database itself.
func (r *rig) login(c creds) error { return r.db.login(c) }

// searchForSecrets looks for every secret of the run in every file of the server and in the database's log.
func (r *rig) searchForSecrets() {
	r.t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.srv.Dir, "*"))
	r.must(err)
	statements, evidence := r.db.log()
	looked := 0
	for _, path := range append(paths, statements) {
		data, err := os.ReadFile(path)
		if err != nil {
			r.t.Errorf("read %s: %v", path, err)
			continue
		}
		looked++
		if n := found(data, r.secrets); n > 0 {
			r.t.Errorf("secrets are found in %s, in %d places", filepath.Base(path), n)
		}
	}
	if looked < 4 || len(r.secrets) < 5 { // the store, its log, the audit file, the database's log
		r.t.Errorf("searched only %d files for %d secrets", looked, len(r.secrets))
	}
	log, err := os.ReadFile(statements)
	r.must(err)
	if !strings.Contains(string(log), evidence) {
		r.t.Error("the database's log does not show the statements, so searching it proves nothing")
	}
}

// isAnswer reports whether the server answered, if only with a refusal.
func isAnswer(err error) bool {
	var answer *proctest.Error
	return errors.As(err, &answer)
}
