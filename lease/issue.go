package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/internal/secret"
	"leasehold/store"
)

// idSuffix is the length of "/" and the random part of a lease id.
const idSuffix = 1 + 24

// grace is added to a create's deadline before the reaper may look at the intent.
const grace = 10 * time.Second

// sweepAfter are the pauses between the drops of a lease that never became active, in create budgets. The last comes first.
var sweepAfter = [...]time.Duration{60, 10, 1}

// allDrops is how many verified drops are owed to an intent: one when it is due, and one after each pause.
const allDrops = len(sweepAfter) + 1

// Intent is what will be made outside.
type Intent struct {
	Kind      string                   // which Revoker
	MountUUID string                   // the engine's mount
	Path      string                   // the request path: the lease id's first part
	Target    string                   // what is revoked and parked together, unique within the mount
	Token     int64                    // whose end ends the lease; 0: none
	TTL       time.Duration            // resolved, whole seconds, positive
	NotAfter  time.Time                // no renewal goes further; zero: no such limit
	Renewable bool                     // may it be renewed?
	Payload   []byte                   // what the Revoker needs; sealed in the row
	Check     func(tx *store.Tx) error // optional: must hold in the transaction that writes the intent

	// Made is asked once create has succeeded: what was made may be called otherwise than it was planned. Its answer takes the place
	// of Payload when the lease becomes active; nil: Payload stays. Optional.
	Made func() ([]byte, error)
}

// Issue writes the intent, calls create, and makes the lease active; the package comment numbers the steps. create gets
// the record with its id and expiry, and must have made the outside thing when it returns nil.
//
// create runs to its own deadline even when the client hangs up: breaking it off would leave an unknown outcome.
// A lease whose client is gone by then is revoked at once.
//
// Errors: Unauthenticated (the token died), those of Check and create as they are.
func (m *Manager) Issue(ctx context.Context, in Intent, create func(ctx context.Context, r Record) error) (_ Record, err error) {
	began := m.Store.Clock().Now()
	defer func() { m.issued(in.MountUUID, began, err) }()
	if in.TTL <= 0 {
		return Record{}, errs.New(errs.Invalid, "the lease would have no lifetime: check the role's and the mount's TTLs")
	}
	work := context.WithoutCancel(ctx)
	// The time for creating begins before the intent's, and not when this process, which may have been stopped, comes to it: what is
	// created after the last sweep, and then forgotten by a crash, nobody would drop.
	budget, release := context.WithTimeoutCause(work, m.CreateBudget, ErrUnknown)
	defer release()
	r, err := m.writeIntent(ctx, in)
	if err != nil {
		return Record{}, err
	}
	failpoint.Hit("lease/issue/after-intent")

	deadline, _ := budget.Deadline()
	createCtx, done := context.WithDeadlineCause(work, deadline, ErrUnknown) // by the clock: the timer of budget may be late
	err = create(createCtx, r)                                               // Crash: the pending row names the user; the reaper drops it when the row is due.
	done()
	if err != nil {
		m.abandon(work, r, err)
		return Record{}, err
	}
	failpoint.Hit("lease/issue/after-create")

	if in.Made != nil {
		payload, err := in.Made()
		if err != nil {
			m.abandon(work, r, err)
			return Record{}, err
		}
		r.amended = payload != nil
		if r.amended {
			r.Payload = payload
		}
	}
	active, err := m.activate(work, r)
	if err != nil {
		m.abandon(work, r, err)
		return Record{}, err
	}
	failpoint.Hit("lease/issue/after-activate")
	if ctx.Err() != nil { // nobody is there to take the credential
		return Record{}, errors.Join(ctx.Err(), m.Revoke(work, active.ID, false))
	}
	return active, nil
}

