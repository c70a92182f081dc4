package database_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
)

func TestCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	resp := w.must(engine.Read, "creds/app", nil)
	a := issued(resp)
	if !strings.HasPrefix(a.lease, "database/creds/app/") || resp.Secret.Duration != time.Hour || !resp.Secret.Renewable || len(resp.Data) != 2 {
		t.Errorf("answer: %+v, %v", resp.Secret, resp.Data)
	}
	if form := regexp.MustCompile(`^v-token-app-[A-Za-z0-9]{20}-[0-9]{10}$`); !form.MatchString(a.user) {
		t.Errorf("user name %q", a.user)
	}
	if form := regexp.MustCompile(`^[A-Za-z0-9-]{20}$`); !form.MatchString(a.password) {
		t.Errorf("a password of another form")
	}
	if !w.logsIn(a.user, a.password) {
		t.Fatal("the user cannot log in")
	}
	end := func() time.Time {
		at, err := time.Parse(time.RFC3339, w.value(`SELECT to_char(rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM pg_roles WHERE rolname = $1`, a.user))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if got, want := end(), w.clock.Now().Add(time.Hour+5*time.Second); !got.Equal(want) {
		t.Errorf("VALID UNTIL %v, want %v", got, want)
	}
	if _, _, err := w.leases.Renew(t.Context(), a.lease, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got, want := end(), w.clock.Now().Add(30*time.Minute+5*time.Second); !got.Equal(want) {
		t.Errorf("VALID UNTIL %v after the renewal, want %v", got, want)
	}
	w.revoke(a.lease)
	if w.exists(a.user) {
		t.Error("the user is still there")
	}
	w.must(engine.Delete, "roles/app", nil)
	w.refused(engine.Read, "creds/app", nil, errs.Invalid, "unknown role: app")
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	a := w.creds("app")
	w.clock.Advance(time.Hour - time.Second)
	w.reap()
	if !w.exists(a.user) {
		t.Fatal("the user went before its lease")
	}
	w.clock.Advance(2 * time.Second)
	w.reap()
	if w.exists(a.user) {
		t.Error("the user outlived its lease")
	}
}

func TestCredentialRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(engine.Update, "config/pg", w.settings(data{"allowed_roles": []string{"app-*", "exact"}}))
	w.must(engine.Update, "config/broken", w.settings(data{"password": "canary-wrong", "verify_connection": false}))
	for _, test := range []struct {
		role string
		body data
		code errs.Code
		want string
	}{
		{"other", data{"db_name": "pg", "creation_statements": createOnly}, errs.Unavailable, framed(`"other" is not an allowed role`)},
		{"app-nodb", data{"db_name": "missing", "creation_statements": createOnly}, errs.Unavailable, framed(`failed to find entry for connection with name: "missing"`)},
		{"app-empty", data{"db_name": "pg"}, errs.Unavailable, framed("empty creation statements")},
		{"app-bad", data{"db_name": "pg", "creation_statements": "CREATE ROLL nonsense"}, errs.Unavailable, "...syntax error"},
		{"app-rsa", data{"db_name": "pg", "creation_statements": createOnly, "credential_type": "rsa_private_key"}, errs.Invalid, `unsupported credential_type: "rsa_private_key"`},
		{"app-policy", data{"db_name": "pg", "creation_statements": createOnly, "credential_config": data{"password_policy": "absent"}}, errs.Unavailable,
			framed(`failed to generate password: no password policy "absent"`)},
		{"app-down", data{"db_name": "broken", "creation_statements": createOnly}, errs.Unavailable, "...connect"},
	} {
		w.must(engine.Update, "roles/"+test.role, test.body)
		_, err := w.send(engine.Read, "creds/"+test.role, nil)
		w.isRefusal(err, test.code, test.want)
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error holds a password: %v", test.role, err)
		}
	}
	w.refused(engine.Read, "creds/nope", nil, errs.Invalid, "unknown role: nope")
	if rows := w.rows("leases"); rows != 0 {
		t.Errorf("%d leases are left of refused requests", rows)
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.mount.DefaultTTL, w.mount.MaxTTL = 30*time.Minute, 2*time.Hour
	cut := func(from, to string) []string {
		return []string{`TTL of "` + from + `" exceeded the effective max_ttl of "` + to + `"; TTL value is capped accordingly`}
	}
	for _, test := range []struct {
		name     string
		role     data
		want     time.Duration
		warnings []string
	}{
		{"none", data{}, 30 * time.Minute, nil},
		{"over", data{"default_ttl": "5h"}, 2 * time.Hour, cut("5h", "2h")},
		{"cut", data{"default_ttl": "1h", "max_ttl": "20m"}, 20 * time.Minute, cut("1h", "20m")},
		{"short", data{"default_ttl": "2s", "max_ttl": "1h"}, 2 * time.Second, nil},
	} {
		test.role["db_name"], test.role["creation_statements"] = "pg", createOnly
		w.must(engine.Update, "roles/"+test.name, test.role)
		resp := w.must(engine.Read, "creds/"+test.name, nil)
		if diff := cmp.Diff(test.warnings, resp.Warnings); resp.Secret.Duration != test.want || diff != "" {
			t.Errorf("%s: %v, want %v; warnings: %s", test.name, resp.Secret.Duration, test.want, diff)
		}
		w.revoke(resp.Secret.LeaseID)
	}

	// A batch token's end is the end of its leases, at issue and at renewal.
	w.must(engine.Update, "roles/long", data{"db_name": "pg", "creation_statements": createOnly, "default_ttl": "1h"})
	w.caller = &engine.Caller{DisplayName: "token", Type: "batch", ExpiresAt: w.clock.Now().Add(10 * time.Minute)}
	resp := w.must(engine.Read, "creds/long", nil)
	if resp.Secret.Duration != 10*time.Minute || resp.Warnings != nil {
		t.Errorf("batch token: %v, %q; want 10m without a warning", resp.Secret.Duration, resp.Warnings)
	}
	w.clock.Advance(time.Minute)
	record, warnings, err := w.leases.Renew(t.Context(), resp.Secret.LeaseID, time.Hour)
	if err != nil || !record.ExpiresAt.Equal(w.caller.ExpiresAt) || len(warnings) == 0 {
		t.Errorf("renewed to %v with %q, %v; want %v", record.ExpiresAt, warnings, err, w.caller.ExpiresAt)
	}
	w.clock.Advance(10 * time.Minute)
	w.refused(engine.Read, "creds/long", nil, errs.Unauthenticated, "permission denied")
}

func TestPasswordPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"password_policy": "digits"})
	w.must(engine.Update, "roles/b", data{"db_name": "pg", "creation_statements": createOnly, "credential_config": data{"password_policy": "upper"}})
	for role, form := range map[string]string{"app": `^[0-9]{12}$`, "b": `^[A-F]{12}$`} {
		a := w.creds(role)
		if !regexp.MustCompile(form).MatchString(a.password) || !w.logsIn(a.user, a.password) {
			t.Errorf("%s: the password has not the form %s, or does not work", role, form)
		}
	}
}

// A connection that changes between reading it and writing the intent is read again: no lease is made for one that is gone,
// and none with settings that are not in force any more.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"password_policy": "digits"})
	w.hooks.set(func(h *hooks) {
		h.policy = func() { w.must(engine.Update, "config/pg", data{"username_template": "new-{{random 20}}"}) }
	})
	a := w.creds("app")
	if !strings.HasPrefix(a.user, "new-") {
		t.Errorf("user name %q by the former settings", a.user)
	}
	w.revoke(a.lease)
	w.hooks.set(func(h *hooks) { h.policy = func() { w.must(engine.Delete, "config/pg", nil) } })
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, framed(`failed to find entry for connection with name: "pg"`))
	if leases, rows := w.rows("leases"), w.rows("database_connections"); leases != 0 || rows != 0 {
		t.Errorf("%d leases and %d connections are left", leases, rows)
	}
}

// A template without randomness makes one user at a time, and the second request does no harm to the first one's user.
func TestFixedName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	prefix := strings.ToLower(w.mount.UUID)
	w.must(engine.Update, "config/pg", data{"username_template": prefix + "-{{.RoleName}}"})
	a := w.creds("app")
	if a.user != prefix+"-app" {
		t.Fatalf("user name %q", a.user)
	}
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...has a user")
	w.reap()
	if !w.logsIn(a.user, a.password) {
		t.Error("the refused request took the user away")
	}

	// Another's user of that name may come into being after the look.
	taken := prefix + "-late"
	w.must(engine.Update, "roles/late", data{"db_name": "pg", "creation_statements": createOnly})
	w.hooks.set(func(h *hooks) {
		h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
			w.pg.Exec(t, `CREATE ROLE "`+taken+`"`)
			return db.CreateUser(ctx, u)
		}
	})
	w.refused(engine.Read, "creds/late", nil, errs.Unavailable, "...already exists")
	if !w.exists(taken) || w.rows("leases") != 1 {
		t.Errorf("the other's user exists: %v, leases: %d; want true, 1", w.exists(taken), w.rows("leases"))
	}
	w.pg.Exec(t, `DROP ROLE "`+taken+`"`)
	w.revoke(a.lease)
}

