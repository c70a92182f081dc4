package cli

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/urfave/cli/v2"

	"leasehold/client"
)

// The commands that name versions.

func (e *env) kvDelete() *cli.Command {
	var mount string
	var versions []string
	return e.command(leaf{
		name: "delete", args: "PATH", usage: "Delete the newest version, or others; undelete brings them back",
		help: kvPathHelp + " On a mount of version 1 the secret is gone for good.",
		min:  1, max: 1,
		flags: []cli.Flag{mountFlag(&mount), versionsFlag(&versions, "versions to delete: 1,2; the newest if not given")},
		run: func(ctx context.Context, args []string) error {
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return deleteVersions(ctx, e, s, versions)
		},
	})
}

func deleteVersions(ctx context.Context, e *env, s kvSecret, given []string) error {
	path := s.at("data")
	r := client.Request{Method: http.MethodDelete, Path: path}
	if len(given) > 0 {
		if err := s.needVersions("Versions are"); err != nil {
			return err
		}
		versions, err := versionList(given)
		if err != nil {
			return err
		}
		r = client.Request{Method: http.MethodPut, Path: s.at("delete"), Body: map[string]any{"versions": versions}}
	}
	resp, err := e.send(ctx, r)
	if err != nil {
		return failed(err, "Error deleting %s", path)
	}
	return e.showAnswer(resp, "Success! Data deleted (if it existed) at: "+path)
}

func (e *env) kvUndelete() *cli.Command {
	return e.versionsCommand("undelete", "Undelete", "Bring deleted versions back")
}

func (e *env) kvDestroy() *cli.Command {
	return e.versionsCommand("destroy", "Destroy", "Erase the data of versions for good")
}

// versionsCommand makes a command that sends the versions that it names to the path of its name.
func (e *env) versionsCommand(name, title, usage string) *cli.Command {
	var mount string
	var given []string
	return e.command(leaf{
		name: name, args: "PATH", usage: usage, help: kvPathHelp,
		min: 1, max: 1,
		flags: []cli.Flag{mountFlag(&mount), versionsFlag(&given, "versions: 1,2")},
		run: func(ctx context.Context, args []string) error {
			if len(given) == 0 {
				return mistake("No versions provided").hint("-versions=1,2 names the versions to %s", name)
			}
			versions, err := versionList(given)
			if err != nil {
				return err
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			if err := s.needVersions(title + " is"); err != nil {
				return err
			}
			path := s.at(name)
			resp, err := e.call(ctx, http.MethodPut, path, map[string]any{"versions": versions})
			if err != nil {
				return failed(err, "Error writing data to %s", path)
			}
			return e.showAnswer(resp, "Success! Data written to: "+path)
		},
	})
}

func (e *env) kvRollback() *cli.Command {
	var mount, version string
	return e.command(leaf{
		name: "rollback", args: "PATH", usage: "Write the data of an old version as a new one", help: kvPathHelp,
		min: 1, max: 1,
		flags: []cli.Flag{mountFlag(&mount), versionFlag(&version)},
		run: func(ctx context.Context, args []string) error {
			if version == "" || version == "0" {
				return mistake("No version provided").hint("-version=N names the version to roll back to")
			}
			s, err := e.kvAt(ctx, mount, args[0])
			if err != nil {
				return err
			}
			return rollback(ctx, e, s, version)
		},
	})
}

// rollback writes with check-and-set: a version that somebody else writes in between is not overwritten.
func rollback(ctx context.Context, e *env, s kvSecret, version string) error {
	if err := s.needVersions("Rollback is"); err != nil {
		return err
	}
	current, err := readVersion(ctx, e, s, "")
	if err != nil {
		return err
	}
	old, err := readData(ctx, e, s, version)
	if err != nil {
		return err
	}
	return putSecret(ctx, e, s, old.data, fields{"cas": current.number})
}

// kvVersion is a version that was read.
type kvVersion struct {
	secret kvSecret
	number int64          // 0 on a mount of version 1
	data   map[string]any // nil: deleted or destroyed
}

// readData is readVersion for one with data: neither deleted nor destroyed.
func readData(ctx context.Context, e *env, s kvSecret, version string) (kvVersion, error) {
	v, err := readVersion(ctx, e, s, version)
	if err == nil && v.data == nil {
		err = refused("Version %d of %s is deleted or destroyed", v.number, s.at("data"))
	}
	return v, err
}

// readVersion reads a version for the command's own use; "" is the newest.
func readVersion(ctx context.Context, e *env, s kvSecret, version string) (kvVersion, error) {
	v, found, err := findVersion(ctx, e, s, version)
	if err == nil && !found {
		err = noValue(nil, s.at("data"))
	}
	return v, err
}

// findVersion is readVersion for a secret that may not be there.
func findVersion(ctx context.Context, e *env, s kvSecret, version string) (v kvVersion, found bool, err error) {
	v = kvVersion{secret: s}
	q, err := versionQuery(s, version)
	if err != nil {
		return v, false, err
	}
	path := s.at("data")
	resp, err := e.inquire(ctx, client.Request{Method: http.MethodGet, Path: path, Query: q})
	if client.IsNotFound(err) {
		return v, false, nil
	}
	if err != nil {
		return v, false, failed(err, "Error reading %s", path)
	}
	if !s.versioned {
		v.data = resp.Data
		return v, resp.Data != nil, nil
	}
	metadata, _ := resp.Data["metadata"].(map[string]any)
	v.data, _ = resp.Data["data"].(map[string]any)
	v.number, found = wholeNumber(metadata["version"])
	return v, found, nil
}

// wholeNumber is a number of an answer.
func wholeNumber(value any) (int64, bool) {
	text, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := text.Int64()
	return n, err == nil
}
