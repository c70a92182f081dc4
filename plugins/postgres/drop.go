package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

const (
	// keeper owns what dropped users leave behind when the connection's user is a superuser: a function or view works with
	// its owner's rights, and a user must not be able to bequeath code to a superuser. It has no rights and can't log in.
	keeper = "leasehold_kept"

	// sessionPoll is how often it is looked whether ended sessions are gone.
	sessionPoll = 10 * time.Millisecond

	// sessionsTimeout is how long a call waits for that.
	sessionsTimeout = 10 * time.Second
)

// DropUser removes the role. A role that does not exist is a success.
//
// Without statements it does what an administrator would do by hand: what the role owns is handed over (to leasehold_kept
// when the connection's user is a superuser, else to the connection's user), its rights are taken back in each database
// where it has any, it is dropped, and its sessions are ended. Where something could stand in the way of the drop, namely
// objects, rights in other databases, or a connection's user that is no superuser, the role first loses its login and its
// sessions. It loses them as well when the drop fails. A connection's user that is no superuser makes itself a member of
// the role as needed.
//
// Round trips: one for a role that is not there; two for one with rights in the connection's database alone; one or two more
// for sessions, and a connection for each other database.
//
// With statements those run in one transaction instead. The role must be gone then, and its sessions are ended.
//
// Two calls for the same role do not disturb each other.
//
// Benchmarks: bench_test.go.
func (d *Database) DropUser(ctx context.Context, name string, statements []string) error {
	const op = "drop user"
	switch {
	case name == d.settings.pool.ConnConfig.User:
		return d.fail(op, plugins.Permanent, errors.New("the connection's own user can't be dropped"))
	case checkName(name) != nil:
		return nil // no role can have this name
	}
	parsed, err := parse(statements)
	if err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	filled, err := fillAll(sqltext.Values{"name": name, "username": name}, parsed)
	if err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return err
	}
	defer conn.Release()
	drop := dropping{d: d, conn: conn, name: name, quoted: quoteIdentifier(name)}
	if len(filled) > 0 {
		err = drop.byStatements(ctx, filled)
	} else {
		err = drop.byHand(ctx)
	}
	var failed *plugins.Error
	if err == nil || errors.As(err, &failed) {
		return err
	}
	return d.fail(op, sentClass(err), err)
}

// dropping is one call of DropUser.
type dropping struct {
	d      *Database
	conn   *pgxpool.Conn
	name   string
	quoted string
	role   holdings // when it was seen last
}

// holdings is what there is of a role.
type holdings struct {
	oid       uint32
	superuser bool // the connection's user, that is
	keeper    bool // exists
	here      bool // has rights or objects in the connection's database, or shared ones
	owns      bool // has objects in any database
	elsewhere []string
	sessions  bool // looked for only where they could be in the way
}

// byHand is the default revocation.
func (p *dropping) byHand(ctx context.Context) error {
	disabled := false
	var failed error
	for attempt := range maxAttempts {
		found, err := p.look(ctx)
		if err != nil {
			return err
		}
		if !found {
			return p.endSessions(ctx, p.role.superuser)
		}
		if p.role.sessions || len(p.role.elsewhere) > 0 {
			disabled = true
			failed = p.disable(ctx)
		} else {
			failed = nil
		}
		if failed == nil {
			failed = p.releaseElsewhere(ctx)
		}
		if failed == nil {
			failed = p.finish(ctx)
		}
		if failed == nil || !collided(failed, attempt) {
			break
		}
	}
	if failed != nil && !disabled && !p.conn.Conn().IsClosed() {
		// The caller hears why the drop failed, not whether this did.
		_ = p.disable(ctx)
	}
	return failed
}

// collided reports whether looking again may help: somebody dropped the role, gave it rights, or changed the same rows.
func collided(err error, attempt int) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case "42704", "42710", "23505": // role does not exist, keeper exists already
		return true
	case "2BP01": // the role has rights again, or for good
		return attempt == 0
	}
	return raced(err)
}

