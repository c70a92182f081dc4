package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"leasehold/auth"
	"leasehold/auth/token"
	"leasehold/broker"
	"leasehold/broker/sys"
	"leasehold/database"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/kvcompat"
	"leasehold/lease"
	"leasehold/node"
	"leasehold/plugins"
	"leasehold/plugins/mssql"
	"leasehold/plugins/mysql"
	"leasehold/plugins/postgres"
	"leasehold/server/config"
	"leasehold/store"
	pgstore "leasehold/store/postgres"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
	"leasehold/transit"
)

// drivers are the target databases that this program speaks to, by plugin_name.
var drivers = map[string]plugins.Driver{
	"postgresql-database-plugin":   postgres.Driver{},
	"mysql-database-plugin":        mysql.Driver{},
	"mysql-aurora-database-plugin": mysql.Driver{},
	"mysql-rds-database-plugin":    mysql.Driver{},
	"mysql-legacy-database-plugin": mysql.Driver{Legacy: true},
	"mssql-database-plugin":        mssql.Driver{},
}

// parts are the packages, wired together.
type parts struct {
	log       *slog.Logger
	measures  *measures
	store     *store.Store
	leases    *lease.Manager
	nodes     *node.Registry
	broker    *broker.Broker
	seals     seal.Seals
	database  *database.Engine
	transit   *transit.Engine
	engines   map[string]engine.Engine // by type of mount
	methods   map[string]engine.Engine // by type of auth method
	catalog   *catalog
	tokenWork chan struct{} // receives when tokens made something due
}

// compose opens the store and makes the parts. Two of them ask others that are made later, so they are handed functions
// that look there when they are called: nothing is called before compose returns.
func compose(ctx context.Context, cfg *config.Config, opts Options, now clock.Clock, log *logger) (*parts, error) {
	p := &parts{log: log.Logger, tokenWork: make(chan struct{}, 1)}
	var err error
	if p.measures, err = newMeasures(cfg.Telemetry, hostname(), now); err != nil {
		return nil, err
	}
	if err := p.openStore(ctx, cfg, now); err != nil {
		p.measures.Close()
		return nil, err
	}
	if err := p.wire(cfg, opts, now, log.loggers); err != nil {
		p.measures.Close()
		return nil, errors.Join(err, p.store.Close())
	}
	p.measure(cfg.Telemetry.UsagePeriod)
	return p, nil
}

// openStore opens the storage of the configuration: a PostgreSQL database, an SQLite file, or a store that is not kept.
func (p *parts) openStore(ctx context.Context, cfg *config.Config, now clock.Clock) error {
	dialect, err := dialectOf(cfg.Storage)
	if err != nil {
		return err
	}
	for try := int64(0); ; try++ {
		p.store, err = store.Open(ctx, store.Config{
			Dialect: dialect, Clock: now, Migrations: Migrations(), Observer: p.measures.storeObserver(),
		})
		if err == nil || try >= cfg.Storage.ConnectRetries || !errors.Is(err, store.ErrUnreachable) {
			return err
		}
		p.log.Warn("the storage cannot be reached yet", "error", err, "tries_left", cfg.Storage.ConnectRetries-try)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(connectPause):
		}
	}
}

// connectPause is the time between two tries to reach the storage at the start.
const connectPause = time.Second

// dialectOf is the database of a storage. An SQLite file's directory is made.
func dialectOf(s config.Storage) (store.Dialect, error) {
	if s.Shared() {
		return pgstore.New(pgstore.Config{
			URL: s.URL, Schema: s.Schema, MaxConns: int(s.MaxConns), MaxIdleConns: int(s.MaxIdleConns),
		}), nil
	}
	file := s.File()
	if file != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("make the storage directory: %w", err)
		}
	}
	return sqlite.New(sqlite.Config{Path: file}), nil
}

// Migrations are the tables of every package that keeps some.
func Migrations() []store.Migration {
	return slices.Concat(seal.Migrations(), broker.Migrations(), auth.Migrations(), lease.Migrations(), database.Migrations(),
		kvcompat.Migrations(), node.Migrations(), transit.Migrations())
}

