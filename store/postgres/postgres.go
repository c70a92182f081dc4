package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/store"
)

// Config says where the database is.
type Config struct {
	// URL is a connection URL or a keyword=value string, with everything that libpq knows, PG* variables included. It may
	// name several hosts: the one that takes writes is used, so that a standby may be promoted.
	URL secret.Text
	// Schema is where the tables are, made when it is missing; "": where the connection's search_path leads.
	Schema string
	// MaxConns is how many connections this node opens, half of them for Updates; 0: 20, and at least 4.
	MaxConns int
	// MaxIdleConns is how many of them stay open when idle; 0: all.
	MaxIdleConns int
	// Clock replaces the database's clock, for tests that move time; nil: the database's.
	Clock clock.Clock
}

const (
	// schemaLock is the advisory lock under which nodes migrate: "leasehold" cut to eight bytes.
	schemaLock = int64(0x6c65617365686f6c)

	// A node that stops in the middle of a transaction, or dies without closing its connections, holds locks no longer than
	// this. Nothing is waited for inside a transaction, so a living node never comes near it.
	idleInTransaction = "10000" // milliseconds

	// How long it takes to notice that the network, or the server's machine, is gone.
	connectTimeout = 5 * time.Second
	silence        = 10 * time.Second
)

// New makes the dialect. It connects in store.Open.
func New(cfg Config) store.Dialect {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 20
	}
	return &dialect{cfg}
}

type dialect struct{ cfg Config }

func (d *dialect) Name() string   { return "postgresql" }
func (d *dialect) Embedded() bool { return false }
func (d *dialect) Close() error   { return nil }

func (d *dialect) Open(ctx context.Context) (write, read *sql.DB, err error) {
	cfg, err := d.settings("leasehold")
	if err != nil {
		return nil, nil, err
	}
	updates := max(2, d.cfg.MaxConns/2)
	write, read = d.connect(*cfg, updates), d.connect(*cfg, max(2, d.cfg.MaxConns-updates))
	if err := write.PingContext(ctx); err != nil {
		if !errors.Is(err, store.ErrInUse) {
			err = fmt.Errorf("connect: %w: %w", store.ErrUnreachable, err)
		}
		return nil, nil, errors.Join(err, write.Close(), read.Close())
	}
	return write, read, nil
}

// settings are how each connection is made.
func (d *dialect) settings(application string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(d.cfg.URL.Reveal())
	if err != nil {
		return nil, errors.New("the connection URL of the store cannot be parsed") // err would quote it
	}
	for name, value := range map[string]string{
		"application_name":                    application,
		"idle_in_transaction_session_timeout": idleInTransaction,
	} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	if d.cfg.Schema != "" {
		cfg.RuntimeParams["search_path"] = pgx.Identifier{d.cfg.Schema}.Sanitize()
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	cfg.DialFunc = dial
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return cfg, nil
}

// dial notices within seconds that the other side is gone, as after a cut or a machine's death.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: time.Second, Count: 5}}
	d.Control = limitSilence
	return d.DialContext(ctx, network, address)
}

func (d *dialect) connect(cfg pgx.ConnConfig, connections int) *sql.DB {
	db := stdlib.OpenDB(cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		// Engines that only speak PostgreSQL's protocol may not know these, and do without.
		var refused *pgconn.PgError
		if _, err := conn.Exec(ctx, plainPlans); err != nil && !errors.As(err, &refused) {
			return err
		}
		// An acknowledged commit has to survive, whatever the server's default is.
		if _, err := conn.Exec(ctx, neverOff); err != nil {
			return err
		}
		return d.share(ctx, conn)
	}))
	db.SetMaxOpenConns(connections)
	idle := connections
	if d.cfg.MaxIdleConns > 0 {
		idle = min(idle, max(1, d.cfg.MaxIdleConns/2))
	}
	db.SetMaxIdleConns(idle)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

// plainPlans has every query walk its index, whatever is known about the tables. A sequential scan locks the whole table against
// serialisable writers, a bitmap scan whole pages, and the planner likes both for small tables: in a mix of issues, claims and token
// changes this took collisions from 17 to 7 in a hundred. After many rows came at once the planner, without statistics, sorted a
// million of them to list 256. Where there is no way but the forbidden one, its price makes the server compile the query, 0.2 s for three rows.
const plainPlans = `select set_config(name, 'off', false) from pg_settings
	where name in ('enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'jit')`

// neverOff has commits wait for the disk. Stricter settings are kept.
const neverOff = `select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`

func (d *dialect) Types() map[string]string {
	return map[string]string{
		"BYTES":  "bytea",
		"BIGINT": "bigint",
		"TEXT":   `text collate "C"`, // ordered by bytes, as in SQLite
		"SEQ":    "bigint generated always as identity primary key",
		"STRICT": "",
	}
}

func (d *dialect) ClaimSuffix() string { return "for update skip locked" }

func (d *dialect) Now(ctx context.Context, tx *sql.Tx) (time.Time, error) {
	if d.cfg.Clock != nil {
		return d.cfg.Clock.Now(), nil
	}
	var us int64
	err := tx.QueryRowContext(ctx, `select (extract(epoch from clock_timestamp()) * 1000000)::bigint`).Scan(&us)
	return time.UnixMicro(us), err
}

func (d *dialect) LockSchema(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `select pg_advisory_xact_lock($1)`, schemaLock); err != nil {
		return err
	}
	if d.cfg.Schema == "" {
		return nil
	}
	// Asked first: IF NOT EXISTS, too, needs the privilege to create one.
	var there bool
	if err := tx.QueryRowContext(ctx, `select exists (select 1 from pg_namespace where nspname = $1)`, d.cfg.Schema).Scan(&there); err != nil || there {
		return err
	}
	_, err := tx.ExecContext(ctx, `create schema `+pgx.Identifier{d.cfg.Schema}.Sanitize())
	return err
}

// Retryable says that PostgreSQL broke off the transaction because of another one: serialization_failure,
// deadlock_detected.
func (d *dialect) Retryable(err error) bool {
	switch code(err) {
	case "40001", "40P01":
		return true
	}
	return false
}

// Conflict says unique_violation.
func (d *dialect) Conflict(err error) bool { return code(err) == "23505" }

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
