package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// movingRow is the row of store_meta that a store has until all rows of another one were moved into it.
const movingRow = "moving"

var (
	// ErrInUse says that OpenRaw found the store open elsewhere.
	ErrInUse = errors.New("the store is in use")
	// ErrHalfMoved says that a store is the unfinished destination of a move.
	ErrHalfMoved = errors.New("the store is the unfinished destination of `operator migrate`: " +
		"run that command again, and it goes on where it stopped; with -reset it begins anew")
)

// Mover is what a dialect offers besides, so that its stores can be moved (see store/transfer). Its String says which
// database it is, without secrets.
type Mover interface {
	Dialect
	fmt.Stringer
	// OpenAlone connects to a store that no other process has open, and keeps all others from opening it until Close.
	// The pool has one connection; the lock goes with that. For a reader, the connection cannot write, and a database that
	// is not there is not made. For a writer, a power cut may take the latest commits, never one without all after it, until
	// Durable. Errors: ErrInUse.
	OpenAlone(ctx context.Context, readOnly bool) (*sql.DB, error)
	// Durable has what a later commit acknowledges survive a power cut, with all that was committed before.
	Durable(ctx context.Context, conn *sql.Conn) error
	// Describe reads a table's shape from the database. A table that is not there has no columns.
	Describe(ctx context.Context, conn *sql.Conn, table string) (Table, error)
	// InsertSeq stands in an INSERT that gives a SEQ column its value, between the columns and VALUES.
	InsertSeq() string
	// HighWater is the highest value that a SEQ column ever had, 0 for none, even if its row is gone.
	HighWater(ctx context.Context, conn *sql.Conn, table, column string) (int64, error)
	// SetHighWater has a SEQ column go on behind value. It is called when all rows are there.
	SetHighWater(ctx context.Context, tx *sql.Tx, table, column string, value int64) error
}

// Table is the shape of a table.
type Table struct {
	Name    string
	Columns []Column
	Key     []string // the columns of the primary key, in its order
	Parents []string // the tables that its foreign keys lead to
}

// Column is one column. Type is the word of migrations: BYTES, BIGINT, TEXT or SEQ; the database's own name for any other.
type Column struct{ Name, Type string }

// Raw is a store as its rows lie in the database: opened without keys, by this process alone. It is for one goroutine.
type Raw struct {
	Conn *sql.Conn // the one connection

	dialect    Mover
	db         *sql.DB
	migrations []Migration
}

// OpenRaw opens a store for moving its rows. It changes nothing. Errors: ErrInUse.
func OpenRaw(ctx context.Context, dialect Mover, migrations []Migration, readOnly bool) (*Raw, error) {
	if err := numbered(migrations); err != nil {
		return nil, err
	}
	db, err := dialect.OpenAlone(ctx, readOnly)
	if err != nil {
		return nil, err
	}
	r := &Raw{dialect: dialect, db: db, migrations: migrations}
	if r.Conn, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(err, db.Close(), dialect.Close())
	}
	return r, nil
}

// Close ends the connection and lets others in.
func (r *Raw) Close() error {
	err := r.Conn.Close()
	if errors.Is(err, sql.ErrConnDone) { // it broke before
		err = nil
	}
	return errors.Join(err, r.db.Close(), r.dialect.Close())
}

// Dialect is the database that the store is in.
func (r *Raw) Dialect() Mover { return r.dialect }

// Meta is the content of table store_meta, nil when there is no such table.
func (r *Raw) Meta(ctx context.Context) (map[string]string, error) {
	own, err := r.dialect.Describe(ctx, r.Conn, "store_meta")
	if err != nil || len(own.Columns) == 0 {
		return nil, err
	}
	rows, err := r.Conn.QueryContext(ctx, `select name, value from store_meta`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	meta := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		meta[name] = value
	}
	return meta, rows.Err()
}

// Moving is what [Raw.Prepare] noted, "" once the move is finished.
func Moving(meta map[string]string) string { return meta[movingRow] }