func (m *Manager) writeIntent(ctx context.Context, in Intent) (Record, error) {
	r := Record{
		ID:   in.Path + "/" + secret.Random(secret.Base62, idSuffix-1).Reveal(),
		Path: in.Path, Kind: in.Kind, MountUUID: in.MountUUID, Target: in.Target, Token: in.Token,
		State: Pending, NotAfter: in.NotAfter, Renewable: in.Renewable, Payload: in.Payload,
		drops: allDrops, version: 1,
	}
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		if err := m.demandAlive(tx, in.Token); err != nil {
			return err
		}
		if err := m.demandLive(tx, in.MountUUID); err != nil {
			return err
		}
		if in.Check != nil {
			if err := in.Check(tx); err != nil {
				return err
			}
		}
		target, err := intern(tx, in)
		if err != nil {
			return err
		}
		sealed, err := tx.Seal(payloadCell(r.ID), in.Payload)
		if err != nil {
			return err
		}
		r.target = target
		r.IssuedAt = tx.Now()
		r.ExpiresAt = notLaterThan(in.NotAfter, r.IssuedAt.Add(in.TTL))
		r.DueAt = r.IssuedAt.Add(m.CreateBudget + grace)
		return tx.QueryRow(`INSERT INTO leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at,
				renewable, attempts, drops, version, payload, claimant)
			VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, 0, $8, 0, $9, 1, $10, $11) RETURNING seq`,
			r.ID, target, in.Token, store.Micros(r.DueAt), store.Micros(r.IssuedAt), store.Micros(r.ExpiresAt),
			store.Micros(in.NotAfter), flag(in.Renewable), r.drops, sealed, m.Node()).Scan(&r.Seq)
	})
	if err != nil {
		return Record{}, fmt.Errorf("record intent: %w", err)
	}
	return r, nil
}

// intern returns the number of the intent's target.
func intern(tx *store.Tx, in Intent) (int64, error) {
	var seq int64
	err := tx.QueryRow(`SELECT seq FROM lease_targets WHERE mount = $1 AND name = $2`, in.MountUUID, in.Target).Scan(&seq)
	if errors.Is(err, store.ErrNoRow) {
		err = tx.QueryRow(`INSERT INTO lease_targets (kind, mount, name) VALUES ($1, $2, $3) RETURNING seq`,
			in.Kind, in.MountUUID, in.Target).Scan(&seq)
	}
	return seq, err
}

// demandLive is serialisable with the hiding of the mount: either this intent is there for [Manager.RevokeMount] to find,
// or it is refused.
func (m *Manager) demandLive(tx *store.Tx, mountUUID string) error {
	if m.MountLive == nil {
		return nil
	}
	live, err := m.MountLive(tx, mountUUID)
	if err != nil {
		return fmt.Errorf("look whether the mount is live: %w", err)
	}
	if !live {
		return errs.New(errs.NotFound, "the mount is being removed or moved")
	}
	return nil
}

func (m *Manager) demandAlive(tx *store.Tx, token int64) error {
	if token == 0 {
		return nil
	}
	alive, err := m.Alive(tx, token)
	if err == nil && !alive {
		err = errs.New(errs.Unauthenticated, "permission denied")
	}
	return err
}

// notLaterThan cuts t at the limit; a zero limit is none.
func notLaterThan(limit, t time.Time) time.Time {
	if !limit.IsZero() && t.After(limit) {
		return limit
	}
	return t
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// activate is transaction B. It fails when the row was taken or the token died in between.
func (m *Manager) activate(ctx context.Context, r Record) (Record, error) {
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		if err := m.demandAlive(tx, r.Token); err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE leases SET state = 'active', due_at = expires_at, drops = 0, claimant = 0, version = version + 1
			WHERE seq = $1 AND state = 'pending' AND version = $2`, r.Seq, r.version)
		if err == nil && n == 0 {
			err = errs.New(errs.Unavailable, "the lease was revoked before it could be handed out")
		}
		if err == nil && r.amended {
			err = m.amend(tx, r)
		}
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("activate lease: %w", err)
	}
	r.State, r.DueAt, r.drops = Active, r.ExpiresAt, 0
	r.version++
	return r, nil
}

// amend stores the payload of what was made in the place of what was planned.
func (m *Manager) amend(tx *store.Tx, r Record) error {
	sealed, err := tx.Seal(payloadCell(r.ID), r.Payload)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE leases SET payload = $1 WHERE seq = $2`, sealed, r.Seq)
	return err
}

