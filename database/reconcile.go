package database

import (
	"context"
	"slices"
	"time"

	"leasehold/engine"
	"leasehold/internal/errs"
)

// Reconciling compares a database's own catalogue with the store's leases. It finds
//
//   - orphans: users with this store's mark that no lease names. Whoever has such a login keeps it until it is dropped;
//   - missing users: active leases whose user is not there. Somebody dropped it;
//   - foreign users, which look like ours: marked by another store, or of a name like those made here and without a mark.
//
// Orphans are dropped only when a request asks for it; nothing else is ever changed. reconcile_compare.go says why none of it is
// mistaken while users come and go, reconcile_duty.go when it happens by itself.

const (
	defaultListed = 1000
	maxListed     = 10_000
)

var reconcileFields = engine.Schema{"name": engine.Text, "remove": engine.Bool, "limit": engine.Int}

func (e *Engine) reconcilePaths() []*engine.Path {
	return []*engine.Path{
		{
			Pattern: "reconcile/:name", Fields: reconcileFields, Ops: engine.Ops{engine.Read: e.readReconcile, engine.Update: e.writeReconcile},
			Help: "Compare a database's users with the leases; with remove=true, drop those that no lease names.",
		},
		{
			Pattern: "reconcile/:name/status", Fields: nameField, Ops: engine.Ops{engine.Read: e.readReconcileStatus},
			Help: "Read what the last comparison found, and when the next one is due.",
		},
	}
}

// readReconcile compares and reports.
//
// Errors: Unavailable (no such connection, the database refused or did not answer), Invalid (limit, remove).
func (e *Engine) readReconcile(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	if f.Bool("remove") {
		return nil, errs.New(errs.Invalid, "a read removes nothing: remove=true is for POST or PUT")
	}
	return e.reconcile(ctx, r, f, false)
}

// writeReconcile compares, removes the orphans that it lists if that was asked for, and reports.
//
// Errors: those of readReconcile. That an orphan could not be removed is told beside it.
func (e *Engine) writeReconcile(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	return e.reconcile(ctx, r, f, f.Bool("remove"))
}

func (e *Engine) reconcile(ctx context.Context, r *engine.Request, f *engine.Fields, remove bool) (*engine.Response, error) {
	limit := defaultListed
	if f.Has("limit") {
		limit = f.Int("limit")
	}
	if limit < 1 || limit > maxListed {
		return nil, errs.New(errs.Invalid, "limit must be between 1 and %d", maxListed)
	}
	c, _, err := e.mustFind(ctx, r.Mount.UUID, f.Text("name"))
	if err != nil {
		return nil, err
	}
	found, err := e.compare(ctx, c, limit)
	if err != nil {
		return nil, err
	}
	if remove {
		if err := found.removeOrphans(ctx); err != nil {
			return nil, err
		}
	}
	if err := e.record(context.WithoutCancel(ctx), c.id, outcome{found: found}); err != nil {
		return nil, err
	}
	resp := &engine.Response{Data: found.shown(remove)}
	resp.Warn(found.warnings...)
	return resp, nil
}

// shown is the answer.
func (c *comparison) shown(remove bool) map[string]any {
	data := map[string]any{
		"connection": c.name, "checked_at": wireTime(c.at),
		"user_count": c.users, "lease_count": c.leases, "unmarked_count": c.unmarked,
		"orphan_count": c.orphanCount, "missing_count": c.missingCount, "foreign_count": c.foreignCount,
	}
	orphans, removed := []map[string]any{}, 0
	for _, o := range c.orphans {
		item := map[string]any{
			"name": o.Name, "mark": o.Mark, "role": o.mark.role, "connection": o.mark.connection, "created": wireTime(o.mark.issued),
			"expires": wireTime(o.Expiration), "reason": "no lease of this store names it",
		}
		if remove {
			item["removed"] = o.removed
		}
		if o.removed {
			removed++
		}
		if o.failure != "" {
			item["error"] = o.failure
		}
		orphans = append(orphans, item)
	}
	missing := []map[string]any{}
	for _, l := range c.missing {
		missing = append(missing, map[string]any{
			"lease_id": l.ID, "name": l.name, "created": wireTime(l.IssuedAt), "expires": wireTime(l.ExpiresAt),
			"reason": "the lease is active, and the database has no such user",
		})
	}
	strangers := []map[string]any{}
	for _, u := range c.foreign {
		strangers = append(strangers, map[string]any{"name": u.Name, "mark": u.Mark, "expires": wireTime(u.Expiration), "reason": u.reason})
	}
	data["orphans"], data["missing"], data["foreign"] = orphans, missing, strangers
	if remove {
		data["removed_count"], data["failed_count"] = removed, len(orphans)-removed
	}
	return data
}

// left are the names of the orphans that are still there.
func (c *comparison) left() []string {
	removed := map[string]bool{}
	for _, o := range c.orphans {
		removed[o.Name] = o.removed
	}
	return slices.DeleteFunc(slices.Clone(c.orphanNames), func(name string) bool { return removed[name] })
}

// wireTime is a time of an answer; nil: there is none.
func wireTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
