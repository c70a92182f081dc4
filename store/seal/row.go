package seal

import (
	"context"
	"errors"
	"fmt"

	"leasehold/store"
	"leasehold/store/keyring"
)

// Migrations are the tables of the seal. No key in them is a cell: they are sealed by keys that are not in the keyring.
func Migrations() []store.Migration {
	return []store.Migration{
		{Package: "seal", Version: 1, SQL: []string{
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
		}},
		{Package: "seal", Version: 2, SQL: []string{
			`alter table seal add column kind TEXT not null default 'shamir'`,
			`alter table seal add column version BIGINT not null default 1`, // raised by every change
			`alter table seal add column wrapping BYTES`,                    // what a Wrapper made of the key that root is under
			`alter table seal add column recovery BYTES`,                    // what recovery shares prove, under the root key
		}},
	}
}

// Shamir is the kind of seal that people open with their shares of the unseal key.
const Shamir = "shamir"

// row is the row of table seal, or one that is to take its place.
type row struct {
	kind     string // Shamir, or the Type of the Wrapper that wrapping is from
	version  int64
	Params          // of the unseal key; where a Wrapper opens the store, of the recovery key
	root     []byte // the root key
	wrapping []byte // nil with Shamir
	recovery []byte // nil with Shamir
}

// auto says that the store is opened by a Wrapper, and that people hold recovery shares.
func (r *row) auto() bool { return r.kind != Shamir }

// read reads the seal's row. Errors: ErrNotInitialized.
func (b *Barrier) read(ctx context.Context) (*row, error) {
	r := &row{}
	err := b.store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`select kind, version, shares, threshold, root, wrapping, recovery from seal where id = 1`).
			Scan(&r.kind, &r.version, &r.Shares, &r.Threshold, &r.root, &r.wrapping, &r.recovery)
	})
	if errors.Is(err, store.ErrNoRow) {
		return nil, ErrNotInitialized
	}
	if err != nil {
		return nil, fmt.Errorf("read the seal: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.threshold = r.Threshold
	return r, nil
}

// insert makes the seal's row. Errors: ErrInitialized.
func (r *row) insert(tx *store.Tx) error {
	n, err := tx.Exec(`insert into seal (id, kind, version, shares, threshold, root, wrapping, recovery, changed_at)
		values (1, $1, 1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing`,
		r.kind, r.Shares, r.Threshold, r.root, r.wrapping, r.recovery, store.Micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("record the seal: %w", err)
	}
	if n == 0 {
		return ErrInitialized
	}
	return nil
}

// replace puts next in the place of the row of which it is a changed copy. Of two that change the same version only the
// first does. Errors: ErrChanged.
func (b *Barrier) replace(ctx context.Context, next *row) error {
	err := b.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`update seal set kind = $1, version = version + 1, shares = $2, threshold = $3, root = $4, wrapping = $5,
			recovery = $6, changed_at = $7 where id = 1 and version = $8`,
			next.kind, next.Shares, next.Threshold, next.root, next.wrapping, next.recovery, store.Micros(tx.Now()), next.version)
		if err == nil && n == 0 {
			return ErrChanged
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change the seal: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.threshold = next.Threshold
	b.forgetLocked() // shares of a key that may be another one now
	return nil
}

func (b *Barrier) rootPlace() keyring.Place {
	return keyring.Place{Store: b.store.ID(), Table: "seal", Column: "root", Key: "1"}
}

func (b *Barrier) recoveryPlace() keyring.Place {
	return keyring.Place{Store: b.store.ID(), Table: "seal", Column: "recovery", Key: "1"}
}
