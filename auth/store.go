package auth

import (
	"context"
	"errors"
	"fmt"

	"leasehold/internal/errs"
	"leasehold/store"
)

// Config makes a Store.
type Config struct {
	// Store holds the tables of Migrations. Required.
	Store *store.Store

	// DueLeases makes up to limit leases of a token that has ended due at once, and says how many it found. Fewer than
	// limit means that no more are left, so that the token's row may go. Required.
	DueLeases func(tx *store.Tx, token int64, limit int) (int, error)

	// Ended is called for a token whose row is being deleted, in the same transaction. Nil: nothing else hangs on a token.
	Ended func(tx *store.Tx, token int64) error

	// Wake is called after a commit that left the reaper something to do. It must not block. Nil: nobody is told, and
	// the work waits for the next RunOnce.
	Wake func()
}

// Store makes, finds and ends tokens. Safe for concurrent use. It has no state of its own.
type Store struct {
	store     *store.Store
	dueLeases func(tx *store.Tx, token int64, limit int) (int, error)
	ended     func(tx *store.Tx, token int64) error
	wake      func()
	batch     int // how many rows one transaction of the reaper, or of a revocation by prefix, changes
}

// New checks the configuration and makes a Store. It reads nothing.
func New(cfg Config) (*Store, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("auth: Config.Store is missing")
	case cfg.DueLeases == nil:
		return nil, errors.New("auth: Config.DueLeases is missing")
	}
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	if cfg.Ended == nil {
		cfg.Ended = func(*store.Tx, int64) error { return nil }
	}
	return &Store{store: cfg.Store, dueLeases: cfg.DueLeases, ended: cfg.Ended, wake: cfg.Wake, batch: 500}, nil
}

// WakeReaper tells whoever runs RunOnce to do so now.
func (s *Store) WakeReaper() { s.wake() }

// view and update run a transaction, and say in errors of ours what was attempted.
func (s *Store) view(ctx context.Context, what string, fn func(tx *store.Tx) error) error {
	return wrapped(what, s.store.View(ctx, fn))
}

func (s *Store) update(ctx context.Context, what string, fn func(tx *store.Tx) error) error {
	return wrapped(what, s.store.Update(ctx, fn))
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// denied is the one answer to every token that is not good here, whatever the reason.
func denied() error { return errs.New(errs.Unauthenticated, "permission denied") }
