package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/plugins"
	"leasehold/plugins/plugintest"
	"leasehold/plugins/postgres"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

const (
	templateURL = "postgresql://{{username}}:{{password}}@%s/%s?sslmode=disable"
	createRole  = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`
	grantTables = `GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`
	fiveTables  = `CREATE TABLE t1 (a int); CREATE TABLE t2 (a int); CREATE TABLE t3 (a int); CREATE TABLE t4 (a int); CREATE TABLE t5 (a int);`
)

func settings(s *testdb.Server, user, password string) plugins.Settings {
	return plugins.Settings{
		"connection_url": fmt.Sprintf(templateURL, s.Addr, s.Database),
		"username":       user, "password": password,
		"max_open_connections": json.Number("8"),
	}
}

func TestSuiteAsSuperuser(t *testing.T) {
	t.Parallel()
	plugintest.Run(t, func(t *testing.T) plugintest.Harness {
		db := testdb.Shared(t).Scratch(t)
		db.Exec(t, fiveTables)
		return harness(t, db, db.User, db.Password)
	})
}

// The connection's user is what a managed service offers: it may make roles and owns the database.
func TestSuiteAsOwner(t *testing.T) {
	t.Parallel()
	owner, password := newRole(t, testdb.Shared(t), "CREATEROLE")
	plugintest.Run(t, func(t *testing.T) plugintest.Harness {
		db := testdb.Shared(t).Scratch(t)
		db.Exec(t, "GRANT CREATE ON SCHEMA public TO "+owner+"; SET ROLE "+owner+"; "+fiveTables)
		return harness(t, db, owner, password)
	})
}

func harness(t *testing.T, db *testdb.Server, user, password string) plugintest.Harness {
	refused, silent := settings(db, user, "not-the-password"), settings(db, user, password)
	silent["connection_url"] = fmt.Sprintf(templateURL, "127.0.0.1:1", db.Database)
	return plugintest.Harness{
		Driver:   postgres.Driver{},
		Settings: settings(db, user, password), WrongLogin: refused, NoServer: silent,
		Secrets:     []string{password, "not-the-password", "postgresql://"},
		Names:       []string{`it's`, `say "please"`, `back\slash`, `Größe 数`, `a;b--c/*d`, `$$x$$`, `UPPER`, `{{password}}`, ` `},
		Unusable:    []string{"zero\x00byte"},
		Expires:     true,
		LongestName: 63,

		Create:   []string{createRole, grantTables},
		Broken:   []string{createRole + " SELECT 1/0;"},
		Endless:  []string{createRole, "SELECT pg_sleep(100)"},
		Telltale: []string{createRole, "SELECT '{{password}}'::int"},
		Drop:     []string{`REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{{name}}"; DROP ROLE "{{name}}"`},
		DropBad:  []string{grantTables, "SELECT 1/0"},

		Login: func(ctx context.Context, name, password string) (plugintest.Session, error) {
			c, err := pgx.ParseConfig(db.URL())
			if err != nil {
				return nil, err
			}
			c.User, c.Password = name, password
			conn, err := pgx.ConnectConfig(ctx, c)
			return session{conn}, err
		},
		Exists: func(ctx context.Context, name string) (found bool, err error) {
			if strings.Contains(name, "\x00") {
				return false, nil
			}
			conn, err := db.Connect(ctx)
			if err != nil {
				return false, err
			}
			defer conn.Close(ctx)
			err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&found)
			return found, err
		},
		Settle: func(ctx context.Context) error {
			return poll(ctx, db, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'leasehold' AND state <> 'idle')`)
		},
		Own: func(t testing.TB, name string) func(context.Context) (bool, error) {
			other := db.Scratch(t)
			owner := pgx.Identifier{name}.Sanitize()
			for _, d := range []*testdb.Server{db, other} {
				d.Exec(t, fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", d.Database, user))
				d.Exec(t, fmt.Sprintf(`CREATE SCHEMA mine; CREATE TABLE mine.kept (a int); INSERT INTO mine.kept VALUES (1);
					ALTER SCHEMA mine OWNER TO %[1]s; ALTER TABLE mine.kept OWNER TO %[1]s;
					CREATE TABLE shared (a int); ALTER TABLE shared OWNER TO %[2]s; GRANT SELECT ON shared TO %[1]s;
					ALTER DEFAULT PRIVILEGES FOR ROLE %[1]s GRANT SELECT ON TABLES TO PUBLIC`, owner, user))
			}
			return func(ctx context.Context) (bool, error) {
				for _, d := range []*testdb.Server{db, other} {
					conn, err := d.Connect(ctx)
					if err != nil {
						return false, err
					}
					var rows int
					var super bool
					err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM mine.kept),
						(SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'mine.kept'::regclass)`).Scan(&rows, &super)
					_ = conn.Close(ctx)
					if err != nil || rows != 1 {
						return false, err
					}
					if super {
						return false, errors.New("a superuser owns it now")
					}
				}
				return true, nil
			}
		},
	}
}

type session struct{ conn *pgx.Conn }

func (s session) Use(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "SELECT a FROM t1")
	return err
}

func (s session) Close() error { return s.conn.Close(context.Background()) }

// poll asks until the answer is true.
func poll(ctx context.Context, db *testdb.Server, question string) error {
	conn, err := db.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		var yes bool
		if err := conn.QueryRow(ctx, question).Scan(&yes); err != nil || yes {
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
	db, err := postgres.Driver{}.Open(s)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// newRole makes a role by hand, of a name that no other test has.
func newRole(t testing.TB, s *testdb.Server, options string) (name, password string) {
	t.Helper()
	name, password = "role_"+strings.ToLower(secret.Random(secret.Base62, 20).Reveal()), secret.Random(secret.Base62, 20).Reveal()
	s.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s' %s", name, password, options))
	return name, password
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
func ask(t testing.TB, db *testdb.Server, query string, args ...any) (answer string) {
	t.Helper()
	if err := db.Conn(t).QueryRow(t.Context(), query, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func login(t testing.TB, db *testdb.Server, name string, password secret.Text) error {
	t.Helper()
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(name, password.Reveal()), Host: db.Addr, Path: "/" + db.Database, RawQuery: "sslmode=disable"}
	conn, err := pgx.Connect(t.Context(), u.String())
	if err == nil {
		err = conn.Close(t.Context())
	}
	return err
}