// SchemaHash names the steps that this program knows, all together.
func (r *Raw) SchemaHash() string {
	sum := sha256.New()
	for _, m := range r.migrations {
		fmt.Fprintf(sum, "%s %d %s\n", m.Package, m.Version, m.hash())
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// CheckSteps says whether the store has done all of this program's migrations and no others.
func (r *Raw) CheckSteps(ctx context.Context) error {
	missing := map[step]string{}
	for _, m := range r.migrations {
		missing[step{m.Package, m.Version}] = m.hash()
	}
	rows, err := r.Conn.QueryContext(ctx, `select package, version, hash from store_migrations order by package, version`)
	if err != nil {
		return fmt.Errorf("list the steps done: %w", err)
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	for rows.Next() {
		var done step
		var hash string
		if err := rows.Scan(&done.pkg, &done.version, &hash); err != nil {
			return fmt.Errorf("list the steps done: %w", err)
		}
		switch known, ok := missing[done]; {
		case !ok:
			return newer(done)
		case known != hash:
			return fmt.Errorf("the %s tables were brought to version %d by other statements than this program has", done.pkg, done.version)
		}
		delete(missing, done)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the steps done: %w", err)
	}
	for _, m := range r.migrations {
		if _, ok := missing[step{m.Package, m.Version}]; ok {
			return fmt.Errorf("the store was written by an older program: its %s tables are not at version %d yet; "+
				"start the server of this program on it once, stop it, and try again", m.Package, m.Version)
		}
	}
	return nil
}

// Tables are the tables of all migrations as they are in the database, each behind those that its foreign keys lead to.
// They are those that the packages own: without store_meta and store_migrations.
func (r *Raw) Tables(ctx context.Context) ([]Table, error) {
	var waiting []Table
	for _, name := range slices.Sorted(maps.Keys(tables(r.migrations))) {
		t, err := r.dialect.Describe(ctx, r.Conn, name)
		if err != nil {
			return nil, fmt.Errorf("describe table %s: %w", name, err)
		}
		waiting = append(waiting, t)
	}
	placed := map[string]bool{}
	var ordered []Table
	for len(waiting) > 0 {
		left := len(waiting)
		waiting = slices.DeleteFunc(waiting, func(t Table) bool {
			if slices.ContainsFunc(t.Parents, func(parent string) bool { return !placed[parent] }) {
				return false
			}
			placed[t.Name] = true
			ordered = append(ordered, t)
			return true
		})
		if len(waiting) == left {
			return nil, fmt.Errorf("the foreign keys of table %s lead back to it: its rows have no order to be moved in", waiting[0].Name)
		}
	}
	return ordered, nil
}

// Update runs fn in a transaction, once.
func (r *Raw) Update(ctx context.Context, fn func(*sql.Tx) error) error {
	return schemaTx(ctx, r.Conn, r.dialect, fn)
}

// Prepare makes the tables of a store that rows are to be moved into, under the id of the store that they come from. Until
// [Raw.Finish] the store has note and cannot be opened. Prepare may be called again when it was cut short.
//
// Crash: the note comes first, so that no server takes half of the tables for a new store.
func (r *Raw) Prepare(ctx context.Context, id, note string) error {
	err := r.Update(ctx, func(tx *sql.Tx) error {
		if err := makeOwn(ctx, tx, r.dialect); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `insert into store_meta (name, value) values ('id', $1), ('last_commit', '0'), ($2, $3)
			on conflict (name) do nothing`, id, movingRow, note)
		return err
	})
	if err != nil {
		return fmt.Errorf("mark the store as unfinished: %w", err)
	}
	for _, m := range r.migrations {
		if err := r.Update(ctx, func(tx *sql.Tx) error { return apply(ctx, tx, r.dialect, m) }); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", m.Package, m.Version, err)
		}
	}
	return nil
}

// Finish makes a store whose rows are all there one that can be opened. meta is the source's, with the time before which
// the store's time must not fall back.
func (r *Raw) Finish(ctx context.Context, tx *sql.Tx, meta map[string]string, lastCommit int64) error {
	rows := maps.Clone(meta)
	rows["last_commit"] = fmt.Sprint(lastCommit)
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		_, err := tx.ExecContext(ctx, `insert into store_meta (name, value) values ($1, $2)
			on conflict (name) do update set value = excluded.value`, name, rows[name])
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `delete from store_meta where name = $1`, movingRow)
	return err
}

// Drop removes an unfinished store: all tables of the migrations and the store's own, in one transaction.
func (r *Raw) Drop(ctx context.Context) error {
	tables, err := r.Tables(ctx)
	if err != nil {
		return err
	}
	slices.Reverse(tables) // children go before their parents
	return r.Update(ctx, func(tx *sql.Tx) error {
		for _, t := range append(tables, Table{Name: "store_migrations"}, Table{Name: "store_meta"}) {
			if _, err := tx.ExecContext(ctx, `drop table if exists `+t.Name); err != nil {
				return fmt.Errorf("drop table %s: %w", t.Name, err)
			}
		}
		return nil
	})
}
