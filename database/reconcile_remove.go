package database

import (
	"context"
	"maps"
	"slices"
	"time"

	"leasehold/internal/errs"
	"leasehold/plugins"
)

// dropTimeout bounds the removal of one user, as it bounds the revocation of a lease.
const dropTimeout = 30 * time.Second

// Why an orphan was left alone.
const (
	reasonLeased  = "a lease names it by now"
	reasonStatic  = "a static role names it by now"
	reasonChanged = "it was dropped or made anew meanwhile"
	reasonStopped = "the request ended before its turn"
)

// removeOrphans drops the users that a comparison has listed as orphans, and notes with each what came of it. What could not be
// removed is found again the next time.
//
// The orphans are looked for among all leases once more, and each is looked at just before it is dropped, so that it is the very user
// that was found. What is left is that somebody else drops it within the milliseconds between, and a user of the same name, which is
// not random then, is made at once. It is dropped as its lease would have it, by its role's statements where the role is still there.
func (c *comparison) removeOrphans(ctx context.Context) error {
	targets, err := c.e.leases.Targets(ctx, Kind)
	if err != nil {
		return err
	}
	leased := map[string]bool{}
	for _, o := range c.orphans {
		leased[o.Name] = false
	}
	err = c.e.eachUser(ctx, targets, func(name string) {
		if _, asked := leased[name]; asked {
			leased[name] = true
		}
	})
	if err != nil {
		return err
	}
	static, err := c.e.staticUsers(ctx, slices.Collect(maps.Keys(leased)))
	if err != nil {
		return err
	}
	for i := range c.orphans {
		o := &c.orphans[i]
		switch {
		case slices.Contains(static, o.Name):
			o.failure = reasonStatic
		case ctx.Err() != nil:
			o.failure = reasonStopped
		case leased[o.Name]:
			o.failure = reasonLeased
		default:
			c.removeOrphan(ctx, o)
		}
	}
	return nil
}

func (c *comparison) removeOrphan(ctx context.Context, o *orphan) {
	same, err := c.stillThere(ctx, o)
	if err == nil && !same {
		o.failure = reasonChanged
		return
	}
	if err == nil {
		err = c.drop(ctx, o) // Crash: the user is there or not; it is an orphan as before, or none.
	}
	if err != nil {
		o.failure = told(err)
		c.e.log.Warn("an orphaned database user could not be removed", "mount", c.mount, "connection", c.name, "user", o.Name, "error", err)
		return
	}
	o.removed = true
	c.e.log.Info("an orphaned database user was removed as an operator asked", "mount", c.mount, "connection", c.name, "user", o.Name, "mark", o.Mark)
}

func (c *comparison) stillThere(ctx context.Context, o *orphan) (same bool, err error) {
	err = c.e.accounts(ctx, o.at.connection, []string{o.Name}, func(a plugins.Account) { same = a.Mark == o.Mark })
	return same, err
}

func (c *comparison) drop(ctx context.Context, o *orphan) error {
	role, _, err := c.e.viewRole(ctx, o.mark.mount, o.mark.role)
	if err != nil {
		return err
	}
	var statements []string
	if role != nil && role.Connection == o.mark.connection {
		statements = role.Revocation
	}
	ctx, done := context.WithTimeoutCause(context.WithoutCancel(ctx), dropTimeout, errSlow)
	defer done()
	return c.e.call(ctx, o.at.connection, false, func(ctx context.Context, db plugins.Database) error {
		return db.DropUser(ctx, o.Name, statements)
	})
}

// told is what an operator may read of an error.
func told(err error) string {
	if e := errs.From(err); e != nil {
		return e.Text
	}
	return "internal error: the server's log says more"
}
