package database_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/store"
)

// onBothStores runs a test with a store of each kind.
func onBothStores(t *testing.T, test func(w *world)) {
	t.Helper()
	for _, dialect := range []string{"sqlite", "postgresql"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			test(newWorldOn(t, dialect))
		})
	}
}

// comparison is an answer of reconcile. Roles are the whole server's, and other tests make some, too: of the foreign ones only those
// count that a test knows.
type comparison struct {
	*world
	data data
}

func (w *world) reconcile(body data) comparison {
	w.Helper()
	op := engine.Read
	if body["remove"] != nil {
		op = engine.Update
	}
	return comparison{w, w.must(op, "reconcile/pg", body).Data}
}

// list is one of the lists, by the name or lease id of each item.
func (c comparison) list(what string) map[string]data {
	c.Helper()
	found := map[string]data{}
	for _, item := range c.data[what].([]map[string]any) {
		key, _ := item["lease_id"].(string)
		if key == "" {
			key = item["name"].(string)
		}
		found[key] = item
	}
	return found
}

// want demands these orphans and missing, no more and no fewer.
func (c comparison) want(orphans, missing []string) {
	c.Helper()
	for what, want := range map[string][]string{"orphans": orphans, "missing": missing} {
		got := []string{}
		for key := range c.list(what) {
			got = append(got, key)
		}
		slices.Sort(got)
		want = append([]string{}, want...)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			c.Errorf("%s (-want +got):\n%s", what, diff)
		}
		if n := c.data[strings.TrimSuffix(what, "s")+"_count"]; n != len(want) {
			c.Errorf("count of %s: got %v, want %d", what, n, len(want))
		}
	}
}

// orphan makes a user and forgets its lease, as an operator's force does when the database refuses to drop it.
func (w *world) orphan(role string) account {
	w.Helper()
	a := w.creds(role)
	w.hooks.set(func(h *hooks) {
		h.drop = func(context.Context, plugins.Database, string, []string) error {
			return &plugins.Error{Op: "drop user", Class: plugins.Refused, Err: errors.New("not now")}
		}
	})
	if err := w.leases.RevokeForce(w.Context(), strings.TrimSuffix(a.lease, "/")); err != nil {
		w.Fatal(err)
	}
	w.forget(a)
	w.hooks.set(func(h *hooks) { h.drop = nil })
	return a
}

