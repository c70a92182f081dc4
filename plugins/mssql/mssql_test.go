package mssql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	driver "github.com/microsoft/go-mssqldb"
	"go.uber.org/goleak"

	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/plugins/mssql"
	"leasehold/plugins/mssql/tdstest"
	"leasehold/plugins/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	createLogin = `CREATE LOGIN [{{name}}] WITH PASSWORD = '{{password}}';`
	dropLogin   = `DROP LOGIN [{{name}}]`
)

// server is a server with a connection of its administrator's.
type server struct {
	*tdstest.Server
	db *sql.DB
}

func newServer(t testing.TB) *server {
	t.Helper()
	s, err := tdstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	db := connect(t, s, s.User, s.Password, "")
	t.Cleanup(func() { _ = db.Close() })
	return &server{s, db}
}

// connect prepares connections as any user.
func connect(t testing.TB, s *tdstest.Server, name, password, database string) *sql.DB {
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(name, password), Host: s.Addr, RawQuery: url.Values{"database": {database}, "encrypt": {"true"}, "trustservercertificate": {"true"}}.Encode()}
	connector, err := driver.NewConnector(u.String())
	if err != nil {
		t.Fatal(err)
	}
	return sql.OpenDB(connector)
}

// exec runs statements as the administrator, each by itself, on one connection.
func (s *server) exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := s.db.Conn(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, sql := range statements {
		if _, err := conn.ExecContext(context.WithoutCancel(t.Context()), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// count is the only number of a query.
func (s *server) count(ctx context.Context, query string, args ...any) (n int, err error) {
	err = s.db.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, err
}

func (s *server) want(t testing.TB, want int, query string, args ...any) {
	t.Helper()
	if got, err := s.count(t.Context(), query, args...); err != nil || got != want {
		t.Errorf("%s: got %d, %v; want %d", query, got, err, want)
	}
}

func settings(s *server, user, password string) plugins.Settings {
	return plugins.Settings{
		"connection_url": "sqlserver://{{username}}:{{password}}@" + s.Addr,
		"username":       user, "password": password,
		"max_open_connections": json.Number("8"),
	}
}

// newAdmin makes the least that a connection's user can be.
func newAdmin(t testing.TB, s *server, databases ...string) (name, password string) {
	t.Helper()
	name, password = "admin-"+strings.ToLower(secret.Random(secret.Base62, 12).Reveal()), "Adm1n-"+secret.Random(secret.Base62, 20).Reveal()
	s.exec(t, fmt.Sprintf("CREATE LOGIN [%s] WITH PASSWORD = '%s'", name, password),
		fmt.Sprintf("GRANT ALTER ANY LOGIN, ALTER ANY CONNECTION, VIEW SERVER STATE, CREATE SERVER ROLE TO [%s]", name))
	for _, d := range databases {
		s.exec(t, "USE ["+d+"]", fmt.Sprintf("CREATE USER [%s] FOR LOGIN [%[1]s]", name), fmt.Sprintf("ALTER ROLE db_owner ADD MEMBER [%s]", name))
	}
	return name, password
}

func TestSuiteAsSysadmin(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop", "USE shop", "CREATE TABLE t1 (a int)", "CREATE DATABASE other")
	plugintest.Run(t, func(t *testing.T) plugintest.Harness { return harness(s, s.User, s.Password) })
}

func TestSuiteAsAdministrator(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop", "USE shop", "CREATE TABLE t1 (a int)", "CREATE DATABASE other", "CREATE DATABASE [of others]")
	user, password := newAdmin(t, s, "shop", "other")
	plugintest.Run(t, func(t *testing.T) plugintest.Harness { return harness(s, user, password) })
}

func TestSuiteOfContainedUsers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.exec(t, "CREATE DATABASE shop CONTAINMENT = PARTIAL", "USE shop", "CREATE TABLE t1 (a int)")
	user, password := newAdmin(t, s, "shop")
	plugintest.Run(t, func(t *testing.T) plugintest.Harness { return containedHarness(s, user, password) })
}

var (
	names    = []string{`it's`, `say "please"`, "brack]et", "open[", `Größe 数`, `a;b--c/*d`, `UPPER`, `{{password}}`, ` x`, `@x`, `go`}
	unusable = []string{"zero\x00byte", " ", "blank ", "\xff", `dom\ain`}
)

func harness(s *server, user, password string) plugintest.Harness {
	refused, silent := settings(s, user, "not-the-password"), settings(s, user, password)
	silent["connection_url"] = "sqlserver://{{username}}:{{password}}@127.0.0.1:1"
	inShop := `USE [shop]; CREATE USER [{{name}}] FOR LOGIN [{{name}}]; GRANT SELECT ON SCHEMA::dbo TO [{{name}}];`
	return plugintest.Harness{
		Driver:   mssql.Driver{},
		Settings: settings(s, user, password), WrongLogin: refused, NoServer: silent,
		Secrets:     []string{password, "not-the-password", "sqlserver://"},
		Names:       names,
		Unusable:    unusable,
		LongestName: 128,

		Create:   []string{createLogin, inShop},
		Broken:   []string{createLogin + inShop + "RAISERROR(N'broken', 16, 1)"},
		Endless:  []string{createLogin, inShop, "WAITFOR DELAY '00:01:40'"},
		Telltale: []string{createLogin, "RAISERROR('{{password}}', 16, 1)"},
		Drop:     []string{"USE [shop]; DROP USER IF EXISTS [{{name}}]; " + dropLogin},
		DropBad:  []string{"USE [shop]; SELECT 1; RAISERROR(N'broken', 16, 1)"},

		MarkKept: func(mark string) string { // the store alone
			store, _, _ := strings.Cut(strings.TrimPrefix(mark, plugins.MarkPrefix), " ")
			if store == "" {
				return ""
			}
			return plugins.MarkPrefix + store
		},
		Login: func(ctx context.Context, name, password string) (plugintest.Session, error) {
			return logIn(ctx, s, name, password, "")
		},
		Exists: func(ctx context.Context, name string) (bool, error) {
			n, err := s.count(ctx, "SELECT COUNT(*) FROM sys.server_principals WHERE type = 'S' AND name = @p1", name)
			return n > 0, err
		},
		Settle: func(ctx context.Context) error { return settled(ctx, s) },
		Own: func(t testing.TB, name string) func(context.Context) (bool, error) {
			mark := strings.ToLower(secret.Random(secret.Base62, 10).Reveal())
			for database, user := range map[string]string{"shop": name, "other": "user-" + mark} {
				s.exec(t, "USE ["+database+"]")
				own := []string{"USE [" + database + "]"}
				if database == "other" {
					own = append(own, fmt.Sprintf("CREATE USER [%s] FOR LOGIN [%s]", user, name))
				}
				s.exec(t, append(own, owning(user, mark)...)...)
			}
			return func(ctx context.Context) (bool, error) {
				first, err := s.count(ctx, "SELECT COUNT(*) FROM shop.sys.schemas AS s JOIN other.sys.schemas AS o ON o.name = s.name WHERE s.name = @p1", "s-"+mark)
				if err != nil {
					return false, err
				}
				second, err := s.count(ctx, "SELECT COUNT(*) FROM shop.sys.objects AS s JOIN other.sys.objects AS o ON o.name = s.name WHERE s.name = @p1", "t-"+mark)
				return first == 1 && second == 1, err
			}
		},
	}
}

// owning has a user own a schema, a role and a table.
func owning(user, mark string) []string {
	return []string{
		fmt.Sprintf("CREATE SCHEMA [s-%s] AUTHORIZATION [%s]", mark, user),
		fmt.Sprintf("CREATE ROLE [r-%s] AUTHORIZATION [%s]", mark, user),
		fmt.Sprintf("CREATE TABLE [t-%s] (a int)", mark),
		fmt.Sprintf("ALTER AUTHORIZATION ON OBJECT::[dbo].[t-%s] TO [%s]", mark, user),
	}
}

func containedHarness(s *server, user, password string) plugintest.Harness {
	h := harness(s, user, password)
	for _, set := range []plugins.Settings{h.Settings, h.WrongLogin, h.NoServer} {
		set["connection_url"] = set["connection_url"].(string) + "?database=shop"
		set["contained_db"] = "true"
	}
	create := `CREATE USER [{{name}}] WITH PASSWORD = '{{password}}'; GRANT SELECT ON SCHEMA::dbo TO [{{name}}];`
	h.Create = []string{create}
	h.Broken = []string{create + "RAISERROR(N'broken', 16, 1)"}
	h.Endless = []string{create, "WAITFOR DELAY '00:01:40'"}
	h.Telltale = []string{create, "RAISERROR('{{password}}', 16, 1)"}
	h.Drop = []string{"DROP USER [{{name}}]"}
	h.DropBad = []string{"RAISERROR(N'broken', 16, 1)"}
	h.MarkKept = nil
	h.Login = func(ctx context.Context, name, password string) (plugintest.Session, error) {
		return logIn(ctx, s, name, password, "shop")
	}
	h.Exists = func(ctx context.Context, name string) (bool, error) {
		n, err := s.count(ctx, "SELECT COUNT(*) FROM shop.sys.database_principals WHERE type = 'S' AND name = @p1", name)
		return n > 0, err
	}
	h.Own = func(t testing.TB, name string) func(context.Context) (bool, error) {
		mark := strings.ToLower(secret.Random(secret.Base62, 10).Reveal())
		s.exec(t, append([]string{"USE shop"}, owning(name, mark)...)...)
		return func(ctx context.Context) (bool, error) {
			n, err := s.count(ctx, "SELECT COUNT(*) FROM shop.sys.schemas WHERE name = @p1", "s-"+mark)
			return n == 1, err
		}
	}
	return h
}

type session struct {
	db   *sql.DB
	conn *sql.Conn
}

func logIn(ctx context.Context, s *server, name, password, database string) (plugintest.Session, error) {
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(name, password), Host: s.Addr, RawQuery: url.Values{"database": {database}, "encrypt": {"disable"}}.Encode()}
	connector, err := driver.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return session{db, conn}, nil
}

func (s session) Use(ctx context.Context) error {
	_, err := s.conn.ExecContext(ctx, "SELECT * FROM shop.dbo.t1")
	return err
}

func (s session) Close() error {
	_ = s.conn.Close()
	return s.db.Close()
}

// settled returns when no transaction is open.
func settled(ctx context.Context, s *server) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for s.Writing() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func open(t testing.TB, s plugins.Settings) plugins.Database {
	t.Helper()
	db, err := mssql.Driver{}.Open(s)
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

func wantClass(t testing.TB, err error, want plugins.Class) {
	t.Helper()
	if got := plugins.ClassOf(err); err == nil || got != want {
		t.Errorf("got class %v, want %v: %v", got, want, err)
	}
}
