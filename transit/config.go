package transit

import (
	"context"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// configure changes what a key allows. A refused call changes nothing.
//
// Errors: Invalid. Source: the sheet on transit, "Config fields".
func (e *Engine) configure(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	resp, err := e.change(ctx, r, f, errNotNamed(f.Text("name")), true, func(s shelf, k *key) error {
		if err := e.setKey(k, f); err != nil {
			return err
		}
		return s.update(k)
	})
	if resp == nil || err != nil {
		return nil, err
	}
	if f.Has("min_decryption_version") && f.Int("min_decryption_version") == 0 {
		resp.Warn("min_decryption_version begins at 1; 0 was taken as 1")
	}
	return resp, nil
}

func (e *Engine) setKey(k *key, f *engine.Fields) error {
	if f.Has("min_decryption_version") {
		n := f.Int("min_decryption_version")
		switch {
		case n < 0:
			return errs.New(errs.Invalid, "min decryption version cannot be negative")
		case n > k.Latest:
			return errs.New(errs.Invalid, "cannot set min decryption version of %d, latest key version is %d", n, k.Latest)
		}
		k.MinDecryption = max(n, 1)
	}
	if f.Has("min_encryption_version") {
		n := f.Int("min_encryption_version")
		switch {
		case n < 0:
			return errs.New(errs.Invalid, "min encryption version cannot be negative")
		case n > k.Latest:
			return errs.New(errs.Invalid, "cannot set min encryption version of %d, latest key version is %d", n, k.Latest)
		}
		k.MinEncryption = n
	}
	switch {
	case k.MinEncryption > 0 && k.MinEncryption < k.MinDecryption:
		return errs.New(errs.Invalid, "cannot set min encryption/decryption values; min encryption version of %d must be greater than or "+
			"equal to min decryption version of %d", k.MinEncryption, k.MinDecryption)
	case k.MinEncryption < k.MinAvailable:
		return errs.New(errs.Invalid, "min encryption version should not be less than min available version")
	case k.MinDecryption < k.MinAvailable:
		return errs.New(errs.Invalid, "min decryption version should not be less then min available version")
	}
	if f.Has("deletion_allowed") {
		k.DeletionAllowed = f.Bool("deletion_allowed")
	}
	k.Exportable = k.Exportable || f.Bool("exportable") // once a key could leave, it may be anywhere
	k.PlaintextBackup = k.PlaintextBackup || f.Bool("allow_plaintext_backup")
	if !f.Has("auto_rotate_period") && !f.Has("auto_rotate_schedule") {
		return nil
	}
	if err := e.setRotation(k, f.Duration("auto_rotate_period"), f.Text("auto_rotate_schedule")); err != nil {
		return err
	}
	if k.rotates() && k.demandRotatable() != nil {
		return errs.New(errs.Invalid, "allow_rotation must be set to true if auto-rotation is enabled")
	}
	return nil
}

// trim erases the versions before min_available_version. They are gone for good.
//
// Errors: Invalid. Source: recording transit-trim.
func (e *Engine) trim(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	missing := errs.New(errs.Invalid, "invalid key name")
	return e.change(ctx, r, f, missing, true, func(s shelf, k *key) error {
		n := f.Int("min_available_version")
		switch {
		case !f.Has("min_available_version"):
			return errs.New(errs.Invalid, "missing min_available_version")
		case n < k.MinAvailable:
			return errs.New(errs.Invalid, "minimum available version cannot be decremented")
		case k.MinEncryption == 0:
			return errs.New(errs.Invalid, "minimum available version cannot be set when minimum encryption version is not set")
		case n > k.MinEncryption:
			return errs.New(errs.Invalid, "minimum available version cannot be greater than minmum encryption version")
		case n > k.MinDecryption:
			return errs.New(errs.Invalid, "minimum available version cannot be greater than minimum decryption version")
		case n == 0:
			return errs.New(errs.Invalid, "minimum available version should be positive")
		}
		k.MinAvailable = n
		if err := s.update(k); err != nil {
			return err
		}
		_, err := s.Exec(deleteBelow, k.id, n)
		return err
	})
}