// forget deletes a lease's row, as a backup that is older does.
func (w *world) forget(a account) {
	w.Helper()
	err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM leases WHERE id = $1`, a.lease)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

func TestReconcileFindings(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		issued := w.clock.Now()
		kept, bare, gone := w.creds("app"), w.creds("app"), w.creds("app")
		w.reconcile(nil).want(nil, nil)

		lost := w.orphan("app")
		w.pg.Exec(w.T, fmt.Sprintf(`DROP OWNED BY %[1]q; DROP ROLE %[1]q; COMMENT ON ROLE %[2]q IS NULL`, gone.user, bare.user))
		byHand := "v-someone-app-" + secret.Random(secret.Base62, 20).Reveal() + "-1700000000"
		theirs, garbled := w.role("theirs"), w.role("garbled")
		other := "leasehold store=ffffffffffffffff mount=m connection=pg role=r issued=2026-01-02T03:04:05.000000Z"
		w.pg.Exec(w.T, fmt.Sprintf(`CREATE ROLE %[1]q; COMMENT ON ROLE %[2]q IS 'one
%[4]s'; COMMENT ON ROLE %[3]q IS 'leasehold of old'`, byHand, theirs, garbled, other))
		w.Cleanup(func() { w.dropRoles(byHand) })
		w.clock.Advance(time.Minute)

		found := w.reconcile(nil)
		found.want([]string{lost.user}, []string{gone.lease})
		mark := w.value("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1", lost.user)
		wantOrphan := data{
			"name": lost.user, "mark": mark, "role": "app", "connection": "pg", "created": issued.Format(time.RFC3339Nano),
			"expires": issued.Add(time.Hour + 5*time.Second).Format(time.RFC3339Nano), "reason": "no lease of this store names it",
		}
		if diff := cmp.Diff(wantOrphan, found.list("orphans")[lost.user]); diff != "" {
			w.Errorf("orphan (-want +got):\n%s", diff)
		}
		wantMissing := data{
			"lease_id": gone.lease, "name": gone.user, "created": issued.Format(time.RFC3339Nano),
			"expires": issued.Add(time.Hour).Format(time.RFC3339Nano), "reason": "the lease is active, and the database has no such user",
		}
		if diff := cmp.Diff(wantMissing, found.list("missing")[gone.lease]); diff != "" {
			w.Errorf("missing (-want +got):\n%s", diff)
		}
		for name, want := range map[string][2]string{
			theirs: {other, "another Leasehold: its mark names the store ffffffffffffffff"}, garbled: {"leasehold of old", "cannot be read"},
			byHand: {"", "no mark, but a name like those made here"},
		} {
			got := found.list("foreign")[name]
			if got == nil || got["mark"] != want[0] || !strings.Contains(got["reason"].(string), want[1]) {
				w.Errorf("foreign %s: got %v, want mark %q and reason %q", name, got, want[0], want[1])
			}
		}
		for _, a := range []account{kept, bare} {
			if found.list("foreign")[a.user] != nil {
				w.Errorf("a user with a lease is foreign: %s", a.user)
			}
		}
		if got := found.data; got["user_count"] != 2 || got["lease_count"] != 3 || got["unmarked_count"] != 1 || got["connection"] != "pg" ||
			got["checked_at"] != w.clock.Now().Format(time.RFC3339Nano) {
			w.Errorf("got %v users, %v leases, %v unmarked at %v of %v", got["user_count"], got["lease_count"], got["unmarked_count"], got["checked_at"], got["connection"])
		}

		// Nothing was changed by looking; and when it is told to, only the orphan goes.
		w.refused(engine.Read, "reconcile/pg", data{"remove": true}, errs.Invalid, "...remove=true is for POST")
		if !w.logsIn(lost.user, lost.password) {
			w.Error("a comparison has removed a user")
		}
		done := w.reconcile(data{"remove": true})
		if item := done.list("orphans")[lost.user]; item["removed"] != true || item["error"] != nil || done.data["removed_count"] != 1 || done.data["failed_count"] != 0 {
			w.Errorf("removal: got %v of %v", item, done.data)
		}
		for user, want := range map[string]bool{lost.user: false, kept.user: true, bare.user: true, byHand: true, theirs: true, garbled: true} {
			if w.exists(user) != want {
				w.Errorf("user %s: exists %t, want %t", user, !want, want)
			}
		}
		w.reconcile(nil).want(nil, []string{gone.lease})
		for _, a := range []account{kept, bare, gone} {
			w.revoke(a.lease)
		}
		if w.exists(bare.user) {
			w.Error("a user that has lost its mark has outlived its lease")
		}
	})
}

// role makes a role by hand that is dropped when the test ends.
func (w *world) role(prefix string) string {
	w.Helper()
	name := prefix + "_" + strings.ToLower(secret.Random(secret.Base62, 12).Reveal())
	w.pg.Exec(w.T, "CREATE ROLE "+name)
	w.Cleanup(func() { w.dropRoles(name) })
	return name
}

func (w *world) dropRoles(names ...string) {
	w.Helper()
	c, err := testdb.Shared(w).Connect(context.Background())
	if err != nil {
		w.Error(err)
		return
	}
	defer c.Close(context.Background())
	for _, name := range names {
		if _, err := c.Exec(context.Background(), fmt.Sprintf("DROP ROLE IF EXISTS %q", name)); err != nil {
			w.Error(err)
		}
	}
}

