package database

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"leasehold/internal/errs"
	"leasehold/lease"
	"leasehold/plugins"
)

// The comparison of a database's users with the store's leases goes on while users come and go. What keeps it from ever taking a
// user for an orphan that is none is the order of things:
//
//   - A lease is on record before its user is made, until after its user was seen to be gone. So when a user was in the
//     catalogue, and afterwards no lease names it, and afterwards it is still in the catalogue, then its lease went
//     without it.
//   - It is the same user only if it has the same mark, instant included; another of its name may have been made meanwhile.
//   - The user of a static role is spared, whoever made it.
//   - A lease may be on any connection that leads to the same server, so one of this store's users is looked for among all
//     leases of this store before it counts as an orphan.
//
// Missing users are told likewise: the lease was active before its user was not in the catalogue, and is active afterwards. A
// revocation ends that state first.
//
// Memory is that of the database's marked users (some hundred bytes each) and of a page of leases.

const (
	// censusTimeout bounds one question to a database's catalogue.
	censusTimeout = time.Minute

	// namesAtOnce is how many names such a question holds at most.
	namesAtOnce = 1000
)

// errNoMarks is the answer of a plugin that has no marks.
var errNoMarks = &plugins.Error{Op: "list users", Class: plugins.Permanent, Err: errors.New("the plugin does not mark users")}

// findings are what a comparison has found.
type findings struct {
	at       time.Time
	users    int // with this store's mark
	leases   int // active, on this connection
	unmarked int // users of those leases without a mark

	orphans  []orphan // the first of them, by name
	missing  []lost   // the first of them, by age of the lease
	foreign  []foreign
	warnings []string

	orphanCount, missingCount, foreignCount int

	orphanNames []string // of all, sorted
}

// orphan is a user with this store's mark that no lease of this store names.
type orphan struct {
	plugins.Account
	mark    mark
	at      *place
	removed bool
	failure string // why it could not be removed; empty: it was, or it was not asked for
}

// lost is an active lease without its user.
type lost struct {
	lease.Record
	name string
}

// foreign is a user that looks like one of ours.
type foreign struct {
	plugins.Account
	reason string
}

// place is a database: where the connection leads now, or where it led before and leases were left.
type place struct {
	connection *connection
	marked     map[string]uint64 // hashes of the marks of this store's users that no lease was found for yet, by name
	failed     error             // it could not be asked
}

// comparison is one run.
type comparison struct {
	findings
	e       *Engine
	mount   string
	name    string // of the connection
	limit   int    // of each list
	present *place
	former  []*place
	shape   *regexp.Regexp      // of names made here; nil: they have none
	alike   map[string]struct{} // at present, without a mark, of that shape, and no lease was found for yet
	made    map[string]bool     // connections of this store that the marks name, by their ids
	seed    maphash.Seed
}

// compare compares the users of a connection's database with the leases. limit bounds each list.
//
// Errors: Unavailable (the database refused or did not answer).
func (e *Engine) compare(ctx context.Context, c *connection, limit int) (*comparison, error) {
	cmp := &comparison{
		e: e, mount: c.mount, name: c.name, limit: limit, present: &place{connection: c},
		alike: map[string]struct{}{}, made: map[string]bool{}, seed: maphash.MakeSeed(),
	}
	retired, err := e.queryConnections(ctx, `mount = $1 AND retired = 1`, c.mount)
	if err != nil {
		return nil, err
	}
	for _, former := range retired {
		if name, _, aside := strings.Cut(former.name, asideMark); aside && name == c.name {
			cmp.former = append(cmp.former, &place{connection: former})
		}
	}
	for _, step := range []func(context.Context) error{cmp.census, cmp.walk, cmp.spare, cmp.list} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return cmp, nil
}

func (c *comparison) places() []*place { return append([]*place{c.present}, c.former...) }

// accounts asks a database for users.
func (e *Engine) accounts(ctx context.Context, c *connection, names []string, each func(plugins.Account)) error {
	ctx, done := context.WithTimeoutCause(ctx, censusTimeout, errSlow)
	defer done()
	return e.call(ctx, c, false, func(ctx context.Context, db plugins.Database) error {
		marker, ok := db.(plugins.Marker)
		if !ok {
			return errNoMarks
		}
		return marker.Accounts(ctx, names, each)
	})
}

// named asks for users by their names, some at a time.
func (e *Engine) named(ctx context.Context, c *connection, names []string, each func(plugins.Account)) error {
	for some := range slices.Chunk(names, namesAtOnce) {
		if err := e.accounts(ctx, c, some, each); err != nil {
			return err
		}
	}
	return nil
}

// census reads the catalogues.
func (c *comparison) census(ctx context.Context) error {
	at := c.present
	if err := c.open(ctx, at); err != nil {
		return err
	}
	if err := c.e.accounts(ctx, at.connection, nil, c.note); err != nil {
		return err
	}
	for _, at := range c.former {
		err := c.open(ctx, at)
		if err == nil {
			err = c.e.accounts(ctx, at.connection, nil, func(a plugins.Account) { c.noteFormer(at, a) })
		}
		if err := c.excuse(at, err); err != nil {
			return err
		}
	}
	return nil
}

