package seal

import (
	"context"
	"fmt"

	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/keyring"
)

// Staged is a new unseal key that is not in force yet. It holds no key, only the root key as the new one wraps it.
type Staged struct {
	barrier *Barrier
	params  Params
	root    []byte // wrapped
}

// Params is how the new unseal key is shared out.
func (s *Staged) Params() Params { return s.params }

// StageRekey makes a new unseal key for the same root key, and its shares. The present shares stay in force until
// CommitRekey. Errors: store.ErrSealed, those of Params.Validate.
func (b *Barrier) StageRekey(p Params) ([]secret.Bytes, *Staged, error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	root, err := b.copyRoot()
	if err != nil {
		return nil, nil, err
	}
	defer clear(root[:])
	wrapping, shares, err := newUnsealKey(b.store.ID(), p)
	if err != nil {
		return nil, nil, err
	}
	defer clear(wrapping[:])
	wrapped := keyring.Wrap(wrapping, b.rootPlace(), root[:])
	return shares, &Staged{barrier: b, params: p, root: wrapped}, nil
}

// CommitRekey puts a staged unseal key in force. The former shares are worthless from then on, save for a copy of the
// store that was made before.
func (b *Barrier) CommitRekey(ctx context.Context, s *Staged) error {
	err := b.store.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`update seal set shares = $1, threshold = $2, root = $3, changed_at = $4 where id = 1`,
			s.params.Shares, s.params.Threshold, s.root, store.Micros(tx.Now()))
		if err == nil && n == 0 {
			return ErrNotInitialized
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("replace the unseal key: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.threshold = s.params.Threshold
	b.given.wipe() // shares of the former key
	b.nonce = ""
	return nil
}

// Rekey replaces the unseal key and returns the new shares. Errors: store.ErrSealed, those of Params.Validate.
//
// Crash: after the commit the new shares are lost with the process. The old ones no longer unseal a store that is then
// sealed; StageRekey with verification is the careful way.
func (b *Barrier) Rekey(ctx context.Context, p Params) ([]secret.Bytes, error) {
	shares, staged, err := b.StageRekey(p)
	if err != nil {
		return nil, err
	}
	if err := b.CommitRekey(ctx, staged); err != nil {
		wipeShares(shares)
		return nil, err
	}
	return shares, nil
}
