package tdstest_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"leasehold/plugins/mssql/tdstest"
)

func start(t *testing.T) *tdstest.Server {
	t.Helper()
	s, err := tdstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// connect opens a session, of which the error is the login's.
func connect(t *testing.T, s *tdstest.Server, name, password, database string) (*sql.Conn, error) {
	t.Helper()
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(name, password), Host: s.Addr, RawQuery: url.Values{"database": {database}, "encrypt": {"disable"}}.Encode()}
	connector, err := mssql.NewConnector(u.String())
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db.Conn(t.Context())
}

func number(err error) int32 {
	var told mssql.Error
	if errors.As(err, &told) {
		return told.Number
	}
	return 0
}

// What is refused has SQL Server's numbers.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t)
	admin, err := connect(t, s, s.User, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE LOGIN ann WITH PASSWORD = 'ann'", "CREATE LOGIN bob WITH PASSWORD = 'bob'", "ALTER LOGIN bob DISABLE", "CREATE LOGIN idle WITH PASSWORD = 'idle'",
		"CREATE DATABASE shop CONTAINMENT = PARTIAL", "CREATE DATABASE closed", "USE shop", "CREATE USER ann FOR LOGIN ann", "CREATE USER local WITH PASSWORD = 'local'",
		"CREATE USER second WITH PASSWORD = 'second'",
		"CREATE TABLE t1 (a int)", "CREATE ROLE readers", "ALTER ROLE readers ADD MEMBER ann", "CREATE SCHEMA own AUTHORIZATION local",
	} {
		if _, err := admin.ExecContext(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	ann, err := connect(t, s, "ann", "ann", "shop")
	if err != nil {
		t.Fatal(err)
	}
	local, err := connect(t, s, "local", "local", "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		conn *sql.Conn
		sql  string
		want int32
	}{
		{admin, "CREATE LOGIN ANN WITH PASSWORD = 'x'", 15025},
		{admin, "ALTER LOGIN nobody DISABLE", 15151},
		{admin, "DROP LOGIN nobody", 15151},
		{admin, "DROP LOGIN ann", 15434},
		{admin, "DROP LOGIN sa", 15434},
		{admin, "CREATE USER ann FOR LOGIN idle", 15023},
		{admin, "CREATE USER other FOR LOGIN ann", 15063},
		{admin, "CREATE USER other FOR LOGIN nobody", 15007},
		{admin, "DROP USER nobody", 15151},
		{admin, "DROP USER dbo", 15151},
		{admin, "DROP USER local", 15138},
		{admin, "DROP ROLE readers", 15144},
		{admin, "ALTER USER ann WITH PASSWORD = 'x'", 33234},
		{admin, "ALTER LOGIN bob WITH PASSWORD = 'x' OLD_PASSWORD = 'wrong'", 15151},
		{admin, "USE nowhere", 911},
		{admin, "KILL 1", 6106},
		{admin, "SELECT * FROM nothing", 208},
		{admin, "COMMIT", 3902},
		{admin, "DECLARE @a int; SELECT @b", 137},
		{admin, "SELECT 'a", 105},
		{admin, "SELECT 1 /* a", 113},
		{admin, "THROW 50001, 'mine', 1", 50001},
		{admin, "BEGIN TRANSACTION; KILL 1; ROLLBACK", 6115},
		{ann, "CREATE LOGIN x WITH PASSWORD = 'x'", 15247},
		{ann, "ALTER LOGIN idle DISABLE", 15151},
		{ann, "ALTER LOGIN ann WITH PASSWORD = 'x'", 15151},
		{ann, "ALTER LOGIN ann WITH PASSWORD = 'x' OLD_PASSWORD = 'wrong'", 15151},
		{ann, "ALTER LOGIN ann WITH PASSWORD = 'x' OLD_PASSWORD = 'ann', NAME = anna", 15151},
		{ann, "ALTER LOGIN idle WITH PASSWORD = 'x' OLD_PASSWORD = 'idle'", 15151},
		{ann, "ALTER LOGIN ann WITH PASSWORD = 'ann' OLD_PASSWORD = 'ann'", 0},
		{local, "ALTER USER local WITH PASSWORD = 'x'", 15151},
		{local, "ALTER USER local WITH PASSWORD = 'x' OLD_PASSWORD = 'wrong'", 15151},
		{local, "ALTER USER second WITH PASSWORD = 'x' OLD_PASSWORD = 'second'", 15151},
		{local, "ALTER USER local WITH PASSWORD = 'local' OLD_PASSWORD = 'local'", 0},
		{ann, "CREATE USER x WITHOUT LOGIN", 15247},
		{ann, "DROP USER local", 15151},
		{ann, "SELECT * FROM dbo.t1", 229},
		{ann, "GRANT SELECT ON dbo.t1 TO ann", 15151},
		{ann, "ALTER ROLE db_owner ADD MEMBER ann", 15151},
		{ann, "USE closed", 916},
		{ann, "KILL 51", 6102},
		{ann, "CREATE DATABASE x", 262},
		// What it does not know.
		{admin, "CREATE INDEX i ON t1 (a)", 102},
		{admin, "SELECT name FROM sys.server_principals GROUP BY name", 102},
		{admin, "SELECT CHECKSUM(1)", 195},
		{admin, "GRANT IMPERSONATE ON dbo.t1 TO local", 102},
		{admin, "EXEC sp_who", 2812},
		{admin, "SELECT lettuce FROM sys.server_principals", 207},
	} {
		if _, err := test.conn.ExecContext(t.Context(), test.sql); number(err) != test.want {
			t.Errorf("%s: got %v, want %d", test.sql, err, test.want)
		}
	}
	for _, test := range []struct {
		name, password, database string
		want                     int32
	}{
		{"ann", "wrong", "", 18456}, {"nobody", "x", "", 18456}, {"bob", "bob", "", 18470}, {"ann", "ann", "nowhere", 4060}, {"ann", "ann", "closed", 4060},
		{"local", "local", "", 18456}, {"local", "local", "shop", 0},
	} {
		if _, err := connect(t, s, test.name, test.password, test.database); number(err) != test.want {
			t.Errorf("login %+v: got %v", test, err)
		}
	}
}

// A batch that has an error anywhere in its syntax is not begun; one that fails goes on, unless it is to stop.
func TestBatches(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, err := connect(t, s, s.User, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		sql  string
		made bool
	}{
		{"CREATE ROLE r; NONSENSE", false},
		{"DROP USER nobody; CREATE ROLE r", true},
		{"USE nowhere; CREATE ROLE r", false},
		{"SET XACT_ABORT ON; BEGIN TRAN; CREATE ROLE r; DROP USER nobody", false},
		{"BEGIN TRAN; CREATE ROLE r; ROLLBACK", false},
		{"BEGIN TRAN; BEGIN TRAN; CREATE ROLE r; COMMIT; COMMIT", true},
		{"IF 1 = 2 CREATE ROLE r; ELSE SELECT 1", false},
		{"DECLARE @s nvarchar(100) = 'CREATE ROLE '; SET @s = @s + QUOTENAME('r'); EXEC(@s)", true},
		{"EXEC('USE tempdb; CREATE ROLE r'); IF DB_NAME() <> 'master' RAISERROR('moved', 16, 1)", false},
	} {
		_, _ = c.ExecContext(t.Context(), test.sql)
		_, _ = c.ExecContext(t.Context(), "SET XACT_ABORT OFF")
		var n int
		if err := c.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sys.database_principals WHERE name = @p1", "r").Scan(&n); err != nil || (n == 1) != test.made {
			t.Errorf("%s: made %d, %v", test.sql, n, err)
		}
		_, _ = c.ExecContext(t.Context(), "DROP ROLE IF EXISTS r")
	}
}

