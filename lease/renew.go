package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/internal/ttl"
	"leasehold/store"
)

// renewAttempts bounds how often a renewal starts again because another renewal came first.
const renewAttempts = 5

var errOvertaken = errors.New("another renewal came first")

// Renew moves a lease's end to now+increment, cut to what the role and the mount allow now. Zero asks for the role's
// default. The result may be shorter than before. The warnings tell of a cut.
//
// The target's expiry is moved before the row's, so that a renewal that the target refuses leaves the lease as it was.
//
// Errors: Invalid (no such lease, not renewable, expired, being revoked, or past its maximum), Unavailable (the target
// refused; nothing changed), those of the Revoker's Terms. Wire: sys/leases/renew.
func (m *Manager) Renew(ctx context.Context, id string, increment time.Duration) (Record, []string, error) {
	began := m.Store.Clock().Now()
	for range renewAttempts {
		r, warnings, err := m.renewOnce(ctx, id, increment)
		if err == nil {
			m.renewed(began)
		}
		if !errors.Is(err, errOvertaken) {
			return r, warnings, err
		}
	}
	return Record{}, nil, errs.New(errs.Conflict, "the lease is being renewed by others: try again")
}

func (m *Manager) renewOnce(ctx context.Context, id string, increment time.Duration) (Record, []string, error) {
	r, now, err := m.renewable(ctx, id)
	if err != nil {
		return Record{}, nil, err
	}
	revoker, err := m.revoker(r.Kind)
	if err != nil {
		return Record{}, nil, err
	}
	def, limit, err := revoker.Terms(ctx, r)
	if err != nil {
		return Record{}, nil, renewalRefused(err)
	}
	mountDefault, mountMax := m.MountTTL(r.MountUUID)
	left, warnings := ttl.Resolve(ttl.Limits{
		Increment: increment, Default: def, Max: limit, MountTTL: mountDefault, MountMax: mountMax, IssuedAt: r.IssuedAt, Now: now,
	})
	if left <= 0 {
		return Record{}, nil, errs.New(errs.Invalid, "past the max TTL, cannot renew")
	}
	before := r.ExpiresAt
	r.ExpiresAt = now.Add(left)
	if cut := notLaterThan(r.NotAfter, r.ExpiresAt); cut.Before(r.ExpiresAt) {
		r.ExpiresAt = cut
		warnings = append(warnings, "the lease ends with the token that it was issued to")
	}
	extendCtx, done := context.WithTimeoutCause(context.WithoutCancel(ctx), m.CreateBudget, ErrUnknown)
	defer done()
	if err := revoker.Extend(extendCtx, r, r.ExpiresAt); err != nil {
		return Record{}, nil, renewalRefused(err)
	}
	// Crash: the target's expiry has moved, the row's has not: the user is dropped when the row says, which is early enough.
	failpoint.Hit("lease/renew/after-extend")
	if err := m.storeRenewal(ctx, &r, before); err != nil {
		return Record{}, nil, err
	}
	failpoint.Hit("lease/renew/after-commit")
	return r, warnings, nil
}

// renewable reads a lease and refuses what cannot be renewed.
func (m *Manager) renewable(ctx context.Context, id string) (r Record, now time.Time, err error) {
	var found *Record
	err = m.Store.View(ctx, func(tx *store.Tx) (err error) {
		now = tx.Now()
		found, err = byID(tx, id)
		return err
	})
	switch {
	case err != nil:
		return Record{}, now, fmt.Errorf("read lease: %w", err)
	case found == nil || found.unborn():
		return Record{}, now, errs.New(errs.Invalid, "lease not found")
	case found.Irrevocable():
		return Record{}, now, errs.New(errs.Invalid, "lease is expired and has failed previous revocation attempts")
	case found.State == Revoking || !found.ExpiresAt.After(now):
		return Record{}, now, errs.New(errs.Invalid, "lease expired")
	case !found.Renewable:
		return Record{}, now, errs.New(errs.Invalid, "lease is not renewable")
	}
	return *found, now, nil
}

// storeRenewal moves the row's end. It fails when the lease was revoked, or renewed by somebody else, since it was read.
func (m *Manager) storeRenewal(ctx context.Context, r *Record, before time.Time) error {
	err := m.Store.Update(ctx, func(tx *store.Tx) error {
		if err := m.demandAlive(tx, r.Token); err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE leases SET expires_at = $1, due_at = $1, renewed_at = $2, version = version + 1
			WHERE seq = $3 AND version = $4 AND state = 'active'`,
			store.Micros(r.ExpiresAt), store.Micros(tx.Now()), r.Seq, r.version)
		if err == nil && n == 0 {
			err = errOvertaken
		}
		r.LastRenewal = tx.Now()
		return err
	})
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	r.DueAt = r.ExpiresAt
	r.version++
	if r.ExpiresAt.Before(before) {
		m.wakeUp() // the reaper may be waiting for the former end
	}
	return nil
}

// renewalRefused frames an engine's refusal as clients know it.
func renewalRefused(err error) error {
	if e := errs.From(err); e != nil {
		return errs.New(errs.Invalid, "failed to renew entry: %s", e.Text).Because(err)
	}
	return fmt.Errorf("renew at the target: %w", err)
}
