package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/lease"
	"leasehold/plugins"
	"leasehold/store"
)

// Kind is the engine's mount type, and the kind of its leases.
const Kind = "database"

// Config makes an Engine.
type Config struct {
	Store   *store.Store              // required
	Leases  *lease.Manager            // required
	Drivers map[string]plugins.Driver // by plugin name, as clients write it in plugin_name

	// External makes the driver of a plugin that is not among Drivers, whether or not it is registered: that is seen when it is used.
	// Registered says whether it is. version is empty or one such as v1.2.3. Nil: there are none.
	External   func(name, version string) plugins.Driver
	Registered func(ctx context.Context, name, version string) (bool, error)

	// PasswordPolicy finds a password policy by its name. Its errors are shown when they are *errs.Error. Nil: there
	// are none.
	PasswordPolicy func(ctx context.Context, name string) (generate func() (secret.Text, error), err error)

	// CreateTimeout is how long a call to a database may take that a client waits for, waiting for a free slot
	// included. 0: 15 s.
	CreateTimeout time.Duration

	// OnReconciled hears what each comparison of a connection's users with the leases has found, soon afterwards, also when
	// another node made it, and of the last one when the node starts; zeros when the connection is gone. mount is the mount's
	// UUID. It may be called by several goroutines at once. Nil: nobody listens.
	OnReconciled func(mount, connection string, orphans, missing, foreign int)

	// OnRotated hears of each statement that was to rotate a static role, how long it took, and how it or the login with the new
	// password failed: the error wraps lease.ErrUnreachable or lease.ErrUnknown, or is another: the database answered no. It is
	// called like OnReconciled.
	OnRotated func(mount, connection string, took time.Duration, err error)

	// Node is the number of this process among those that share the store; 0: it has none at present. Nil: there is only one.
	Node func() int64

	Clock clock.Clock  // nil: the system's
	Log   *slog.Logger // nil: nothing is logged
}

// Engine serves all mounts of its kind. Safe for concurrent use. Its state is open pools, and they can be thrown away
// at any time.
type Engine struct {
	*engine.Router
	store          *store.Store
	leases         *lease.Manager
	drivers        map[string]plugins.Driver
	external       func(name, version string) plugins.Driver
	registered     func(ctx context.Context, name, version string) (bool, error)
	passwordPolicy func(ctx context.Context, name string) (func() (secret.Text, error), error)
	timeout        time.Duration
	clock          clock.Clock
	log            *slog.Logger
	pools          *pools
	reconciled     func(mount, connection string, orphans, missing, foreign int)
	rounds         rounds
	onRotated      func(mount, connection string, took time.Duration, err error)
	node           func() int64
	turns          turns
	keyTurns       chan struct{} // holds an item for each key that is being made
}

