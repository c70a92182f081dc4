// Package mysql makes, changes and drops users of MySQL 5.7 and later and of MariaDB 10.4 and later, and of services that are
// made of them.
//
// These servers know no transactions for users: each CREATE USER and GRANT is there to stay when it is answered. So a creation
// looks first that there is no such user, runs each statement once on one connection, and takes everything back when one
// fails, before it answers. When that cannot be done either, the error is of class Unknown; the caller has the name on record.
//
// A statement whose caller has given up goes on in the server. Its session is ended by KILL from another connection then, and
// it is looked that it is gone, before anything else is said or done. For the case that this process dies, each session has a
// limit on how long it waits for locks, and on MariaDB on how long it works, that is shorter than the caller's time.
//
// Users are known by name, and a name may have several accounts, one for each host part: all of them are meant.
//
// Where a MariaDB server would make a hash of a password by itself, it is sent the hash: MariaDB writes statements to its log as
// they are. MySQL leaves passwords out of its log.
//
// Nothing here was run against MySQL itself, which this project's tests cannot start: see docs/adr/0013-mysql.md.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode"

	"leasehold/plugins"
)

// Driver opens databases of the MySQL family.
type Driver struct {
	Legacy bool // names have 16 bytes, as MySQL before 5.7 wants it
}

const (
	maxNameBytes       = 32 // of MySQL; MariaDB takes more
	maxLegacyNameBytes = 16
)

// Open checks the settings and prepares a pool. See the settings table of the wire contract.
//
// The URL is what the Go driver calls a DSN. Whatever it says, files of this machine are never sent, a query is one statement, and
// the character set is utf8mb4. Any of tls_ca, tls_certificate_key, tls_server_name and tls_skip_verify turns TLS on.
func (v Driver) Open(s plugins.Settings) (plugins.Database, error) {
	parsed, err := parseSettings(s)
	if err != nil {
		return nil, err
	}
	d := &Database{settings: parsed, maxName: v.Usernames().MaxLength, db: sql.OpenDB(parsed.hosts)}
	d.db.SetMaxOpenConns(parsed.maxOpen + 1) // one for ending the session of a call that was given up
	if parsed.maxIdle == 0 {
		parsed.maxIdle = -1 // none; 0 would be the default
	}
	d.db.SetMaxIdleConns(parsed.maxIdle)
	d.db.SetConnMaxLifetime(parsed.lifetime)
	return d, nil
}

// Usernames follows the defaults of the wire contract. The servers refuse longer names.
func (v Driver) Usernames() plugins.Usernames {
	if v.Legacy {
		return plugins.Usernames{
			MaxLength: maxLegacyNameBytes,
			Template:  `{{ printf "v-%s-%s" (.RoleName | truncate 4) (random 20) | truncate 16 }}`,
		}
	}
	return plugins.Usernames{
		MaxLength: maxNameBytes,
		Template:  `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 10) (.RoleName | truncate 10) (random 20) (unix_time) | truncate 32 }}`,
	}
}

// CredentialTypes is passwords only.
func (Driver) CredentialTypes() []string { return []string{plugins.TypePassword} }

// Database is one configured server, or several that hold the same.
type Database struct {
	*settings
	maxName int
	db      *sql.DB

	plainOnly atomic.Bool // the server takes no hashes: it wants to check passwords by itself
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
	query := fmt.Sprintf("SELECT DISTINCT User FROM mysql.user WHERE LEFT(CAST(User AS BINARY), %d) = %s ORDER BY User", len(prefix), quoteBytes(prefix))
	var names []string
	err := d.read(ctx, func(s *session) string { return query }, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// read runs a query that changes nothing.
func (d *Database) read(ctx context.Context, query func(*session) string, each func(rows *sql.Rows) error) error {
	const op = "list users"
	s, err := d.begin(ctx, op, "")
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.bound(ctx, nil); err != nil {
		return d.fail(op, lookClass(err), err)
	}
	rows, err := s.conn.QueryContext(ctx, query(s))
	if err != nil {
		return d.fail(op, lookClass(err), readable(err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return d.fail(op, plugins.Unknown, err)
		}
	}
	if err := rows.Err(); err != nil {
		return d.fail(op, lookClass(err), err)
	}
	return nil
}

// lookClass is the class of an error of a query that changes nothing. When it was not answered, it is as if nothing was sent.
func lookClass(err error) plugins.Class {
	if class := classOf(err); class != plugins.Unknown {
		return class
	}
	return plugins.Unreachable
}

// readable says what to do about an error of looking at users.
func readable(err error) error {
	if number := numberOf(err); number == errTableDenied || number == 1143 {
		return fmt.Errorf("%w: the connection's user needs SELECT on mysql.*", err)
	}
	return err
}

// checkName refuses what the servers would not take, or store as another name: they cut blanks off the end.
func (d *Database) checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the user's name is empty")
	case len(name) > d.maxName:
		return fmt.Errorf("the user's name is longer than %d bytes", d.maxName)
	case strings.ContainsRune(name, 0) || strings.ToValidUTF8(name, "") != name:
		return errors.New("the user's name holds a zero byte, or is not UTF-8")
	case strings.TrimRightFunc(name, unicode.IsSpace) != name:
		return errors.New("the user's name ends in a blank")
	}
	return nil
}
