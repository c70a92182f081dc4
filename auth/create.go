package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
)

// Spec is a token to be made. All rules were applied: what it says is what the token gets.
type Spec struct {
	Type        string      // Service or Batch; empty: Service
	Parent      int64       // the row that the token ends with; 0: an orphan
	Path        string      // the request path, without "/v1/"
	ID          secret.Text // the token's text; empty: a random one
	DisplayName string
	EntityID    string
	Role        string
	Policies    []string // sanitized
	Meta        map[string]string
	BoundCIDRs  []string // as ParseCIDRs gives them

	TTL            time.Duration // 0: never ends
	ExplicitMaxTTL time.Duration // kept for renewal, and shown
	Period         time.Duration // kept for renewal, and shown
	NumUses        int           // 0: unlimited
	Renewable      bool
	NoDefault      bool

	wrapping bool
	login    json.RawMessage
}

// Create makes a token and returns it with its text. A child of a token that has ended is not made.
//
// Errors: Unauthenticated (the parent has ended), Invalid (the given id is taken).
func (s *Store) Create(ctx context.Context, spec Spec) (Token, secret.Text, error) {
	run := s.update
	if spec.Type == Batch {
		run = s.view // nothing is written
	}
	var t Token
	var text secret.Text
	err := run(ctx, "create a token", func(tx *store.Tx) (err error) {
		t, text, err = s.CreateTx(tx, spec)
		return err
	})
	if errors.Is(err, store.ErrConflict) {
		err = errs.New(errs.Invalid, "cannot create a token with a duplicate ID").Because(err)
	}
	return t, text, err
}

// CreateTx is Create within a transaction of the caller's. A given id that is taken is told by the transaction as
// store.ErrConflict.
func (s *Store) CreateTx(tx *store.Tx, spec Spec) (Token, secret.Text, error) {
	now := tx.Now()
	t := Token{
		Type: spec.Type, Parent: spec.Parent, Path: spec.Path, DisplayName: spec.DisplayName, EntityID: spec.EntityID, Role: spec.Role,
		Policies: spec.Policies, Meta: spec.Meta, BoundCIDRs: spec.BoundCIDRs, CreatedAt: now, CreationTTL: spec.TTL,
		ExplicitMaxTTL: spec.ExplicitMaxTTL, Period: spec.Period, Granted: spec.TTL, NumUses: spec.NumUses, Renewable: spec.Renewable,
		Orphan: spec.Parent == 0, NoDefault: spec.NoDefault, Wrapping: spec.wrapping, login: spec.login,
		readAt: now,
	}
	if len(t.Meta) == 0 {
		t.Meta = nil
	}
	if t.Type == "" {
		t.Type = Service
	}
	if spec.TTL > 0 {
		t.ExpiresAt = now.Add(spec.TTL)
	}
	if spec.TTL < 0 || spec.NumUses < 0 {
		return Token{}, secret.Text{}, fmt.Errorf("a token with a lifetime of %s and %d uses cannot be", spec.TTL, spec.NumUses)
	}
	if t.Parent != 0 {
		alive, err := s.Alive(tx, t.Parent)
		if err != nil {
			return Token{}, secret.Text{}, err
		}
		if !alive {
			return Token{}, secret.Text{}, denied()
		}
	}
	if t.Type == Batch {
		return s.createBatch(tx, t, spec)
	}
	text := spec.ID
	if text.Empty() {
		text = secret.NewText("hvs." + secret.Random(secret.Base62, 24).Reveal())
	} else if isBatch(text) {
		return Token{}, secret.Text{}, errs.New(errs.Invalid, "custom token ID cannot have the '%s' prefix", batchPrefix)
	}
	return s.insert(tx, t, text)
}

// createBatch seals a batch token. One without an end could not be got rid of, and the store cannot count its uses.
func (s *Store) createBatch(tx *store.Tx, t Token, spec Spec) (Token, secret.Text, error) {
	if t.NumUses != 0 || t.ExpiresAt.IsZero() || t.Renewable || !spec.ID.Empty() {
		return Token{}, secret.Text{}, errors.New("a batch token needs an end, and has no uses, renewal or id of its own")
	}
	parentID := ""
	if t.Parent != 0 {
		if err := tx.QueryRow(`SELECT id FROM tokens WHERE seq = $1`, t.Parent).Scan(&parentID); err != nil {
			return Token{}, secret.Text{}, fmt.Errorf("read the parent: %w", err)
		}
	}
	text, err := sealBatch(tx, &t, parentID)
	return t, text, err
}

func (s *Store) insert(tx *store.Tx, t Token, text secret.Text) (Token, secret.Text, error) {
	t.Accessor = secret.Random(secret.Base62, 24).Reveal()
	id, err := tokenID(tx, text)
	if err != nil {
		return Token{}, secret.Text{}, err
	}
	accessor, err := accessorID(tx, t.Accessor)
	if err != nil {
		return Token{}, secret.Text{}, err
	}
	c, path := contentOf(&t), t.Path
	if t.Wrapping {
		c.Path, path = path, noPath
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return Token{}, secret.Text{}, fmt.Errorf("encode a token: %w", err)
	}
	sealed, err := tx.Seal(tokenCell(id), plain)
	if err != nil {
		return Token{}, secret.Text{}, err
	}
	err = tx.QueryRow(`INSERT INTO tokens
			(id, accessor, parent, state, path, uses, created_at, renewed_at, expires_at, due_at, granted, sealed)
			VALUES ($1, $2, $3, 'live', $4, $5, $6, 0, $7, $8, $9, $10) RETURNING seq`,
		id, accessor, t.Parent, path, t.NumUses, store.Micros(t.CreatedAt), nullMicros(t.ExpiresAt), nullMicros(t.ExpiresAt),
		t.Granted.Microseconds(), sealed).Scan(&t.Seq)
	if err != nil {
		return Token{}, secret.Text{}, fmt.Errorf("insert a token: %w", err)
	}
	t.LeaseID = leaseID(path, id)
	return t, text, nil
}

// nullMicros stores the zero time as null.
func nullMicros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return store.Micros(t)
}

// CheckCustomID refuses a text that a client may not choose for its token.
//
// Errors: Invalid. Wire: tokens, "Create body", id.
func CheckCustomID(id string) error {
	for _, prefix := range []string{"s.", "hvs."} {
		if strings.HasPrefix(id, prefix) {
			return errs.New(errs.Invalid, "custom token ID cannot have the '%s' prefix", prefix)
		}
	}
	if strings.Contains(id, ".") {
		return errs.New(errs.Invalid, "custom token ID cannot have a '.' in the value")
	}
	return nil
}

// Root is the root token of a new store, and what generating a root token makes.
func Root() Spec {
	return Spec{Path: "auth/token/root", DisplayName: rootPolicy, Policies: []string{rootPolicy}}
}