// New makes the engine and registers it with the lease manager.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil || cfg.Leases == nil {
		return nil, errors.New("database: Store and Leases are required")
	}
	if cfg.CreateTimeout == 0 {
		cfg.CreateTimeout = 15 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnReconciled == nil {
		cfg.OnReconciled = func(string, string, int, int, int) {}
	}
	if cfg.OnRotated == nil {
		cfg.OnRotated = func(string, string, time.Duration, error) {}
	}
	if cfg.Node == nil {
		cfg.Node = func() int64 { return 0 }
	}
	if cfg.External == nil || cfg.Registered == nil {
		cfg.External, cfg.Registered = nil, func(context.Context, string, string) (bool, error) { return false, nil }
	}
	e := &Engine{
		store: cfg.Store, leases: cfg.Leases, drivers: cfg.Drivers, external: cfg.External, registered: cfg.Registered, passwordPolicy: cfg.PasswordPolicy,
		timeout: cfg.CreateTimeout, clock: cfg.Clock, log: cfg.Log, pools: newPools(),
		reconciled: cfg.OnReconciled, rounds: rounds{told: map[string]int64{}},
		onRotated: cfg.OnRotated, node: cfg.Node, turns: turns{busy: map[string]context.CancelFunc{}, parked: map[string]parked{}},
		keyTurns: newKeyTurns(),
	}
	e.Router = engine.NewRouter(append(append(e.reconcilePaths(), e.staticPaths()...),
		&engine.Path{
			Pattern: "config", Ops: engine.Ops{engine.List: e.listConnections},
			Help: "List the configured connections.",
		},
		&engine.Path{
			Pattern: "config/:name", Fields: connectionFields, Open: true, Exists: e.connectionExists,
			Ops:  engine.Ops{engine.Update: e.writeConnection, engine.Read: e.readConnection, engine.Delete: e.deleteConnection},
			Help: "Configure a connection to a database.",
		},
		&engine.Path{
			Pattern: "reset/:name", Fields: nameField, Ops: engine.Ops{engine.Update: e.resetConnection},
			Help: "Close a connection's pool and connect again.",
		},
		&engine.Path{
			Pattern: "reload/:plugin_name", Fields: engine.Schema{"plugin_name": engine.Text}, Ops: engine.Ops{engine.Update: e.reloadPlugin},
			Help: "Close the pools of all connections of a plugin and connect again.",
		},
		&engine.Path{
			Pattern: "rotate-root/:name", Fields: nameField, Ops: engine.Ops{engine.Update: e.rotateRoot},
			Help: "Change the password of the user that a connection logs in as.",
		},
		&engine.Path{
			Pattern: "roles", Fields: engine.Schema{"after": engine.Text, "limit": engine.Int}, Ops: engine.Ops{engine.List: e.listRoles},
			Help: "List the roles.",
		},
		&engine.Path{
			Pattern: "roles/:name", Fields: roleFields, InURL: []string{"verify"}, Exists: e.roleExists,
			Ops:  engine.Ops{engine.Update: e.writeRole, engine.Read: e.readRole, engine.Delete: e.deleteRole},
			Help: "Configure a role: how its users are made, and for how long.",
		},
		&engine.Path{
			Pattern: "check/:name", Fields: nameField, Ops: engine.Ops{engine.Update: e.checkRole},
			Help: "Try a role: make a user by it, log in, look at its rights, renew it, and remove it again.",
		},
		&engine.Path{
			Pattern: "creds/:name", Fields: nameField, Ops: engine.Ops{engine.Read: e.readCredentials},
			Help: "Make a new user by a role.",
		},
	)...)
	cfg.Leases.Register(Kind, e)
	return e, nil
}

var (
	_ engine.Engine    = (*Engine)(nil)
	_ engine.Describer = (*Engine)(nil)
	_ engine.Unmounter = (*Engine)(nil)
	_ engine.Duty      = (*Engine)(nil)
)

var nameField = engine.Schema{"name": engine.Text}

// id is the key of a mount's row, and what its sealed cells are bound to.
func id(mountUUID, name string) string { return mountUUID + "/" + name }

