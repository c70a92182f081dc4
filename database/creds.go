package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/ttl"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// expiryGrace is how much longer than its lease a user may log in by the database's own expiry: the lease ends it first,
// and the expiry is there for the case that nobody comes.
const expiryGrace = 5 * time.Second

// issueAttempts bounds how often a request starts again because its connection was changed under it.
const issueAttempts = 8

// errMoved says that the connection changed between reading it and writing the intent.
var errMoved = errs.New(errs.Conflict, "the connection was changed at the same time: try again")

// payload is what a lease records for its revocation. Its connection is the lease's target.
type payload struct {
	Role       string   `json:"role"`
	User       string   `json:"user"`
	Revocation []string `json:"revocation,omitempty"`
	Check      bool     `json:"check,omitempty"` // the user of a role check: see check.go
	Type       string   `json:"type,omitempty"`  // of the user's credential; empty: a password

	// Guess says that User is what the database was told to call the user, and that it may have chosen another name: it is a
	// plugins.Namer, and the process that asked it never recorded the answer.
	Guess bool `json:"guess,omitempty"`
}

// plan is a user to be made, before anything is written.
type plan struct {
	role       *role
	name       string // of the role
	connection *connection
	now        time.Time
	check      bool // the user is removed again at once: see check.go
}

// made is a user that was made, or was to be made.
type made struct {
	*plan
	user     userName
	login    login
	record   lease.Record // zero: no intent was written
	warnings []string
}

// readCredentials makes a user by a role and hands it out on a lease.
//
// Errors: Invalid (unknown role, credential type that the database does not have), Unavailable (no such connection, role
// not allowed, the database refused or did not answer), those of makeLogin and of lease.Issue.
// Wire: creds/:role.
func (e *Engine) readCredentials(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m, err := e.makeUser(ctx, r, f.Text("name"), nil)
	if err != nil {
		return nil, err
	}
	data := m.login.shown()
	data["username"] = m.user.shown
	return &engine.Response{
		Secret: &engine.Secret{
			LeaseID: m.record.ID, Duration: m.record.ExpiresAt.Sub(m.record.IssuedAt).Truncate(time.Second), Renewable: m.record.Renewable,
		},
		Data:     data,
		Warnings: m.warnings,
	}, nil
}

// makeUser makes a user on a lease by the stored role of that name, or, for a check, by the candidate for one. It begins again when
// the connection was changed or its password rotated meanwhile.
func (e *Engine) makeUser(ctx context.Context, r *engine.Request, name string, candidate *role) (*made, error) {
	for attempt := 1; ; attempt++ {
		p, err := e.plan(ctx, r.Mount.UUID, name, candidate)
		if err != nil {
			return nil, err
		}
		m, err := e.issue(ctx, r, p)
		if err == nil || attempt == issueAttempts || !e.overtaken(ctx, p.connection, err) {
			return m, err
		}
	}
}

// plan reads what a user is made by.
func (e *Engine) plan(ctx context.Context, mount, name string, candidate *role) (*plan, error) {
	p := &plan{name: name, check: candidate != nil}
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		p.now, p.role = tx.Now(), candidate
		if !p.check {
			if p.role, _, err = findRole(tx, mount, name); err != nil || p.role == nil {
				return err
			}
		}
		p.connection, err = findLive(tx, mount, p.role.Connection)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read role %q: %w", name, err)
	case p.role == nil:
		return nil, errs.New(errs.Invalid, "unknown role: %s", name)
	case p.connection == nil:
		return nil, errNoConnection(p.role.Connection)
	case !p.connection.settings.allows(name):
		return nil, errNotAllowed(name)
	}
	p.connection, err = e.settle(ctx, p.connection)
	return p, err
}

