package auth

import (
	"context"

	"leasehold/store"
)

const countTokens = `SELECT COUNT(*) FROM tokens WHERE state = 'live'`

// Count is how many tokens are stored and have not ended; batch tokens are not stored. What has ended a moment ago, or
// whose ancestor has, is counted until the reaper has seen it. The cost grows with the number: it reads a whole index.
func (s *Store) Count(ctx context.Context) (int64, error) {
	var n int64
	err := s.view(ctx, "count tokens", func(tx *store.Tx) error {
		return tx.QueryRow(countTokens).Scan(&n)
	})
	return n, err
}
