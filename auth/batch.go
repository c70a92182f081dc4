package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"leasehold/internal/secret"
	"leasehold/store"
)

// A batch token is its own record: this prefix, then its sealed content.
const batchPrefix = "hvb."

// batchCell is where the content of every batch token claims to stand. No row has this id.
var batchCell = tokenCell("batch")

func isBatch(text secret.Text) bool { return strings.HasPrefix(text.Reveal(), batchPrefix) }

func sealBatch(tx *store.Tx, t *Token, parentID string) (secret.Text, error) {
	c := contentOf(t)
	c.ParentID, c.Path, c.CreatedAt, c.ExpiresAt = parentID, t.Path, store.Micros(t.CreatedAt), store.Micros(t.ExpiresAt)
	plain, err := json.Marshal(c)
	if err != nil {
		return secret.Text{}, fmt.Errorf("encode a batch token: %w", err)
	}
	sealed, err := tx.Seal(batchCell, plain)
	if err != nil {
		return secret.Text{}, err
	}
	return secret.NewText(batchPrefix + base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// openBatch reads a batch token that is alive. What is not one, or of another store, is as unknown as any other text.
func openBatch(tx *store.Tx, text secret.Text) (Token, bool, error) {
	// Strict: without it the last character could be changed to another that decodes to the same bytes.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(text.Reveal(), batchPrefix))
	if err != nil {
		return Token{}, false, nil
	}
	plain, err := tx.Open(batchCell, sealed)
	switch {
	case errors.Is(err, store.ErrTampered):
		return Token{}, false, nil
	case err != nil:
		return Token{}, false, err
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return Token{}, false, fmt.Errorf("decode a batch token: %w", err)
	}
	t := Token{Type: Batch, Path: c.Path, Granted: c.CreationTTL, Orphan: c.ParentID == "", readAt: tx.Now()}
	c.fill(&t)
	t.CreatedAt, t.ExpiresAt = store.Time(c.CreatedAt), store.Time(c.ExpiresAt)
	if !t.ExpiresAt.After(tx.Now()) {
		return Token{}, false, nil
	}
	if !t.Orphan {
		parent, found, err := find(tx, selectByID, c.ParentID)
		if err != nil || !found {
			return Token{}, false, err
		}
		t.Parent = parent.Seq
	}
	return t, true, nil
}
