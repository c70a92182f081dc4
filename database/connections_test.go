package database_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/testdb"
	"leasehold/lease"
)

func TestConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refused(engine.List, "config/", nil, errs.NotFound, "")
	w.refused(engine.Read, "config/pg", nil, errs.NotFound, "")
	rotation := `ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}';`
	if resp := w.must(engine.Update, "config/pg", w.settings(data{
		"allowed_roles": "app, report", "verify_connection": true, "max_open_connections": 5, "username_template": "",
		"root_rotation_statements": []string{rotation}, "unknown": data{"kept": []any{true, nil}}, "absent": nil,
	})); resp.Data != nil || resp.Warnings != nil {
		t.Errorf("got %+v, want an empty answer", resp)
	}
	want := data{
		"allowed_roles": []string{"app", "report"},
		"connection_details": data{
			"connection_url":       "postgresql://{{username}}:{{password}}@" + w.pg.Addr + "/" + w.pg.Database + "?sslmode=disable",
			"max_open_connections": json.Number("5"), "username": w.pg.User, "username_template": "",
			"unknown": data{"kept": []any{true, nil}},
		},
		"password_policy": "", "plugin_name": plugin, "plugin_version": "",
		"root_credentials_rotate_statements": []string{rotation},
	}
	if diff := cmp.Diff(want, w.must(engine.Read, "config/pg", nil).Data); diff != "" {
		t.Error(diff)
	}

	w.must(engine.Update, "config/pg", data{"allowed_roles": []string{"app"}})
	want["allowed_roles"] = []string{"app"}
	if diff := cmp.Diff(want, w.must(engine.Read, "config/pg", nil).Data); diff != "" {
		t.Errorf("after a partial update: %s", diff)
	}

	w.must(engine.Update, "config/second", data{
		"plugin_name": plugin, "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/none?sslmode=disable",
		"username": "u", "password": "p", "verify_connection": false, "plugin_version": "v1.2.3+builtin",
	})
	want = data{
		"allowed_roles": []string{}, "password_policy": "", "plugin_name": plugin, "plugin_version": "",
		"connection_details":                 data{"connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/none?sslmode=disable", "username": "u"},
		"root_credentials_rotate_statements": []string{},
	}
	if diff := cmp.Diff(want, w.must(engine.Read, "config/second", nil).Data); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(data{"keys": []string{"pg", "second"}}, w.must(engine.List, "config/", nil).Data); diff != "" {
		t.Error(diff)
	}
	w.must(engine.Update, "reset/pg", nil)
	w.refused(engine.Update, "reset/second", nil, errs.Unavailable, "...connect")
	w.must(engine.Delete, "config/second", nil)
	w.must(engine.Delete, "config/second", nil)
	w.refused(engine.Read, "config/second", nil, errs.NotFound, "")
	if diff := cmp.Diff(data{"keys": []string{"pg"}}, w.must(engine.List, "config/", nil).Data); diff != "" {
		t.Error(diff)
	}
}

func TestConnectionRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name string
		body data
		want string
	}{
		{"no plugin", data{}, "empty plugin name"},
		{"unknown plugin", data{"plugin_name": "no-such-plugin"}, "...plugin not found in the catalog: no-such-plugin"},
		{"no url", data{"plugin_name": plugin}, "error creating database object: connection_url cannot be empty"},
		{"wrong password", w.settings(data{"password": "Zq7-canary"}), "...error creating database object: error verifying connection"},
		{"placeholder in the user name", w.settings(data{"username": "a{{password}}", "verify_connection": false}),
			"error creating database object: username and/or password cannot contain the template variables"},
		{"template syntax", w.settings(data{"username_template": "{{.Nope"}), "...error creating database object: unable to initialize username template"},
		{"unknown function", w.settings(data{"username_template": "{{.RoleName | nosuch}}", "verify_connection": false}), "...unable to initialize username template"},
		{"unknown field", w.settings(data{"username_template": "{{.Nope}}"}), "...error creating database object: invalid username template"},
		{"authentication", w.settings(data{"password_authentication": "md5"}), "error creating database object: 'md5' is not a valid password authentication type"},
		{"lifetime", w.settings(data{"max_connection_lifetime": "x", "verify_connection": false}), "...invalid max_connection_lifetime"},
		{"version", w.settings(data{"plugin_version": "nonsense"}), "...is not a valid semantic version"},
		{"version that is not there", w.settings(data{"plugin_version": "v1.2.3"}), "...plugin not found in the catalog"},
		{"boolean", w.settings(data{"verify_connection": "maybe"}), "...verify_connection"},
	} {
		_, err := w.send(engine.Update, "config/pg", test.body)
		t.Run(test.name, func(t *testing.T) {
			(&world{T: t}).isRefusal(err, errs.Invalid, test.want)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
	w.refused(engine.List, "config/", nil, errs.NotFound, "")
	for _, path := range []string{"reset/none", "rotate-root/none"} {
		w.refused(engine.Update, path, nil, errs.Unavailable, framed(`failed to find entry for connection with name: "none"`))
	}
	w.refused(engine.Read, "creds", nil, errs.NotFound, framed("unsupported path"))
	w.refused(engine.Update, "creds/x", nil, errs.Unsupported, framed("unsupported operation"))
}

func TestLiteralPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := "postgresql://" + w.pg.User + ":" + w.pg.Password + "@" + w.pg.Addr + "/" + w.pg.Database + "?sslmode=disable"
	resp := w.must(engine.Update, "config/inline", data{"plugin_name": plugin, "connection_url": url})
	if diff := cmp.Diff([]string{"Password found in connection_url, use a templated url to enable root rotation and prevent read access to password information."}, resp.Warnings); diff != "" {
		t.Error(diff)
	}
	details := w.must(engine.Read, "config/inline", nil).Data["connection_details"]
	if diff := cmp.Diff(data{"connection_url": strings.Replace(url, ":"+w.pg.Password+"@", ":xxxxx@", 1)}, details); diff != "" {
		t.Error(diff)
	}
	w.refused(engine.Update, "rotate-root/inline", nil, errs.Unavailable, framed("unable to rotate root credentials: no username in configuration"))
	w.must(engine.Update, "config/inline", data{"username": w.pg.User})
	w.refused(engine.Update, "rotate-root/inline", nil, errs.Unavailable, framed("unable to rotate root credentials: no password in configuration"))
	w.must(engine.Update, "config/inline", data{"password": w.pg.Password})
	w.refused(engine.Update, "rotate-root/inline", nil, errs.Unavailable, "...the password is written in connection_url")
}

// A failed update changes nothing, and a successful one is in force for the next user.
func TestConnectionUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.refused(engine.Update, "config/pg", data{"password": "wrong", "username_template": "x-{{random 10}}"}, errs.Invalid, "...error verifying connection")
	if a := w.creds("app"); !strings.HasPrefix(a.user, "v-token-app-") {
		t.Errorf("user name %q", a.user)
	}
	w.must(engine.Update, "config/pg", data{"username_template": "x-{{random 10}}"})
	a := w.creds("app")
	if !strings.HasPrefix(a.user, "x-") {
		t.Errorf("user name %q", a.user)
	}
	if opened, _ := w.hooks.count(); opened != 1 {
		t.Errorf("%d databases are open, want 1", opened)
	}
	w.must(engine.Update, "config/pg", data{"allowed_roles": "other,ap*p"})
	w.creds("app")
	w.must(engine.Update, "config/pg", data{"allowed_roles": ""})
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, framed(`"app" is not an allowed role`))
}

// A connection that is moved to another database leaves its users where they are; they are removed there.
func TestConnectionMovedToAnotherDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	other := testdb.Postgres(t)
	there := data{
		"connection_url": "postgresql://{{username}}:{{password}}@" + other.Addr + "/" + other.Database + "?sslmode=disable",
		"username":       other.User, "password": other.Password,
	}
	if resp := w.must(engine.Update, "config/pg", data{"username": w.pg.User, "password": w.pg.Password}); len(resp.Warnings) != 0 {
		t.Errorf("not moved: %q", resp.Warnings)
	}
	revoked, expired := w.creds("app"), w.creds("app")
	if resp := w.must(engine.Update, "config/pg", there); len(resp.Warnings) != 1 {
		t.Errorf("moved: %q, want a warning", resp.Warnings)
	}
	moved := w.creds("app")
	if got := other.Conn(t); !userExists(t, got, moved.user) {
		t.Errorf("%s was not made at the new address", moved.user)
	}
	w.revoke(revoked.lease)
	w.revoke(moved.lease)
	w.clock.Advance(800 * time.Hour)
	if err := w.leases.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{revoked.user, expired.user} {
		if userExists(t, w.pg.Conn(t), user) {
			t.Errorf("%s was left behind at the old address", user)
		}
	}
	if userExists(t, other.Conn(t), moved.user) {
		t.Errorf("%s is still at the new address", moved.user)
	}
	// What was set aside goes with its last lease, and was never shown.
	if err := w.engine.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pg"}, w.must(engine.List, "config", nil).Data["keys"]); diff != "" {
		t.Error(diff)
	}
}

// A database that gets a new address is the same database: its users are found there when the old address is dead.
func TestDatabaseMovedToAnotherAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	old := testdb.Postgres(t) // stands for the old address, and is ended before the move
	w.must(engine.Update, "config/pg", data{
		"connection_url": "postgresql://{{username}}:{{password}}@" + old.Addr + "/" + old.Database + "?sslmode=disable",
		"username":       old.User, "password": old.Password,
	})
	a := w.creds("app")
	old.Stop()
	w.must(engine.Update, "config/pg", w.settings(nil))
	if err := w.leases.Revoke(t.Context(), a.lease, true); !errors.Is(err, lease.ErrUnreachable) {
		t.Errorf("the user is nowhere to be found and its lease was ended: %v", err)
	}
	w.pg.Exec(t, `CREATE ROLE "`+a.user+`"`) // as if the databases had been one
	w.revoke(a.lease)
	if userExists(t, w.pg.Conn(t), a.user) {
		t.Errorf("%s is still at the new address", a.user)
	}
}

