package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"leasehold/store"
)

func (d *dialect) String() string { return "sqlite " + d.cfg.Path }

// copyCheckpoint is how many pages go to the log, 64 MiB of them, before they go to the file: a page of an index that many
// rows of a copy fall on is then written there once, not once for each batch.
const copyCheckpoint = 16 << 10

// OpenAlone takes the lock that a server has, so that each keeps the other out.
func (d *dialect) OpenAlone(ctx context.Context, readOnly bool) (*sql.DB, error) {
	if !readOnly {
		write, read, err := d.open(ctx, "NORMAL", copyCheckpoint)
		if err != nil {
			return nil, err
		}
		return write, read.Close()
	}
	path, err := filepath.Abs(d.cfg.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err // it has the path
	}
	if d.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db := connect(path, 1, d.cfg.CacheKiB, busyTimeout, url.Values{"_pragma": {"query_only(1)"}})
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close(), d.Close())
	}
	return db, nil
}

func (d *dialect) Durable(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `pragma synchronous = full`)
	return err
}

// words are the column types that [dialect.Types] makes.
var words = map[string]string{"blob": "BYTES", "integer": "BIGINT", "text": "TEXT"}

func (d *dialect) Describe(ctx context.Context, conn *sql.Conn, table string) (store.Table, error) {
	t := store.Table{Name: table}
	rows, err := conn.QueryContext(ctx, `select c.name, lower(c.type), c.pk, instr(lower(t.sql), 'autoincrement') > 0
		from sqlite_schema t, pragma_table_info(t.name) c where t.type = 'table' and t.name = $1 order by c.cid`, table)
	if err != nil {
		return t, err
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	key := map[int]string{}
	for rows.Next() {
		var c store.Column
		var inKey int
		var seq bool
		if err := rows.Scan(&c.Name, &c.Type, &inKey, &seq); err != nil {
			return t, err
		}
		if word, ok := words[c.Type]; ok {
			c.Type = word
		}
		if seq && inKey > 0 {
			c.Type = "SEQ"
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
	var parents sql.NullString
	err = conn.QueryRowContext(ctx, `select group_concat(distinct "table") from pragma_foreign_key_list($1)`, table).Scan(&parents)
	if parents.Valid {
		t.Parents = strings.Split(parents.String, ",")
	}
	return t, err
}

func (d *dialect) InsertSeq() string { return "" }

// HighWater asks the table that autoincrement counts in.
func (d *dialect) HighWater(ctx context.Context, conn *sql.Conn, table, _ string) (high int64, err error) {
	err = conn.QueryRowContext(ctx, `select coalesce(max(seq), 0) from sqlite_sequence where name = $1`, table).Scan(&high)
	return high, err
}

// SetHighWater finds a row only when the table ever had one, and no unique constraint to insert by.
func (d *dialect) SetHighWater(ctx context.Context, tx *sql.Tx, table, _ string, value int64) error {
	if _, err := tx.ExecContext(ctx, `delete from sqlite_sequence where name = $1`, table); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `insert into sqlite_sequence (name, seq) values ($1, $2)`, table, value)
	return err
}
