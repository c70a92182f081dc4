package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/store"
)

// pageSize is how many leases one statement of a bulk operation touches.
const pageSize = 256

// claimTime is how long a claimed row is left alone by everybody else, unless its claimant dies. It is longer than one
// revocation may take.
func (m *Manager) claimTime() time.Duration { return 3 * m.RevokeBudget }

// Revoke ends a lease. With sync it returns when the target's user is verified gone; without, once the reaper is bound to
// do it. An unknown lease is no error.
//
// A synchronous revocation that the target clearly refuses leaves an active lease as it was: the caller knows. One whose
// outcome is unknown, or whose token is dead, stays with the reaper.
//
// Errors: Invalid (the target refused). Wire: sys/leases/revoke.
func (m *Manager) Revoke(ctx context.Context, id string, sync bool) error {
	if !sync {
		return m.condemn(ctx, id, next(id))
	}
	claimed, err := m.claimRange(ctx, id, next(id), 1)
	if err != nil || len(claimed) == 0 {
		return err
	}
	return m.revokeNow(ctx, claimed[0])
}

// RevokeBy ends a lease as Revoke does with sync, but by the caller's own means, which have to have seen that what the lease stands for
// is gone when they return nil. What fails stays with the reaper, and is undone by the lease's Revoker.
//
// Errors: those of undo as they are, Invalid (no such lease: somebody else has ended it).
func (m *Manager) RevokeBy(ctx context.Context, id string, undo func(ctx context.Context, r Record) error) error {
	claimed, err := m.claimRange(ctx, id, next(id), 1)
	if err != nil {
		return err
	}
	if len(claimed) == 0 {
		return errs.New(errs.Invalid, "the lease was ended by somebody else")
	}
	c := claimed[0]
	if err := m.undoBy(ctx, c, undo); err != nil {
		m.putOff(ctx, c.Record, err)
		return err
	}
	return m.settle(ctx, c.Record)
}

// RevokePrefix ends all leases whose ids begin with prefix and a slash, or are prefix itself. With sync every one is
// tried; the first refusal is returned.
//
// Errors: Invalid (the target refused). Wire: sys/leases/revoke-prefix.
func (m *Manager) RevokePrefix(ctx context.Context, prefix string, sync bool) error {
	from, to := prefixRange(prefix)
	if !sync {
		return m.condemn(ctx, from, to)
	}
	return m.revokeRange(ctx, from, to, m.revokeNow)
}

// RevokeForce forgets all leases below prefix, and the one whose id it is, also those that the engine fails to revoke. What remains
// at the target is the operator's to clean up; each such lease is logged.
//
// Wire: sys/leases/revoke-force.
func (m *Manager) RevokeForce(ctx context.Context, prefix string) error {
	forget := func(ctx context.Context, c claim) error {
		if err := m.undo(ctx, c); err != nil {
			m.Log.Warn("forgetting a lease by force: its user may still exist at the target", "lease_id", c.ID, "error", err)
		}
		return m.forget(ctx, c.Record)
	}
	if err := m.revokeRange(ctx, prefix, next(prefix), forget); err != nil {
		return err
	}
	from, to := prefixRange(prefix)
	return m.revokeRange(ctx, from, to, forget)
}

// RevokeMount ends all leases of a mount that takes no new requests. It returns when none is left, or with the first
// refusal.
//
// Errors: Invalid (a target refused), Conflict (the outcome of a creation is still unknown; its sweeps come first).
func (m *Manager) RevokeMount(ctx context.Context, mountUUID string) error {
	for {
		claimed, err := m.claim(ctx, `SELECT seq FROM leases
			WHERE target IN (SELECT seq FROM lease_targets WHERE mount = $1) ORDER BY seq LIMIT $2`, mountUUID, pageSize)
		if err != nil {
			return err
		}
		if len(claimed) == 0 {
			return m.Store.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(`DELETE FROM lease_targets WHERE mount = $1
					AND NOT EXISTS (SELECT 1 FROM leases WHERE target = lease_targets.seq)`, mountUUID)
				return err
			})
		}
		err = m.each(claimed, func(c claim) error {
			if err := m.undo(ctx, c); err != nil {
				m.putOff(ctx, c.Record, err)
				if refused := revocationRefused(err); errs.From(refused) != nil {
					return refused
				}
				return errs.New(errs.Invalid, "lease %s could not be revoked: the server's log says why", c.ID).Because(err)
			}
			if c.unborn() { // a late create could land after the mount is gone, and nobody would know how to undo it
				return errors.Join(errs.New(errs.Conflict, "a credential of this mount is just being created: try again in a moment"),
					m.settle(ctx, c.Record))
			}
			return m.forget(ctx, c.Record)
		})
		if err != nil {
			return err
		}
	}
}

// DueByToken makes up to limit leases of a dead token due at once, and says how many it found.
func (m *Manager) DueByToken(tx *store.Tx, token int64, limit int) (int, error) {
	n, err := tx.Exec(`UPDATE leases SET state = 'revoking', due_at = $1, version = version + 1
		WHERE seq IN (SELECT seq FROM leases WHERE token = $2 AND token <> 0 AND state <> 'revoking' LIMIT $3)`,
		store.Micros(tx.Now()), token, limit)
	if n > 0 {
		tx.AfterCommit(m.wakeUp)
	}
	return int(n), err
}

// DueByTarget makes all leases of a target due at once: its connection is being deleted.
func (m *Manager) DueByTarget(tx *store.Tx, mountUUID, target string) error {
	_, err := tx.Exec(`UPDATE leases SET state = 'revoking', due_at = $1, version = version + 1
		WHERE target = (SELECT seq FROM lease_targets WHERE mount = $2 AND name = $3) AND state <> 'revoking'`,
		store.Micros(tx.Now()), mountUUID, target)
	tx.AfterCommit(m.wakeUp)
	return err
}

// RenameTarget makes all leases of a target leases of another name's; what is issued on the old name from then on is apart
// from them.
func (m *Manager) RenameTarget(tx *store.Tx, mountUUID, from, to string) error {
	_, err := tx.Exec(`UPDATE lease_targets SET name = $1 WHERE mount = $2 AND name = $3`, to, mountUUID, from)
	return err
}

// HasMount reports whether any lease of the mount is left.
func (m *Manager) HasMount(tx *store.Tx, mountUUID string) (bool, error) {
	var has bool
	err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM leases
		WHERE target IN (SELECT seq FROM lease_targets WHERE mount = $1))`, mountUUID).Scan(&has)
	return has, err
}

// HasTarget reports whether any lease still needs the target.
func (m *Manager) HasTarget(tx *store.Tx, mountUUID, target string) (bool, error) {
	var has bool
	err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM leases
		WHERE target = (SELECT seq FROM lease_targets WHERE mount = $1 AND name = $2))`, mountUUID, target).Scan(&has)
	return has, err
}

// Has reports whether a lease is on record, also one whose creation was never finished, which [Manager.Lookup] does not tell.
func (m *Manager) Has(tx *store.Tx, id string) (bool, error) {
	found, err := byID(tx, id)
	return found != nil, err
}

// claim is a row that is ours until its claim time has passed.
type claim struct {
	Record
	former State // what it was before; empty: nobody asked
	broken error // the row's sealed values do not open
}

// claim takes the rows that pick selects, whatever their state. It waits for those that another claim is just taking.
func (m *Manager) claim(ctx context.Context, pick string, args ...any) ([]claim, error) {
	var claimed []claim
	err := m.Store.Claim(ctx, func(tx *store.Tx) error {
		claimed = nil
		// Locked first and read then: what another node has changed until the lock is ours is seen by the second statement.
		// Materialised, or PostgreSQL may lock more rows than the limit says.
		seqs, err := numbers(tx, `WITH picked AS MATERIALIZED (`+pick+` `+tx.LockSuffix()+`) SELECT seq FROM picked`, args...)
		if err != nil || len(seqs) == 0 {
			return err
		}
		list, seqArgs := among(1, seqs)
		claimed, err = queryClaims(tx, `SELECT `+recordColumns+` FROM leases l JOIN lease_targets t ON t.seq = l.target
			WHERE l.seq IN (`+list+`)`, seqArgs...)
		if err != nil {
			return err
		}
		until := tx.Now().Add(m.claimTime())
		list, seqArgs = among(3, seqs)
		_, err = tx.Exec(`UPDATE leases SET state = 'revoking', due_at = $1, claimant = $2, version = version + 1
			WHERE seq IN (`+list+`)`, append([]any{store.Micros(until), m.Node()}, seqArgs...)...)
		for i := range claimed {
			c := &claimed[i]
			c.former = c.State
			c.State, c.DueAt = Revoking, until
			c.version++
		}
		return err
	})
	if err != nil {
		if ctx.Err() == nil { // or clients that hang up could keep the node from its work
			m.Doubt()
		}
		return nil, fmt.Errorf("claim leases: %w", err)
	}
	return claimed, nil
}

// claimDue takes up to limit due rows of a target, in one statement.
func (m *Manager) claimDue(ctx context.Context, target int64, limit int) ([]claim, error) {
	var claimed []claim
	err := m.Store.Claim(ctx, func(tx *store.Tx) (err error) {
		claimed = nil
		var kind, mount, name string
		err = tx.QueryRow(`SELECT kind, mount, name FROM lease_targets WHERE seq = $1`, target).Scan(&kind, &mount, &name)
		if errors.Is(err, store.ErrNoRow) {
			return nil
		}
		if err != nil {
			return err
		}
		claimed, err = queryClaims(tx, `WITH picked AS MATERIALIZED (
				SELECT seq FROM leases WHERE target = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3 `+tx.ClaimSuffix()+`)
			UPDATE leases SET state = 'revoking', due_at = $4, claimant = $5, version = version + 1
			WHERE seq IN (SELECT seq FROM picked)
			RETURNING seq, id, CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), target, token, state, due_at, issued_at,
				expires_at, not_after, renewed_at, renewable, attempts, drops, version, payload, failure`,
			target, store.Micros(tx.Now()), limit, store.Micros(tx.Now().Add(m.claimTime())), m.Node(), kind, mount, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim due leases: %w", err)
	}
	return claimed, nil
}

// queryClaims runs a query that selects or returns recordColumns. A row whose sealed values do not open is told apart: it
// must not keep the others from being revoked.
func queryClaims(tx *store.Tx, query string, args ...any) ([]claim, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var claimed []claim
	for rows.Next() {
		r, sealed, err := scanSealed(rows)
		if err != nil {
			return nil, err
		}
		c := claim{Record: r}
		if c.broken = c.open(tx, sealed); errors.Is(c.broken, store.ErrSealed) {
			return nil, c.broken
		}
		claimed = append(claimed, c)
	}
	return claimed, rows.Err()
}

// numbers runs a query for one column of numbers.
func numbers(tx *store.Tx, query string, args ...any) ([]int64, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// among is the inside of an IN list whose first parameter has the given number. Lists are padded with a number that no row
// has, to powers of four, so that few different statements are prepared.
func among(first int, seqs []int64) (list string, args []any) {
	size := 1
	for size < len(seqs) {
		size *= 4
	}
	var b strings.Builder
	for i := range size {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
		seq := int64(0)
		if i < len(seqs) {
			seq = seqs[i]
		}
		args = append(args, seq)
	}
	return b.String(), args
}

func (m *Manager) claimRange(ctx context.Context, from, to string, limit int) ([]claim, error) {
	return m.claim(ctx, `SELECT seq FROM leases WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3`, from, to, limit)
}

// prefixRange is the range of lease ids that a prefix means: whole path segments.
func prefixRange(prefix string) (from, to string) {
	for len(prefix) > 0 && prefix[len(prefix)-1] == '/' {
		prefix = prefix[:len(prefix)-1]
	}
	if prefix == "" {
		return "", string(utf8.MaxRune)
	}
	return prefix + "/", prefix + "0" // '0' follows '/'
}

// condemn marks a range of ids for the reaper.
func (m *Manager) condemn(ctx context.Context, from, to string) error {
	for {
		var n int64
		err := m.Store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.Exec(`UPDATE leases SET state = 'revoking', due_at = $1, version = version + 1
				WHERE seq IN (SELECT seq FROM leases WHERE id >= $2 AND id < $3 AND state <> 'revoking' ORDER BY id LIMIT $4)`,
				store.Micros(tx.Now()), from, to, pageSize)
			tx.AfterCommit(m.wakeUp)
			return err
		})
		if err != nil {
			return fmt.Errorf("mark leases for revocation: %w", err)
		}
		if n < pageSize {
			return nil
		}
	}
}

// revokeRange claims a range page by page and works it off. All are tried; the first error is returned.
func (m *Manager) revokeRange(ctx context.Context, from, to string, work func(context.Context, claim) error) error {
	var first error
	for {
		claimed, err := m.claimRange(ctx, from, to, pageSize)
		if err != nil {
			return err
		}
		if len(claimed) == 0 {
			return first
		}
		if err := m.each(claimed, func(c claim) error { return work(ctx, c) }); err != nil && first == nil {
			first = err
		}
		last := ""
		for _, c := range claimed {
			last = max(last, c.ID)
		}
		from = next(last) // the next possible id
	}
}

// each runs work on every claim, Workers at a time, and returns the first error.
func (m *Manager) each(claimed []claim, work func(claim) error) error {
	var wait sync.WaitGroup
	slots := make(chan struct{}, m.Workers)
	errors := make([]error, len(claimed))
	for i, c := range claimed {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			errors[i] = work(c)
		})
	}
	wait.Wait()
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