// lookSQL reads the indexes of pg_shdepend; the views of information_schema read everything. To list sessions the server
// copies a few hundred kilobytes, and to plan a query of pg_stat_activity it takes even longer.
const lookSQL = `
SELECT r.rolname::pg_catalog.text, r.oid, me.rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles k WHERE k.rolname = $2),
       s.here, s.owns, s.elsewhere,
       CASE WHEN s.owns OR NOT me.rolsuper
            THEN EXISTS (SELECT FROM pg_catalog.pg_stat_get_backend_idset() b WHERE pg_catalog.pg_stat_get_backend_userid(b) = r.oid)
            ELSE false END
  FROM pg_catalog.pg_roles r
  JOIN pg_catalog.pg_roles me ON me.rolname = current_user
  JOIN pg_catalog.pg_database db ON db.datname = pg_catalog.current_database()
 CROSS JOIN LATERAL (
       SELECT coalesce(pg_catalog.bool_or(d.dbid IN (0::pg_catalog.oid, db.oid)), false) AS here,
              coalesce(pg_catalog.bool_or(d.deptype = 'o'::pg_catalog."char"), false) AS owns,
              coalesce(pg_catalog.array_agg(DISTINCT o.datname::pg_catalog.text) FILTER (WHERE o.oid <> db.oid), '{}') AS elsewhere
         FROM pg_catalog.pg_shdepend d
         LEFT JOIN pg_catalog.pg_database o ON o.oid = d.dbid
        WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = r.oid) s
 WHERE r.rolname = ANY ($1::pg_catalog.text[])`

// look reports whether the role is there.
func (p *dropping) look(ctx context.Context) (bool, error) {
	roles, err := p.lookAll(ctx, []string{p.name})
	role, found := roles[p.name]
	if found {
		p.role = role
	}
	return found, err
}

// disable takes the login away and ends the sessions.
func (p *dropping) disable(ctx context.Context) error {
	var script strings.Builder
	begin(ctx, &script)
	p.join(&script)
	fmt.Fprintf(&script, "ALTER ROLE %s NOLOGIN;\nCOMMIT", p.quoted)
	// Crash: the role stays without a login until the next attempt.
	if _, err := p.run(ctx, script.String()); err != nil {
		return err
	}
	return p.endSessions(ctx, true)
}

// sessions is [sessionsOf] the one role.
func (p *dropping) sessions(end bool) string {
	return sessionsOf(end, []string{fmt.Sprint(p.role.oid)})
}

// endSessions returns when the role, dropped or not, has no sessions.
func (p *dropping) endSessions(ctx context.Context, end bool) error {
	if p.role.oid == 0 {
		return nil
	}
	return p.awaitSessions(ctx, p.sessions(end))
}

// join makes the connection's user a member of the role, which gives it the role's rights over objects and sessions. The
// membership ends with the role.
func (p *dropping) join(script *strings.Builder) {
	if !p.role.superuser {
		fmt.Fprintf(script, "GRANT %s TO CURRENT_USER;\n", p.quoted)
	}
}

// release writes what takes rights and objects away from the role in one database.
func (p *dropping) release(script *strings.Builder) {
	script.WriteString(takeTurns)
	p.join(script)
	if p.role.owns {
		heir := "CURRENT_USER"
		if p.role.superuser {
			heir = keeper
		}
		fmt.Fprintf(script, "REASSIGN OWNED BY %s TO %s;\n", p.quoted, heir)
	}
	fmt.Fprintf(script, "DROP OWNED BY %s;\n", p.quoted)
}

