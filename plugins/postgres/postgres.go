// Package postgres makes, changes and drops users of PostgreSQL 10 and later.
//
// Creation and change run in one explicit transaction. COMMIT is a message of its own, sent when every statement has been
// answered and the caller still waits, so a user does not come into being after the caller gave up; only a COMMIT whose
// answer got lost leaves that open, and such an error is of class Unknown. The statements run under timeouts on the
// server's side, a little shorter than the caller's, so that the answer is nearly always a clear no.
//
// Statements that change an object's access list run in turn, ordered by an advisory lock of the database they run in:
// in parallel they fail with "tuple concurrently updated" or wait for each other until the deadlock timeout.
//
// Passwords are sent as SCRAM verifiers where the server would make one itself, so that its log shows none.
//
// Own queries name the schema of each function and compare equal types only: a user who can create objects in a schema
// on the search path could otherwise make the connection's user run his code.
package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/plugins"
)

// maxNameBytes is what a name can have; PostgreSQL cuts longer ones, so that two could become one.
const maxNameBytes = 63

// Driver opens PostgreSQL databases.
type Driver struct{}

// Open checks the settings and prepares a pool. See the settings table of the wire contract.
//
// Any of tls_ca, tls_certificate and private_key turns TLS on, whatever the URL says; with tls_ca the server's certificate
// and name are verified. password_authentication is "scram-sha-256" ({{password}} is the verifier everywhere), "password"
// (never), or not given: then it is the verifier where a role's password is set, if the server keeps such verifiers.
//
// scram_iterations is how many rounds the verifiers of new users have; 4096 when it is not given. Fewer make creating a user
// several times faster. A long random password gains nothing from rounds, but some drivers refuse fewer than 4096: see
// docs/performance.md. A password that replaces one that is there always has 4096.
func (Driver) Open(s plugins.Settings) (plugins.Database, error) {
	parsed, err := parseSettings(s)
	if err != nil {
		return nil, err
	}
	d := &Database{settings: parsed}
	config := parsed.pool.Copy()
	if d.maxIdle < config.MaxConns { // the hook costs a goroutine per call
		config.AfterRelease = func(*pgx.Conn) bool { return d.pool.Stat().IdleConns() < d.maxIdle }
	}
	if d.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("prepare the pool: %w", d.fail("open", plugins.Unreachable, err))
	}
	return d, nil
}

// Usernames follows the default of the wire contract.
func (Driver) Usernames() plugins.Usernames {
	return plugins.Usernames{
		MaxLength: maxNameBytes,
		Cuts:      true,
		Certified: true,
		Template:  `{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}`,
	}
}

// CredentialTypes are passwords, and certificates: with one a user logs in without a password where pg_hba.conf says hostssl and cert.
func (Driver) CredentialTypes() []string {
	return []string{plugins.TypePassword, plugins.TypeCertificate}
}

// Database is one configured server and database.
type Database struct {
	*settings
	pool *pgxpool.Pool

	makesVerifiers atomic.Pointer[bool] // whether the server does so; nil until it was asked
}

var (
	_ plugins.Database = (*Database)(nil)
	_ plugins.Lister   = (*Database)(nil)
	_ plugins.Marker   = (*Database)(nil)
)

// MaxOpen is max_open_connections. DropUser may open one more connection per call, to another database of the server.
func (d *Database) MaxOpen() int { return int(d.settings.pool.MaxConns) }

// Close waits for calls under way.
func (d *Database) Close() error {
	d.pool.Close()
	return nil
}

// Verify connects and asks for a sign of life.
func (d *Database) Verify(ctx context.Context) error {
	conn, err := d.acquire(ctx, "connect")
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := conn.Ping(ctx); err != nil {
		return d.fail("connect", sentClass(err), err)
	}
	return nil
}

// Users are the roles, whether they can log in or not, whose names begin with prefix, sorted.
func (d *Database) Users(ctx context.Context, prefix string) ([]string, error) {
	const op = "list users"
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, _ := conn.Query(ctx, `
		SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles
		 WHERE pg_catalog.left(rolname::pg_catalog.text, pg_catalog.length($1::pg_catalog.text)) = $1::pg_catalog.text
		 ORDER BY rolname`, prefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, d.fail(op, sentClass(err), err)
	}
	return names, nil
}

// acquire takes a connection from the pool. Whatever goes wrong there, no statement was sent; a refused login says
// nothing about a user or lease either.
func (d *Database) acquire(ctx context.Context, op string) (*pgxpool.Conn, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, d.fail(op, plugins.Unreachable, err)
	}
	return conn, nil
}

// verifiers reports whether the server makes SCRAM verifiers of the passwords that it is sent. It is asked once.
func (d *Database) verifiers(ctx context.Context, op string) (bool, error) {
	if known := d.makesVerifiers.Load(); known != nil {
		return *known, nil
	}
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	var encryption string
	if err := conn.QueryRow(ctx, "SHOW password_encryption").Scan(&encryption); err != nil {
		return false, d.fail(op, sentClass(err), err)
	}
	made := encryption == "scram-sha-256"
	d.makesVerifiers.Store(&made)
	return made, nil
}

// roleOf is an expression: the role of that name, or null.
func roleOf(name string) string {
	return "pg_catalog.to_regrole(" + quoteLiteral(quoteIdentifier(name)) + ")"
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteLiteral relies on standard_conforming_strings, which every connection sets.
func quoteLiteral(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }
