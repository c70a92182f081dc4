package kvcompat

import (
	"context"
	"errors"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// The mount types that the engine serves.
const (
	Kind    = "kv"
	OldKind = "generic" // version 1 by its first name
)

// Config makes an Engine.
type Config struct {
	Store *store.Store // required

	// MountLive reports whether a mount takes requests. Nothing is written for one that does not: whoever empties it must
	// not be overtaken by a request that was on its way. Nil: every mount does.
	MountLive func(tx *store.Tx, mountUUID string) (bool, error)
}

// Engine serves all mounts of its kind, in either version. Safe for concurrent use. It has no state of its own.
type Engine struct {
	store    *store.Store
	live     func(tx *store.Tx, mountUUID string) (bool, error)
	one, two *engine.Router
}

// New makes the engine. It reads nothing.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil {
		return nil, errors.New("kvcompat: Config.Store is missing")
	}
	if cfg.MountLive == nil {
		cfg.MountLive = func(*store.Tx, string) (bool, error) { return true, nil }
	}
	e := &Engine{store: cfg.Store, live: cfg.MountLive}
	e.one = newVersion1(values{e.store, e.demandLive})
	e.two = e.newVersion2()
	return e, nil
}

// demandLive is serialisable with the hiding of a mount: either Unmount finds what is being written, or it is refused.
func (e *Engine) demandLive(tx *store.Tx, mountUUID string) error {
	live, err := e.live(tx, mountUUID)
	if err != nil {
		return fmt.Errorf("look whether the mount is live: %w", err)
	}
	if !live {
		return errs.New(errs.NotFound, "the mount is being removed or moved")
	}
	return nil
}

var (
	_ engine.Engine    = (*Engine)(nil)
	_ engine.Describer = (*Engine)(nil)
	_ engine.Unmounter = (*Engine)(nil)
)

func (e *Engine) of(m engine.Mount) *engine.Router {
	if m.Options["version"] == "2" {
		return e.two
	}
	return e.one
}

// Handle implements [engine.Engine].
func (e *Engine) Handle(ctx context.Context, r *engine.Request) (*engine.Response, error) {
	return e.of(r.Mount).Handle(ctx, r)
}

// Describe implements [engine.Describer].
func (e *Engine) Describe(ctx context.Context, r *engine.Request) (engine.Facts, error) {
	return e.of(r.Mount).Describe(ctx, r)
}

// Help is the help text of every path.
func (e *Engine) Help(string) (text string, known bool) {
	return "Keep values at paths: version 1 keeps the last, version 2 keeps versions.", true
}

// unmountBatch is how many entries one transaction removes.
const unmountBatch = 500

const deleteBatch = `DELETE FROM kv_entries WHERE id IN (SELECT id FROM kv_entries WHERE space = $1 LIMIT $2)`

// Unmount implements [engine.Unmounter]. It can be repeated.
func (e *Engine) Unmount(ctx context.Context, m engine.Mount) error {
	for {
		var n int64
		err := e.store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.Exec(deleteBatch, m.UUID, unmountBatch)
			if err != nil || n == unmountBatch {
				return err
			}
			_, err = tx.Exec(`DELETE FROM kv_settings WHERE mount = $1`, m.UUID)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove the values of mount %s: %w", m.UUID, err)
		}
		if n < unmountBatch {
			return nil
		}
	}
}
