package database_test

import (
	"context"
	"slices"
	"testing"

	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/plugins"
	"leasehold/store"
)

func TestReloadOnEveryNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	opened := func(plugin, mount string) bool {
		w.creds("app")
		_, before := w.hooks.count()
		if err := w.engine.Reload(t.Context(), plugin, mount); err != nil {
			t.Fatal(err)
		}
		w.creds("app")
		_, after := w.hooks.count()
		return after > before
	}
	for _, test := range []struct {
		plugin, mount string
		want          bool
	}{
		{plugin, "", true}, {"", w.mount.UUID, true}, {plugin, w.mount.UUID, true}, {"other", "", false}, {"", "other", false},
	} {
		if got := opened(test.plugin, test.mount); got != test.want {
			t.Errorf("reload plugin %q, mount %q: opened anew %v", test.plugin, test.mount, got)
		}
	}
	if opened, _ := w.hooks.count(); opened != 1 {
		t.Errorf("%d pools are open", opened)
	}
}

// TestRegistered has connections use a plugin by name and version.
func TestRegistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked []string
	w.external = func(name, version string) plugins.Driver {
		asked = append(asked, name+" "+version)
		return driver{hooks: w.hooks}
	}
	w.registered = func(_ context.Context, name, version string) (bool, error) {
		return name == "own" && version == "" || name == plugin && version == "v1.2.3-rc.1", nil
	}
	w.start()
	w.refused(engine.Update, "config/a", w.settings(data{"plugin_name": "none"}), errs.Invalid,
		"error creating database object: unable to look up the plugin: plugin not found in the catalog: none")
	w.refused(engine.Update, "config/a", w.settings(data{"plugin_name": "own", "plugin_version": "v1.0.0"}), errs.Invalid,
		`error creating database object: unable to look up the plugin: plugin not found in the catalog: own, version "v1.0.0"`)
	w.must(engine.Update, "config/a", w.settings(data{"plugin_name": "own"}))
	w.must(engine.Update, "config/b", w.settings(data{"plugin_version": "1.2.3-rc.1"}))
	if got := w.must(engine.Read, "config/b", nil).Data["plugin_version"]; got != "v1.2.3-rc.1" {
		t.Errorf("version %v", got)
	}
	w.must(engine.Update, "config/b", data{"allowed_roles": "x"})
	if got := w.must(engine.Read, "config/b", nil).Data["plugin_version"]; got != "v1.2.3-rc.1" {
		t.Errorf("version %v after an update that does not name it", got)
	}
	w.must(engine.Update, "config/b", data{"plugin_version": ""})
	if slices.Sort(asked); !slices.Equal(slices.Compact(asked), []string{"own ", plugin + " v1.2.3-rc.1"}) {
		t.Errorf("asked for %q", asked)
	}
	if got := w.must(engine.Read, "config/b", nil).Data["plugin_version"]; got != "" {
		t.Errorf("version %v after it was taken away", got)
	}
}

// TestStalePools has another node delete, reload and rotate connections: this one closes what it has open of them.
func TestStalePools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect()
	w.creds("app")
	open := func() int {
		if err := w.engine.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		opened, _ := w.hooks.count()
		return opened
	}
	before := open()
	if before == 0 {
		t.Fatal("a pool that is in use was closed")
	}
	w.elsewhere(`UPDATE database_connections SET version = 'another'`)
	if got := open(); got != before-1 {
		t.Errorf("%d pools are open after another node changed the connection, %d were before", got, before)
	}
	w.creds("app")
	w.elsewhere(`DELETE FROM database_connections`)
	if got := open(); got != before-1 {
		t.Errorf("%d pools are open after another node deleted the connection, %d were before", got, before)
	}
}

// elsewhere is what another node writes.
func (w *world) elsewhere(sql string) {
	w.Helper()
	if err := w.store.Update(w.Context(), func(tx *store.Tx) error { _, err := tx.Exec(sql); return err }); err != nil {
		w.Fatal(err)
	}
}
