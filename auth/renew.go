package auth

import (
	"context"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/ttl"
	"leasehold/store"
)

// Renew gives the token in row seq a new lifetime from now. limits says, in the transaction that writes it, what is
// asked for and what limits are in force; Renew adds the token's own times. The token is returned as it is afterwards,
// with warnings for the client.
//
// A Default of zero stands for the lifetime that was granted last.
//
// Compat: tokens recording, token-renew: an increment of 0 after a longer renewal grants that again.
//
// Errors: those of limits; Invalid (the token has ended, or its maximum has passed).
func (s *Store) Renew(ctx context.Context, seq int64, limits func(tx *store.Tx, t Token) (ttl.Limits, error)) (t Token, warnings []string, err error) {
	err = s.update(ctx, "renew a token", func(tx *store.Tx) (err error) {
		var found bool
		if t, found, err = find(tx, selectBySeq, seq); err != nil {
			return err
		}
		if !found {
			return errs.New(errs.Invalid, "token not found")
		}
		l, err := limits(tx, t)
		if err != nil {
			return err
		}
		if l.Default == 0 {
			l.Default = t.Granted
		}
		now := tx.Now()
		// Whole seconds have passed since the creation, or the first renewal of all would be cut by a fraction of one.
		l.IssuedAt = t.CreatedAt
		l.Now = t.CreatedAt.Add(now.Sub(t.CreatedAt).Truncate(time.Second))
		if t.Granted, warnings = ttl.Resolve(l); t.Granted <= 0 {
			return errs.New(errs.Invalid, "past the max TTL, cannot renew")
		}
		t.LastRenewal, t.ExpiresAt = now, now.Add(t.Granted)
		if end := latestEnd(l); !end.IsZero() && t.ExpiresAt.After(end) {
			t.ExpiresAt = end // the fraction of a second that was not counted above
		}
		// The last use has set a due_at of its own, which a renewal does not put off.
		_, err = tx.Exec(`UPDATE tokens SET expires_at = $1, due_at = CASE WHEN uses < 0 AND due_at < $1 THEN due_at ELSE $1 END,
			renewed_at = $2, granted = $3 WHERE seq = $4`,
			store.Micros(t.ExpiresAt), store.Micros(now), t.Granted.Microseconds(), seq)
		return err
	})
	return t, warnings, err
}

// latestEnd is when a token must have ended whatever was granted; zero: it can be renewed for ever.
func latestEnd(l ttl.Limits) time.Time {
	var limit time.Duration
	for _, d := range []time.Duration{l.ExplicitMax, l.Max, l.MountMax} {
		if d > 0 && (limit == 0 || d < limit) {
			limit = d
		}
		if l.Period > 0 {
			break // only the explicit maximum binds a periodic token for good
		}
	}
	if limit == 0 {
		return time.Time{}
	}
	return l.IssuedAt.Add(limit)
}
