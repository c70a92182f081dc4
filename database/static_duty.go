package database

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/store"
)

const (
	// rotationBatch is how many due roles of one connection are read at a time.
	rotationBatch = 16

	// rotationWorkers is how many of them are rotated at once on one node.
	rotationWorkers = 4
)

// turns are the connections whose static roles, or own passwords, this node rotates now, and those that it could not reach. There are at
// most two entries for each connection.
type turns struct {
	mu     sync.Mutex
	busy   map[string]context.CancelFunc // ends the work, by connection id, after rootTurn where it is about its own password; guarded by mu
	parked map[string]parked             // guarded by mu
	work   sync.WaitGroup
}

// parked is a database that could not be reached.
type parked struct {
	until    time.Time // nobody tries before
	failures int
}

// The queries that run each second, whatever there is to do.
const (
	selectDueConnections = `SELECT c.id FROM database_connections c WHERE c.retired = 0
		AND EXISTS (SELECT 1 FROM database_rotations s WHERE s.connection = c.id AND s.due_at <= $1)`
	selectClaimants = `SELECT DISTINCT claimant FROM database_rotations WHERE claimant <> 0`
)

// rotateDue has the static roles rotated whose time has come, and returns without waiting. The cost is an index look-up for each
// connection, however many roles there are.
func (e *Engine) rotateDue(ctx context.Context) error {
	var due []string
	err := e.store.View(ctx, func(tx *store.Tx) error {
		due = nil
		rows, err := tx.Query(selectDueConnections, store.Micros(tx.Now()))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var connection string
			if err := rows.Scan(&connection); err != nil {
				return err
			}
			due = append(due, connection)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("look for static roles to rotate: %w", err)
	}
	for _, connection := range due {
		e.turns.start(ctx, e.clock.Now(), connection, e.rotateAll)
	}
	return nil
}

// Claimants are the numbers of the nodes that rotate static roles, for whoever knows which of them are alive.
func (e *Engine) Claimants(tx *store.Tx) (nodes []int64, err error) {
	rows, err := tx.Query(selectClaimants)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var node int64
		if err := rows.Scan(&node); err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, rows.Err()
}

// Died gives back what a node has claimed. What it sent to a database may still take effect.
func (e *Engine) Died(tx *store.Tx, node int64) error {
	_, err := tx.Exec(`UPDATE database_rotations SET due_at = $1, claimant = 0, claimed_until = 0,
			quiet_until = CASE WHEN claimed_until > quiet_until THEN claimed_until ELSE quiet_until END
		WHERE claimant = $2 AND claimant <> 0`, store.Micros(tx.Now()), node)
	return err
}

// start works at a connection behind the caller's back, unless somebody does, or it waits for its next probe.
func (t *turns) start(ctx context.Context, now time.Time, connection string, work func(ctx context.Context, connection string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[connection] != nil || t.parked[connection].until.After(now) {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	t.busy[connection] = stop
	t.work.Go(func() {
		defer func() {
			stop()
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.busy, connection)
		}()
		work(ctx, connection)
	})
}

// cancel has all work end with the rotations that it is at.
func (t *turns) cancel() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, stop := range t.busy {
		stop()
	}
}

// note remembers whether a database could be reached. It reports whether that is news.
func (t *turns) note(connection string, reached bool, now time.Time) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, was := t.parked[connection]
	if reached {
		delete(t.parked, connection)
		return was
	}
	p.failures++
	p.until = now.Add(min(firstPause<<min(p.failures-1, 10), firstRotationPause))
	t.parked[connection] = p
	return !was
}

// rotateAll rotates the due roles of one connection, until none is left or the database cannot be reached.
func (e *Engine) rotateAll(ctx context.Context, connection string) {
	for ctx.Err() == nil {
		batch, now, err := e.dueRoles(ctx, connection)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
				e.log.Error("due static roles could not be read", "connection", connection, "error", err)
			}
			return
		}
		var done, unreachable atomic.Int32
		var workers errgroup.Group
		workers.SetLimit(rotationWorkers)
		for _, m := range batch {
			if ctx.Err() != nil || unreachable.Load() > 0 {
				break
			}
			workers.Go(func() error {
				switch err := e.rotateIfDue(ctx, m, now); {
				case errors.Is(err, errOvertaken): // another node was faster
				case errors.Is(err, lease.ErrUnreachable):
					unreachable.Add(1)
				case err == nil, errs.From(err) != nil: // it is noted when it is tried again
					done.Add(1)
				case !errors.Is(err, store.ErrSealed):
					e.log.Error("rotate a static role that is due", "mount", m.mount, "role", m.name, "error", err)
				}
				return nil
			})
		}
		_ = workers.Wait()
		if len(batch) > 0 && (done.Load() > 0 || unreachable.Load() > 0) {
			reached := unreachable.Load() == 0
			if e.turns.note(connection, reached, e.clock.Now()) && !reached {
				e.log.Warn("a database cannot be reached; its static roles wait and it is probed", "connection", connection)
			}
		}
		if done.Load() == 0 || unreachable.Load() > 0 {
			return
		}
	}
}

const selectDueRoles = `SELECT ` + managedColumns + ` FROM database_rotations s JOIN database_roles r ON r.id = s.id
	WHERE s.connection = $1 AND s.due_at <= $2 ORDER BY s.due_at LIMIT $3`

// dueRoles reads some of what is due, the oldest first.
func (e *Engine) dueRoles(ctx context.Context, connection string) (due []*managed, now time.Time, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		due, now = nil, tx.Now()
		rows, err := tx.Query(selectDueRoles, connection, store.Micros(now), rotationBatch)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			m, err := scanManaged(tx, rows)
			if err != nil {
				return err
			}
			due = append(due, m)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, now, fmt.Errorf("read due static roles: %w", err)
	}
	return due, now, nil
}

// rotateIfDue rotates a due role, unless its window is over: then it waits for the next firing. What the database may have in part
// is finished all the same.
func (e *Engine) rotateIfDue(ctx context.Context, m *managed, now time.Time) error {
	if m.doubt || !m.role.Rhythm.missed(m.planned, now) {
		return e.rotateManaged(ctx, m, false)
	}
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		present, err := findManaged(tx, m.id)
		if err != nil {
			return err
		}
		if present == nil || present.version != m.version {
			return errOvertaken
		}
		if present.planned, err = present.role.Rhythm.after(tx.Now()); err != nil {
			return err
		}
		present.version, present.due, present.attempts = newVersion(), present.planned, 0
		return present.saveRotation(tx)
	})
	switch {
	case errors.Is(err, errOvertaken):
		return err
	case err != nil:
		return fmt.Errorf("plan static role %s anew: %w", m.id, err)
	}
	e.log.Warn("a static role was not rotated within its window; it waits for the next time", "mount", m.mount, "role", m.name, "error", m.failure)
	return nil
}
