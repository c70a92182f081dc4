package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/store"
	"leasehold/store/keyring"
)

func (b *Barrier) keyringPlace() keyring.Place {
	return keyring.Place{Store: b.store.ID(), Table: "keyring", Column: "keys", Key: "1"}
}

// saveKeyring writes k as the store's keyring.
func (b *Barrier) saveKeyring(tx *store.Tx, root *rootKey, k *keyring.Keyring) error {
	plain, err := k.Encode()
	if err != nil {
		return fmt.Errorf("encode the keyring: %w", err)
	}
	defer clear(plain)
	wrapped := keyring.Wrap(root, b.keyringPlace(), plain)
	term, installed := k.Newest()
	_, err = tx.Exec(`insert into keyring (id, term, installed_at, keys) values (1, $1, $2, $3)
		on conflict (id) do update set term = excluded.term, installed_at = excluded.installed_at, keys = excluded.keys`,
		int64(term), store.Micros(installed), wrapped)
	if err != nil {
		return fmt.Errorf("record the keyring: %w", err)
	}
	return nil
}

// loadKeyring reads the store's keyring.
func (b *Barrier) loadKeyring(tx *store.Tx, root *rootKey) (*keyring.Keyring, error) {
	var wrapped []byte
	if err := tx.QueryRow(`select keys from keyring where id = 1`).Scan(&wrapped); err != nil {
		return nil, fmt.Errorf("read the keyring: %w", err)
	}
	plain, err := keyring.Unwrap(root, b.keyringPlace(), wrapped)
	if err != nil {
		return nil, fmt.Errorf("open the keyring: %w", err)
	}
	defer clear(plain)
	return keyring.Decode(plain)
}

// copyRoot is a copy of the root key, for the caller to wipe. Errors: store.ErrSealed.
func (b *Barrier) copyRoot() (*rootKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root == nil {
		return nil, store.ErrSealed
	}
	root := *b.root
	return &root, nil
}

// reload reads the keyring for a transaction that met a key which another node has added.
func (b *Barrier) reload(tx *store.Tx) (*keyring.Keyring, error) {
	root, err := b.copyRoot()
	if err != nil {
		return nil, err
	}
	defer clear(root[:])
	b.log.Info("keyring read again")
	return b.loadKeyring(tx, root)
}

// Follow takes over the data keys that another node has added, so that this node's next value is sealed with the newest one.
// Without it that happens when a value of such a key is met. Errors: store.ErrSealed.
func (b *Barrier) Follow(tx *store.Tx) error {
	present := b.store.Keyring()
	if present == nil {
		return store.ErrSealed
	}
	var term int64
	if err := tx.QueryRow(`select term from keyring where id = 1`).Scan(&term); err != nil {
		return fmt.Errorf("read the keyring's term: %w", err)
	}
	if newest, _ := present.Newest(); int64(newest) >= term {
		return nil
	}
	newer, err := b.reload(tx)
	if err != nil {
		return err
	}
	if err := present.Adopt(newer); !errors.Is(err, keyring.ErrWiped) {
		return err
	}
	return store.ErrSealed
}

// Rotate adds a data key, which seals from now on. What older keys sealed stays readable. Errors: store.ErrSealed.
func (b *Barrier) Rotate(ctx context.Context) error {
	root, err := b.copyRoot()
	if err != nil {
		return err
	}
	defer clear(root[:])
	var k *keyring.Keyring
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		// Read, not taken from memory: another node may have rotated.
		read, err := b.loadKeyring(tx, root)
		if err != nil {
			return err
		}
		k = read
		if err := k.Rotate(tx.Now()); err != nil {
			return err
		}
		return b.saveKeyring(tx, root, k)
	})
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	// Crash: the new key is in the row; the next unseal finds it.
	present := b.store.Keyring()
	if present == nil { // sealed meanwhile
		k.Wipe()
		return nil
	}
	if err := present.Adopt(k); err != nil && !errors.Is(err, keyring.ErrWiped) {
		return fmt.Errorf("rotate: %w", err)
	}
	return nil
}

// KeyStatus is the number of the newest data key, when it was added, and how many values this process has sealed since
// it was unsealed. Errors: store.ErrSealed.
func (b *Barrier) KeyStatus(ctx context.Context) (term int, installed time.Time, encryptions int64, err error) {
	present := b.store.Keyring()
	if present == nil {
		return 0, time.Time{}, 0, store.ErrSealed
	}
	var installedAt int64
	err = b.store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`select term, installed_at from keyring where id = 1`).Scan(&term, &installedAt)
	})
	if err != nil {
		return 0, time.Time{}, 0, fmt.Errorf("read the keyring's term: %w", err)
	}
	return term, store.Time(installedAt), present.Sealed(), nil
}
