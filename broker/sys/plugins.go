package sys

import (
	"context"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"leasehold/broker"
	"leasehold/engine"
	"leasehold/internal/errs"
)

// databasePlugin is the only kind of plugin that can be registered.
const databasePlugin = "database"

// pluginKinds are the kinds of plugins that there are, in the order of the catalogue.
var pluginKinds = []string{"auth", databasePlugin, "secret"}

func (s *system) pluginPaths() []*engine.Path {
	one := engine.Schema{
		"type": engine.Text, "name": engine.Text, "version": engine.Text, "sha256": engine.Text, "sha_256": engine.Text,
		"command": engine.Text, "args": engine.TextList, "env": engine.TextList,
	}
	return []*engine.Path{
		{Pattern: "plugins/catalog", Fields: engine.Schema{}, Help: "All plugins: those built in, and those that were registered.",
			Ops: engine.Ops{engine.Read: s.catalog, engine.List: s.catalog}},
		{Pattern: "plugins/catalog/:type", Fields: one, Sudo: true, Help: "List the plugins of a kind.",
			Ops: engine.Ops{engine.List: s.listPlugins}},
		{Pattern: "plugins/catalog/:type/:name", Fields: one, Sudo: true, Help: "Register, read or remove a plugin.",
			Ops: engine.Ops{engine.Read: s.readPlugin, engine.Update: s.registerPlugin, engine.Delete: s.removePlugin}},
		{Pattern: "plugins/reload/backend", Fields: engine.Schema{"plugin": engine.Text, "mounts": engine.CommaList, "scope": engine.Text},
			Sudo: true, Help: "Start the processes of a plugin anew.", Ops: engine.Ops{engine.Update: s.reloadPlugin}},
		{Pattern: "plugins/reload/:type/:name", Fields: engine.Schema{"type": engine.Text, "name": engine.Text, "scope": engine.Text},
			Sudo: true, Help: "Start the processes of a plugin anew.", Ops: engine.Ops{engine.Update: s.reloadNamed}},
	}
}

// listed is a plugin of the catalogue.
type listed struct{ kind, name, version string }

// registered are the programs in the catalogue, sorted.
func (s *system) registered(ctx context.Context) (all []listed, err error) {
	names, err := s.b.SettingNames(ctx, broker.SettingPlugin)
	for _, name := range names {
		if parts := strings.Split(name, "/"); len(parts) == 3 {
			all = append(all, listed{parts[0], parts[1], parts[2]})
		}
	}
	return all, err
}

func (s *system) builtInVersion() string {
	return "v" + strings.TrimPrefix(s.process.Plugins.Version, "v") + "+builtin"
}

func (s *system) catalog(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	registered, err := s.registered(ctx)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{}
	detailed := []any{}
	for _, kind := range pluginKinds {
		names := slices.Clone(s.process.Plugins.BuiltIn[kind])
		for _, name := range names {
			detailed = append(detailed, map[string]any{
				"type": kind, "name": name, "version": s.builtInVersion(), "builtin": true, "deprecation_status": "supported",
			})
		}
		for _, p := range registered {
			if p.kind != kind {
				continue
			}
			var stored broker.Plugin
			found, err := s.b.Setting(ctx, broker.SettingPlugin, broker.PluginName(p.kind, p.name, p.version), &stored)
			if err != nil {
				return nil, err
			}
			if !found { // removed meanwhile
				continue
			}
			names = append(names, p.name)
			detailed = append(detailed, map[string]any{
				"type": kind, "name": p.name, "version": p.version, "builtin": false, "sha256": stored.SHA256,
			})
		}
		answer[kind] = sorted(names)
	}
	answer["detailed"] = detailed
	return &engine.Response{Data: answer}, nil
}

// sorted names each once; it is never null on the wire.
func sorted(names []string) []string {
	slices.Sort(names)
	return append([]string{}, slices.Compact(names)...)
}

// pluginKind is the kind that the request names.
func pluginKind(f *engine.Fields) (string, error) {
	kind := f.Text("type")
	if !slices.Contains(pluginKinds, kind) {
		return "", errs.New(errs.Invalid, "%q is no kind of plugin: use one of %s", kind, strings.Join(pluginKinds, ", "))
	}
	return kind, nil
}

func (s *system) listPlugins(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	kind, err := pluginKind(f)
	if err != nil {
		return nil, err
	}
	registered, err := s.registered(ctx)
	names := slices.Clone(s.process.Plugins.BuiltIn[kind])
	for _, p := range registered {
		if p.kind == kind {
			names = append(names, p.name)
		}
	}
	return listing(sorted(names), err)
}

