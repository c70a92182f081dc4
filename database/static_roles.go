package database

import (
	"context"
	"fmt"
	"slices"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/store"
)

func (e *Engine) staticPaths() []*engine.Path {
	return []*engine.Path{
		{
			Pattern: "static-roles", Fields: engine.Schema{"after": engine.Text, "limit": engine.Int}, Ops: engine.Ops{engine.List: e.listStaticRoles},
			Help: "List the static roles.",
		},
		{
			Pattern: "static-roles/:name", Fields: staticRoleFields, Exists: e.staticRoleExists,
			Ops:  engine.Ops{engine.Update: e.writeStaticRole, engine.Read: e.readStaticRole, engine.Delete: e.deleteStaticRole},
			Help: "Configure a static role: a user that is there, and when its password is rotated.",
		},
		{
			Pattern: "static-creds/:name", Fields: nameField, Ops: engine.Ops{engine.Read: e.readStaticCredentials},
			Help: "Read the present password of a static role's user.",
		},
		{
			Pattern: "rotate-role/:name", Fields: nameField, Ops: engine.Ops{engine.Update: e.rotateRole},
			Help: "Rotate a static role's password now.",
		},
	}
}

// sharedWarning tells of two static roles that change each other's password.
const sharedWarning = "another static role manages this user through the same connection: each of them changes the password that the other one hands out"

// staticRoleExists implements the router's Exists.
func (e *Engine) staticRoleExists(ctx context.Context, r *engine.Request, f *engine.Fields) (bool, error) {
	m, _, err := e.viewManaged(ctx, id(r.Mount.UUID, f.Text("name")))
	return m != nil && m.born, err
}

// writeStaticRole makes a static role, which rotates its user's password at once, or changes the named fields of one.
//
// Errors: Invalid (a field, a name that a role has), Conflict (another write), Unavailable (as for credentials).
func (e *Engine) writeStaticRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	mount, name := r.Mount.UUID, f.Text("name")
	_, kind, err := e.viewRole(ctx, mount, name)
	if err != nil {
		return nil, err
	}
	if kind == dynamic {
		return nil, errNameTaken
	}
	m, err := e.unclaimed(ctx, id(mount, name))
	if err != nil {
		return nil, err
	}
	if m != nil && m.born {
		return nil, e.changeStaticRole(ctx, m, f)
	}
	return e.makeStaticRole(ctx, mount, name, f)
}

