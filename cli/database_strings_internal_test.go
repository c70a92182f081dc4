package cli

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	none := url.Values{}
	for _, test := range []struct {
		plugin, address string
		want            target
		bad             bool
	}{
		{"postgresql-database-plugin", "postgresql://{{username}}:{{password}}@db1:5433/shop?sslmode=require",
			target{kind: postgresKind, host: "db1", port: "5433", database: "shop", options: url.Values{"sslmode": {"require"}}}, false},
		{"postgresql-database-plugin", "postgres://{{username}}:{{password}}@db1,db2:5433/my%20shop", target{kind: postgresKind, host: "db1", port: "5432", database: "my shop", options: none}, false},
		{"postgresql-database-plugin", "postgres://u:xxxxx@[::1]:5433", target{kind: postgresKind, host: "::1", port: "5433", options: none}, false},
		{"postgresql-database-plugin", `host=db1 port=5433 dbname='it\'s' user={{username}} password={{password}} sslmode=disable`,
			target{kind: postgresKind, host: "db1", port: "5433", database: "it's", options: url.Values{"sslmode": {"disable"}}}, false},
		{"postgresql-database-plugin", "dbname=x", target{}, true},
		{"postgresql-database-plugin", "", target{}, true},
		{"mysql-rds-database-plugin", "{{username}}:{{password}}@tcp(db1:3307,db2)/shop?tls=true", target{kind: mysqlKind, host: "db1", port: "3307", database: "shop", options: url.Values{"tls": {"true"}}}, false},
		{"mysql-database-plugin", "{{username}}:{{password}}@tcp(db1)/", target{kind: mysqlKind, host: "db1", port: "3306", options: none}, false},
		{"mysql-database-plugin", "u:p@ss@unix(/run/db.sock)/shop", target{kind: mysqlKind, socket: "/run/db.sock", database: "shop", options: none}, false},
		{"mysql-database-plugin", "nonsense", target{}, true},
		{"mssql-database-plugin", "sqlserver://{{username}}:{{password}}@db1?database=my+shop", target{kind: mssqlKind, host: "db1", port: "1433", database: "my shop", options: none}, false},
		{"mssql-database-plugin", "server=tcp:db1;port=1434;database=shop;user id={{username}};password={{password}}", target{kind: mssqlKind, host: "db1", port: "1434", database: "shop", options: none}, false},
		{"mssql-database-plugin", "://", target{}, true},
		{"other-database-plugin", "x://y", target{}, true},
	} {
		text, err := json.Marshal(test.address)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := connectionSettings{Plugin: test.plugin, Details: map[string]json.RawMessage{"connection_url": text}}.target()
		if ok == test.bad {
			t.Errorf("%s: readable %v", test.address, ok)
		} else if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(target{})); ok && diff != "" {
			t.Errorf("%s:\n%s", test.address, diff)
		}
	}
}

// awkward is a password of every character that some form gives a meaning.
const awkward = "it's \"x\"; $HOME `id` \\ }{ %41 +&=?#@:/é"

