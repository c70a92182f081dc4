package crash

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // reads what the server has written

	"leasehold/internal/failpoint"
	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

// estate is what clients hold of a server, of every kind that it keeps.
type estate struct {
	app, child, dead   string // tokens: of a policy, its child, and one that was revoked
	cubby              string // the token that has a cubbyhole
	kept, prolonged    creds
	static             creds  // of a static role
	ofToken            creds  // goes with its token
	short              creds  // ends while no server runs
	cipher             string // of transit
	bigValue, oddValue string
	audit              string // the file of the audit device
}

const oddName = "odd %2F/../ name?ünïcödé'\";--🔑"

// settle fills every table with rows that clients can see again later.
func settle(r *rig) *estate {
	r.t.Helper()
	e := &estate{bigValue: strings.Repeat("big value ", 5<<20/10), audit: filepath.Join(r.srv.Dir, "audit.log"), oddValue: "a\u0000b\r\n'\";🔑\u202e"}
	r.root(http.MethodPut, "sys/policies/acl/app", map[string]any{"policy": `path "*" { capabilities = ["read", "list", "create", "update"] }`})
	r.root(http.MethodPut, "sys/policies/password/short", map[string]any{"policy": "length = 20\nrule \"charset\" { charset = \"abcdefgh\" }"})
	r.root(http.MethodPost, "auth/token/roles/app", map[string]any{"allowed_policies": "app"})
	for path, kind := range map[string]string{"kv1": "kv", "transit": "transit", "odd mount 🔑": "kv"} {
		r.root(http.MethodPost, "sys/mounts/"+escape(path), map[string]any{"type": kind})
	}
	r.root(http.MethodPost, "sys/mounts/kv2", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	r.root(http.MethodPost, "sys/mounts/former", map[string]any{"type": "kv"})
	r.root(http.MethodPost, "sys/remount", map[string]any{"from": "former", "to": "present"})

	r.root(http.MethodPut, "kv1/big", map[string]any{"value": e.bigValue})
	r.root(http.MethodPut, escape("odd mount 🔑")+"/"+escape(oddName), map[string]any{"value": e.oddValue})
	for i := range 12 {
		r.root(http.MethodPut, "kv2/data/folder/versions", map[string]any{"data": map[string]any{"n": fmt.Sprint(i)}})
	}
	r.root(http.MethodPut, "kv2/config", map[string]any{"max_versions": 20})

	r.root(http.MethodPut, "transit/keys/k", nil)
	r.root(http.MethodPut, "transit/keys/k/rotate", nil)
	r.root(http.MethodPut, "transit/config/keys", map[string]any{"disable_upsert": true})
	got := r.root(http.MethodPut, "transit/encrypt/k", map[string]any{"plaintext": "cGxhaW4="})
	e.cipher, _ = dataOf(got)["ciphertext"].(string)

	e.app = r.token("", map[string]any{"policies": []string{"app"}, "ttl": "2h"})
	e.child = r.token(e.app, map[string]any{"policies": []string{"app"}, "ttl": "1h"})
	e.dead = r.token("", map[string]any{"ttl": "1h"})
	r.root(http.MethodPut, "auth/token/revoke", map[string]any{"token": e.dead})
	e.cubby = r.token("", map[string]any{"policies": []string{"app"}, "ttl": "2h"})
	r.as(e.cubby, http.MethodPut, "cubbyhole/own", map[string]any{"value": "mine"})

	r.root(http.MethodPost, "database/config/pg", map[string]any{"rotation_period": "8760h"})
	e.kept, e.prolonged = r.mustIssue(), r.mustIssue()
	r.sql(`CREATE ROLE billing LOGIN PASSWORD 'first'`)
	r.root(http.MethodPost, "database/static-roles/billing", map[string]any{"db_name": "pg", "username": "billing", "rotation_period": "24h"})
	e.static = r.credsOf(r.root(http.MethodGet, "database/static-creds/billing", nil))
	e.ofToken = r.credsOf(r.as(e.child, http.MethodGet, "database/creds/app", nil))
	r.root(http.MethodPost, "database/roles/short", map[string]any{
		"db_name": "pg", "default_ttl": "2s", "max_ttl": "2s", "creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`,
	})
	// Revoked before the rows are moved: the highest numbers that the database has assigned are gone from the tables.
	gone := r.mustIssue()
	r.must(r.revoke(gone, true))
	e.short = r.credsOf(r.root(http.MethodGet, "database/creds/short", nil))
	return e
}

// escape is a path's segment as a URL has it.
func escape(segment string) string {
	var b strings.Builder
	for _, c := range []byte(segment) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func dataOf(answer map[string]any) map[string]any {
	data, _ := answer["data"].(map[string]any)
	return data
}

func (r *rig) as(token, method, path string, body any) map[string]any {
	r.t.Helper()
	got, err := r.srv.Call(method, path, token, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// token makes one under another, or under the root token.
func (r *rig) token(parent string, body map[string]any) string {
	r.t.Helper()
	if parent == "" {
		parent = r.srv.RootToken
	}
	auth, _ := r.as(parent, http.MethodPost, "auth/token/create", body)["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	return token
}

func (r *rig) mustIssue() creds {
	r.t.Helper()
	c, err := r.issue()
	r.must(err)
	return c
}

func (r *rig) credsOf(answer map[string]any) (c creds) {
	c.lease, _ = answer["lease_id"].(string)
	c.user, _ = dataOf(answer)["username"].(string)
	c.password, _ = dataOf(answer)["password"].(string)
	return c
}

// check looks at all of the estate through the server, and leaves it as it was.
func (e *estate) check(r *rig) {
	r.t.Helper()
	for what, pair := range map[string][2]any{
		"a big value":    {e.bigValue, dataOf(r.root(http.MethodGet, "kv1/big", nil))["value"]},
		"an odd name":    {e.oddValue, dataOf(r.root(http.MethodGet, escape("odd mount 🔑")+"/"+escape(oddName), nil))["value"]},
		"an old version": {map[string]any{"n": "4"}, dataOf(r.as(e.child, http.MethodGet, "kv2/data/folder/versions?version=5", nil))["data"]},
		"a policy":       {true, strings.Contains(fmt.Sprint(r.root(http.MethodGet, "sys/policies/acl/app", nil)), "capabilities")},
		"a token role":   {[]any{"app"}, dataOf(r.root(http.MethodGet, "auth/token/roles/app", nil))["allowed_policies"]},
		"a cubbyhole":    {"mine", dataOf(r.as(e.cubby, http.MethodGet, "cubbyhole/own", nil))["value"]},
		"a ciphertext": {"cGxhaW4=",
			dataOf(r.as(e.app, http.MethodPut, "transit/decrypt/k", map[string]any{"ciphertext": e.cipher}))["plaintext"]},
		"a static role": {e.static.password, dataOf(r.root(http.MethodGet, "database/static-creds/billing", nil))["password"]},
		"a remount":     {true, strings.Contains(fmt.Sprint(r.root(http.MethodGet, "sys/mounts", nil)), "present/")},
	} {
		if fmt.Sprint(pair[0]) != fmt.Sprint(pair[1]) {
			r.t.Errorf("%s is now %.100v, not %.100v", what, pair[1], pair[0])
		}
	}
	if _, err := r.srv.Call(http.MethodGet, "auth/token/lookup-self", e.dead, nil); err == nil {
		r.t.Error("a revoked token works")
	}
	for what, c := range map[string]creds{"kept": e.kept, "prolonged": e.prolonged, "of a token": e.ofToken, "of a static role": e.static} {
		if err := r.login(c); err != nil {
			r.t.Errorf("the login that is %s is refused: %v", what, err)
		}
	}
	r.must(r.renew(e.prolonged))

	// What is new does not take the place of what is old.
	fresh := r.mustIssue()
	token := r.token("", map[string]any{"policies": []string{"app"}, "ttl": "1h"})
	r.as(token, http.MethodGet, "auth/token/lookup-self", nil)
	r.must(r.revoke(fresh, true))
	r.root(http.MethodPut, "auth/token/revoke", map[string]any{"token": token})
	if err := r.login(fresh); err == nil {
		r.t.Error("the user of a revoked lease can log in")
	}
	audited, err := os.ReadFile(e.audit)
	r.must(err)
	if !bytes.Contains(audited[max(0, len(audited)-20000):], []byte("auth/token/revoke")) {
		r.t.Error("the audit device is gone")
	}
}

// end gives everything back, and waits until the database has no user left.
func (e *estate) end(r *rig) {
	r.t.Helper()
	r.root(http.MethodPut, "auth/token/revoke", map[string]any{"token": e.app}) // and its child, and the child's lease
	for _, c := range []creds{e.kept, e.prolonged} {
		r.must(r.revoke(c, true))
	}
	r.awaitGone(e.ofToken.user) // a token's leases go after it
	r.close()
	if left := r.users(); len(left) > 0 {
		r.t.Errorf("left behind: %v", left)
	}
}

// migrateConfig writes the configuration of a move.
func migrateConfig(t *testing.T, source, destination string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "migrate.hcl")
	text := strings.Replace(source, "storage ", "storage_source ", 1) + strings.Replace(destination, "storage ", "storage_destination ", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// migrate runs the command, with a failpoint where one is given, and returns what it said.
func migrate(t *testing.T, config, point string, flags ...string) (said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"operator", "migrate", "-config=" + config}, flags...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LEASEHOLD_FAILPOINT=" + point}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// move carries the rig's store from one place to another, and is killed at every point on the way. The rig's server is the
// new one then.
func move(r *rig, source, destination string) {
	r.t.Helper()
	r.srv.Stop()
	config := migrateConfig(r.t, source, destination)
	next := proctest.NewOn(r.t, binary, destination, "")
	next.RootToken, next.UnsealKey = r.srv.RootToken, r.srv.UnsealKey
	for _, point := range failpoint.Moves {
		if point == "transfer/after-batch" {
			point += "#3"
		}
		said, err := migrate(r.t, config, point)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			r.t.Fatalf("it was not killed at %s: %v\n%s", point, err, said)
		}
		if point == "transfer/after-finish" {
			break
		}
		if err := next.Start(); err == nil || !strings.Contains(err.Error(), "the store is the unfinished destination of `operator migrate`") {
			r.t.Fatalf("killed at %s; the half-done store was opened, or the reason is unclear: %v", point, err)
		}
	}
	if said, err := migrate(r.t, config, ""); err == nil || !strings.Contains(said, "it holds this store already, whole") {
		r.t.Fatalf("a finished move was done again: %v\n%s", err, said)
	}
	r.srv = next
	r.must(r.srv.Restart())
}

// TestMigrate moves a store with something in every table to PostgreSQL and back, killed at every point. Nobody who holds
// a token, a login or a secret notices.
func TestMigrate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := settle(r)
	file := fmt.Sprintf("storage \"sqlite\" {\n  path = %q\n}\n", filepath.Join(r.srv.Dir, "leasehold.db"))
	shared := proctest.PostgreSQL(testdb.Postgres(t, testdb.Durable()).URL())
	back := fmt.Sprintf("storage \"file\" {\n  path = %q\n}\n", filepath.Join(t.TempDir(), "made", "by", "migrate"))

	r.srv.Stop()
	everyTableHasRows(r, filepath.Join(r.srv.Dir, "leasehold.db"))
	move(r, file, shared)
	r.awaitGone(e.short.user) // its lease ended while it was moved
	e.check(r)
	move(r, shared, back)
	e.check(r)
	e.end(r)
}

// everyTableHasRows keeps this test from proving less when a package gains a table.
func everyTableHasRows(r *rig, path string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", path)
	r.must(err)
	defer func() { _ = db.Close() }()
	rows, err := db.Query(`select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'`)
	r.must(err)
	var names []string
	for rows.Next() {
		var name string
		r.must(rows.Scan(&name))
		names = append(names, name)
	}
	r.must(rows.Err())
	// What is there only while something is under way.
	passing := []string{"remounts", "nodes", "database_reconciles"}
	for _, name := range names {
		var n int
		r.must(db.QueryRow(`select count(*) from ` + name).Scan(&n))
		if n == 0 && !slices.Contains(passing, name) {
			r.t.Errorf("table %s is empty: have settle make something that it holds", name)
		}
	}
}

// awaitGone returns once a user is not there.
func (r *rig) awaitGone(user string) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); slices.Contains(r.users(), user); {
		if time.Now().After(deadline) {
			r.t.Fatalf("user %s is still there", user)
		}
		<-time.After(20 * time.Millisecond) // the event, a drop in another process, can only be polled for
	}
}

// TestMigrateRefusesWhatIsInUse: a server that runs on either side keeps the move away.
func TestMigrateRefusesWhatIsInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	shared := proctest.PostgreSQL(testdb.Postgres(t, testdb.Durable()).URL())
	running := proctest.NewOn(t, binary, shared, "")
	r.must(running.Start())
	file := fmt.Sprintf("storage \"sqlite\" {\n  path = %q\n}\n", filepath.Join(r.srv.Dir, "leasehold.db"))
	config := migrateConfig(t, file, shared)

	said, err := migrate(t, config, "")
	if err == nil || !strings.Contains(said, "open the source: ") || !strings.Contains(said, "another process has this store open") {
		t.Errorf("%v\n%s", err, said)
	}
	r.srv.Stop()
	said, err = migrate(t, config, "")
	if err == nil || !strings.Contains(said, "open the destination") || !strings.Contains(said, "stop all its servers") || !strings.Contains(said, "127.0.0.1") {
		t.Errorf("%v\n%s", err, said)
	}
	running.Stop()
	said, err = migrate(t, config, "")
	if err == nil || !strings.Contains(said, "destination: it holds another store") {
		t.Errorf("%v\n%s", err, said)
	}
}