// excuse leaves a former address out that cannot be asked any more. Nothing is known of the users there, then.
func (c *comparison) excuse(at *place, err error) error {
	if err == nil || at == c.present {
		return err
	}
	at.marked, at.failed = nil, err
	c.warnings = append(c.warnings, "a former address of the connection, where leases were left, cannot be asked: users there were not compared")
	return nil
}

// open makes the place ready to be asked.
func (c *comparison) open(ctx context.Context, at *place) (err error) {
	at.marked = map[string]uint64{}
	if at.connection, err = c.e.settle(ctx, at.connection); err != nil || at != c.present {
		return err
	}
	pool, err := c.e.acquire(at.connection)
	if err != nil {
		return err
	}
	defer c.e.pools.release(pool)
	c.shape = pool.names.shape()
	return nil
}

// note sorts a user of the present database.
func (c *comparison) note(a plugins.Account) {
	m, ok := readMark(a.Mark)
	switch {
	case ok && m.store == c.e.storeName():
		c.users++
		c.present.marked[a.Name] = c.hash(a.Mark)
		c.made[id(m.mount, m.connection)] = true
	case ok:
		c.addForeign(a, "it was made by another Leasehold: its mark names the store "+m.store)
	case a.Mark != "":
		c.addForeign(a, "its mark cannot be read")
	case a.Name == c.present.connection.settings.text("username"):
	case c.shape != nil && c.shape.MatchString(a.Name):
		c.alike[a.Name] = struct{}{}
	}
}

// noteFormer sorts a user of a former address. It may lead to the same database as the present one.
func (c *comparison) noteFormer(at *place, a plugins.Account) {
	m, ok := readMark(a.Mark)
	if !ok || m.store != c.e.storeName() || c.present.marked[a.Name] == c.hash(a.Mark) {
		return
	}
	c.users++
	at.marked[a.Name] = c.hash(a.Mark)
	c.made[id(m.mount, m.connection)] = true
}

func (c *comparison) addForeign(a plugins.Account, reason string) {
	c.foreignCount++
	if len(c.foreign) < c.limit {
		c.foreign = append(c.foreign, foreign{Account: a, reason: reason})
	}
}

// hash is never zero.
func (c *comparison) hash(mark string) uint64 { return maphash.String(c.seed, mark) | 1 }

// walk crosses the users off that leases name: by this connection's leases, by those of the other connections that users say
// they were made on, and, when users are left, by all.
func (c *comparison) walk(ctx context.Context) error {
	targets, err := c.e.leases.Targets(ctx, Kind)
	if err != nil {
		return err
	}
	var own, made, rest []lease.Target
	for _, t := range targets {
		name, _, _ := strings.Cut(t.Name, asideMark)
		switch {
		case t.MountUUID == c.mount && name == c.name:
			own = append(own, t)
		case c.made[id(t.MountUUID, name)]:
			made = append(made, t)
		default:
			rest = append(rest, t)
		}
	}
	for _, t := range own {
		if err := c.e.leases.Walk(ctx, t, func(page []lease.Record) error { return c.visitOwn(ctx, page) }); err != nil {
			return err
		}
	}
	if c.suspects() > 0 || len(c.alike) > 0 {
		if err := c.crossOffBy(ctx, made); err != nil {
			return err
		}
	}
	if err := c.confirm(ctx); err != nil || c.suspects() == 0 {
		return err
	}
	if err := c.crossOffBy(ctx, rest); err != nil {
		return err
	}
	return c.confirm(ctx)
}

func (c *comparison) suspects() (n int) {
	for _, at := range c.places() {
		n += len(at.marked)
	}
	return n
}

func (c *comparison) crossOffBy(ctx context.Context, targets []lease.Target) error {
	return c.e.eachUser(ctx, targets, func(name string) {
		for _, at := range c.places() {
			delete(at.marked, name)
		}
		delete(c.alike, name)
	})
}