// A transaction is seen by nobody else, and keeps others from writing.
func TestTransactions(t *testing.T) {
	t.Parallel()
	s := start(t)
	var conns [2]*sql.Conn
	for i := range conns {
		var err error
		if conns[i], err = connect(t, s, s.User, s.Password, ""); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := conns[0].BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "CREATE LOGIN ann WITH PASSWORD = 'ann'"); err != nil {
		t.Fatal(err)
	}
	count := func(c *sql.Conn) (n int) {
		if err := c.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sys.server_principals WHERE name = 'ann'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(conns[1]); n != 0 {
		t.Error("a transaction is seen before its commit")
	}
	if _, err := conns[1].ExecContext(t.Context(), "SET LOCK_TIMEOUT 1; CREATE LOGIN bob WITH PASSWORD = 'bob'"); number(err) != 1222 {
		t.Errorf("another writer: got %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := count(conns[1]); n != 1 {
		t.Error("a commit is not seen")
	}
}

// An attention ends the statement and leaves the session as it is.
func TestAttention(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, err := connect(t, s, s.User, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.ExecContext(ctx, "BEGIN TRANSACTION; WAITFOR DELAY '00:01:00'"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	var open int
	if err := c.QueryRowContext(t.Context(), "SELECT @@TRANCOUNT").Scan(&open); err != nil || open != 1 {
		t.Errorf("after an attention: %d transactions, %v", open, err)
	}
}

// A long text comes in several packets, there and back.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, err := connect(t, s, s.User, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ä", 3999)
	var same string
	if err := c.QueryRowContext(t.Context(), "SELECT @p1 /* "+strings.Repeat("x", 20000)+" */", long).Scan(&same); err != nil || same != long {
		t.Errorf("got %d characters, %v", len(same), err)
	}
}
