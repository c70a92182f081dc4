package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"leasehold/engine"
	"leasehold/internal/secret"
	"leasehold/store"
)

// The kinds of tokens.
const (
	Service = "service"
	Batch   = "batch"
)

// Names of the policies that have a meaning of their own here.
const (
	rootPolicy     = "root"
	defaultPolicy  = "default"
	wrappingPolicy = "response-wrapping"
)

// Token is what is known of a token. It does not hold the token's text, which nobody keeps.
type Token struct {
	Seq         int64  // its row; 0 for a batch token
	Parent      int64  // the parent's row; 0: none
	Type        string // Service or Batch
	Accessor    string // 24 base62 characters; batch tokens have none
	DisplayName string
	Path        string // the request path that made it, without "/v1/"
	EntityID    string
	Role        string // the token role that made it
	Policies    []string
	Meta        map[string]string
	BoundCIDRs  []string // addresses and prefixes; none: from anywhere

	CreatedAt      time.Time
	ExpiresAt      time.Time // zero: never
	LastRenewal    time.Time // zero: not renewed yet
	CreationTTL    time.Duration
	ExplicitMaxTTL time.Duration // asked for at creation; a role's is not kept here
	Period         time.Duration // asked for at creation or login; a role's is not kept here
	Granted        time.Duration // what the latest renewal, or else the creation, granted

	NumUses   int  // left; 0: unlimited; -1: the request that sees this is the last
	Renewable bool // may it be renewed
	Orphan    bool // ends with no other token
	Wrapping  bool // stands for a wrapped answer
	NoDefault bool // the default policy was refused

	LeaseID string // Path + "/" + hash; batch and wrapping tokens have none

	login  json.RawMessage // of auth methods: the engine.Login, for renewal
	readAt time.Time
}

// LeaseParent is the row whose end ends the token's leases: its own, or a batch token's parent; 0: none.
func (t *Token) LeaseParent() int64 {
	if t.Type == Batch {
		return t.Parent
	}
	return t.Seq
}

// Root reports whether the token has the root policy.
func (t *Token) Root() bool { return len(t.Policies) == 1 && t.Policies[0] == rootPolicy }

// TTL is what was left of the token's life when it was read, in whole seconds; 0 for one that never ends.
func (t *Token) TTL() time.Duration {
	if t.ExpiresAt.IsZero() {
		return 0
	}
	return t.ExpiresAt.Sub(t.readAt).Truncate(time.Second)
}

// Login is the login that made the token; nil: it was not made by a login.
func (t *Token) Login() (*engine.Login, error) {
	if t.login == nil {
		return nil, nil
	}
	var l engine.Login
	decoder := json.NewDecoder(bytes.NewReader(t.login))
	decoder.UseNumber()
	if err := decoder.Decode(&l); err != nil {
		return nil, fmt.Errorf("decode the login of a token: %w", err)
	}
	return &l, nil
}

// Auth is the token as the auth block of an answer shows it. text is the token's own; empty where the client does not
// get to see it.
func (t *Token) Auth(text secret.Text) *engine.Auth {
	policies := t.Policies
	if policies == nil {
		policies = []string{}
	}
	return &engine.Auth{
		ClientToken: text, Accessor: t.Accessor, DisplayName: t.DisplayName, Policies: policies, TokenPolicies: t.Policies, Metadata: t.Meta,
		Duration: t.Granted, Renewable: t.Renewable, EntityID: t.EntityID, TokenType: t.Type, Orphan: t.Orphan, NumUses: t.NumUses,
	}
}

// content is the sealed part of a token's row, and with the fields at its end the whole of a batch token.
type content struct {
	Accessor       string            `json:",omitempty"`
	DisplayName    string            `json:",omitempty"`
	EntityID       string            `json:",omitempty"`
	Role           string            `json:",omitempty"`
	Policies       []string          `json:",omitempty"`
	Meta           map[string]string `json:",omitempty"`
	BoundCIDRs     []string          `json:",omitempty"`
	CreationTTL    time.Duration     `json:",omitempty"`
	ExplicitMaxTTL time.Duration     `json:",omitempty"`
	Period         time.Duration     `json:",omitempty"`
	Renewable      bool              `json:",omitempty"`
	NoDefault      bool              `json:",omitempty"`
	Login          json.RawMessage   `json:",omitempty"`
	Path           string            `json:",omitempty"` // batch and wrapping tokens: the others' rows have it

	// Batch tokens only. The parent is named by its blind id, which no other row can ever have.
	ParentID  string `json:",omitempty"`
	CreatedAt int64  `json:",omitempty"`
	ExpiresAt int64  `json:",omitempty"`
}

func contentOf(t *Token) content {
	return content{
		Accessor: t.Accessor, DisplayName: t.DisplayName, EntityID: t.EntityID, Role: t.Role, Policies: t.Policies, Meta: t.Meta,
		BoundCIDRs: t.BoundCIDRs, CreationTTL: t.CreationTTL, ExplicitMaxTTL: t.ExplicitMaxTTL, Period: t.Period,
		Renewable: t.Renewable, NoDefault: t.NoDefault, Login: t.login,
	}
}

func (c *content) fill(t *Token) {
	t.Accessor, t.DisplayName, t.EntityID, t.Role, t.Policies, t.Meta = c.Accessor, c.DisplayName, c.EntityID, c.Role, c.Policies, c.Meta
	t.BoundCIDRs, t.CreationTTL, t.ExplicitMaxTTL, t.Period = c.BoundCIDRs, c.CreationTTL, c.ExplicitMaxTTL, c.Period
	t.Renewable, t.NoDefault, t.login = c.Renewable, c.NoDefault, c.Login
}

func tokenCell(id string) store.Cell { return store.Cell{Table: "tokens", Column: "sealed", Key: id} }

// tokenID is the blind id of a token's text.
func tokenID(tx *store.Tx, text secret.Text) (string, error) {
	return tx.Index("token", []byte(text.Reveal()))
}

func accessorID(tx *store.Tx, accessor string) (string, error) {
	return tx.Index("accessor", []byte(accessor))
}

// leaseID is made of the path and the blind id: it names the token and does not tell it. A row without a path has none.
func leaseID(path, id string) string {
	if path == noPath {
		return ""
	}
	return path + "/h" + id
}
