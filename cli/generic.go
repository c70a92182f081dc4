package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"leasehold/client"
	"leasehold/internal/secret"
)

// The commands that know nothing of what stands behind a path.

func (e *env) read() *cli.Command {
	return e.command(leaf{
		name: "read", args: "PATH [K=V...]", usage: "Read a path: a secret, a configuration, a credential",
		min: 1, max: -1,
		run: func(ctx context.Context, args []string) error { return read(ctx, e, args[0], args[1:]) },
	})
}

func read(ctx context.Context, e *env, path string, params []string) error {
	path = cleanPath(path)
	data, err := e.parseData(params)
	if err != nil {
		return err
	}
	resp, err := e.send(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query(data)})
	if client.IsNotFound(err) {
		return noValue(err, path)
	}
	if err != nil {
		return failed(err, "Error reading %s", path)
	}
	if format, _ := e.format(); format == formatRaw && e.flags.field == "" {
		_, err := e.stdout.Write(resp.Raw)
		return err
	}
	if resp.Empty() && len(resp.Raw) > 0 && !json.Valid(resp.Raw) {
		return mistake("The answer at %s is not JSON", path).hint("-format=raw prints it as it is")
	}
	adoptBare(resp)
	if resp.Empty() && len(resp.Warnings) == 0 {
		return noValue(nil, path)
	}
	return e.showAnswer(resp, "")
}

// adoptBare takes the body of an answer without the envelope for its data. Some system paths answer so.
func adoptBare(resp *client.Response) {
	var data map[string]any
	if resp.Empty() && len(resp.Raw) > 0 && resp.Decode(&data) == nil {
		resp.Data = data
	}
}

func (e *env) write() *cli.Command {
	var force bool
	return e.command(leaf{
		name: "write", args: "PATH [DATA K=V...]", usage: "Write data to a path",
		help: "DATA is key=@file, key=- (stdin), key=value, @file.json or - (a JSON object from stdin).\n" +
			"Arguments are visible to other users of the machine: secrets go through a file or stdin.",
		min: 1, max: -1,
		flags: []cli.Flag{forceFlag(&force, "write without data")},
		run: func(ctx context.Context, args []string) error {
			return change(ctx, e, http.MethodPut, args[0], args[1:], force)
		},
	})
}

func (e *env) patch() *cli.Command {
	var force bool
	return e.command(leaf{
		name: "patch", args: "PATH [DATA K=V...]", usage: "Change single fields at a path",
		min: 1, max: -1,
		flags: []cli.Flag{forceFlag(&force, "patch without data")},
		run: func(ctx context.Context, args []string) error {
			return change(ctx, e, http.MethodPatch, args[0], args[1:], force)
		},
	})
}

func forceFlag(to *bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: usage, Destination: to}
}

func change(ctx context.Context, e *env, method, path string, args []string, force bool) error {
	path = cleanPath(path)
	if len(args) == 0 && !force {
		return mistake("Must supply data or use -force")
	}
	data, err := e.parseData(args)
	if err != nil {
		return err
	}
	var body any
	if len(args) > 0 {
		body = data
	}
	resp, err := e.call(ctx, method, path, body)
	if err != nil {
		return failed(err, "Error writing data to %s", path)
	}
	adoptBare(resp)
	return e.showAnswer(resp, "Success! Data written to: "+path)
}

func (e *env) deletePath() *cli.Command {
	return e.command(leaf{
		name: "delete", args: "PATH [K=V...]", usage: "Delete what is at a path",
		min: 1, max: -1,
		run: func(ctx context.Context, args []string) error {
			path := cleanPath(args[0])
			data, err := e.parseData(args[1:])
			if err != nil {
				return err
			}
			resp, err := e.send(ctx, client.Request{Method: http.MethodDelete, Path: path, Query: query(data)})
			if err != nil {
				return failed(err, "Error deleting %s", path)
			}
			return e.showAnswer(resp, "Success! Data deleted (if it existed) at: "+path)
		},
	})
}

func (e *env) list() *cli.Command {
	var after string
	limit := fields{}
	return e.command(leaf{
		name: "list", args: "PATH", usage: "List the names below a path",
		min: 1, max: 1,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "after", Usage: "start behind this name", Destination: &after},
			limit.number("limit", "limit", "at most this many names"),
		},
		run: func(ctx context.Context, args []string) error {
			q := url.Values{}
			if after != "" {
				q.Set("after", after)
			}
			if n, ok := limit["limit"].(int64); ok {
				q.Set("limit", strconv.FormatInt(n, 10))
			}
			return list(ctx, e, cleanPath(args[0]), q)
		},
	})
}

