package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/errs"
	"leasehold/lease"
)

// Lease is a lease of a secret or of a token, as sys/leases shows it.
type Lease struct {
	ID          string
	Path        string // the request that made it
	Mount       string // the mount's UUID; secrets only
	IssuedAt    time.Time
	ExpiresAt   time.Time // zero: never
	LastRenewal time.Time // zero: never
	TTL         time.Duration
	Renewable   bool
	Failure     string // what the last failed revocation said
}

func (b *Broker) leaseOf(r lease.Record) Lease {
	l := Lease{
		ID: r.ID, Path: r.Path, Mount: r.MountUUID, IssuedAt: r.IssuedAt, ExpiresAt: r.ExpiresAt, LastRenewal: r.LastRenewal,
		TTL: r.ExpiresAt.Sub(b.clock.Now()), Renewable: r.Renewable, Failure: r.Failure,
	}
	if r.State == lease.Revoking { // it has ended, only its removal is still to come
		l.TTL, l.Renewable = min(l.TTL, 0), false
	}
	return l
}

// ofTokens reports whether a lease id or prefix is one of tokens: nothing else is issued below auth/.
func ofTokens(id string) bool { return strings.HasPrefix(id+"/", "auth/") }

// LookupLease reads one lease. Errors: Invalid (no such lease).
func (b *Broker) LookupLease(ctx context.Context, id string) (Lease, error) {
	if !ofTokens(id) {
		r, err := b.leases.Lookup(ctx, id)
		return b.leaseOf(r), err
	}
	t, found, err := b.tokens.LookupLease(ctx, id)
	if err != nil {
		return Lease{}, err
	}
	if !found {
		return Lease{}, errs.New(errs.Invalid, "invalid lease")
	}
	return Lease{
		ID: id, Path: t.Path, IssuedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastRenewal: t.LastRenewal, TTL: t.TTL(),
		Renewable: t.Renewable,
	}, nil
}

// ListLeases returns what stands one path level below prefix: lease ids without the prefix, and folders with a trailing
// slash, sorted.
func (b *Broker) ListLeases(ctx context.Context, prefix string) ([]string, error) {
	secrets, err := b.leases.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	tokens, err := b.tokens.ListLeases(ctx, prefix)
	if err != nil {
		return nil, err
	}
	keys := slices.Concat(secrets, tokens)
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// RenewLease extends a secret's lease to now+increment, within its limits; zero asks for the default. The texts are
// warnings.
//
// Errors: Invalid (unknown, expired, not renewable, or a token's).
func (b *Broker) RenewLease(ctx context.Context, id string, increment time.Duration) (Lease, []string, error) {
	if ofTokens(id) {
		_, found, err := b.tokens.LookupLease(ctx, id)
		if err == nil {
			err = errs.New(errs.Invalid, "lease not found")
			if found {
				err = errs.New(errs.Invalid, "tokens cannot be renewed through this endpoint")
			}
		}
		return Lease{}, nil, err
	}
	r, warnings, err := b.leases.Renew(ctx, id, increment)
	if err != nil {
		return Lease{}, nil, err
	}
	l := b.leaseOf(r)
	l.TTL = (l.TTL + time.Second - 1).Truncate(time.Second) // whole seconds were granted, a moment ago
	return l, warnings, nil
}

// RevokeLease ends a lease, and the token when it is a token's. With sync it returns when that is done. An unknown lease
// is no error.
func (b *Broker) RevokeLease(ctx context.Context, id string, sync bool) error {
	if !ofTokens(id) {
		return b.leases.Revoke(ctx, id, sync)
	}
	t, found, err := b.tokens.LookupLease(ctx, id)
	if err != nil || !found {
		return err
	}
	return b.tokens.Revoke(ctx, t.Seq)
}

// RevokePrefix ends all leases below prefix, those of tokens with the tokens.
func (b *Broker) RevokePrefix(ctx context.Context, prefix string, sync bool) error {
	if err := b.revokeTokens(ctx, prefix); err != nil {
		return err
	}
	return b.leases.RevokePrefix(ctx, prefix, sync)
}

// RevokeForce forgets all leases below prefix, even those that cannot be revoked.
func (b *Broker) RevokeForce(ctx context.Context, prefix string) error {
	if err := b.revokeTokens(ctx, prefix); err != nil {
		return err
	}
	return b.leases.RevokeForce(ctx, prefix)
}

func (b *Broker) revokeTokens(ctx context.Context, prefix string) error {
	if prefix != "" && !ofTokens(prefix) {
		return nil
	}
	if err := b.tokens.RevokeLeasePrefix(ctx, prefix); err != nil {
		return fmt.Errorf("revoke tokens below %q: %w", prefix, err)
	}
	return nil
}

// IrrevocableLeases are those whose revocation keeps failing, at most limit of them; 0: all.
func (b *Broker) IrrevocableLeases(ctx context.Context, limit int) ([]Lease, error) {
	records, err := b.leases.Irrevocable(ctx, limit)
	if err != nil {
		return nil, err
	}
	found := make([]Lease, 0, len(records))
	for _, r := range records {
		found = append(found, b.leaseOf(r))
	}
	return found, nil
}

// CountIrrevocable counts them by the path of their mount.
func (b *Broker) CountIrrevocable(ctx context.Context) (map[string]int, error) {
	byUUID, err := b.leases.CountIrrevocable(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for id, n := range byUUID {
		path := id
		if m := b.held().byUUID[id]; m != nil {
			path = m.Path
		}
		counts[path] += n
	}
	return counts, nil
}

// TidyLeases makes all whose revocation failed due at once.
func (b *Broker) TidyLeases(ctx context.Context) error { return b.leases.Tidy(ctx) }
