package faults

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"leasehold/internal/clock"
	"leasehold/internal/testdb"
	"leasehold/server"
	"leasehold/server/proctest"
	"leasehold/store"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

// diskFaults are what can be wrong with a disk from the nth call on.
var diskFaults = []struct {
	name string
	rule func(from int) func(nth int, call, file string) error
}{
	{"full", func(from int) func(int, string, string) error {
		return func(nth int, call, _ string) error {
			if nth >= from && strings.Contains(call, "write") {
				return unix.ENOSPC
			}
			return nil
		}
	}},
	{"broken", func(from int) func(int, string, string) error {
		return func(nth int, _, _ string) error {
			if nth >= from {
				return unix.EIO
			}
			return nil
		}
	}},
	{"hiccup", func(from int) func(int, string, string) error {
		return func(nth int, _, _ string) error {
			if nth == from {
				return unix.EIO
			}
			return nil
		}
	}},
}

// TestDisk lives a server's life, from its first start on, on a disk that fails at the nth change of a file, for each n.
// When a client or the start has been refused, the disk is mended.
func TestDisk(t *testing.T) {
	t.Parallel()
	total := 0
	t.Run("healthy", func(t *testing.T) {
		n := newNode(t, "h")
		n.live()
		if total = n.disk.count(); total < 200 {
			t.Errorf("a life has %d changes of files: the disk does not see them", total)
		}
		n.close()
	})
	if t.Failed() {
		return
	}
	t.Logf("%d changes of files", total)
	t.Run("faulty", func(t *testing.T) {
		stride := either(total, 1)
		for i, fault := range diskFaults {
			for from := 1 + rand.N(stride); from <= total; from += stride {
				t.Run(fmt.Sprintf("%s-%d", fault.name, from), func(t *testing.T) {
					t.Parallel()
					n := newNode(t, fmt.Sprintf("%c%d", 'a'+i, from))
					n.disk.obey(func(nth int, call, file string) error {
						err := fault.rule(from)(nth, call, file)
						if err != nil && n.struck == "" {
							n.struck = fmt.Sprintf("call %d: %s of %s: %v", nth, call, file, err)
						}
						return err
					})
					n.live()
					n.close()
				})
			}
		}
	})
}

// node is a server process on a disk, and what its clients were told.
type node struct {
	t      *testing.T
	disk   *disk
	srv    *proctest.Server
	admin  *pgx.Conn
	role   string
	alive  bool   // the process runs
	keys   bool   // the store was initialised
	struck string // the first call that failed; written under the disk's lock

	held  []login
	gone  []login
	token string
}

func newNode(t *testing.T, role string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{t: t, disk: newDisk(t, dir), admin: testdb.Shared(t).Conn(t), role: role}
	if n.srv, err = proctest.Prepare(dir, os.Args[0], ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.srv.Kill)
	_, err = n.admin.Exec(t.Context(), `CREATE ROLE broker_`+role+` SUPERUSER LOGIN PASSWORD 'first'`)
	n.must(err)
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%v\nfault: %s\nlog: %s", err, n.struck, n.logTail())
	}
}

func (n *node) logTail() string {
	text, _ := os.ReadFile(n.srv.LogFile())
	return string(text[max(0, len(text)-3000):])
}

