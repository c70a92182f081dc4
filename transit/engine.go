package transit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// Kind is the mount type that the engine serves.
const Kind = "transit"

// Config makes an Engine.
type Config struct {
	Store *store.Store // required

	// MountLive reports whether a mount takes requests. Nothing is written for one that does not: whoever empties it must
	// not be overtaken by a request that was on its way. Nil: every mount does.
	MountLive func(tx *store.Tx, mountUUID string) (bool, error)

	// Next is when a cron schedule fires next after a time; UTC. Nil: keys rotate by periods alone.
	Next func(schedule string, after time.Time) (time.Time, error)

	Log *slog.Logger // nil: nothing is logged
}

// Engine serves all mounts of its kind. Safe for concurrent use. Its only state is a cache of opened keys that every
// request compares with the store.
type Engine struct {
	*engine.Router
	store *store.Store
	live  func(tx *store.Tx, mountUUID string) (bool, error)
	next  func(schedule string, after time.Time) (time.Time, error)
	log   *slog.Logger
	cache caches

	rotating chan struct{} // has an element while due keys are being rotated
	work     sync.WaitGroup
}

// New makes the engine. It reads nothing.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil {
		return nil, errors.New("transit: Config.Store is missing")
	}
	if cfg.MountLive == nil {
		cfg.MountLive = func(*store.Tx, string) (bool, error) { return true, nil }
	}
	if cfg.Next == nil {
		cfg.Next = func(string, time.Time) (time.Time, error) {
			return time.Time{}, errors.New("there are no schedules on this server")
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{store: cfg.Store, live: cfg.MountLive, next: cfg.Next, log: cfg.Log, rotating: make(chan struct{}, 1)}
	e.Router = e.routes()
	return e, nil
}

var (
	_ engine.Engine    = (*Engine)(nil)
	_ engine.Describer = (*Engine)(nil)
	_ engine.Unmounter = (*Engine)(nil)
	_ engine.Duty      = (*Engine)(nil)
	_ engine.Forgetter = (*Engine)(nil)
)

// Forget implements [engine.Forgetter].
func (e *Engine) Forget() { e.cache.forget() }

// view reads from the mount of a request.
func (e *Engine) view(ctx context.Context, m engine.Mount, fn func(shelf) error) error {
	return e.store.View(ctx, func(tx *store.Tx) error {
		return fn(shelf{Tx: tx, mount: m.UUID, cache: e.cache.of(m.UUID), engine: e})
	})
}

// update changes a mount, unless it is being removed: the check is serialisable with the hiding of the mount, so either
// Unmount finds what is being written, or it is refused.
func (e *Engine) update(ctx context.Context, m engine.Mount, fn func(shelf) error) error {
	return e.store.Update(ctx, func(tx *store.Tx) error {
		live, err := e.live(tx, m.UUID)
		if err != nil {
			return fmt.Errorf("look whether the mount is live: %w", err)
		}
		if !live {
			return errs.New(errs.NotFound, "the mount is being removed or moved")
		}
		return fn(shelf{Tx: tx, mount: m.UUID, engine: e})
	})
}

// unmountBatch is how many keys one transaction removes.
const unmountBatch = 500

const deleteBatch = `DELETE FROM transit_keys WHERE id IN (SELECT id FROM transit_keys WHERE mount = $1 LIMIT $2)`

// Unmount implements [engine.Unmounter]. It can be repeated.
func (e *Engine) Unmount(ctx context.Context, m engine.Mount) error {
	e.cache.drop(m.UUID)
	for {
		var n int64
		err := e.store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.Exec(deleteBatch, m.UUID, unmountBatch)
			if err != nil || n == unmountBatch {
				return err
			}
			_, err = tx.Exec(`DELETE FROM transit_mounts WHERE mount = $1`, m.UUID)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove the keys of mount %s: %w", m.UUID, err)
		}
		if n < unmountBatch {
			return nil
		}
	}
}