// abandon undoes an issue that failed with cause. Whatever it cannot prove undone it leaves to the reaper.
func (m *Manager) abandon(ctx context.Context, r Record, cause error) {
	switch {
	case errors.Is(cause, ErrUnreachable): // nothing was sent
		m.finish(ctx, r)
		return
	case errors.Is(cause, ErrUnknown): // a late create may still land: the sweeps are for that
		m.keep(ctx, r)
		return
	}
	revoker, err := m.revoker(r.Kind)
	if err == nil {
		dropCtx, done := context.WithTimeoutCause(ctx, m.RevokeBudget, ErrUnknown)
		defer done()
		err = revoker.Revoke(dropCtx, r) // Crash: the pending row is still there.
	}
	if err != nil {
		m.Log.Warn("a failed creation could not be undone at once; it is left to the reaper", "lease_id", r.ID, "error", err)
		m.tell(ctx, r)
		return
	}
	m.finish(ctx, r)
}

// tell leaves the payload of what was made to the reaper, whoever has the row by now: it knew only what was planned.
func (m *Manager) tell(ctx context.Context, r Record) {
	if !r.amended {
		return
	}
	if err := m.Store.Update(ctx, func(tx *store.Tx) error { return m.amend(tx, r) }); err != nil {
		m.Log.Error("it could not be recorded what a failed creation has made", "lease_id", r.ID, "error", err)
	}
}

// finish forgets an intent that is verified undone. Its creation was answered and its drop came after, so nothing can
// appear any more, whoever has claimed the row meanwhile.
func (m *Manager) finish(ctx context.Context, r Record) {
	if err := m.forget(ctx, r); err != nil {
		m.Log.Warn("a failed creation could not be forgotten; it will be looked at again", "lease_id", r.ID, "error", err)
	}
}

// keep makes sure that an intent whose creation has an unknown outcome is still on record. It may not be: this process may have
// been stopped for so long that others have done all the sweeps, or an operator may have had it forgotten by force.
func (m *Manager) keep(ctx context.Context, r Record) {
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		target, err := intern(tx, Intent{Kind: r.Kind, MountUUID: r.MountUUID, Target: r.Target})
		if err != nil {
			return err
		}
		sealed, err := tx.Seal(payloadCell(r.ID), r.Payload)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO leases (id, target, token, state, due_at, issued_at, expires_at, not_after, renewed_at,
				renewable, attempts, drops, version, payload, claimant)
			VALUES ($1, $2, 0, 'revoking', $3, $4, $5, $6, 0, 0, 0, $7, $8, $9, 0) ON CONFLICT (id) DO NOTHING`,
			r.ID, target, store.Micros(tx.Now().Add(grace)), store.Micros(r.IssuedAt), store.Micros(r.ExpiresAt),
			store.Micros(r.NotAfter), allDrops, r.version+1, sealed)
		return err
	})
	if err != nil {
		m.Log.Error("the outcome of a creation is unknown, and it could not be looked whether its intent is still there", "lease_id", r.ID, "error", err)
	}
}

// sweepLater plans the next drop of a lease that never became active.
func sweepLater(tx *store.Tx, r Record, budget time.Duration) error {
	due := tx.Now().Add(sweepAfter[r.drops-2] * budget)
	_, err := tx.Exec(`UPDATE leases SET drops = drops - 1, due_at = $1, claimant = 0, version = version + 1
		WHERE seq = $2 AND version = $3`,
		store.Micros(due), r.Seq, r.version)
	return err
}
