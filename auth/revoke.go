package auth

import (
	"context"
	"strings"

	"leasehold/internal/errs"
	"leasehold/store"
)

// Revoke ends the token in row seq with all its descendants: none of them is alive once Revoke has returned. The reaper
// is woken to end their leases. A token that has ended already, or never was, is no error.
func (s *Store) Revoke(ctx context.Context, seq int64) error {
	return s.update(ctx, "revoke a token", func(tx *store.Tx) error { return s.revoke(tx, seq) })
}

// RevokeSelf is Revoke at the token's own request.
//
// Errors: Unauthenticated (it has ended since it was let in, perhaps in a way that keeps its children).
func (s *Store) RevokeSelf(ctx context.Context, seq int64) error {
	return s.update(ctx, "revoke a token at its own request", func(tx *store.Tx) error {
		alive, err := s.Alive(tx, seq)
		switch {
		case err != nil:
			return err
		case !alive:
			return denied()
		}
		return s.revoke(tx, seq)
	})
}

func (s *Store) revoke(tx *store.Tx, seq int64) error {
	n, err := tx.Exec(`UPDATE tokens SET state = 'dead', due_at = $1 WHERE seq = $2 AND state = 'live'`, store.Micros(tx.Now()), seq)
	if n > 0 {
		tx.AfterCommit(s.wake)
	}
	return err
}

// RevokeOrphan ends the token in row seq and its leases, and makes orphans of its children.
//
// Errors: Invalid (it is not alive). A token that has ended cannot be severed: its children would come back to life.
func (s *Store) RevokeOrphan(ctx context.Context, seq int64) error {
	return s.update(ctx, "revoke a token and orphan its children", func(tx *store.Tx) error {
		alive, err := s.Alive(tx, seq)
		if err != nil {
			return err
		}
		if !alive {
			return errs.New(errs.Invalid, "token to revoke not found")
		}
		tx.AfterCommit(s.wake)
		_, err = tx.Exec(`UPDATE tokens SET state = 'severed', due_at = $1 WHERE seq = $2`, store.Micros(tx.Now()), seq)
		return err
	})
}

// RevokeLeasePrefix ends the tokens whose lease ids are below prefix, a path of whole segments. It works in batches:
// when it fails, those before have ended. An empty prefix is refused: it would end every token there is.
//
// Errors: Invalid (the prefix is empty). Wire: sys/leases/revoke-prefix.
func (s *Store) RevokeLeasePrefix(ctx context.Context, prefix string) error {
	prefix = strings.TrimRight(prefix, "/")
	if prefix == "" {
		return errs.New(errs.Invalid, "a prefix is needed")
	}
	if err := s.revokeWhere(ctx, `path = $3`, prefix); err != nil {
		return err
	}
	from, to := below(prefix)
	return s.revokeWhere(ctx, `path >= $3 AND path < $4`, from, to)
}

// RevokeMount ends all tokens that logins or requests below an auth mount made. mountPath is "auth/x/". The caller has
// stopped the mount from making more.
func (s *Store) RevokeMount(ctx context.Context, mountPath string) error {
	return s.RevokeLeasePrefix(ctx, mountPath)
}

// revokeWhere ends the live tokens that a condition holds for. Its parameters count from $3.
func (s *Store) revokeWhere(ctx context.Context, condition string, args ...any) error {
	query := `UPDATE tokens SET state = 'dead', due_at = $1
		WHERE seq IN (SELECT seq FROM tokens WHERE state = 'live' AND ` + condition + ` LIMIT $2)`
	for {
		var n int64
		err := s.update(ctx, "revoke tokens by prefix", func(tx *store.Tx) (err error) {
			n, err = tx.Exec(query, append([]any{store.Micros(tx.Now()), s.batch}, args...)...)
			if n > 0 {
				tx.AfterCommit(s.wake)
			}
			return err
		})
		if err != nil || n < int64(s.batch) {
			return err
		}
	}
}
