package transit

import (
	"context"
	"errors"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// mountSettings are the configuration of a mount; sealed in its row.
type mountSettings struct {
	RefuseUpsert bool `json:"refuse_upsert,omitempty"` // encrypting with an unknown key does not create it
	CacheSize    int  `json:"cache_size,omitempty"`    // keys; 0: defaultCacheSize
}

func mountCell(mount string) store.Cell {
	return store.Cell{Table: "transit_mounts", Column: "settings", Key: mount}
}

// mountSettings reads the configuration of the shelf's mount.
func (s shelf) mountSettings() (m mountSettings, err error) {
	var sealed []byte
	err = s.QueryRow(`SELECT settings FROM transit_mounts WHERE mount = $1`, s.mount).Scan(&sealed)
	if errors.Is(err, store.ErrNoRow) || err == nil && sealed == nil {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	stored, err := s.Open(mountCell(s.mount), sealed)
	if err != nil {
		return m, err
	}
	return m, decodeSettings(stored, &m)
}

func (s shelf) putMountSettings(m mountSettings) error {
	encoded, err := encodeSettings(m)
	if err != nil {
		return err
	}
	sealed, err := s.Seal(mountCell(s.mount), encoded)
	if err != nil {
		return err
	}
	_, err = s.Exec(`INSERT INTO transit_mounts (mount, settings) VALUES ($1, $2)
		ON CONFLICT (mount) DO UPDATE SET settings = excluded.settings`, s.mount, sealed)
	return err
}

// cacheSize is how many keys the mount's cache may hold; 0: nobody has said.
func (s shelf) cacheSize() (int, error) {
	m, err := s.mountSettings()
	return m.CacheSize, err
}

// changeMount changes the configuration of a mount, and returns what it is then.
func (e *Engine) changeMount(ctx context.Context, m engine.Mount, change func(*mountSettings)) (settings mountSettings, err error) {
	err = e.update(ctx, m, func(s shelf) error {
		if settings, err = s.mountSettings(); err != nil {
			return err
		}
		change(&settings)
		return s.putMountSettings(settings)
	})
	if err != nil {
		return settings, fmt.Errorf("change the mount's configuration: %w", err)
	}
	return settings, nil
}

func (e *Engine) readMount(ctx context.Context, m engine.Mount) (settings mountSettings, err error) {
	err = e.view(ctx, m, func(s shelf) (err error) {
		settings, err = s.mountSettings()
		return err
	})
	if err != nil {
		return settings, fmt.Errorf("read the mount's configuration: %w", err)
	}
	return settings, nil
}

func (m mountSettings) upsert() *engine.Response {
	return &engine.Response{Data: map[string]any{"disable_upsert": m.RefuseUpsert}}
}

func (e *Engine) readKeysConfig(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	m, err := e.readMount(ctx, r.Mount)
	if err != nil {
		return nil, err
	}
	return m.upsert(), nil
}

func (e *Engine) writeKeysConfig(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	m, err := e.changeMount(ctx, r.Mount, func(m *mountSettings) {
		if f.Has("disable_upsert") {
			m.RefuseUpsert = f.Bool("disable_upsert")
		}
	})
	if err != nil {
		return nil, err
	}
	return m.upsert(), nil
}

// minCacheSize is the smallest cache that can be asked for. Source: recording transit-config.
const minCacheSize = 10

func (m mountSettings) cache() *engine.Response {
	return &engine.Response{Data: map[string]any{"size": m.CacheSize}}
}

func (e *Engine) readCacheConfig(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	m, err := e.readMount(ctx, r.Mount)
	if err != nil {
		return nil, err
	}
	return m.cache(), nil
}

// writeCacheConfig sets the size of the cache. Every node keeps to it when it puts the next key there.
func (e *Engine) writeCacheConfig(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	size := f.Int("size")
	if size != 0 && size < minCacheSize {
		return nil, errs.New(errs.Invalid, "size must be 0 or a value greater or equal to %d", minCacheSize)
	}
	m, err := e.changeMount(ctx, r.Mount, func(m *mountSettings) {
		if f.Has("size") {
			m.CacheSize = size
		}
	})
	if err != nil {
		return nil, err
	}
	return m.cache(), nil
}
