package kvcompat

import (
	"context"
	"errors"
	"fmt"

	"leasehold/engine"
	"leasehold/store"
)

// newVersion2 makes the paths of version 2.
func (e *Engine) newVersion2() *engine.Router {
	numbers := engine.Schema{"path": engine.Text, "versions": engine.CommaList}
	lists := engine.Schema{"path": engine.Text, "after": engine.Text, "limit": engine.Int}
	metadata := engine.Schema{
		"path": engine.Text, "max_versions": engine.Int, "cas_required": engine.Bool, "delete_version_after": engine.Duration,
		"custom_metadata": engine.Object, "metadata_cas": engine.Int, "metadata_cas_required": engine.Bool,
		"after": engine.Text, "limit": engine.Int,
	}
	paths := []*engine.Path{
		{
			Pattern: "config", Fields: settingsFields, Help: "Read or change what holds for all keys.",
			Ops: engine.Ops{engine.Read: e.readSettings, engine.Update: e.writeSettings},
		},
		{
			Pattern: "data/*path", Help: "Read a version, write, patch or delete the newest one.", Exists: e.exists,
			Fields: engine.Schema{"path": engine.Text, "version": engine.Int, "data": engine.Object, "options": engine.Object},
			Ops:    engine.Ops{engine.Read: e.readData, engine.Update: e.writeData, engine.Patch: e.patchData, engine.Delete: e.deleteNewest},
		},
		{
			Pattern: "metadata/*path", Fields: metadata, Help: "List keys, or read, change or remove all that a key has.", Exists: e.exists,
			Ops: engine.Ops{
				engine.Read: e.readMetadata, engine.Update: e.writeMetadata, engine.Patch: e.patchMetadata, engine.Delete: e.deleteMetadata,
				engine.List: e.list, engine.Scan: e.list,
			},
		},
		{
			Pattern: "detailed-metadata/*path", Fields: lists, Help: "List keys with their metadata.",
			Ops: engine.Ops{engine.List: e.listDetailed, engine.Scan: e.listDetailed},
		},
		{
			Pattern: "subkeys/*path", Help: "Read the keys of a version's data without its values.",
			Fields: engine.Schema{"path": engine.Text, "version": engine.Int, "depth": engine.Int},
			Ops:    engine.Ops{engine.Read: e.readSubkeys},
		},
		{Pattern: "delete/*path", Fields: numbers, Help: "Delete versions.", Ops: engine.Ops{engine.Update: e.deleteVersions}},
		{Pattern: "undelete/*path", Fields: numbers, Help: "Bring versions back.", Ops: engine.Ops{engine.Update: e.undeleteVersions}},
		{Pattern: "destroy/*path", Fields: numbers, Help: "Erase the data of versions.", Ops: engine.Ops{engine.Update: e.destroyVersions}},
	}
	for _, root := range []string{"data", "metadata", "delete", "undelete", "destroy"} {
		paths = append(paths, &engine.Path{Pattern: root, Ops: everyOperation(noKey), Help: "A key's path comes after this."})
	}
	paths = append(paths, &engine.Path{Pattern: "*path", Ops: everyOperation(unknownPath), Help: "Not a path of version 2."})
	return engine.NewRouter(paths...)
}

func everyOperation(h engine.Handler) engine.Ops {
	return engine.Ops{
		engine.Read: h, engine.Update: h, engine.Patch: h, engine.Delete: h, engine.List: h, engine.Scan: h,
	}
}

// noKey answers what names no key. Source: recordings kv2-errors and kv2-list.
func noKey(context.Context, *engine.Request, *engine.Fields) (*engine.Response, error) {
	return notFound("Non-listing operations on the root of a K/V v2 mount are not supported."), nil
}

// commands are the words of the command line for operations.
var commands = map[engine.Operation]string{engine.Create: "put", engine.Update: "put", engine.Read: "get"}

// unknownPath answers clients that speak version 1. They know the first words.
func unknownPath(_ context.Context, r *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	command, renamed := commands[r.Operation]
	if !renamed {
		command = string(r.Operation)
	}
	return notFound("Invalid path for a versioned K/V secrets engine: this mount is version 2, whose paths begin with data/, metadata/ and so on. " +
		"On the command line, use 'kv " + command + "' for this operation."), nil
}

func notFound(warning string) *engine.Response {
	resp := &engine.Response{Status: statusNotFound}
	resp.Warn(warning)
	return resp
}

// statusNotFound is for answers that say that nothing is there, and more.
const statusNotFound = 404

// view reads from a mount. Where fn meets a value of version 1 it runs again in a transaction that may write.
func (e *Engine) view(ctx context.Context, r *engine.Request, fn func(tree) error) error {
	err := e.store.View(ctx, func(tx *store.Tx) error {
		return fn(tree{Tx: tx, space: r.Mount.UUID})
	})
	if errors.Is(err, errPlain) {
		return e.update(ctx, r, fn)
	}
	return err
}

func (e *Engine) update(ctx context.Context, r *engine.Request, fn func(tree) error) error {
	return e.store.Update(ctx, func(tx *store.Tx) error {
		if err := e.demandLive(tx, r.Mount.UUID); err != nil {
			return err
		}
		return fn(tree{Tx: tx, space: r.Mount.UUID, writes: true})
	})
}

// exists tells create from update: is there a key, even if it has no versions?
func (e *Engine) exists(ctx context.Context, r *engine.Request, f *engine.Fields) (bool, error) {
	found, err := values{store: e.store}.exists(ctx, r.Mount.UUID, f.Text("path"))
	if err != nil {
		return false, fmt.Errorf("look for a key: %w", err)
	}
	return found, nil
}
