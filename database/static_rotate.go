package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/failpoint"
	"leasehold/internal/secret"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// A rotation of a static role is safe to begin again at any point, because a staged password is only ever replaced when the
// database is known not to have it: whoever finds one sends the same one again. The package comment draws the states.

// errOvertaken says that the row changed between reading it and claiming it.
var errOvertaken = errs.New(errs.Conflict, "the static role was changed at the same time: try again")

// claimPoll is the pause between two looks at a claim that somebody waits for.
const claimPoll = 20 * time.Millisecond

// confirms reports whether what is staged is the present password, sent once more because an earlier one might take effect late.
func (r *rotation) confirms() bool { return !r.staged.Empty() && r.staged.Equal(r.password) }

// attempt is a claimed rotation.
type attempt struct {
	*managed
	connection *connection // nil: nothing could be claimed
	deadline   time.Time   // of the statement
	doubted    bool        // the database might have had the staged password before
	trusting   bool        // the database's word will do for that it has the staged password
}

// attempt begins one. The time for the statement runs before others learn of it, and not only when this process, which may have
// been stopped, comes to it.
func (e *Engine) attempt(ctx context.Context, c *connection) *attempt {
	budget, done := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	defer done()
	deadline, _ := budget.Deadline()
	return &attempt{connection: c, deadline: deadline}
}

// rotateRole rotates a static role now.
//
// Errors: Invalid (no such role), Unavailable (as for credentials; a failed rotation is tried again by itself).
// Wire: rotate-role/:name.
func (e *Engine) rotateRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	key := id(r.Mount.UUID, f.Text("name"))
	patience, done := context.WithTimeout(ctx, e.timeout)
	defer done()
	for {
		m, err := e.unclaimed(ctx, key)
		if err != nil {
			return nil, err
		}
		if m == nil || !m.born {
			return nil, errs.New(errs.Invalid, "no static role found for role name")
		}
		err = e.rotateManaged(ctx, m, true)
		if errors.Is(err, errOvertaken) && patience.Err() == nil {
			continue // somebody else has rotated it meanwhile; that is not this rotation
		}
		if shown := errs.From(err); shown != nil {
			err = errs.Framed(errs.Unavailable, "unable to finish rotating credentials; retries will continue in the background "+
				"but it is also safe to retry manually: %s", shown.Text).Because(err)
		}
		return nil, err
	}
}

// unclaimed reads a static role that nobody is working at; nil: there is none. It waits for whoever is, as long as a client waits.
func (e *Engine) unclaimed(ctx context.Context, key string) (m *managed, err error) {
	patience, done := context.WithTimeout(ctx, e.timeout)
	defer done()
	for {
		claimed := false
		m, claimed, err = e.viewManaged(ctx, key)
		if err != nil || !claimed {
			return m, err
		}
		select {
		case <-patience.Done():
			return m, ctx.Err()
		case <-time.After(claimPoll):
		}
	}
}

// viewManaged reads a static role in a transaction of its own; nil: there is none. claimed says that somebody works at it.
func (e *Engine) viewManaged(ctx context.Context, key string) (m *managed, claimed bool, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		if m, err = findManaged(tx, key); m != nil {
			claimed = m.claimedUntil.After(tx.Now())
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("read static role %s: %w", key, err)
	}
	return m, claimed, nil
}

// rotateManaged rotates a role as it was read, or finishes a rotation that was left half-way. anew asks for another password also
// where the present one is only to be confirmed.
//
// Errors: errOvertaken (nothing was done), Unavailable (it is tried again later).
func (e *Engine) rotateManaged(ctx context.Context, m *managed, anew bool) error {
	work := context.WithoutCancel(ctx) // a client that hangs up must not leave it half done
	c, err := e.staticTarget(work, m)
	if err != nil {
		return e.setBack(work, &attempt{managed: m, doubted: m.doubt}, err)
	}
	next := secret.Text{}
	if m.staged.Empty() || m.confirms() {
		if next, err = e.nextPassword(work, m.role, c); err != nil {
			return e.setBack(work, &attempt{managed: m, doubted: m.doubt}, err)
		}
	}
	a := e.attempt(work, c)
	err = e.store.Update(work, func(tx *store.Tx) error {
		present, err := findManaged(tx, m.id)
		if err != nil {
			return err
		}
		if present == nil || present.version != m.version {
			return errOvertaken
		}
		a.managed, a.doubted, a.trusting = present, present.doubt, !anew && present.proven()
		if present.staged.Empty() || present.confirms() && (anew || !present.planned.After(tx.Now())) {
			present.staged, a.doubted = next, false
		}
		e.claim(present, tx.Now())
		return present.saveRotation(tx)
	})
	switch {
	case errors.Is(err, errOvertaken):
		return err
	case err != nil:
		return fmt.Errorf("begin to rotate static role %s: %w", m.id, err)
	}
	return e.carryOut(work, a)
}

