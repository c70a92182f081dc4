package mssql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"leasehold/plugins"
	"leasehold/plugins/sqltext"
)

// attempts are how often a drop begins anew when another of the same user, or a session that was just coming in, got in its way.
const attempts = 3

// DropUser removes the login: it is disabled, so that nobody logs in any more; its sessions are killed; its users are dropped in every
// database that the connection's user can enter, schemas, roles and objects of theirs going to dbo or to their schema's owner; the
// login is dropped; and it is looked that it is gone. It stays disabled when a step fails; every database is tried all the same. A
// login that does not exist is a success.
//
// A user of a contained database is denied CONNECT instead, and is in the one database.
//
// With statements those run instead, outside a transaction, all of them; the user must be gone then. That a statement fails for want
// of the user does no harm. When one fails because the login is connected, it is disabled, its sessions are killed, and they run again.
//
// Two calls for the same user do not disturb each other.
func (d *Database) DropUser(ctx context.Context, name string, statements []string) error {
	const op = "drop user"
	switch {
	case strings.EqualFold(name, d.user):
		return d.fail(op, plugins.Permanent, errors.New("the connection's own user can't be dropped"))
	case checkName(name) != nil:
		return nil // no user can have this name
	}
	s, err := d.begin(ctx, op, name)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if err := s.manages(); err != nil { // else everybody would be gone
		return d.fail(op, plugins.Refused, err)
	}
	if len(statements) == 0 && s.sid == nil {
		return nil
	}
	own := script{}
	if len(statements) > 0 {
		if own, err = renderOwn(name, statements); err != nil {
			return d.fail(op, plugins.Permanent, err)
		}
	}
	if len(own.statements) > 0 {
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

// dropClass takes into account that the server says the same when something is not there and when it may not be touched.
func dropClass(err error) plugins.Class {
	if class := classOf(err); class != plugins.Permanent || is(err, errCannotFind) {
		return min(class, plugins.Refused)
	}
	return plugins.Permanent
}

// renderOwn puts the values into revocation statements. Empty ones are none.
func renderOwn(name string, statements []string) (script, error) {
	var made script
	var err error
	if made.parsed, err = parse(statements); err != nil {
		return made, err
	}
	for _, one := range made.parsed {
		sql, err := fillStatement(sqltext.Values{"name": name, "username": name}, one)
		if err != nil {
			return made, err
		}
		made.statements = append(made.statements, sql)
	}
	return made, nil
}

// drop is the default revocation.
func (s *session) drop(ctx context.Context, name string) error {
	var failed error
	for range attempts {
		if s.sid == nil {
			return nil
		}
		if s.d.contained {
			failed = s.dropContained(ctx, name)
		} else {
			failed = s.dropLogin(ctx, name)
		}
		if failed != nil && !answered(failed) && classOf(failed) != plugins.Refused {
			return failed
		}
		if err := errors.Join(s.goHome(ctx), s.look(ctx, name)); err != nil {
			return err
		}
		if s.sid == nil {
			return nil
		}
		if failed != nil && !is(failed, errLoggedIn, errCannotFind, errDeadlock) {
			return failed
		}
	}
	if failed == nil {
		failed = refusal("a user of that name was made again")
	}
	return failed
}

// dropLogin is one attempt. A step that is answered with no does not keep the next from being tried, but for the last: a session that
// cannot be killed loses its users at least.
func (s *session) dropLogin(ctx context.Context, name string) error {
	var failed []error
	// Crash: the login stays disabled until the next attempt.
	for _, step := range []func() error{
		func() error { return s.exec(ctx, "ALTER LOGIN "+quoteName(name)+" DISABLE") },
		func() error { return s.endSessions(ctx, name, s.sid) },
	} {
		err := step()
		if classOf(err) == plugins.Unknown && err != nil {
			return err
		}
		failed = append(failed, err)
	}
	databases, err := s.names(ctx, "SELECT name FROM sys.databases WHERE state = 0 AND is_read_only = 0 AND HAS_DBACCESS(name) = 1 ORDER BY name")
	if err != nil {
		return err
	}
	for _, database := range databases {
		// Crash: some databases have no such user any more; the next attempt finds the others.
		err := s.dropInDatabase(ctx, database, s.sid)
		switch {
		case err != nil && !answered(err):
			return err
		case err != nil:
			failed = append(failed, fmt.Errorf("in database %s: %w", quoteName(database), err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := s.goHome(ctx); err != nil {
		return err
	}
	err = s.exec(ctx, "DROP LOGIN "+quoteName(name))
	if is(err, errLoggedIn) && s.maySee.Valid && s.maySee.Int64 == 0 {
		return fmt.Errorf("%w: the connection's user needs VIEW SERVER STATE to see the sessions of users, and ALTER ANY CONNECTION to end them", err)
	}
	return err
}

// dropContained is one attempt.
func (s *session) dropContained(ctx context.Context, name string) error {
	sid := s.sid
	// Crash: the user stays without CONNECT until the next attempt. That it can't be taken away shows at the drop.
	if err := s.exec(ctx, "DENY CONNECT TO "+quoteName(name)); err != nil && !answered(err) {
		return err
	}
	if err := s.endSessions(ctx, name, sid); err != nil && !answered(err) && classOf(err) != plugins.Refused {
		return err // else the drop has to be tried all the same
	}
	if err := s.dropDatabaseUser(ctx, name); err != nil {
		return err
	}
	return s.endSessions(ctx, name, sid) // those that came in before the first step
}

// dropByStatements is the custom revocation.
func (s *session) dropByStatements(ctx context.Context, name string, own script) error {
	s.prepare(own)
	sid := s.sid
	failed := s.runAll(ctx, own)
	if is(failed, errLoggedIn) {
		if err := s.exec(ctx, "ALTER LOGIN "+quoteName(name)+" DISABLE"); err != nil && !answered(err) {
			return err
		}
		if err := s.endSessions(ctx, name, sid); err != nil {
			return err
		}
		failed = s.runAll(ctx, own)
	}
	if failed != nil && !answered(failed) {
		return failed
	}
	if err := errors.Join(s.goHome(ctx), s.look(ctx, name)); err != nil {
		return err
	}
	switch {
	case s.sid != nil && failed == nil:
		return refusal("the user is still there after the revocation statements")
	case s.sid != nil:
		return failed
	case failed != nil && classOf(failed) != plugins.Permanent && !is(failed, errNoLogin, errCannotFind):
		return failed // the same statements may well succeed the next time, and may have had other work to do
	}
	if sid == nil {
		return nil
	}
	return s.endSessions(ctx, name, sid)
}

// runAll runs all statements, whatever the server says to some, and returns to what it said no.
func (s *session) runAll(ctx context.Context, own script) error {
	var failed []error
	for _, sql := range own.statements {
		// Crash: what was answered stays so; the next attempt runs all of them again.
		err := s.exec(ctx, sql)
		if err != nil && !answered(err) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if err := s.goHome(ctx); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// endSessions returns when the user has no sessions that can be seen. It asks once when there are none.
func (s *session) endSessions(ctx context.Context, name string, sid []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionsTimeout, refusal("the user's sessions do not end"))
	defer cancel()
	// A session is one of the user's also while it acts as another, by EXECUTE AS.
	names := "(login_name = " + quoteText(name) + " OR original_login_name = " + quoteText(name) + ")"
	query := "SELECT session_id FROM sys.dm_exec_sessions WHERE session_id <> @@SPID AND "
	if s.d.contained { // their sessions may show the SID in place of the name; and a login may have the same name
		query += fmt.Sprintf("(security_id = 0x%X OR original_security_id = 0x%[1]X OR authenticating_database_id = DB_ID() AND %s)", sid, names)
	} else {
		query += names
	}
	return wait(ctx, func() (bool, error) {
		ids, err := s.numbers(ctx, query)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if err := allowGone(s.exec(ctx, killing(id))); err != nil {
				return false, err
			}
		}
		return len(ids) == 0, nil
	})
}
