package sys

import (
	"context"

	"leasehold/engine"
	"leasehold/internal/errs"
)

func (s *system) remountPaths() []*engine.Path {
	return []*engine.Path{
		{Pattern: "remount", Fields: engine.Schema{"from": engine.Text, "to": engine.Text}, Sudo: true,
			Help: "Move a secrets engine or an auth method.", Ops: engine.Ops{engine.Update: s.remount}},
		{Pattern: "remount/status/:migration_id", Fields: engine.Schema{"migration_id": engine.Text},
			Help: "How a move ended.", Ops: engine.Ops{engine.Read: s.migration}},
	}
}

func (s *system) remount(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Text("from") == "" || f.Text("to") == "" {
		return nil, errs.New(errs.Invalid, "both 'from' and 'to' path must be specified as a string")
	}
	id, err := s.b.Remount(ctx, folder(f.Text("from")), folder(f.Text("to")))
	if err != nil {
		return nil, err
	}
	resp := both(map[string]any{"migration_id": id})
	resp.Warn("The mount's leases and tokens are revoked; read sys/remount/status/" + id + " for how the move ended.")
	return resp, nil
}

func (s *system) migration(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m, err := s.b.Migration(ctx, f.Text("migration_id"))
	if err != nil || m == nil {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{
		"migration_id":   m.ID,
		"migration_info": map[string]any{"source_mount": m.Source, "target_mount": m.Target, "status": m.Status},
	}}, nil
}
