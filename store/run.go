package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// errClosed is the end of an Update that began after Close.
var errClosed = errors.New("the store is closed")

// View runs fn on a read-only snapshot, once.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	select {
	case s.views <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.views }()
	if s.readers == nil {
		return s.runRemote(ctx, s.read, readOnly, fn)
	}
	session, err := s.readers.take()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	sound := false
	defer func() {
		if sound {
			s.readers.put(session)
		} else { // also when fn panicked
			session.discard()
		}
	}()
	if err := session.do("begin"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	tx := s.newTx(ctx, session, s.clock.Now())
	defer tx.closeRows()
	err = tx.outcome(fn(tx))
	tx.closeRows()
	sound = session.do("rollback") == nil
	return err
}

var readOnly = &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}

// Claim is Update for work that takes rows by [Tx.ClaimSuffix], or changes rows by their keys and versions: each statement
// sees what others have committed until then, and waits for nobody who merely reads. What fn decides on may have changed
// when it writes, so each write repeats its condition.
func (s *Store) Claim(ctx context.Context, fn func(*Tx) error) error {
	if s.writer == nil {
		return s.updateRemote(ctx, sql.LevelReadCommitted, fn)
	}
	return s.Update(ctx, fn)
}

// Update runs fn in a serialisable transaction, and returns once it is durable. fn may run again: no I/O in it but tx,
// and no change to captured variables that is not undone at its top; on SQLite an Update inside it would wait for
// itself. Calls that wait at the same moment may share a commit.
//
// An error means that nothing was changed, save one that comes from the commit itself: when the disk or the connection
// fails just then, nobody can tell.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	if s.writer == nil {
		return s.updateRemote(ctx, sql.LevelSerializable, fn)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	batch, err := s.writer.take(ctx)
	if err != nil {
		return err
	}
	tx, err := s.updateMember(ctx, batch, fn)
	<-batch.done
	switch {
	case batch.err != nil:
		return batch.err
	case err != nil:
		return err
	}
	for _, fn := range tx.after {
		fn()
	}
	return nil
}

// updateMember does one Update's part of a batch, and passes the turn on.
func (s *Store) updateMember(ctx context.Context, b *batch, fn func(*Tx) error) (_ *Tx, err error) {
	w := s.writer
	defer w.pass(b)
	first, err := w.enter(b)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	tx := s.newTx(ctx, w.session, s.clock.Now())
	s.last.Store(tx.now.UnixMicro())
	kept := false
	defer func() {
		tx.closeRows()
		if kept {
			err = w.leave(b, first)
		} else { // also when fn panicked
			w.undo(b, first, tx.err)
		}
	}()
	if err = tx.outcome(fn(tx)); err != nil {
		return nil, err
	}
	kept = true
	return tx, nil
}

// updateRemote runs fn until it does not collide with another transaction.
//
// Whoever has collided waits for its node's others that have, and runs again without them: many that want the same rows
// would otherwise keep each other from ever finishing.
func (s *Store) updateRemote(ctx context.Context, isolation sql.IsolationLevel, fn func(*Tx) error) error {
	const attempts = 40
	opts := &sql.TxOptions{Isolation: isolation}
	err := s.runRemote(ctx, s.write, opts, fn)
	if err == nil || !s.dialect.Retryable(err) {
		return err
	}
	s.collided()
	select {
	case s.again <- struct{}{}:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), err)
	}
	defer func() { <-s.again }()
	for attempt := 2; attempt <= attempts; attempt++ {
		if err = s.runRemote(ctx, s.write, opts, fn); err == nil || !s.dialect.Retryable(err) {
			return err
		}
		s.collided()
		// 0 to 4 ms, then up to 8, 16 ... 128 ms: other nodes do the same.
		pause := time.NewTimer(rand.N(time.Millisecond << min(attempt, 7)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
	return fmt.Errorf("gave up after %d collisions: %w", attempts, err)
}

// remotePatience is how long one transaction of a database server may take. Nothing is waited for inside one, so that only a
// server that hangs comes near it.
const remotePatience = 30 * time.Second

// runRemote runs fn in a transaction of a database server.
func (s *Store) runRemote(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, remotePatience)
	defer cancel()
	sqlTx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = sqlTx.Rollback() }() // after a commit this does nothing
	now, err := s.dialect.Now(ctx, sqlTx)
	if err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	tx := s.newTx(ctx, sqlTx, now)
	err = tx.outcome(fn(tx))
	tx.closeRows()
	if err != nil {
		// What fn made of a collision does not matter: it will run again.
		if tx.err != nil && s.dialect.Retryable(tx.err) {
			return tx.err
		}
		return err
	}
	if opts.ReadOnly {
		return nil
	}
	if err := s.commit(1, sqlTx.Commit); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for {
		last := s.last.Load()
		if tx.now.UnixMicro() <= last || s.last.CompareAndSwap(last, tx.now.UnixMicro()) {
			break
		}
	}
	for _, fn := range tx.after {
		fn()
	}
	return nil
}
