package database

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/plugins"
	"leasehold/store"
)

// settings are what an operator wrote about a connection; sealed in its row.
type settings struct {
	PluginName             string           `json:"plugin_name"`
	PluginVersion          string           `json:"plugin_version,omitempty"` // of a registered plugin; empty: it has none
	Details                plugins.Settings `json:"details"`                  // the plugin's own, as sent, the password included
	AllowedRoles           []string         `json:"allowed_roles"`
	RootRotationStatements []string         `json:"root_rotation_statements"`
	PasswordPolicy         string           `json:"password_policy"`
	Rotation               rootRhythm       `json:"rotation,omitzero"` // of the connection's own password
}

// connection is a row of database_connections.
type connection struct {
	id, mount, name string
	version         string // another one after every write; never seen before
	retired         bool   // deleted, but leases still need it
	settings        settings
	staged          secret.Text // the next password while a rotation is unsettled; empty: none
	stagedUntil     time.Time   // until then a statement that sets it may be under way
}

const connectionColumns = `id, mount, name, version, retired, settings, staged, staged_until`

func scanConnection(tx *store.Tx, row interface{ Scan(...any) error }) (*connection, error) {
	var c connection
	var sealed, staged []byte
	var until int64
	if err := row.Scan(&c.id, &c.mount, &c.name, &c.version, &c.retired, &sealed, &staged, &until); err != nil {
		return nil, err
	}
	c.stagedUntil = store.Time(until)
	plain, err := tx.Open(settingsCell(c.id), sealed)
	if err != nil {
		return nil, fmt.Errorf("open connection %s: %w", c.id, err)
	}
	if err := decodeJSON(plain, &c.settings); err != nil {
		return nil, fmt.Errorf("decode connection %s: %w", c.id, err)
	}
	if staged != nil {
		password, err := tx.Open(stagedCell(c.id), staged)
		if err != nil {
			return nil, fmt.Errorf("open connection %s: %w", c.id, err)
		}
		c.staged = secret.NewText(string(password))
	}
	return &c, nil
}

func settingsCell(id string) store.Cell {
	return store.Cell{Table: "database_connections", Column: "settings", Key: id}
}

func stagedCell(id string) store.Cell {
	return store.Cell{Table: "database_connections", Column: "staged", Key: id}
}

// decodeJSON keeps numbers as they were written. Its error tells no values.
func decodeJSON(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return errors.New("it is not the JSON that was stored")
	}
	return nil
}

// findConnection reads a row; nil: there is none. Retired ones are found, too.
func findConnection(tx *store.Tx, mount, name string) (*connection, error) {
	c, err := scanConnection(tx, tx.QueryRow(`SELECT `+connectionColumns+` FROM database_connections WHERE id = $1`, id(mount, name)))
	if errors.Is(err, store.ErrNoRow) {
		return nil, nil
	}
	return c, err
}

// findLive is findConnection for those that are not retired.
func findLive(tx *store.Tx, mount, name string) (*connection, error) {
	c, err := findConnection(tx, mount, name)
	if c != nil && c.retired {
		return nil, err
	}
	return c, err
}

// find reads a connection in a transaction of its own; nil: there is none.
func (e *Engine) find(ctx context.Context, mount, name string) (c *connection, now time.Time, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		now = tx.Now()
		c, err = findConnection(tx, mount, name)
		return err
	})
	if err != nil {
		return nil, now, fmt.Errorf("read connection %q: %w", name, err)
	}
	return c, now, nil
}

// mustFind is find for callers to whom a missing or retired connection is an error that clients know.
func (e *Engine) mustFind(ctx context.Context, mount, name string) (c *connection, now time.Time, err error) {
	c, now, err = e.find(ctx, mount, name)
	if err == nil && (c == nil || c.retired) {
		err = errNoConnection(name)
	}
	return c, now, err
}

// errNoConnection is an Unavailable: the wire answers 500.
func errNoConnection(name string) error {
	return errs.Framed(errs.Unavailable, "failed to find entry for connection with name: %q", name)
}

// all reads the live connections of a mount.
func (e *Engine) all(ctx context.Context, mount string) ([]*connection, error) {
	return e.queryConnections(ctx, `mount = $1 AND retired = 0`, mount)
}

