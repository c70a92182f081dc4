package kvcompat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// settings are a mount's config; sealed in its row.
type settings struct {
	MaxVersions         int           `json:"max_versions"` // 0: the key's, or else defaultVersions
	CASRequired         bool          `json:"cas_required"`
	DeleteAfter         time.Duration `json:"delete_version_after"` // negative: off, whatever a key says
	MetadataCASRequired bool          `json:"metadata_cas_required"`
}

var settingsFields = engine.Schema{
	"max_versions": engine.Int, "cas_required": engine.Bool, "delete_version_after": engine.Any, "metadata_cas_required": engine.Bool,
}

func settingsCell(mount string) store.Cell {
	return store.Cell{Table: "kv_settings", Column: "settings", Key: mount}
}

// settings reads the config of the tree's mount.
func (t tree) settings() (s settings, err error) {
	var sealed []byte
	switch err := t.QueryRow(`SELECT settings FROM kv_settings WHERE mount = $1`, t.space).Scan(&sealed); {
	case errors.Is(err, store.ErrNoRow):
		return s, nil
	case err != nil:
		return s, err
	}
	stored, err := t.Open(settingsCell(t.space), sealed)
	if err != nil {
		return s, err
	}
	return s, decode(stored, &s)
}

func (t tree) putSettings(s settings) error {
	encoded, err := encode(s)
	if err != nil {
		return err
	}
	sealed, err := t.Seal(settingsCell(t.space), encoded)
	if err != nil {
		return err
	}
	_, err = t.Exec(`INSERT INTO kv_settings (mount, settings) VALUES ($1, $2)
		ON CONFLICT (mount) DO UPDATE SET settings = excluded.settings`, t.space, sealed)
	return err
}

func (e *Engine) readSettings(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	var s settings
	err := e.view(ctx, r, func(t tree) (err error) {
		s, err = t.settings()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	return &engine.Response{Data: map[string]any{
		"max_versions": s.MaxVersions, "cas_required": s.CASRequired, "delete_version_after": s.DeleteAfter.String(),
		"metadata_cas_required": s.MetadataCASRequired,
	}}, nil
}

// writeSettings changes the fields that were given.
func (e *Engine) writeSettings(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	deleteAfter, err := engine.ParseSignedDuration(f.Raw("delete_version_after"))
	if err != nil {
		return nil, badField("delete_version_after", err)
	}
	if deleteAfter < 0 {
		deleteAfter = -time.Second // one way to say off
	}
	if f.Int("max_versions") < 0 {
		return nil, badField("max_versions", errNegative)
	}
	err = e.update(ctx, r, func(t tree) error {
		s, err := t.settings()
		if err != nil {
			return err
		}
		before := s
		if f.Has("max_versions") {
			s.MaxVersions = f.Int("max_versions")
		}
		if f.Has("delete_version_after") {
			s.DeleteAfter = deleteAfter
		}
		s.CASRequired = f.BoolOr("cas_required", s.CASRequired)
		s.MetadataCASRequired = f.BoolOr("metadata_cas_required", s.MetadataCASRequired)
		if s == before {
			return nil
		}
		return t.putSettings(s)
	})
	if err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	return nil, nil
}

var errNegative = errors.New("it must not be negative")

// badField refuses a field's value in the words of the router.
func badField(name string, why error) error {
	return errs.New(errs.Invalid, "Field validation failed: error converting input for field %q: %s", name, why)
}
