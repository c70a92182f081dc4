package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/internal/secret"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// rotationGrace is added to the time that an ALTER may take before nobody expects it to take effect any more. Plugins
// have the database end a statement earlier than that.
const rotationGrace = 10 * time.Second

// errRotating is a Conflict: one rotation of a connection at a time, and no other change to it meanwhile.
func errRotating(name string) error {
	return errs.New(errs.Conflict, "the root credentials of connection %q are being rotated: try again in a moment", name)
}

// rotateRoot changes the password of the user that the connection logs in as, now.
//
// Errors: those of rotateRootOf. Wire: rotate-root/:name.
func (e *Engine) rotateRoot(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, e.rotateRootOf(ctx, r.Mount.UUID, f.Text("name"))
}

// rotateRootOf changes the password of the user that a connection logs in as, and plans the next time where it is changed by itself.
// The package comment draws the states.
//
// Errors: Unavailable (no such connection, nothing to rotate, the database refused or did not answer), Conflict (another
// rotation is under way).
func (e *Engine) rotateRootOf(ctx context.Context, mount, name string) error {
	c, _, err := e.mustFind(ctx, mount, name)
	if err != nil {
		return err
	}
	if err := c.settings.rotatable(); err != nil {
		return err
	}
	if c, err = e.settle(ctx, c); err != nil { // a rotation before this one may have died half-way
		return err
	}
	if err := e.changeRoot(ctx, c); err != nil {
		return err
	}
	e.rootRotated(context.WithoutCancel(ctx), c)
	return nil
}

// changeRoot is the rotation of a connection that is settled.
func (e *Engine) changeRoot(ctx context.Context, c *connection) error {
	next, err := e.password(ctx, c.settings.PasswordPolicy)
	if err != nil {
		return err
	}
	work := context.WithoutCancel(ctx) // a client that hangs up must not leave it half done
	// The time for the ALTER begins before others learn of it, and not when this process, which may have been stopped, comes to it.
	budget, release := context.WithTimeoutCause(work, e.timeout, errSlow)
	defer release()
	if c, err = e.stage(ctx, c, next); err != nil {
		return err
	}
	// Crash: both passwords are in the row from here on until the commit; whoever uses the connection next settles it.
	failpoint.Hit("database/rotate/after-stage")
	deadline, _ := budget.Deadline()
	altering, done := context.WithDeadlineCause(work, deadline, errSlow) // by the clock: the timer of budget may be late
	defer done()
	if err := e.alterRoot(altering, c); err != nil {
		answered := !errors.Is(err, lease.ErrUnknown)
		if settled, failed := e.resolve(work, c, answered); failed != nil || settled.settings.text("password") != next.Reveal() {
			return err
		}
		return nil // the answer was lost, but the database has the next password
	}
	failpoint.Hit("database/rotate/after-alter")
	// Statements of the operator's own may say yes and change nothing, or another user.
	if refused := e.logIn(work, c.settings.with(next)); refused != nil {
		settled, err := e.resolve(work, c, true)
		if err != nil {
			return err
		}
		switch settled.settings.text("password") {
		case next.Reveal():
			return nil
		case c.settings.text("password"):
			return errs.Framed(errs.Unavailable, "the root rotation's statements ran, but the new password does not log in, and the old one stays: "+
				"have root_rotation_statements set {{password}} for {{username}}").Because(refused)
		}
		return errs.New(errs.Conflict, "another rotation of connection %q has overtaken this one", c.name)
	}
	if _, err := e.adopt(work, c); err != nil {
		return err
	}
	failpoint.Hit("database/rotate/after-commit")
	return nil
}

// rotatable refuses what a rotation would lock out.
func (s settings) rotatable() error {
	problem := ""
	switch {
	case s.text("username") == "":
		problem = "no username in configuration"
	case s.text("password") == "":
		problem = "no password in configuration"
	default:
		if _, found := withoutPassword(s.text("connection_url")); !found {
			return nil
		}
		problem = "the password is written in connection_url, use {{password}} there"
	}
	return errs.Framed(errs.Unavailable, "unable to rotate root credentials: %s", problem)
}

func (e *Engine) alterRoot(ctx context.Context, c *connection) error {
	return e.call(ctx, c, true, func(ctx context.Context, db plugins.Database) error {
		return db.AlterUser(ctx, c.settings.text("username"), plugins.Change{
			Password: c.staged, Statements: c.settings.RootRotationStatements,
		})
	})
}

