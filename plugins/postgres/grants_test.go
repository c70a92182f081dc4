package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	s := testdb.Shared(t).Scratch(t)
	other := testdb.Shared(t).Scratch(t)
	db := open(t, settings(s, s.User, s.Password))
	group := "group_" + strings.ToLower(secret.Random(secret.Base62, 12).Reveal())
	s.Exec(t, `CREATE ROLE `+group+` NOLOGIN; CREATE TABLE one (a int, b int); CREATE SCHEMA "two words"; CREATE SEQUENCE "two words".s;
		CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	u := newUser(createRole, `GRANT `+group+` TO "{{name}}" WITH ADMIN OPTION; GRANT SELECT, INSERT ON one TO "{{name}}"; GRANT UPDATE (b) ON one TO "{{name}}";
		GRANT USAGE ON SCHEMA "two words" TO "{{name}}" WITH GRANT OPTION; GRANT USAGE ON SEQUENCE "two words".s TO "{{name}}";
		GRANT EXECUTE ON FUNCTION f(int) TO "{{name}}"; CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO "{{name}}"`)
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	defer s.Exec(t, `DROP ROLE `+group)
	other.Exec(t, `CREATE TABLE there (a int); GRANT SELECT ON there TO "`+u.Name+`"`)
	got, err := db.(plugins.Granter).Grants(t.Context(), u.Name)
	if err != nil {
		t.Fatal(err)
	}
	to := ` TO "` + u.Name + `"`
	want := []string{
		`GRANT ` + group + to + ` WITH ADMIN OPTION`,
		`GRANT EXECUTE ON FUNCTION public.f(integer)` + to,
		`GRANT INSERT, SELECT ON TABLE public.one` + to,
		`GRANT UPDATE ON TABLE COLUMN public.one.b` + to,
		`GRANT USAGE ON SEQUENCE "two words".s` + to,
		`GRANT USAGE WITH GRANT OPTION ON SCHEMA "two words"` + to,
		`ALTER TABLE public.mine OWNER` + to,
		`-- and 1 more in database ` + other.Database,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("grants:\n%s", diff)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := db.(plugins.Granter).Grants(t.Context(), u.Name); err != nil || len(got) != 0 {
		t.Errorf("grants of nobody: %q, %v", got, err)
	}
}
