package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"leasehold/internal/errs"
	"leasehold/store"
)

// Back-off of one lease: doubling from the first to the last, half of it random.
const (
	firstPause = time.Second
	lastPause  = 10 * time.Minute
)

// Back-off of a target that cannot be reached.
const (
	firstProbe = time.Second
	lastProbe  = time.Minute
)

// parking is a target that could not be reached. It is this process's own view: another may reach it.
type parking struct {
	until    time.Time
	failures int
}

// Reap starts work on every target that has something due and is not being worked at, and returns without waiting. A
// target that hangs or is down has no effect on the others: each has its own goroutine and claims.
//
// cron calls it each second; [Manager.Wake] says when to call it earlier. Both are hints: the rows are the truth.
func (m *Manager) Reap(ctx context.Context) error {
	due, now, err := m.dueTargets(ctx)
	if err != nil {
		return err
	}
	for _, target := range due {
		m.mu.Lock()
		free := !m.reaping[target] && !m.parked[target].until.After(now)
		if free {
			m.reaping[target] = true
			m.rounds.Add(1)
		}
		m.mu.Unlock()
		if free {
			go m.drain(ctx, target)
		}
	}
	return nil
}

// RunOnce is Reap, and waits until the started work is done.
func (m *Manager) RunOnce(ctx context.Context) error {
	err := m.Reap(ctx)
	m.Wait()
	return err
}

// Wait returns when no target is being worked at. Cancel the context of Reap first to make it short.
func (m *Manager) Wait() { m.rounds.Wait() }

// Recover makes everything due that a dead process left half done. Call it at the start, on a store that no other process
// uses: an intent is then nobody's, and a claim nobody's either. Sweeps keep their times: they are about what may still
// happen at the target, which a restart here does not hasten.
func (m *Manager) Recover(ctx context.Context) error {
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, version = version + 1
			WHERE state <> 'active' AND drops IN (0, $2) AND due_at > $1`, store.Micros(tx.Now()), allDrops)
		return err
	})
	if err != nil {
		return fmt.Errorf("recover leases: %w", err)
	}
	m.wakeUp()
	return nil
}

// Tidy makes every lease whose revocation failed due at once.
func (m *Manager) Tidy(ctx context.Context) error {
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, version = version + 1
			WHERE state <> 'active' AND state <> 'pending' AND attempts > 0 AND due_at > $1`, store.Micros(tx.Now()))
		tx.AfterCommit(m.wakeUp)
		return err
	})
	if err != nil {
		return fmt.Errorf("tidy leases: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.parked) // an operator asks: look again at once
	return nil
}

// dueTargets are the targets with due leases. The cost is one index seek a target, however many leases there are.
func (m *Manager) dueTargets(ctx context.Context) (due []int64, now time.Time, err error) {
	err = m.Store.View(ctx, func(tx *store.Tx) error {
		due, now = nil, tx.Now()
		rows, err := tx.Query(`SELECT t.seq FROM lease_targets t
			WHERE EXISTS (SELECT 1 FROM leases l WHERE l.target = t.seq AND l.due_at <= $1)`, store.Micros(now))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var target int64
			if err := rows.Scan(&target); err != nil {
				return err
			}
			due = append(due, target)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, now, fmt.Errorf("look for due leases: %w", err)
	}
	return due, now, nil
}

// NextDue is when the next lease is due. ok is false when there is no lease at all. A parked target counts from its
// next probe.
func (m *Manager) NextDue(ctx context.Context) (next time.Time, ok bool, err error) {
	err = m.Store.View(ctx, func(tx *store.Tx) error {
		next, ok = time.Time{}, false
		rows, err := tx.Query(`SELECT t.seq, (SELECT MIN(l.due_at) FROM leases l WHERE l.target = t.seq) FROM lease_targets t`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var target int64
			var due *int64
			if err := rows.Scan(&target, &due); err != nil {
				return err
			}
			if due == nil {
				continue
			}
			at := m.probeTime(target, store.Time(*due))
			if !ok || at.Before(next) {
				next, ok = at, true
			}
		}
		return rows.Err()
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look for the next due lease: %w", err)
	}
	return next, ok, nil
}

// probeTime is the later of due and the target's next probe.
func (m *Manager) probeTime(target int64, due time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until := m.parked[target].until; until.After(due) {
		return until
	}
	return due
}

// drain works off what is due at one target, batch by batch.
func (m *Manager) drain(ctx context.Context, target int64) {
	defer m.rounds.Done()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.reaping, target)
	}()
	for ctx.Err() == nil {
		limit := 4 * m.Workers
		if m.isParked(target) {
			limit = 1 // a probe
		}
		now, claimed, err := m.claimDue(ctx, target, limit)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
				m.Log.Error("due leases could not be claimed", "error", err)
			}
			return
		}
		if len(claimed) == 0 {
			return
		}
		unreachable := m.workOff(ctx, claimed)
		if m.park(target, claimed[0].Target, unreachable, now) {
			return
		}
	}
}