// versionForm is the grammar of semver.org, with the leading v that is usual here.
var versionForm = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)$`)

func pluginVersion(f *engine.Fields) (string, error) {
	version := f.Text("version")
	if version == "" {
		return "", nil
	}
	parts := versionForm.FindStringSubmatch(version)
	switch {
	case parts == nil:
		return "", errs.New(errs.Invalid, "version %q is not a valid semantic version: it must have the form v1.2.3", version)
	case strings.Contains(parts[3], "builtin"):
		return "", errs.New(errs.Invalid, "version %q is that of a built-in plugin, and cannot be registered", version)
	}
	return "v" + parts[1], nil
}

func (s *system) readPlugin(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	kind, name := f.Text("type"), f.Text("name")
	if version := f.Text("version"); slices.Contains(s.process.Plugins.BuiltIn[kind], name) && (version == "" || version == s.builtInVersion()) {
		return &engine.Response{Data: map[string]any{
			"name": name, "args": nil, "builtin": true, "command": "", "deprecation_status": "supported", "sha256": "", "version": s.builtInVersion(),
		}}, nil
	}
	version, err := pluginVersion(f)
	if err != nil {
		return nil, err
	}
	var p broker.Plugin
	found, err := s.b.Setting(ctx, broker.SettingPlugin, broker.PluginName(kind, name, version), &p)
	if err != nil || !found {
		return nil, err
	}
	return &engine.Response{Data: map[string]any{
		"name": name, "args": append([]string{}, p.Args...), "builtin": false, "command": p.Command, "sha256": p.SHA256, "version": version,
	}}, nil
}

// registerPlugin stores a program in the catalogue. Its connections use it from then on.
//
// Errors: Invalid. Wire: plugins/catalog/:type/:name.
func (s *system) registerPlugin(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	kind, err := pluginKind(f)
	if err != nil {
		return nil, err
	}
	sum := f.Text("sha256")
	if sum == "" {
		sum = f.Text("sha_256")
	}
	version, err := pluginVersion(f)
	name := f.Text("name")
	switch decoded, malformed := hex.DecodeString(sum); {
	case sum == "":
		return nil, errs.New(errs.Invalid, "missing SHA-256 value")
	case malformed != nil || len(decoded) != 32:
		return nil, errs.New(errs.Invalid, "sha256 must be the program's SHA-256 in 64 hexadecimal digits: sha256sum shows it")
	case f.Text("command") == "":
		return nil, errs.New(errs.Invalid, "missing command value")
	case err != nil:
		return nil, err
	case kind != databasePlugin:
		return nil, errs.New(errs.Invalid, "plugins of kind %q cannot be registered: only database plugins run as programs of their own", kind)
	case version == "" && slices.Contains(s.process.Plugins.BuiltIn[kind], name):
		return nil, errs.New(errs.Invalid, "plugin %q is built in: register the program under another name, or with a version", name)
	case s.process.Plugins.Check == nil:
		return nil, errs.New(errs.Invalid, "this server launches no programs")
	}
	for _, pair := range f.List("env") {
		if variable, _, ok := strings.Cut(pair, "="); !ok || variable == "" {
			return nil, errs.New(errs.Invalid, "env must be a list of NAME=value")
		}
	}
	if err := s.process.Plugins.Check(f.Text("command")); err != nil {
		return nil, errs.New(errs.Invalid, "%s", err)
	}
	err = s.b.PutSetting(ctx, broker.SettingPlugin, broker.PluginName(kind, name, version), broker.Plugin{
		Command: f.Text("command"), Args: f.List("args"), Env: f.List("env"), SHA256: strings.ToLower(sum),
	})
	if err != nil {
		return nil, err
	}
	return nil, s.reload(ctx, name, "")
}

// removePlugin takes a program out of the catalogue. Its connections stay, and cannot be used until it is registered again.
func (s *system) removePlugin(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	version, err := pluginVersion(f)
	if err != nil {
		return nil, err
	}
	if err := s.b.DeleteSetting(ctx, broker.SettingPlugin, broker.PluginName(f.Text("type"), f.Text("name"), version)); err != nil {
		return nil, err
	}
	return nil, s.reload(ctx, f.Text("name"), "")
}

func (s *system) reload(ctx context.Context, plugin, mount string) error {
	if s.process.Plugins.Reload == nil {
		return nil
	}
	return s.process.Plugins.Reload(ctx, plugin, mount)
}

// reloadPlugin has the processes of a plugin, or of mounts, started anew. What is built in has none: its connections are opened anew.
//
// Errors: Invalid. Wire: plugins/reload/backend.
func (s *system) reloadPlugin(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	plugin, mounts := f.Text("plugin"), f.List("mounts")
	switch {
	case plugin == "" && len(mounts) == 0:
		return nil, errs.New(errs.Invalid, "plugin or mounts must be provided")
	case plugin != "" && len(mounts) > 0:
		return nil, errs.New(errs.Invalid, "plugin and mounts cannot be set at the same time")
	case plugin != "":
		return reloaded(s.reload(ctx, plugin, ""))
	}
	var uuids []string
	for _, path := range mounts {
		m := s.b.Mount(folder(path))
		if m == nil {
			return nil, errs.New(errs.Invalid, "no matching mount at %q", folder(path))
		}
		uuids = append(uuids, m.UUID)
	}
	for _, mount := range uuids {
		if err := s.reload(ctx, "", mount); err != nil {
			return nil, err
		}
	}
	return reloaded(nil)
}

func (s *system) reloadNamed(ctx context.Context, _ *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if _, err := pluginKind(f); err != nil {
		return nil, err
	}
	return reloaded(s.reload(ctx, f.Text("name"), ""))
}

// reloaded answers with the id that clients ask after; there is nothing to ask, as it is done.
func reloaded(err error) (*engine.Response, error) {
	if err != nil {
		return nil, err
	}
	return data("reload_id", uuid.NewString()), nil
}
