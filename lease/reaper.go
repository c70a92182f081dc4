package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/store"
)

// Back-off of one lease: doubling from the first to the last, half of it random.
const (
	firstPause = time.Second
	lastPause  = 10 * time.Minute
)

// Back-off of a target that cannot be reached. A probe is one attempt to connect, so the last is short: when the target comes
// back, its backlog is worked off within seconds.
const (
	firstProbe = time.Second
	lastProbe  = 5 * time.Second
)

// groupSize is how many leases a worker claims, has undone, and forgets at once.
const groupSize = 16

// A target gets quickWorkers at once, and one more each time that hirePause has passed and something is still due: those at work are too
// slow, or hang. Two groups at once undo as much in a round trip as twice sixteen bare connections would, and more would only take
// processor time from whoever waits for an answer.
const (
	quickWorkers = 2
	hirePause    = time.Second
)

// crew is how many work at a target, and when the last of them began.
type crew struct {
	workers int
	hired   time.Time
}

// parking is a target that could not be reached. It is this process's own view: another may reach it.
type parking struct {
	until    time.Time
	failures int
}

// Reap starts work on every target that has something due, and returns without waiting. A target that hangs or is down has no
// effect on the others: each has its own workers and claims.
//
// cron calls it each second; [Manager.Wake] says when to call it earlier. Both are hints: the rows are the truth.
func (m *Manager) Reap(ctx context.Context) error {
	due, now, err := m.dueTargets(ctx)
	if err != nil {
		return err
	}
	for _, target := range due {
		m.hire(ctx, target, now)
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
func (m *Manager) Wait() { m.workers.Wait() }

// Died gives back what a node has claimed: it is dead, and its half-done work is due at once. Sweeps keep their times: they are
// about what may still happen at the target, which a death here does not hasten.
func (m *Manager) Died(tx *store.Tx, node int64) error {
	n, err := tx.Exec(`UPDATE leases SET due_at = $1, claimant = 0, version = version + 1
		WHERE claimant = $2 AND claimant <> 0 AND state <> 'active'`, store.Micros(tx.Now()), node)
	if n > 0 {
		tx.AfterCommit(m.wakeUp)
	}
	return err
}

// Claimants are the numbers of the nodes that work at rows, for whoever knows which of them are alive.
func (m *Manager) Claimants(tx *store.Tx) ([]int64, error) {
	return numbers(tx, `SELECT DISTINCT claimant FROM leases WHERE claimant <> 0`)
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

// hire starts one more worker at a target, unless enough are there for now or the target waits for its next probe.
func (m *Manager) hire(ctx context.Context, target int64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	present := m.busy[target]
	p, parked := m.parked[target]
	since := now.Sub(present.hired) // negative: the clock was set back
	switch {
	case p.until.After(now):
		return
	case parked && present.workers > 0: // one is enough for a probe
		return
	case present.workers >= m.Workers:
		return
	case present.workers >= quickWorkers && since >= 0 && since < hirePause:
		return
	}
	m.busy[target] = crew{present.workers + 1, now}
	m.workers.Go(func() { m.work(ctx, target) })
}

// work takes group after group of what is due at one target, until nothing is. A full group is a sign of more, and one more
// worker is started.
func (m *Manager) work(ctx context.Context, target int64) {
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		left := m.busy[target]
		if left.workers--; left.workers == 0 {
			delete(m.busy, target)
			return
		}
		m.busy[target] = left
	}()
	for ctx.Err() == nil {
		probe := m.isParked(target)
		limit := groupSize
		if probe {
			limit = 1
		}
		claimed, err := m.claimDue(ctx, target, limit)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrSealed) {
				m.Log.Error("due leases could not be claimed", "error", err)
				m.Doubt()
			}
			return
		}
		if len(claimed) == 0 {
			return
		}
		now := claimed[0].DueAt.Add(-m.claimTime())
		if len(claimed) == groupSize {
			m.hire(ctx, target, now)
		}
		unreachable := m.workOff(ctx, claimed)
		if m.park(target, claimed[0].Target, unreachable, now) {
			return
		}
	}
}

// workOff revokes a group of claims and reports whether the target could not be reached.
func (m *Manager) workOff(ctx context.Context, claimed []claim) (unreachable bool) {
	var done []Record
	for i, err := range m.undoAll(ctx, claimed) {
		switch c := claimed[i]; {
		case err == nil:
			done = append(done, c.Record)
		default:
			unreachable = unreachable || errors.Is(err, ErrUnreachable)
			m.putOff(ctx, c.Record, err)
		}
	}
	if err := m.settle(ctx, done...); err != nil && !errors.Is(err, store.ErrSealed) {
		m.Log.Warn("revoked leases could not be forgotten; they will be looked at again", "leases", len(done), "error", err)
	}
	return unreachable
}

// undoAll undoes claims of one target: together where the engine can, and one by one those that failed together. Once the
// target cannot be reached, or does not answer, the rest is not tried: it is given back as if it were unreachable.
func (m *Manager) undoAll(ctx context.Context, claimed []claim) []error {
	if len(claimed) == 1 {
		return []error{m.undo(ctx, claimed[0])}
	}
	failed := m.undoGroup(ctx, claimed)
	var silent error
	for i, err := range failed {
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrUnreachable):
		case silent == nil:
			err = m.undo(ctx, claimed[i])
		default:
			err = fmt.Errorf("%w: another revocation had no answer", ErrUnreachable)
		}
		failed[i] = err
		if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnknown) {
			silent = err
		}
	}
	return failed
}

