package seal

import (
	"context"
	"fmt"

	"leasehold/internal/secret"
)

// Staged is a new unseal key, or recovery key, that is not in force yet. It holds no key, only the row of table seal as it
// would be.
type Staged struct {
	barrier *Barrier
	row     row
}

// Params is how the new key is shared out.
func (s *Staged) Params() Params { return s.row.Params }

// StageRekey makes a new key of the kind that people hold shares of, the unseal key or the recovery key, for the same root
// key. The present shares stay in force until CommitRekey. Errors: store.ErrSealed, those of Params.Validate.
func (b *Barrier) StageRekey(ctx context.Context, p Params) ([]secret.Bytes, *Staged, error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	root, err := b.copyRoot()
	if err != nil {
		return nil, nil, err
	}
	defer clear(root[:])
	r, err := b.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	key, shares, err := newSharedKey(p)
	if err != nil {
		return nil, nil, err
	}
	defer key.wipe()
	next := *r
	next.Params = p
	if next.auto() {
		err = b.fillRecovery(&next, root, key)
	} else {
		err = b.fill(ctx, &next, root, key)
	}
	if err != nil {
		wipeShares(shares)
		return nil, nil, err
	}
	return shares, &Staged{barrier: b, row: next}, nil
}

// CommitRekey puts a staged key in force. The former shares are worthless from then on, save for a copy of the store that
// was made before. Errors: ErrChanged (the seal is not the one that the key was made for any more).
func (b *Barrier) CommitRekey(ctx context.Context, s *Staged) error {
	if err := b.replace(ctx, &s.row); err != nil {
		return fmt.Errorf("replace the shares: %w", err)
	}
	return nil
}

// Rekey replaces the key that people hold shares of, and returns the new shares. Errors: store.ErrSealed, ErrChanged, those of
// Params.Validate.
//
// Crash: after the commit the new shares are lost with the process. With Shamir's seal the store can then not be opened any
// more once it is sealed; StageRekey with verification is the careful way.
func (b *Barrier) Rekey(ctx context.Context, p Params) ([]secret.Bytes, error) {
	shares, staged, err := b.StageRekey(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := b.CommitRekey(ctx, staged); err != nil {
		wipeShares(shares)
		return nil, err
	}
	return shares, nil
}
