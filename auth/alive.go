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

// chain walks from one row up through its ancestors. Each step keeps a row that is alive by itself, with the parent to go
// on to; a severed ancestor has none to go on to. The walk thus has a row with parent 0, and only one, exactly when the
// token is alive. hops counts the steps, severed says that the walk ended at a severed row. $2 is the time.
func chain(start string) string {
	return `WITH RECURSIVE chain (parent, hops, severed) AS (
		SELECT parent, 0, 0 FROM tokens WHERE ` + start + ` AND state = 'live' AND (expires_at IS NULL OR expires_at > $2)
		UNION ALL
		SELECT CASE t.state WHEN 'severed' THEN 0 ELSE t.parent END, c.hops + 1, CASE t.state WHEN 'severed' THEN 1 ELSE 0 END
		FROM chain c JOIN tokens t ON t.seq = c.parent
		WHERE t.state = 'severed' OR (t.state = 'live' AND (t.expires_at IS NULL OR t.expires_at > $2))
	) `
}

func selectAlive(start string) string {
	return chain(start) + `SELECT t.seq, t.id, t.parent, t.path, t.uses, t.created_at, t.renewed_at, t.expires_at, t.granted, t.sealed,
		c.hops, c.severed
		FROM chain c JOIN tokens t ON ` + start + ` WHERE c.parent = 0`
}

var (
	selectAliveByID       = selectAlive("id = $1")
	selectAliveByAccessor = selectAlive("accessor = $1")
	selectAliveBySeq      = selectAlive("seq = $1")
	isAliveBySeq          = chain("seq = $1") + `SELECT COUNT(*) FROM chain WHERE parent = 0`
)

// Alive reports whether the token in row seq and all its ancestors are alive in this transaction. The last request of a
// token with a limited number of uses still finds it alive.
func (s *Store) Alive(tx *store.Tx, seq int64) (bool, error) {
	var n int
	if err := tx.QueryRow(isAliveBySeq, seq, store.Micros(tx.Now())).Scan(&n); err != nil {
		return false, fmt.Errorf("look whether a token is alive: %w", err)
	}
	return n > 0, nil
}

// find reads a token that is alive; false: there is none. query is one of the selectAlive texts.
func find(tx *store.Tx, query string, key any) (Token, bool, error) {
	t := Token{Type: Service, readAt: tx.Now()}
	var id string
	var created, renewed int64
	var expires sql.NullInt64
	var sealed []byte
	var hops int
	var severed bool
	err := tx.QueryRow(query, key, store.Micros(tx.Now())).Scan(&t.Seq, &id, &t.Parent, &t.Path, &t.NumUses, &created, &renewed,
		&expires, &t.Granted, &sealed, &hops, &severed)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return Token{}, false, nil
	case err != nil:
		return Token{}, false, fmt.Errorf("read a token: %w", err)
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
	// The child of a severed row stays its child until the reaper has come by, and is an orphan from the start.
	t.Orphan = hops == 0 || (hops == 1 && severed)
	t.LeaseID = leaseID(t.Path, id)
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
	return find(tx, selectAliveByID, id)
}
