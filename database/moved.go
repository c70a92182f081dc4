package database

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// A connection whose address changes may lead to another database from then on. The users of its leases stay where they
// were made, so the former settings are set aside as a retired connection, and the leases go with it. Whoever looks for
// such a user looks at the present address first: as often as not it is the same database under a new name, and the old
// name leads nowhere.

// asideMark stands in the names of connections set aside. No name that a client gives can hold it.
const asideMark = "@"

// movedWarning tells what was done.
const movedWarning = "the connection's address was changed while there are leases: their users are removed through the new address if they are there, else through the old one, which is kept until the last of these leases has ended"

// address is what tells one database from another: the plugin, and the URL without its password. Where there is no such URL, it is
// whatever setting is called like a part of an address.
func (s settings) address() string {
	if url := s.text("connection_url"); url != "" {
		url, _ = withoutPassword(url)
		return s.PluginName + " " + url
	}
	address := s.PluginName
	for _, name := range slices.Sorted(maps.Keys(s.Details)) {
		if slices.ContainsFunc(addressWords, func(word string) bool { return strings.Contains(strings.ToLower(name), word) }) {
			address += fmt.Sprintf(" %s=%v", name, s.Details[name])
		}
	}
	return address
}

// addressWords are in the names of settings that say where a database is.
var addressWords = []string{"url", "uri", "host", "port", "address", "endpoint", "servers"}

// setAside keeps a row's settings for the leases that were issued under them, when next leads somewhere else. It reports
// whether it did.
func (e *Engine) setAside(tx *store.Tx, next *connection) (bool, error) {
	former, err := findConnection(tx, next.mount, next.name)
	if err != nil || former == nil || former.settings.address() == next.settings.address() {
		return false, err
	}
	leased, err := e.leases.HasTarget(tx, former.mount, former.name)
	if err != nil || !leased {
		return false, err
	}
	aside := *former
	aside.name += asideMark + former.version
	aside.id = id(aside.mount, aside.name)
	if err := aside.insert(tx); err != nil {
		return false, err
	}
	var staged []byte // a rotation that is still to be settled goes along
	if !former.staged.Empty() {
		if staged, err = tx.Seal(stagedCell(aside.id), []byte(former.staged.Reveal())); err != nil {
			return false, err
		}
	}
	_, err = tx.Exec(`UPDATE database_connections SET retired = 1, staged = $1, staged_until = $2 WHERE id = $3`,
		staged, store.Micros(former.stagedUntil), aside.id)
	if err != nil {
		return false, err
	}
	return true, e.leases.RenameTarget(tx, former.mount, former.name, aside.name)
}

// whereabouts is the connection on which a lease's user is to be found.
//
// Errors: Unavailable (the present address cannot be asked: it might be there).
func (e *Engine) whereabouts(ctx context.Context, r lease.Record, l leased) (*connection, error) {
	name, _, aside := strings.Cut(r.Target, asideMark)
	if !aside {
		return l.connection, nil
	}
	present, _, err := e.find(ctx, r.MountUUID, name)
	if err != nil || present == nil || present.retired {
		return l.connection, err
	}
	if present, err = e.settle(ctx, present); err != nil {
		return nil, err
	}
	there := false
	err = e.call(ctx, present, false, func(ctx context.Context, db plugins.Database) error {
		lister, ok := db.(plugins.Lister)
		if !ok {
			return nil
		}
		users, err := lister.Users(ctx, l.User)
		there = slices.Contains(users, l.User)
		return err
	})
	if err != nil {
		return nil, errs.Framed(errs.Unavailable, "look for the user at the connection's new address: %s", errs.From(err).Text).Because(err)
	}
	if there {
		return present, nil
	}
	return l.connection, nil
}

// reach reads what a lease's duties need, and runs fn at the database that has the user. It begins again when the connection
// was changed or its password rotated meanwhile.
func (e *Engine) reach(ctx context.Context, r lease.Record, urgent bool, fn func(ctx context.Context, l leased, db plugins.Database) error) error {
	for attempt := 1; ; attempt++ {
		where, err := e.reachOnce(ctx, r, urgent, fn)
		if err == nil || where == nil || attempt == issueAttempts || !e.overtaken(ctx, where, err) {
			return err
		}
	}
}

// reachOnce is one attempt. It returns the connection that was used, nil when none was found.
func (e *Engine) reachOnce(ctx context.Context, r lease.Record, urgent bool,
	fn func(ctx context.Context, l leased, db plugins.Database) error) (*connection, error) {
	l, err := e.leased(ctx, r)
	if err != nil {
		return nil, err
	}
	where, err := e.whereabouts(ctx, r, l)
	if err != nil {
		return nil, err
	}
	if where == l.connection {
		if where, err = e.settle(ctx, where); err != nil {
			return nil, fmt.Errorf("settle connection %q: %w", r.Target, err)
		}
	}
	return where, e.call(ctx, where, urgent, func(ctx context.Context, db plugins.Database) error { return fn(ctx, l, db) })
}
