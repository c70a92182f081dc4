package mssql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"time"

	"leasehold/internal/clock"
)

const (
	// undoTimeout is for ending a session and undoing what it did, after the caller's own time is over.
	undoTimeout = 10 * time.Second

	// poll is how often it is looked whether killed sessions are gone.
	poll = 20 * time.Millisecond

	// sessionsTimeout is how long a call waits for that.
	sessionsTimeout = 10 * time.Second
)

// masterID is the number of the database that knows the logins.
const masterID = 1

// session is one connection for the statements of one call.
type session struct {
	d    *Database
	conn *sql.Conn

	id      int64          // of the connection, on its server
	since   string         // when it logged in: numbers are given out again
	server  sql.NullString // which one that is
	home    string         // the database that the connection logged in to
	isLogin bool           // the connection logged in by a login of the server, not by a user of a contained database

	mayManage sql.NullInt64 // 0: it may neither see nor drop others' logins or users
	maySee    sql.NullInt64 // 0: it sees no sessions but its own

	sid []byte // of the call's user, when it was looked for last; nil: there is none

	ran   int  // operators' statements that were answered with yes
	lost  bool // a statement is, or was last, on its way without an answer
	dirty bool // operators' statements may have left something in the session
	moved bool // it may be in another database
}

// begin takes a connection, has the server give up waiting for locks a tenth before the caller's time is over, and looks for a user,
// unless the name is empty. It changes nothing, so an error that is not an answer is Unreachable.
func (d *Database) begin(ctx context.Context, op, name string) (*session, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, d.turnedAway(op, err)
	}
	s := &session{d: d, conn: conn}
	err = s.open(ctx)
	if err == nil && name != "" {
		err = s.look(ctx, name)
	}
	if err != nil {
		s.lost = s.lost || !answered(err)
		s.close(ctx)
		return nil, d.fail(op, lookClass(err), err)
	}
	return s, nil
}

func (s *session) open(ctx context.Context) error {
	timeout := "-1" // none
	if deadline, ok := ctx.Deadline(); ok {
		timeout = fmt.Sprint(max(deadline.Sub(clock.System{}.Now())*9/10, time.Millisecond).Milliseconds())
	}
	if err := s.exec(ctx, "SET LOCK_TIMEOUT "+timeout); err != nil {
		return err
	}
	right := "HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')"
	if s.d.contained {
		right = "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'ALTER ANY USER')"
	}
	return s.query(ctx, "SELECT @@SPID, @@SERVERNAME, DB_NAME(), CONVERT(nvarchar(30), login_time, 121), authenticating_database_id, DB_ID(), "+right+
		", HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') FROM sys.dm_exec_sessions WHERE session_id = @@SPID", func(rows *sql.Rows) error {
		var authenticating, here sql.NullInt64
		err := rows.Scan(&s.id, &s.server, &s.home, &s.since, &authenticating, &here, &s.mayManage, &s.maySee)
		s.isLogin = authenticating != here || here.Int64 == masterID
		return err
	})
}

// look looks whether there is a user of the name.
func (s *session) look(ctx context.Context, name string) error {
	s.sid = nil
	query := "SELECT sid FROM " + s.d.principals() + " WHERE name = " + quoteText(name) + " AND type = 'S'"
	if s.d.contained {
		query += fmt.Sprintf(" AND principal_id > %d", lastOwn)
	}
	return s.query(ctx, query, func(rows *sql.Rows) error { return rows.Scan(&s.sid) })
}

// manages is an error when the connection's user cannot see what it has to look for: then nobody would be there.
func (s *session) manages() error {
	switch {
	case !s.mayManage.Valid || s.mayManage.Int64 != 0:
		return nil
	case s.d.contained:
		return errors.New("the connection's user needs ALTER ANY USER in the database")
	}
	return errors.New("the connection's user needs ALTER ANY LOGIN")
}

// exec runs what is sent at once, and sends it once.
func (s *session) exec(ctx context.Context, sql string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	within, done := cancellable(ctx)
	defer done()
	_, err := s.conn.ExecContext(within, sql)
	return s.note(ctx, err)
}

