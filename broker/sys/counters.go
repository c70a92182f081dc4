package sys

import (
	"context"

	"leasehold/engine"
)

type counters interface {
	CountTokens(ctx context.Context) (int64, error)
}

func (s *system) counterPaths() []*engine.Path {
	return []*engine.Path{
		{Pattern: "internal/counters/tokens", Help: "How many service tokens there are.", Ops: engine.Ops{engine.Read: s.countTokens}},
		{Pattern: "internal/counters/entities", Help: "How many entities there are.", Ops: engine.Ops{engine.Read: countEntities}},
	}
}

func (s *system) countTokens(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	total, err := s.b.CountTokens(ctx)
	if err != nil {
		return nil, err
	}
	return counted("service_tokens", total), nil
}

// countEntities is zero: this server knows who logged in by the token alone.
func countEntities(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return counted("entities", 0), nil
}

func counted(what string, total int64) *engine.Response {
	return data("counters", map[string]any{what: map[string]any{"total": total}})
}