// Users of other connections and mounts that lead to the same server are theirs, and their orphans are seen from here.
func TestReconcileSharedServer(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		mine := w.creds("app")
		other := w.pg.Scratch(w.T)
		w.must(engine.Update, "config/second", w.settings(data{
			"connection_url": "postgresql://{{username}}:{{password}}@" + other.Addr + "/" + other.Database + "?sslmode=disable",
		}))
		w.must(engine.Update, "roles/reader", data{"db_name": "second", "creation_statements": createOnly, "default_ttl": "1h"})
		second := w.creds("reader")
		here := w.mount
		w.mount.UUID, w.mount.Path = "another-"+here.UUID, "another/"
		w.connect()
		elsewhere := w.creds("app")
		w.reconcile(nil).want(nil, nil)
		w.mount = here
		w.reconcile(nil).want(nil, nil)

		w.forget(second)
		w.forget(elsewhere)
		found := w.reconcile(data{"remove": true})
		found.want([]string{second.user, elsewhere.user}, nil)
		if got := found.list("orphans")[second.user]; got["connection"] != "second" || got["role"] != "reader" {
			w.Errorf("orphan of another connection: got %v", got)
		}
		if w.exists(second.user) || w.exists(elsewhere.user) || !w.exists(mine.user) {
			w.Error("the orphans of other connections are to go, and nothing else")
		}
	})
}