// makeStaticRole takes a user over. Until the database has its new password, nobody sees the role.
func (e *Engine) makeStaticRole(ctx context.Context, mount, name string, f *engine.Fields) (*engine.Response, error) {
	m := &managed{name: name, role: staticRole{Credential: credential{Type: plugins.TypePassword}}}
	if _, err := m.role.merge(f); err != nil {
		return nil, err
	}
	m.id, m.mount, m.connection, m.password = id(mount, name), mount, id(mount, m.role.Connection), givenPassword(f)
	c, err := e.staticTarget(ctx, m)
	if err != nil {
		return nil, err
	}
	m.role.SkipImport = f.BoolOr("skip_import_rotation", c.settings.flag("skip_static_role_import_rotation"))
	if err := m.role.suits(c); err != nil {
		return nil, err
	}
	if c.settings.selfManaged() && m.password.Empty() {
		return nil, errs.New(errs.Invalid, "password is a required field for a static account of a self-managed connection")
	}
	if m.role.Second != "" && !m.role.SkipImport {
		m.password = secret.Text{} // the first user gets another one, and not the second: what was told is of no use
	}
	if err := e.refuseType(ctx, c, m.role.Credential.Type); err != nil {
		return nil, err
	}
	next, err := e.nextPassword(ctx, m.role, c)
	if err != nil {
		return nil, err
	}
	work := context.WithoutCancel(ctx)
	a := e.attempt(work, c)
	shared := false
	err = e.store.Update(work, func(tx *store.Tx) error {
		made := *m
		a.managed, a.doubted = &made, false
		_, kind, err := findRole(tx, mount, name)
		if err == nil && kind == dynamic {
			err = errNameTaken
		}
		if err != nil {
			return err
		}
		present, err := findManaged(tx, m.id)
		switch {
		case err != nil:
			return err
		case present != nil && present.born:
			return errs.New(errs.Conflict, "static role %q was made at the same time: try again", name)
		case present != nil && present.connection == m.connection && present.role.Username == m.role.Username &&
			present.role.Credential.Type == m.role.Credential.Type:
			// An attempt before this one had no answer, or its process has died: the same password is sent again.
			made.staged, made.quietUntil, made.claimedUntil, a.doubted = present.staged, present.quietUntil, present.claimedUntil, true
		}
		if shared, err = sharesUser(tx, &made); err != nil {
			return err
		}
		made.role.Since = tx.Now()
		if made.planned, err = made.role.Rhythm.after(tx.Now()); err != nil {
			return err
		}
		if made.role.SkipImport && !a.doubted {
			made.born, made.version, made.due = true, newVersion(), made.planned
			return made.save(tx)
		}
		if made.staged.Empty() {
			made.staged = next
		}
		e.claim(&made, tx.Now())
		return made.save(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("store static role %q: %w", name, err)
	}
	if !a.born {
		if err := e.carryOut(work, a); err != nil {
			return nil, err
		}
	}
	if !shared {
		return nil, nil
	}
	return &engine.Response{Warnings: []string{sharedWarning}}, nil
}

// suits refuses a connection that cannot rotate the role's users.
func (r *staticRole) suits(c *connection) error {
	switch own := c.settings.text("username"); {
	case r.Second != "" && c.settings.selfManaged():
		return errs.New(errs.Invalid, "second_username needs a connection that has a user of its own, and %q is self-managed", c.name)
	case r.Second != "" && !c.settings.templated():
		return errs.New(errs.Invalid, "second_username needs {{username}} and {{password}} in the connection_url of %q", c.name)
	case r.Credential.Type != plugins.TypePassword && (r.Second != "" || c.settings.selfManaged()):
		return errs.New(errs.Invalid, "credential_type %q goes neither with second_username nor with a self-managed connection", r.Credential.Type)
	case own != "" && (own == r.Username || own == r.Second):
		return errs.New(errs.Invalid, "the connection itself logs in as %q: its password is rotated by rotate-root/%s", own, c.name)
	}
	return nil
}

// sharesUser reports whether another static role has a user of this one.
func sharesUser(tx *store.Tx, m *managed) (bool, error) {
	first, second, err := m.role.accounts(tx)
	if err != nil {
		return false, err
	}
	if second == "" {
		second = first
	}
	var others int
	err = tx.QueryRow(`SELECT COUNT(*) FROM database_rotations WHERE (account IN ($1, $2) OR second_account IN ($1, $2))
		AND connection = $3 AND id <> $4`, first, second, m.connection, m.id).Scan(&others)
	return others > 0, err
}

// changeStaticRole changes the named fields. It rotates nothing, but a user on another connection is due at once: what is stored
// is not its password there.
func (e *Engine) changeStaticRole(ctx context.Context, m *managed, f *engine.Fields) error {
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		present, err := findManaged(tx, m.id)
		if err != nil {
			return err
		}
		if present == nil || !present.born {
			return errs.New(errs.Conflict, "static role %q was changed at the same time: try again", m.name)
		}
		second := present.role.Second
		replan, err := present.role.merge(f)
		if err != nil {
			return err
		}
		c, err := findLive(tx, present.mount, present.role.Connection)
		if err == nil && c == nil {
			err = errNoConnection(present.role.Connection)
		}
		if err == nil {
			err = present.role.suits(c)
		}
		if err != nil {
			return err
		}
		if present.role.Second != second && !present.staged.Empty() { // whose it is to be must not change
			return errRotatingStatic(m.name)
		}
		present.role.SkipImport = f.BoolOr("skip_import_rotation", present.role.SkipImport)
		if err := present.replan(tx.Now(), replan); err != nil {
			return err
		}
		if password := givenPassword(f); !password.Empty() {
			if present.doubt && !present.confirms() {
				return errRotatingStatic(m.name)
			}
			present.password, present.staged, present.doubt, present.version = password, secret.Text{}, false, newVersion()
		}
		return present.save(tx)
	})
	if err != nil {
		return fmt.Errorf("store static role %q: %w", m.name, err)
	}
	return nil
}

// errRotatingStatic refuses what would confuse a rotation that is not finished.
func errRotatingStatic(name string) error {
	return errs.New(errs.Conflict, "static role %q is being rotated: try again in a moment", name)
}

// replan works the next time out for a changed role. What is being tried, or is to be tried again, keeps its pace.
func (m *managed) replan(now time.Time, another bool) (err error) {
	before := m.connection
	m.connection = id(m.mount, m.role.Connection)
	switch {
	case m.connection != before:
		m.planned = now
	case !another:
		return nil
	case m.role.Rhythm.Schedule != "":
		m.planned, err = m.role.Rhythm.after(now)
	case m.rotated.IsZero():
		m.planned, err = m.role.Rhythm.after(m.role.Since)
	default:
		m.planned, err = m.role.Rhythm.after(m.rotated)
	}
	if m.staged.Empty() && m.attempts == 0 || m.confirms() && m.planned.Before(m.due) {
		m.due = m.planned
	}
	return err
}

