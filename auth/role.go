package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"leasehold/store"
)

// Role is what tokens made through auth/token/create/NAME are like.
type Role struct {
	Name                   string   `json:"-"`
	AllowedPolicies        []string `json:",omitempty"` // sanitized, like the three below
	AllowedPoliciesGlob    []string `json:",omitempty"`
	DisallowedPolicies     []string `json:",omitempty"`
	DisallowedPoliciesGlob []string `json:",omitempty"`
	AllowedEntityAliases   []string `json:",omitempty"` // lower case, globs; nil: never set
	Orphan                 bool
	Renewable              bool
	NoDefault              bool          // never add the default policy
	PathSuffix             string        `json:",omitempty"`
	TokenType              string        // service, batch, default-service or default-batch
	Period                 time.Duration `json:",omitempty"`
	ExplicitMaxTTL         time.Duration `json:",omitempty"`
	BoundCIDRs             []string      `json:",omitempty"` // as ParseCIDRs gives them
	NumUses                int           `json:",omitempty"`

	// Set by their old names, under which they are then shown, too.
	OldPeriod         bool `json:",omitempty"`
	OldExplicitMaxTTL bool `json:",omitempty"`
	OldBoundCIDRs     bool `json:",omitempty"`
}

func roleCell(name string) store.Cell {
	return store.Cell{Table: "token_roles", Column: "sealed", Key: name}
}

// RoleTx reads a role; false: there is none.
func (s *Store) RoleTx(tx *store.Tx, name string) (Role, bool, error) {
	var sealed []byte
	err := tx.QueryRow(`SELECT sealed FROM token_roles WHERE name = $1`, name).Scan(&sealed)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return Role{}, false, nil
	case err != nil:
		return Role{}, false, fmt.Errorf("read a token role: %w", err)
	}
	plain, err := tx.Open(roleCell(name), sealed)
	if err != nil {
		return Role{}, false, err
	}
	r := Role{Name: name}
	if err := json.Unmarshal(plain, &r); err != nil {
		return Role{}, false, fmt.Errorf("decode a token role: %w", err)
	}
	return r, true, nil
}

// Role is RoleTx in a transaction of its own.
func (s *Store) Role(ctx context.Context, name string) (r Role, found bool, err error) {
	err = s.view(ctx, "read a token role", func(tx *store.Tx) (err error) {
		r, found, err = s.RoleTx(tx, name)
		return err
	})
	return r, found, err
}

// UpdateRole changes a role. A new one starts out renewable, for tokens of the caller's choice. When change fails
// nothing is written, and its error is returned. It may be called more than once.
func (s *Store) UpdateRole(ctx context.Context, name string, change func(r *Role) error) error {
	return s.update(ctx, "write a token role", func(tx *store.Tx) error {
		r, found, err := s.RoleTx(tx, name)
		if err != nil {
			return err
		}
		if !found {
			r = Role{Name: name, Renewable: true, TokenType: "default-service"}
		}
		if err := change(&r); err != nil {
			return err
		}
		plain, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		sealed, err := tx.Seal(roleCell(name), plain)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO token_roles (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed`,
			name, sealed)
		return err
	})
}

// DeleteRole removes a role, if it is there. Its tokens live on and can be renewed no more.
func (s *Store) DeleteRole(ctx context.Context, name string) error {
	return s.update(ctx, "delete a token role", func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM token_roles WHERE name = $1`, name)
		return err
	})
}

// Roles are the names of all roles, sorted.
func (s *Store) Roles(ctx context.Context) ([]string, error) {
	var names []string
	err := s.view(ctx, "list token roles", func(tx *store.Tx) error {
		names = nil
		rows, err := tx.Query(`SELECT name FROM token_roles ORDER BY name`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return rows.Err()
	})
	return names, err
}
