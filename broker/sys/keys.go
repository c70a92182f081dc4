package sys

import (
	"context"
	"time"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

type keys interface {
	KeyStatus(ctx context.Context) (term int, installed time.Time, encryptions int64, err error)
	RotateKey(ctx context.Context) error
}

// The bounds of rotate/config.
const (
	minRotationInterval = 24 * time.Hour
	minRotationCount    = 1_000_000
	maxRotationCount    = 3_865_470_566
)

func (s *system) keyPaths() []*engine.Path {
	config := engine.Schema{"enabled": engine.Bool, "interval": engine.Duration, "max_operations": engine.Int}
	return []*engine.Path{
		{Pattern: "key-status", Help: "The newest data key.", Ops: engine.Ops{engine.Read: s.keyStatus}},
		{Pattern: "rotate", Sudo: true, Fields: engine.Schema{}, Help: "Add a data key.", Ops: engine.Ops{engine.Update: s.rotate}},
		{Pattern: "rotate/keyring", Sudo: true, Fields: engine.Schema{}, Help: "Add a data key.", Ops: engine.Ops{engine.Update: s.rotate}},
		{Pattern: "rotate/config", Fields: config, Help: "When a data key is added by itself.",
			Ops: engine.Ops{engine.Read: s.readRotation, engine.Update: s.writeRotation}},
		{Pattern: "rotate/keyring/config", Fields: config, Help: "When a data key is added by itself.",
			Ops: engine.Ops{engine.Read: s.readRotation, engine.Update: s.writeRotation}},
		{Pattern: "step-down", Sudo: true, Fields: engine.Schema{}, Help: "Give up leadership; every node is active, none leads.",
			Ops: engine.Ops{engine.Update: nothing}},
	}
}

func (s *system) keyStatus(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	term, installed, encryptions, err := s.b.KeyStatus(ctx)
	if err != nil {
		return nil, err
	}
	return both(map[string]any{"term": term, "install_time": installed, "encryptions": encryptions}), nil
}

func (s *system) rotate(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	return nil, s.b.RotateKey(ctx)
}

// nothing is success where there is nothing to do: no node leads, so none steps down; no copies of shares are kept.
func nothing(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return nil, nil
}

func (s *system) rotation(ctx context.Context) (broker.Rotation, error) {
	r := broker.Rotation{Enabled: true, MaxOperations: maxRotationCount}
	_, err := s.b.Setting(ctx, broker.SettingRotation, "", &r)
	return r, err
}

func (s *system) readRotation(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	r, err := s.rotation(ctx)
	if err != nil {
		return nil, err
	}
	var interval any = 0
	if r.Interval > 0 {
		interval = r.Interval.String()
	}
	return &engine.Response{Data: map[string]any{
		"enabled": r.Enabled, "interval": interval, "max_operations": r.MaxOperations,
	}}, nil
}

func (s *system) writeRotation(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	r, err := s.rotation(ctx)
	if err != nil {
		return nil, err
	}
	r.Enabled = f.BoolOr("enabled", r.Enabled)
	if f.Has("interval") {
		if r.Interval = f.Duration("interval"); r.Interval != 0 && r.Interval < minRotationInterval {
			return nil, errs.New(errs.Invalid, "interval must be greater or equal to %s", minRotationInterval)
		}
	}
	if f.Has("max_operations") {
		r.MaxOperations = int64(f.Int("max_operations"))
		if r.MaxOperations < minRotationCount || r.MaxOperations > maxRotationCount {
			return nil, errs.New(errs.Invalid, "max_operations must be in the range [%d,%d]", minRotationCount, int64(maxRotationCount))
		}
	}
	return nil, s.b.PutSetting(ctx, broker.SettingRotation, "", r)
}
