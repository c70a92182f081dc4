package kvcompat

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// check is a write's check-and-set parameter.
type check struct {
	given   bool
	version int64 // what the newest version must be; 0: none was ever written
}

// checkOf reads options.cas: a whole number, or text of one.
func checkOf(f *engine.Fields) (check, error) {
	raw, given := f.Object("options")["cas"]
	if !given {
		return check{}, nil
	}
	text, ok := raw.(string)
	if number, isNumber := raw.(json.Number); isNumber {
		text, ok = number.String(), true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return check{}, errs.New(errs.Invalid, "error parsing check-and-set parameter")
	}
	return check{true, n}, nil
}

// allows decides whether a key may be written.
func (c check) allows(k *key, s settings) error {
	switch {
	case !c.given && (s.CASRequired || k.CASRequired):
		return errs.New(errs.Invalid, "check-and-set parameter required for this call")
	case c.given && c.version != k.Current:
		return errs.New(errs.Invalid, "check-and-set parameter did not match the current version")
	}
	return nil
}

var errNoData = errs.New(errs.Invalid, "no data provided")

func (e *Engine) writeData(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if !f.Given("data") {
		return nil, errNoData
	}
	cas, err := checkOf(f)
	if err != nil {
		return nil, err
	}
	data := f.Object("data")
	if data == nil { // null is an empty object
		data = map[string]any{}
	}
	encoded, err := encode(data)
	if err != nil {
		return nil, err
	}
	var shown map[string]any
	err = e.update(ctx, r, func(t tree) error {
		s, err := t.settings()
		if err != nil {
			return err
		}
		k, err := t.key(f.Text("path"))
		if err != nil {
			return err
		}
		if k == nil {
			if k, err = t.newKey(f.Text("path")); err != nil {
				return err
			}
		}
		if err := cas.allows(k, s); err != nil {
			return err
		}
		v, err := t.add(k, s, encoded)
		shown = v.shown(k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("write a version: %w", err)
	}
	return &engine.Response{Data: shown}, nil
}

// patchData makes a new version of the newest one. Where there is nothing to patch the answer is 404: without a body for
// an unknown key, with the newest version's metadata when that is deleted.
func (e *Engine) patchData(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if !f.Has("data") {
		return nil, errNoData
	}
	cas, err := checkOf(f)
	if err != nil {
		return nil, err
	}
	var resp *engine.Response
	err = e.update(ctx, r, func(t tree) error {
		resp = &engine.Response{Status: statusNotFound}
		s, err := t.settings()
		if err != nil {
			return err
		}
		k, err := t.key(f.Text("path"))
		if k == nil || err != nil {
			return err
		}
		newest, stored, found, err := t.version(k, k.Current)
		if err != nil || !found {
			return err
		}
		if err := cas.allows(k, s); err != nil {
			return err
		}
		if stored == nil {
			resp.Data = newest.shown(k)
			return nil
		}
		var data map[string]any
		if err := decode(stored, &data); err != nil {
			return err
		}
		encoded, err := encode(merge(data, f.Object("data")))
		if err != nil {
			return err
		}
		v, err := t.add(k, s, encoded)
		resp = &engine.Response{Data: v.shown(k)}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("patch a version: %w", err)
	}
	return resp, nil
}

// reading is a version that was read. data is nil when the version is deleted or destroyed.
type reading struct {
	metadata map[string]any
	data     map[string]any
}

// readVersion reads the version that the request asks for; nil: there is none.
func (e *Engine) readVersion(ctx context.Context, r *engine.Request, f *engine.Fields) (*reading, error) {
	var found *reading
	err := e.view(ctx, r, func(t tree) error {
		found = nil
		k, err := t.key(f.Text("path"))
		if k == nil || err != nil {
			return err
		}
		number := int64(f.Int("version"))
		if number == 0 {
			number = k.Current
		}
		v, stored, ok, err := t.version(k, number)
		if !ok || err != nil {
			return err
		}
		found = &reading{metadata: v.shown(k)}
		if stored == nil {
			return nil
		}
		return decode(stored, &found.data)
	})
	if err != nil {
		return nil, fmt.Errorf("read a version: %w", err)
	}
	return found, nil
}

// answer shows a reading. One without data is not found, and tells what there was.
func (v *reading) answer(name string, shown map[string]any) *engine.Response {
	if v.data == nil {
		return &engine.Response{Status: statusNotFound, Data: map[string]any{name: nil, "metadata": v.metadata}}
	}
	return &engine.Response{Data: map[string]any{name: shown, "metadata": v.metadata}}
}

func (e *Engine) readData(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	v, err := e.readVersion(ctx, r, f)
	if v == nil || err != nil {
		return nil, err
	}
	return v.answer("data", v.data), nil
}

func (e *Engine) readSubkeys(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	v, err := e.readVersion(ctx, r, f)
	if v == nil || err != nil {
		return nil, err
	}
	return v.answer("subkeys", subkeys(v.data, f.Int("depth"))), nil
}
