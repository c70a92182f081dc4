package kvcompat

import (
	"context"
	"fmt"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

// errUpgrading answers version 1 where version 2 has written already. Clients know the first words and try again.
var errUpgrading = errs.New(errs.Invalid, "Upgrading from non-versioned to versioned data: the mount is version 2 now, and this request was still one for version 1")

// values is what version 1 and the cubbyhole share: one plain value at a path.
type values struct {
	store  *store.Store
	demand func(tx *store.Tx, space string) error // refuses writes to a space that is going; nil: none does
}

// read is the value at a path; nil: there is none.
func (v values) read(ctx context.Context, space, path string) (value map[string]any, err error) {
	err = v.store.View(ctx, func(tx *store.Tx) error {
		value = nil
		f, stored, err := tree{Tx: tx, space: space}.get(path)
		switch {
		case err != nil || f == absent:
			return err
		case f == versioned:
			return errUpgrading
		}
		return decode(stored, &value)
	})
	if err != nil {
		return nil, fmt.Errorf("read a value: %w", err)
	}
	return value, nil
}

func (v values) exists(ctx context.Context, space, path string) (found bool, err error) {
	err = v.store.View(ctx, func(tx *store.Tx) error {
		f, _, err := tree{Tx: tx, space: space}.get(path)
		found = f != absent
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for a value: %w", err)
	}
	return found, nil
}

// write puts a value at a path, in place of the one that is there.
func (v values) write(ctx context.Context, space, path string, value map[string]any) error {
	encoded, err := encode(value)
	if err != nil {
		return err
	}
	err = v.store.Update(ctx, func(tx *store.Tx) error {
		if v.demand != nil {
			if err := v.demand(tx, space); err != nil {
				return err
			}
		}
		t := tree{Tx: tx, space: space, writes: true}
		f, _, err := t.get(path)
		if err != nil {
			return err
		}
		if f == versioned {
			return errUpgrading
		}
		return t.put(path, plain, encoded)
	})
	if err != nil {
		return fmt.Errorf("write a value: %w", err)
	}
	return nil
}

// remove takes the value at a path away. None there is no error.
func (v values) remove(ctx context.Context, space, path string) error {
	err := v.store.Update(ctx, func(tx *store.Tx) error {
		t := tree{Tx: tx, space: space, writes: true}
		f, _, err := t.get(path)
		switch {
		case err != nil || f == absent:
			return err
		case f == versioned:
			return errUpgrading
		}
		return t.drop(path)
	})
	if err != nil {
		return fmt.Errorf("delete a value: %w", err)
	}
	return nil
}

// names lists a folder, or all that is below it.
func (v values) names(ctx context.Context, space, dir string, op engine.Operation) (*engine.Response, error) {
	var names []string
	err := v.store.View(ctx, func(tx *store.Tx) (err error) {
		t := tree{Tx: tx, space: space}
		if op == engine.Scan {
			names, err = t.scan(dir)
		} else {
			names, err = t.list(dir)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}
