package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"leasehold/internal/testdb"
	"leasehold/plugins"
)

const testMark = plugins.MarkPrefix + "store=0123456789abcdef mount=8f1c2d30-7a55-4d0e-9a52-2f6a7a0f9d11 connection=pg role=app issued=2040-05-06T07:08:09.000000Z"

func commentOf(t testing.TB, s *testdb.Server, name string) string {
	t.Helper()
	return ask(t, s, "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $1", name)
}

// What the operator's statements say about a role stays, and the mark stands below it.
func TestMarkBesideComment(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t)
	db := open(t, settings(s, s.User, s.Password))
	for name, test := range map[string]struct{ statement, want string }{
		"none":          {"", testMark},
		"a comment":     {`COMMENT ON ROLE "{{name}}" IS 'it''s "theirs"'`, "it's \"theirs\"\n" + testMark},
		"several lines": {`COMMENT ON ROLE "{{name}}" IS E'one\n\ntwo\\\n'`, "one\ntwo\\\n" + testMark},
		"another mark":  {`COMMENT ON ROLE "{{name}}" IS E'leasehold of old\none'`, "one\n" + testMark},
		"other quoting": {`SET LOCAL standard_conforming_strings = off; COMMENT ON ROLE "{{name}}" IS '\\ one'`, "\\\\ one\n" + testMark},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(createRole, test.statement)
			u.Mark = testMark
			if err := db.CreateUser(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			if got := commentOf(t, s, u.Name); got != test.want {
				t.Errorf("comment: got %q, want %q", got, test.want)
			}
			err := db.(plugins.Marker).Accounts(t.Context(), []string{u.Name}, func(a plugins.Account) {
				if a.Mark != testMark {
					t.Errorf("mark: got %q", a.Mark)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A connection's user without any privilege over roles makes them through a function of somebody else's. It may not comment on
// them: they are made all the same.
func TestUnmarkable(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	s.Exec(t, `CREATE FUNCTION make(name text, password text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS
			$$BEGIN EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', name, password); END$$;
		CREATE FUNCTION unmake(name text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS
			$$BEGIN EXECUTE format('DROP ROLE IF EXISTS %I', name); END$$`)
	broker, password := newRole(t, s, "")
	db := open(t, settings(s, broker, password))
	u := newUser(`SELECT make('{{name}}', '{{password}}')`)
	u.Mark = testMark
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Errorf("log in: %v", err)
	}
	if got := commentOf(t, s, u.Name); got != "" {
		t.Errorf("comment: got %q", got)
	}
	if err := db.DropUser(t.Context(), u.Name, []string{`SELECT unmake('{{name}}')`}); err != nil {
		t.Fatal(err)
	}

	nobody := newUser(`SELECT 1`) // statements that make no role at all, and do not claim to
	nobody.Mark = testMark
	if err := db.CreateUser(t.Context(), nobody); err != nil {
		t.Errorf("statements that make no role: %v", err)
	}
}

// A mark that is refused for the moment alone is no reason to make the user without it.
func TestMarkRefusedForNow(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	u := newUser(createRole, `SET LOCAL default_transaction_read_only = on; SET TRANSACTION READ ONLY`)
	u.Mark = testMark
	err := db.CreateUser(t.Context(), u)
	if class := plugins.ClassOf(err); err == nil || class != plugins.Refused {
		t.Errorf("got %v, class %v, want it refused", err, class)
	}
	if err := db.Verify(t.Context()); err != nil {
		t.Errorf("use the connection: %v", err)
	}
	if got := ask(t, s, "SELECT count(*)::text FROM pg_roles WHERE rolname = $1", u.Name); got != "0" {
		t.Error("the user is there")
	}
}

// An ordinary user sees every role, and takes no other comment for a mark.
func TestAccountsSeeEveryRole(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t)
	name, _ := newRole(t, s, "VALID UNTIL 'infinity'")
	s.Exec(t, fmt.Sprintf("COMMENT ON ROLE %s IS 'an ordinary comment about leasehold '", name))
	reader, password := newRole(t, s, "")
	db := open(t, settings(s, reader, password))
	found := 0
	err := db.(plugins.Marker).Accounts(context.Background(), nil, func(a plugins.Account) {
		if a.Name == name {
			found++
			if a.Mark != "" || !a.Expiration.IsZero() {
				t.Errorf("got %+v, want no mark and no expiry", a)
			}
		}
	})
	if err != nil || found != 1 {
		t.Errorf("got %d, %v, want the role once", found, err)
	}
}
