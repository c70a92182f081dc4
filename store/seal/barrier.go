package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/keyring"
)

// Migrations are the tables of the seal. Neither key is a cell: they are sealed by keys that are not in the keyring.
func Migrations() []store.Migration {
	return []store.Migration{{Package: "seal", Version: 1, SQL: []string{
		`create table seal (
			id BIGINT not null primary key, -- always 1: two nodes that initialise at once collide here
			shares BIGINT not null,
			threshold BIGINT not null,
			root BYTES not null, -- the root key, under the unseal key
			changed_at BIGINT not null) STRICT`,
		`create table keyring (
			id BIGINT not null primary key, -- always 1
			term BIGINT not null, -- number of the newest data key
			installed_at BIGINT not null, -- when it was added
			keys BYTES not null) STRICT -- under the root key`,
	}}}
}

// Barrier seals and unseals one store. Safe for concurrent use.
type Barrier struct {
	store *store.Store
	log   *slog.Logger

	mu        sync.Mutex
	given     parts    // guarded by mu: shares towards unsealing
	nonce     string   // guarded by mu: names the present unsealing
	root      *rootKey // guarded by mu: nil while sealed
	threshold int      // guarded by mu: as last read
}

type rootKey = [keyring.KeySize]byte

// New makes the barrier of a store. It reads nothing.
func New(st *store.Store, log *slog.Logger) *Barrier {
	b := &Barrier{store: st, log: log}
	st.OnUnknownKey(b.reload)
	return b
}

// config is the row of table seal.
type config struct {
	Params
	root []byte // wrapped
}

// config reads the seal's row. Errors: ErrNotInitialized.
func (b *Barrier) config(ctx context.Context) (config, error) {
	var c config
	err := b.store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`select shares, threshold, root from seal where id = 1`).Scan(&c.Shares, &c.Threshold, &c.root)
	})
	if errors.Is(err, store.ErrNoRow) {
		return config{}, ErrNotInitialized
	}
	if err != nil {
		return config{}, fmt.Errorf("read the seal: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.threshold = c.Threshold
	return c, nil
}

func (b *Barrier) rootPlace() keyring.Place {
	return keyring.Place{Store: b.store.ID(), Table: "seal", Column: "root", Key: "1"}
}

func (b *Barrier) keyringPlace() keyring.Place {
	return keyring.Place{Store: b.store.ID(), Table: "keyring", Column: "keys", Key: "1"}
}

// unwrapRoot opens a wrapped root key with shares. Errors: ErrInvalidKey.
func (b *Barrier) unwrapRoot(p Params, wrapped []byte, given parts) (*rootKey, error) {
	wrapping, err := combine(b.store.ID(), p, given)
	if err != nil {
		return nil, err
	}
	defer clear(wrapping[:])
	plain, err := keyring.Unwrap(wrapping, b.rootPlace(), wrapped)
	if err != nil || len(plain) != keyring.KeySize {
		return nil, ErrInvalidKey // wrong shares and an edited row look the same
	}
	defer clear(plain)
	root := new(rootKey)
	copy(root[:], plain)
	return root, nil
}

// Status says how the seal stands.
func (b *Barrier) Status(ctx context.Context) (Status, error) {
	c, err := b.config(ctx)
	if err != nil && !errors.Is(err, ErrNotInitialized) {
		return Status{}, err
	}
	return b.status(c), nil
}

func (b *Barrier) status(c config) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{
		Type:        "shamir",
		Initialized: c.Shares > 0,
		Sealed:      !b.store.Unlocked(),
		Threshold:   c.Threshold,
		Shares:      c.Shares,
		Progress:    len(b.given),
		Nonce:       b.nonce,
	}
}

// Initialize makes the keys of a new store and returns the shares of its unseal key. seed writes what a new store
// begins with; it can seal and open cells though the store itself stays locked. All is one transaction.
//
// Errors: ErrInitialized, those of Params.Validate, and seed's.
//
// Crash: after the commit the shares are lost with the process, and the new, useless store is to be made anew.
func (b *Barrier) Initialize(ctx context.Context, p Params, seed func(tx *store.Tx) error) ([]secret.Bytes, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	root := new(rootKey)
	defer clear(root[:])
	_, _ = rand.Read(root[:]) // never fails: the runtime ends the process when the system has no randomness
	wrapping, shares, err := newUnsealKey(b.store.ID(), p)
	if err != nil {
		return nil, err
	}
	defer clear(wrapping[:])
	wrapped := keyring.Wrap(wrapping, b.rootPlace(), root[:])

	err = b.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`insert into seal (id, shares, threshold, root, changed_at) values (1, $1, $2, $3, $4)
			on conflict (id) do nothing`, p.Shares, p.Threshold, wrapped, store.Micros(tx.Now()))
		if err != nil {
			return fmt.Errorf("record the seal: %w", err)
		}
		if n == 0 {
			return ErrInitialized
		}
		k := keyring.New(tx.Now())
		defer k.Wipe()
		if err := b.saveKeyring(tx, root, k); err != nil {
			return err
		}
		tx.UseKeyring(k)
		return seed(tx)
	})
	if err != nil {
		wipeShares(shares)
		return nil, err
	}
	return shares, nil
}

func wipeShares(shares []secret.Bytes) {
	for _, share := range shares {
		share.Wipe()
	}
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

// Unseal takes one share. A share given twice counts once. At the threshold the shares are combined and forgotten:
// the store is open, or the error is ErrInvalidKey and progress starts over. A share of an impossible size is
// ErrInvalidKey too, and leaves progress as it is. An open store stays as it is.
//
// Errors: ErrInvalidKey, ErrNotInitialized.
func (b *Barrier) Unseal(ctx context.Context, share []byte) (Status, error) {
	c, err := b.config(ctx)
	if err != nil {
		return Status{}, err
	}
	if b.store.Unlocked() {
		return b.status(c), nil
	}
	if len(share) != c.shareSize() {
		return Status{}, ErrInvalidKey
	}
	given := b.give(share, c.Threshold)
	defer given.wipe()
	if len(given) < c.Threshold {
		return b.status(c), nil
	}
	root, err := b.unwrapRoot(c.Params, c.root, given)
	if err != nil {
		return Status{}, err
	}
	if err := b.open(ctx, root); err != nil {
		return Status{}, err
	}
	return b.status(c), nil
}

// give adds a share. Once there are threshold of them it takes them all out and returns them.
func (b *Barrier) give(share []byte, threshold int) parts {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given.add(share)
	if len(b.given) < threshold {
		if b.nonce == "" {
			b.nonce = uuid.NewString()
		}
		return nil
	}
	given := b.given
	b.given, b.nonce = nil, ""
	return given
}

// open loads the keyring and unlocks the store. It owns root.
func (b *Barrier) open(ctx context.Context, root *rootKey) error {
	var k *keyring.Keyring
	err := b.store.View(ctx, func(tx *store.Tx) error {
		var err error
		k, err = b.loadKeyring(tx, root)
		return err
	})
	if err != nil {
		clear(root[:])
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root != nil { // another caller was faster
		clear(root[:])
		k.Wipe()
		return nil
	}
	b.root = root
	b.store.Unlock(k)
	b.log.Info("unsealed")
	return nil
}

// ResetUnseal forgets the shares given so far.
func (b *Barrier) ResetUnseal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given.wipe()
	b.nonce = ""
}

// Seal locks the store and wipes the keys. A sealed store stays as it is.
func (b *Barrier) Seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given.wipe()
	b.nonce = ""
	b.store.Lock()
	if b.root != nil {
		clear(b.root[:])
		b.root = nil
		b.log.Info("sealed")
	}
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