// stage writes down the next password. It is the claim of a rotation, too: there is room for one.
func (e *Engine) stage(ctx context.Context, c *connection, next secret.Text) (*connection, error) {
	return e.change(ctx, c, func(tx *store.Tx, present *connection) error {
		if present.version != c.version || !present.staged.Empty() {
			return errRotating(c.name)
		}
		sealed, err := tx.Seal(stagedCell(c.id), []byte(next.Reveal()))
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE database_connections SET version = $1, staged = $2, staged_until = $3 WHERE id = $4`,
			newVersion(), sealed, store.Micros(tx.Now().Add(e.timeout+rotationGrace)), c.id)
		return err
	})
}

// settle returns a connection whose stored password is the one that logs in. It does nothing but to connections with a
// staged password.
//
// Errors: Unavailable (neither password logs in, or the database cannot be reached).
func (e *Engine) settle(ctx context.Context, c *connection) (*connection, error) {
	if c.staged.Empty() {
		return c, nil
	}
	return e.resolve(ctx, c, false)
}

// resolve tries which password logs in. answered says that no statement that sets the staged one is under way.
//
// When neither does, another may have finished this rotation and begun the next: what it left is tried then.
func (e *Engine) resolve(ctx context.Context, c *connection, answered bool) (*connection, error) {
	for {
		refused := e.logIn(ctx, c.settings)
		if refused == nil {
			return e.keep(ctx, c, answered)
		}
		if e.logIn(ctx, c.settings.with(c.staged)) == nil {
			e.log.Info("a root rotation that was left half-way is finished: the database has the new password", "mount", c.mount, "connection", c.name)
			return e.adopt(ctx, c)
		}
		present, _, err := e.find(ctx, c.mount, c.name)
		switch {
		case err != nil:
			return nil, err
		case present == nil || present.version == c.version:
			return nil, refused
		case present.staged.Empty():
			return present, nil
		}
		c, answered = present, false
	}
}

func (e *Engine) logIn(ctx context.Context, s settings) error {
	var trial pool
	if err := e.open(s, &trial); err != nil {
		return errs.Framed(errs.Unavailable, "error creating database object: %s", err)
	}
	defer trial.close()
	return targetError(e.verify(ctx, &trial))
}

// adopt makes the staged password, which is the database's now, the stored one. When another has settled the row meanwhile, what
// logs in decides: the store's clock may have been set ahead, and the staged password been thrown away while the statement
// that sets it was under way.
func (e *Engine) adopt(ctx context.Context, c *connection) (*connection, error) {
	wrong := "" // the version of a row whose password does not log in
	for {
		after, err := e.change(ctx, c, func(tx *store.Tx, present *connection) error {
			ours := !present.staged.Empty() && present.staged.Equal(c.staged)
			if !ours && present.version != wrong {
				return nil
			}
			present.settings = present.settings.with(c.staged)
			return present.update(tx, ours)
		})
		if err != nil || after.settings.text("password") == c.staged.Reveal() {
			return after, err
		}
		if e.logIn(ctx, after.settings) == nil || e.logIn(ctx, after.settings.with(c.staged)) != nil {
			return after, nil
		}
		wrong = after.version
	}
}

// keep throws the staged password away, but only when it cannot come into force any more.
func (e *Engine) keep(ctx context.Context, c *connection, answered bool) (*connection, error) {
	return e.change(ctx, c, func(tx *store.Tx, present *connection) error {
		if present.staged.Empty() || !present.staged.Equal(c.staged) || !answered && present.stagedUntil.After(tx.Now()) {
			return nil
		}
		return present.update(tx, true)
	})
}

// change runs fn on the present row, and returns the row as it is afterwards. Pools of an older version are closed.
func (e *Engine) change(ctx context.Context, c *connection, fn func(tx *store.Tx, present *connection) error) (after *connection, err error) {
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		present, err := findConnection(tx, c.mount, c.name)
		if err != nil {
			return err
		}
		if present == nil {
			return errNoConnection(c.name)
		}
		if err := fn(tx, present); err != nil {
			return err
		}
		after, err = findConnection(tx, c.mount, c.name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rotate the root credentials of connection %q: %w", c.name, err)
	}
	if after.version != c.version {
		e.pools.forget(c.id)
	}
	return after, nil
}
