package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"leasehold/internal/secret"
	"leasehold/store"
)

const (
	selectFirstPath = `SELECT path FROM tokens WHERE state = 'live' AND path >= $1 AND path < $2 ORDER BY path LIMIT 1`
	selectIDsAt     = `SELECT id FROM tokens WHERE state = 'live' AND path = $1`
)

// Lookup finds the token that a text stands for; false: there is none that is alive.
func (s *Store) Lookup(ctx context.Context, text secret.Text) (t Token, found bool, err error) {
	err = s.view(ctx, "look up a token", func(tx *store.Tx) (err error) {
		t, found, err = findText(tx, text)
		return err
	})
	return t, found, err
}

// LookupAccessor finds the token with an accessor; false: there is none that is alive.
func (s *Store) LookupAccessor(ctx context.Context, accessor string) (t Token, found bool, err error) {
	err = s.view(ctx, "look up a token by its accessor", func(tx *store.Tx) error {
		id, err := accessorID(tx, accessor)
		if err != nil {
			return err
		}
		t, found, err = find(tx, selectByAccessor, id)
		return err
	})
	return t, found, err
}

// LookupLease finds the token with a lease id; false: there is none that is alive.
func (s *Store) LookupLease(ctx context.Context, leaseID string) (t Token, found bool, err error) {
	slash := strings.LastIndexByte(leaseID, '/')
	hash, isToken := strings.CutPrefix(leaseID[slash+1:], "h")
	if slash < 0 || !isToken {
		return Token{}, false, nil
	}
	err = s.view(ctx, "look up a token by its lease", func(tx *store.Tx) (err error) {
		t, found, err = find(tx, selectByID, hash)
		return err
	})
	if err != nil || !found || t.LeaseID != leaseID {
		return Token{}, false, err
	}
	return t, true, nil
}

// Accessors are the accessors of all tokens that are alive, in no order. It reads every token there is.
//
// Wire: LIST auth/token/accessors.
func (s *Store) Accessors(ctx context.Context) ([]string, error) {
	var accessors []string
	err := s.view(ctx, "list accessors", func(tx *store.Tx) error {
		accessors = nil
		// From the roots down: what hangs below a token that has ended is not reached.
		rows, err := tx.Query(`WITH RECURSIVE alive (seq) AS (
				SELECT seq FROM tokens WHERE parent = 0 AND state = 'live' AND (expires_at IS NULL OR expires_at > $1)
				UNION ALL
				SELECT t.seq FROM tokens p JOIN tokens t ON t.parent = p.seq
				WHERE p.state = 'severed' AND t.state = 'live' AND (t.expires_at IS NULL OR t.expires_at > $1)
				UNION ALL
				SELECT t.seq FROM alive a JOIN tokens t ON t.parent = a.seq
				WHERE t.state = 'live' AND (t.expires_at IS NULL OR t.expires_at > $1)
			) SELECT t.id, t.sealed FROM alive a JOIN tokens t ON t.seq = a.seq`, store.Micros(tx.Now()))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id string
			var sealed []byte
			if err := rows.Scan(&id, &sealed); err != nil {
				return err
			}
			plain, err := tx.Open(tokenCell(id), sealed)
			if err != nil {
				return err
			}
			var c struct{ Accessor string }
			if err := json.Unmarshal(plain, &c); err != nil {
				return fmt.Errorf("decode a token: %w", err)
			}
			accessors = append(accessors, c.Accessor)
		}
		return rows.Err()
	})
	return accessors, err
}

// ListLeases returns what stands one path level below prefix among the lease ids of tokens: folders with a trailing
// slash, and ids without the prefix, sorted. Tokens that end only with an ancestor may still be listed until the reaper
// has come to them.
//
// Wire: LIST sys/leases/lookup/PREFIX.
func (s *Store) ListLeases(ctx context.Context, prefix string) ([]string, error) {
	prefix = strings.TrimRight(prefix, "/")
	from, to := below(prefix)
	var keys []string
	err := s.view(ctx, "list the leases of tokens", func(tx *store.Tx) error {
		keys = nil
		if prefix != noPath {
			if err := idsAt(tx, prefix, &keys); err != nil {
				return err
			}
		}
		// An index seek or two for each folder, however many tokens are in it.
		for at := max(from, firstOfPaths); ; {
			path, err := firstPath(tx, at, to)
			if err != nil || path == "" {
				return err
			}
			folder, _, deeper := strings.Cut(path[len(from):], "/")
			keys = append(keys, folder+"/")
			if deeper {
				at = from + folder + "0" // behind all that is in the folder: '0' follows '/'
			} else {
				at = path + "\x01" // the next one; paths have no control characters
			}
		}
	})
	slices.Sort(keys)
	return slices.Compact(keys), err
}

// below is the range of paths that are deeper than prefix, which does not end in a slash; of all paths if it is empty.
func below(prefix string) (from, to string) {
	if prefix == "" {
		return "", string(utf8.MaxRune)
	}
	return prefix + "/", prefix + "0"
}

// firstPath is the first path of a live token in a range; empty: there is none.
func firstPath(tx *store.Tx, from, to string) (string, error) {
	var path string
	err := tx.QueryRow(selectFirstPath, from, to).Scan(&path)
	if errors.Is(err, store.ErrNoRow) {
		return "", nil
	}
	return path, err
}

// idsAt adds the last part of the lease ids of the tokens made at path.
func idsAt(tx *store.Tx, path string, keys *[]string) error {
	rows, err := tx.Query(selectIDsAt, path)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		*keys = append(*keys, "h"+id)
	}
	return rows.Err()
}
