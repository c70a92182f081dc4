package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/secret"
	"leasehold/store"
)

// spentGrace is how long after its last use a token waits for the end of that request before the reaper ends it. It is
// longer than a request may take.
const spentGrace = 2 * time.Minute

// Authenticate returns the token that a client at remoteAddr (an IP address) presents, if it is alive and may be used
// from there. It does not count as a use.
//
// Errors: Unauthenticated, with the same words whatever the cause.
//
// Measured by BenchmarkAuthenticate on two cores, SQLite, 100 000 tokens: 28 µs for an orphan, 32 µs for a token with three
// ancestors, 94 allocations, most of them the driver's; 6 µs for an orphaned batch token.
func (s *Store) Authenticate(ctx context.Context, presented secret.Text, remoteAddr string) (Token, error) {
	var t Token
	err := s.view(ctx, "authenticate", func(tx *store.Tx) (err error) {
		t, err = s.AuthenticateTx(tx, presented, remoteAddr)
		return err
	})
	return t, err
}

// AuthenticateTx is Authenticate within a transaction of the caller's.
func (s *Store) AuthenticateTx(tx *store.Tx, presented secret.Text, remoteAddr string) (Token, error) {
	t, found, err := findText(tx, presented)
	switch {
	case err != nil:
		return Token{}, err
	case !found, t.NumUses < 0, len(t.BoundCIDRs) > 0 && !within(t.BoundCIDRs, remoteAddr):
		return Token{}, denied()
	}
	return t, nil
}

// Use counts one request of a token with a limited number of uses, and does nothing for others. t.NumUses is then what
// is left; -1 means that this request is the last, and that the caller ends the token with Revoke when it has answered.
// Exactly as many calls succeed as there were uses, however many run at once.
//
// Errors: Unauthenticated (no use is left, or the token has ended meanwhile).
func (s *Store) Use(ctx context.Context, t *Token) error {
	if t.NumUses == 0 {
		return nil
	}
	var left int
	err := s.update(ctx, "count a use of a token", func(tx *store.Tx) error {
		alive, err := s.Alive(tx, t.Seq)
		if err != nil {
			return err
		}
		if !alive {
			return denied()
		}
		// Crash: a process that dies between here and Revoke leaves the row with no uses, so that nobody can make another
		// request with it, and due: the reaper ends it.
		spent := store.Micros(tx.Now().Add(spentGrace))
		err = tx.QueryRow(`UPDATE tokens SET
				uses = CASE uses WHEN 1 THEN -1 ELSE uses - 1 END,
				due_at = CASE WHEN uses > 1 OR due_at < $1 THEN due_at ELSE $1 END
			WHERE seq = $2 AND uses > 0 RETURNING uses`, spent, t.Seq).Scan(&left)
		if errors.Is(err, store.ErrNoRow) {
			return denied()
		}
		if err != nil {
			return fmt.Errorf("decrement: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.NumUses = left
	return nil
}
