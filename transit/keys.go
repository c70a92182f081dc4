package transit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// The sizes of HMAC keys in bytes.
const (
	minKeySize = 32
	maxKeySize = 512
)

// check says whether a key can be made with these settings.
//
// Errors: Invalid, Fault. Source: recording transit-keys.
func (k *key) check() error {
	a := k.algorithm()
	switch {
	case k.Convergent && !k.Derived:
		return errs.New(errs.Invalid, "convergent encryption requires derivation to be enabled")
	case a == nil:
		if sets := parameterSets(k.Type); len(sets) > 0 {
			return errParameterSet(k.Type, sets)
		}
		if algorithms[[2]string{k.Type, ""}] != nil {
			return errs.New(errs.Invalid, "parameter_set is not valid for algorithm %s", k.Type)
		}
		return errs.New(errs.Invalid, "unknown key type %s", k.Type)
	case k.KeySize != 0 && a.name != hmacAlgorithm:
		return errs.New(errs.Invalid, "key_size is not valid for algorithm %s", k.Type)
	case k.KeySize != 0 && (k.KeySize < minKeySize || k.KeySize > maxKeySize):
		return errs.New(errs.Invalid, "invalid key_size %d", k.KeySize)
	case k.KeySize == 0 && a.name == hmacAlgorithm:
		return errs.Framed(errs.Fault, "invalid key size for HMAC key, must be between %d and %d bytes", minKeySize, maxKeySize)
	}
	return k.checkDerivation()
}

func errParameterSet(name string, sets []string) error {
	return errs.New(errs.Invalid, "parameter_set of a key of type %s has to be one of %s", name, strings.Join(sets, ", "))
}

func (k *key) checkDerivation() error {
	if a := k.algorithm(); (k.Derived && !a.derives) || (k.Convergent && !a.encrypts) {
		return errs.Framed(errs.Fault, "key derivation and convergent encryption not supported for keys of type %s", k.Type)
	}
	return nil
}

// create makes a key, unless there is one of its name already, whatever that one is.
func (e *Engine) create(ctx context.Context, r *engine.Request, k *key) error {
	first, err := k.algorithm().generate(k.KeySize)
	if err != nil {
		return err
	}
	err = e.update(ctx, r.Mount, func(s shelf) error {
		if found, err := s.find(k.name); found != nil || err != nil {
			return err
		}
		made := *k
		return s.insert(&made, first)
	})
	if err != nil {
		return fmt.Errorf("create a key: %w", err)
	}
	return nil
}

func (e *Engine) createKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	k := &key{name: f.Text("name"), settings: settings{
		Type: f.Text("type"), ParameterSet: f.Text("parameter_set"), KeySize: f.Int("key_size"),
		Derived: f.Bool("derived"), Convergent: f.Bool("convergent_encryption"),
		Exportable: f.Bool("exportable"), PlaintextBackup: f.Bool("allow_plaintext_backup"),
	}}
	if k.Type == "" {
		k.Type = defaultAlgorithm
	}
	if _, err := decodeField(f.Text("context")); err != nil {
		return nil, err
	}
	if found, err := e.showKey(ctx, r, f); found != nil || err != nil {
		return found, err // and no key pair is generated for nothing
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	if err := e.setRotation(k, f.Duration("auto_rotate_period"), f.Text("auto_rotate_schedule")); err != nil {
		return nil, err
	}
	if err := e.create(ctx, r, k); err != nil {
		return nil, err
	}
	return e.showKey(ctx, r, f)
}

// showKey is the key object; nil: there is no such key.
func (e *Engine) showKey(ctx context.Context, r *engine.Request, f *engine.Fields) (resp *engine.Response, err error) {
	derivation, err := decodeField(f.Text("context"))
	if err != nil {
		return nil, err
	}
	err = e.view(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(f.Text("name"))
		if k == nil || err != nil {
			return err
		}
		resp, err = s.show(k, derivation)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	return resp, nil
}

func (e *Engine) keyExists(ctx context.Context, r *engine.Request, f *engine.Fields) (found bool, err error) {
	err = e.view(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(f.Text("name"))
		found = k != nil
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for a key: %w", err)
	}
	return found, nil
}

func (e *Engine) listKeys(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	var names []string
	err := e.view(ctx, r.Mount, func(s shelf) (err error) {
		names, err = s.names()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	if after := f.Text("after"); after != "" {
		from, found := slices.BinarySearch(names, after)
		if found {
			from++
		}
		names = names[from:]
	}
	if limit := f.Int("limit"); limit > 0 && limit < len(names) {
		names = names[:limit]
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}

// change changes a key in a transaction, and reads its object after that. fn may run again. missing is the refusal when
// there is no such key; a key that was soft-deleted is changed only when softly says so.
func (e *Engine) change(ctx context.Context, r *engine.Request, f *engine.Fields, missing error, softly bool,
	fn func(s shelf, k *key) error) (*engine.Response, error) {
	err := e.update(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(f.Text("name"))
		switch {
		case err != nil:
			return err
		case k == nil:
			return missing
		case k.SoftDeleted && !softly:
			return errSoftDeleted
		}
		return fn(s, k)
	})
	if err != nil {
		return nil, fmt.Errorf("change a key: %w", err)
	}
	return e.showKey(ctx, r, f)
}

func (e *Engine) deleteKey(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	err := e.update(ctx, r.Mount, func(s shelf) error {
		k, err := s.find(name)
		switch {
		case err != nil:
			return err
		case k == nil:
			return errs.New(errs.Invalid, "error deleting policy %s: could not delete key; not found", name)
		case !k.DeletionAllowed:
			return errs.New(errs.Invalid, "error deleting policy %s: deletion is not allowed for this key", name)
		}
		_, err = s.Exec(deleteKey, k.id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete a key: %w", err)
	}
	return nil, nil
}

// setSoftDeleted takes a key out of use, or brings it back.
func (e *Engine) setSoftDeleted(deleted bool) engine.Handler {
	return func(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
		return e.change(ctx, r, f, errNotNamed(f.Text("name")), true, func(s shelf, k *key) error {
			k.SoftDeleted = deleted
			return s.update(k)
		})
	}
}

func errNotNamed(name string) error {
	return errs.New(errs.Invalid, "no existing key named %s could be found", name)
}

// rotate makes a new version. It is generated before the transaction, which takes it only for a key of the same type.
//
// Errors: Invalid (no such key), Fault (imported).
func (e *Engine) rotate(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	missing := errs.New(errs.Invalid, "key not found")
	l, err := e.lend(ctx, r, name, missing, func(k *key) ([]int, error) { return nil, k.demandRotatable() })
	if err != nil {
		return nil, err
	}
	next, err := l.algorithm().generate(l.KeySize)
	if err != nil {
		return nil, err
	}
	return e.change(ctx, r, f, missing, false, func(s shelf, k *key) error {
		if k.algorithm() != l.algorithm() || k.KeySize != l.KeySize {
			return errs.New(errs.Conflict, "the key was replaced by one of another type at the same time; try again")
		}
		if err := k.demandRotatable(); err != nil {
			return err
		}
		return s.rotate(k, next)
	})
}

// demandRotatable refuses keys whose versions all come from elsewhere.
func (k *key) demandRotatable() error {
	if k.Imported && !k.AllowRotation {
		return errs.Framed(errs.Fault, "imported key %s does not allow rotation within Leasehold", k.name)
	}
	return nil
}

// rotate makes m the newest version. A key is not an imported one any more then.
func (s shelf) rotate(k *key, m material) error {
	k.Imported = false
	return s.add(k, m)
}
