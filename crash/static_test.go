package crash

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"leasehold/internal/failpoint"
)

// staticOperations are what rotates a static role's password.
var staticOperations = []struct {
	name, role string
	run        func(r *rig)
}{
	{"asked for", "kept", func(r *rig) { _, _ = r.srv.Root(http.MethodPost, "database/rotate-role/kept", nil) }},
	{"due", "kept", func(r *rig) { r.writeStatic("kept", "5s") }},
	{"the first", "made", func(r *rig) {
		_, _ = r.srv.Root(http.MethodPost, "database/static-roles/made", map[string]any{
			"db_name": r.db.name(), "username": "made", "rotation_period": "24h",
		})
	}},
	{"of two users", "pair", func(r *rig) { _, _ = r.srv.Root(http.MethodPost, "database/rotate-role/pair", nil) }},
}

// TestKillsOfStaticRoles kills the server at each point of a rotation that a client asked for, of one that was due, and of a role's
// first. What is handed out right after the restart logs in, and the rotation is finished without anybody's help.
func TestKillsOfStaticRoles(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, newPostgres(t))
	for _, user := range staticUsers {
		r.sql(`CREATE ROLE ` + user + ` LOGIN PASSWORD 'first'`)
	}
	r.writeStatics()
	for _, operation := range staticOperations {
		for _, point := range failpoint.Statics {
			r.killRotation(point, operation.name, operation.role, operation.run)
		}
	}
	r.srv.Stop()
	r.searchForSecrets()
}

// TestKillsOfStaticRolesOnMariaDB does so at a database without transactions for users: each operation at one of the points.
func TestKillsOfStaticRolesOnMariaDB(t *testing.T) {
	t.Parallel()
	killEachRotation(t, newRigOn(t, newMariaDB(t)), `CREATE USER %s IDENTIFIED BY 'first'`)
}

// TestKillsOfStaticRolesOnSQLServer does so with the stand-in for SQL Server.
func TestKillsOfStaticRolesOnSQLServer(t *testing.T) {
	t.Parallel()
	killEachRotation(t, newRigOn(t, newSQLServer(t)), `CREATE LOGIN %s WITH PASSWORD = 'first'`)
}

// killEachRotation kills the server in each operation, at one of the points. create makes a user.
func killEachRotation(t *testing.T, r *rig, create string) {
	t.Helper()
	for _, user := range staticUsers {
		r.sql(fmt.Sprintf(create, user))
	}
	r.writeStatics()
	for i, operation := range staticOperations {
		r.killRotation(failpoint.Statics[i%len(failpoint.Statics)], operation.name, operation.role, operation.run)
	}
	r.srv.Stop()
	r.searchForSecrets()
}

// staticUsers are there before the server manages them.
var staticUsers = []string{"kept", "made", "pair_a", "pair_b"}

// writeStatics makes the static roles that are there from the beginning.
func (r *rig) writeStatics() {
	r.t.Helper()
	r.writeStatic("kept", "24h")
	r.root(http.MethodPost, "database/static-roles/pair", map[string]any{
		"db_name": r.db.name(), "username": "pair_a", "second_username": "pair_b", "rotation_period": "24h",
	})
}

// writeStatic makes or changes a static role of its user's name.
func (r *rig) writeStatic(name, period string) {
	r.t.Helper()
	r.root(http.MethodPost, "database/static-roles/"+name, map[string]any{"db_name": r.db.name(), "username": name, "rotation_period": period})
}

// static is what is handed out, which has to log in, unless there is another password by then.
func (r *rig) static(when, role string) creds {
	r.t.Helper()
	for refused := (creds{}); ; {
		c := r.credsOf(r.root(http.MethodGet, "database/static-creds/"+role, nil))
		r.secrets[c.password] = true
		err := r.login(c)
		if err != nil && c != refused {
			refused = c
			continue
		}
		if err != nil {
			r.t.Errorf("%s: the password of %s that is handed out is refused: %v", when, role, err)
		}
		return c
	}
}

// killRotation kills the server at one point of a rotation.
func (r *rig) killRotation(point, operation, role string, run func(r *rig)) {
	r.t.Helper()
	when := point + " of a rotation that is " + operation
	held := "kept" // who is there all the time
	if role == "pair" {
		held = role
	}
	before := r.static("before "+when, held)
	r.srv.Kill()
	r.must(r.srv.Restart("LEASEHOLD_FAILPOINT=" + point))
	run(r)
	<-r.srv.Exited() // a point that is never passed hangs here and fails by the test's timeout
	r.must(r.srv.Restart())
	r.static("right after "+when, held)
	r.awaitRotation(when, role, before.password)
	after := r.static("later after "+when, role)
	if err := r.login(before); role == "pair" && err != nil {
		r.t.Errorf("%s: the former user's password is refused: %v", when, err)
	}
	if after.password == before.password {
		r.t.Errorf("%s: the rotation was forgotten", when)
	}
	r.root(http.MethodPost, "database/rotate-role/"+role, nil)
	if r.static("next after "+when, role).password == after.password {
		r.t.Errorf("%s: the next rotation did nothing", when)
	}
	// It is made anew: else its password is sent once more when the dead process's time is over, which may be at the next point.
	r.root(http.MethodDelete, "database/static-roles/"+role, nil)
	if role != "made" {
		r.writeStatics()
	}
}

// awaitRotation returns once a role has another password than a former one, and no rotation of it is left half-way. It does not wait
// for a dead process's claim to run out, which takes 25 s: that is given back when its node is found to be dead.
func (r *rig) awaitRotation(when, role, former string) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		state, err := r.srv.Root(http.MethodGet, "database/static-roles/"+role, nil)
		if err == nil && dig(state, "data", "unfinished") == false {
			handed, err := r.srv.Root(http.MethodGet, "database/static-creds/"+role, nil)
			if err == nil && dig(handed, "data", "password") != former {
				return
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: it is not finished: %v %v", when, state["data"], err)
		}
		<-time.After(20 * time.Millisecond) // the event, a rotation in another process, can only be polled for
	}
}
