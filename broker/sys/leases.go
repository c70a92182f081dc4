package sys

import (
	"context"
	"strconv"
	"time"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

type leaseTable interface {
	LookupLease(ctx context.Context, id string) (broker.Lease, error)
	ListLeases(ctx context.Context, prefix string) ([]string, error)
	RenewLease(ctx context.Context, id string, increment time.Duration) (broker.Lease, []string, error)
	RevokeLease(ctx context.Context, id string, sync bool) error
	RevokePrefix(ctx context.Context, prefix string, sync bool) error
	RevokeForce(ctx context.Context, prefix string) error
	IrrevocableLeases(ctx context.Context, limit int) ([]broker.Lease, error)
	CountIrrevocable(ctx context.Context) (map[string]int, error)
	TidyLeases(ctx context.Context) error
}

// leasePaths are sys/leases/* and the paths that older clients use for the same.
func (s *system) leasePaths() []*engine.Path {
	one := engine.Schema{
		"lease_id": engine.Text, "url_lease_id": engine.Text, "increment": engine.Duration, "sync": engine.Bool,
	}
	many := engine.Schema{"prefix": engine.Text, "sync": engine.Bool}
	irrevocable := engine.Schema{"type": engine.Text, "limit": engine.Text, "include_child_namespaces": engine.Bool}
	paths := []*engine.Path{
		{Pattern: "leases", Fields: irrevocable, Sudo: true, Help: "List the leases whose revocation fails.",
			Ops: engine.Ops{engine.Read: s.irrevocableLeases}},
		{Pattern: "leases/count", Fields: irrevocable, Help: "Count the leases whose revocation fails.",
			Ops: engine.Ops{engine.Read: s.countLeases}},
		{Pattern: "leases/tidy", Fields: engine.Schema{}, Help: "Try again at once to revoke what could not be revoked.",
			Ops: engine.Ops{engine.Update: s.tidyLeases}},
		{Pattern: "leases/lookup", Fields: one, Help: "Look up a lease.", Ops: engine.Ops{engine.Update: s.lookupLease}},
		{Pattern: "leases/lookup/*prefix", Fields: many, Sudo: true, Help: "List leases by prefix.",
			Ops: engine.Ops{engine.List: s.listLeases}},
	}
	for _, root := range []string{"leases/", ""} {
		renew, revoke := engine.Ops{engine.Update: s.renewLease}, engine.Ops{engine.Update: s.revokeLease}
		paths = append(paths,
			&engine.Path{Pattern: root + "renew", Fields: one, Help: "Renew a lease.", Ops: renew},
			&engine.Path{Pattern: root + "renew/*url_lease_id", Fields: one, Help: "Renew a lease.", Ops: renew},
			&engine.Path{Pattern: root + "revoke", Fields: one, Help: "Revoke a lease.", Ops: revoke},
			&engine.Path{Pattern: root + "revoke/*url_lease_id", Fields: one, Help: "Revoke a lease.", Ops: revoke},
			&engine.Path{Pattern: root + "revoke-prefix/*prefix", Fields: many, Sudo: true, Help: "Revoke all leases below a prefix.",
				Ops: engine.Ops{engine.Update: s.revokePrefix}},
			&engine.Path{Pattern: root + "revoke-force/*prefix", Fields: many, Sudo: true,
				Help: "Forget all leases below a prefix, even when they cannot be revoked.", Ops: engine.Ops{engine.Update: s.revokeForce}},
		)
	}
	return paths
}

func leaseID(f *engine.Fields) (string, error) {
	id := f.Text("lease_id")
	if id == "" {
		id = f.Text("url_lease_id")
	}
	if id == "" {
		return "", errs.New(errs.Invalid, "lease_id must be specified")
	}
	return id, nil
}

func (s *system) lookupLease(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	id, err := leaseID(f)
	if err != nil {
		return nil, err
	}
	l, err := s.b.LookupLease(ctx, id)
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"id": l.ID, "path": l.Path, "issue_time": l.IssuedAt, "expire_time": timeOrNull(l.ExpiresAt),
		"last_renewal": timeOrNull(l.LastRenewal), "renewable": l.Renewable, "ttl": seconds(l.TTL),
	}
	if l.Failure != "" {
		out["revoke_error"] = l.Failure
	}
	return &engine.Response{Data: out}, nil
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func (s *system) listLeases(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return listing(s.b.ListLeases(ctx, f.Text("prefix")))
}

func (s *system) renewLease(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	id, err := leaseID(f)
	if err != nil {
		return nil, err
	}
	l, warnings, err := s.b.RenewLease(ctx, id, f.Duration("increment"))
	if err != nil {
		return nil, err
	}
	return &engine.Response{
		Secret:   &engine.Secret{LeaseID: l.ID, Duration: l.TTL, Renewable: l.Renewable},
		Warnings: warnings,
	}, nil
}

// statusAccepted tells the wire that the work goes on in the background.
const statusAccepted = 202

func accepted(sync bool) *engine.Response {
	if sync {
		return nil
	}
	return &engine.Response{Status: statusAccepted}
}

func (s *system) revokeLease(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	id, err := leaseID(f)
	if err != nil {
		return nil, err
	}
	sync := f.BoolOr("sync", true)
	if err := s.b.RevokeLease(ctx, id, sync); err != nil {
		return nil, err
	}
	return accepted(sync), nil
}

func (s *system) revokePrefix(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	sync := f.BoolOr("sync", true)
	if err := s.b.RevokePrefix(ctx, f.Text("prefix"), sync); err != nil {
		return nil, err
	}
	return accepted(sync), nil
}

func (s *system) revokeForce(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return nil, s.b.RevokeForce(ctx, f.Text("prefix"))
}

func (s *system) tidyLeases(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	if err := s.b.TidyLeases(ctx); err != nil {
		return nil, err
	}
	resp := accepted(false)
	resp.Warn("Tidy operation successfully started. Any information from the operation will be printed to the server logs.")
	return resp, nil
}

func (s *system) countLeases(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("type") != "irrevocable" {
		return nil, nil
	}
	counts, err := s.b.CountIrrevocable(ctx)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	return &engine.Response{Data: map[string]any{"lease_count": total, "counts": counts}}, nil
}

// defaultIrrevocable is how many leases a list shows where no limit is given; the wire's own.
const defaultIrrevocable = 10_000

func (s *system) irrevocableLeases(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("type") != "irrevocable" {
		return nil, nil
	}
	limit := defaultIrrevocable
	switch text := f.Text("limit"); text {
	case "":
	case "none":
		limit = 0
	default:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, errs.Framed(errs.Fault, "invalid 'limit' provided: %q is not a number", text)
		}
		if n < 1 {
			return nil, errs.Framed(errs.Fault, "limit must be 'none' or a positive integer")
		}
		limit = n
	}
	found, err := s.b.IrrevocableLeases(ctx, limit)
	if err != nil {
		return nil, err
	}
	leases := make([]map[string]any, 0, len(found))
	for _, l := range found {
		leases = append(leases, map[string]any{"lease_id": l.ID, "mount_id": l.Mount, "error": l.Failure})
	}
	return &engine.Response{Data: map[string]any{"lease_count": len(leases), "leases": leases}}, nil
}
