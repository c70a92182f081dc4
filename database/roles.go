package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
	"leasehold/store"
)

var roleFields = engine.Schema{
	"name":                  engine.Text,
	"db_name":               engine.Text,
	"creation_statements":   engine.TextList,
	"revocation_statements": engine.TextList,
	"rollback_statements":   engine.TextList,
	"renew_statements":      engine.TextList,
	"default_ttl":           engine.Duration,
	"max_ttl":               engine.Duration,
	"credential_type":       engine.Text,
	"credential_config":     engine.TextMap,
	"verify":                engine.Bool, // not of the role: see check.go
}

// Kinds of rows in database_roles.
const (
	dynamic = "dynamic"
	static  = "static"
)

// role is how users are made; sealed in its row.
type role struct {
	Connection string        `json:"connection"`
	Creation   []string      `json:"creation"`
	Revocation []string      `json:"revocation"`
	Rollback   []string      `json:"rollback"` // kept for clients; a failed creation is undone as a whole, or revoked
	Renewal    []string      `json:"renewal"`
	DefaultTTL time.Duration `json:"default_ttl"` // zero: the mount's
	MaxTTL     time.Duration `json:"max_ttl"`     // zero: the mount's
	Credential credential    `json:"credential"`
}

// errNameTaken refuses a role and a static role of one name. The table they share would refuse it, too.
var errNameTaken = errs.New(errs.Invalid, "Role and Static Role names must be unique")

func roleCell(id string) store.Cell {
	return store.Cell{Table: "database_roles", Column: "settings", Key: id}
}

// findRole reads a role; nil: there is none. kind is what the name stands for; empty: for nothing.
func findRole(tx *store.Tx, mount, name string) (found *role, kind string, err error) {
	var sealed []byte
	key := id(mount, name)
	err = tx.QueryRow(`SELECT kind, settings FROM database_roles WHERE id = $1`, key).Scan(&kind, &sealed)
	switch {
	case errors.Is(err, store.ErrNoRow):
		return nil, "", nil
	case err != nil || kind != dynamic:
		return nil, kind, err
	}
	plain, err := tx.Open(roleCell(key), sealed)
	if err != nil {
		return nil, kind, fmt.Errorf("open role %s: %w", key, err)
	}
	found = new(role)
	if err := decodeJSON(plain, found); err != nil {
		return nil, kind, fmt.Errorf("decode role %s: %w", key, err)
	}
	return found, kind, nil
}

