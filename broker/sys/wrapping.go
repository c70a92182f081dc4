package sys

import (
	"context"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// wrapping is what stands for answers that were wrapped. The broker has refused requests that name no good wrapping token.
type wrapping interface {
	LookupWrapping(ctx context.Context, token secret.Text) (engine.Wrap, error)
	Unwrap(ctx context.Context, caller *engine.Caller, token secret.Text) (*engine.Response, error)
	Rewrap(ctx context.Context, token secret.Text) (*engine.Wrap, error)
}

func (s *system) wrappingPaths() []*engine.Path {
	named := engine.Schema{"token": engine.Text}
	return []*engine.Path{
		{Pattern: "wrapping/wrap", Open: true, Help: "Wraps what it is given.", Ops: engine.Ops{engine.Update: wrap}},
		{Pattern: "wrapping/lookup", Fields: named, Unauthenticated: true, Help: "When and for what a wrapping token was made.",
			Ops: engine.Ops{engine.Read: s.lookupWrapping, engine.Update: s.lookupWrapping}},
		{Pattern: "wrapping/unwrap", Fields: named, Help: "The answer that a wrapping token stands for, once.",
			Ops: engine.Ops{engine.Update: s.unwrap}},
		{Pattern: "wrapping/rewrap", Fields: named, Help: "Exchanges a wrapping token for a new one.",
			Ops: engine.Ops{engine.Update: s.rewrap}},
	}
}

// wrap answers with what it is given: the broker wraps that, as any answer.
func wrap(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	if r.WrapTTL == 0 {
		return nil, errs.New(errs.Invalid, "endpoint requires response wrapping to be used")
	}
	if r.Data == nil {
		return &engine.Response{Data: map[string]any{}}, nil
	}
	return &engine.Response{Data: r.Data}, nil
}

func (s *system) lookupWrapping(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	token := secret.NewText(f.Text("token"))
	if token.Empty() && r.Caller != nil {
		token = r.Caller.Token
	}
	w, err := s.b.LookupWrapping(ctx, token)
	if err != nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{
		"creation_path": w.CreationPath, "creation_time": w.CreatedAt, "creation_ttl": int64(w.TTL / time.Second),
	}}, nil
}

func (s *system) unwrap(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return s.b.Unwrap(ctx, r.Caller, secret.NewText(f.Text("token")))
}

func (s *system) rewrap(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	w, err := s.b.Rewrap(ctx, secret.NewText(f.Text("token")))
	if err != nil {
		return nil, err
	}
	return &engine.Response{Wrap: w}, nil
}
