package database

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"leasehold/internal/errs"
	"leasehold/plugins"
	"leasehold/store"
)

// semanticVersion is the grammar of semver.org, with the leading v that is usual here.
var semanticVersion = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)(\+([0-9A-Za-z.-]+))?$`)

// pluginVersion is a plugin_version as it is kept: that of a built-in plugin is the empty text.
func pluginVersion(version string) (string, error) {
	if version == "" {
		return "", nil
	}
	parts := semanticVersion.FindStringSubmatch(version)
	switch {
	case parts == nil:
		return "", errs.New(errs.Invalid, "version %q is not a valid semantic version: it must have the form v1.2.3", version)
	case strings.HasPrefix(parts[4], "builtin"):
		return "", nil
	}
	return "v" + parts[1] + parts[3], nil
}

// driver is the plugin of the settings: a built-in one, or one that is perhaps registered.
func (e *Engine) driver(s settings) (plugins.Driver, error) {
	if driver := e.drivers[s.PluginName]; driver != nil && s.PluginVersion == "" {
		return driver, nil
	}
	if e.external == nil {
		return nil, errNoPlugin(s)
	}
	return e.external(s.PluginName, s.PluginVersion), nil
}

// errNoPlugin is safe to show.
func errNoPlugin(s settings) error {
	version := ""
	if s.PluginVersion != "" {
		version = fmt.Sprintf(", version %q", s.PluginVersion)
	}
	return fmt.Errorf("unable to look up the plugin: plugin not found in the catalog: %s%s", s.PluginName, version)
}

// demandPlugin refuses settings whose plugin is neither built in nor registered.
func (e *Engine) demandPlugin(ctx context.Context, s settings) error {
	if e.drivers[s.PluginName] != nil && s.PluginVersion == "" {
		return nil
	}
	found, err := e.registered(ctx, s.PluginName, s.PluginVersion)
	if err == nil && !found {
		err = errs.New(errs.Invalid, "error creating database object: %s", errNoPlugin(s))
	}
	return err
}

// Reload has the connections of a plugin opened anew, on every node that shares the store, as soon as they are used next. plugin or
// mount may be empty: any. Calls that are under way go on; a plugin's process ends after the last of them.
func (e *Engine) Reload(ctx context.Context, plugin, mount string) error {
	var changed []string
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		changed = nil
		found, err := connections(tx, `1 = 1`) // retired ones, too
		if err != nil {
			return err
		}
		for _, c := range found {
			if plugin != "" && c.settings.PluginName != plugin || mount != "" && c.mount != mount {
				continue
			}
			changed = append(changed, c.id)
			// A pool is known by its row's version.
			if _, err := tx.Exec(`UPDATE database_connections SET version = $1 WHERE id = $2`, newVersion(), c.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reload plugin %q: %w", plugin, err)
	}
	for _, id := range changed {
		e.pools.forget(id)
	}
	return nil
}
