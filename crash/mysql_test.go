package crash

import (
	"context"
	"database/sql"
	"os"
	"slices"
	"testing"

	"github.com/go-sql-driver/mysql"

	"leasehold/internal/failpoint"
	"leasehold/internal/testdb"
)

// besideTheTarget are the failpoints right after the target was told something. What lies between the others is the store's.
// LEASEHOLD_KILLS, which `make soak` sets, has it be all of them.
func besideTheTarget(t *testing.T) []string {
	t.Helper()
	if os.Getenv("LEASEHOLD_KILLS") != "" {
		return failpoint.Points
	}
	points := []string{"lease/issue/after-create", "lease/renew/after-extend", "lease/revoke/after-drop", "database/rotate/after-alter"}
	for _, point := range points {
		if !slices.Contains(failpoint.Points, point) {
			t.Fatal("there is no point", point)
		}
	}
	return points
}

// TestFailpointsOnMariaDB is TestEveryFailpoint with a database that has no transactions for users.
func TestFailpointsOnMariaDB(t *testing.T) {
	killAtEach(t, func(t *testing.T) *rig { return newRigOn(t, newMariaDB(t)) }, besideTheTarget(t))
}

// TestRandomKillsOnMariaDB is TestRandomKills with such a database.
func TestRandomKillsOnMariaDB(t *testing.T) {
	t.Parallel()
	killAtRandom(t, newRigOn(t, newMariaDB(t)), 10)
}

// mariadb is a target.
type mariadb struct {
	*testdb.MariaServer
	admin *sql.Conn
}

func newMariaDB(t *testing.T) *mariadb {
	t.Helper()
	m := &mariadb{MariaServer: testdb.MariaDB(t)}
	var err error
	if m.admin, err = m.DB(t).Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mariadb) name() string { return "my" }

func (m *mariadb) connection() map[string]any {
	return map[string]any{"plugin_name": "mysql-database-plugin", "connection_url": "{{username}}:{{password}}@tcp(" + m.Addr + ")/"}
}

func (m *mariadb) setup() []string {
	return []string{
		`SET SESSION sql_log_off = 1`,
		`CREATE USER broker IDENTIFIED BY '` + brokerPassword + `'`,
		`SET SESSION sql_log_off = 0`,
		`GRANT ALL ON *.* TO broker WITH GRANT OPTION`,
		`CREATE DATABASE shop`,
		`CREATE TABLE shop.orders (id int)`,
	}
}

func (m *mariadb) exec(statement string) error {
	_, err := m.admin.ExecContext(context.Background(), statement)
	return err
}

func (m *mariadb) creation() string {
	return `CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON shop.* TO '{{name}}'@'%';`
}

func (m *mariadb) users() (names []string, err error) {
	rows, err := m.admin.QueryContext(context.Background(), `SELECT User FROM mysql.user WHERE User LIKE 'v-%' ORDER BY User`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func (m *mariadb) login(c creds) error {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr, config.Logger = c.user, c.password, "tcp", m.Addr, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(context.Background())
	if err != nil {
		return err
	}
	return conn.Close()
}

func (m *mariadb) log() (path, evidence string) { return m.LogFile, "CREATE USER" }
