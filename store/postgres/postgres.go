package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	// URL is a connection URL or a keyword=value string, with everything that libpq knows, PG* variables included.
	URL secret.Text
	// MaxConns is how many connections this node opens, half of them for Updates; 0: 20, and at least 4.
	MaxConns int
	// Clock replaces the database's clock, for tests that move time; nil: the database's.
	Clock clock.Clock
}

const (
	// schemaLock is the advisory lock under which nodes migrate: "leasehold" cut to eight bytes.
	schemaLock = int64(0x6c65617365686f6c)

	// A node that dies without closing its connections holds locks no longer than this.
	idleInTransaction = "60000" // milliseconds
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
	cfg, err := pgx.ParseConfig(d.cfg.URL.Reveal())
	if err != nil {
		return nil, nil, errors.New("the connection URL of the store cannot be parsed") // err would quote it
	}
	for name, value := range map[string]string{
		"application_name":                    "leasehold",
		"idle_in_transaction_session_timeout": idleInTransaction,
		// A sequential scan locks the whole table against serialisable writers, and the planner likes it for small
		// tables. In a mix of issues, claims and token changes this took collisions from 17 to 7 in a hundred.
		"enable_seqscan": "off",
	} {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	updates := max(2, d.cfg.MaxConns/2)
	write, read = connect(*cfg, updates), connect(*cfg, max(2, d.cfg.MaxConns-updates))
	if err := write.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("connect: %w", err), write.Close(), read.Close())
	}
	return write, read, nil
}

func connect(cfg pgx.ConnConfig, connections int) *sql.DB {
	db := stdlib.OpenDB(cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		// An acknowledged commit has to survive, whatever the server's default is. Stricter settings are kept.
		_, err := conn.Exec(ctx, `select set_config('synchronous_commit', 'on', false)
			where current_setting('synchronous_commit') = 'off'`)
		return err
	}))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

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
	_, err := tx.ExecContext(ctx, `select pg_advisory_xact_lock($1)`, schemaLock)
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
