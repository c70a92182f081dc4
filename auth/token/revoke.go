package token

import (
	"context"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
)

func (e *tokens) revoke(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, _, found, err := e.byToken(ctx, f)
	if err != nil || !found { // what is not there need not be revoked
		return nil, err
	}
	return nil, e.end(ctx, t)
}

func (e *tokens) revokeSelf(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	t, err := e.caller(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case t.Type == auth.Batch:
		return nil, batchRefused()
	}
	return nil, e.Tokens.RevokeSelf(ctx, t.Seq)
}

func (e *tokens) revokeAccessor(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, found, err := e.byAccessor(ctx, f)
	if err != nil {
		return nil, err
	}
	if !found {
		return &engine.Response{Warnings: []string{"No token found with this accessor"}}, nil
	}
	return nil, e.end(ctx, t)
}

func (e *tokens) revokeOrphan(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, _, found, err := e.byToken(ctx, f)
	switch {
	case err != nil:
		return nil, err
	case r.Caller == nil || !r.Caller.Sudo:
		return nil, errs.New(errs.Invalid, "root or sudo privileges required to revoke and orphan")
	case !found:
		return nil, errs.New(errs.Invalid, "token to revoke not found")
	case t.Type == auth.Batch:
		return nil, batchRefused()
	}
	return nil, e.Tokens.RevokeOrphan(ctx, t.Seq)
}

func batchRefused() error { return errs.New(errs.Invalid, "batch tokens cannot be revoked") }

func (e *tokens) end(ctx context.Context, t auth.Token) error {
	if t.Type == auth.Batch {
		return batchRefused()
	}
	return e.Tokens.Revoke(ctx, t.Seq)
}