// live does everything that a server does, each thing until it is granted.
func (n *node) live() {
	n.t.Helper()
	n.until("start", n.start)
	n.until("audit", n.once("sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(n.srv.Dir, "audit.log")}}))
	n.until("mount", n.once("sys/mounts/database", map[string]any{"type": "database"}))
	pg := testdb.Shared(n.t)
	n.until("connection", n.once("database/config/pg", map[string]any{
		"plugin_name":    "postgresql-database-plugin",
		"connection_url": "postgresql://{{username}}:{{password}}@" + pg.Addr + "/" + pg.Database + "?sslmode=disable",
		"username":       "broker_" + n.role, "password": "first", "allowed_roles": "*",
	}))
	n.until("role", n.once("database/roles/"+n.role, map[string]any{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`,
	}))
	n.until("token", n.makeToken)
	for range 3 {
		n.until("issue", n.issue)
	}
	n.until("renew", n.renew)
	n.until("revoke", func() error { return n.revoke(true) })
	n.until("revoke later", func() error { return n.revoke(false) })
	n.until("rotate", func() error { return n.post("database/rotate-root/pg", nil) })
	n.until("issue", n.issue)
	n.stop()
	n.until("restart", n.start)
	n.until("issue", n.issue)
}

// until does something until it is granted. After the first refusal, or the server's end, the disk is whole again.
func (n *node) until(what string, do func() error) {
	n.t.Helper()
	for range 4 {
		if !n.alive {
			if err := n.start(); err != nil {
				n.mend(what, err)
				continue
			}
		}
		err := do()
		if err == nil {
			return
		}
		n.mend(what, err)
	}
	n.t.Fatalf("%s is never granted; fault: %s\nlog: %s", what, n.struck, n.logTail())
}

// mend makes the disk whole after it has failed something. A server that has ended must have said why.
func (n *node) mend(what string, err error) {
	n.t.Helper()
	n.disk.mu.Lock()
	struck := n.struck
	n.disk.mu.Unlock()
	if struck == "" {
		n.t.Fatalf("%s: %v, on a healthy disk\nlog: %s", what, err, n.logTail())
	}
	n.disk.obey(nil)
	var answer *proctest.Error
	if n.alive && !errors.As(err, &answer) {
		n.alive = false
		<-n.srv.Exited() // or else it hangs, and the test with it
	}
	if n.alive {
		return
	}
	if log := n.logTail(); !strings.Contains(log, "disk") && !strings.Contains(log, "I/O") && !strings.Contains(log, "space") {
		n.t.Errorf("%s: the server has ended and does not say why; fault: %s\nlog: %s", what, struck, log)
	}
}

// start brings a process to where it serves.
func (n *node) start() error {
	if !n.alive {
		if err := n.srv.Start(n.disk.environment(program)...); err != nil {
			return err
		}
		n.alive = true
	}
	if !n.keys {
		if err := n.srv.Init(); err != nil {
			if !isStatus(err, http.StatusBadRequest) {
				return err
			}
			// The store was made, and the answer with its keys was not given: it is of no use to anybody.
			n.stop()
			paths, _ := filepath.Glob(filepath.Join(n.srv.Dir, "leasehold.db*"))
			for _, path := range paths {
				if err := os.Remove(path); err != nil {
					return err
				}
			}
			return err
		}
		n.keys = true
	}
	return n.srv.Unseal()
}

func (n *node) stop() {
	n.srv.Stop()
	n.alive = false
}

func isStatus(err error, status int) bool {
	var answer *proctest.Error
	return errors.As(err, &answer) && answer.Status == status
}

func (n *node) post(path string, body any) error {
	_, err := n.srv.Root(http.MethodPost, path, body)
	return err
}

// once is post for what can be done only once: a refused attempt may have done it.
func (n *node) once(path string, body any) func() error {
	return func() error {
		err := n.post(path, body)
		if isStatus(err, http.StatusBadRequest) && strings.Contains(err.Error(), "in use") {
			return nil
		}
		return err
	}
}

func (n *node) makeToken() error {
	got, err := n.srv.Root(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"root"}, "ttl": "24h"})
	if err != nil {
		return err
	}
	auth, _ := got["auth"].(map[string]any)
	n.token, _ = auth["client_token"].(string)
	return nil
}

func (n *node) issue() error {
	got, err := n.srv.Call(http.MethodGet, "database/creds/"+n.role, n.token, nil)
	if err != nil {
		return err
	}
	data, _ := got["data"].(map[string]any)
	l := login{}
	l.lease, _ = got["lease_id"].(string)
	l.user, _ = data["username"].(string)
	l.password, _ = data["password"].(string)
	n.held = append(n.held, l)
	return nil
}

func (n *node) renew() error {
	return n.post("sys/leases/renew", map[string]any{"lease_id": n.held[0].lease, "increment": 7200})
}

// revoke ends the last lease. It counts as held until somebody has asked, and as gone once that was granted.
func (n *node) revoke(sync bool) error {
	last := n.held[len(n.held)-1]
	if slices.Contains(n.gone, last) { // asked before, and refused
		last = n.gone[len(n.gone)-1]
	}
	err := n.post("sys/leases/revoke", map[string]any{"lease_id": last.lease, "sync": sync})
	if err == nil {
		n.held, n.gone = n.held[:len(n.held)-1], append(n.gone, last)
	}
	return err
}

// close is the closing check: of the server as it is, of its store when it has ended, and of another server on that store.
func (n *node) close() {
	n.t.Helper()
	if n.t.Failed() {
		return
	}
	n.disk.obey(nil)
	n.check("after the fault")
	n.stop()
	n.verify()
	n.must(n.start())
	n.check("after a restart")
	n.must(n.issue())
	n.must(n.revoke(true))
	n.must(n.post("database/rotate-root/pg", nil))
	n.must(n.issue())
	n.check("at the end")
	for _, l := range n.held {
		if err := n.login(l); err != nil {
			n.t.Errorf("the acknowledged user cannot log in: %v\nfault: %s", err, n.struck)
		}
	}
	n.stop()
}

// check compares users and leases. The reaper may have to come first.
func (n *node) check(when string) {
	n.t.Helper()
	var users, leases []string
	for deadline := time.Now().Add(30 * time.Second); ; {
		users, leases = n.users(), n.leases()
		if len(users) == len(leases) && len(users) == len(n.held) || time.Now().After(deadline) {
			break
		}
		<-time.After(20 * time.Millisecond) // a drop in another process can only be polled for
	}
	if len(users) != len(leases) {
		n.t.Errorf("%s: %d users in the database, %d leases", when, len(users), len(leases))
	}
	for _, l := range n.held {
		if !slices.Contains(users, l.user) || !slices.Contains(leases, l.lease) {
			n.t.Errorf("%s: the acknowledged lease %s is lost", when, l)
		}
	}
	for _, l := range n.gone {
		if slices.Contains(users, l.user) {
			n.t.Errorf("%s: the revoked user %s is there", when, l)
		}
	}
	if _, err := n.srv.Call(http.MethodGet, "auth/token/lookup-self", n.token, nil); err != nil {
		n.t.Errorf("%s: the acknowledged token is lost: %v", when, err)
	}
	if n.t.Failed() {
		n.t.Fatalf("fault: %s\nlog: %s", n.struck, n.logTail())
	}
}

// verify opens the store without a server.
func (n *node) verify() {
	n.t.Helper()
	st, err := store.Open(n.t.Context(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: filepath.Join(n.srv.Dir, "leasehold.db")}), Clock: clock.System{}, Migrations: server.Migrations(),
	})
	n.must(err)
	defer func() { n.must(st.Close()) }()
	key, err := base64.StdEncoding.DecodeString(n.srv.UnsealKey)
	n.must(err)
	_, err = seal.New(st, slog.New(slog.NewTextHandler(io.Discard, nil))).Unseal(n.t.Context(), key)
	n.must(err)
	cells, bad, err := st.Verify(n.t.Context())
	n.must(err)
	if cells < 5 || len(bad) > 0 {
		n.t.Errorf("of %d sealed cells these do not open: %v", cells, bad)
	}
	n.must(st.View(n.t.Context(), func(tx *store.Tx) error {
		var verdict string
		if err := tx.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			n.t.Errorf("the store's file: %s", verdict)
		}
		return nil
	}))
}

func (n *node) users() []string {
	n.t.Helper()
	rows, err := n.admin.Query(context.Background(), `SELECT rolname FROM pg_roles WHERE rolname LIKE $1`, "v-%-"+n.role+"-%")
	n.must(err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	n.must(err)
	return names
}

func (n *node) leases() []string {
	n.t.Helper()
	got, err := n.srv.Root("LIST", "sys/leases/lookup/database/creds/"+n.role, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	n.must(err)
	data, _ := got["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	var ids []string
	for _, key := range keys {
		ids = append(ids, fmt.Sprint("database/creds/", n.role, "/", key))
	}
	return ids
}

func (n *node) login(l login) error {
	config, err := pgx.ParseConfig(testdb.Shared(n.t).URL())
	n.must(err)
	config.User, config.Password = l.user, l.password
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}
