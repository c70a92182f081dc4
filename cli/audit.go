package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/urfave/cli/v2"
)

func (e *env) auditEnable() *cli.Command {
	body := fields{}
	var path string
	return e.command(leaf{
		name: "enable", args: "TYPE [CONFIG K=V...]", usage: "Enable an audit device: file, syslog or socket",
		min: 1, max: -1,
		flags: []cli.Flag{
			body.text("description", "description", "text for people"),
			body.boolean("local", "local", "not replicated"),
			&cli.StringFlag{Name: "path", Usage: "where (default: the type)", Destination: &path},
		},
		run: func(ctx context.Context, args []string) error {
			options, err := e.parseData(args[1:])
			if err != nil {
				return err
			}
			at := cleanPath(path)
			if at == "" {
				at = args[0]
			}
			body["type"], body["options"] = args[0], options
			resp, err := e.call(ctx, http.MethodPut, "sys/audit/"+at, body)
			if err != nil {
				return failed(err, "Error enabling audit device")
			}
			return e.showAnswer(resp, fmt.Sprintf("Success! Enabled the %s audit device at: %s/", args[0], at))
		},
	})
}

func (e *env) auditDisable() *cli.Command {
	return e.command(leaf{
		name: "disable", args: "PATH", usage: "Disable an audit device",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error {
			path := cleanPath(args[0])
			resp, err := e.call(ctx, http.MethodDelete, "sys/audit/"+path, nil)
			if err != nil {
				return failed(err, "Error disabling audit device")
			}
			return e.showAnswer(resp, fmt.Sprintf("Success! Disabled audit device (if it was enabled) at: %s/", path))
		},
	})
}

func (e *env) auditList() *cli.Command {
	return e.command(leaf{
		name: "list", usage: "List the audit devices",
		run: func(ctx context.Context, _ []string) error { return listAudits(ctx, e) },
	})
}

func listAudits(ctx context.Context, e *env) error {
	resp, err := e.call(ctx, http.MethodGet, "sys/audit", nil)
	if err != nil {
		return failed(err, "Error listing audits")
	}
	var devices map[string]struct {
		Type        string         `json:"type"`
		Description string         `json:"description"`
		Options     map[string]any `json:"options"`
		Local       bool           `json:"local"`
	}
	if err := resp.Decode(&devices); err != nil {
		return failed(err, "Error listing audits")
	}
	if len(devices) == 0 && !e.structured() {
		return refused("No audit devices are enabled.")
	}
	detailed, err := e.detailed()
	if err != nil {
		return err
	}
	rows := [][]string{{"Path", "Type", "Description"}}
	if detailed {
		rows[0] = append(rows[0], "Replication", "Options")
	}
	for _, path := range slices.Sorted(maps.Keys(devices)) {
		d := devices[path]
		row := []string{path, d.Type, orNA(d.Description)}
		if detailed {
			row = append(row, replication(d.Local), plain(d.Options))
		}
		rows = append(rows, row)
	}
	return e.show(view{rows: rows, object: resp.Data})
}
