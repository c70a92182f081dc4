package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"leasehold/server/config"
	"leasehold/store/seal"
	"leasehold/store/seal/static"
	"leasehold/store/seal/transit"
)

// newSeals makes the seals of the configuration. Dev mode opens its store by itself, and needs none.
func newSeals(cfg *config.Config, opts Options, log *slog.Logger) (seal.Seals, error) {
	if opts.Dev {
		return seal.Seals{}, nil
	}
	current, err := newSeal(cfg.Seal, opts, log)
	if err != nil {
		return seal.Seals{}, err
	}
	seals := seal.Seals{Current: current}
	for _, s := range cfg.FormerSeals {
		former, err := newSeal(s, opts, log)
		if err != nil { // it may be long out of use, and its key gone
			log.Warn("the store cannot be moved away from a disabled seal", "seal", s.Type, "error", err)
			continue
		}
		seals.Former = append(seals.Former, former)
	}
	return seals, nil
}

// newSeal is nil for Shamir's.
func newSeal(s config.Seal, opts Options, log *slog.Logger) (seal.Wrapper, error) {
	switch s.Type {
	case seal.Shamir:
		return nil, nil
	case "static":
		w, err := static.New(static.Config{
			CurrentKeyID: s.Static.CurrentKeyID, CurrentKey: s.Static.CurrentKey,
			PreviousKeyID: s.Static.PreviousKeyID, PreviousKey: s.Static.PreviousKey, Getenv: opts.Getenv,
		})
		return wrapper(s, w, err)
	case "transit":
		t := s.Transit
		w, err := transit.New(transit.Config{
			Address: t.Address, Token: t.Token, KeyName: t.KeyName, MountPath: t.MountPath, Namespace: t.Namespace,
			CACertFile: t.CACertFile, ClientCertFile: t.ClientCertFile, ClientKeyFile: t.ClientKeyFile, ServerName: t.ServerName,
			SkipVerify: t.SkipVerify, RenewedOutside: t.RenewedOutside, Log: log,
		})
		return wrapper(s, w, err)
	default:
		panic("a seal that the configuration has accepted is not known: " + s.Type)
	}
}

func wrapper(s config.Seal, w seal.Wrapper, err error) (seal.Wrapper, error) {
	if err != nil {
		return nil, fmt.Errorf("seal %q: %w", s.Type, err)
	}
	return w, nil
}

// keepUnsealed has the configured seal open the store, and keeps what that seal needs, until ctx is done.
func (p *parts) keepUnsealed(ctx context.Context) {
	var running sync.WaitGroup
	if r, ok := p.seals.Current.(interface{ Run(ctx context.Context) }); ok {
		running.Go(func() { r.Run(ctx) })
	}
	p.broker.KeepUnsealed(ctx, p.opened)
	running.Wait()
	if c, ok := p.seals.Current.(interface{ Close() }); ok {
		c.Close()
	}
}