// staticTarget is the connection that a static role's user is changed through.
//
// Errors: Unavailable (none of that name, the role is not allowed, neither of its own passwords works), Invalid (the database has no
// such credentials).
func (e *Engine) staticTarget(ctx context.Context, m *managed) (*connection, error) {
	c, _, err := e.mustFind(ctx, m.mount, m.role.Connection)
	if err != nil {
		return nil, err
	}
	return e.usable(ctx, c, m.name, m.role.Credential.Type)
}

// proven reports whether nothing is in doubt about a planned rotation: it is of one user, whose password is known, by the plugin's own
// statement, and the last attempt went well. A login is most of what a rotation costs a database.
func (m *managed) proven() bool {
	return !m.password.Empty() && !m.doubt && m.attempts == 0 && m.role.Second == "" && len(m.role.Statements) == 0
}

// claim notes who is about to send a staged password, and until when it can take effect. The caller saves that first.
func (e *Engine) claim(m *managed, now time.Time) {
	m.quiet(now, m.claimedUntil)
	m.version, m.doubt, m.claimant = newVersion(), true, e.node()
	m.claimedUntil = now.Add(e.timeout + rotationGrace)
	m.due = m.claimedUntil
}

// quiet notes until when a statement that was not answered may take effect.
func (r *rotation) quiet(now, until time.Time) {
	if until.After(r.quietUntil) {
		r.quietUntil = until
	}
	if !r.quietUntil.After(now) {
		r.quietUntil = time.Time{}
	}
}

// carryOut sends what was claimed, and settles the row.
func (e *Engine) carryOut(ctx context.Context, a *attempt) error {
	// Crash: both passwords are in the row from here on until the commit; whoever claims it next sends the staged one again.
	failpoint.Hit("database/static/after-stage")
	began := e.clock.Now()
	altering, done := context.WithDeadlineCause(ctx, a.deadline, errSlow) // by the clock: a process may have been stopped
	defer done()
	err := e.alterStatic(altering, a)
	failpoint.Hit("database/static/after-alter")
	took := e.clock.Now().Sub(began)
	answered := !errors.Is(err, lease.ErrUnknown)
	switch {
	case err == nil && a.trusting:
	case err == nil:
		err = e.prove(ctx, a)
		a.doubted = a.doubted || err != nil // the database said that it has it
	case !answered && e.logInAs(ctx, probeTimeout, a.connection, a.role.Credential.Type, a.target(), a.staged) == nil:
		err = nil // only the answer was lost
	}
	e.onRotated(a.mount, a.role.Connection, took, err)
	if err != nil {
		return e.setBack(ctx, a, err)
	}
	if err := e.adoptStatic(ctx, a, answered); err != nil {
		return err
	}
	failpoint.Hit("database/static/after-commit")
	return nil
}

// prove logs in with the staged password that the database says it has: statements of the operator's own may say yes and change
// nothing, or another user. Where a user cannot log in from here at all, the database's word has to do, but not where users take
// turns: clients can go on with the other one.
func (e *Engine) prove(ctx context.Context, a *attempt) error {
	refused := e.logInAs(ctx, e.timeout, a.connection, a.role.Credential.Type, a.target(), a.staged)
	alone, notAdmitted := a.role.Second == "", errors.Is(refused, plugins.ErrNotAdmitted)
	switch {
	case refused == nil, alone && untried(refused):
		return nil
	case alone && notAdmitted && (a.password.Empty() || e.logInAs(ctx, probeTimeout, a.connection, a.role.Credential.Type, a.user(), a.password) != nil):
		e.log.Warn("a static role's user cannot log in from here, so its new password was not tried", "mount", a.mount, "role", a.name)
		return nil
	case notAdmitted, errors.Is(refused, plugins.ErrWrongPassword), untried(refused):
		return errs.Framed(errs.Unavailable, "the rotation's statements ran, but the new password does not log in as %q: %s: "+
			"have rotation_statements set {{password}} for {{username}}", a.target(), refused)
	}
	// Not Unreachable: the database has just answered, so this is about one role, and holds up no other.
	return errs.Framed(errs.Unavailable, "the new password could not be tried: %s", told(refused)).Because(lease.ErrUnknown)
}

