package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

func pluginPath(args []string) string { return "sys/plugins/catalog/" + args[0] + "/" + args[1] }

func (e *env) pluginRegister() *cli.Command {
	body := fields{}
	return e.command(leaf{
		name: "register", args: "TYPE NAME", usage: "Register a program as a plugin",
		min: 2, max: 2,
		flags: []cli.Flag{
			body.text("sha256", "sha256", "SHA-256 of the program, in hexadecimal"),
			body.text("command", "command", "the program's name in the server's plugin_directory (default: NAME)"),
			body.list("args", "args", "argument of the program; repeatable"),
			body.list("env", "env", "NAME=value for the program; repeatable"),
			body.text("version", "version", "version, such as v1.2.3"),
		},
		run: func(ctx context.Context, args []string) error {
			if _, named := body["command"]; !named {
				body["command"] = args[1]
			}
			resp, err := e.call(ctx, http.MethodPut, pluginPath(args), body)
			if err != nil {
				return failed(err, "Error registering plugin %s", args[1])
			}
			return e.showAnswer(resp, "Success! Registered plugin: "+args[1])
		},
	})
}

func (e *env) pluginDeregister() *cli.Command {
	query := url.Values{}
	return e.command(leaf{
		name: "deregister", args: "TYPE NAME", usage: "Remove a plugin from the catalogue",
		min: 2, max: 2,
		flags: []cli.Flag{pluginVersionFlag(query)},
		run: func(ctx context.Context, args []string) error {
			resp, err := e.send(ctx, client.Request{Method: http.MethodDelete, Path: pluginPath(args), Query: query})
			if err != nil {
				return failed(err, "Error deregistering plugin named %s", args[1])
			}
			return e.showAnswer(resp, "Success! Deregistered plugin (if it was registered): "+args[1])
		},
	})
}

func pluginVersionFlag(query url.Values) cli.Flag {
	return &cli.StringFlag{Name: "version", Usage: "version of the plugin", Action: func(_ *cli.Context, version string) error {
		query.Set("version", version)
		return nil
	}}
}

func (e *env) pluginInfo() *cli.Command {
	query := url.Values{}
	return e.command(leaf{
		name: "info", args: "TYPE NAME", usage: "Show a plugin of the catalogue",
		min: 2, max: 2,
		flags: []cli.Flag{pluginVersionFlag(query)},
		run: func(ctx context.Context, args []string) error {
			resp, err := e.send(ctx, client.Request{Method: http.MethodGet, Path: pluginPath(args), Query: query})
			if client.IsNotFound(err) {
				return refused("No plugin named: %s", args[1])
			}
			if err != nil {
				return failed(err, "Error reading plugin named %s", args[1])
			}
			var data map[string]any
			if err := resp.Decode(&data); err != nil {
				return failed(err, "Error reading plugin named %s", args[1])
			}
			rows := keyValues()
			for _, name := range slices.Sorted(maps.Keys(data)) {
				rows = append(rows, []string{name, e.cell(data[name])})
			}
			return e.show(view{rows: rows, object: resp.Data})
		},
	})
}

func (e *env) pluginList() *cli.Command {
	return e.command(leaf{
		name: "list", args: "[TYPE]", usage: "List the plugins of the catalogue",
		max: 1,
		run: func(ctx context.Context, args []string) error { return listPlugins(ctx, e, args) },
	})
}

func listPlugins(ctx context.Context, e *env, args []string) error {
	resp, err := e.call(ctx, http.MethodGet, "sys/plugins/catalog", nil)
	if err != nil {
		return failed(err, "Error listing available plugins")
	}
	var answer struct {
		Detailed []struct {
			Type       string `json:"type"`
			Name       string `json:"name"`
			Version    string `json:"version"`
			Deprecated string `json:"deprecation_status"`
		} `json:"detailed"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error listing available plugins")
	}
	detailed, err := e.detailed()
	if err != nil {
		return err
	}
	rows := [][]string{{"Name", "Type", "Version"}}
	if detailed {
		rows[0] = append(rows[0], "Deprecation Status")
	}
	for _, p := range answer.Detailed {
		if len(args) == 1 && p.Type != args[0] {
			continue
		}
		row := []string{p.Name, p.Type, orNA(p.Version)}
		if detailed {
			row = append(row, orNA(p.Deprecated))
		}
		rows = append(rows, row)
	}
	return e.show(view{rows: rows, object: resp.Data})
}

func (e *env) pluginReload() *cli.Command {
	body := fields{}
	return e.command(leaf{
		name: "reload", usage: "Start the processes of a plugin, or of mounts, anew on every node",
		flags: []cli.Flag{
			body.text("plugin", "plugin", "name of the plugin"),
			body.list("mounts", "mounts", "path of a mount; repeatable"),
			body.text("scope", "scope", "global, or nothing: it is the same here"),
		},
		run: func(ctx context.Context, _ []string) error {
			resp, err := e.call(ctx, http.MethodPut, "sys/plugins/reload/backend", body)
			if err != nil {
				return failed(err, "Error reloading plugin/mounts")
			}
			what := fmt.Sprintf("plugin: %v", body["plugin"])
			if mounts, named := body["mounts"]; named {
				what = fmt.Sprintf("mounts: %v", mounts)
			}
			if e.structured() {
				return e.showAnswer(resp, "")
			}
			return e.success("Success! Reloaded %s", what)
		},
	})
}
