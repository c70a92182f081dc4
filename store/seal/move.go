package seal

import (
	"context"
	"crypto/subtle"
	"fmt"

	"leasehold/internal/failpoint"
	"leasehold/store/keyring"
)

// moving says that the store has another seal than the configured one and can be moved to that: its shares are waited for.
func (b *Barrier) moving(r *row) bool {
	return r.kind != b.seals.kind() && (!r.auto() || len(b.seals.of(r.kind)) > 0)
}

// rootOf gets the root key for shares that made key: an unseal key opens it, a recovery key is only proven once the Wrapper
// has opened it. Errors: ErrInvalidKey, those of the Wrapper.
func (b *Barrier) rootOf(ctx context.Context, r *row, key *sharedKey) (root *rootKey, former bool, err error) {
	if !r.auto() {
		root, err = b.rootByShares(r, key)
		return root, false, err
	}
	if root, former, err = b.unwrapRoot(ctx, r); err != nil {
		return nil, false, err
	}
	if err := b.proveRecovery(root, r, key); err != nil {
		clear(root[:])
		return nil, false, err
	}
	return root, former, nil
}

// rootByShares opens the root key with an unseal key. Errors: ErrInvalidKey.
func (b *Barrier) rootByShares(r *row, key *sharedKey) (*rootKey, error) {
	wrapping, err := key.wrapping(b.store.ID())
	if err != nil {
		return nil, err
	}
	defer clear(wrapping[:])
	root, err := b.openRoot(wrapping, r.root)
	if err != nil {
		return nil, ErrInvalidKey // wrong shares and an edited row look the same
	}
	return root, nil
}

// prove says whether shares made the key that r asks for, on an open store. Errors: ErrInvalidKey, store.ErrSealed.
func (b *Barrier) prove(r *row, key *sharedKey) error {
	if !r.auto() {
		root, err := b.rootByShares(r, key)
		if err == nil {
			clear(root[:])
		}
		return err
	}
	root, err := b.copyRoot()
	if err != nil {
		return err
	}
	defer clear(root[:])
	return b.proveRecovery(root, r, key)
}

// proveRecovery compares a recovery key with what the store keeps of the right one. That is sealed by the root key: who can
// write to the database cannot put another in its place.
func (b *Barrier) proveRecovery(root *rootKey, r *row, key *sharedKey) error {
	want, err := keyring.Unwrap(root, b.recoveryPlace(), r.recovery)
	if err != nil {
		return fmt.Errorf("open the proof of the recovery key: %w", err)
	}
	defer clear(want)
	got, err := key.proof(b.store.ID())
	if err != nil {
		return err
	}
	defer clear(got[:])
	if subtle.ConstantTimeCompare(want, got[:]) != 1 {
		return ErrInvalidKey
	}
	return nil
}

// fill puts the root key into r for its kind, and key as what people hold the shares of.
func (b *Barrier) fill(ctx context.Context, r *row, root *rootKey, key *sharedKey) error {
	if !r.auto() {
		wrapping, err := key.wrapping(b.store.ID())
		if err != nil {
			return err
		}
		defer clear(wrapping[:])
		r.root, r.wrapping, r.recovery = keyring.Wrap(wrapping, b.rootPlace(), root[:]), nil, nil
		return nil
	}
	var err error
	if r.root, r.wrapping, err = b.wrapRoot(ctx, b.seals.Current, root); err != nil {
		return err
	}
	return b.fillRecovery(r, root, key)
}

// fillRecovery puts the proof of a recovery key into r.
func (b *Barrier) fillRecovery(r *row, root *rootKey, key *sharedKey) error {
	proof, err := key.proof(b.store.ID())
	if err != nil {
		return err
	}
	defer clear(proof[:])
	r.recovery = keyring.Wrap(root, b.recoveryPlace(), proof[:])
	return nil
}

// move changes the seal to the configured one. Unseal shares become recovery shares, and the other way round.
//
// Crash: before the commit the former seal is in force, after it the new one. It is one row.
func (b *Barrier) move(ctx context.Context, r *row, root *rootKey, key *sharedKey) (*row, error) {
	next := *r
	next.kind = b.seals.kind()
	if err := b.fill(ctx, &next, root, key); err != nil {
		return nil, err
	}
	failpoint.Hit("seal/move/after-wrap")
	if err := b.replace(ctx, &next); err != nil {
		return nil, err
	}
	failpoint.Hit("seal/move/after-commit")
	next.version++
	b.log.Info("the seal has changed", "from", r.kind, "to", next.kind)
	return &next, nil
}