func (ro *role) store(tx *store.Tx, mount, name string) error {
	plain, err := json.Marshal(ro)
	if err != nil {
		return errors.New("encode role")
	}
	key := id(mount, name)
	sealed, err := tx.Seal(roleCell(key), plain)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO database_roles (id, mount, name, kind, settings) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET settings = excluded.settings`, key, mount, name, dynamic, sealed)
	return err
}

// viewRole reads a role in a transaction of its own.
func (e *Engine) viewRole(ctx context.Context, mount, name string) (found *role, kind string, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		found, kind, err = findRole(tx, mount, name)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read role %q: %w", name, err)
	}
	return found, kind, nil
}

// roleExists implements the router's Exists.
func (e *Engine) roleExists(ctx context.Context, r *engine.Request, f *engine.Fields) (bool, error) {
	found, _, err := e.viewRole(ctx, r.Mount.UUID, f.Text("name"))
	return found != nil, err
}

// writeRole makes a role or changes the named fields of one. Whether its connection exists and its statements make sense is
// not checked, since a role may be written before its connection, unless the request asks for it: see check.go.
func (e *Engine) writeRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	mount, name := r.Mount.UUID, f.Text("name")
	verify := f.Bool("verify")
	var checked *report
	var former *role
	if verify {
		var err error
		if former, checked, err = e.checkCandidate(ctx, r, f); err != nil {
			return nil, err
		}
	}
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		present, err := roleToChange(tx, mount, name)
		if err != nil {
			return err
		}
		if verify && !reflect.DeepEqual(present, former) {
			return errs.New(errs.Conflict, "role %q was changed while it was checked: try again", name)
		}
		if err := present.merge(f); err != nil {
			return err
		}
		return present.store(tx, mount, name)
	})
	if err != nil {
		return nil, fmt.Errorf("store role %q: %w", name, err)
	}
	if checked == nil {
		return nil, nil
	}
	resp := &engine.Response{Data: checked.shown()}
	resp.Warn(checked.warnings()...)
	return resp, nil
}

// roleToChange is the role of that name, or what a new one begins as.
func roleToChange(tx *store.Tx, mount, name string) (*role, error) {
	present, kind, err := findRole(tx, mount, name)
	switch {
	case err != nil:
		return nil, err
	case kind == static:
		return nil, errNameTaken
	case present == nil:
		return &role{Credential: credential{Type: plugins.TypePassword}}, nil
	}
	return present, nil
}

// merge takes over the fields that were named.
func (ro *role) merge(f *engine.Fields) error {
	if f.Has("db_name") {
		ro.Connection = f.Text("db_name")
	}
	if ro.Connection == "" {
		return errs.New(errs.Invalid, "database name is required")
	}
	for name, statements := range map[string]*[]string{
		"creation_statements": &ro.Creation, "revocation_statements": &ro.Revocation,
		"rollback_statements": &ro.Rollback, "renew_statements": &ro.Renewal,
	} {
		if f.Has(name) {
			*statements = slices.DeleteFunc(slices.Clone(f.List(name)), func(s string) bool { return s == "" })
		}
	}
	if f.Has("default_ttl") {
		ro.DefaultTTL = f.Duration("default_ttl")
	}
	if f.Has("max_ttl") {
		ro.MaxTTL = f.Duration("max_ttl")
	}
	return ro.Credential.merge(f)
}

// merge replaces the credential's configuration as a whole: another type has other fields.
func (c *credential) merge(f *engine.Fields) error {
	kind := c.Type
	if f.Has("credential_type") {
		kind = f.Text("credential_type")
	}
	switch kind {
	case plugins.TypePassword, plugins.TypeRSA, plugins.TypeCertificate:
	default:
		return errs.New(errs.Invalid, "invalid credential_type %q", kind)
	}
	if kind == c.Type && !f.Has("credential_config") {
		return nil
	}
	next, err := newCredential(kind, f.Map("credential_config"))
	if err != nil {
		return errs.New(errs.Invalid, "credential_config validation failed: %s", err)
	}
	*c = next
	return nil
}

func (e *Engine) readRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	found, _, err := e.viewRole(ctx, r.Mount.UUID, f.Text("name"))
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errs.New(errs.NotFound, "")
	}
	data := map[string]any{
		"db_name":               found.Connection,
		"creation_statements":   list(found.Creation),
		"revocation_statements": list(found.Revocation),
		"rollback_statements":   list(found.Rollback),
		"renew_statements":      list(found.Renewal),
		"default_ttl":           int64(found.DefaultTTL / time.Second),
		"max_ttl":               int64(found.MaxTTL / time.Second),
		"credential_type":       found.Credential.Type,
	}
	if config := found.Credential.shown(); config != nil {
		data["credential_config"] = config
	}
	return &engine.Response{Data: data}, nil
}

// deleteRole removes a role. Its leases live on: what their revocation needs was recorded with them.
func (e *Engine) deleteRole(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM database_roles WHERE id = $1 AND kind = $2`, id(r.Mount.UUID, name), dynamic)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete role %q: %w", name, err)
	}
	return nil, nil
}

// listRoles answers the names behind "after", and at most "limit" of them where it is positive.
func (e *Engine) listRoles(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	names, err := e.names(ctx, `SELECT name FROM database_roles WHERE mount = $1 AND kind = $2`, r.Mount.UUID, dynamic)
	if err != nil {
		return nil, err
	}
	return page(names, f)
}

// page answers a part of sorted names.
func page(names []string, f *engine.Fields) (*engine.Response, error) {
	after, limit := f.Text("after"), f.Int("limit")
	names = slices.DeleteFunc(names, func(name string) bool { return after != "" && name <= after })
	if limit > 0 && limit < len(names) {
		names = names[:limit]
	}
	return keys(names)
}
