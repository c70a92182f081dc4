package database_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
)

// outcome is the steps of a report, "+" or "-" and the name of each.
func outcome(report data) (steps string) {
	for _, s := range report["steps"].([]map[string]any) {
		mark := " -"
		if s["ok"].(bool) {
			mark = " +"
		}
		steps += mark + s["step"].(string)
	}
	return strings.TrimSpace(steps)
}

// textOf is what a report says about a step.
func textOf(report data, name string) string {
	for _, s := range report["steps"].([]map[string]any) {
		if s["step"] == name {
			return s["text"].(string)
		}
	}
	return ""
}

// left demands that no user of the role and no lease is there.
func (w *world) left(user string, leases int) {
	w.Helper()
	if n := w.rows("leases"); n != leases {
		w.Errorf("%d leases are left, want %d", n, leases)
	}
	if there := w.exists(user); there != (leases > 0) {
		w.Errorf("user %q is there: %v", user, there)
	}
}

const allSteps = "+create +login +grants +renew +revoke"

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pg.Exec(t, "CREATE TABLE shop (a int)")
	w.must(engine.Update, "config/pg", w.settings(nil))
	body := data{"db_name": "pg", "creation_statements": createStatement, "verify": true}
	stored := w.must(engine.Update, "roles/app", body)
	if got := outcome(stored.Data); got != allSteps || stored.Data["ok"] != true || len(stored.Warnings) != 0 {
		t.Errorf("steps %q, ok %v, warnings %q", got, stored.Data["ok"], stored.Warnings)
	}
	user := stored.Data["username"].(string)
	want := []string{`GRANT SELECT ON TABLE public.shop TO "` + user + `"`}
	if diff := cmp.Diff(want, stored.Data["grants"]); diff != "" {
		t.Errorf("grants: %s", diff)
	}
	w.left(user, 0)
	checked := w.must(engine.Update, "check/app", nil)
	if got := outcome(checked.Data); got != allSteps || checked.Secret != nil || checked.Data["username"] == user {
		t.Errorf("steps %q of %v, lease %v", got, checked.Data, checked.Secret)
	}
	w.left(checked.Data["username"].(string), 0)

	w.refused(engine.Update, "check/nope", nil, errs.Invalid, "unknown role: nope")
	w.refused(engine.Update, "roles/app", data{"verify": "perhaps"}, errs.Invalid, "...verify")
	for _, sent := range []data{nil, {"verify": false}} { // as ever
		if resp := w.must(engine.Update, "roles/app", sent); resp != nil {
			t.Errorf("a plain write answered %v", resp)
		}
	}
}

func TestCheckOfBadRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(data{"allowed_roles": "app"}))
	owns := createOnly + `; CREATE TABLE "{{name}}" (a int); ALTER TABLE "{{name}}" OWNER TO "{{name}}"`
	for _, test := range []struct {
		name, steps, want string
		body              data
	}{
		{"statements that fail", "-create", "create: create user: ERROR: syntax error", data{"creation_statements": createOnly + "; CREATE ROLL nonsense"}},
		{"no statements", "-create", "create: empty creation statements", data{"creation_statements": ""}},
		{"no connection", "-create", `create: failed to find entry for connection with name: "none"`, data{"db_name": "none", "creation_statements": createOnly}},
		{"another kind of credential", "-create", "unsupported credential_type", data{"creation_statements": createOnly, "credential_type": "rsa_private_key"}},
		{"renewal fails", "+create +login +grants -renew +revoke", "renew: ", data{"creation_statements": createOnly, "renew_statements": "SELECT 1/0"}},
		{"cannot be dropped", "+create +login +grants +renew -revoke", "revoke: the user could not be removed again: ",
			data{"creation_statements": owns, "revocation_statements": `DROP ROLE "{{name}}"`}},
		{"is not dropped", "+create +login +grants +renew -revoke", "the role is still there after the revocation statements",
			data{"creation_statements": createOnly, "revocation_statements": "SELECT 1"}},
	} {
		body := data{"db_name": "pg", "verify": true}
		for name, value := range test.body {
			body[name] = value
		}
		_, err := w.send(engine.Update, "roles/app", body)
		w.isRefusal(err, errs.Invalid, "..."+test.want)
		shown := errs.From(err)
		if shown == nil || shown.Data == nil {
			t.Fatalf("%s: no report beside the error", test.name)
		}
		if got := outcome(shown.Data); got != test.steps || shown.Data["ok"] != false {
			t.Errorf("%s: steps %q, want %q", test.name, got, test.steps)
		}
		w.left(shown.Data["username"].(string), 0)
		w.refused(engine.Read, "roles/app", nil, errs.NotFound, "")
	}

	// A stored role stays as it was, and its check, which is no write, reports.
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly, "revocation_statements": "SELECT 1"})
	w.refused(engine.Update, "roles/app", data{"creation_statements": owns, "verify": true}, errs.Invalid, "...still there")
	if got := w.must(engine.Read, "roles/app", nil).Data["creation_statements"]; !cmp.Equal(got, []string{createOnly}) {
		t.Errorf("the refused statements were stored: %q", got)
	}
	checked := w.must(engine.Update, "check/app", nil).Data
	if outcome(checked) != "+create +login +grants +renew -revoke" || checked["ok"] != false {
		t.Errorf("report: %v", checked)
	}
	w.left(checked["username"].(string), 0)
}

// A user that cannot log in from here may be able to elsewhere: the role is stored, with a warning.
func TestCheckWithoutLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(nil))
	resp := w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": `CREATE ROLE "{{name}}" NOLOGIN`, "verify": true})
	if outcome(resp.Data) != "+create -login +grants +renew +revoke" || resp.Data["ok"] != false || len(resp.Warnings) != 1 {
		t.Errorf("report %v, warnings %q", resp.Data, resp.Warnings)
	}
	w.left(resp.Data["username"].(string), 0)
	w.must(engine.Read, "roles/app", nil)
}

func TestCheckOfStaticRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(nil))
	user := w.root("first")
	w.must(engine.Update, "static-roles/st", data{"db_name": "pg", "username": user, "rotation_period": "1h"})
	w.refused(engine.Update, "check/st", nil, errs.Invalid, "...nothing to check")
	w.refused(engine.Update, "roles/st", data{"db_name": "pg", "verify": true}, errs.Invalid, "Role and Static Role names must be unique")
}

// The user is on record before it is made, and a crash in the middle of the check leaves it to the reaper.
func TestCheckDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(nil))
	// As the process would be: the user is there, and nothing of what follows is done.
	var user string
	before := -1
	w.hooks.set(func(h *hooks) {
		h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
			user, before = u.Name, w.rows("leases")
			return db.CreateUser(ctx, u)
		}
		gone := func() error {
			return &plugins.Error{Op: "stop", Class: plugins.Unreachable, Err: errors.New("the process is gone")}
		}
		h.alter = func(context.Context, plugins.Database, string, plugins.Change) error { return gone() }
		h.drop = func(context.Context, plugins.Database, string, []string) error { return gone() }
	})
	w.refused(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly, "revocation_statements": "SELECT 1", "verify": true},
		errs.Invalid, "...is tried again until it is gone")
	if before != 1 {
		t.Errorf("%d leases were on record when the user was made, want 1", before)
	}
	w.left(user, 1)
	ids, err := w.leases.List(t.Context(), "database/check/app/")
	if err != nil || len(ids) != 1 {
		t.Errorf("leases below check/app: %q, %v", ids, err)
	}
	w.hooks.set(func(h *hooks) { h.create, h.alter, h.drop = nil, nil, nil })
	w.start()
	w.clock.Advance(time.Minute)
	w.reap()
	w.left(user, 0)
}

// A removal that neither the role's statements nor the plugin can do stays a lease, and is tried until it succeeds.
func TestCheckKeepsTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(nil))
	refuse := true
	w.hooks.set(func(h *hooks) {
		h.drop = func(ctx context.Context, db plugins.Database, name string, statements []string) error {
			if refuse {
				return &plugins.Error{Op: "drop user", Class: plugins.Refused, Err: errors.New("not now")}
			}
			return db.DropUser(ctx, name, statements)
		}
	})
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly})
	checked := w.must(engine.Update, "check/app", nil).Data
	if !strings.Contains(textOf(checked, "revoke"), "not now (lease database/check/app/") {
		t.Errorf("report: %v", checked)
	}
	user := checked["username"].(string)
	w.left(user, 1)
	w.must(engine.Delete, "roles/app", nil)
	w.reap()
	w.left(user, 1)
	w.hooks.set(func(h *hooks) { refuse = false })
	w.clock.Advance(time.Minute)
	w.reap()
	w.left(user, 0)
}

// The user of a fixed name is dropped once: the name may be somebody else's as soon as it is free.
func TestCheckOfFixedName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := strings.ToLower(w.mount.UUID) + "-app"
	w.must(engine.Update, "config/pg", w.settings(data{"username_template": strings.ToLower(w.mount.UUID) + "-{{.RoleName}}"}))
	drops := 0
	w.hooks.set(func(h *hooks) {
		h.drop = func(ctx context.Context, db plugins.Database, name string, statements []string) error {
			drops++
			return db.DropUser(ctx, name, statements)
		}
	})
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly, "verify": true})
	if drops != 1 {
		t.Errorf("%d drops, want 1", drops)
	}
	w.left(name, 0)
	a := w.creds("app") // whose user a check must not touch
	checked := w.must(engine.Update, "check/app", nil).Data
	if outcome(checked) != "-create" || !strings.Contains(textOf(checked, "create"), "has a user") || !w.logsIn(a.user, a.password) {
		t.Errorf("report: %v", checked)
	}
	w.revoke(a.lease)
}

// A user whose creation was not answered may come late: the check does not call it gone.
func TestCheckOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(nil))
	w.hooks.set(func(h *hooks) {
		h.create = func(context.Context, plugins.Database, plugins.User) error {
			return &plugins.Error{Op: "create user", Class: plugins.Unknown, Err: errors.New("the line went dead")}
		}
	})
	w.must(engine.Update, "roles/app", data{"db_name": "pg", "creation_statements": createOnly})
	checked := w.must(engine.Update, "check/app", nil).Data
	if outcome(checked) != "-create -revoke" || !strings.Contains(textOf(checked, "revoke"), "not known yet: lease database/check/app/") {
		t.Errorf("report: %v", checked)
	}
	if n := w.rows("leases"); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
}

func TestCheckOnMariaDB(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	maria, _ := w.connectMariaDB()
	maria.Exec(t, "CREATE DATABASE shop")
	resp := w.must(engine.Update, "roles/app", data{"db_name": "my", "verify": true,
		"creation_statements": "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON shop.* TO '{{name}}'@'%' WITH GRANT OPTION"})
	if got := outcome(resp.Data); got != allSteps {
		t.Errorf("report %v", resp.Data)
	}
	grants := strings.Join(resp.Data["grants"].([]string), "\n")
	if !strings.Contains(grants, "GRANT SELECT ON `shop`.* TO `"+resp.Data["username"].(string)+"`@`%` WITH GRANT OPTION") || strings.Contains(grants, "IDENTIFIED") {
		t.Errorf("grants: %s", grants)
	}
	if n := w.rows("leases"); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}
