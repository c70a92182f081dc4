package kvcompat

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/store"
)

const (
	// One that is deleted already keeps the time.
	deleteVersion = `UPDATE kv_versions SET ended_at = $3
		WHERE entry = $1 AND number = $2 AND destroyed = 0 AND (ended_at = 0 OR ended_at > $3)`
	undeleteVersion = `UPDATE kv_versions SET ended_at = $3 WHERE entry = $1 AND number = $2 AND destroyed = 0`
	destroyVersion  = `UPDATE kv_versions SET destroyed = 1, data = NULL WHERE entry = $1 AND number = $2`
)

// numbersOf reads the versions of a request. none is the refusal when there are none.
func numbersOf(f *engine.Fields, none string) ([]int64, error) {
	list := f.List("versions")
	if len(list) == 0 {
		return nil, errs.New(errs.Invalid, "%s", none)
	}
	numbers := make([]int64, 0, len(list))
	for _, text := range list {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badField("versions", fmt.Errorf("%q is not a whole number", text))
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

// eachVersion runs fn for those of the numbered versions that a key can have.
func (e *Engine) eachVersion(ctx context.Context, r *engine.Request, f *engine.Fields, numbers []int64, fn func(t tree, k *key, number int64) error) error {
	return e.update(ctx, r, func(t tree) error {
		k, err := t.key(f.Text("path"))
		if k == nil || err != nil {
			return err
		}
		for _, n := range numbers {
			if n < max(k.Oldest, 1) || n > k.Current {
				continue
			}
			if err := fn(t, k, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteOne(t tree, k *key, number int64) error {
	_, err := t.Exec(deleteVersion, k.id, number, store.Micros(t.Now()))
	return err
}

func (e *Engine) deleteVersions(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	numbers, err := numbersOf(f, "No version number provided")
	if err != nil {
		return nil, err
	}
	if err := e.eachVersion(ctx, r, f, numbers, deleteOne); err != nil {
		return nil, fmt.Errorf("delete versions: %w", err)
	}
	return nil, nil
}

func (e *Engine) deleteNewest(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	err := e.update(ctx, r, func(t tree) error {
		k, err := t.key(f.Text("path"))
		if k == nil || err != nil {
			return err
		}
		return deleteOne(t, k, k.Current)
	})
	if err != nil {
		return nil, fmt.Errorf("delete the newest version: %w", err)
	}
	return nil, nil
}

// undeleteVersions brings versions back. Where versions end by themselves, these do after as long a time again.
func (e *Engine) undeleteVersions(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	numbers, err := numbersOf(f, "No version number provided")
	if err != nil {
		return nil, err
	}
	err = e.eachVersion(ctx, r, f, numbers, func(t tree, k *key, number int64) error {
		s, err := t.settings()
		if err != nil {
			return err
		}
		_, err = t.Exec(undeleteVersion, k.id, number, store.Micros(k.expiry(s, t.Now())))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("undelete versions: %w", err)
	}
	return nil, nil
}

// destroyVersions erases the data of versions for good.
func (e *Engine) destroyVersions(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	numbers, err := numbersOf(f, "no version number provided")
	if err != nil {
		return nil, err
	}
	err = e.eachVersion(ctx, r, f, numbers, func(t tree, k *key, number int64) error {
		_, err := t.Exec(destroyVersion, k.id, number)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("destroy versions: %w", err)
	}
	return nil, nil
}
