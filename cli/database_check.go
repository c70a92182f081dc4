package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

func (e *env) databaseCheck() *cli.Command {
	var mount string
	return e.command(leaf{
		name: "check", args: "ROLE", usage: "Try a role on its database: make a user, log in, list its rights, renew it, remove it",
		help: "Nothing is left behind. The exit code is 2 when a step failed.",
		min:  1, max: 1,
		flags: []cli.Flag{databaseMountFlag(&mount)},
		run: func(ctx context.Context, args []string) error {
			resp, err := e.call(ctx, http.MethodPut, databasePath(mount, "check", args[0]), nil)
			if err != nil {
				return failed(err, "Error checking role %s", args[0])
			}
			var checked roleReport
			if err := resp.Decode(&checked); err != nil {
				return failed(err, "Error reading the answer")
			}
			if err := e.showReport(checked, resp.Data); err != nil {
				return err
			}
			if !checked.OK {
				return refused("The check of role %s failed", args[0])
			}
			return nil
		},
	})
}

// roleReport is what a check has found.
type roleReport struct {
	Role       string `json:"role"`
	Connection string `json:"connection"`
	Username   string `json:"username"`
	OK         bool   `json:"ok"`
	Steps      []struct {
		Step string `json:"step"`
		OK   bool   `json:"ok"`
		Text string `json:"text"`
	} `json:"steps"`
	Grants []string `json:"grants"`
}

// refusedReport is the report beside a refusal of the server; nil: there is none.
func refusedReport(err error) (checked roleReport, data map[string]any, ok bool) {
	var api *client.Error
	if !errors.As(err, &api) || json.Unmarshal(api.Data, &data) != nil || json.Unmarshal(api.Data, &checked) != nil || len(checked.Steps) == 0 {
		return roleReport{}, nil, false
	}
	return checked, data, true
}

// showReport prints a report; object is the same as the server said it.
func (e *env) showReport(checked roleReport, object map[string]any) error {
	format, err := e.format()
	if err != nil {
		return err
	}
	if e.flags.field != "" || format != formatTable && format != formatPretty {
		return e.show(view{object: object})
	}
	return e.print(checked.table())
}

func (r roleReport) table() string {
	rows := [][]string{{"Step", "Result", "About"}}
	for _, s := range r.Steps {
		result := "failed"
		if s.OK {
			result = "ok"
		}
		rows = append(rows, []string{s.Step, result, s.Text})
	}
	text := table(rows)
	if len(r.Grants) > 0 {
		text += "\n" + table(column("Rights of "+r.Username, r.Grants))
	}
	return text
}
