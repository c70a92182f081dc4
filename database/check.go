package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// A role check does on the real database what an application and its lease would: it makes a user, logs in as it, lists its rights,
// renews it and removes it.
//
// The user is on record like any other before it is made, on a lease below check/ROLE that ends in a few minutes. So a crash in
// the middle leaves it to the reaper, and a removal that fails is tried again until it is done: first by the role's statements, then
// by the plugin's own means, see Revoke.
//
// A role that is written with verify is stored only when its user could be made, renewed and removed. That it cannot log in is a
// warning: it may be meant for other machines than this one. A user's rights are told for the operator to judge.

// checkTTL is how long the lease of a check is: longer than all of its steps may take.
const checkTTL = 5 * time.Minute

// maxGrants is how many lines of a user's rights are told.
const maxGrants = 200

// The steps of a check, in their order.
const (
	stepCreate = "create"
	stepLogin  = "login"
	stepGrants = "grants"
	stepRenew  = "renew"
	stepRevoke = "revoke"
)

// step is what came of one thing that was tried. Its text is safe to show.
type step struct {
	name string
	ok   bool
	text string
}

// report is what a check has found.
type report struct {
	role, connection string
	user             string // as clients are told it; empty: no name was made
	steps            []step
	grants           []string
	log              *slog.Logger
}

func (r *report) note(name, done string, err error) {
	s := step{name: name, ok: err == nil, text: done}
	if err != nil {
		s.text = r.tell(err)
	}
	r.steps = append(r.steps, s)
}

// tell is what a client may hear of an error.
func (r *report) tell(err error) string {
	if errs.From(err) == nil {
		r.log.Error("a step of a role check could not be taken", "role", r.role, "error", err)
	}
	return told(err)
}

func (r *report) failed(which func(name string) bool) (failed []step) {
	for _, s := range r.steps {
		if !s.ok && which(s.name) {
			failed = append(failed, s)
		}
	}
	return failed
}

// grave steps decide whether a role is stored.
func grave(name string) bool { return name == stepCreate || name == stepRenew || name == stepRevoke }

// refusal is why the role cannot be stored; nil: it can be.
func (r *report) refusal() error {
	failed := r.failed(grave)
	if len(failed) == 0 {
		return nil
	}
	var reasons []string
	for _, s := range failed {
		reasons = append(reasons, s.name+": "+s.text)
	}
	refused := errs.New(errs.Invalid, "role %q was not stored, because its check failed: %s", r.role, strings.Join(reasons, "; "))
	refused.Data = r.shown()
	return refused
}

// warnings are about what failed and did not keep the role from being stored.
func (r *report) warnings() (warnings []string) {
	for _, s := range r.failed(func(name string) bool { return !grave(name) }) {
		warnings = append(warnings, fmt.Sprintf("the role was stored, but its check failed at %s: %s", s.name, s.text))
	}
	return warnings
}

// shown is the answer.
func (r *report) shown() map[string]any {
	steps := []map[string]any{}
	for _, s := range r.steps {
		steps = append(steps, map[string]any{"step": s.name, "ok": s.ok, "text": s.text})
	}
	all := func(string) bool { return true }
	return map[string]any{
		"role": r.role, "connection": r.connection, "username": r.user, "ok": len(r.failed(all)) == 0,
		"steps": steps, "grants": list(r.grants),
	}
}

// checkRole tries a stored role and reports; that a step failed is no error.
//
// Errors: Invalid (no such role, or a static one).
func (e *Engine) checkRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	found, kind, err := e.viewRole(ctx, r.Mount.UUID, name)
	switch {
	case err != nil:
		return nil, err
	case kind == static:
		return nil, errs.New(errs.Invalid, "%q is a static role: its user is neither made nor removed here, so there is nothing to check", name)
	case found == nil:
		return nil, errs.New(errs.Invalid, "unknown role: %s", name)
	}
	checked, err := e.check(ctx, r, name, found)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: checked.shown()}, nil
}

// checkCandidate tries a role as it would be after the write. former is the role as it was found.
//
// Errors: Invalid (the fields, or a grave step failed).
func (e *Engine) checkCandidate(ctx context.Context, r *engine.Request, f *engine.Fields) (former *role, checked *report, err error) {
	mount, name := r.Mount.UUID, f.Text("name")
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		former, err = roleToChange(tx, mount, name)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read role %q: %w", name, err)
	}
	candidate := *former // merge replaces what it changes, and alters nothing in place
	if err := candidate.merge(f); err != nil {
		return nil, nil, err
	}
	if checked, err = e.check(ctx, r, name, &candidate); err != nil {
		return nil, nil, err
	}
	return former, checked, checked.refusal()
}

