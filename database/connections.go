package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
	"leasehold/store"
)

// connectionFields are the engine's own fields of config/:name; all others are the plugin's.
var connectionFields = engine.Schema{
	"name":                       engine.Text,
	"plugin_name":                engine.Text,
	"plugin_version":             engine.Text,
	"verify_connection":          engine.Bool,
	"allowed_roles":              engine.CommaList,
	"root_rotation_statements":   engine.TextList,
	"password_policy":            engine.Text,
	"rotation_period":            engine.Duration,
	"rotation_schedule":          engine.Text,
	"rotation_window":            engine.Duration,
	"disable_automated_rotation": engine.Bool,
}

// secretSettings are settings that an answer never holds.
var secretSettings = []string{"password", "private_key", "service_account_json", "tls_certificate_key"}

const literalPasswordWarning = "Password found in connection_url, use a templated url to enable root rotation and prevent read access to password information."

// writeConnection makes a connection or changes the named settings of one. The settings are given to the plugin and, unless
// the client does not want it, tried out, before anything is stored.
func (e *Engine) writeConnection(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	name := f.Text("name")
	old, now, err := e.find(ctx, r.Mount.UUID, name)
	if err != nil {
		return nil, err
	}
	next := &connection{id: id(r.Mount.UUID, name), mount: r.Mount.UUID, name: name}
	exists := old != nil && !old.retired
	if exists {
		if !old.staged.Empty() && old.stagedUntil.After(now) {
			return nil, errRotating(name)
		}
		// When neither password works, these settings may be about to mend that.
		if settled, err := e.settle(ctx, old); err == nil {
			old = settled
		}
		*next = *old
	}
	if err := next.settings.merge(f); err != nil {
		return nil, err
	}
	if _, err := next.settings.schedule(); err != nil {
		return nil, err
	}
	if next.settings.Rotation.on() {
		if err := next.settings.rotatable(); err != nil {
			return nil, errs.New(errs.Invalid, "the password cannot be rotated by itself: %s", told(err))
		}
	}
	verified := f.BoolOr("verify_connection", true)
	if err := e.try(ctx, next.settings, verified); err != nil {
		return nil, err
	}
	// A password left over from a rotation is of no use to another user, nor beside one that is known to work.
	dropStaged := f.Has("username") || f.Has("password") && verified
	moved, err := e.save(ctx, next, exists, dropStaged)
	if err != nil {
		return nil, err
	}
	resp := &engine.Response{}
	if _, found := withoutPassword(next.settings.text("connection_url")); found {
		resp.Warn(literalPasswordWarning)
	}
	if moved {
		resp.Warn(movedWarning)
	}
	return resp, nil
}

// save stores a connection that was tried, unless its row has changed since it was read. moved says that leases were left
// behind at the former address.
func (e *Engine) save(ctx context.Context, c *connection, exists, dropStaged bool) (moved bool, err error) {
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		present, err := findLive(tx, c.mount, c.name)
		if err == nil {
			moved, err = e.setAside(tx, c)
		}
		switch {
		case err != nil:
			return err
		case !exists && present == nil:
			err = c.insert(tx)
		case exists && present != nil && present.version == c.version:
			err = c.update(tx, dropStaged)
		default:
			err = errs.New(errs.Conflict, "connection %q was changed at the same time: try again", c.name)
		}
		if err != nil {
			return err
		}
		return errors.Join(scheduleTx(tx, c), scheduleRootTx(tx, c))
	})
	if err != nil {
		return false, fmt.Errorf("store connection %q: %w", c.name, err)
	}
	e.pools.forget(c.id)
	return moved, nil
}

// merge takes over the fields that were named.
func (s *settings) merge(f *engine.Fields) error {
	if f.Has("plugin_name") && f.Text("plugin_name") != s.PluginName {
		s.PluginName, s.PluginVersion = f.Text("plugin_name"), ""
	}
	if s.PluginName == "" {
		return errs.New(errs.Invalid, "empty plugin name")
	}
	if f.Has("plugin_version") {
		version, err := pluginVersion(f.Text("plugin_version"))
		if err != nil {
			return err
		}
		s.PluginVersion = version
	}
	if f.Has("allowed_roles") {
		s.AllowedRoles = f.List("allowed_roles")
	}
	if f.Has("root_rotation_statements") {
		s.RootRotationStatements = f.List("root_rotation_statements")
	}
	if f.Has("password_policy") {
		s.PasswordPolicy = f.Text("password_policy")
	}
	if err := s.Rotation.merge(f); err != nil {
		return err
	}
	details := maps.Clone(s.Details)
	if details == nil {
		details = plugins.Settings{}
	}
	for name, value := range f.All() {
		if _, ours := connectionFields[name]; !ours && value != nil {
			details[name] = value
		}
	}
	s.Details = details
	return nil
}

// try gives the settings to the plugin, and connects if that is wanted and there is a user to connect as.
func (e *Engine) try(ctx context.Context, s settings, connect bool) error {
	if err := e.demandPlugin(ctx, s); err != nil {
		return err
	}
	var trial pool
	if err := e.open(s, &trial); err != nil {
		return errs.New(errs.Invalid, "error creating database object: %s", err)
	}
	defer trial.close()
	if !connect || s.selfManaged() {
		return nil
	}
	err := e.verify(ctx, &trial)
	var told *plugins.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return errs.New(errs.Invalid, "error creating database object: error verifying connection: %s", told)
	default: // not the plugin's word: its text is not known to be free of secrets
		return errs.New(errs.Invalid, "error creating database object: error verifying connection")
	}
}

