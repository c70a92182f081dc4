package kvcompat

import (
	"context"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// version1 serves mounts of version 1: a path is a name, and the body is its value.
type version1 struct{ values }

func newVersion1(shared values) *engine.Router {
	v := version1{shared}
	return engine.NewRouter(&engine.Path{
		Pattern: "*path", Open: true, Help: "Keep a value at a path.",
		Exists: func(ctx context.Context, r *engine.Request, _ *engine.Fields) (bool, error) {
			return v.exists(ctx, r.Mount.UUID, r.Path)
		},
		Ops: engine.Ops{
			engine.Read: v.get, engine.Update: v.put, engine.Delete: v.delete, engine.List: v.list, engine.Scan: v.list,
		},
	})
}

func (v version1) get(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	value, err := v.read(ctx, r.Mount.UUID, r.Path)
	if value == nil || err != nil {
		return nil, err
	}
	return &engine.Response{Data: value, Secret: &engine.Secret{Duration: hint(value, r.Mount.DefaultTTL)}}, nil
}

// hint is how long a client may count on a value: what the value says itself, or the mount's default. Nothing expires.
func hint(value map[string]any, otherwise time.Duration) time.Duration {
	said := value["ttl"]
	if _, given := value["ttl"]; !given {
		said = value["lease"]
	}
	if said == nil {
		return otherwise
	}
	if d, err := engine.ParseDuration(said); err == nil {
		return d
	}
	return otherwise
}

func (v version1) put(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	if len(r.Data) == 0 {
		return nil, errs.New(errs.Invalid, "missing data fields")
	}
	return nil, v.write(ctx, r.Mount.UUID, r.Path, r.Data)
}

func (v version1) delete(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return nil, v.remove(ctx, r.Mount.UUID, r.Path)
}

func (v version1) list(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return v.names(ctx, r.Mount.UUID, r.Path, r.Operation)
}
