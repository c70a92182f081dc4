package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/testdb"
	"leasehold/plugins"
)

func TestDropRefusesOwnUser(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	own, password := newRole(t, s, "SUPERUSER")
	db := open(t, settings(s, own, password))
	for _, statements := range [][]string{nil, {`DROP ROLE "{{name}}"`}} {
		wantClass(t, db.DropUser(t.Context(), own, statements), plugins.Permanent)
	}
	if err := db.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// Somebody else grants and revokes on the same tables without taking turns.
func TestDropAmongGrants(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, fiveTables)
	bystander, _ := newRole(t, s, "")
	db := open(t, settings(s, s.User, s.Password))
	var users []plugins.User
	for range 10 {
		u := newUser(createRole, grantTables)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		users = append(users, u)
	}
	ctx, stop := context.WithCancel(t.Context())
	var noise sync.WaitGroup
	defer noise.Wait()
	defer stop()
	conn := s.Conn(t)
	noise.Go(func() {
		for ctx.Err() == nil {
			// Its own collisions are of no interest.
			_, _ = conn.Exec(t.Context(), "BEGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+bystander+"; COMMIT")
			_, _ = conn.Exec(t.Context(), "ROLLBACK; REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "+bystander)
		}
	})
	for _, u := range users {
		if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
			t.Error(err)
		}
	}
	stop()
	noise.Wait()
}

// What can't be dropped loses its login and sessions all the same, and the error says what is in the way.
func TestDropBlocked(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	closed := s.Scratch(t)
	s.Exec(t, "CREATE TABLE foreign_table (a int)")
	maker, password := newRole(t, s, "CREATEROLE")
	for _, test := range []struct {
		name, user, password, grant, undo, want string
		session                                 bool
	}{
		{
			"rights that another granted", maker, password,
			`GRANT SELECT ON foreign_table TO %s`, `REVOKE ALL ON foreign_table FROM %s`, "foreign_table", true,
		}, {
			"the same without a session", maker, password,
			`GRANT SELECT ON foreign_table TO %s`, `REVOKE ALL ON foreign_table FROM %s`, "foreign_table", false,
		}, {
			"a database without connections", s.User, s.Password,
			`GRANT CREATE ON SCHEMA public TO %s`, ``, "not currently accepting connections", true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := open(t, settings(s, test.user, test.password))
			u := newUser(createRole)
			if err := db.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			quoted := pgx.Identifier{u.Name}.Sanitize()
			if test.undo != "" {
				s.Exec(t, fmt.Sprintf(test.grant, quoted))
			} else {
				closed.Exec(t, fmt.Sprintf(test.grant, quoted))
				s.Exec(t, "ALTER DATABASE "+closed.Database+" ALLOW_CONNECTIONS false")
			}
			var session *pgx.Conn
			if test.session {
				config := s.Conn(t).Config()
				config.User, config.Password = u.Name, u.Password.Reveal()
				var err error
				if session, err = pgx.ConnectConfig(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			err := db.DropUser(t.Context(), u.Name, nil)
			wantClass(t, err, plugins.Refused)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			if test.session && session.Ping(t.Context()) == nil {
				t.Error("the session lives")
			}
			if login(t, s, u.Name, u.Password) == nil {
				t.Error("the user can log in")
			}
			if test.undo != "" {
				s.Exec(t, fmt.Sprintf(test.undo, quoted))
			} else {
				s.Exec(t, "ALTER DATABASE "+closed.Database+" ALLOW_CONNECTIONS true")
			}
			if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// While the drop waits for its turn, the role gets rights in another database.
func TestDropGainedRights(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	other := s.Scratch(t)
	s.Exec(t, "CREATE TABLE t (a int)")
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createRole, `GRANT SELECT ON t TO "{{name}}"`)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	holder := s.Conn(t)
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(7018957439261370228)"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- db.DropUser(t.Context(), u.Name, nil) }()
	if err := poll(t.Context(), s, `SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	other.Exec(t, fmt.Sprintf("GRANT CREATE ON SCHEMA public TO %s", pgx.Identifier{u.Name}.Sanitize()))
	if err := holder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the user is there")
	}
}

// Code must not come into a superuser's possession: it would run with his rights.
func TestDropKeepsNoPower(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createRole, `GRANT CREATE ON SCHEMA public TO "{{name}}"`)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, fmt.Sprintf(`SET ROLE %s; CREATE FUNCTION trap() RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT current_user::text';
		CREATE FUNCTION public.pg_advisory_xact_lock(int) RETURNS void LANGUAGE sql AS 'SELECT 1/0'`, pgx.Identifier{u.Name}.Sanitize()))
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "SELECT trap()"); got != "leasehold_kept" {
		t.Errorf("the function runs as %s", got)
	}
}

func TestDropStatements(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, "CREATE TABLE log (what text)")
	db := open(t, settings(s, s.User, s.Password))
	create := func() plugins.User {
		t.Helper()
		u := newUser(createRole)
		if err := db.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	logged := func(what string) string {
		return ask(t, s, "SELECT count(*)::text FROM log WHERE what = $1", what)
	}

	u := create()
	err := db.DropUser(t.Context(), u.Name, []string{`INSERT INTO log VALUES ('{{name}}')`})
	wantClass(t, err, plugins.Refused)
	if !strings.Contains(err.Error(), "still there") || logged(u.Name) != "1" {
		t.Errorf("statements that leave the role: %v; logged %s times", err, logged(u.Name))
	}
	err = db.DropUser(t.Context(), u.Name, []string{`INSERT INTO log VALUES ('{{name}}'); SELECT 1/0`})
	wantClass(t, err, plugins.Permanent)
	if logged(u.Name) != "1" {
		t.Error("statements that failed took effect")
	}
	wantClass(t, db.DropUser(t.Context(), u.Name, []string{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'`}), plugins.Permanent)
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Error(err)
	}
	drop := []string{`INSERT INTO log VALUES ('gone {{name}}'); DROP OWNED BY "{{username}}"; DROP ROLE "{{name}}";`}
	for range 2 { // the second time they fail for want of the role
		if err := db.DropUser(t.Context(), u.Name, drop); err != nil {
			t.Error(err)
		}
	}
	if got := logged("gone " + u.Name); got != "1" {
		t.Errorf("the statements ran %s times", got)
	}

	// Blank statements are none.
	u = create()
	if err := db.DropUser(t.Context(), u.Name, []string{"", " ; "}); err != nil {
		t.Error(err)
	}
	if got := ask(t, s, roleExists, u.Name); got != "false" {
		t.Error("the role is there")
	}

	// A failure that may pass counts even without a role: the statements may have other work to do.
	holder := s.Conn(t)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE log"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantClass(t, db.DropUser(ctx, u.Name, []string{"DELETE FROM log"}), plugins.Refused)
}
