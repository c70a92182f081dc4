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
)

const (
	// keeper owns what dropped users leave behind when the connection's user is a superuser: a function or view works with
	// its owner's rights, and a user must not be able to bequeath code to a superuser. It has no rights and can't log in.
	keeper = "leasehold_kept"

	// dropAttempts is how often a collision with somebody else's statements is tried again in one call.
	dropAttempts = 5

	// sessionPoll is how often it is looked whether ended sessions are gone.
	sessionPoll = 10 * time.Millisecond
)

// DropUser removes the role. A role that does not exist is a success.
//
// Without statements it does what an administrator would do by hand: what the role owns is handed over (to leasehold_kept
// when the connection's user is a superuser, else to the connection's user), its rights are taken back in each database
// where it has any, and it is dropped. Roles with open sessions or with rights in other databases first lose the right to
// log in, then their sessions. When the drop fails, they lose these all the same. Where the connection's user is no
// superuser, it makes itself a member of the role as needed.
//
// Round trips: one for a role that is not there; two for one without sessions and with rights in the connection's database
// alone; then two for open sessions, and one connection for each other database.
//
// With statements those run in one transaction instead, after the sessions were told to end. The role must be gone then.
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
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return err
	}
	defer conn.Release()
	drop := dropping{d: d, conn: conn, name: name, quoted: quoteIdentifier(name)}
	if len(parsed) > 0 {
		var failed *plugins.Error
		if err := drop.byStatements(ctx, parsed); errors.As(err, &failed) {
			return failed
		} else if err != nil {
			return d.fail(op, sentClass(err), err)
		}
		return nil
	}
	if err := drop.byHand(ctx); err != nil {
		var failed *plugins.Error
		if errors.As(err, &failed) {
			return failed
		}
		return d.fail(op, sentClass(err), err)
	}
	return nil
}

// dropping is one call of DropUser.
type dropping struct {
	d      *Database
	conn   *pgxpool.Conn
	name   string
	quoted string
	oid    uint32 // 0 until the role was seen
}

// holdings is what there is of a role.
type holdings struct {
	oid       uint32 // 0: no such role
	superuser bool   // the connection's user, that is
	keeper    bool   // exists
	here      bool   // has rights or objects in the connection's database, or shared ones
	owns      bool   // has objects in any database
	elsewhere []string
	sessions  bool
}

// byHand is the default revocation.
func (p *dropping) byHand(ctx context.Context) error {
	disabled := false
	var err error
	for range dropAttempts {
		var h holdings
		if h, err = p.look(ctx); err != nil {
			return err
		}
		if h.oid == 0 {
			return p.endSessions(ctx)
		}
		if h.sessions || len(h.elsewhere) > 0 {
			disabled = true
			err = p.disable(ctx, h)
		}
		if err == nil && h.owns && h.superuser && !h.keeper {
			err = p.run(ctx, "CREATE ROLE "+keeper+" NOLOGIN")
		}
		if err == nil {
			err = p.releaseElsewhere(ctx, h)
		}
		if err == nil {
			err = p.finish(ctx, h)
		}
		if err == nil {
			return p.endSessions(ctx)
		}
		if collided(err) {
			continue
		}
		if !disabled && !p.conn.Conn().IsClosed() {
			// The caller hears why the drop failed, not whether this did.
			_ = p.disable(ctx, h)
		}
		break
	}
	return err
}

// collided reports whether looking again may help: somebody dropped the role, gave it rights, or changed the same rows.
func collided(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case "XX000", // tuple concurrently updated or deleted
		"40001", "40P01", // serialization failure, deadlock
		"42704", "42710", "23505", // role does not exist, keeper exists already
		"2BP01": // the role has rights again
		return true
	}
	return false
}

// lookSQL reads the indexes of pg_shdepend; the views of information_schema read everything. Likewise it does not ask
// pg_stat_activity, whose plan alone takes longer than all of this.
const lookSQL = `
SELECT r.oid, me.rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles k WHERE k.rolname = $2),
       s.here, s.owns, s.elsewhere,
       EXISTS (SELECT FROM pg_catalog.pg_stat_get_backend_idset() b WHERE pg_catalog.pg_stat_get_backend_userid(b) = r.oid)
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
 WHERE r.rolname = $1`

func (p *dropping) look(ctx context.Context) (holdings, error) {
	var h holdings
	err := p.conn.QueryRow(ctx, lookSQL, p.name, keeper).
		Scan(&h.oid, &h.superuser, &h.keeper, &h.here, &h.owns, &h.elsewhere, &h.sessions)
	if errors.Is(err, pgx.ErrNoRows) {
		return holdings{}, nil
	}
	if err == nil {
		p.oid = h.oid
	}
	return h, err
}

// disable takes the login away and ends the sessions.
func (p *dropping) disable(ctx context.Context, h holdings) error {
	var script strings.Builder
	begin(ctx, &script)
	p.join(&script, h)
	fmt.Fprintf(&script, "ALTER ROLE %s NOLOGIN;\nCOMMIT", p.quoted)
	// Crash: the role stays without a login until the next attempt.
	if err := p.run(ctx, script.String()); err != nil {
		return err
	}
	return p.endSessions(ctx)
}