func (m *Manager) claimDue(ctx context.Context, target int64, limit int) (now time.Time, claimed []claim, err error) {
	err = m.Store.View(ctx, func(tx *store.Tx) error {
		now = tx.Now()
		return nil
	})
	if err == nil {
		claimed, err = m.claim(ctx, `SELECT seq FROM leases WHERE target = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3`,
			target, store.Micros(now), limit)
	}
	return now, claimed, err
}

// workOff revokes what was claimed and reports whether the target could not be reached.
func (m *Manager) workOff(ctx context.Context, claimed []claim) (unreachable bool) {
	return m.each(claimed, func(c claim) error {
		err := m.undo(ctx, c.Record)
		switch {
		case err == nil:
			if err := m.settle(ctx, c.Record); err != nil {
				m.Log.Warn("a revoked lease could not be forgotten; it will be looked at again", "lease_id", c.ID, "error", err)
			}
			return nil
		case errors.Is(err, ErrUnreachable):
			m.returnClaim(ctx, c.Record, err)
			return err
		default:
			m.setback(ctx, c.Record, err)
			return nil
		}
	}) != nil
}

// settle ends a claim whose user is verified gone: the row goes, or waits for its next sweep.
func (m *Manager) settle(ctx context.Context, r Record) error {
	return m.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if r.drops > 1 {
			return sweepLater(tx, r, m.CreateBudget)
		}
		return deleteRow(tx, r)
	})
}

// deleteRow removes the row of something verified gone. A row at another version belongs to somebody else by now; but
// what was active once and is being revoked cannot come back, so its row may go whoever holds it.
func deleteRow(tx *store.Tx, r Record) error {
	_, err := tx.Exec(`DELETE FROM leases WHERE seq = $1 AND (version = $2 OR (state = 'revoking' AND drops = 0))`, r.Seq, r.version)
	return err
}

// setback notes a failed revocation and plans the next one. It never gives up.
func (m *Manager) setback(ctx context.Context, r Record, cause error) {
	attempts := r.Attempts + 1
	m.note(ctx, r, cause, func(tx *store.Tx, failure []byte) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, attempts = $2, failure = $3 WHERE seq = $4 AND version = $5`,
			store.Micros(tx.Now().Add(pause(firstPause, lastPause, attempts))), attempts, failure, r.Seq, r.version)
		return err
	})
	if attempts == irrevocableAfter {
		m.Log.Warn("a lease cannot be revoked and needs an operator; it is still tried every ten minutes",
			"lease_id", r.ID, "attempts", attempts, "error", cause)
	}
}

// returnClaim gives a row back unblamed: its target could not be reached.
func (m *Manager) returnClaim(ctx context.Context, r Record, cause error) {
	m.note(ctx, r, cause, func(tx *store.Tx, failure []byte) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, failure = $2 WHERE seq = $3 AND version = $4`,
			store.Micros(tx.Now()), failure, r.Seq, r.version)
		return err
	})
}

// note seals what went wrong and lets write store it.
func (m *Manager) note(ctx context.Context, r Record, cause error, write func(tx *store.Tx, failure []byte) error) {
	err := m.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		failure, err := tx.Seal(failureCell(r.ID), []byte(told(cause)))
		if err != nil {
			return err
		}
		return write(tx, failure)
	})
	if err != nil && !errors.Is(err, store.ErrSealed) {
		m.Log.Warn("a failed revocation could not be noted; the lease is due again when its claim runs out", "lease_id", r.ID, "error", err)
	}
}

// told is what whoever looks a lease up may read of a failed revocation: the text that was meant to be shown. What lies behind
// it is for the log.
func told(cause error) string {
	if e := errs.From(cause); e != nil {
		return e.Text
	}
	for _, class := range []error{ErrUnreachable, ErrUnknown} {
		if errors.Is(cause, class) {
			return class.Error()
		}
	}
	return "internal error: the server's log says more"
}

func (m *Manager) isParked(target int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, parked := m.parked[target]
	return parked
}

// park sets a target aside, or takes it back after a success, and reports whether it is aside. The log tells of the
// change, not of every probe.
func (m *Manager) park(target int64, name string, unreachable bool, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, was := m.parked[target]
	switch {
	case unreachable:
		p.failures++
		p.until = now.Add(pause(firstProbe, lastProbe, p.failures))
		m.parked[target] = p
		if !was {
			m.Log.Warn("a database cannot be reached; its due leases wait and it is probed", "target", name)
		}
	case was:
		delete(m.parked, target)
		m.Log.Info("a database can be reached again; its due leases are worked off", "target", name)
	}
	return unreachable
}

// pause is the n-th pause of a back-off: doubling, capped, half of it random.
func pause(first, last time.Duration, n int) time.Duration {
	d := last
	if n < 20 && first<<(n-1) < last {
		d = first << (n - 1)
	}
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}
