package sys

import (
	"context"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

func (s *system) capabilityPaths() []*engine.Path {
	fields := engine.Schema{
		"token": engine.Text, "accessor": engine.Text, "paths": engine.CommaList, "path": engine.CommaList,
	}
	return []*engine.Path{
		{Pattern: "capabilities-self", Fields: fields, Help: "What the caller may do at some paths.",
			Ops: engine.Ops{engine.Update: s.ownCapabilities}},
		{Pattern: "capabilities", Fields: fields, Help: "What a token may do at some paths.",
			Ops: engine.Ops{engine.Update: s.tokenCapabilities}},
		{Pattern: "capabilities-accessor", Fields: fields, Help: "What the token with an accessor may do at some paths.",
			Ops: engine.Ops{engine.Update: s.accessorCapabilities}},
	}
}

func (s *system) ownCapabilities(_ context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return s.capabilities(r.Caller.Policies, f)
}

func (s *system) tokenCapabilities(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("token") == "" {
		return nil, errs.Framed(errs.Fault, "no token found")
	}
	policies, found, err := s.b.TokenPolicies(ctx, secret.NewText(f.Text("token")))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.Framed(errs.Invalid, "invalid token")
	}
	return s.capabilities(policies, f)
}

func (s *system) accessorCapabilities(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("accessor") == "" {
		return nil, errs.New(errs.Invalid, "missing accessor")
	}
	policies, found, err := s.b.AccessorPolicies(ctx, f.Text("accessor"))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.Framed(errs.Invalid, "invalid accessor")
	}
	return s.capabilities(policies, f)
}

func (s *system) capabilities(policies []string, f *engine.Fields) (*engine.Response, error) {
	paths := f.List("paths")
	if len(paths) == 0 {
		paths = f.List("path")
	}
	if len(paths) == 0 {
		return nil, errs.New(errs.Invalid, "paths must be supplied")
	}
	out := make(map[string]any, len(paths)+1)
	for _, path := range paths {
		out[path] = s.b.Capabilities(policies, path)
	}
	if len(paths) == 1 {
		out["capabilities"] = out[paths[0]]
	}
	return both(out), nil
}