// endSessions returns when the role, dropped or not, has no sessions.
func (p *dropping) endSessions(ctx context.Context) error {
	if p.oid == 0 {
		return nil
	}
	poll := time.NewTicker(sessionPoll)
	defer poll.Stop()
	for {
		sessions, err := p.terminate(ctx)
		if err != nil || sessions == 0 {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return p.d.fail("drop user", plugins.Refused, fmt.Errorf("wait for %d sessions to end: %w", sessions, ctx.Err()))
		}
	}
}

// terminate tells the role's sessions to end, and returns how many there were. Those of a dropped role only a superuser
// may tell.
func (p *dropping) terminate(ctx context.Context) (sessions int, err error) {
	err = p.conn.QueryRow(ctx, `
		SELECT pg_catalog.count(CASE WHEN me.rolsuper OR pg_catalog.pg_has_role($1::pg_catalog.oid, 'USAGE')
		                             THEN pg_catalog.pg_terminate_backend(pg_catalog.pg_stat_get_backend_pid(b)) ELSE false END)
		  FROM pg_catalog.pg_stat_get_backend_idset() b
		  JOIN pg_catalog.pg_roles me ON me.rolname = current_user
		 WHERE pg_catalog.pg_stat_get_backend_userid(b) = $1::pg_catalog.oid`, p.oid).Scan(&sessions)
	return sessions, err
}

// join makes the connection's user a member of the role, which gives it the role's rights over objects and sessions. The
// membership ends with the role.
func (p *dropping) join(script *strings.Builder, h holdings) {
	if !h.superuser {
		fmt.Fprintf(script, "GRANT %s TO CURRENT_USER;\n", p.quoted)
	}
}

// release writes what takes rights and objects away from the role in one database.
func (p *dropping) release(script *strings.Builder, h holdings) {
	script.WriteString(takeTurns)
	p.join(script, h)
	if h.owns {
		heir := "CURRENT_USER"
		if h.superuser {
			heir = keeper
		}
		fmt.Fprintf(script, "REASSIGN OWNED BY %s TO %s;\n", p.quoted, heir)
	}
	fmt.Fprintf(script, "DROP OWNED BY %s;\n", p.quoted)
}

// releaseElsewhere does so in the other databases.
func (p *dropping) releaseElsewhere(ctx context.Context, h holdings) error {
	for _, database := range h.elsewhere {
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
		p.release(&script, h)
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

// finish takes back what the role has in this database and drops it, in one transaction, and looks.
func (p *dropping) finish(ctx context.Context, h holdings) error {
	var script strings.Builder
	begin(ctx, &script)
	if h.here {
		p.release(&script, h)
	}
	fmt.Fprintf(&script, "DROP ROLE IF EXISTS %s;\nCOMMIT;\n", p.quoted)
	fmt.Fprintf(&script, "SELECT %s IS NOT NULL,\n", roleOf(p.name))
	fmt.Fprintf(&script, "EXISTS (SELECT FROM pg_catalog.pg_stat_get_backend_idset() b WHERE pg_catalog.pg_stat_get_backend_userid(b) = %d::pg_catalog.oid)", p.oid)
	// Crash: the role is gone or not; the next attempt looks.
	results, err := p.conn.Conn().PgConn().Exec(ctx, script.String()).ReadAll()
	if err != nil {
		p.d.rollback(ctx, p.conn.Conn().PgConn())
		return err
	}
	switch look := results[len(results)-1].Rows[0]; {
	case string(look[0]) == "t":
		return p.d.fail("drop user", plugins.Refused, errors.New("a role of that name was made again"))
	case string(look[1]) == "f":
		p.oid = 0 // no sessions are left to end
	}
	return nil
}

// byStatements is the custom revocation.
func (p *dropping) byStatements(ctx context.Context, statements []statement) error {
	h, err := p.look(ctx)
	if err != nil {
		return err
	}
	if h.sessions {
		// Once the role is gone, only a superuser may end them. It can still log in, so there is no waiting for the last.
		if !h.superuser {
			if err := p.run(ctx, "GRANT "+p.quoted+" TO CURRENT_USER"); err != nil {
				return err
			}
		}
		if _, err := p.terminate(ctx); err != nil {
			return err
		}
	}
	var filled []string
	for _, s := range statements {
		sql, err := values{"name": p.name, "username": p.name}.fill(s)
		if err != nil {
			return p.d.fail("drop user", plugins.Permanent, err)
		}
		filled = append(filled, sql)
	}
	var script strings.Builder
	begin(ctx, &script)
	writeStatements(&script, filled)
	script.WriteString("COMMIT")
	// Crash: the statements took effect together or not at all; the next attempt runs them again.
	failed := p.run(ctx, script.String())
	if failed != nil && transient(failed) {
		return failed
	}
	after, err := p.look(ctx)
	switch {
	case err != nil:
		return err
	case after.oid == 0:
		// That statements fail for want of the role does no harm.
		return p.endSessions(ctx)
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

// run sends statements, and leaves no transaction behind.
func (p *dropping) run(ctx context.Context, sql string) error {
	pg := p.conn.Conn().PgConn()
	if _, err := pg.Exec(ctx, sql).ReadAll(); err != nil {
		p.d.rollback(ctx, pg)
		return err
	}
	return nil
}
