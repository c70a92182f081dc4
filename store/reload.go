package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"leasehold/store/keyring"
)

// reloader reads the keyring again when a cell names a key that is not in it, as happens after another node has added
// one.
type reloader struct {
	read atomic.Pointer[func(*Tx) (*keyring.Keyring, error)]
	one  sync.Mutex // one reload at a time; the one lock that is held across I/O, for the one connection kept for it
}

// OnUnknownKey sets how the keyring is read. Without it, a cell with an unknown key is ErrTampered.
func (s *Store) OnUnknownKey(read func(*Tx) (*keyring.Keyring, error)) { s.reload.read.Store(&read) }

// reloadKeyring brings k up to date. It reads in a transaction of its own: the one that met the cell may have rows
// open.
func (s *Store) reloadKeyring(ctx context.Context, k *keyring.Keyring) error {
	read := s.reload.read.Load()
	if read == nil || k != s.keys.Load() {
		return nil
	}
	s.reload.one.Lock()
	defer s.reload.one.Unlock()
	var newer *keyring.Keyring
	sqlTx, err := s.read.BeginTx(ctx, readOnly)
	if err != nil {
		return fmt.Errorf("read the keyring again: begin: %w", err)
	}
	defer func() { _ = sqlTx.Rollback() }() // it has changed nothing
	if newer, err = (*read)(s.newTx(ctx, sqlTx, s.clock.Now())); err != nil {
		return fmt.Errorf("read the keyring again: %w", err)
	}
	return k.Adopt(newer)
}
