package sys

import (
	"context"
	"time"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// server is what the engine asks about tokens, access and the server itself.
type server interface {
	Capabilities(policies []string, path string) []string
	Reaches(policies []string, m *broker.Mount) bool
	ResultantACL(policies []string) map[string]any
	TokenPolicies(ctx context.Context, token secret.Text) (policies []string, found bool, err error)
	AccessorPolicies(ctx context.Context, accessor string) (policies []string, found bool, err error)
	MountAt(path string) *broker.Mount
	Versions(ctx context.Context) ([]broker.Version, error)
	Nodes(ctx context.Context) ([]broker.Node, error)
	Sanitized() map[string]any
	Now() time.Time
}

func (s *system) uiPaths() []*engine.Path {
	return []*engine.Path{
		{Pattern: "internal/ui/mounts", Unauthenticated: true, Help: "The mounts that the caller can reach, and those shown to anyone.",
			Ops: engine.Ops{engine.Read: s.visibleMounts}},
		// It wants a token, but no rule of its own: any access below the mount is enough.
		{Pattern: "internal/ui/mounts/*path", Fields: engine.Schema{"path": engine.Text}, Unauthenticated: true,
			Help: "The mount that holds a path.", Ops: engine.Ops{engine.Read: s.mountOfPath}},
		{Pattern: "internal/ui/namespaces", Unauthenticated: true, Help: "The namespaces; there is one.",
			Ops: engine.Ops{engine.Read: namespaces}},
		{Pattern: "internal/ui/resultant-acl", Help: "All that the caller may do.", Ops: engine.Ops{engine.Read: s.resultantACL}},
	}
}

// visibleMounts shows mounts tuned to listing_visibility "unauth" in brief; to a caller with a token these, and those that
// it may do anything with, in full.
func (s *system) visibleMounts(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	visible := func(kind broker.Kind) map[string]any {
		out := map[string]any{}
		for _, m := range s.b.Mounts(kind) {
			open := m.Config.Visibility == "unauth"
			switch {
			case r.Caller != nil && (open || s.b.Reaches(r.Caller.Policies, m)):
				out[m.Name()] = entry(m)
			case open:
				var options any
				if m.Options != nil {
					options = m.Options
				}
				out[m.Name()] = map[string]any{"type": m.Type, "description": m.Description, "options": options}
			}
		}
		return out
	}
	return &engine.Response{Data: map[string]any{"secret": visible(broker.Secret), "auth": visible(broker.Auth)}}, nil
}

func (s *system) mountOfPath(_ context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if r.Caller == nil {
		return nil, errs.New(errs.Unauthenticated, "permission denied")
	}
	path := folder(f.Text("path"))
	m := s.b.MountAt(path)
	if m == nil || !s.b.Reaches(r.Caller.Policies, m) {
		return nil, errs.New(errs.Denied,
			"preflight capability check returned 403, please ensure client's policies grant access to path %q", path)
	}
	out := entry(m)
	out["path"] = m.Path
	return &engine.Response{Data: out}, nil
}

func namespaces(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return data("keys", []string{""}), nil
}

func (s *system) resultantACL(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return &engine.Response{Data: s.b.ResultantACL(r.Caller.Policies)}, nil
}
