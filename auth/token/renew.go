package token

import (
	"context"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/ttl"
	"leasehold/store"
)

func (e *tokens) renew(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, text, found, err := e.byToken(ctx, f)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.New(errs.Invalid, "token not found")
	}
	return e.extend(ctx, r, f, t, text)
}

func (e *tokens) renewSelf(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, err := e.caller(ctx, r)
	if err != nil {
		return nil, err
	}
	return e.extend(ctx, r, f, t, r.Caller.Token)
}

func (e *tokens) renewAccessor(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, found, err := e.byAccessor(ctx, f)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.Framed(errs.Invalid, "invalid accessor")
	}
	return e.extend(ctx, r, f, t, secret.Text{})
}

func (e *tokens) extend(ctx context.Context, r *engine.Request, f *engine.Fields, t auth.Token, text secret.Text) (*engine.Response, error) {
	switch {
	case t.Type == auth.Batch:
		return nil, errs.New(errs.Invalid, "batch tokens cannot be renewed")
	case !t.Renewable || t.ExpiresAt.IsZero():
		return nil, errs.New(errs.Invalid, "lease is not renewable")
	}
	login, err := t.Login()
	if err != nil {
		return nil, err
	}
	limits := func(tx *store.Tx, t auth.Token) (ttl.Limits, error) { return e.ownLimits(tx, r.Mount, t) }
	if login != nil {
		mount, err := e.RenewLogin(ctx, t.Path, login)
		if err != nil {
			return nil, refused(err)
		}
		limits = func(*store.Tx, auth.Token) (ttl.Limits, error) { return loginLimits(mount, login), nil }
	}
	t, warnings, err := e.Tokens.Renew(ctx, t.Seq, func(tx *store.Tx, t auth.Token) (ttl.Limits, error) {
		l, err := limits(tx, t)
		l.Increment = f.Duration("increment")
		return l, err
	})
	if err != nil {
		return nil, err
	}
	return &engine.Response{Auth: t.Auth(text), Warnings: warnings}, nil
}

// ownLimits are those of a token that was made here: its role's as they are now, else its own.
//
// Wire: leases, "Life": what the request gave beside a role does not count at renewal.
func (e *tokens) ownLimits(tx *store.Tx, mount engine.Mount, t auth.Token) (ttl.Limits, error) {
	l := ttl.Limits{Period: t.Period, ExplicitMax: t.ExplicitMaxTTL, MountTTL: mount.DefaultTTL, MountMax: mount.MaxTTL}
	if t.Role == "" {
		return l, nil
	}
	role, found, err := e.Tokens.RoleTx(tx, t.Role)
	if err != nil {
		return l, err
	}
	if !found {
		return l, refused(errs.New(errs.Invalid, "original token role %q could not be found, not renewing", t.Role))
	}
	l.Period, l.ExplicitMax = role.Period, role.ExplicitMaxTTL
	return l, nil
}

// loginLimits are those of a login, after its method has had a look at it. A method without a TTL of its own leaves it
// to its mount.
func loginLimits(mount engine.Mount, login *engine.Login) ttl.Limits {
	l := ttl.Limits{
		Default: login.TTL, Max: login.MaxTTL, Period: login.Period, ExplicitMax: login.ExplicitMax,
		MountTTL: mount.DefaultTTL, MountMax: mount.MaxTTL,
	}
	if l.Default == 0 {
		l.Default = mount.DefaultTTL
	}
	return l
}

// refused frames a refusal to renew as clients know it. Other errors stay inside.
func refused(err error) error {
	if e := errs.From(err); e != nil {
		return errs.Framed(errs.Invalid, "failed to renew entry: %s", e.Text).Because(err)
	}
	return err
}