// alterStatic has the database take the staged password. It begins again when the connection was changed or its own password
// rotated meanwhile.
func (e *Engine) alterStatic(ctx context.Context, a *attempt) error {
	if a.connection.settings.selfManaged() {
		return e.alterAsItself(ctx, a)
	}
	for try := 1; ; try++ {
		err := e.call(ctx, a.connection, false, a.alter)
		if err == nil || try == issueAttempts || !e.overtaken(ctx, a.connection, err) {
			return err
		}
		if a.connection, err = e.staticTarget(ctx, a.managed); err != nil {
			return err
		}
	}
}

func (a *attempt) alter(ctx context.Context, db plugins.Database) error {
	change := plugins.Change{Password: a.staged, Statements: a.role.Statements}
	if a.role.Credential.Type == plugins.TypeRSA {
		key, err := storedKey(a.staged)
		if err != nil {
			return &plugins.Error{Op: "alter user", Class: plugins.Permanent, Err: err}
		}
		change.Password, change.Key = secret.Text{}, key
	}
	return db.AlterUser(ctx, a.target(), change)
}

// alterAsItself is alterStatic for a connection without a user of its own: the static role's user changes its own password. It can
// do so no more once the database has the staged one, and need not.
func (e *Engine) alterAsItself(ctx context.Context, a *attempt) error {
	if a.doubted && e.logInAs(ctx, probeTimeout, a.connection, a.role.Credential.Type, a.target(), a.staged) == nil {
		return nil
	}
	var own pool
	if err := e.open(a.connection.settings.as(a.role.Username, a.password), &own); err != nil {
		return errs.Framed(errs.Unavailable, "error creating database object: %s", err)
	}
	defer own.close()
	err := a.alter(ctx, own.db)
	if errors.Is(err, plugins.ErrWrongPassword) || errors.Is(err, plugins.ErrNotAdmitted) { // this user's fault, not the database's
		return errs.Framed(errs.Unavailable, "%s", err)
	}
	return targetError(err)
}

// selfManaged reports whether each static role's user logs in by itself to change its password.
func (s settings) selfManaged() bool { return s.flag("self_managed") }

// flag is a setting that is true, or "true".
func (s settings) flag(name string) bool {
	on, err := s.Details.Bool(name)
	return err == nil && on
}

// as is a copy of the settings with another user.
func (s settings) as(username string, password secret.Text) settings {
	s = s.with(password)
	s.Details["username"] = username
	return s
}

// Why a login was not tried.
var (
	errNoTrial     = errors.New("connection_url has no {{username}} and {{password}} in it") // it does not tell who logs in
	errNotPassword = errors.New("the user logs in with a key, and only passwords are tried")
)

func untried(err error) bool { return errors.Is(err, errNoTrial) || errors.Is(err, errNotPassword) }

func (s settings) templated() bool {
	url := s.text("connection_url")
	return strings.Contains(url, "{{username}}") && strings.Contains(url, "{{password}}")
}

// logInAs tries to log in as another user.
//
// Errors: errNoTrial, errNotPassword, plugins.ErrWrongPassword, plugins.ErrNotAdmitted; Unavailable (the database did not answer).
func (e *Engine) logInAs(ctx context.Context, patience time.Duration, c *connection, credentialType, username string, password secret.Text) error {
	switch {
	case credentialType != plugins.TypePassword:
		return errNotPassword
	case !c.settings.templated():
		return errNoTrial
	}
	ctx, done := context.WithTimeoutCause(ctx, patience, errSlow)
	defer done()
	var trial pool
	if err := e.open(c.settings.as(username, password), &trial); err != nil {
		return errs.Framed(errs.Unavailable, "error creating database object: %s", err)
	}
	defer trial.close()
	err := e.verify(ctx, &trial)
	for _, why := range []error{plugins.ErrWrongPassword, plugins.ErrNotAdmitted} {
		if errors.Is(err, why) {
			return why
		}
	}
	return targetError(err)
}