func (e *Engine) readConnection(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	c, _, err := e.find(ctx, r.Mount.UUID, f.Text("name"))
	if err != nil {
		return nil, err
	}
	if c == nil || c.retired {
		return nil, errs.New(errs.NotFound, "")
	}
	details := maps.Clone(c.settings.Details)
	for _, name := range secretSettings {
		delete(details, name)
	}
	if url, ok := details["connection_url"].(string); ok {
		details["connection_url"], _ = withoutPassword(url)
	}
	data := map[string]any{
		"plugin_name":                        c.settings.PluginName,
		"plugin_version":                     c.settings.PluginVersion,
		"connection_details":                 map[string]any(details),
		"allowed_roles":                      list(c.settings.AllowedRoles),
		"root_credentials_rotate_statements": list(c.settings.RootRotationStatements),
		"password_policy":                    c.settings.PasswordPolicy,
	}
	if err := e.showRotation(ctx, c, data); err != nil {
		return nil, fmt.Errorf("read the rotation of connection %q: %w", c.name, err)
	}
	return &engine.Response{Data: data}, nil
}

// list is never null on the wire.
func list(items []string) []string {
	if items == nil {
		return []string{}
	}
	return items
}

func (e *Engine) listConnections(ctx context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	names, err := e.names(ctx, `SELECT name FROM database_connections WHERE mount = $1 AND retired = 0`, r.Mount.UUID)
	if err != nil {
		return nil, err
	}
	return keys(names)
}

// names runs a query for names and sorts them: here, because databases do not agree on the order of texts.
func (e *Engine) names(ctx context.Context, query string, args ...any) (names []string, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		names = nil
		rows, err := tx.Query(query, args...)
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
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// keys answers a list; an empty one is not found.
func keys(names []string) (*engine.Response, error) {
	if len(names) == 0 {
		return nil, errs.New(errs.NotFound, "")
	}
	return &engine.Response{Data: map[string]any{"keys": names}}, nil
}

// deleteConnection hides a connection. Its leases are due at once, and its row stays for them.
func (e *Engine) deleteConnection(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	mount, name := r.Mount.UUID, f.Text("name")
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		c, err := findLive(tx, mount, name)
		if err != nil || c == nil {
			return err
		}
		if err := unscheduleTx(tx, c.id); err != nil {
			return err
		}
		needed, err := e.leases.HasTarget(tx, mount, name)
		if err != nil {
			return err
		}
		if !needed {
			_, err := tx.Exec(`DELETE FROM database_connections WHERE id = $1`, c.id)
			return err
		}
		if _, err := tx.Exec(`UPDATE database_connections SET retired = 1, version = $1 WHERE id = $2`, newVersion(), c.id); err != nil {
			return err
		}
		return e.leases.DueByTarget(tx, mount, name)
	})
	if err != nil {
		return nil, fmt.Errorf("delete connection %q: %w", name, err)
	}
	e.pools.forget(id(mount, name))
	return nil, nil
}

// remove deletes a retired connection once no lease needs it.
func (e *Engine) remove(ctx context.Context, c *connection) error {
	removed := false
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		removed = false
		needed, err := e.leases.HasTarget(tx, c.mount, c.name)
		if err != nil || needed {
			return err
		}
		n, err := tx.Exec(`DELETE FROM database_connections WHERE id = $1 AND version = $2`, c.id, c.version)
		removed = n > 0
		return err
	})
	if err != nil {
		return fmt.Errorf("remove retired connection %q: %w", c.name, err)
	}
	if removed {
		e.pools.forget(c.id)
	}
	return nil
}

func (e *Engine) resetConnection(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	c, _, err := e.mustFind(ctx, r.Mount.UUID, f.Text("name"))
	if err != nil {
		return nil, err
	}
	return nil, e.reset(ctx, c)
}

// reset closes a connection's pool and connects again.
func (e *Engine) reset(ctx context.Context, c *connection) error {
	e.pools.forget(c.id)
	c, err := e.settle(ctx, c)
	if err != nil {
		return err
	}
	return e.call(ctx, c, true, func(ctx context.Context, db plugins.Database) error { return db.Verify(ctx) })
}

// reloadPlugin resets every connection of a plugin. Those that fail are named in a warning; they connect when they are
// used next.
func (e *Engine) reloadPlugin(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	plugin := f.Text("plugin_name")
	connections, err := e.all(ctx, r.Mount.UUID)
	if err != nil {
		return nil, err
	}
	resp := &engine.Response{}
	done := []string{}
	for _, c := range connections {
		if c.settings.PluginName != plugin {
			continue
		}
		if err := e.reset(ctx, c); err != nil {
			if errs.From(err) == nil {
				return nil, err
			}
			resp.Warn(fmt.Sprintf("connection %q: %s", c.name, errs.From(err).Text))
			continue
		}
		done = append(done, c.name)
	}
	slices.Sort(done)
	resp.Data = map[string]any{"connections": done, "count": len(done)}
	return resp, nil
}
