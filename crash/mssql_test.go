package crash

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"

	"leasehold/plugins/mssql/tdstest"
)

// TestFailpointsOnSQLServer is TestEveryFailpoint with the stand-in for SQL Server, whose creations are transactions and whose
// revocations are not.
func TestFailpointsOnSQLServer(t *testing.T) {
	killAtEach(t, func(t *testing.T) *rig { return newRigOn(t, newSQLServer(t)) }, besideTheTarget(t))
}

// TestRandomKillsOnSQLServer is TestRandomKills with it.
func TestRandomKillsOnSQLServer(t *testing.T) {
	t.Parallel()
	killAtRandom(t, newRigOn(t, newSQLServer(t)), 10)
}

// sqlServer is a target.
type sqlServer struct {
	*tdstest.Server
	admin *sql.Conn
	file  string
}

func newSQLServer(t *testing.T) *sqlServer {
	t.Helper()
	server, err := tdstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	m := &sqlServer{Server: server, file: filepath.Join(t.TempDir(), "statements.log")}
	log, err := os.Create(m.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	server.LogTo(log)
	db := m.open(creds{user: server.User, password: server.Password})
	t.Cleanup(func() { _ = db.Close() })
	if m.admin, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// open prepares connections as a user.
func (m *sqlServer) open(c creds) *sql.DB {
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(c.user, c.password), Host: m.Addr, RawQuery: "encrypt=disable"}
	connector, err := mssql.NewConnector(u.String())
	if err != nil {
		panic(err) // the URL is ours
	}
	return sql.OpenDB(connector)
}

func (m *sqlServer) name() string { return "ms" }

func (m *sqlServer) connection() map[string]any {
	return map[string]any{"plugin_name": "mssql-database-plugin", "connection_url": "sqlserver://{{username}}:{{password}}@" + m.Addr, "tls_ca": m.CA}
}

func (m *sqlServer) setup() []string {
	return []string{
		`CREATE LOGIN broker WITH PASSWORD = '` + brokerPassword + `'`,
		`GRANT ALTER ANY LOGIN, ALTER ANY CONNECTION, VIEW SERVER STATE, CREATE SERVER ROLE TO broker`,
		`CREATE DATABASE shop`,
		`USE shop`,
		`CREATE TABLE orders (id int)`,
		`CREATE USER broker FOR LOGIN broker`,
		`ALTER ROLE db_owner ADD MEMBER broker`,
		`USE master`,
	}
}

func (m *sqlServer) exec(statement string) error {
	_, err := m.admin.ExecContext(context.Background(), statement)
	return err
}

func (m *sqlServer) creation() string {
	return `CREATE LOGIN [{{name}}] WITH PASSWORD = '{{password}}'; USE [shop]; CREATE USER [{{name}}] FOR LOGIN [{{name}}]; GRANT SELECT ON SCHEMA::dbo TO [{{name}}];`
}

// users are the logins, and the users in the database that no login is left of.
func (m *sqlServer) users() (names []string, err error) {
	for _, query := range []string{
		"SELECT name FROM sys.server_principals WHERE type = 'S' AND name LIKE 'v-%'", "SELECT name FROM shop.sys.database_principals WHERE type = 'S' AND name LIKE 'v-%'",
	} {
		rows, err := m.admin.QueryContext(context.Background(), query)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		_ = rows.Close()
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (m *sqlServer) login(c creds) error {
	db := m.open(c)
	defer func() { _ = db.Close() }()
	return db.Ping()
}

func (m *sqlServer) log() (path, evidence string) { return m.file, "CREATE USER" }
