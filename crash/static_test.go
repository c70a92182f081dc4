package crash

import (
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
}

// TestKillsOfStaticRoles kills the server at each point of a rotation that a client asked for, of one that was due, and of a role's
// first. What is handed out right after the restart logs in, and the rotation is finished without anybody's help.
func TestKillsOfStaticRoles(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, newPostgres(t))
	r.sql(`CREATE ROLE kept LOGIN PASSWORD 'first'`)
	r.sql(`CREATE ROLE made LOGIN PASSWORD 'first'`)
	r.writeStatic("kept", "24h")
	for _, operation := range staticOperations {
		for _, point := range failpoint.Statics {
			r.killRotation(point, operation.name, operation.role, operation.run)
		}
	}
	r.srv.Stop()
	r.searchForSecrets()
}

// TestKillsOfStaticRolesOnMariaDB does so at a database without transactions for users: one operation for each point.
func TestKillsOfStaticRolesOnMariaDB(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, newMariaDB(t))
	r.sql(`CREATE USER kept IDENTIFIED BY 'first'`)
	r.sql(`CREATE USER made IDENTIFIED BY 'first'`)
	r.writeStatic("kept", "24h")
	for i, point := range failpoint.Statics {
		operation := staticOperations[i]
		r.killRotation(point, operation.name, operation.role, operation.run)
	}
	r.srv.Stop()
	r.searchForSecrets()
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
	before := r.static("before "+when, "kept")
	r.srv.Kill()
	r.must(r.srv.Restart("LEASEHOLD_FAILPOINT=" + point))
	run(r)
	<-r.srv.Exited() // a point that is never passed hangs here and fails by the test's timeout
	r.must(r.srv.Restart())
	r.static("right after "+when, "kept")
	r.awaitRotation(when, role, before.password)
	after := r.static("later after "+when, role)
	if after.password == before.password {
		r.t.Errorf("%s: the rotation was forgotten", when)
	}
	r.root(http.MethodPost, "database/rotate-role/"+role, nil)
	if r.static("next after "+when, role).password == after.password {
		r.t.Errorf("%s: the next rotation did nothing", when)
	}
	if role == "made" {
		r.root(http.MethodDelete, "database/static-roles/made", nil)
	} else {
		r.writeStatic("kept", "24h")
	}
}

// awaitRotation returns once a role has another password than a former one, and no rotation of it is left half-way.
func (r *rig) awaitRotation(when, role, former string) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
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