// releaseElsewhere does so in the other databases. The keeper is made first: all databases share it.
func (p *dropping) releaseElsewhere(ctx context.Context) error {
	if p.role.owns && p.role.superuser && !p.role.keeper {
		if _, err := p.run(ctx, "CREATE ROLE "+keeper+" NOLOGIN"); err != nil {
			return err
		}
	}
	for _, database := range p.role.elsewhere {
		config := p.d.settings.pool.ConnConfig.Copy()
		config.Database = database
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			class := plugins.Unreachable
			if answer := (*pgconn.PgError)(nil); errors.As(err, &answer) {
				class = plugins.Refused // the server is there, but that database takes no connection
			}
			return p.d.fail("drop user: take back rights in another database", class, err)
		}
		var script strings.Builder
		begin(ctx, &script)
		p.release(&script)
		script.WriteString("COMMIT")
		// Crash: what was taken back stays so; the next attempt goes on.
		_, err = conn.PgConn().Exec(ctx, script.String()).ReadAll()
		_ = conn.Close(ctx)
		if err != nil {
			return fmt.Errorf("database %q: %w", database, err)
		}
	}
	return nil
}

// finish takes back what the role has in this database and drops it, in one transaction. Then it looks, and ends the
// sessions.
func (p *dropping) finish(ctx context.Context) error {
	var script strings.Builder
	begin(ctx, &script)
	if p.role.here {
		p.release(&script)
	}
	fmt.Fprintf(&script, "DROP ROLE IF EXISTS %s;\nCOMMIT;\n", p.quoted)
	fmt.Fprintf(&script, "SELECT (%s), %s IS NOT NULL", p.sessions(p.role.superuser), roleOf(p.name))
	// Crash: the server goes on to the end of the script, or undoes the transaction; the next attempt looks.
	answer, err := p.run(ctx, script.String())
	switch {
	case err != nil:
		return err
	case answer[1] == "t":
		return p.d.fail("drop user", plugins.Refused, errors.New("a role of that name was made again"))
	case answer[0] != "0":
		return p.endSessions(ctx, p.role.superuser)
	}
	return nil
}

// byStatements is the custom revocation.
func (p *dropping) byStatements(ctx context.Context, statements []string) error {
	found, err := p.look(ctx)
	if err != nil {
		return err
	}
	if p.role.sessions && !p.role.superuser {
		// When the role is gone it would be too late. It can still log in, so there is no waiting for the last to end.
		var script strings.Builder
		p.join(&script)
		if _, err := p.run(ctx, script.String()+p.sessions(true)); err != nil {
			return err
		}
	}
	var script strings.Builder
	begin(ctx, &script)
	writeStatements(&script, statements)
	script.WriteString("COMMIT")
	if found {
		script.WriteString(";\n" + p.sessions(p.role.superuser))
	}
	// Crash: the statements took effect together or not at all; the next attempt runs them again.
	_, failed := p.run(ctx, script.String())
	if failed != nil && transient(failed) {
		return failed
	}
	found, err = p.look(ctx)
	switch {
	case err != nil:
		return err
	case !found:
		// That statements fail for want of the role does no harm.
		return p.endSessions(ctx, p.role.superuser)
	case failed != nil:
		return failed
	default:
		return p.d.fail("drop user", plugins.Refused, errors.New("the role is still there after the revocation statements"))
	}
}

// transient reports whether the same statements may well succeed the next time, so that their failure must count even
// where the role is gone: they may have had other work to do.
func transient(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || len(answer.Code) != 5 {
		return true
	}
	switch answer.Code[:2] {
	case "08", "25", "28", "40", "53", "55", "57", "58", "XX":
		return true
	}
	return false
}

// run sends statements and returns the first row of the last one. It leaves no transaction behind.
func (p *dropping) run(ctx context.Context, sql string) (row []string, err error) {
	pg := p.conn.Conn().PgConn()
	results, err := pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		p.d.rollback(ctx, pg)
		return nil, err
	}
	if n := len(results); n > 0 && len(results[n-1].Rows) > 0 {
		for _, value := range results[n-1].Rows[0] {
			row = append(row, string(value))
		}
	}
	return row, nil
}
