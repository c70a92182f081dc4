package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/plugins"
)

// errByItself says that a role is more work than DropUsers does.
var errByItself = errors.New("to be dropped by itself")

// DropUsers drops the roles that have neither objects nor rights in other databases nor sessions in the way, all in one
// transaction, as DropUser would drop each. Three round trips, however many there are. The others have an error, and are
// left to DropUser.
func (d *Database) DropUsers(ctx context.Context, names []string) []error {
	const op = "drop users"
	failed := make([]error, len(names))
	conn, err := d.acquire(ctx, op)
	if err != nil {
		return fill(failed, err)
	}
	defer conn.Release()
	group := dropping{d: d, conn: conn}
	roles, err := group.lookAll(ctx, names)
	if err != nil {
		return fill(failed, d.fail(op, sentClass(err), err))
	}
	var together []int
	for i, name := range names {
		switch role, found := roles[name]; {
		case name == d.settings.pool.ConnConfig.User || checkName(name) != nil:
			failed[i] = d.fail(op, plugins.Refused, errByItself)
		case !found: // as is wanted
		case role.owns || role.sessions || len(role.elsewhere) > 0:
			failed[i] = d.fail(op, plugins.Refused, errByItself)
		default:
			together = append(together, i)
		}
	}
	if len(together) == 0 {
		return failed
	}
	if err := group.finishAll(ctx, names, together, roles); err != nil {
		err = d.fail(op, sentClass(err), err)
		for _, i := range together {
			failed[i] = err
		}
	}
	return failed
}

func fill(failed []error, err error) []error {
	for i := range failed {
		failed[i] = err
	}
	return failed
}

// lookAll is what there is of each role, by name; those that do not exist are missing.
func (p *dropping) lookAll(ctx context.Context, names []string) (map[string]holdings, error) {
	rows, err := p.conn.Query(ctx, lookSQL, names, keeper)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]holdings{}
	for rows.Next() {
		var name string
		var h holdings
		if err := rows.Scan(&name, &h.oid, &h.superuser, &h.keeper, &h.here, &h.owns, &h.elsewhere, &h.sessions); err != nil {
			return nil, err
		}
		found[name] = h
	}
	return found, rows.Err()
}

// finishAll drops roles in one transaction, looks that they are gone, and ends their sessions.
func (p *dropping) finishAll(ctx context.Context, names []string, together []int, roles map[string]holdings) error {
	var quoted, here, oids, there []string
	superuser := false
	for _, i := range together {
		name, role := names[i], roles[names[i]]
		superuser = role.superuser
		quoted = append(quoted, quoteIdentifier(name))
		oids = append(oids, fmt.Sprint(role.oid))
		there = append(there, roleOf(name))
		if role.here {
			here = append(here, quoteIdentifier(name))
		}
	}
	var script strings.Builder
	begin(ctx, &script)
	if len(here) > 0 {
		script.WriteString(takeTurns)
		if !superuser {
			fmt.Fprintf(&script, "GRANT %s TO CURRENT_USER;\n", strings.Join(here, ", "))
		}
		fmt.Fprintf(&script, "DROP OWNED BY %s;\n", strings.Join(here, ", "))
	}
	fmt.Fprintf(&script, "DROP ROLE IF EXISTS %s;\nCOMMIT;\n", strings.Join(quoted, ", "))
	sessions := sessionsOf(superuser, oids)
	fmt.Fprintf(&script, "SELECT (%s), coalesce(%s) IS NOT NULL", sessions, strings.Join(there, ", "))
	// Crash: the server goes on to the end of the script, or undoes the transaction; the next attempt looks.
	answer, err := p.run(ctx, script.String())
	switch {
	case err != nil:
		return err
	case answer[1] == "t":
		return errors.New("a role of that name was made again")
	case answer[0] != "0":
		return p.awaitSessions(ctx, sessions)
	}
	return nil
}

// sessionsOf is a query: how many sessions roles have. It tells them to end where that is allowed: a superuser always may,
// others while they are members of the role.
func sessionsOf(end bool, oids []string) string {
	counted := "b"
	if end {
		counted = "pg_catalog.pg_terminate_backend(pg_catalog.pg_stat_get_backend_pid(b))"
	}
	return fmt.Sprintf("SELECT pg_catalog.count(%s) FROM pg_catalog.pg_stat_get_backend_idset() b"+
		" WHERE pg_catalog.pg_stat_get_backend_userid(b) = ANY ('{%s}'::pg_catalog.oid[])", counted, strings.Join(oids, ","))
}

// awaitSessions returns when the query counts no session any more.
func (p *dropping) awaitSessions(ctx context.Context, query string) error {
	ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
	defer cancel()
	poll := time.NewTicker(sessionPoll)
	defer poll.Stop()
	for {
		answer, err := p.run(ctx, query)
		if err != nil || answer[0] == "0" {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return p.d.fail("drop user", plugins.Refused, fmt.Errorf("wait for %s sessions to end: %w", answer[0], ctx.Err()))
		}
	}
}