// eachUser calls fn with the names that the leases of the targets hold.
func (e *Engine) eachUser(ctx context.Context, targets []lease.Target, fn func(name string)) error {
	for _, t := range targets {
		err := e.leases.Walk(ctx, t, func(page []lease.Record) error {
			for _, r := range page {
				name, err := userOf(r)
				if err != nil {
					return err
				}
				fn(name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// userOf is the user that a lease is about.
func userOf(r lease.Record) (string, error) {
	var p payload
	if err := decodeJSON(r.Payload, &p); err != nil {
		return "", fmt.Errorf("decode the payload of lease %s: %w", r.ID, err)
	}
	return p.User, nil
}

// visitOwn crosses the users of a page of this connection's leases off, and looks for those that were not in the catalogue.
func (c *comparison) visitOwn(ctx context.Context, page []lease.Record) error {
	var absent []lost
	for _, r := range page {
		name, err := userOf(r)
		if err != nil {
			return err
		}
		found := false
		for _, at := range c.places() {
			_, here := at.marked[name]
			found = found || here
			delete(at.marked, name)
		}
		delete(c.alike, name)
		if r.State != lease.Active {
			continue
		}
		c.leases++
		if !found {
			absent = append(absent, lost{Record: r, name: name})
		}
	}
	return c.lookFor(ctx, absent)
}

// lookFor asks the databases for users of active leases. They may have been made since the catalogue was read, or have no mark.
func (c *comparison) lookFor(ctx context.Context, absent []lost) error {
	for _, at := range c.places() {
		if len(absent) == 0 {
			return nil
		}
		var names []string
		for _, l := range absent {
			if at == c.present || l.Target == at.connection.name {
				names = append(names, l.name)
			}
		}
		found := map[string]bool{}
		if at.failed == nil {
			err := c.e.named(ctx, at.connection, names, func(a plugins.Account) {
				found[a.Name] = true
				if _, ok := readMark(a.Mark); !ok {
					c.unmarked++
				}
			})
			if err := c.excuse(at, err); err != nil {
				return err
			}
		}
		absent = slices.DeleteFunc(absent, func(l lost) bool {
			return found[l.name] || at.failed != nil && l.Target == at.connection.name // it may be there
		})
	}
	for _, l := range absent {
		// The catalogue did not have it: if the lease is still active, that was not our doing.
		now, err := c.e.leases.Lookup(ctx, l.ID)
		switch {
		case errs.CodeOf(err) == errs.Invalid:
			continue
		case err != nil:
			return err
		case now.State != lease.Active:
			continue
		}
		c.missingCount++
		if len(c.missing) < c.limit {
			c.missing = append(c.missing, l)
		}
	}
	return nil
}

// confirm looks at the suspects again: those that are gone, or are not the same any more, are none.
func (c *comparison) confirm(ctx context.Context) error {
	for _, at := range c.places() {
		same := make(map[string]uint64, len(at.marked))
		err := c.e.named(ctx, at.connection, slices.Collect(maps.Keys(at.marked)), func(a plugins.Account) {
			if hash := c.hash(a.Mark); at.marked[a.Name] == hash {
				same[a.Name] = hash
			}
		})
		if at.marked = same; err != nil {
			if err := c.excuse(at, err); err != nil {
				return err
			}
		}
	}
	same := make(map[string]struct{}, len(c.alike))
	err := c.e.named(ctx, c.present.connection, slices.Collect(maps.Keys(c.alike)), func(a plugins.Account) {
		if a.Mark == "" {
			same[a.Name] = struct{}{}
		}
	})
	c.alike = same
	return err
}

// spare crosses the users of static roles off: an operator may have made a static role of a user that a lease left behind.
func (c *comparison) spare(ctx context.Context) error {
	suspects := maps.Clone(c.alike)
	for _, at := range c.places() {
		for name := range at.marked {
			suspects[name] = struct{}{}
		}
	}
	static, err := c.e.staticUsers(ctx, slices.Collect(maps.Keys(suspects)))
	if err != nil {
		return err
	}
	for _, name := range static {
		delete(c.alike, name)
		for _, at := range c.places() {
			delete(at.marked, name)
		}
	}
	return nil
}

// list makes lists of what is left.
func (c *comparison) list(ctx context.Context) error {
	for _, at := range c.places() {
		names := slices.Sorted(maps.Keys(at.marked))
		first := names[:min(len(names), c.limit)]
		err := c.e.named(ctx, at.connection, first, func(a plugins.Account) {
			if m, ok := readMark(a.Mark); ok && c.hash(a.Mark) == at.marked[a.Name] {
				c.orphans = append(c.orphans, orphan{Account: a, mark: m, at: at})
				c.orphanNames = append(c.orphanNames, a.Name)
			}
		})
		if err := c.excuse(at, err); err != nil {
			return err
		}
		c.orphanNames = append(c.orphanNames, names[len(first):]...)
	}
	slices.Sort(c.orphanNames)
	c.orphanCount = len(c.orphanNames)
	slices.SortFunc(c.orphans, func(a, b orphan) int { return strings.Compare(a.Name, b.Name) })
	c.orphans = c.orphans[:min(len(c.orphans), c.limit)]

	names := slices.Sorted(maps.Keys(c.alike))
	first := names[:min(len(names), c.limit)]
	err := c.e.named(ctx, c.present.connection, first, func(a plugins.Account) {
		c.addForeign(a, "it has no mark, but a name like those made here: it was made by hand, or before users were marked")
	})
	c.foreignCount += len(names) - len(first)
	slices.SortFunc(c.foreign, func(a, b foreign) int { return strings.Compare(a.Name, b.Name) })
	return err
}