// adoptStatic makes the staged password, which is the database's now, the present one, whoever holds the claim: it cannot be
// given up while it is in the row. answered says that this attempt's statement cannot take effect any more.
func (e *Engine) adoptStatic(ctx context.Context, a *attempt, answered bool) error {
	late := false
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		late = false
		present, err := findManaged(tx, a.id)
		if err != nil || present == nil {
			return err // deleted meanwhile
		}
		now := tx.Now()
		switch {
		case present.staged.Equal(a.staged):
			if present.version != a.version || !answered { // of somebody else, or ours
				present.quiet(now, present.claimedUntil)
			}
			return present.adopt(tx)
		case present.password.Equal(a.staged):
			return nil // another has sent the same one
		}
		// This process was stopped for longer than anybody waits, and its statement came after a newer one.
		late = true
		present.version, present.planned = newVersion(), now
		if !present.claimedUntil.After(now) {
			present.due = now
		}
		return present.saveRotation(tx)
	})
	if err != nil {
		return fmt.Errorf("finish rotating static role %s: %w", a.id, err)
	}
	if late {
		e.log.Warn("a rotation came too late, and after a newer one: the role is rotated once more", "mount", a.mount, "role", a.name)
	}
	return nil
}

// adopt settles a row whose staged password the database has. While an earlier statement may still take effect, the row stays
// staged with the present password: it is sent once more when that time is over.
func (m *managed) adopt(tx *store.Tx) (err error) {
	now := tx.Now()
	if !m.confirms() {
		if m.target() != m.user() {
			m.slot = 1 - m.slot
		}
		m.password, m.rotated = m.staged, now
		if m.planned, err = m.role.Rhythm.after(now); err != nil {
			return err
		}
	}
	m.quiet(now, time.Time{})
	m.version, m.born, m.claimant, m.claimedUntil = newVersion(), true, 0, time.Time{}
	m.attempts, m.failure = 0, ""
	m.staged, m.doubt, m.due = secret.Text{}, false, m.planned
	if !m.quietUntil.IsZero() {
		m.staged, m.doubt = m.password, true
		if m.quietUntil.Before(m.due) {
			m.due = m.quietUntil
		}
	}
	return m.saveRotation(tx)
}

// setBack notes a failed attempt and when it is tried again, and returns what the client may hear: cause, or nothing when another
// has finished the rotation meanwhile. A role that was being made is forgotten when its user is as it was.
func (e *Engine) setBack(ctx context.Context, a *attempt, cause error) error {
	var first, done bool
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		first, done = false, false
		present, err := findManaged(tx, a.id)
		if err != nil || present == nil {
			return err
		}
		if present.version != a.version {
			done = !a.staged.Empty() && present.password.Equal(a.staged)
			return nil
		}
		now := tx.Now()
		unknown := errors.Is(cause, lease.ErrUnknown)
		if unknown || a.connection == nil { // not answered, or somebody else's
			present.quiet(now, present.claimedUntil)
		}
		unreachable := errors.Is(cause, lease.ErrUnreachable)
		present.doubt = a.doubted || unknown
		present.version, present.claimant, present.claimedUntil = newVersion(), 0, time.Time{}
		switch {
		case !present.born && !unknown && (!unreachable || !present.doubt):
			return present.remove(tx)
		case present.doubt:
		case present.quietUntil.After(now) && !present.password.Empty():
			present.staged, present.doubt = present.password, true // still to be confirmed
		default:
			present.staged = secret.Text{} // the database may have refused this very password
		}
		present.failure = told(cause)
		present.due = now // it waits for its database, which is probed
		if !unreachable {
			present.attempts++
			present.due = now.Add(rotationPause(present.attempts))
		}
		first = present.attempts == 1
		return present.saveRotation(tx)
	})
	switch {
	case err != nil:
		e.log.Warn("a failed rotation could not be noted; it is due again when its claim runs out", "mount", a.mount, "role", a.name, "error", err)
	case done:
		return nil
	case first:
		e.log.Warn("a static role could not be rotated; it is tried again", "mount", a.mount, "role", a.name, "error", cause)
	}
	return cause
}
