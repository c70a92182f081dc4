package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"leasehold/internal/clock"
)

const (
	// undoTimeout is for ending a session and undoing what it did, after the caller's own time is over.
	undoTimeout = 10 * time.Second

	// poll is how often it is looked whether ended sessions are gone.
	poll = 10 * time.Millisecond

	// sessionsTimeout is how long a call waits for that.
	sessionsTimeout = 10 * time.Second
)

// session is one connection for the statements of one call.
type session struct {
	d    *Database
	conn *sql.Conn

	id       int64  // of the connection, on its server
	server   string // which one that is
	maria    bool
	version  string
	mode     mode
	self     account   // that the connection logged in to
	accounts []account // of the call's user, when they were looked for last

	sent  bool // a statement is, or was last, on its way without an answer
	dirty bool // operators' statements may have left something in the session
}

// account is a user at one host part.
type account struct{ name, host string }

func (a account) String() string { return quoteName(a.name) + "@" + quoteName(a.host) }

func list(accounts []account) string {
	var texts []string
	for _, a := range accounts {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// begin takes a connection and looks what there is of a user: one round trip. It changes nothing, so an error that is not an
// answer is Unreachable.
func (d *Database) begin(ctx context.Context, op, name string) (*session, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, d.turnedAway(op, err)
	}
	s := &session{d: d, conn: conn}
	if err := s.open(ctx, name); err != nil {
		s.close()
		return nil, d.fail(op, lookClass(err), readable(err))
	}
	return s, nil
}

func (s *session) open(ctx context.Context, name string) error {
	rows, err := s.conn.QueryContext(ctx, "SELECT CONNECTION_ID(), CONCAT(@@hostname, ':', @@port), VERSION(), @@sql_mode, CURRENT_USER(), u.Host"+
		" FROM (SELECT 1) one LEFT JOIN mysql.user u ON u.User = "+quoteBytes(name))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var sqlMode, self string
		var host sql.NullString
		if err := rows.Scan(&s.id, &s.server, &s.version, &sqlMode, &self, &host); err != nil {
			return err
		}
		if at := strings.LastIndexByte(self, '@'); at >= 0 {
			s.self = account{self[:at], self[at+1:]}
		}
		s.mode = parseMode(sqlMode)
		if host.Valid {
			s.accounts = append(s.accounts, account{name, host.String})
		}
	}
	s.maria = strings.Contains(s.version, "MariaDB")
	return rows.Err()
}

// look looks again what accounts the user has.
func (s *session) look(ctx context.Context, name string) error {
	s.accounts = nil
	rows, err := s.conn.QueryContext(ctx, "SELECT Host FROM mysql.user WHERE User = "+quoteBytes(name))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		a := account{name: name}
		if err := rows.Scan(&a.host); err != nil {
			return err
		}
		s.accounts = append(s.accounts, a)
	}
	return rows.Err()
}

// bound has the server give up a tenth before the caller's time is over. own are the operator's statements: when one is about
// more than users and rights, what it does to tables is one transaction as far as the server can.
func (s *session) bound(ctx context.Context, own []string) error {
	locks, work := "DEFAULT", "DEFAULT" // a former call's may be there
	if deadline, ok := ctx.Deadline(); ok {
		left := max(deadline.Sub(clock.System{}.Now())*9/10, time.Millisecond)
		locks, work = fmt.Sprint(max(int(left/time.Second), 1)), fmt.Sprintf("%.3f", left.Seconds())
	}
	set := "SET SESSION lock_wait_timeout = " + locks
	if s.maria {
		set += ", SESSION max_statement_time = " + work
	}
	for _, sql := range own {
		if !aboutUsers.MatchString(sql) {
			s.dirty = true
		}
	}
	if s.dirty {
		set += ", SESSION autocommit = 0"
	}
	return s.exec(ctx, set)
}

// aboutUsers are statements that leave nothing behind in the session, and that the server commits by itself.
var aboutUsers = regexp.MustCompile(`(?i)^(?:(?:create|alter|drop|rename)\s+(?:user|role)|grant|revoke|flush\s+privileges)\b`)

// exec runs one statement, once.
func (s *session) exec(ctx context.Context, sql string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.sent = true
	_, err := s.conn.ExecContext(ctx, sql)
	s.sent = err != nil && numberOf(err) == 0
	return err
}

// commit ends the transaction of operators' statements.
func (s *session) commit(ctx context.Context) error {
	if !s.dirty {
		return nil
	}
	return s.exec(ctx, "COMMIT")
}

// close gives the connection back. One with something left in it is closed, which undoes what was not committed.
func (s *session) close() {
	if s.dirty || s.sent {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

// settle returns when nothing of the session is at work in the server any more. Afterwards the session is closed.
//
// It has its own time: a caller who has given up must not leave a statement behind.
func (s *session) settle(ctx context.Context) error {
	s.close()
	if !s.sent {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	other, err := s.d.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	// A server that was started again meanwhile may have given the number to another connection; of ours, in the worst case.
	look := fmt.Sprintf("SELECT CONCAT(@@hostname, ':', @@port), (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %d AND USER = %s)",
		s.id, quoteBytes(s.d.user))
	return wait(ctx, func() (bool, error) {
		var server string
		var there int
		if err := other.QueryRowContext(ctx, look).Scan(&server, &there); err != nil {
			return false, err
		}
		switch {
		case server != s.server:
			return false, errors.New("the server of the session cannot be asked any more")
		case there == 0:
			return true, nil
		}
		_, err := other.ExecContext(ctx, fmt.Sprintf("KILL CONNECTION %d", s.id))
		if numberOf(err) == errNoSuchThread {
			err = nil
		}
		return false, err
	})
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
