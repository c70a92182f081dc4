package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"leasehold/store"
)

// Every connection of a server shares an advisory lock for as long as it lives, and whoever moves the store has it for
// itself. So no statement of a server runs while a move is under way, also after a connection was lost, and no connection
// has to be kept for that alone.

func (d *dialect) String() string {
	cfg, err := pgx.ParseConfig(d.cfg.URL.Reveal())
	if err != nil {
		return "postgresql"
	}
	schema := ""
	if d.cfg.Schema != "" {
		schema = ", schema " + d.cfg.Schema
	}
	return fmt.Sprintf("postgresql %s:%d, database %s%s", cfg.Host, cfg.Port, cfg.Database, schema)
}

// storeLock is the number of the lock. It has the schema in it, as a database may hold several stores.
func (d *dialect) storeLock(ctx context.Context, conn *pgx.Conn) (int64, error) {
	schema := d.cfg.Schema
	if schema == "" {
		if err := conn.QueryRow(ctx, `select coalesce(current_schema(), '')`).Scan(&schema); err != nil {
			return 0, err
		}
	}
	sum := sha256.Sum256([]byte("leasehold store in schema " + schema))
	return int64(binary.BigEndian.Uint64(sum[:])), nil
}

// lockPatience is how long a connection waits for the lock. A process that has just ended, or was killed, may have
// connections that the database has not given up yet.
const lockPatience = 5 * time.Second

// lock takes the lock by one of PostgreSQL's functions, and says whether it got it.
func (d *dialect) lock(ctx context.Context, conn *pgx.Conn, try, wait string) (number int64, got bool, err error) {
	if number, err = d.storeLock(ctx, conn); err != nil {
		return 0, false, err
	}
	if err := conn.QueryRow(ctx, `select `+try+`($1)`, number).Scan(&got); err != nil || got {
		return number, got, err
	}
	if _, err := conn.Exec(ctx, `select set_config('lock_timeout', $1, false)`, fmt.Sprint(lockPatience.Milliseconds())); err != nil {
		return 0, false, err
	}
	_, err = conn.Exec(ctx, `select `+wait+`($1)`, number)
	if got = err == nil; got || code(err) == "55P03" { // lock_not_available
		_, err = conn.Exec(ctx, `reset lock_timeout`)
	}
	return number, got, err
}

// share takes a server's part of the lock. Engines that only speak PostgreSQL's protocol may not know such locks: a store
// in one of them cannot be moved, but can be used.
func (d *dialect) share(ctx context.Context, conn *pgx.Conn) error {
	_, got, err := d.lock(ctx, conn, "pg_try_advisory_lock_shared", "pg_advisory_lock_shared")
	switch {
	case code(err) == "42883" || code(err) == "0A000": // no such function, not supported
		return nil
	case err != nil:
		return fmt.Errorf("share the store: %w", err)
	case !got:
		return fmt.Errorf("%w by `operator migrate`: wait until that has ended", store.ErrInUse)
	}
	return nil
}

// OpenAlone takes the lock that servers share.
func (d *dialect) OpenAlone(ctx context.Context, readOnly bool) (*sql.DB, error) {
	cfg, err := d.settings("leasehold operator migrate")
	if err != nil {
		return nil, err
	}
	// The source waits while the destination writes. A death closes the connection, and with it ends the lock.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		setting := `set synchronous_commit = off`
		if readOnly {
			setting = `set default_transaction_read_only = on`
		}
		if _, err := conn.Exec(ctx, setting); err != nil {
			return err
		}
		return d.takeAlone(ctx, conn)
	}))
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	return db, nil
}

func (d *dialect) takeAlone(ctx context.Context, conn *pgx.Conn) error {
	number, got, err := d.lock(ctx, conn, "pg_try_advisory_lock", "pg_advisory_lock")
	if err != nil {
		return fmt.Errorf("lock the store: %w", err)
	}
	if got {
		return nil
	}
	var connections int
	var from string
	err = conn.QueryRow(ctx, `select count(*), coalesce(string_agg(distinct coalesce(host(a.client_addr), 'this machine or another user'), ', '), '')
		from pg_locks l join pg_stat_activity a on a.pid = l.pid and a.datname = current_database()
		where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and (l.classid::bigint << 32 | l.objid::bigint) = $1`, number).Scan(&connections, &from)
	if err != nil {
		return fmt.Errorf("look who has locked the store: %w", err)
	}
	return fmt.Errorf("%w: stop all its servers; %d connections are open, from %s", store.ErrInUse, connections, from)
}

func (d *dialect) Durable(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `reset synchronous_commit`); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, neverOff)
	return err
}

// words are the column types that [dialect.Types] makes, with their collations. Text in any other order than that of its
// bytes cannot be walked through side by side with another store's.
var words = map[[2]string]string{{"bytea", ""}: "BYTES", {"bigint", ""}: "BIGINT", {"text", "C"}: "TEXT"}

func (d *dialect) Describe(ctx context.Context, conn *sql.Conn, table string) (store.Table, error) {
	t := store.Table{Name: table}
	rows, err := conn.QueryContext(ctx, `select a.attname, format_type(a.atttypid, a.atttypmod), coalesce(c.collname, ''), a.attidentity <> '',
			coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)
		from pg_attribute a
		left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
		left join pg_collation c on c.oid = a.attcollation
		where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
		order by a.attnum`, table)
	if err != nil {
		return t, err
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	key := map[int]string{}
	for rows.Next() {
		var c store.Column
		var kind, collation string
		var seq bool
		var inKey int
		if err := rows.Scan(&c.Name, &kind, &collation, &seq, &inKey); err != nil {
			return t, err
		}
		switch word, ok := words[[2]string{kind, collation}]; {
		case ok && seq:
			c.Type = "SEQ"
		case ok:
			c.Type = word
		default:
			c.Type = kind + " " + collation
		}
		if inKey > 0 {
			key[inKey] = c.Name
		}
		t.Columns = append(t.Columns, c)
	}
	if err := rows.Err(); err != nil {
		return t, err
	}
	for i := range len(key) {
		t.Key = append(t.Key, key[i+1])
	}
	t.Parents, err = parents(ctx, conn, table)
	return t, err
}

func parents(ctx context.Context, conn *sql.Conn, table string) (list []string, err error) {
	rows, err := conn.QueryContext(ctx, `select distinct f.relname from pg_constraint c join pg_class f on f.oid = c.confrelid
		where c.conrelid = to_regclass($1) and c.contype = 'f' order by f.relname`, table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	for rows.Next() {
		var parent string
		if err := rows.Scan(&parent); err != nil {
			return nil, err
		}
		list = append(list, parent)
	}
	return list, rows.Err()
}

func (d *dialect) InsertSeq() string { return "overriding system value" }

// sequence is the quoted name of the sequence behind an identity column.
const sequence = `select pg_get_serial_sequence($1, $2)`

func (d *dialect) HighWater(ctx context.Context, conn *sql.Conn, table, column string) (high int64, err error) {
	var name string
	if err := conn.QueryRowContext(ctx, sequence, table, column).Scan(&name); err != nil {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, `select case when is_called then last_value else last_value - 1 end from `+name).Scan(&high)
	return high, err
}

// SetHighWater is not undone by a rollback: it is done again then.
func (d *dialect) SetHighWater(ctx context.Context, tx *sql.Tx, table, column string, value int64) error {
	var name string
	if err := tx.QueryRowContext(ctx, sequence, table, column).Scan(&name); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `select setval($1::regclass, $2)`, name, value)
	return err
}