// retired reads the retired connections of all mounts.
func (e *Engine) retired(ctx context.Context) ([]*connection, error) {
	return e.queryConnections(ctx, `retired = 1`)
}

func (e *Engine) queryConnections(ctx context.Context, where string, args ...any) (found []*connection, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) (err error) {
		found, err = connections(tx, where, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read connections: %w", err)
	}
	return found, nil
}

func connections(tx *store.Tx, where string, args ...any) (found []*connection, err error) {
	rows, err := tx.Query(`SELECT `+connectionColumns+` FROM database_connections WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		c, err := scanConnection(tx, rows)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, rows.Err()
}

// insert stores a connection, in the place of a retired one if there is one.
func (c *connection) insert(tx *store.Tx) error {
	sealed, err := c.seal(tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO database_connections (id, mount, name, version, retired, settings, staged, staged_until)
		VALUES ($1, $2, $3, $4, 0, $5, NULL, 0)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, retired = 0, settings = excluded.settings, staged = NULL, staged_until = 0`,
		c.id, c.mount, c.name, newVersion(), sealed)
	return err
}

// update stores new settings of a row that is there. A staged password stays unless it is of no use any more.
func (c *connection) update(tx *store.Tx, dropStaged bool) error {
	sealed, err := c.seal(tx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE database_connections SET version = $1, settings = $2 WHERE id = $3`, newVersion(), sealed, c.id)
	if err == nil && dropStaged {
		_, err = tx.Exec(`UPDATE database_connections SET staged = NULL, staged_until = 0 WHERE id = $1`, c.id)
	}
	return err
}

func (c *connection) seal(tx *store.Tx) ([]byte, error) {
	plain, err := json.Marshal(c.settings)
	if err != nil {
		return nil, errors.New("encode connection")
	}
	return tx.Seal(settingsCell(c.id), plain)
}

// newVersion never comes twice, so that a row that was deleted and made again is not taken for the former one.
func newVersion() string { return secret.Random(secret.Base62, 22).Reveal() }

// text is a setting of the plugin that is a text, or empty.
func (s settings) text(name string) string {
	text, _ := s.Details[name].(string)
	return text
}

// with is a copy of the settings with another password.
func (s settings) with(password secret.Text) settings {
	s.Details = maps.Clone(s.Details)
	s.Details["password"] = password.Reveal()
	return s
}

// allows reports whether a role may use the connection.
func (s settings) allows(role string) bool {
	for _, pattern := range s.AllowedRoles {
		if matchesGlob(pattern, role) {
			return true
		}
	}
	return false
}

// open prepares a pool by the settings and contacts nobody. Its errors are safe to show.
func (e *Engine) open(s settings, into *pool) error {
	driver, err := e.driver(s)
	if err != nil {
		return err
	}
	template, ok := s.Details["username_template"].(string)
	if !ok && s.Details["username_template"] != nil {
		return errors.New("unable to initialize username template: it is not a text")
	}
	names, err := newUsernames(template, driver.Usernames())
	if err != nil {
		return err
	}
	db, err := driver.Open(s.Details)
	if err != nil {
		return err
	}
	if _, namer := db.(plugins.Namer); namer && !names.random { // such a plugin may overwrite a user that is there already
		return errors.Join(fmt.Errorf("invalid username template: this plugin needs names with at least %d random characters", enoughRandom), db.Close())
	}
	into.db, into.names, into.gate, into.breaker = db, names, newGate(db.MaxOpen()), &breaker{clock: e.clock}
	return nil
}

// acquire returns the connection's pool. Errors: Unavailable (the stored settings do not open).
func (e *Engine) acquire(c *connection) (*pool, error) {
	return e.pools.acquire(c.id, c.version, func(p *pool) error {
		if err := e.open(c.settings, p); err != nil {
			return errs.Framed(errs.Unavailable, "error creating database object: %s", err)
		}
		return nil
	})
}

// verify connects once.
func (e *Engine) verify(ctx context.Context, p *pool) error {
	ctx, done := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	defer done()
	return p.db.Verify(ctx)
}

// connectionExists implements the router's Exists.
func (e *Engine) connectionExists(ctx context.Context, r *engine.Request, f *engine.Fields) (bool, error) {
	c, _, err := e.find(ctx, r.Mount.UUID, f.Text("name"))
	return c != nil && !c.retired, err
}
