package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

var _ lease.GroupRevoker = (*Engine)(nil)

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

// at is the role as far as it speaks for the user; nil: it is gone, has moved to another connection, or was only to be, when the user
// was made to check it.
func (l leased) at(target string) *role {
	name, _, _ := strings.Cut(target, asideMark)
	if l.role == nil || l.role.Connection != name || l.Check {
		return nil
	}
	return l.role
}

// revocation are the statements that drop the user; none: the plugin knows how.
func (l leased) revocation(target string) []string {
	if present := l.at(target); present != nil {
		return present.Revocation
	}
	return l.Revocation
}

// Revoke implements [lease.Revoker]: it drops the user and looks that it is gone. The user of a role check, whose statements may be
// wrong, goes by the plugin's own means where they do not remove it: nobody would mend statements that were not stored.
//
// Errors: those of the plugin. Unavailable (the plugin may have called the user otherwise than it was told, and nobody has learned
// how). Such a lease stays until an operator has looked for the user and forgets it by force, or until the plugin has shown by other
// users that it calls them as it is told.
func (e *Engine) Revoke(ctx context.Context, r lease.Record) error {
	return e.reach(ctx, r, false, func(ctx context.Context, l leased, db plugins.Database) error {
		err := db.DropUser(ctx, l.User, l.revocation(r.Target))
		if l.Check && len(l.Revocation) > 0 && saidNo(err) {
			err = db.DropUser(ctx, l.User, nil)
		}
		if namer, ok := db.(plugins.Namer); l.Guess && ok && (err == nil || saidNo(err)) && !namer.Obeys(l.User, cmp.Or(l.Type, plugins.TypePassword)) {
			return &plugins.Error{Op: "drop user", Class: plugins.Refused, Err: fmt.Errorf(
				"the answer of the plugin that was to make the user %q at %s was lost, and it may have called it otherwise: "+
					"look for a user with a part of that name in the database, drop it, and then forget this lease with revoke-force and its id",
				l.User, r.IssuedAt.UTC().Format(time.RFC3339))}
		}
		return err
	})
}

// saidNo reports whether the database answered that it would not.
func saidNo(err error) bool {
	class := plugins.ClassOf(err)
	return err != nil && (class == plugins.Refused || class == plugins.Permanent)
}

// errByItself says that a lease cannot be undone together with others.
var errByItself = errors.New("to be undone by itself")

// RevokeGroup implements [lease.GroupRevoker]: it drops users together that have no revocation statements, where the plugin
// can.
func (e *Engine) RevokeGroup(ctx context.Context, rs []lease.Record) []error {
	failed := make([]error, len(rs))
	for i := range failed {
		failed[i] = errByItself
	}
	c, names, places, err := e.plainUsers(ctx, rs)
	if err == nil && len(names) > 0 {
		c, err = e.settle(ctx, c)
	}
	if err != nil || len(names) == 0 {
		return failed // each by itself meets the same error, and has its own to tell
	}
	err = e.call(ctx, c, false, func(ctx context.Context, db plugins.Database) error {
		group, can := db.(plugins.GroupDropper)
		if !can {
			return nil
		}
		var silent error
		for i, err := range group.DropUsers(ctx, names) {
			failed[places[i]] = targetError(err)
			if class := plugins.ClassOf(err); err != nil && (class == plugins.Unreachable || class == plugins.Unknown) {
				silent = err
			}
		}
		return silent
	})
	if errors.Is(err, lease.ErrUnreachable) { // also when it was not even tried
		for i := range failed {
			failed[i] = err
		}
	}
	return failed
}

// plainUsers are the users of leases of one connection that are dropped without statements, and their places among the leases.
// There are none where the connection was set aside: each user is to be looked for, then.
func (e *Engine) plainUsers(ctx context.Context, rs []lease.Record) (c *connection, names []string, places []int, err error) {
	mount, target := rs[0].MountUUID, rs[0].Target
	if strings.Contains(target, asideMark) {
		return nil, nil, nil, nil
	}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		names, places = nil, nil
		roles := map[string]*role{}
		for i, r := range rs {
			var l leased
			if err := decodeJSON(r.Payload, &l.payload); err != nil {
				continue // told when its turn comes
			}
			present, read := roles[l.Role]
			if !read {
				if present, _, err = findRole(tx, mount, l.Role); err != nil {
					return err
				}
				roles[l.Role] = present
			}
			if l.role = present; len(l.revocation(target)) == 0 && !l.Guess {
				names, places = append(names, l.User), append(places, i)
			}
		}
		c, err = findConnection(tx, mount, target)
		return err
	})
	if c == nil {
		names = nil
	}
	return c, names, places, err
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