// PostgreSQL cuts long names, when a user is made and when it logs in: the lease has to drop the user that there is.
func TestLongName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"username_template": `{{printf "%s-%s" .RoleName "` + w.mount.UUID + `" | sha256}}`})
	a := w.creds("app")
	if len(a.user) != 64 || !w.logsIn(a.user, a.password) || !w.exists(a.user[:63]) {
		t.Fatalf("the user %q cannot log in", a.user)
	}
	w.revoke(a.lease)
	if w.exists(a.user[:63]) {
		t.Error("the user is still there")
	}
	w.refused(engine.Update, "config/pg", data{"username_template": `{{sha256 .RoleName}}-{{random 20}}`}, errs.Invalid, "...its random part would be cut")
	w.must(engine.Update, "config/pg", data{"username_template": `{{.RoleName}}-{{.DisplayName}}-{{random 40}}`})
	w.caller.DisplayName = "somebody-with-a-name"
	w.refused(engine.Read, "creds/app", nil, errs.Unavailable, "...its random part would be cut")
	w.must(engine.Update, "config/pg", data{"username_template": `{{random 20}}-{{sha256 .RoleName}}`})
	w.revoke(w.creds("app").lease)
}

// A creation whose outcome is unknown is neither tried again nor forgotten.
func TestUnknownCreation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	var user string
	w.hooks.set(func(h *hooks) {
		h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
			user = u.Name
			if err := db.CreateUser(ctx, u); err != nil {
				return err
			}
			return &plugins.Error{Op: "create user", Class: plugins.Unknown, Err: errors.New("the line went dead")}
		}
	})
	_, err := w.send(engine.Read, "creds/app", nil)
	w.isRefusal(err, errs.Unavailable, framed("create user: the line went dead"))
	if !errors.Is(err, lease.ErrUnknown) {
		t.Errorf("%v is not told as unknown", err)
	}
	if !w.exists(user) || w.rows("leases") != 1 {
		t.Fatalf("the user exists: %v, leases: %d", w.exists(user), w.rows("leases"))
	}
	w.clock.Advance(time.Minute)
	w.reap()
	if w.exists(user) {
		t.Error("the reaper left the user")
	}
}

// Concurrent requests never have more calls at the database than the connection has slots.
func TestSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"max_open_connections": 2})
	var mu sync.Mutex
	running, most := 0, 0
	w.hooks.set(func(h *hooks) {
		h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			defer func() { mu.Lock(); running--; mu.Unlock() }()
			return db.CreateUser(ctx, u)
		}
	})
	var wait sync.WaitGroup
	for range 12 {
		wait.Go(func() {
			if _, err := w.send(engine.Read, "creds/app", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if most != 2 {
		t.Errorf("%d calls at once, want 2", most)
	}
	if _, opens := w.hooks.count(); opens != 3 { // two writes that tried the settings, one pool
		t.Errorf("%d databases were opened, want 3", opens)
	}
	if err := w.leases.RevokePrefix(t.Context(), "database/creds/app", true); err != nil {
		t.Error(err)
	}
}

// A request that gets no slot in time is told so; as nothing was sent, nothing is left of it.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/pg", data{"max_open_connections": 1})
	w.timeout = 50 * time.Millisecond
	w.start()
	entered, release := make(chan struct{}), make(chan struct{})
	w.hooks.set(func(h *hooks) {
		h.create = func(context.Context, plugins.Database, plugins.User) error {
			close(entered)
			<-release
			return &plugins.Error{Op: "create user", Class: plugins.Unreachable, Err: errors.New("gone")}
		}
	})
	done := make(chan error)
	go func() { _, err := w.send(engine.Read, "creds/app", nil); done <- err }()
	<-entered
	_, err := w.send(engine.Read, "creds/app", nil)
	w.isRefusal(err, errs.Unavailable, framed("the database is busy: no free connection in time"))
	close(release)
	w.isRefusal(<-done, errs.Unavailable, framed("create user: gone"))
	if rows := w.rows("leases"); rows != 0 {
		t.Errorf("%d leases are left", rows)
	}
}

// While one database hangs, others are served.
func TestHangingDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.must(engine.Update, "config/slow", w.settings(data{"max_open_connections": 1}))
	w.must(engine.Update, "roles/slow", data{"db_name": "slow", "creation_statements": createOnly})
	entered, release := make(chan struct{}), make(chan struct{})
	w.hooks.set(func(h *hooks) {
		h.create = func(ctx context.Context, db plugins.Database, u plugins.User) error {
			if strings.Contains(u.Name, "-slow-") {
				close(entered)
				<-release
			}
			return db.CreateUser(ctx, u)
		}
	})
	done := make(chan error)
	go func() { _, err := w.send(engine.Read, "creds/slow", nil); done <- err }()
	<-entered
	a := w.creds("app")
	w.revoke(a.lease)
	w.must(engine.Update, "config/slow", data{"allowed_roles": "*"}) // its old pool waits for the call under way
	close(release)
	if err := <-done; err != nil {
		t.Errorf("the slow request: %v", err)
	}
	w.engine.Close()
	if opened, _ := w.hooks.count(); opened != 0 {
		t.Errorf("%d databases are open", opened)
	}
}
