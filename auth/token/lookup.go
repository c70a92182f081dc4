package token

import (
	"context"
	"time"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

func (e *tokens) lookup(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("token") == "" {
		return e.lookupSelf(ctx, r, f)
	}
	t, text, found, err := e.byToken(ctx, f)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.New(errs.Denied, "bad token")
	}
	return describe(t, text)
}

func (e *tokens) lookupSelf(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	t, err := e.caller(ctx, r)
	if err != nil {
		return nil, err
	}
	return describe(t, r.Caller.Token)
}

func (e *tokens) lookupAccessor(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	t, found, err := e.byAccessor(ctx, f)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errs.Framed(errs.Invalid, "invalid accessor")
	}
	return describe(t, secret.Text{})
}

// describe shows a token. text is the one that the client gave itself; empty where it only knows the accessor.
func describe(t auth.Token, text secret.Text) (*engine.Response, error) {
	policies := t.Policies
	if policies == nil {
		policies = []string{}
	}
	data := map[string]any{
		"accessor":         t.Accessor,
		"creation_time":    t.CreatedAt.Unix(),
		"creation_ttl":     seconds(t.CreationTTL),
		"display_name":     t.DisplayName,
		"entity_id":        t.EntityID,
		"expire_time":      nil,
		"explicit_max_ttl": seconds(t.ExplicitMaxTTL),
		"id":               text.Reveal(),
		"issue_time":       t.CreatedAt.Format(time.RFC3339Nano),
		"meta":             nil,
		"num_uses":         t.NumUses,
		"orphan":           t.Orphan,
		"path":             t.Path,
		"policies":         policies,
		"renewable":        t.Renewable,
		"ttl":              seconds(t.TTL()),
		"type":             t.Type,
	}
	if t.Meta != nil {
		data["meta"] = t.Meta
	}
	if !t.ExpiresAt.IsZero() {
		data["expire_time"] = t.ExpiresAt.Format(time.RFC3339Nano)
	}
	if t.Role != "" {
		data["role"] = t.Role
	}
	if t.Period > 0 {
		data["period"] = seconds(t.Period)
	}
	if len(t.BoundCIDRs) > 0 {
		data["bound_cidrs"] = t.BoundCIDRs
	}
	if !t.LastRenewal.IsZero() {
		data["last_renewal"] = t.LastRenewal.Format(time.RFC3339Nano)
		data["last_renewal_time"] = t.LastRenewal.Unix()
	}
	return &engine.Response{Data: data}, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
