package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"leasehold/internal/clock"
	"leasehold/store/keyring"
)

var (
	// ErrNoRow says that a QueryRow found nothing.
	ErrNoRow = sql.ErrNoRows
	// ErrSealed says that the store has no keyring: nothing can be sealed, opened or indexed.
	ErrSealed = errors.New("the store is sealed")
	// ErrTampered says that a sealed value was edited, moved, swapped, or comes from another store.
	ErrTampered = keyring.ErrTampered
	// ErrConflict says that a unique constraint refused a row.
	ErrConflict = errors.New("the row exists already")
	// ErrUnreachable says that Open found no database to speak to.
	ErrUnreachable = errors.New("the database cannot be reached")
)

// Config opens a store. All fields but Observer are required.
type Config struct {
	// Dialect is the database: sqlite.New or postgres.New.
	Dialect Dialect
	// Clock is where Tx.Now comes from, unless the dialect has a clock that all nodes share.
	Clock clock.Clock
	// Migrations are the tables of every package, in the order in which they are made.
	Migrations []Migration
	// Observer is told of commits.
	Observer Observer
}

// Dialect is what differs between the SQL databases.
type Dialect interface {
	// Name is "sqlite" or "postgresql".
	Name() string
	// Open connects. write runs Updates, read runs Views and has two connections or more.
	Open(ctx context.Context) (write, read *sql.DB, err error)
	// Close releases what Open took besides the two pools, which are closed before.
	Close() error
	// Embedded says that statements run in this process, by one writer at a time, and that the node's clock is the
	// store's. Statements are then prepared once and never interrupted, and Updates share commits.
	Embedded() bool
	// Types are the replacements for the upper-case words in the SQL of migrations.
	Types() map[string]string
	// ClaimSuffix ends a select that claims rows: "for update skip locked", or "".
	ClaimSuffix() string
	// Now is the time of a transaction by a clock that all nodes share. An embedded dialect is not asked.
	Now(ctx context.Context, tx *sql.Tx) (time.Time, error)
	// LockSchema keeps others from migrating until tx ends.
	LockSchema(ctx context.Context, tx *sql.Tx) error
	// Retryable says that the same transaction may succeed when it is run again.
	Retryable(err error) bool
	// Conflict says that a unique constraint refused a row.
	Conflict(err error) bool
}

// Store is an open store. Safe for concurrent use.
type Store struct {
	dialect     Dialect
	clock       clock.Clock
	observer    Observer
	write, read *sql.DB
	id          string
	sealed      []SealedColumn
	cells       map[[2]string]struct{} // table and column of each sealed column

	readers *readers      // of an embedded dialect, else nil
	writer  *writer       // of an embedded dialect, else nil
	views   chan struct{} // has an element for each View under way; one connection is kept for reading the keyring
	again   chan struct{} // has an element while an Update that has collided runs again

	keys   atomic.Pointer[keyring.Keyring]
	last   atomic.Int64 // the latest time that an Update has used, in microseconds
	reload reloader
}

// Open connects, runs the migrations that are still to be done, and checks that the schema is the one that this
// program knows. The store is locked until Unlock.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	switch {
	case cfg.Dialect == nil:
		return nil, errors.New("open the store: Dialect is missing")
	case cfg.Clock == nil:
		return nil, errors.New("open the store: Clock is missing")
	}
	write, read, err := cfg.Dialect.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{
		dialect: cfg.Dialect, clock: cfg.Clock, observer: cfg.Observer, write: write, read: read, cells: map[[2]string]struct{}{},
	}
	for _, m := range cfg.Migrations {
		for _, c := range m.Sealed {
			s.sealed = append(s.sealed, c)
			s.cells[[2]string{c.Table, c.Column}] = struct{}{}
		}
	}
	if err := s.migrate(ctx, cfg.Migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.Close())
	}
	s.again = make(chan struct{}, 1)
	s.views = make(chan struct{}, read.Stats().MaxOpenConnections-1)
	if cfg.Dialect.Embedded() {
		s.readers = &readers{db: read}
		s.writer = newWriter(write, &s.last, s.commit)
	}
	return s, nil
}

// Close waits for the transactions that are under way, ends all connections and wipes the keys. Later transactions
// fail.
func (s *Store) Close() error {
	var err error
	if s.writer != nil {
		err = s.writer.close()
	}
	for range cap(s.views) { // wait for each View; those that come later find closed connections
		s.views <- struct{}{}
	}
	if s.readers != nil {
		err = errors.Join(err, s.readers.close())
	}
	s.Lock()
	err = errors.Join(err, s.write.Close(), s.read.Close(), s.dialect.Close())
	for range cap(s.views) {
		<-s.views
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// ID is the store's random name, made with its first tables and bound into every cell.
func (s *Store) ID() string { return s.id }

// Clock is the clock that the store was opened with.
func (s *Store) Clock() clock.Clock { return s.clock }

// Shared reports whether other nodes may use the store at the same time.
func (s *Store) Shared() bool { return !s.dialect.Embedded() }

// Dialect is the name of the database: "sqlite" or "postgresql".
func (s *Store) Dialect() string { return s.dialect.Name() }

// Unlock gives the store its keys. The store wipes them when it is locked.
func (s *Store) Unlock(k *keyring.Keyring) { s.keys.Store(k) }

// Lock takes the keys away and wipes them. Transactions that are under way can seal and open no more.
func (s *Store) Lock() {
	if k := s.keys.Swap(nil); k != nil {
		k.Wipe()
	}
}

// Unlocked says whether the store has its keys.
func (s *Store) Unlocked() bool { return s.keys.Load() != nil }

// Keyring is what the store seals with, or nil while it is locked.
func (s *Store) Keyring() *keyring.Keyring { return s.keys.Load() }