func userExists(t *testing.T, conn *pgx.Conn, name string) (exists bool) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists); err != nil {
		t.Fatal(err)
	}
	return exists
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/b", w.settings(nil))
	w.must(engine.Update, "config/a", w.settings(nil))
	w.must(engine.Update, "config/broken", w.settings(data{"password": "wrong", "verify_connection": false}))
	resp := w.must(engine.Update, "reload/"+plugin, nil)
	if diff := cmp.Diff(data{"connections": []string{"a", "b"}, "count": 2}, resp.Data); diff != "" {
		t.Error(diff)
	}
	if len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], `"broken"`) {
		t.Errorf("warnings: %q", resp.Warnings)
	}
	if diff := cmp.Diff(data{"connections": []string{}, "count": 0}, w.must(engine.Update, "reload/other", nil).Data); diff != "" {
		t.Error(diff)
	}
}

func TestCreateOrUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	creates := func(path string) bool {
		facts, err := w.engine.Describe(t.Context(), &engine.Request{Operation: engine.Update, Mount: w.mount, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return facts.Creates
	}
	for _, path := range []string{"config/pg", "roles/app"} {
		if !creates(path) {
			t.Errorf("the first write of %s is no create", path)
		}
	}
	w.connect()
	for _, path := range []string{"config/pg", "roles/app"} {
		if creates(path) {
			t.Errorf("the second write of %s is a create", path)
		}
	}
	w.creds("app")
	w.must(engine.Delete, "config/pg", nil)
	if !creates("config/pg") {
		t.Error("a retired connection is not hidden")
	}
}

// A deleted connection is gone for clients at once; for its leases it stays until the last one is revoked.
func TestDeleteWithLeases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	first, second := w.creds("app"), w.creds("app")
	w.must(engine.Delete, "config/pg", nil)
	w.refused(engine.Read, "config/pg", nil, errs.NotFound, "")
	w.refused(engine.List, "config/", nil, errs.NotFound, "")
	missing := framed(`failed to find entry for connection with name: "pg"`)
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, missing)
	w.refused(engine.Update, "reset/pg", nil, errs.Unavailable, missing)
	w.refused(engine.Update, "rotate-root/pg", nil, errs.Unavailable, missing)
	if !w.exists(first.user) {
		t.Fatal("deleting the connection dropped a user without its lease")
	}
	if err := w.engine.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows := w.rows("database_connections"); rows != 1 {
		t.Fatalf("%d rows before the leases are gone, want 1", rows)
	}
	w.reap()
	if w.exists(first.user) || w.exists(second.user) {
		t.Error("the leases of a deleted connection are not revoked")
	}
	if rows := w.rows("database_connections"); rows != 0 {
		t.Errorf("%d rows after the leases are gone, want 0", rows)
	}
	if opened, _ := w.hooks.count(); opened != 0 {
		t.Errorf("%d databases are open", opened)
	}
}

// Writing a connection of the name of a retired one revives it; nothing of the former settings is left.
func TestRevive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"password_policy": "digits"})
	a := w.creds("app")
	w.must(engine.Delete, "config/pg", nil)
	w.refused(engine.Update, "config/pg", data{"allowed_roles": "*"}, errs.Invalid, "empty plugin name")
	w.must(engine.Update, "config/pg", w.settings(nil))
	if policy := w.must(engine.Read, "config/pg", nil).Data["password_policy"]; policy != "" {
		t.Errorf("the password policy %q came back", policy)
	}
	b := w.creds("app")
	w.reap()
	if w.exists(a.user) || !w.exists(b.user) {
		t.Errorf("user of the former connection: %v, of the new one: %v; want false, true", w.exists(a.user), w.exists(b.user))
	}
	w.must(engine.Read, "config/pg", nil)
}

func TestUnmount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	other := w.mount
	other.UUID = "other"
	w.engine.Handle(t.Context(), &engine.Request{Operation: engine.Update, Mount: other, Path: "roles/kept", Data: data{"db_name": "x"}})
	a := w.creds("app")
	if err := w.leases.RevokeMount(t.Context(), w.mount.UUID); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Unmount(t.Context(), w.mount); err != nil {
		t.Fatal(err)
	}
	if w.exists(a.user) {
		t.Error("the user is still there")
	}
	if c, r := w.rows("database_connections"), w.rows("database_roles"); c != 0 || r != 1 {
		t.Errorf("%d connections and %d roles are left, want 0 and the other mount's 1", c, r)
	}
	if opened, _ := w.hooks.count(); opened != 0 {
		t.Errorf("%d databases are open", opened)
	}
}