// readStaticRole shows what was written, and how the rotations go: when the next one is planned and when somebody looks next, which is
// later or sooner after a failure; and why the last attempt failed, since one succeeded.
func (e *Engine) readStaticRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m, _, err := e.viewManaged(ctx, id(r.Mount.UUID, f.Text("name")))
	if err != nil {
		return nil, err
	}
	if m == nil || !m.born {
		return nil, errs.New(errs.NotFound, "")
	}
	data := m.shown()
	data["username"] = m.role.Username
	if m.role.Second != "" {
		data["second_username"] = m.role.Second
	}
	data["db_name"], data["credential_type"], data["rotation_statements"] = m.role.Connection, m.role.Credential.Type, list(m.role.Statements)
	data["next_rotation"], data["next_attempt"] = wireTime(m.planned), wireTime(m.due)
	data["unfinished"], data["failed_attempts"], data["last_error"] = m.doubt && !m.confirms(), m.attempts, m.failure
	if m.role.SkipImport {
		data["skip_import_rotation"] = true
	}
	if config := m.role.Credential.shown(); config != nil {
		data["credential_config"] = config
	}
	return &engine.Response{Data: data}, nil
}

// shown is what the answers of a role and of its credentials have in common.
func (m *managed) shown() map[string]any {
	data := map[string]any{"last_vault_rotation": wireTime(m.rotated)}
	if m.role.Rhythm.Schedule == "" {
		data["rotation_period"] = int64(m.role.Rhythm.Period / time.Second)
	} else {
		data["rotation_schedule"] = m.role.Rhythm.Schedule
		data["rotation_window"] = int64(m.role.Rhythm.Window / time.Second)
	}
	return data
}

// deleteStaticRole forgets a role. The user stays in its database, with the password that it has.
func (e *Engine) deleteStaticRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	key := id(r.Mount.UUID, f.Text("name"))
	if _, err := e.unclaimed(ctx, key); err != nil { // so that a rotation does not end behind the last answer
		return nil, err
	}
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		m, err := findManaged(tx, key)
		if err != nil || m == nil {
			return err
		}
		return m.remove(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("delete static role %q: %w", f.Text("name"), err)
	}
	return nil, nil
}

func (e *Engine) listStaticRoles(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	names, err := e.names(ctx, `SELECT r.name FROM database_rotations s JOIN database_roles r ON r.id = s.id
		WHERE s.mount = $1 AND s.born = 1`, r.Mount.UUID)
	if err != nil {
		return nil, err
	}
	return page(names, f)
}

// readStaticCredentials hands out the present password. There is no lease.
//
// Errors: Invalid (no such role), Unavailable (no such connection, role not allowed, a password that is not known yet).
// Wire: static-creds/:name.
func (e *Engine) readStaticCredentials(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	mount, name := r.Mount.UUID, f.Text("name")
	var m *managed
	var c *connection
	var now time.Time
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		now = tx.Now()
		if m, err = findManaged(tx, id(mount, name)); err != nil || m == nil {
			return err
		}
		c, err = findLive(tx, mount, m.role.Connection)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read static role %q: %w", name, err)
	case m == nil || !m.born:
		return nil, errs.New(errs.Invalid, "unknown role: %s", name)
	case c == nil:
		return nil, errNoConnection(m.role.Connection)
	case !c.settings.allows(name):
		return nil, errNotAllowed(name)
	}
	password := m.password
	// A rotation is under way, or was left half-way: the database knows which password it has. Of two users, it is about the other.
	if m.doubt && !m.confirms() && m.target() == m.user() &&
		e.logInAs(ctx, probeTimeout, c, m.role.Credential.Type, m.user(), m.staged) == nil {
		password = m.staged
	}
	if password.Empty() {
		return nil, errs.Framed(errs.Unavailable, "the password of static role %q is not known before its first rotation: rotate-role/%s makes one", name, name)
	}
	data := m.shown()
	data["username"], data[m.role.Credential.Type] = m.user(), password.Reveal() // password or rsa_private_key
	data["ttl"] = int64(max(m.planned.Sub(now), 0) / time.Second)
	return &engine.Response{Data: data}, nil
}

// usable refuses a connection that a role must not or cannot use, and settles its own password.
func (e *Engine) usable(ctx context.Context, c *connection, role, credentialType string) (*connection, error) {
	if !c.settings.allows(role) {
		return nil, errNotAllowed(role)
	}
	driver, err := e.driver(c.settings)
	if err != nil {
		return nil, errs.Framed(errs.Unavailable, "error creating database object: %s", err)
	}
	if credentialType == plugins.TypeCertificate || !slices.Contains(driver.CredentialTypes(), credentialType) {
		return nil, errUnsupported(credentialType)
	}
	return e.settle(ctx, c)
}

// errNotAllowed is an Unavailable: the wire answers 500.
func errNotAllowed(role string) error {
	return errs.Framed(errs.Unavailable, "%q is not an allowed role", role)
}
