// Package mssql makes, changes and drops logins of SQL Server 2016 and later, and users of contained databases there.
//
// SQL Server makes logins and users in transactions, so a creation is one: look that there is no such user, run the statements,
// look that there is one now, commit. When anything fails, or the caller gives up, the transaction is rolled back before the
// answer is given. When that is not answered either, another connection kills the session and waits until it is gone.
//
// A revocation has no transaction, for KILL is refused in one: each step is there to stay, and the next attempt takes up where the
// last one stopped. The login is disabled first, so that nobody comes in behind it; its sessions are killed; its users are
// dropped in every database that the connection's user can enter, what they own going to dbo; and then the login.
//
// A session is one connection, from its first statement to its last: a USE in an operator's statements holds for those that
// follow it, and is taken back before anybody else gets the connection.
//
// Nothing here was run against SQL Server itself, which this project's tests cannot start: see docs/adr/0014-mssql.md.
package mssql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"leasehold/plugins"
)

// Driver opens databases of SQL Server.
type Driver struct{}

// maxName is how long a name may be: a sysname has that many UTF-16 units.
const maxName = 128

// Open checks the settings and prepares a pool. See the settings table of the wire contract.
//
// Connections are encrypted unless the URL has encrypt=disable or encrypt=false. The server's certificate is verified when the URL has
// encrypt=true or strict or trustservercertificate=false, or when tls_ca or tls_server_name is given.
func (Driver) Open(s plugins.Settings) (plugins.Database, error) {
	parsed, err := parseSettings(s)
	if err != nil {
		return nil, err
	}
	d := &Database{settings: parsed, db: sql.OpenDB(connector{parsed.config})}
	d.db.SetMaxOpenConns(parsed.maxOpen + 1) // one for ending the session of a call that was given up
	if parsed.maxIdle == 0 {
		parsed.maxIdle = -1 // none; 0 would be the default
	}
	d.db.SetMaxIdleConns(parsed.maxIdle)
	d.db.SetConnMaxLifetime(parsed.lifetime)
	return d, nil
}

// Usernames follows the defaults of the wire contract.
func (Driver) Usernames() plugins.Usernames {
	return plugins.Usernames{
		MaxLength: maxName,
		Template:  `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 20) (.RoleName | truncate 20) (random 20) (unix_time) | truncate 128 }}`,
	}
}

// CredentialTypes is passwords only.
func (Driver) CredentialTypes() []string { return []string{plugins.TypePassword} }

// Database is one configured server, or one contained database of it.
type Database struct {
	*settings
	db *sql.DB
}

var (
	_ plugins.Database = (*Database)(nil)
	_ plugins.Lister   = (*Database)(nil)
	_ plugins.Marker   = (*Database)(nil)
)

// MaxOpen is max_open_connections. One more may be opened to end the session of a call that was given up.
func (d *Database) MaxOpen() int { return d.maxOpen }

// Close closes the connections; those in use when their call is over.
func (d *Database) Close() error { return d.db.Close() }

// Verify connects and asks for a sign of life.
func (d *Database) Verify(ctx context.Context) error {
	const op = "connect"
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return d.turnedAway(op, err)
	}
	defer conn.Close()
	if err := conn.PingContext(ctx); err != nil {
		return d.fail(op, plugins.Unreachable, err)
	}
	return nil
}

// Users are the names that begin with prefix, sorted, whether they can log in or not.
func (d *Database) Users(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	query := "SELECT name FROM " + d.principals() + " WHERE type = 'S' AND CHARINDEX(" + quoteText(prefix) + ", name) = 1 ORDER BY name"
	if prefix == "" {
		query = "SELECT name FROM " + d.principals() + " WHERE type = 'S' ORDER BY name"
	}
	err := d.read(ctx, query, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		if strings.HasPrefix(name, prefix) { // the server may take upper and lower case for the same
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// principals is the catalogue view that the connection's users are in.
func (d *Database) principals() string {
	if d.contained {
		return "sys.database_principals"
	}
	return "sys.server_principals"
}

// read runs a query that changes nothing.
func (d *Database) read(ctx context.Context, query string, each func(rows *sql.Rows) error) error {
	const op = "list users"
	s, err := d.begin(ctx, op, "")
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if err := s.query(ctx, query, each); err != nil {
		return d.fail(op, lookClass(err), err)
	}
	return nil
}

// checkName refuses what the server would not take for a login with a password, or store as another name: blanks at the end count
// for nothing there.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the user's name is empty")
	case strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return errors.New("the user's name holds a zero byte, or is not UTF-8")
	case len(utf16.Encode([]rune(name))) > maxName:
		return fmt.Errorf("the user's name is longer than %d characters", maxName)
	case strings.Contains(name, `\`):
		return errors.New(`the user's name holds a backslash, which belongs to Windows logins`)
	case strings.TrimRightFunc(name, unicode.IsSpace) != name:
		return errors.New("the user's name ends in a blank")
	}
	return nil
}
