package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
)

// maxStatements is how many statements a session keeps prepared. The program has fewer; the bound is for statements
// that are put together at run time.
const maxStatements = 500

// session is one connection of an embedded dialect with the statements that were prepared on it. It serves one
// transaction at a time.
type session struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

func newSession(ctx context.Context, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, statements: map[string]*sql.Stmt{}}, nil
}

func (s *session) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
	if stmt, ok := s.statements[q]; ok {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(s.statements) >= maxStatements {
		if err := s.closeStatements(); err != nil {
			return nil, err
		}
	}
	s.statements[q] = stmt
	return stmt, nil
}

func (s *session) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *session) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *session) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	stmt, err := s.prepared(ctx, q)
	if err != nil {
		return s.conn.QueryRowContext(ctx, q, args...) // fails in the same way, and puts it into a Row
	}
	return stmt.QueryRowContext(ctx, args...)
}

// do runs a statement that begins or ends something.
func (s *session) do(q string) error {
	_, err := s.ExecContext(context.Background(), q)
	return err
}

func (s *session) closeStatements() error {
	var errs error
	for q, stmt := range s.statements {
		errs = errors.Join(errs, stmt.Close())
		delete(s.statements, q)
	}
	return errs
}

func (s *session) close() error {
	return errors.Join(s.closeStatements(), s.conn.Close())
}

// discard ends the connection, whatever state it is in.
func (s *session) discard() {
	_ = s.closeStatements()
	// The pool closes a connection that its user calls bad, and the error is the one given here.
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
}

// readers are the idle sessions that cannot write. The one used last is used next, as its cache is warm.
type readers struct {
	db *sql.DB

	mu   sync.Mutex
	idle []*session // guarded by mu
}

func (r *readers) take() (*session, error) {
	r.mu.Lock()
	last := len(r.idle) - 1
	if last < 0 {
		r.mu.Unlock()
		return newSession(context.Background(), r.db)
	}
	s := r.idle[last]
	r.idle = r.idle[:last]
	r.mu.Unlock()
	return s, nil
}

func (r *readers) put(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, s)
}

func (r *readers) close() error {
	r.mu.Lock()
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	var errs error
	for _, s := range idle {
		errs = errors.Join(errs, s.close())
	}
	return errs
}
