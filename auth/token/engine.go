// Package token is the engine behind auth/token/: clients make, look up, renew and revoke tokens here, and manage the
// roles that tokens are made by.
//
// It decides who may have which token; package auth keeps them. [New] makes the engine. All rules and texts are those of
// the wire contract, tokens.
package token

import (
	"context"
	"errors"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// Config makes the engine.
type Config struct {
	// Tokens is where tokens and roles are kept. Required.
	Tokens *auth.Store

	// PolicyExists reports whether there is a policy of that name; the built-in ones are there. Required.
	PolicyExists func(ctx context.Context, name string) (bool, error)

	// RenewLogin asks the auth method below which path lies whether a login may go on, and returns its mount. The method
	// may change l to what its role says now. An *errs.Error refuses the renewal. Required.
	RenewLogin func(ctx context.Context, path string, l *engine.Login) (engine.Mount, error)

	// Entity returns the id of the entity that has an alias on the token mount, and makes one if there is none. Nil: the
	// server has no entities, and no alias is accepted.
	Entity func(ctx context.Context, mount engine.Mount, alias string) (string, error)
}

// tokens is the engine. It has no state.
type tokens struct{ Config }

// New checks the configuration and makes the engine.
func New(cfg Config) (*engine.Router, error) {
	switch {
	case cfg.Tokens == nil:
		return nil, errors.New("auth/token: Config.Tokens is missing")
	case cfg.PolicyExists == nil:
		return nil, errors.New("auth/token: Config.PolicyExists is missing")
	case cfg.RenewLogin == nil:
		return nil, errors.New("auth/token: Config.RenewLogin is missing")
	}
	e := &tokens{cfg}
	return engine.NewRouter(
		&engine.Path{Pattern: "create", Fields: createFields, Help: "Makes a token that ends with the caller's.",
			Ops: engine.Ops{engine.Update: e.createChild}},
		&engine.Path{Pattern: "create-orphan", Fields: createFields, Help: "Makes a token that ends with no other.",
			Ops: engine.Ops{engine.Update: e.createOrphan}},
		&engine.Path{Pattern: "create/:role_name", Fields: createFields, Help: "Makes a token by a role.",
			Ops: engine.Ops{engine.Update: e.createByRole}},

		&engine.Path{Pattern: "lookup", Fields: engine.Schema{"token": engine.Text}, Help: "Shows what is known of a token.",
			Ops: engine.Ops{engine.Read: e.lookup, engine.Update: e.lookup}},
		&engine.Path{Pattern: "lookup-self", Fields: engine.Schema{"token": engine.Text}, Help: "Shows what is known of the caller's token.",
			Ops: engine.Ops{engine.Read: e.lookupSelf, engine.Update: e.lookupSelf}},
		&engine.Path{Pattern: "lookup-accessor", Fields: engine.Schema{"accessor": engine.Text}, Help: "Shows what is known of the token with an accessor.",
			Ops: engine.Ops{engine.Update: e.lookupAccessor}},

		&engine.Path{Pattern: "renew", Fields: engine.Schema{"token": engine.Text, "increment": engine.Duration}, Help: "Renews a token.",
			Ops: engine.Ops{engine.Update: e.renew}},
		&engine.Path{Pattern: "renew-self", Fields: engine.Schema{"token": engine.Text, "increment": engine.Duration}, Help: "Renews the caller's token.",
			Ops: engine.Ops{engine.Update: e.renewSelf}},
		&engine.Path{Pattern: "renew-accessor", Fields: engine.Schema{"accessor": engine.Text, "increment": engine.Duration}, Help: "Renews the token with an accessor.",
			Ops: engine.Ops{engine.Update: e.renewAccessor}},

		&engine.Path{Pattern: "revoke", Fields: engine.Schema{"token": engine.Text}, Help: "Ends a token and all that came from it.",
			Ops: engine.Ops{engine.Update: e.revoke}},
		&engine.Path{Pattern: "revoke-self", Fields: engine.Schema{}, Help: "Ends the caller's token and all that came from it.",
			Ops: engine.Ops{engine.Update: e.revokeSelf}},
		&engine.Path{Pattern: "revoke-accessor", Fields: engine.Schema{"accessor": engine.Text}, Help: "Ends the token with an accessor and all that came from it.",
			Ops: engine.Ops{engine.Update: e.revokeAccessor}},
		&engine.Path{Pattern: "revoke-orphan", Fields: engine.Schema{"token": engine.Text}, Help: "Ends a token; its children live on as orphans.",
			Ops: engine.Ops{engine.Update: e.revokeOrphan}},

		&engine.Path{Pattern: "accessors", Sudo: true, Help: "Lists the accessors of all tokens.",
			Ops: engine.Ops{engine.List: e.accessors}},
		&engine.Path{Pattern: "tidy", Fields: engine.Schema{}, Help: "Has tokens that have ended cleaned up now.",
			Ops: engine.Ops{engine.Update: e.tidy}},

		&engine.Path{Pattern: "roles", Help: "Lists the roles.",
			Ops: engine.Ops{engine.List: e.listRoles}},
		&engine.Path{Pattern: "roles/:role_name", Fields: roleFields, Exists: e.roleExists, Help: "A role: what tokens made by it are like.",
			Ops: engine.Ops{engine.Read: e.readRole, engine.Update: e.writeRole, engine.Delete: e.deleteRole}},
	), nil
}

// caller is the token that made the request.
func (e *tokens) caller(ctx context.Context, r *engine.Request) (auth.Token, error) {
	if r.Caller == nil {
		return auth.Token{}, errs.New(errs.Unauthenticated, "permission denied")
	}
	t, found, err := e.Tokens.Lookup(ctx, r.Caller.Token)
	if err == nil && !found { // it ended a moment ago
		err = errs.New(errs.Unauthenticated, "permission denied")
	}
	return t, err
}

// byAccessor finds the token whose accessor the request gives.
func (e *tokens) byAccessor(ctx context.Context, f *engine.Fields) (t auth.Token, found bool, err error) {
	accessor := f.Text("accessor")
	if accessor == "" {
		return auth.Token{}, false, errs.Framed(errs.Invalid, "missing accessor")
	}
	return e.Tokens.LookupAccessor(ctx, accessor)
}

// byToken finds the token whose text the request gives.
func (e *tokens) byToken(ctx context.Context, f *engine.Fields) (t auth.Token, text secret.Text, found bool, err error) {
	text = secret.NewText(f.Text("token"))
	if text.Empty() {
		return auth.Token{}, text, false, errs.New(errs.Invalid, "missing token ID")
	}
	t, found, err = e.Tokens.Lookup(ctx, text)
	return t, text, found, err
}

func (e *tokens) accessors(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	accessors, err := e.Tokens.Accessors(ctx)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{"keys": accessors}}, nil
}

// tidy has nothing to repair: ended tokens are cleaned up as they end. It has the reaper look at once.
func (e *tokens) tidy(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	e.Tokens.WakeReaper()
	return &engine.Response{Status: 202, Warnings: []string{
		"Tidy operation successfully started. Any information from the operation will be printed to Leasehold's server logs.",
	}}, nil
}
