package auth

import (
	"fmt"
	"time"

	"leasehold/internal/secret"
	"leasehold/store"
)

// noPath is in the path column of a wrapping token. Such tokens have no lease: what goes through tokens by the path that
// leases begin with must not find them.
const noPath = ""

// firstOfPaths is before every other path: none has control characters.
const firstOfPaths = "\x01"

// Wrapping is a token that stands for a wrapped answer to a request: good for one use of it, and nothing else.
//
// Wire: response wrapping, "Rules".
func Wrapping(path string, ttl time.Duration) Spec {
	return Spec{Path: path, Policies: []string{wrappingPolicy}, TTL: ttl, ExplicitMaxTTL: ttl, NumUses: 1, wrapping: true}
}

// FindWrappingTx finds the wrapping token that a text stands for; false: there is none that is alive and not used up.
func (s *Store) FindWrappingTx(tx *store.Tx, text secret.Text) (Token, bool, error) {
	t, found, err := findText(tx, text)
	return t, found && t.Wrapping && t.NumUses > 0, err
}

// SpendTx uses a wrapping token up and ends it, for somebody else than its holder. Of all who try, on any node, one
// succeeds. The reaper removes what hangs on it.
func (s *Store) SpendTx(tx *store.Tx, t Token) (spent bool, err error) {
	n, err := tx.Exec(`UPDATE tokens SET state = 'dead', uses = -1, due_at = $1 WHERE seq = $2 AND state = 'live' AND uses > 0`,
		store.Micros(tx.Now()), t.Seq)
	if err != nil {
		return false, fmt.Errorf("spend a wrapping token: %w", err)
	}
	if n > 0 {
		tx.AfterCommit(s.wake)
	}
	return n > 0, nil
}