// issue makes the user. What it returns besides an error says how far it came; nil: no intent was written.
func (e *Engine) issue(ctx context.Context, r *engine.Request, p *plan) (*made, error) {
	driver, err := e.driver(p.connection.settings)
	if err != nil {
		return nil, errs.Framed(errs.Unavailable, "error creating database object: %s", err)
	}
	kind := p.role.Credential.Type
	if !slices.Contains(driver.CredentialTypes(), kind) {
		return nil, errUnsupported(kind)
	}
	pool, err := e.acquire(p.connection)
	if err != nil {
		return nil, err
	}
	defer e.pools.release(pool)
	if err := e.refuseType(ctx, p.connection, kind); err != nil {
		return nil, err
	}
	namer, names := pool.db.(plugins.Namer)
	if len(p.role.Creation) == 0 && !names {
		return nil, errs.Framed(errs.Unavailable, "empty creation statements")
	}
	caller := r.Caller
	if caller == nil {
		caller = &engine.Caller{}
	}
	m := &made{plan: p}
	if m.user, err = pool.names.create(nameData{DisplayName: caller.DisplayName, RoleName: p.name}, p.now); err != nil {
		return nil, nameError(err)
	}
	subject := commonNameData{DisplayName: caller.DisplayName, RoleName: p.name, Username: m.user.text}
	if m.login, err = e.makeLogin(ctx, p, subject, pool.names.limits.Certified, lastMoment(r, p, caller)); err != nil {
		return nil, err
	}
	if err := e.refuseTaken(ctx, pool, m.user); err != nil {
		return nil, err
	}
	planned := payload{
		Role: p.name, User: m.user.text, Revocation: p.role.Revocation, Check: p.check, Guess: names && !namer.Obeys(m.user.text, kind),
	}
	if kind != plugins.TypePassword {
		planned.Type = kind
	}
	actual := planned
	intent, warnings, err := e.intent(r, p, caller, planned)
	if err != nil {
		return nil, err
	}
	intent.Made = func() ([]byte, error) {
		if actual.User == planned.User && !planned.Guess {
			return nil, nil
		}
		return json.Marshal(actual)
	}
	m.warnings = warnings
	active, err := e.leases.Issue(ctx, intent, func(ctx context.Context, record lease.Record) error {
		m.record = record
		user, err := e.create(ctx, pool, p, m.user, m.login, record)
		switch {
		case err != nil && planned.Guess:
			return e.createdNot(ctx, pool, p, m.user, err)
		case err != nil:
			return err
		case user != m.user.text:
			m.user.text, m.user.shown = user, user
		}
		actual.User, actual.Guess = user, false
		return nil
	})
	if err != nil {
		return m, err
	}
	m.record = active
	return m, nil
}

// errUnsupported refuses a kind of credential that the database does not take. Source of the text: the wire contract, "creds/:role".
func errUnsupported(credentialType string) error {
	return errs.New(errs.Invalid, "unsupported credential_type: %q", credentialType)
}

// refuseType asks a database that may be particular about it whether it takes a kind of credential. All take passwords.
func (e *Engine) refuseType(ctx context.Context, c *connection, credentialType string) error {
	if credentialType == plugins.TypePassword {
		return nil
	}
	takes := true
	err := e.call(ctx, c, true, func(ctx context.Context, db plugins.Database) (err error) {
		if chooser, ok := db.(plugins.Chooser); ok {
			takes, err = chooser.Takes(ctx, credentialType)
		}
		return err
	})
	if err == nil && !takes {
		err = errUnsupported(credentialType)
	}
	return err
}

// refuseTaken looks whether the database knows a name already that is not random. It looks before the intent is written:
// from then on a failure would have the user of that name dropped, whoever made it.
func (e *Engine) refuseTaken(ctx context.Context, p *pool, name userName) error {
	if name.random {
		return nil
	}
	lister, ok := p.db.(plugins.Lister)
	if !ok {
		return nil
	}
	return e.callPool(ctx, p, true, func(ctx context.Context, _ plugins.Database) error {
		users, err := lister.Users(ctx, name.text)
		if err == nil && slices.Contains(users, name.text) {
			err = &plugins.Error{Op: "create user", Class: plugins.Refused, Err: fmt.Errorf("the database has a user %q already", name.text)}
		}
		return err
	})
}

// lastMoment is when a lease that is issued now has ended, however often it is renewed. The limits may be changed later, what was made by
// them is not.
func lastMoment(r *engine.Request, p *plan, caller *engine.Caller) time.Time {
	limit := r.Mount.MaxTTL
	if p.role.MaxTTL > 0 {
		limit = min(limit, p.role.MaxTTL)
	}
	if p.check {
		limit = checkTTL
	}
	last := p.now.Add(limit)
	if end := caller.ExpiresAt; caller.Type == "batch" && !end.IsZero() && end.Before(last) {
		last = end
	}
	return last
}

