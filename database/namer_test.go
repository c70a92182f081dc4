package database_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
)

const namerPlugin = "naming-database-plugin"

// namerDriver opens databases that can call users otherwise than they are told.
type namerDriver struct {
	driver
	names *names
}

// names is how the databases of a test name their users.
type names struct {
	mu    sync.Mutex
	give  func(told string) string
	lose  bool // the answer, after the user was made
	obeys bool // says the plugin
	made  []string
}

func (n *names) set(give func(string) string, lose, obeys bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.give, n.lose, n.obeys = give, lose, obeys
}

func (d namerDriver) Open(s plugins.Settings) (plugins.Database, error) {
	db, err := d.driver.Open(s)
	if err != nil {
		return nil, err
	}
	return &named{Database: db, names: d.names}, nil
}

type named struct {
	plugins.Database
	names *names
}

func (n *named) CreateNamed(ctx context.Context, u plugins.User) (string, error) {
	n.names.mu.Lock()
	defer n.names.mu.Unlock()
	u.Name = n.names.give(u.Name)
	if len(u.Statements) == 0 {
		u.Statements = []string{createOnly}
	}
	if u.Key != nil {
		u.Statements = []string{createBare}
	}
	err := n.CreateUser(ctx, u)
	if err == nil {
		n.names.made = append(n.names.made, u.Name)
	}
	if err == nil && n.names.lose {
		err = &plugins.Error{Op: "create user", Class: plugins.Unknown, Err: errors.New("the answer was lost")}
	}
	return u.Name, err
}

func (n *named) Obeys(string, string) bool {
	n.names.mu.Lock()
	defer n.names.mu.Unlock()
	return n.names.obeys
}

func same(told string) string  { return told }
func other(told string) string { return strings.ToLower(told) + "-own" }

// newNamer is a world with a connection and a role of such a plugin.
func newNamer(t *testing.T) (*world, *names) {
	t.Helper()
	w := newWorld(t)
	n := &names{give: same}
	w.drivers = map[string]plugins.Driver{namerPlugin: namerDriver{driver{hooks: w.hooks}, n}}
	w.start()
	w.must(engine.Update, "config/own", w.settings(data{"plugin_name": namerPlugin}))
	w.must(engine.Update, "roles/app", data{"db_name": "own", "default_ttl": "1h"})
	return w, n
}

// left are the users that are still there.
func (n *names) left(w *world) (users []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, user := range n.made {
		if w.exists(user) {
			users = append(users, user)
		}
	}
	return users
}

// sweep lets the reaper work for some hours.
func (w *world) sweep() {
	w.Helper()
	for range 12 {
		w.clock.Advance(20 * time.Minute)
		w.reap()
	}
}

// onlyLease is the one that needs an operator.
func (w *world) onlyLease() lease.Record {
	w.Helper()
	all, err := w.leases.Irrevocable(w.Context(), 10)
	if err != nil || len(all) != 1 {
		w.Fatalf("irrevocable leases: %v, %v", all, err)
	}
	return all[0]
}

func TestNamedByThePlugin(t *testing.T) {
	t.Parallel()
	w, n := newNamer(t)
	n.set(other, false, false)
	a := w.creds("app")
	if !strings.HasSuffix(a.user, "-own") || !w.logsIn(a.user, a.password) {
		t.Fatalf("user %q", a.user)
	}
	if _, _, err := w.leases.Renew(t.Context(), a.lease, 30*time.Minute); err != nil {
		t.Error(err)
	}
	w.start() // nothing is left in memory
	w.revoke(a.lease)
	if w.exists(a.user) || w.rows("leases") != 0 {
		t.Error("the user is still there")
	}
}

// TestNameLost has the answer to a creation lost. A plugin that uses the name it is told is cleaned up after; of one that does not,
// the lease stays and says so.
func TestNameLost(t *testing.T) {
	t.Parallel()
	w, n := newNamer(t)
	n.set(same, true, true)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...lost")
	w.sweep()
	if w.rows("leases") != 0 || n.left(w) != nil {
		t.Error("the user of a known name is still there")
	}
	n.set(other, true, false)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...lost")
	w.sweep()
	if left := n.left(w); len(left) != 1 {
		t.Fatalf("users %q", left)
	}
	r := w.onlyLease()
	if !strings.Contains(r.Failure, "it may have called it otherwise") || !strings.Contains(r.Failure, "v-token-app-") {
		t.Errorf("failure %q", r.Failure)
	}
	if err := w.leases.RevokeForce(t.Context(), r.ID); err != nil || w.rows("leases") != 0 {
		t.Errorf("forget by force: %v", err)
	}
	w.dropByHand(n.left(w)[0])
}

// TestNameProvenLater has the first answer of a plugin lost, and the plugin then show that it uses the names it is told.
func TestNameProvenLater(t *testing.T) {
	t.Parallel()
	w, n := newNamer(t)
	n.set(same, true, false)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...lost")
	w.sweep()
	if w.rows("leases") != 1 {
		t.Fatal("the lease was forgotten")
	}
	n.set(same, false, true)
	w.sweep()
	if w.rows("leases") != 0 || n.left(w) != nil {
		t.Error("the user is still there")
	}
}

// TestNameRefused has a plugin refuse to make a user, before it is known how it names them.
func TestNameRefused(t *testing.T) {
	t.Parallel()
	w, _ := newNamer(t)
	w.must(engine.Update, "roles/app", data{"db_name": "own", "creation_statements": "CREATE ROLL nonsense"})
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...syntax error")
	if w.rows("leases") != 0 {
		t.Error("a lease is left")
	}
}

// TestNameNotActivated has the lease revoked while the plugin makes its user: the user goes all the same, by the name that it has.
func TestNameNotActivated(t *testing.T) {
	t.Parallel()
	w, n := newNamer(t)
	n.set(func(told string) string {
		if err := w.leases.RevokePrefix(context.Background(), "database/creds/app", false); err != nil {
			t.Error(err)
		}
		return other(told)
	}, false, false)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...revoked before")
	if n.left(w) != nil {
		t.Error("the user is still there")
	}
}

func TestNamesMustBeRandom(t *testing.T) {
	t.Parallel()
	w, _ := newNamer(t)
	w.refused(engine.Update, "config/own", data{"username_template": "{{.RoleName}}"}, errs.Invalid, "...random")
	w.must(engine.Update, "config/own", data{"username_template": "{{random 8 | uppercase}}"})
}

func TestNoMarks(t *testing.T) {
	t.Parallel()
	w, _ := newNamer(t)
	w.refused(engine.Read, "reconcile/own", nil, errs.Unavailable, "...does not mark users")
}
