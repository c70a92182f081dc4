package cli

import (
	"context"
	"errors"
	"net/http"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// Ways to change single keys of a secret.
const (
	methodPatch     = "patch" // the server merges
	methodReadWrite = "rw"    // we do, guarded by check-and-set
)

func (e *env) kvPatch() *cli.Command {
	var mount, method string
	var removed []string
	options := fields{}
	return e.command(leaf{
		name: "patch", args: "PATH [DATA...]", usage: "Change single keys of a secret",
		help: kvPathHelp + " DATA is what kv put takes.",
		min:  1, max: -1,
		flags: []cli.Flag{
			mountFlag(&mount), casFlag(options),
			&cli.StringFlag{Name: "method", Destination: &method,
				Usage: "patch (the server merges) or rw (read, merge, write); patch, and rw where that is not allowed, if not given"},
			repeated("remove-data", "key to remove; may be given more than once", "", func(v []string) error { removed = v; return nil }),
		},
		run: func(ctx context.Context, args []string) error {
			if method != "" && method != methodPatch && method != methodReadWrite {
				return mistake("Invalid method: %s", method).hint("use patch or rw")
			}
			if len(args) < 2 && len(removed) == 0 {
				return mistake("Must supply data")
			}
			changes, err := e.parseData(args[1:])
			if err != nil {
				return err
			}
			for _, key := range removed {
				changes[key] = nil
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			if !s.versioned {
				return refused("KV engine mount must be version 2 for patch support")
			}
			return patchSecret(ctx, e, s, changes, options, method)
		},
	})
}

func patchSecret(ctx context.Context, e *env, s kvSecret, changes map[string]any, options fields, method string) error {
	if n, ok := options["cas"].(int64); !ok || n <= 0 {
		options = nil // a patch has something to change: 0 stands for "not given"
	}
	if method == methodReadWrite {
		return readAndWrite(ctx, e, s, changes, options)
	}
	path := s.at("data")
	resp, err := e.call(ctx, http.MethodPatch, path, versionBody(changes, options))
	switch status := statusOf(err); {
	case (status == http.StatusForbidden || status == http.StatusMethodNotAllowed) && method == "":
		return readAndWrite(ctx, e, s, changes, options)
	case status == http.StatusNotFound, err == nil && resp.Status == http.StatusNotFound:
		return noValue(nil, path).hint("patch changes a secret that is there; kv put makes one")
	case err != nil:
		return failed(err, "Error writing data to %s", path)
	}
	return e.showWritten(s, resp)
}

// readAndWrite does what the server does with a patch. The write is for the version that was read, so that what somebody
// else writes in between is not lost.
func readAndWrite(ctx context.Context, e *env, s kvSecret, changes map[string]any, options fields) error {
	v, err := readData(ctx, e, s, "")
	if err != nil {
		return err
	}
	if options == nil {
		options = fields{"cas": v.number}
	}
	merge(v.data, changes)
	return putSecret(ctx, e, s, v.data, options)
}

// merge changes data as RFC 7396 says: null removes, objects merge, everything else replaces.
func merge(data, changes map[string]any) {
	for key, value := range changes {
		nested, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(data, key)
		case isObject:
			old, ok := data[key].(map[string]any)
			if !ok {
				old = map[string]any{}
			}
			merge(old, nested)
			data[key] = old
		default:
			data[key] = value
		}
	}
}

// statusOf is the status of a refusal; 0: there is none.
func statusOf(err error) int {
	var api *client.Error
	if errors.As(err, &api) {
		return api.StatusCode
	}
	return 0
}