// intent is the lease to be issued, and the warnings about its lifetime.
func (e *Engine) intent(r *engine.Request, p *plan, caller *engine.Caller, planned payload) (lease.Intent, []string, error) {
	lifetime, warnings := ttl.Resolve(ttl.Limits{
		Default: p.role.DefaultTTL, Max: p.role.MaxTTL, MountTTL: r.Mount.DefaultTTL, MountMax: r.Mount.MaxTTL,
		IssuedAt: p.now, Now: p.now,
	})
	in := lease.Intent{
		Kind: Kind, MountUUID: r.Mount.UUID, Path: r.FullPath(), Target: p.connection.name,
		Token: caller.LeaseParent, TTL: lifetime, Renewable: true,
	}
	if p.check {
		in.Path, in.TTL, in.Renewable, warnings = r.Mount.Path+"check/"+p.name, checkTTL, false, nil
	}
	if caller.Type == "batch" && !caller.ExpiresAt.IsZero() { // its end is no event: the lease ends by itself
		in.NotAfter = caller.ExpiresAt
		in.TTL = min(in.TTL, caller.ExpiresAt.Sub(p.now).Truncate(time.Second))
		if in.TTL <= 0 {
			return in, nil, errs.New(errs.Unauthenticated, "permission denied")
		}
	}
	var err error
	in.Payload, err = json.Marshal(planned)
	if err != nil {
		return in, nil, errors.New("encode lease payload")
	}
	in.Check = func(tx *store.Tx) error {
		present, err := findLive(tx, p.connection.mount, p.connection.name)
		if err == nil && (present == nil || present.version != p.connection.version) {
			err = errMoved
		}
		return err
	}
	return in, warnings, nil
}

// create makes the user, and returns what it is called. A name that is not random is not dropped after a refusal, which changed
// nothing: it may have become somebody else's since refuseTaken looked.
func (e *Engine) create(ctx context.Context, p *pool, pl *plan, name userName, l login, r lease.Record) (user string, err error) {
	user = name.text
	err = e.callPool(ctx, p, true, func(ctx context.Context, db plugins.Database) (err error) {
		u := plugins.User{
			Name: name.text, Password: l.password, Key: l.key, Expiration: r.ExpiresAt.Add(expiryGrace), Statements: pl.role.Creation,
			Mark: e.mark(pl.connection, pl.name, r.IssuedAt),
		}
		if namer, ok := db.(plugins.Namer); ok {
			user, err = namer.CreateNamed(ctx, u)
			return err
		}
		return db.CreateUser(ctx, u)
	})
	if err != nil && !name.random && !errors.Is(err, lease.ErrUnknown) {
		return user, errors.Join(err, lease.ErrUnreachable)
	}
	return user, err
}

// createdNot is the error of a creation whose intent only guesses the user's name. Where the database refused, that is the end of it:
// by its word there is no user, and by the name that it was told one is dropped.
func (e *Engine) createdNot(ctx context.Context, p *pool, pl *plan, name userName, cause error) error {
	if errors.Is(cause, lease.ErrUnknown) || errors.Is(cause, lease.ErrUnreachable) {
		return cause
	}
	err := e.callPool(ctx, p, true, func(ctx context.Context, db plugins.Database) error {
		return db.DropUser(ctx, name.text, pl.role.Revocation)
	})
	switch {
	case errors.Is(err, lease.ErrUnknown), errors.Is(err, lease.ErrUnreachable):
		return cause // the intent stays
	case err != nil:
		e.log.Warn("a plugin refused to make a user, and to drop what may be left of it", "mount", pl.connection.mount,
			"connection", pl.connection.name, "role", pl.name, "user", name.text, "error", err)
	}
	return errors.Join(cause, lease.ErrUnreachable)
}

// overtaken reports whether work on a connection failed because that was changed or its password rotated meanwhile, so that
// another attempt with the present settings is due. What may have happened at the database is not tried again.
func (e *Engine) overtaken(ctx context.Context, c *connection, err error) bool {
	if errors.Is(err, errMoved) {
		return true
	}
	if errors.Is(err, lease.ErrUnknown) {
		return false
	}
	present, _, err := e.find(ctx, c.mount, c.name)
	return err == nil && present != nil && (present.version != c.version || !present.staged.Empty())
}