// A lease whose mount or connection nobody knows any more still speaks for its user.
func TestReconcileLooksEverywhere(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		a := w.creds("app")
		// As if the mark named a connection whose leases have been renamed since.
		err := w.store.Update(w.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE lease_targets SET name = 'far', mount = 'away'`)
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
		w.reconcile(nil).want(nil, nil)
		w.forget(a)
		w.reconcile(nil).want([]string{a.user}, nil)
	})
}

// While a user is being made its lease is pending; while it is being removed, or cannot be, its lease is there, too.
func TestReconcileUnsettledLeases(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		var during sync.Once
		w.hooks.set(func(h *hooks) {
			h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
				err := db.CreateUser(ctx, u)
				during.Do(func() { w.reconcile(nil).want(nil, nil) })
				return err
			}
		})
		a := w.creds("app")
		w.hooks.set(func(h *hooks) {
			h.create = nil
			h.drop = func(context.Context, plugins.Database, string, []string) error {
				return &plugins.Error{Op: "drop user", Class: plugins.Refused, Err: errors.New("not now")}
			}
		})
		if err := w.leases.Revoke(w.Context(), a.lease, false); err != nil {
			w.Fatal(err)
		}
		w.reap()
		w.reconcile(nil).want(nil, nil)
		w.hooks.set(func(h *hooks) { h.drop = nil })
		w.clock.Advance(time.Minute)
		w.reap()
		if w.exists(a.user) {
			w.Error("the user is still there")
		}
	})
}

// The catalogue and the leases are read one after the other. What changes in between is never mistaken.
func TestReconcileBetweenReads(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.must(engine.Update, "config/pg", data{"username_template": "fixed-" + strings.ToLower(secret.Random(secret.Base62, 10).Reveal())})
		after := func(do func(asked int)) comparison {
			asked := 0
			w.hooks.set(func(h *hooks) {
				h.asked = func([]string) error {
					asked++
					do(asked)
					return nil
				}
			})
			defer w.hooks.set(func(h *hooks) { h.asked = nil })
			return w.reconcile(nil)
		}
		var a account
		after(func(asked int) { // made after the catalogue was read
			if asked == 1 {
				a = w.creds("app")
			}
		}).want(nil, nil)
		after(func(asked int) { // dropped after that
			if asked == 1 {
				w.revoke(a.lease)
			}
		}).want(nil, nil)
		a = w.creds("app")
		after(func(asked int) { // dropped, and made anew under the same name
			if asked == 1 {
				w.revoke(a.lease)
				w.clock.Advance(time.Microsecond)
				a = w.creds("app")
			}
		}).want(nil, nil)
		asking := 0
		w.hooks.set(func(h *hooks) {
			h.asking = func() { // the same, but the new one comes after the leases were read, before its name is asked for again
				if asking++; asking == 2 {
					w.clock.Advance(time.Microsecond)
					a = w.creds("app")
				}
			}
		})
		after(func(asked int) {
			if asked == 1 {
				w.revoke(a.lease)
			}
		}).want(nil, nil)
		w.hooks.set(func(h *hooks) { h.asking = nil })
		w.reconcile(nil).want(nil, nil)

		// Gone from the database while the lease was active, and revoked before it could be told.
		for _, sync := range []bool{true, false} {
			w.dropByHand(a.user)
			after(func(asked int) {
				if asked == 2 {
					if err := w.leases.Revoke(w.Context(), a.lease, sync); err != nil {
						w.Fatal(err)
					}
				}
			}).want(nil, nil)
			a = w.creds("app")
		}
	})
}

func (w *world) dropByHand(user string) {
	w.Helper()
	w.pg.Exec(w.T, fmt.Sprintf("DROP OWNED BY %[1]q; DROP ROLE %[1]q", user))
}

// An orphan is dropped only if it is still the very user that was found, and no lease has come to name it.
func TestRemoveLooksAgain(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		template := "fixed-" + strings.ToLower(secret.Random(secret.Base62, 10).Reveal())
		w.must(engine.Update, "config/pg", data{"username_template": template})
		for name, again := range map[string]func(){
			"dropped":   func() {},
			"made anew": func() { w.clock.Advance(time.Second); w.creds("app") },
			"by hand":   func() { w.pg.Exec(w.T, fmt.Sprintf("CREATE ROLE %q", template)) },
		} {
			a := w.orphan("app")
			asked := 0
			w.hooks.set(func(h *hooks) {
				h.asked = func([]string) error {
					if asked++; asked == 4 { // the catalogue, the suspects twice, the list
						w.dropByHand(a.user)
						again()
					}
					return nil
				}
			})
			found := w.reconcile(data{"remove": true})
			w.hooks.set(func(h *hooks) { h.asked = nil })
			item := found.list("orphans")[a.user]
			if item["removed"] != false || item["error"] == nil || found.data["failed_count"] != 1 {
				w.Errorf("%s: got %v", name, item)
			}
			if name != "dropped" {
				if !w.exists(a.user) {
					w.Errorf("%s: another user was removed", name)
				}
				if err := w.leases.RevokePrefix(w.Context(), "database/creds", true); err != nil {
					w.Fatal(err)
				}
				w.dropRoles(a.user)
			}
		}
	})
}

// Leases that were left at a former address have their users there, or at the present one.
func TestReconcileMovedConnection(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		a, b := w.creds("app"), w.creds("app")
		moved := w.must(engine.Update, "config/pg", data{
			"connection_url": "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/" + w.pg.Database + "?sslmode=disable&application_name=moved",
		})
		if len(moved.Warnings) == 0 {
			w.Fatal("the connection was not moved")
		}
		c := w.creds("app")
		found := w.reconcile(nil)
		found.want(nil, nil)
		if found.data["user_count"] != 3 || found.data["lease_count"] != 3 {
			w.Errorf("got %v users and %v leases, want 3 each", found.data["user_count"], found.data["lease_count"])
		}
		w.dropByHand(a.user)
		w.forget(b)
		w.forget(c)
		w.reconcile(data{"remove": true}).want([]string{b.user, c.user}, []string{a.lease})
	})
}

// A former address that cannot be asked is told of, and nothing is concluded from it.
func TestReconcileDeadFormerAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	a := w.creds("app")
	w.must(engine.Update, "config/pg", data{
		"connection_url": "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/" + w.pg.Database + "?sslmode=disable&application_name=moved",
	})
	w.dropByHand(a.user)
	w.hooks.set(func(h *hooks) {
		asked := 0
		h.asked = func(names []string) error {
			if asked++; asked == 2 { // the present address was asked, and now it is the former one's turn
				return &plugins.Error{Op: "connect", Class: plugins.Unreachable, Err: errors.New("no such host")}
			}
			return nil
		}
	})
	resp := w.must(engine.Read, "reconcile/pg", nil)
	if len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "former address") {
		t.Errorf("warnings: got %q", resp.Warnings)
	}
	comparison{w, resp.Data}.want(nil, nil)
}

// A connection's user need not be a superuser: who may drop a user may mark it.
func TestReconcileAsOwner(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		broker := w.role("broker")
		w.pg.Exec(w.T, fmt.Sprintf("ALTER ROLE %s CREATEROLE LOGIN PASSWORD 'of-the-broker'", broker))
		w.must(engine.Update, "config/pg", w.settings(data{"username": broker, "password": "of-the-broker"}))
		w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly})
		kept, lost := w.creds("app"), w.orphan("app")
		w.reconcile(data{"remove": true}).want([]string{lost.user}, nil)
		if w.exists(lost.user) || !w.exists(kept.user) {
			w.Error("the orphan is to go, and nothing else")
		}
		w.revoke(kept.lease)
	})
}

// An orphan goes as its lease would have it; where that is refused, the answer says why, and the others go all the same.
func TestRemoveByStatements(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.must(engine.Update, "roles/app", data{"revocation_statements": `SELECT 1/0`})
		w.must(engine.Update, "roles/plain", data{"db_name": "pg", "creation_statements": createOnly})
		stubborn, plain := w.orphan("app"), w.orphan("plain")
		found := w.reconcile(data{"remove": true})
		if got := found.list("orphans")[stubborn.user]; got["removed"] != false || !strings.Contains(fmt.Sprint(got["error"]), "division by zero") {
			w.Errorf("refused: got %v", got)
		}
		if got := found.list("orphans")[plain.user]; got["removed"] != true {
			w.Errorf("removed: got %v", got)
		}
		if got := found.data; got["orphan_count"] != 2 || got["removed_count"] != 1 || got["failed_count"] != 1 {
			w.Errorf("counts: got %v", got)
		}
		w.must(engine.Delete, "roles/app", nil) // the plugin's own way, then
		w.reconcile(data{"remove": true}).want([]string{stubborn.user}, nil)
		w.reconcile(nil).want(nil, nil)
	})
}

// Two nodes may be told at once. Each orphan goes, and nothing fails.
func TestRemoveTwiceAtOnce(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.must(engine.Update, "roles/plain", data{"db_name": "pg", "creation_statements": createOnly})
		var lost []account
		for range 8 {
			lost = append(lost, w.orphan("plain"))
		}
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if _, err := w.send(engine.Update, "reconcile/pg", data{"remove": true}); err != nil {
					w.Error(err)
				}
			})
		}
		wait.Wait()
		w.reconcile(nil).want(nil, nil)
		for _, a := range lost {
			if w.exists(a.user) {
				w.Errorf("orphan %s is still there", a.user)
			}
		}
	})
}

// A lease that has come to name an orphan keeps it: its revocation is to drop it.
func TestRemoveLooksForLeases(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		a := w.creds("app")
		kind := func(kind string) {
			err := w.store.Update(w.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(`UPDATE lease_targets SET kind = $1`, kind)
				return err
			})
			if err != nil {
				w.Fatal(err)
			}
		}
		kind("hidden")
		asked := 0
		w.hooks.set(func(h *hooks) {
			h.asked = func([]string) error {
				if asked++; asked == 4 {
					kind("database")
				}
				return nil
			}
		})
		found := w.reconcile(data{"remove": true})
		if item := found.list("orphans")[a.user]; item["removed"] != false || item["error"] != "a lease names it by now" {
			w.Errorf("got %v", item)
		}
		w.revoke(a.lease)
	})
}

// A client that goes away stops a removal between two users.
func TestRemoveStopsWithItsClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "roles/plain", data{"db_name": "pg", "creation_statements": createOnly})
	for range 3 {
		w.orphan("plain")
	}
	ctx, leave := context.WithCancel(t.Context())
	drops := 0
	w.hooks.set(func(h *hooks) {
		h.drop = func(ctx context.Context, db plugins.Database, name string, statements []string) error {
			drops++
			leave()
			return db.DropUser(ctx, name, statements)
		}
	})
	resp, err := w.engine.Handle(ctx, &engine.Request{Operation: engine.Update, Mount: w.mount, Path: "reconcile/pg", Data: data{"remove": true}})
	if err != nil || resp.Data["removed_count"] != 1 || resp.Data["failed_count"] != 2 || drops != 1 {
		t.Errorf("got %v, %v after %d drops, want one removed and two left", resp, err, drops)
	}
	if got := w.reconcile(nil).data["orphan_count"]; got != 2 {
		t.Errorf("got %v orphans, want the two that are left", got)
	}
}

func TestReconcileLimit(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(w *world) {
		w.connect()
		w.must(engine.Update, "roles/plain", data{"db_name": "pg", "creation_statements": createOnly})
		var lost, gone []account
		for range 5 {
			lost, gone = append(lost, w.orphan("plain")), append(gone, w.creds("plain"))
		}
		for _, a := range gone {
			w.dropByHand(a.user)
		}
		slices.SortFunc(lost, func(a, b account) int { return strings.Compare(a.user, b.user) })
		found := w.reconcile(data{"limit": 2})
		if got := found.data; got["orphan_count"] != 5 || got["missing_count"] != 5 || len(found.list("orphans")) != 2 || len(found.list("missing")) != 2 {
			w.Errorf("got %v", got)
		}
		for _, a := range lost[:2] {
			if found.list("orphans")[a.user] == nil {
				w.Errorf("the first by name are to be listed: %s is not", a.user)
			}
		}
		w.reconcile(data{"limit": 2, "remove": true})
		if got := w.reconcile(nil).data["orphan_count"]; got != 3 {
			w.Errorf("got %v orphans left, want 3", got)
		}
		for _, limit := range []any{0, -1, 10_001, "many"} {
			w.refused(engine.Read, "reconcile/pg", data{"limit": limit}, errs.Invalid, "...limit")
		}
	})
}

func TestReconcileRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	for _, path := range []string{"reconcile/none", "reconcile/none/status"} {
		w.refused(engine.Read, path, nil, errs.Unavailable, "...failed to find entry for connection with name")
	}
	w.must(engine.Update, "config/pg", data{
		"verify_connection": false, "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/nowhere?sslmode=disable",
	})
	w.refused(engine.Read, "reconcile/pg", nil, errs.Unavailable, "...")
	w.must(engine.Delete, "config/pg", nil)
	w.refused(engine.Read, "reconcile/pg", nil, errs.Unavailable, "...failed to find entry for connection with name")
}

// Users come and go as fast as they can while comparing never ends: not one is mistaken.
func TestReconcileInAStorm(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"sqlite", "postgresql"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			const clients, cycles = 6, 80
			w := newWorldOn(t, dialect)
			w.must(engine.Update, "config/pg", w.settings(data{"max_open_connections": 8, "password_authentication": "password"}))
			w.must(engine.Update, "roles/quick", data{"db_name": "pg", "creation_statements": `CREATE ROLE "{{name}}"`})
			ctx, stop := context.WithCancel(t.Context())
			var storm, looks sync.WaitGroup
			for range clients {
				storm.Go(func() {
					for range cycles {
						a := w.creds("quick")
						w.clock.Advance(time.Microsecond)
						w.revoke(a.lease)
					}
				})
			}
			runs := 0
			looks.Go(func() {
				for ctx.Err() == nil {
					runs++
					w.reconcile(data{"remove": true}).want(nil, nil)
				}
			})
			storm.Wait()
			stop()
			looks.Wait()
			t.Logf("%d users came and went, %d comparisons", clients*cycles, runs)
			w.reconcile(nil).want(nil, nil)
		})
	}
}