// undo calls the engine.
func (m *Manager) undo(ctx context.Context, c claim) error {
	if c.broken != nil {
		return c.broken
	}
	revoker, err := m.revoker(c.Kind)
	if err != nil {
		return err
	}
	return m.undoBy(ctx, c, revoker.Revoke)
}

// undoBy calls revoke under its deadline. It goes on when the client hangs up.
func (m *Manager) undoBy(ctx context.Context, c claim, revoke func(ctx context.Context, r Record) error) error {
	failpoint.Hit("lease/revoke/after-mark")
	ctx, done := context.WithTimeoutCause(context.WithoutCancel(ctx), m.RevokeBudget, ErrUnknown)
	defer done()
	began := m.Store.Clock().Now()
	err := revoke(ctx, c.Record) // Crash: the row is claimed; it is due again when its claimant is dead.
	m.undone(c.Record, m.Store.Clock().Now().Sub(began), err)
	if err != nil {
		return err
	}
	failpoint.Hit("lease/revoke/after-drop")
	return nil
}

// revokeNow works off one claim for a caller that waits.
func (m *Manager) revokeNow(ctx context.Context, c claim) error {
	err := m.undo(ctx, c)
	if err == nil {
		return m.settle(ctx, c.Record)
	}
	if c.former == Active && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrUnreachable) {
		m.giveBack(ctx, c.Record, err)
	} else {
		m.putOff(ctx, c.Record, err)
	}
	return revocationRefused(err)
}

// giveBack makes a claimed lease active again, with the refusal noted. A lease whose token has died stays condemned.
func (m *Manager) giveBack(ctx context.Context, r Record, cause error) {
	// Serialisable with the token's end, which passes over leases that are being revoked.
	m.note(ctx, m.Store.Update, r, cause, func(tx *store.Tx, failure []byte) error {
		if err := m.demandAlive(tx, r.Token); err != nil {
			_, err := tx.Exec(`UPDATE leases SET due_at = $1, failure = $2, claimant = 0 WHERE seq = $3 AND version = $4`,
				store.Micros(tx.Now()), failure, r.Seq, r.version)
			return err
		}
		_, err := tx.Exec(`UPDATE leases SET state = 'active', due_at = expires_at, failure = $1, claimant = 0, version = version + 1
			WHERE seq = $2 AND version = $3`, failure, r.Seq, r.version)
		return err
	})
}

// forget deletes a claimed row.
func (m *Manager) forget(ctx context.Context, r Record) error {
	return m.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM leases WHERE seq = $1`, r.Seq)
		return err
	})
}

// revocationRefused frames an engine's refusal as clients know it.
func revocationRefused(err error) error {
	if e := errs.From(err); e != nil {
		return errs.New(errs.Invalid, "failed to revoke entry: %s", e.Text).Because(err)
	}
	return fmt.Errorf("revoke at the target: %w", err)
}
