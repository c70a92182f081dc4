package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/plugins/mysql"
	"leasehold/plugins/plugintest"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

const (
	templateURL = "{{username}}:{{password}}@tcp(%s)/"
	createUser  = `CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}';`
	dropUser    = `DROP USER '{{name}}'@'%'`
)

func settings(s *testdb.MariaServer, user, password string) plugins.Settings {
	return plugins.Settings{
		"connection_url": fmt.Sprintf(templateURL, s.Addr),
		"username":       user, "password": password,
		"max_open_connections": json.Number("8"),
	}
}

// newDatabase makes a database for a test, with a table t1.
func newDatabase(t testing.TB, s *testdb.MariaServer) string {
	t.Helper()
	name := "d_" + strings.ToLower(secret.Random(secret.Base62, 20).Reveal())
	s.Exec(t, fmt.Sprintf("CREATE DATABASE %s; CREATE TABLE %[1]s.t1 (a int)", name))
	return name
}

// newAdmin makes a user by hand, of a name that no other test has.
func newAdmin(t testing.TB, s *testdb.MariaServer, rights ...string) (name, password string) {
	t.Helper()
	name, password = "admin_"+strings.ToLower(secret.Random(secret.Base62, 20).Reveal()), secret.Random(secret.Base62, 20).Reveal()
	s.Exec(t, fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", name, password))
	for _, right := range rights {
		s.Exec(t, fmt.Sprintf("GRANT %s TO %s@'%%' WITH GRANT OPTION", right, name))
	}
	return name, password
}

func TestSuiteAsSuperuser(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	plugintest.Run(t, func(t *testing.T) plugintest.Harness { return harness(t, s, name, s.User, s.Password) })
}

// The connection's user is what a managed service offers.
func TestSuiteAsAdministrator(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	user, password := newAdmin(t, s, "CREATE USER, PROCESS, CONNECTION ADMIN ON *.*", "SELECT ON mysql.*", "ALL ON "+name+".*")
	plugintest.Run(t, func(t *testing.T) plugintest.Harness { return harness(t, s, name, user, password) })
}

// Quotes are read differently in these modes.
func TestSuiteInOtherModes(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	name := newDatabase(t, s)
	plugintest.Run(t, func(t *testing.T) plugintest.Harness {
		h := harness(t, s, name, s.User, s.Password)
		for _, set := range []plugins.Settings{h.Settings, h.WrongLogin, h.NoServer} {
			set["connection_url"] = set["connection_url"].(string) + "?sql_mode=%27ANSI_QUOTES%2CNO_BACKSLASH_ESCAPES%27"
		}
		return h
	})
}

func TestSuiteOfLegacyPlugin(t *testing.T) {
	t.Parallel()
	s := testdb.SharedMariaDB(t)
	h := harness(t, s, newDatabase(t, s), s.User, s.Password)
	h.Driver, h.LongestName = mysql.Driver{Legacy: true}, 16
	u := newUser(createUser)
	u.Name = u.Name[:16]
	db, err := h.Driver.Open(h.Settings)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.CreateUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := login(t, s, u.Name, u.Password); err != nil {
		t.Error(err)
	}
	if err := db.DropUser(t.Context(), u.Name, nil); err != nil {
		t.Fatal(err)
	}
	u.Name += "x"
	wantClass(t, db.CreateUser(t.Context(), u), plugins.Permanent)
	if got := h.Driver.Usernames(); got.MaxLength != h.LongestName {
		t.Errorf("user names: got %+v, want at most %d bytes", got, h.LongestName)
	}
}

func harness(t *testing.T, s *testdb.MariaServer, database, user, password string) plugintest.Harness {
	refused, silent := settings(s, user, "not-the-password"), settings(s, user, password)
	silent["connection_url"] = fmt.Sprintf(templateURL, "127.0.0.1:1")
	grant := fmt.Sprintf("GRANT SELECT ON %s.t1 TO `{{name}}`@`%%`;", database)
	db := s.DB(t)
	return plugintest.Harness{
		Driver:   mysql.Driver{},
		Settings: settings(s, user, password), WrongLogin: refused, NoServer: silent,
		Secrets:     []string{password, "not-the-password", "@tcp("},
		Names:       []string{`it's`, `say "please"`, "back`tick", `back\slash`, `Größe 数`, `a;b--c/*d`, `UPPER`, `{{password}}`, ` x`, `#`},
		Unusable:    []string{"zero\x00byte", " ", "blank ", "\xff"},
		LongestName: 32,

		Create:   []string{createUser, grant},
		Broken:   []string{createUser + "SIGNAL SQLSTATE '45000'"},
		Endless:  []string{createUser, "SELECT SLEEP(100)"},
		Telltale: []string{createUser, "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{{password}}'"},
		Drop:     []string{"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{{name}}'@'%'; " + dropUser},
		DropBad:  []string{grant, "SIGNAL SQLSTATE '45000'"},

		MarkKept: func(mark string) string { // the store alone
			store, _, _ := strings.Cut(strings.TrimPrefix(mark, plugins.MarkPrefix), " ")
			if store == "" {
				return ""
			}
			return plugins.MarkPrefix + store
		},
		Login: func(ctx context.Context, name, password string) (plugintest.Session, error) {
			db, err := connect(s, name, password)
			if err != nil {
				return nil, err
			}
			conn, err := db.Conn(ctx)
			if err != nil {
				_ = db.Close()
				return nil, err
			}
			return session{db, conn, database}, nil
		},
		Exists: func(ctx context.Context, name string) (found bool, err error) {
			err = db.QueryRowContext(ctx, "SELECT EXISTS (SELECT * FROM mysql.user WHERE User = CAST(? AS BINARY))", name).Scan(&found)
			return found, err
		},
		Settle: func(ctx context.Context) error {
			return poll(ctx, db, "SELECT NOT EXISTS (SELECT * FROM information_schema.PROCESSLIST WHERE USER = ? AND INFO LIKE '%SLEEP(100%' AND ID <> CONNECTION_ID())", user)
		},
		Own: func(t testing.TB, name string) func(context.Context) (bool, error) {
			other := newDatabase(t, s)
			mine := newDatabase(t, s)
			for _, d := range []string{mine, other} {
				s.Exec(t, fmt.Sprintf("GRANT ALL ON %s.* TO `%s`@`%%`; CREATE TABLE %[1]s.kept (a int); INSERT INTO %[1]s.kept VALUES (1);"+
					"CREATE DEFINER = `%[2]s`@`%%` SQL SECURITY DEFINER VIEW %[1]s.v AS SELECT a FROM %[1]s.kept", d, name))
			}
			return func(ctx context.Context) (bool, error) {
				var rows int
				err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM %s.kept JOIN %s.kept k", mine, other)).Scan(&rows)
				return rows == 1, err
			}
		},
	}
}

// connect prepares connections as any user.
func connect(s *testdb.MariaServer, name, password string) (*sql.DB, error) {
	config := driver.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.Logger = name, password, "tcp", s.Addr, &driver.NopLogger{}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

type session struct {
	db       *sql.DB
	conn     *sql.Conn
	database string
}

func (s session) Use(ctx context.Context) error {
	_, err := s.conn.ExecContext(ctx, "SELECT a FROM "+s.database+".t1")
	return err
}

func (s session) Close() error {
	_ = s.conn.Close()
	return s.db.Close()
}

// poll asks until the answer is true.
func poll(ctx context.Context, db *sql.DB, question string, args ...any) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		var yes bool
		if err := db.QueryRowContext(ctx, question, args...).Scan(&yes); err != nil || yes {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func open(t testing.TB, s plugins.Settings) plugins.Database {
	t.Helper()
	db, err := mysql.Driver{}.Open(s)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newUser(statements ...string) plugins.User {
	return plugins.User{
		Name:       "v-" + secret.Random(secret.Base62, 24).Reveal(),
		Password:   secret.Random(secret.Base62+"-", 20),
		Expiration: time.Date(2099, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
		Statements: statements,
	}
}

// ask returns the only value of a query as text.
func ask(t testing.TB, s *testdb.MariaServer, query string, args ...any) (answer string) {
	t.Helper()
	if err := s.DB(t).QueryRowContext(t.Context(), query, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// accounts is how many accounts a user has.
func accounts(t testing.TB, s *testdb.MariaServer, name string) string {
	t.Helper()
	return ask(t, s, "SELECT COUNT(*) FROM mysql.user WHERE User = ?", name)
}

func login(t testing.TB, s *testdb.MariaServer, name string, password secret.Text) error {
	t.Helper()
	db, err := connect(s, name, password.Reveal())
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(t.Context())
}
