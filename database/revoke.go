package database

import (
	"context"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

var _ lease.Revoker = (*Engine)(nil)

// leased is what a lease's duties work with.
type leased struct {
	payload
	role       *role // as it is now; nil: gone
	connection *connection
}

// leased reads a lease's payload, and role and connection as they are now. A retired connection is as good as any.
func (e *Engine) leased(ctx context.Context, r lease.Record) (l leased, err error) {
	if err := decodeJSON(r.Payload, &l.payload); err != nil {
		return l, fmt.Errorf("decode the payload of lease %s: %w", r.ID, err)
	}
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		if l.role, _, err = findRole(tx, r.MountUUID, l.Role); err != nil {
			return err
		}
		l.connection, err = findConnection(tx, r.MountUUID, r.Target)
		return err
	})
	if err != nil {
		return l, fmt.Errorf("read role %q and connection %q: %w", l.Role, r.Target, err)
	}
	if l.connection == nil {
		return l, errNoConnection(r.Target)
	}
	return l, nil
}

// at is the role as far as it speaks for the connection that the user is on; nil: it is gone, or has moved away.
func (l leased) at(target string) *role {
	name, _, _ := strings.Cut(target, asideMark)
	if l.role == nil || l.role.Connection != name {
		return nil
	}
	return l.role
}

// Revoke implements [lease.Revoker]: it drops the user and looks that it is gone.
func (e *Engine) Revoke(ctx context.Context, r lease.Record) error {
	return e.reach(ctx, r, false, func(ctx context.Context, l leased, db plugins.Database) error {
		statements := l.Revocation
		if present := l.at(r.Target); present != nil {
			statements = present.Revocation
		}
		return db.DropUser(ctx, l.User, statements)
	})
}

// Extend implements [lease.Revoker]: it moves the user's expiry in the database.
func (e *Engine) Extend(ctx context.Context, r lease.Record, until time.Time) error {
	return e.reach(ctx, r, true, func(ctx context.Context, l leased, db plugins.Database) error {
		var statements []string
		if present := l.at(r.Target); present != nil {
			statements = present.Renewal
		}
		return db.AlterUser(ctx, l.User, plugins.Change{Expiration: until.Add(expiryGrace), Statements: statements})
	})
}

// Terms implements [lease.Revoker]: a lease whose role is gone cannot be renewed.
func (e *Engine) Terms(ctx context.Context, r lease.Record) (def, limit time.Duration, err error) {
	var p payload
	if err := decodeJSON(r.Payload, &p); err != nil {
		return 0, 0, fmt.Errorf("decode the payload of lease %s: %w", r.ID, err)
	}
	present, _, err := e.viewRole(ctx, r.MountUUID, p.Role)
	if err == nil && present == nil {
		err = errs.New(errs.Invalid, "error during renew: could not find role with name %q", p.Role)
	}
	if err != nil {
		return 0, 0, err
	}
	return present.DefaultTTL, present.MaxTTL, nil
}