// Unmount implements [engine.Unmounter].
func (e *Engine) Unmount(ctx context.Context, m engine.Mount) error {
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`DELETE FROM database_connections WHERE mount = $1`, m.UUID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM database_roles WHERE mount = $1`, m.UUID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM database_rotations WHERE mount = $1`, m.UUID); err != nil {
			return err
		}
		// '0' follows '/'.
		if _, err := tx.Exec(`DELETE FROM database_root_rotations WHERE id > $1 AND id < $2`, id(m.UUID, ""), m.UUID+"0"); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM database_reconciles WHERE id > $1 AND id < $2`, id(m.UUID, ""), m.UUID+"0")
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the rows of mount %s: %w", m.UUID, err)
	}
	e.pools.forgetAll(id(m.UUID, ""))
	return nil
}

// RunOnce implements [engine.Duty]: it removes retired connections that no lease needs any more, closes pools of what another node has
// deleted or changed, and begins to rotate static roles and connections' own passwords, and to reconcile connections, that are due. It
// costs an index look-up for each connection, and a look at their versions, when there is nothing to do.
func (e *Engine) RunOnce(ctx context.Context) error {
	return errors.Join(e.removeRetired(ctx), e.closeStale(ctx), e.rotateDue(ctx), e.rotateRootsDue(ctx), e.reconcileDue(ctx))
}

// Wait returns when what RunOnce has begun is over.
func (e *Engine) Wait() {
	e.rounds.work.Wait()
	e.turns.work.Wait()
}

func (e *Engine) removeRetired(ctx context.Context) error {
	retired, err := e.retired(ctx)
	if err != nil {
		return err
	}
	for _, c := range retired {
		if err := e.remove(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// closeStale closes this node's pools whose connections are deleted, or have another version: a database lets in only so many.
func (e *Engine) closeStale(ctx context.Context) error {
	open := e.pools.versions()
	if len(open) == 0 {
		return nil
	}
	present := map[string]string{}
	err := e.store.View(ctx, func(tx *store.Tx) error { // one round trip, however many pools there are
		rows, err := tx.Query(`SELECT id, version FROM database_connections`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, version string
			if err := rows.Scan(&id, &version); err != nil {
				return err
			}
			present[id] = version
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("look for stale pools: %w", err)
	}
	for id, version := range open {
		if present[id] != version {
			e.pools.forgetVersion(id, version)
		}
	}
	return nil
}

// Close breaks off what RunOnce has begun and waits for it, then closes all pools once their present users are done. The engine
// opens new ones when it is asked again.
func (e *Engine) Close() {
	e.rounds.cancel()
	e.turns.cancel()
	e.Wait()
	e.pools.forgetAll("")
}

// call runs one call to a connection's database: it waits for a slot, then calls. No lock and no transaction is held
// meanwhile. Urgent calls go first and have the engine's deadline, since a client waits for them; for revocations the
// deadline of the lease manager counts alone. Errors are what [targetError] makes of them.
func (e *Engine) call(ctx context.Context, c *connection, urgent bool, fn func(ctx context.Context, db plugins.Database) error) error {
	p, err := e.acquire(c)
	if err != nil {
		return err
	}
	defer e.pools.release(p)
	return e.callPool(ctx, p, urgent, fn)
}

func (e *Engine) callPool(ctx context.Context, p *pool, urgent bool, fn func(ctx context.Context, db plugins.Database) error) error {
	if urgent {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, e.timeout, errSlow)
		defer done()
	}
	probe := func() error {
		ctx, done := context.WithTimeoutCause(ctx, probeTimeout, errSlow)
		defer done()
		return p.db.Verify(ctx)
	}
	if err := p.breaker.pass(probe); err != nil {
		return err
	}
	if err := p.gate.enter(ctx, urgent); err != nil {
		return errs.Framed(errs.Unavailable, "the database is busy: no free connection in time").
			Because(fmt.Errorf("%w: %w", lease.ErrUnreachable, err))
	}
	defer p.gate.leave()
	if err := p.breaker.pass(probe); err != nil { // it may have gone down while we waited
		return err
	}
	err := fn(ctx, p.db)
	p.breaker.watch(ctx, err)
	return targetError(err)
}

var errSlow = errors.New("the database did not answer in time")

// targetError is a plugin's error as clients and the lease manager need it: the text for the one, the class for the other.
func targetError(err error) error {
	if err == nil {
		return nil
	}
	class := error(nil)
	switch plugins.ClassOf(err) {
	case plugins.Unreachable:
		class = lease.ErrUnreachable
	case plugins.Unknown:
		class = lease.ErrUnknown
	case plugins.Refused, plugins.Permanent:
	}
	var told *plugins.Error
	if !errors.As(err, &told) { // not the plugin's word: its text is not known to be free of secrets
		return errs.Framed(errs.Unavailable, "the database could not be used").Because(errors.Join(class, err))
	}
	return errs.Framed(errs.Unavailable, "%s", told).Because(class)
}
