package postgres_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
)

func wantClass(t *testing.T, err error, want plugins.Class) {
	t.Helper()
	var e *plugins.Error
	if !errors.As(err, &e) || e.Class != want {
		t.Fatalf("got %v (%v), want class %v", err, plugins.ClassOf(err), want)
	}
}

const roleExists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)::text"

func TestStatementForms(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, "CREATE TABLE t (a int)")
	db := open(t, settings(s, s.User, s.Password))
	for _, statements := range [][]string{
		{createRole + ` GRANT SELECT ON t TO "{{username}}";`},
		{`["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'", "GRANT SELECT ON t TO \"{{name}}\""]`},
		{base64.StdEncoding.EncodeToString([]byte(createRole)), "", `GRANT SELECT ON t TO "{{name}}" -- done`},
		{`DO $$ BEGIN CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'; GRANT SELECT ON t TO "{{name}}"; END $$`},
		{`DO 'BEGIN CREATE ROLE "{{name}}"; END'; ALTER ROLE "{{name}}" LOGIN PASSWORD '{{password}}'; GRANT SELECT ON t TO "{{name}}"`},
	} {
		u := newUser(statements...)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatalf("%q: %v", statements, err)
		}
		if err := login(t, s, u.Name, u.Password); err != nil {
			t.Errorf("%q: %v", statements, err)
		}
		if got := ask(t, s, "SELECT has_table_privilege($1, 't', 'SELECT')::text", u.Name); got != "true" {
			t.Errorf("%q: the user may not read", statements)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpiration(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	const validUntil = "SELECT coalesce((rolvaliduntil AT TIME ZONE 'UTC')::text, 'null') FROM pg_roles WHERE rolname = $1"
	u := newUser(createRole)
	u.Expiration = time.Date(2099, 1, 2, 3, 4, 5, 999, time.FixedZone("", 3600))
	never := newUser(createRole)
	never.Expiration = time.Time{}
	for _, u := range []plugins.User{u, never} {
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ask(t, s, validUntil, u.Name), "2099-01-02 02:04:05"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := ask(t, s, validUntil, never.Name), "infinity"; got != want {
		t.Errorf("without: got %s, want %s", got, want)
	}
	later := plugins.Change{Expiration: u.Expiration.Add(time.Hour)}
	if err := db.AlterUser(t.Context(), u.Name, later); err != nil {
		t.Fatal(err)
	}
	if got, want := ask(t, s, validUntil, u.Name), "2099-01-02 03:04:05"; got != want {
		t.Errorf("altered: got %s, want %s", got, want)
	}
	later.Statements = []string{`COMMENT ON ROLE "{{name}}" IS '{{username}} {{expiration}}'`}
	if err := db.AlterUser(t.Context(), u.Name, later); err != nil {
		t.Fatal(err)
	}
	if got, want := ask(t, s, comment, u.Name), u.Name+" 2099-01-02 03:04:05+0000"; got != want {
		t.Errorf("by statements: got %s, want %s", got, want)
	}
	// A placeholder that has no value must not become the password.
	wantClass(t, db.AlterUser(t.Context(), u.Name, plugins.Change{Expiration: u.Expiration,
		Statements: []string{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'`}}), plugins.Permanent)
	for _, name := range []string{u.Name, never.Name} {
		if err := db.DropUser(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

const comment = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1"

// What {{password}} stands for, by the setting and by how the server keeps passwords.
func TestPasswordAuthentication(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	old, oldPassword := newRole(t, s, "SUPERUSER")
	s.Exec(t, "ALTER ROLE "+old+" SET password_encryption = 'md5'")
	for _, test := range []struct {
		name, setting, user, password string
		commentIsVerifier, stored     string
		inLog                         bool
	}{
		{"automatic", "", s.User, s.Password, "false", "SCRAM", false},
		{"automatic with an old server", "", old, oldPassword, "false", "md5", true},
		{"plain", "password", s.User, s.Password, "false", "SCRAM", true},
		{"verifier", "scram-sha-256", s.User, s.Password, "true", "SCRAM", false},
		{"verifier with an old server", "scram-sha-256", old, oldPassword, "true", "SCRAM", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := settings(s, test.user, test.password)
			options["password_authentication"] = test.setting
			db := open(t, options)
			commented := newUser(createRole, `COMMENT ON ROLE "{{name}}" IS '{{password}}'`)
			u := newUser(createRole)
			for _, u := range []plugins.User{commented, u} {
				if err := db.CreateUser(t.Context(), u); err != nil {
					t.Fatal(err)
				}
			}
			got := ask(t, s, "SELECT (shobj_description(oid, 'pg_authid') LIKE 'SCRAM-SHA-256$4096:%')::text FROM pg_roles WHERE rolname = $1", commented.Name)
			if got != test.commentIsVerifier {
				t.Errorf("{{password}} elsewhere is a verifier: got %s, want %s", got, test.commentIsVerifier)
			}
			passwords := []secret.Text{u.Password, secret.Random(secret.Base62, 20), secret.Random(secret.Base62, 20)}
			for i, statements := range [][]string{nil, {`ALTER USER "{{name}}" WITH PASSWORD '{{password}}'`}} {
				change := plugins.Change{Password: passwords[i+1], Statements: statements}
				if err := db.AlterUser(t.Context(), u.Name, change); err != nil {
					t.Fatal(err)
				}
				if err := login(t, s, u.Name, change.Password); err != nil && test.stored == "SCRAM" {
					t.Error(err)
				}
			}
			if got := ask(t, s, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", u.Name); !strings.HasPrefix(got, test.stored) {
				t.Errorf("stored: got %s, want %s", got, test.stored)
			}
			log := s.Log(t)
			for i, p := range passwords {
				if strings.Contains(log, p.Reveal()) != test.inLog {
					t.Errorf("password %d in the server's log: want %v", i, test.inLog)
				}
			}
			for _, name := range []string{u.Name, commented.Name} {
				if err := db.DropUser(t.Context(), name, nil); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A new user's verifier has the rounds that were asked for, and its login works; a password that replaces another has the
// usual number.
func TestScramIterations(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	options := settings(s, s.User, s.Password)
	options["scram_iterations"] = "17"
	db := open(t, options)
	u := newUser(createRole)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	stored := func() string {
		return ask(t, s, "SELECT split_part(rolpassword, ':', 1) FROM pg_authid WHERE rolname = $1", u.Name)
	}
	if got := stored(); !strings.HasPrefix(got, "SCRAM-SHA-256$17") {
		t.Errorf("stored %s, want 17 rounds", got)
	}
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Error(err)
	}
	if err := db.AlterUser(t.Context(), u.Name, plugins.Change{Password: secret.Random(secret.Base62, 20)}); err != nil {
		t.Fatal(err)
	}
	if got := stored(); !strings.HasPrefix(got, "SCRAM-SHA-256$4096") {
		t.Errorf("stored %s, want 4096 rounds", got)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
}

func TestOwnPassword(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	rotated, first := newRole(t, s, "SUPERUSER")
	current := secret.NewText(first)
	for _, statements := range [][]string{nil, {`ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}';`}} {
		db := open(t, settings(s, rotated, current.Reveal()))
		next := secret.Random(secret.Base62, 20)
		if err := db.AlterUser(t.Context(), rotated, plugins.Change{Password: next, Statements: statements}); err != nil {
			t.Fatal(err)
		}
		if login(t, s, rotated, current) == nil {
			t.Error("the old password still works")
		}
		if err := login(t, s, rotated, next); err != nil {
			t.Error(err)
		}
		current = next
	}
}

// A role by another name than the recorded one would stay for ever.
func TestFoldedName(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(`CREATE ROLE {{name}} LOGIN`)
	u.Name = "Folded"
	err := db.CreateUser(t.Context(), u)
	wantClass(t, err, plugins.Permanent)
	if !strings.Contains(err.Error(), "double quotes") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"Folded", "folded"} {
		if got := ask(t, s, roleExists, name); got != "false" {
			t.Errorf("role %s is there", name)
		}
	}
	// Statements that make no role at all are the operator's business.
	for _, sql := range []string{"SELECT '{{name}}'", "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR PUBLIC SERVER s"} {
		if err := db.CreateUser(t.Context(), newUser(sql)); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	for _, test := range []struct {
		statements []string
		want       plugins.Class
	}{
		{nil, plugins.Permanent},
		{[]string{" ; "}, plugins.Permanent},
		{[]string{"CREATE ROLL nonsense"}, plugins.Permanent},
		{[]string{createRole, "SELECT 'unterminated"}, plugins.Permanent},
		{[]string{createRole, "ROLLBACK"}, plugins.Unknown},
		{[]string{createRole, "COMMIT"}, plugins.Unknown},
		{[]string{createRole, "COMMIT", "SELECT 1/0"}, plugins.Unknown},
		{[]string{createRole, "DO $$ BEGIN RAISE EXCEPTION 'not now'; END $$"}, plugins.Refused},
	} {
		u := newUser(test.statements...)
		err := db.CreateUser(t.Context(), u)
		if got := plugins.ClassOf(err); err == nil || got != test.want {
			t.Errorf("%q: got %v (%v), want class %v", test.statements, err, got, test.want)
		}
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Error(err)
		}
		if got := ask(t, s, roleExists, u.Name); got != "false" {
			t.Errorf("%q: the user is there", test.statements)
		}
	}
}

// The answer to COMMIT gets lost: nobody knows, and the user exists.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	p := newProxy(t, s)
	db := open(t, settings(p.Server, s.User, s.Password))
	u := newUser(createRole)
	p.loseAnswerTo("COMMIT")
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Unknown)
	if err := poll(t.Context(), s, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '"+u.Name+"')"); err != nil {
		t.Fatalf("wait for the user: %v", err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the user is there")
	}
}

// The connection breaks before COMMIT: whatever the caller is told, there is no user.
func TestLostStatements(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	p := newProxy(t, s)
	db := open(t, settings(p.Server, s.User, s.Password))
	u := newUser(createRole)
	p.loseAnswerTo("BEGIN")
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Unknown)
	err := poll(t.Context(), s, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'leasehold')")
	if err != nil {
		t.Fatalf("wait for the session's end: %v", err)
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the user is there")
	}
}

// While somebody else has the turn, the server gives up before the caller does: the answer is a clear no.
func TestServerGivesUpFirst(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, "CREATE TABLE t (a int)")
	db := open(t, settings(s, s.User, s.Password))
	holder := s.Conn(t)
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(7018957439261370228)"); err != nil {
		t.Fatal(err)
	}
	u := newUser(createRole, `GRANT SELECT ON t TO "{{name}}"`)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantClass(t, db.CreateUser(ctx, u), plugins.Refused)
	if ctx.Err() != nil {
		t.Error("the caller's time was over first")
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the user is there")
	}
	// Others need no turn.
	if err := db.CreateUser(t.Context(), newUser(createRole)); err != nil {
		t.Error(err)
	}
}

func TestServerCrash(t *testing.T) {
	t.Parallel()
	s := testdb.Postgres(t)
	db := open(t, settings(s, s.User, s.Password))
	if err := db.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := newUser(createRole, "SELECT pg_sleep(100)")
	done := make(chan error)
	go func() { done <- db.CreateUser(t.Context(), u) }()
	if err := poll(t.Context(), s, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')"); err != nil {
		t.Fatal(err)
	}
	s.Crash()
	if err := <-done; plugins.ClassOf(err) != plugins.Unknown && plugins.ClassOf(err) != plugins.Refused {
		t.Errorf("create: %v (%v)", err, plugins.ClassOf(err))
	}
	u.Statements = []string{createRole}
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Unreachable)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the user is there")
	}
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, fiveTables)
	p := newProxy(t, s)
	options := settings(p.Server, s.User, s.Password)
	options["max_open_connections"] = "1"
	db := open(t, options)
	run := func() (create, drop, again int64) {
		u := newUser(createRole, grantTables)
		for _, step := range []struct {
			count *int64
			call  func() error
		}{
			{&create, func() error { return db.CreateUser(t.Context(), u) }},
			{&drop, func() error { return db.DropUser(t.Context(), u.Name, nil) }},
			{&again, func() error { return db.DropUser(t.Context(), u.Name, nil) }},
		} {
			before := p.requests.Load()
			if err := step.call(); err != nil {
				t.Fatal(err)
			}
			*step.count = p.requests.Load() - before
		}
		return create, drop, again
	}
	run() // asks how the server keeps passwords, and prepares the look
	if create, drop, again := run(); create != 2 || drop != 2 || again != 1 {
		t.Errorf("round trips: create %d, want 2; drop %d, want 2; drop again %d, want 1", create, drop, again)
	}
}