// note remembers whether a statement was answered.
func (s *session) note(ctx context.Context, err error) error {
	if s.lost = err != nil && !answered(err); s.lost && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// cancellable is ctx without its deadline: it is cancelled at that moment instead. The driver gives up a connection for a deadline, which
// it takes for one of the network's; after a cancellation that the server confirmed, the session can be asked to roll back.
func cancellable(ctx context.Context) (context.Context, func()) {
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return within, func() {
		stop()
		cancel()
	}
}

// query runs a query that changes nothing.
func (s *session) query(ctx context.Context, query string, each func(rows *sql.Rows) error) error {
	within, done := cancellable(ctx)
	defer done()
	rows, err := s.conn.QueryContext(within, query)
	if err == nil {
		for err == nil && rows.Next() {
			err = each(rows)
		}
		err = errors.Join(err, rows.Err(), rows.Close())
	}
	return s.note(ctx, err)
}

// names runs a query for names.
func (s *session) names(ctx context.Context, query string) (names []string, err error) {
	err = s.query(ctx, query, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// enter goes to another database, until the session is closed.
func (s *session) enter(ctx context.Context, database string) error {
	s.moved = true
	return s.exec(ctx, "USE "+quoteName(database))
}

// goHome goes back to the database that the connection logged in to.
func (s *session) goHome(ctx context.Context) error {
	if !s.moved {
		return nil
	}
	err := s.enter(ctx, s.home)
	s.moved = err != nil
	return err
}

var (
	// aboutUsers are statements that leave nothing behind in the session but its database.
	aboutUsers = regexp.MustCompile(`(?i)^(?:(?:create|alter|drop)\s+(?:login|user|role|server\s+role|schema)|grant|revoke|deny|use|` +
		`exec(?:ute)?\s+(?:sys\.)?sp_(?:addrolemember|droprolemember|addsrvrolemember|dropsrvrolemember))\b`)

	uses = regexp.MustCompile(`(?i)\b(?:use|exec|execute)\b`)
)

// prepare notes what operators' statements may leave behind.
func (s *session) prepare(script script) {
	for _, one := range script.parsed {
		words := one.Words()
		s.dirty = s.dirty || !aboutUsers.MatchString(words)
		s.moved = s.moved || uses.MatchString(words)
	}
}

// close gives the connection back as it was. One that may have something left in it is closed, which undoes what was not committed.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if s.dirty || s.lost || s.goHome(ctx) != nil {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

// settle returns when nothing of the session is at work in the server any more, and what it had not committed is undone.
//
// It has its own time: a caller who has given up must not leave a statement behind.
func (s *session) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := s.exec(ctx, "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
	if err == nil || answered(err) {
		return err
	}
	s.close(ctx)
	other, err := s.d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	look := fmt.Sprintf("SELECT @@SERVERNAME, HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), (SELECT COUNT(*) FROM sys.dm_exec_sessions"+
		" WHERE session_id = %d AND CONVERT(nvarchar(30), login_time, 121) = %s)", s.id, quoteText(s.since))
	return wait(ctx, func() (bool, error) {
		var server sql.NullString
		var maySee sql.NullInt64
		var there int
		if err := other.QueryRowContext(ctx, look).Scan(&server, &maySee, &there); err != nil {
			return false, err
		}
		switch {
		case server != s.server:
			return false, errors.New("the server of the session cannot be asked any more")
		case there == 0 && maySee.Valid && maySee.Int64 == 0:
			return false, errors.New("the connection's user needs VIEW SERVER STATE to see whether a session has ended")
		case there == 0:
			return true, nil
		}
		_, err := other.ExecContext(ctx, killing(s.id))
		return false, allowGone(err)
	})
}

func killing(id int64) string { return fmt.Sprintf("KILL %d", id) }

// allowGone passes over that a session that is to be killed is gone, or going.
func allowGone(err error) error {
	switch {
	case is(err, errNotActive, errNoStatus):
		return nil
	case is(err, errKillRight):
		return fmt.Errorf("%w: the connection's user needs ALTER ANY CONNECTION to end the sessions of users", err)
	}
	return err
}

// wait asks until the answer is yes.
func wait(ctx context.Context, ask func() (bool, error)) error {
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		if done, err := ask(); err != nil || done {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
