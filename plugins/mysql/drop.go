package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// killers end a session. The latter two are for managed services, whose administrators may not use KILL on the sessions of others.
var killers = []string{"KILL CONNECTION %d", "CALL mysql.rds_kill(%d)", "CALL mysql.az_kill(%d)"}

// DropUser removes the user: all its accounts, whatever their host parts. A user that does not exist is a success.
//
// Without statements the accounts are locked, so that nobody logs in any more; the user's sessions are ended; the accounts are
// dropped; and it is looked that neither is left. An account stays locked when its drop fails. What the user made is not touched:
// here tables belong to nobody.
//
// Sessions can only be ended that the connection's user may see: with PROCESS, and CONNECTION ADMIN or SUPER.
//
// With statements those run instead, and the user must be gone then; its sessions are ended afterwards. That a statement fails for
// want of the user does no harm.
//
// Two calls for the same user do not disturb each other.
func (d *Database) DropUser(ctx context.Context, name string, statements []string) error {
	const op = "drop user"
	switch {
	case name == d.user:
		return d.fail(op, plugins.Permanent, errors.New("the connection's own user can't be dropped"))
	case d.checkName(name) != nil:
		return nil // no user can have this name
	}
	s, err := d.begin(ctx, op, name)
	if err != nil {
		return err
	}
	defer s.close()
	own, err := s.fillOwn(name, statements)
	if err != nil {
		return d.fail(op, plugins.Permanent, err)
	}
	if err := s.bound(ctx, own); err != nil {
		return d.fail(op, lookClass(err), err)
	}
	if len(own) > 0 {
		err = s.dropByStatements(ctx, name, own)
	} else {
		err = s.drop(ctx, name)
	}
	if err == nil {
		return nil
	}
	if stuck := s.settle(ctx); stuck != nil { // nothing of it may come late, when the name is given out again
		err = fmt.Errorf("%w; and its session could not be ended: %w", err, stuck)
	}
	return d.fail(op, dropClass(err), err)
}

// dropClass is classOf for errors that are not the server's own, too.
func dropClass(err error) plugins.Class {
	var own refusal
	if errors.As(err, &own) {
		return plugins.Refused
	}
	return classOf(err)
}

// refusal is an error of ours that says that the user, or a session of it, is still there.
type refusal string

func (r refusal) Error() string { return string(r) }

// fillOwn puts the values into revocation statements.
func (s *session) fillOwn(name string, statements []string) ([]string, error) {
	parsed, err := parse(statements, s.mode)
	if err != nil {
		return nil, err
	}
	var filled []string
	for _, one := range parsed {
		sql, err := fillStatement(sqltext.Values{"name": name, "username": name}, one, s.mode)
		if err != nil {
			return nil, err
		}
		filled = append(filled, sql)
	}
	return filled, nil
}

// drop is the default revocation.
func (s *session) drop(ctx context.Context, name string) error {
	for attempt := 0; len(s.accounts) > 0; attempt++ {
		accounts := list(s.accounts)
		// Crash: the account stays locked until the next attempt. Servers that know no locks refuse the statement, and that others
		// can't do it shows at the drop.
		if err := s.exec(ctx, "ALTER USER "+accounts+" ACCOUNT LOCK"); err != nil && !answered(err) {
			return err
		}
		if err := s.endSessions(ctx, name); err != nil && !answered(err) && dropClass(err) != plugins.Refused {
			return err // else the drop has to be tried all the same
		}
		// Crash: some accounts are gone; the next attempt drops the others.
		failed := s.exec(ctx, "DROP USER "+accounts)
		if failed != nil && !answered(failed) {
			return failed
		}
		if err := s.look(ctx, name); err != nil {
			return err
		}
		switch {
		case len(s.accounts) == 0:
		case failed != nil && (numberOf(failed) != errAccountFailed || attempt > 0): // else somebody else dropped one of them
			return failed
		case attempt > 0:
			return refusal("a user of that name was made again")
		}
	}
	return s.endSessions(ctx, name)
}

// dropByStatements is the custom revocation.
func (s *session) dropByStatements(ctx context.Context, name string, statements []string) error {
	var missed, failed error
	for _, sql := range statements {
		// Crash: what was answered stays so; the next attempt runs all of them again.
		err := s.exec(ctx, sql)
		if aboutNobody(err) {
			missed = err
			continue
		}
		if failed = err; failed != nil {
			break
		}
	}
	if failed == nil {
		failed = s.commit(ctx)
	}
	if failed != nil && !answered(failed) {
		return failed
	}
	if err := s.look(ctx, name); err != nil {
		return err
	}
	switch {
	case len(s.accounts) > 0 && failed == nil && missed == nil:
		return refusal("the user is still there after the revocation statements")
	case len(s.accounts) > 0 && failed == nil:
		return missed
	case len(s.accounts) > 0, failed != nil && classOf(failed) != plugins.Permanent:
		return failed // the same statements may well succeed the next time, and may have had other work to do
	}
	return s.endSessions(ctx, name)
}

// endSessions returns when the user has no sessions. It asks once when there are none.
func (s *session) endSessions(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionsTimeout, refusal("the user's sessions do not end"))
	defer cancel()
	return wait(ctx, func() (bool, error) {
		ids, err := s.sessions(ctx, name)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if err := s.kill(ctx, id); err != nil {
				return false, err
			}
		}
		return len(ids) == 0, nil
	})
}

func (s *session) sessions(ctx context.Context, name string) (ids []int64, err error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = "+quoteBytes(name))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id sql.NullInt64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id.Int64)
	}
	return ids, rows.Err()
}

// kill ends a session. One that is gone is a success.
func (s *session) kill(ctx context.Context, id int64) error {
	var denied error
	for _, killer := range killers {
		err := s.exec(ctx, fmt.Sprintf(killer, id))
		switch number := numberOf(err); {
		case err == nil || number == errNoSuchThread:
			return nil
		case denied == nil && (number == errNotOwner || number == errAccessDenied):
			denied = fmt.Errorf("%w: the connection's user needs CONNECTION ADMIN to end the sessions of users", err)
		case denied == nil || !answered(err):
			return err
		}
	}
	return denied
}