func list(ctx context.Context, e *env, path string, q url.Values) error {
	resp, err := e.send(ctx, client.Request{Method: "LIST", Path: path, Query: q})
	if client.IsNotFound(err) {
		return noValue(err, path)
	}
	if err != nil {
		return failed(err, "Error listing %s", path)
	}
	if resp.WrapInfo != nil {
		return e.showAnswer(resp, "")
	}
	var answer struct {
		Keys []string                  `json:"keys"`
		Info map[string]map[string]any `json:"key_info"`
	}
	if err := resp.Decode(&answer); err != nil || len(answer.Keys) == 0 {
		return noValue(nil, path)
	}
	if !e.structured() {
		e.warn(resp.Warnings)
	}
	detailed, err := e.detailed()
	if err != nil {
		return err
	}
	if e.flags.field != "" {
		return e.showAnswer(resp, "")
	}
	if detailed && len(answer.Info) > 0 {
		return e.show(view{rows: keyInfo(answer.Keys, answer.Info), object: resp.Secret})
	}
	return e.show(view{rows: column("Keys", answer.Keys), object: answer.Keys})
}

// keyInfo is a table of names with what the server tells about each, a column for each kind of information.
func keyInfo(keys []string, info map[string]map[string]any) [][]string {
	titles := map[string]bool{}
	for _, details := range info {
		for title := range details {
			titles[title] = true
		}
	}
	columns := slices.Sorted(maps.Keys(titles))
	rows := [][]string{append([]string{"Keys"}, columns...)}
	for _, key := range keys {
		row := []string{key}
		for _, title := range columns {
			text := "n/a"
			if value, ok := info[key][title]; ok {
				text = plain(value)
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return rows
}

func (e *env) unwrap() *cli.Command {
	return e.command(leaf{
		name: "unwrap", args: "[TOKEN]", usage: "Fetch a wrapped answer; - reads the wrapping token from stdin",
		min: 0, max: 1,
		run: func(ctx context.Context, args []string) error {
			wrapping, err := e.secretArgument(args)
			if err != nil {
				return err
			}
			return unwrap(ctx, e, wrapping)
		},
	})
}

// unwrap fetches what wrapping stands for. Without one, or without a token of our own, the wrapping token is the
// request's token: the server refuses one that is sent both ways.
func unwrap(ctx context.Context, e *env, wrapping secret.Text) error {
	if _, err := e.api(); err != nil {
		return err
	}
	var body any
	switch {
	case wrapping.Empty() || wrapping.Equal(e.token):
	case e.token.Empty():
		e.useToken(wrapping)
	default:
		body = map[string]any{"token": wrapping.Reveal()}
	}
	resp, err := e.call(ctx, http.MethodPut, "sys/wrapping/unwrap", body)
	if err != nil {
		return failed(err, "Error unwrapping")
	}
	return e.showAnswer(resp, "Success! There was nothing in the wrapped answer")
}

// secretArgument is a secret that may be given as the only argument; "-" reads it from stdin. Empty: there is none.
func (e *env) secretArgument(args []string) (secret.Text, error) {
	if len(args) == 0 {
		return secret.Text{}, nil
	}
	if args[0] != "-" {
		return secret.NewText(strings.TrimSpace(args[0])), nil
	}
	text, err := e.takeStdin()
	return secret.NewText(strings.TrimSpace(string(text))), err
}

func (e *env) pathHelp() *cli.Command {
	return e.command(leaf{
		name: "path-help", args: "PATH", usage: "Show the server's help for a path",
		min: 1, max: 1,
		run: func(ctx context.Context, args []string) error { return pathHelp(ctx, e, cleanPath(args[0])) },
	})
}

func pathHelp(ctx context.Context, e *env, path string) error {
	resp, err := e.send(ctx, client.Request{Method: http.MethodGet, Path: path, Query: url.Values{"help": {"1"}}})
	if err != nil {
		return failed(err, "Error retrieving help for %s", path)
	}
	var answer struct {
		Help string `json:"help"`
	}
	if err := resp.Decode(&answer); err != nil {
		return failed(err, "Error retrieving help for %s", path)
	}
	if e.structured() {
		return e.show(view{object: json.RawMessage(resp.Raw)})
	}
	return e.print(fmt.Sprintln(strings.TrimRight(answer.Help, "\n")))
}