func (p *parts) wire(cfg *config.Config, opts Options, now clock.Clock, levels *loggers) error {
	var err error
	if p.seals, err = newSeals(cfg, opts, p.log); err != nil {
		return err
	}
	barrier := seal.New(p.store, p.log)
	barrier.Use(p.seals)
	mountLive := func(tx *store.Tx, mountUUID string) (bool, error) { return p.broker.MountLive(tx, mountUUID) }
	keyValues, err := kvcompat.New(kvcompat.Config{Store: p.store, MountLive: mountLive})
	if err != nil {
		return err
	}
	cubbyhole := kvcompat.NewCubbyhole(p.store)
	p.transit, err = transit.New(transit.Config{Store: p.store, MountLive: mountLive, Next: nextFiring, Log: p.log})
	if err != nil {
		return err
	}
	tokens, err := auth.New(auth.Config{
		Store: p.store,
		DueLeases: func(tx *store.Tx, token int64, limit int) (int, error) {
			return p.leases.DueByToken(tx, token, limit)
		},
		Ended: cubbyhole.Forget,
		Wake:  p.wakeForTokens,
	})
	if err != nil {
		return err
	}
	p.nodes, err = node.New(node.Config{
		Store: p.store, Hostname: hostname(), APIAddress: cfg.URL(), ClusterAddress: cfg.ClusterAddr, Version: opts.Version,
		Died: func(tx *store.Tx, node int64) error {
			return errors.Join(p.leases.Died(tx, node), p.database.Died(tx, node))
		},
		Claimants: func(tx *store.Tx) ([]int64, error) {
			leases, err := p.leases.Claimants(tx)
			if err != nil {
				return nil, err
			}
			rotations, err := p.database.Claimants(tx)
			return append(leases, rotations...), err
		},
		Log: p.log,
	})
	if err != nil {
		return err
	}
	// What this node claims and intends carries its number from the first moment on.
	barrier.BeforeOpen(p.nodes.Join)
	p.leases, err = lease.New(lease.Config{
		Store:     p.store,
		Log:       p.log.With(loggerKey, "lease"),
		Alive:     tokens.Alive,
		Node:      p.nodes.Self,
		Doubt:     p.nodes.Doubt,
		MountLive: mountLive,
		MountTTL: func(mountUUID string) (def, max time.Duration) {
			return p.broker.MountTTL(mountUUID)
		},
		Observer: p.measures.leaseObserver(),
	})
	if err != nil {
		return err
	}
	p.catalog = &catalog{
		broker: func() *broker.Broker { return p.broker }, directory: cfg.PluginDirectory, log: p.log.With(loggerKey, "plugin"),
	}
	p.database, err = database.New(database.Config{
		Store:      p.store,
		Leases:     p.leases,
		Drivers:    drivers,
		External:   p.catalog.driver,
		Registered: p.catalog.registered,
		PasswordPolicy: func(ctx context.Context, name string) (func() (secret.Text, error), error) {
			return sys.PasswordGenerator(ctx, p.broker, name)
		},
		OnReconciled: p.measures.onReconciled,
		OnRotated:    p.measures.onRotated,
		Node:         p.nodes.Self,

		Clock: now,
		Log:   p.log.With(loggerKey, "database"),
	})
	if err != nil {
		return err
	}
	tokenEngine, err := token.New(token.Config{
		Tokens: tokens,
		PolicyExists: func(_ context.Context, name string) (bool, error) {
			_, found := p.broker.Policy(name)
			return found, nil
		},
		RenewLogin: func(ctx context.Context, path string, l *engine.Login) (engine.Mount, error) {
			return p.broker.RenewLogin(ctx, path, l)
		},
	})
	if err != nil {
		return err
	}
	p.engines = map[string]engine.Engine{
		database.Kind: p.database, kvcompat.Kind: keyValues, kvcompat.OldKind: keyValues, kvcompat.CubbyholeKind: cubbyhole,
		transit.Kind: p.transit,
	}
	p.methods = map[string]engine.Engine{"token": tokenEngine}
	p.broker, err = broker.New(broker.Config{
		Store:       p.store,
		Barrier:     barrier,
		Tokens:      tokens,
		Leases:      p.leases,
		Engines:     p.engines,
		AuthMethods: p.methods,
		Cubbyhole:   cubbyhole,
		System:      func(b *broker.Broker) engine.Engine { return sys.New(b, p.process(levels, opts.Version)) },
		DefaultTTL:  cfg.DefaultLeaseTTL,
		MaxTTL:      cfg.MaxLeaseTTL,
		ClusterName: cfg.ClusterName,
		APIAddr:     cfg.URL(),
		ClusterAddr: cfg.ClusterAddr,
		Nodes:       p.activeNodes,
		Version:     opts.Version,
		Sanitized:   cfg.Sanitized(),
		Settings: broker.Settings{
			APIAudit:                    cfg.APIAudit,
			AuditPrefix:                 cfg.AuditPrefixing,
			UnauthenticatedRekey:        cfg.UnauthenticatedRekey(),
			UnauthenticatedGenerateRoot: cfg.UnauthenticatedGenerateRoot(),
		},
		Clock:    now,
		Observer: p.measures.brokerObserver(),
		Log:      p.log,
	})
	return err
}

// process is what sys/* shows of this process.
func (p *parts) process(levels *loggers, version string) sys.Process {
	return sys.Process{
		Metrics: p.measures.render, InFlight: p.measures.inFlight.List, Monitor: levels.Monitor, Loggers: levels,
		Plugins: p.plugins(version),
	}
}

// hostname is this machine's name, or empty where it has none: it is only shown.
func hostname() string {
	name, _ := os.Hostname()
	return name
}

func (p *parts) wakeForTokens() {
	select {
	case p.tokenWork <- struct{}{}:
	default: // the reaper is called already
	}
}

// opened is called when the store was unsealed, before the client learns of it: dead nodes may have left work that is due.
func (p *parts) opened(context.Context) { p.wakeForTokens() }

// close ends the parts once nothing calls them any more: pools, audit files and keys, the store.
func (p *parts) close() error {
	p.transit.Wait()
	p.database.Close()
	p.broker.SealNow()
	err := p.store.Close()
	p.measures.Close()
	return err
}
