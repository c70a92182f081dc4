package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// maxBatch is how many Updates share a commit at most, so that the first of them is not kept waiting for long.
const maxBatch = 256

// writer lets the Updates of an embedded dialect write one after the other, and share commits.
//
//	take --> begin, or savepoint --> fn --> release, or rollback to --> pass
//	  ^                                                                  |
//	  +------ the next one that waits takes over the transaction --------+
//	                                                                     | nobody waits, or the batch is full
//	                                                                  commit --> all of the batch return
//
// Each function runs in the goroutine of its caller, which has "the turn" meanwhile: a panic or a Goexit there ends
// that Update and no other. Nobody returns before the commit, not even with an error of its own, as what it saw may be
// another's work that is not durable yet.
type writer struct {
	db     *sql.DB
	last   *atomic.Int64                             // the store's
	finish func(updates int, end func() error) error // ends a transaction, and tells of it

	mu     sync.Mutex
	busy   bool    // guarded by mu: somebody has the turn
	queue  []*turn // guarded by mu
	closed bool    // guarded by mu

	// What follows belongs to whoever has the turn.
	session *session // nil until the first batch, and after a failure that only a new connection mends
}

// turn is the place of a waiting Update in the queue. ready has room for the one batch that is sent.
type turn struct{ ready chan *batch }

// batch is the transaction that some Updates share.
type batch struct {
	members int
	kept    int   // of them, those whose part was kept
	open    bool  // there is a transaction
	broken  error // the transaction was rolled back as a whole

	done chan struct{} // closed when it has ended
	err  error         // set before done is closed
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func newWriter(db *sql.DB, last *atomic.Int64, finish func(updates int, end func() error) error) *writer {
	return &writer{db: db, last: last, finish: finish}
}

// take waits for the turn, and returns the batch to join. Whoever gets one must pass it on.
func (w *writer) take(ctx context.Context) (*batch, error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, errClosed
	}
	if !w.busy {
		w.busy = true
		w.mu.Unlock()
		return newBatch(), nil
	}
	mine := &turn{ready: make(chan *batch, 1)}
	w.queue = append(w.queue, mine)
	w.mu.Unlock()

	select {
	case b := <-mine.ready:
		if b == nil {
			return nil, errClosed
		}
		return b, nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	at := slices.Index(w.queue, mine)
	if at >= 0 {
		w.queue = slices.Delete(w.queue, at, at+1)
	}
	w.mu.Unlock()
	if at < 0 { // the turn came in the same moment
		if b := <-mine.ready; b != nil {
			w.pass(b)
		}
	}
	return nil, ctx.Err()
}

// next takes the first of the queue, or nil.
func (w *writer) next() *turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	first := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1)
	return first
}

// pass hands the turn on: with the batch, when another waits to join it, else with a new one after the commit.
func (w *writer) pass(b *batch) {
	if b.open && b.broken == nil && b.members < maxBatch {
		next := w.next()
		if next == nil {
			// Those whom the last commit has just woken are about to come back.
			runtime.Gosched()
			next = w.next()
		}
		if next != nil {
			next.ready <- b
			return
		}
	}
	b.err = w.commit(b)
	close(b.done)

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.busy = false
		return
	}
	w.queue[0].ready <- newBatch()
	w.queue = slices.Delete(w.queue, 0, 1)
}

// enter begins the batch's transaction or, inside one, a member's part of it.
func (w *writer) enter(b *batch) (first bool, err error) {
	b.members++
	if b.open {
		return false, w.session.do("savepoint member")
	}
	if w.session == nil {
		if w.session, err = newSession(context.Background(), w.db); err != nil {
			return true, err
		}
	}
	if err := w.session.do("begin immediate"); err != nil {
		w.abandon()
		return true, err
	}
	b.open = true
	return true, nil
}

// leave keeps a member's part.
func (w *writer) leave(b *batch, first bool) error {
	b.kept++
	if first {
		return nil
	}
	if err := w.session.do("release member"); err != nil {
		w.breakUp(b, err)
		return err
	}
	return nil
}

// undo rolls a member's part back, and nothing else if that can be. failed is the statement that failed in it, if any.
func (w *writer) undo(b *batch, first bool, failed error) {
	if first {
		w.rollback()
		b.open = false
		return
	}
	if err := errors.Join(w.session.do("rollback to member"), w.session.do("release member")); err != nil {
		// After some errors, a full disk for one, SQLite rolls back the whole transaction.
		w.breakUp(b, errors.Join(failed, err))
	}
}

func (w *writer) breakUp(b *batch, cause error) {
	b.broken = cause
	w.rollback()
	b.open = false
}

// rollback ends the transaction. When that fails, as it does when SQLite has ended it already, the connection goes.
func (w *writer) rollback() {
	if w.session.do("rollback") != nil {
		w.abandon()
	}
}

func (w *writer) abandon() {
	w.session.discard()
	w.session = nil
}

// commit ends the batch's transaction.
func (w *writer) commit(b *batch) error {
	if b.broken != nil {
		// As text: the error of one member is not to be taken for another's.
		return fmt.Errorf("the transaction was rolled back: %v", b.broken)
	}
	if !b.open {
		return nil
	}
	err := w.finish(b.kept, func() error {
		// The store's time does not go back either when the clock was set back between two runs.
		_, err := w.session.ExecContext(context.Background(), `update store_meta set value = $1 where name = 'last_commit'`,
			strconv.FormatInt(w.last.Load(), 10))
		if err != nil {
			return err
		}
		return w.session.do("commit")
	})
	if err != nil {
		w.rollback()
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// close waits for the turn, fails those who wait behind it, and ends the connection.
func (w *writer) close() error {
	b, err := w.take(context.Background())
	if err != nil {
		return nil // closed before
	}
	defer close(b.done)
	if b.open {
		b.err = w.commit(b)
	}
	w.mu.Lock()
	w.closed = true
	for _, waiting := range w.queue {
		waiting.ready <- nil
	}
	w.queue = nil
	w.mu.Unlock()
	if w.session == nil {
		return nil
	}
	err = w.session.close()
	w.session = nil
	return err
}