func TestConnectionStrings(t *testing.T) {
	t.Parallel()
	const encoded = "it%27s%20%22x%22%3B%20%24HOME%20%60id%60%20%5C%20%7D%7B%20%2541%20%2B%26%3D%3F%23%40%3A%2F%C3%A9"
	const quoted = `'it'\''s "x"; $HOME ` + "`id`" + ` \ }{ %41 +&=?#@:/é'`
	with := func(t target, password string) account { return account{t, "v-token app", secret.NewText(password)} }
	pg := target{kind: postgresKind, host: "db1", port: "5433", database: "my shop", options: url.Values{"sslmode": {"require"}}}
	my := target{kind: mysqlKind, host: "::1", port: "3306", database: "shop"}
	ms := target{kind: mssqlKind, host: "db1", port: "1433", database: "a;b"}
	for _, test := range []struct {
		target         target
		password, form string
		want           string
	}{
		{pg, "plain-1", asPsql, "PGPASSWORD=plain-1 PGSSLMODE=require psql -h db1 -p 5433 -U 'v-token app' -d 'my shop'"},
		{pg, awkward, asPsql, "PGPASSWORD=" + quoted + " PGSSLMODE=require psql -h db1 -p 5433 -U 'v-token app' -d 'my shop'"},
		{pg, awkward, asJDBC, "jdbc:postgresql://db1:5433/my%20shop?user=v-token%20app&password=" + encoded + "&sslmode=require"},
		{pg, awkward, asURL, "postgresql://v-token%20app:" + encoded + "@db1:5433/my%20shop?sslmode=require"},
		{pg, awkward, asEnv, "export PGHOST=db1\nexport PGPORT=5433\nexport PGDATABASE='my shop'\nexport PGUSER='v-token app'\nexport PGPASSWORD=" + quoted +
			"\nexport PGSSLMODE=require\nexport DATABASE_URL='postgresql://v-token%20app:" + encoded + "@db1:5433/my%20shop?sslmode=require'"},
		{pg, "x", asMysql, ""},
		{my, awkward, asMysql, "MYSQL_PWD=" + quoted + " mysql -h ::1 -P 3306 -u 'v-token app' -D shop"},
		{my, awkward, asJDBC, "jdbc:mysql://[::1]:3306/shop?user=v-token%20app&password=" + encoded},
		{my, awkward, asURL, "mysql://v-token%20app:" + encoded + "@[::1]:3306/shop"},
		{target{kind: mysqlKind, socket: "/run/my sql.sock"}, "x", asMysql, "MYSQL_PWD=x mysql -S '/run/my sql.sock' -u 'v-token app'"},
		{ms, awkward, asSqlcmd, "SQLCMDPASSWORD=" + quoted + " sqlcmd -S tcp:db1,1433 -U 'v-token app' -d 'a;b' -C"},
		{ms, awkward, asJDBC, `jdbc:sqlserver://db1:1433;databaseName={a;b};user={v-token app};password={it's "x"; $HOME ` + "`id`" +
			` \ }}{ %41 +&=?#@:/é};encrypt=true;trustServerCertificate=true;`},
		{ms, awkward, asURL, "sqlserver://v-token%20app:" + encoded + "@db1:1433?database=a%3Bb&trustservercertificate=true"},
		{target{kind: mssqlKind, host: "h", port: "1", options: url.Values{"Encrypt": {"true"}}}, "x", asSqlcmd, "SQLCMDPASSWORD=x sqlcmd -S tcp:h,1 -U 'v-token app'"},
		{target{kind: mssqlKind, host: "h", port: "1", options: url.Values{"Encrypt": {"true"}}}, "x", asURL, "sqlserver://v-token%20app:x@h:1"},
		{ms, "x", asPsql, ""},
	} {
		if got := with(test.target, test.password).as(test.form); got != test.want {
			t.Errorf("%s as %s:\n got %s\nwant %s", test.target.kind, test.form, got, test.want)
		}
	}
}

// What the shell makes of the quoted text, and a URL's reader of the encoded one, is the password again.
func TestConnectionStringsRoundTrip(t *testing.T) {
	t.Parallel()
	l := account{target{kind: postgresKind, host: "db1", port: "5432", database: "a/b?c"}, `us'er@x`, secret.NewText(awkward)}
	u, err := url.Parse(l.url())
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); password != awkward || u.User.Username() != l.user || u.Path != "/a/b?c" || u.Host != "db1:5432" {
		t.Errorf("the URL reads as user %q, path %q, host %q", u.User.Username(), u.Path, u.Host)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", l.env()+"\n"+`printf '%s\n%s\n%s' "$PGPASSWORD" "$PGUSER" "$DATABASE_URL"`).Output()
	if want := awkward + "\n" + l.user + "\n" + l.url(); err != nil || string(out) != want {
		t.Errorf("the shell reads %q, %v; want %q", out, err, want)
	}
	command := strings.Replace(l.command(), " psql ", " printenv PGPASSWORD # ", 1)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output(); err != nil || string(out) != awkward+"\n" {
		t.Errorf("the client's environment has %q, %v", out, err)
	}
}
