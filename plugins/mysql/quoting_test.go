package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
)

// quotingModes are the values of sql_mode under which quotes are read differently, and whether "..." is a text.
var quotingModes = map[string]bool{"": true, "ANSI_QUOTES": false, "NO_BACKSLASH_ESCAPES": true, "ANSI_QUOTES,NO_BACKSLASH_ESCAPES": false}

// A real server reads back what was put into statements, and takes the password, whatever it is made of.
func FuzzQuoting(f *testing.F) {
	for _, seed := range []string{"x", `'`, `"`, "`", `\`, `\'`, `''`, `\\'`, `'; DROP DATABASE mysql; -- `, "/*", "*/", "#", "\n", "\r\x1a\t", "%_", "{{password}}", "{{name}}", "é数😀", " ", "\x7f"} {
		f.Add(seed)
	}
	s := testdb.SharedMariaDB(f)
	table := newDatabase(f, s) + ".notes"
	s.Exec(f, "CREATE TABLE "+table+" (a BLOB, b BLOB)")
	look := s.DB(f)
	type target struct {
		db     plugins.Database
		double bool
	}
	var targets []target
	for mode, double := range quotingModes {
		options := settings(s, s.User, s.Password)
		options["max_open_connections"] = "1"
		options["connection_url"] = fmt.Sprint(options["connection_url"], "?sql_mode=%27", strings.ReplaceAll(mode, ",", "%2C"), "%27")
		targets = append(targets, target{db: open(f, options), double: double})
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" || len(value) > 1000 {
			return
		}
		for _, target := range targets {
			other := "'{{password}}'"
			if target.double {
				other = `"{{password}}"`
			}
			u := newUser("CREATE USER `{{name}}` IDENTIFIED VIA mysql_native_password USING PASSWORD('{{password}}')",
				"DELETE FROM "+table, "INSERT INTO "+table+" VALUES ('{{password}}', "+other+")")
			u.Password = secret.NewText(value)
			err := target.db.CreateUser(t.Context(), u)
			if strings.Contains(value, "\x00") || !utf8.ValidString(value) {
				wantClass(t, err, plugins.Permanent)
				continue
			}
			if err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			var a, b string
			if err := look.QueryRowContext(t.Context(), "SELECT a, b FROM "+table).Scan(&a, &b); err != nil || a != value || b != value {
				t.Errorf("got %q and %q, %v; want %q", a, b, err, value)
			}
			if err := login(t, s, u.Name, u.Password); err != nil {
				t.Errorf("%q: %v", value, err)
			}
			if err := target.db.DropUser(t.Context(), u.Name, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}