// check tries a role. Its errors are those that are not about the role.
func (e *Engine) check(ctx context.Context, r *engine.Request, name string, candidate *role) (*report, error) {
	found := &report{role: name, connection: candidate.Connection, log: e.log}
	m, err := e.makeUser(ctx, r, name, candidate)
	if m != nil {
		found.user = m.user.shown
	}
	if err != nil {
		switch errs.CodeOf(err) {
		case errs.Invalid, errs.Conflict, errs.Unavailable:
		default:
			return nil, err
		}
		found.note(stepCreate, "", err)
		return found, e.noteAbandoned(context.WithoutCancel(ctx), found, m)
	}
	found.note(stepCreate, "the user was made", nil)
	// Crash: from here on the lease has the user removed. A client that hangs up only cuts the steps before the removal short.
	e.tryUser(ctx, found, m)
	e.removeChecked(context.WithoutCancel(ctx), found, m)
	return found, nil
}

// noteAbandoned tells what is left of a user that could not be made: nothing, unless it is not known whether there is one.
func (e *Engine) noteAbandoned(ctx context.Context, found *report, m *made) error {
	if m == nil || m.record.ID == "" {
		return nil
	}
	left := false
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		left, err = e.leases.Has(tx, m.record.ID)
		return err
	})
	if err == nil && left {
		found.note(stepRevoke, "", errs.New(errs.Unavailable, "whether there is a user is not known yet: lease %s stays until it is seen to be gone",
			m.record.ID))
	}
	return err
}

// tryUser logs in as the user, lists its rights and renews it.
func (e *Engine) tryUser(ctx context.Context, found *report, m *made) {
	err := e.logInAs(ctx, e.timeout, m.connection, m.role.Credential.Type, m.user.text, m.login.password)
	switch {
	case untried(err):
		found.note(stepLogin, "not tried: "+err.Error(), nil)
	case errors.Is(err, plugins.ErrWrongPassword), errors.Is(err, plugins.ErrNotAdmitted):
		found.note(stepLogin, "", errs.New(errs.Unavailable, "the user cannot log in from this server: %s", err))
	default:
		found.note(stepLogin, "the user logs in", err)
	}

	able := false
	err = e.call(ctx, m.connection, true, func(ctx context.Context, db plugins.Database) (err error) {
		var granter plugins.Granter
		if granter, able = db.(plugins.Granter); able {
			found.grants, err = granter.Grants(ctx, m.user.text)
		}
		return err
	})
	switch all := len(found.grants); {
	case err == nil && !able:
		found.note(stepGrants, "not listed: the plugin does not tell them", nil)
	case all > maxGrants:
		found.grants = append(found.grants[:maxGrants], fmt.Sprintf("-- and %d more", all-maxGrants))
		found.note(stepGrants, fmt.Sprintf("%d told, %d of them listed", all, maxGrants), err)
	default:
		found.note(stepGrants, fmt.Sprintf("%d told", all), err)
	}

	found.note(stepRenew, "the user can be renewed", e.call(ctx, m.connection, true, func(ctx context.Context, db plugins.Database) error {
		return db.AlterUser(ctx, m.user.text, plugins.Change{Expiration: m.record.ExpiresAt.Add(expiryGrace), Statements: m.role.Renewal})
	}))
}

// removeChecked removes the user as the role says, and reports that. It does so once: of a name that is not random another user may be
// made at any time afterwards. Where the role does not remove it, the lease does, by other means, or stays until it can.
func (e *Engine) removeChecked(ctx context.Context, found *report, m *made) {
	refused := e.leases.RevokeBy(ctx, m.record.ID, func(ctx context.Context, _ lease.Record) error {
		return e.call(ctx, m.connection, false, func(ctx context.Context, db plugins.Database) error {
			return db.DropUser(ctx, m.user.text, m.role.Revocation)
		})
	})
	if refused == nil {
		found.note(stepRevoke, "the user was removed, and is gone", nil)
		return
	}
	outcome := "it was removed by other means"
	if err := e.leases.Revoke(ctx, m.record.ID, true); err != nil {
		outcome = "lease " + m.record.ID + " stays, and is tried again until it is gone"
	}
	found.note(stepRevoke, "", errs.New(errs.Unavailable, "the user could not be removed again: %s (%s)", found.tell(refused), outcome))
}
