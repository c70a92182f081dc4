package auth

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/secret"
	"leasehold/store"
)

// orphanOrDead is null for a row whose ancestors are not all alive, 1 for an orphan and 0 for a child. It walks from row t
// up through its ancestors. A step keeps an ancestor that is alive by itself, with the parent to go on to; one that is
// severed has -1 there: the walk ends at it as at a root. The walk thus comes to a parent below 1, once, exactly when
// t does not end with any other row. The child of a severed row has its parent's number until the reaper has come by,
// and is an orphan from the start. $2 is the time.
const orphanOrDead = `CASE WHEN t.parent = 0 THEN 1 ELSE (
	WITH RECURSIVE chain (parent, hops) AS (
		SELECT t.parent, 0
		UNION ALL
		SELECT CASE a.state WHEN 'severed' THEN -1 ELSE a.parent END, c.hops + 1
		FROM chain c JOIN tokens a ON a.seq = c.parent
		WHERE a.state = 'severed' OR (a.state = 'live' AND (a.expires_at IS NULL OR a.expires_at > $2))
	) SELECT CASE WHEN parent = -1 AND hops = 1 THEN 1 ELSE 0 END FROM chain WHERE parent < 1) END`

const (
	isLive = ` AND t.state = 'live' AND (t.expires_at IS NULL OR t.expires_at > $2)`

	selectToken = `SELECT t.seq, t.id, t.parent, t.path, t.uses, t.created_at, t.renewed_at, t.expires_at, t.granted, t.sealed, ` +
		orphanOrDead + ` FROM tokens t `

	selectByID       = selectToken + `WHERE t.id = $1` + isLive
	selectByAccessor = selectToken + `WHERE t.accessor = $1` + isLive
	selectBySeq      = selectToken + `WHERE t.seq = $1` + isLive
	selectAlive      = `SELECT ` + orphanOrDead + ` FROM tokens t WHERE t.seq = $1` + isLive
)

// Alive reports whether the token in row seq and all its ancestors are alive in this transaction. The last request of a
// token with a limited number of uses still finds it alive.
func (s *Store) Alive(tx *store.Tx, seq int64) (bool, error) {
	var orphan sql.NullBool
	err := tx.QueryRow(selectAlive, seq, store.Micros(tx.Now())).Scan(&orphan)
	if err != nil && !errors.Is(err, store.ErrNoRow) {
		return false, fmt.Errorf("look whether a token is alive: %w", err)
	}
	return orphan.Valid, nil
}

// find reads a token that is alive; false: there is none. query is one of the three above.
func find(tx *store.Tx, query string, key any) (Token, bool, error) {
	t := Token{Type: Service, readAt: tx.Now()}
	var id string
	var created, renewed int64
	var expires sql.NullInt64
	var sealed []byte
	var orphan sql.NullBool
	err := tx.QueryRow(query, key, store.Micros(tx.Now())).Scan(&t.Seq, &id, &t.Parent, &t.Path, &t.NumUses, &created, &renewed,
		&expires, &t.Granted, &sealed, &orphan)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return Token{}, false, nil
	case err != nil:
		return Token{}, false, fmt.Errorf("read a token: %w", err)
	case !orphan.Valid:
		return Token{}, false, nil
	}
	plain, err := tx.Open(tokenCell(id), sealed)
	if err != nil {
		return Token{}, false, err
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return Token{}, false, fmt.Errorf("decode a token: %w", err)
	}
	c.fill(&t)
	t.CreatedAt, t.LastRenewal, t.ExpiresAt = store.Time(created), store.Time(renewed), store.Time(expires.Int64)
	t.Granted *= time.Microsecond
	t.Orphan = orphan.Bool
	t.LeaseID = leaseID(t.Path, id)
	if t.Path == noPath {
		t.Path, t.Wrapping = c.Path, true
	}
	return t, true, nil
}

// findText reads the token, of either kind, that a text stands for.
func findText(tx *store.Tx, text secret.Text) (Token, bool, error) {
	if text.Empty() {
		return Token{}, false, nil
	}
	if isBatch(text) {
		return openBatch(tx, text)
	}
	id, err := tokenID(tx, text)
	if err != nil {
		return Token{}, false, err
	}
	return find(tx, selectByID, id)
}
