package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPresets(t *testing.T) {
	t.Parallel()
	const pgUser = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE `
	const myUser = `CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}';`
	const msLogin = "CREATE LOGIN [{{name}}] WITH PASSWORD = '{{password}}';"
	const msUser = "CREATE USER [{{name}}] FOR LOGIN [{{name}}];"
	for _, test := range []struct {
		preset   preset
		creation []string
		setup    string // a line that has to be there; "": there is no set-up
	}{
		{preset{engine: "postgresql-database-plugin", name: presetReadOnly, schema: "public", database: "shop"},
			[]string{pgUser + `"leasehold_public_read_only";`}, `GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "leasehold_public_read_only";`},
		{preset{engine: postgresKind, name: presetReadWrite, schema: `a"b`, group: `it's "us"`, database: "shop"},
			[]string{pgUser + `"it's ""us""";`}, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "a""b" TO "it's ""us""";`},
		{preset{engine: "mysql-database-plugin", name: presetReadOnly, database: "my_shop%"},
			[]string{myUser, "GRANT SELECT ON `my\\_shop\\%`.* TO '{{name}}'@'%';"}, ""},
		{preset{engine: "mysql", name: presetReadWrite, database: "a`b", group: "g`r"},
			[]string{myUser, "GRANT `g``r` TO '{{name}}'@'%';", "SET DEFAULT ROLE `g``r` TO '{{name}}'@'%';"}, "GRANT SELECT, INSERT, UPDATE, DELETE ON `a``b`.* TO `g``r`;"},
		{preset{engine: "mariadb", name: presetReadOnly, database: "shop", group: "readers"},
			[]string{myUser, "GRANT `readers` TO '{{name}}'@'%';", "SET DEFAULT ROLE `readers` FOR '{{name}}'@'%';"}, "CREATE ROLE `readers`;"},
		{preset{engine: "mssql-database-plugin", name: presetReadOnly, database: "a]b"},
			[]string{msLogin, "USE [a]]b];", msUser, "ALTER ROLE [db_datareader] ADD MEMBER [{{name}}];"}, ""},
		{preset{engine: mssqlKind, name: presetReadWrite, database: "shop"},
			[]string{msLogin, "USE [shop];", msUser, "ALTER ROLE [db_datareader] ADD MEMBER [{{name}}];", "ALTER ROLE [db_datawriter] ADD MEMBER [{{name}}];"}, ""},
		{preset{engine: mssqlKind, name: presetReadOnly, contained: true, group: "g]r"},
			[]string{"CREATE USER [{{name}}] WITH PASSWORD = '{{password}}';", "ALTER ROLE [g]]r] ADD MEMBER [{{name}}];"}, "CREATE ROLE [g]]r];"},
	} {
		got, err := test.preset.sql()
		if diff := cmp.Diff(test.creation, got.creation); err != nil || diff != "" {
			t.Errorf("%+v: %v\n%s", test.preset, err, diff)
		}
		if setup := strings.Join(got.setup, "\n"); (setup == "") != (test.setup == "") || !strings.Contains(setup, test.setup) {
			t.Errorf("%+v: set-up\n%s\nwant %s", test.preset, setup, test.setup)
		}
	}
	for name, bad := range map[string]preset{
		"no preset":     {engine: postgresKind, name: "admin"},
		"no engine":     {engine: "other", name: presetReadOnly},
		"a placeholder": {engine: postgresKind, name: presetReadOnly, schema: "{{name}}"},
		"two lines":     {engine: postgresKind, name: presetReadOnly, schema: "x", group: "a\nb"},
		"no database":   {engine: mysqlKind, name: presetReadOnly},
		"none either":   {engine: mssqlKind, name: presetReadOnly},
	} {
		if got, err := bad.sql(); err == nil {
			t.Errorf("%s: made %v", name, got)
		}
	}
}