var errAlone = errors.New("to be undone by itself")

// undoGroup asks the engine to undo claims together. An error only says that this one is still to be done.
func (m *Manager) undoGroup(ctx context.Context, claimed []claim) []error {
	failed := make([]error, len(claimed))
	for i := range failed {
		failed[i] = errAlone
	}
	revoker, err := m.revoker(claimed[0].Kind)
	group, can := revoker.(GroupRevoker)
	if err != nil || !can {
		return failed
	}
	var records []Record
	var places []int
	for i, c := range claimed {
		if c.broken == nil {
			records, places = append(records, c.Record), append(places, i)
		}
	}
	failpoint.Hit("lease/revoke/after-mark")
	ctx, done := context.WithTimeoutCause(context.WithoutCancel(ctx), m.RevokeBudget, ErrUnknown)
	defer done()
	began := m.Store.Clock().Now()
	answers := group.RevokeGroup(ctx, records) // Crash: the rows are claimed; they are due again when their claimant is dead.
	share := m.Store.Clock().Now().Sub(began) / time.Duration(max(1, len(records)))
	for i, err := range answers {
		failed[places[i]] = err
		if err == nil || errors.Is(err, ErrUnreachable) { // the others are tried again one by one, and told of then
			m.undone(records[i], share, err)
		}
	}
	failpoint.Hit("lease/revoke/after-drop")
	return failed
}

// settle ends claims whose users are verified gone: the rows go, or wait for their next sweep.
func (m *Manager) settle(ctx context.Context, done ...Record) error {
	if len(done) == 0 {
		return nil
	}
	err := m.Store.Claim(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		var born []int64
		for _, r := range done {
			var err error
			switch {
			case r.drops == 0:
				born = append(born, r.Seq)
			case r.drops == 1:
				_, err = tx.Exec(`DELETE FROM leases WHERE seq = $1 AND version = $2`, r.Seq, r.version)
			default:
				err = sweepLater(tx, r, m.CreateBudget)
			}
			if err != nil {
				return err
			}
		}
		if len(born) == 0 {
			return nil
		}
		// A row at another version belongs to somebody else by now. But what was active once and is being revoked cannot come
		// back, so its row may go whoever holds it.
		list, args := among(1, born)
		_, err := tx.Exec(`DELETE FROM leases WHERE seq IN (`+list+`) AND state = 'revoking' AND drops = 0`, args...)
		return err
	})
	if err != nil {
		m.Doubt()
	}
	return err
}

// putOff leaves a claim whose revocation has failed to a later attempt.
func (m *Manager) putOff(ctx context.Context, r Record, cause error) {
	if errors.Is(cause, ErrUnreachable) {
		m.returnClaim(ctx, r, cause)
	} else {
		m.setback(ctx, r, cause)
	}
}

// setback notes a failed revocation and plans the next one. It never gives up.
func (m *Manager) setback(ctx context.Context, r Record, cause error) {
	attempts := r.Attempts + 1
	m.note(ctx, m.Store.Claim, r, cause, func(tx *store.Tx, failure []byte) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, attempts = $2, failure = $3, claimant = 0
			WHERE seq = $4 AND version = $5`,
			store.Micros(tx.Now().Add(pause(firstPause, lastPause, attempts))), attempts, failure, r.Seq, r.version)
		return err
	})
	if attempts == irrevocableAfter {
		m.complain(r, cause)
	}
}

// complain tells the log of a lease that needs an operator: once for each lease, but not more than once in a while for each
// target, as what is wrong is often wrong with all its leases. sys/leases lists every one.
func (m *Manager) complain(r Record, cause error) {
	m.mu.Lock()
	c := m.complaints[r.target]
	if c.until.After(m.Store.Clock().Now()) {
		c.untold++
		m.complaints[r.target] = c
		m.mu.Unlock()
		return
	}
	m.complaints[r.target] = complaint{until: m.Store.Clock().Now().Add(complaintPause)}
	m.mu.Unlock()
	m.Log.Warn("a lease cannot be revoked and needs an operator; it is still tried every ten minutes",
		"lease_id", r.ID, "attempts", irrevocableAfter, "error", cause, "others_before", c.untold)
}

// complaintPause is how long the log hears nothing more of a target's irrevocable leases.
const complaintPause = 10 * time.Minute

// complaint is what the log was told of a target.
type complaint struct {
	until  time.Time
	untold int // leases since
}

// returnClaim gives a row back unblamed: its target could not be reached.
func (m *Manager) returnClaim(ctx context.Context, r Record, cause error) {
	m.note(ctx, m.Store.Claim, r, cause, func(tx *store.Tx, failure []byte) error {
		_, err := tx.Exec(`UPDATE leases SET due_at = $1, failure = $2, claimant = 0 WHERE seq = $3 AND version = $4`,
			store.Micros(tx.Now()), failure, r.Seq, r.version)
		return err
	})
}

// note seals what went wrong and lets write store it, in a transaction that run makes.
func (m *Manager) note(ctx context.Context, run func(context.Context, func(*store.Tx) error) error, r Record, cause error,
	write func(tx *store.Tx, failure []byte) error) {
	err := run(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		failure, err := tx.Seal(failureCell(r.ID), []byte(told(cause)))
		if err != nil {
			return err
		}
		return write(tx, failure)
	})
	if err != nil && !errors.Is(err, store.ErrSealed) {
		m.Log.Warn("a failed revocation could not be noted; the lease is due again when its claim is given back", "lease_id", r.ID, "error", err)
		m.Doubt()
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
