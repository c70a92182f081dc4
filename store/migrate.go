package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Migration is one numbered step of a package's tables. Migrations run in the order given, each in a transaction of
// its own, and are never edited once landed. The words BYTES, BIGINT, TEXT, SEQ (an integer primary key that the
// database assigns and never assigns twice) and STRICT (after the closing parenthesis of a CREATE TABLE) are replaced
// by the dialect. Each element of SQL is one statement.
type Migration struct {
	Package string
	Version int // 1, 2, 3 ... within the package
	SQL     []string
	Sealed  []SealedColumn // the sealed columns that this step adds
}

// SealedColumn names a column of sealed cells. KeyColumn is the clear or blind text column whose value is Cell.Key.
type SealedColumn struct{ Table, Column, KeyColumn string }

// own are the store's tables. TEXT compares by bytes in both dialects.
var own = []string{
	`create table if not exists store_meta (name TEXT not null primary key, value TEXT not null) STRICT`,
	`create table if not exists store_migrations (
		package TEXT not null, version BIGINT not null, hash TEXT not null, primary key (package, version)) STRICT`,
}

var typeWord = regexp.MustCompile(`\b[A-Z]+\b`)

func dialectSQL(d Dialect, q string) string {
	types := d.Types()
	return typeWord.ReplaceAllStringFunc(q, func(word string) string {
		if t, ok := types[word]; ok {
			return t
		}
		return word
	})
}

func (m Migration) hash() string {
	sum := sha256.Sum256([]byte(strings.Join(m.SQL, "\x00")))
	return hex.EncodeToString(sum[:])
}

type step struct {
	pkg     string
	version int
}

// migrate brings the schema up to date, or says why this program must not touch it.
func (s *Store) migrate(ctx context.Context, migrations []Migration) error {
	if err := numbered(migrations); err != nil {
		return err
	}
	if err := schemaTx(ctx, s.write, s.dialect, func(tx *sql.Tx) error { return s.prepareOwn(ctx, tx) }); err != nil {
		return err
	}
	for _, m := range migrations {
		if err := schemaTx(ctx, s.write, s.dialect, func(tx *sql.Tx) error { return apply(ctx, tx, s.dialect, m) }); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", m.Package, m.Version, err)
		}
	}
	return s.checkTables(ctx, migrations)
}

// numbered checks that each package's steps count up from 1.
func numbered(migrations []Migration) error {
	next := map[string]int{}
	for _, m := range migrations {
		next[m.Package]++
		if m.Version != next[m.Package] {
			return fmt.Errorf("migration %d of %s stands where %d belongs", m.Version, m.Package, next[m.Package])
		}
	}
	return nil
}

// beginner is a sql.DB or a sql.Conn.
type beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

func schemaTx(ctx context.Context, db beginner, d Dialect, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	if err := d.LockSchema(ctx, tx); err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func makeOwn(ctx context.Context, tx *sql.Tx, d Dialect) error {
	for _, q := range own {
		if _, err := tx.ExecContext(ctx, dialectSQL(d, q)); err != nil {
			return fmt.Errorf("make the store's own tables: %w", err)
		}
	}
	return nil
}

// prepareOwn makes the store's own tables and its id, or reads the id and the last commit's time. Errors: ErrHalfMoved.
func (s *Store) prepareOwn(ctx context.Context, tx *sql.Tx) error {
	if err := makeOwn(ctx, tx, s.dialect); err != nil {
		return err
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	_, err := tx.ExecContext(ctx, `insert into store_meta (name, value) values ('id', $1), ('last_commit', '0')
		on conflict (name) do nothing`, hex.EncodeToString(id[:]))
	if err != nil {
		return fmt.Errorf("name the store: %w", err)
	}
	if err := tx.QueryRowContext(ctx, `select value from store_meta where name = 'id'`).Scan(&s.id); err != nil {
		return fmt.Errorf("read the store's id: %w", err)
	}
	var moving int
	if err := tx.QueryRowContext(ctx, `select count(*) from store_meta where name = $1`, movingRow).Scan(&moving); err != nil {
		return fmt.Errorf("look for an unfinished move: %w", err)
	}
	if moving > 0 {
		return ErrHalfMoved
	}
	var last int64
	err = tx.QueryRowContext(ctx, `select cast(value as BIGINT) from store_meta where name = 'last_commit'`).Scan(&last)
	if err != nil {
		return fmt.Errorf("read the time of the last commit: %w", err)
	}
	s.last.Store(last)
	return nil
}

// apply does one step unless it was done before.
func apply(ctx context.Context, tx *sql.Tx, d Dialect, m Migration) error {
	var hash string
	err := tx.QueryRowContext(ctx, `select hash from store_migrations where package = $1 and version = $2`,
		m.Package, m.Version).Scan(&hash)
	switch {
	case err == nil && hash == m.hash():
		return nil
	case err == nil:
		return fmt.Errorf("the store did this step with other statements than this program has")
	case err != sql.ErrNoRows:
		return fmt.Errorf("look for the step: %w", err)
	}
	for _, q := range m.SQL {
		if _, err := tx.ExecContext(ctx, dialectSQL(d, q)); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `insert into store_migrations (package, version, hash) values ($1, $2, $3)`,
		m.Package, m.Version, m.hash())
	return err
}

var (
	createTable = regexp.MustCompile(`(?i)\bcreate\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)`)
	dropTable   = regexp.MustCompile(`(?i)\bdrop\s+table\s+(?:if\s+exists\s+)?(\w+)`)
	renameTable = regexp.MustCompile(`(?i)\balter\s+table\s+(\w+)\s+rename\s+to\s+(\w+)`)
)

// tables is which tables there are once all migrations are done.
func tables(migrations []Migration) map[string]struct{} {
	have := map[string]struct{}{}
	for _, m := range migrations {
		for _, q := range m.SQL {
			for _, name := range createTable.FindAllStringSubmatch(q, -1) {
				have[name[1]] = struct{}{}
			}
			for _, name := range dropTable.FindAllStringSubmatch(q, -1) {
				delete(have, name[1])
			}
			for _, name := range renameTable.FindAllStringSubmatch(q, -1) {
				delete(have, name[1])
				have[name[2]] = struct{}{}
			}
		}
	}
	return have
}

func newer(done step) error {
	return fmt.Errorf("the store was written by a newer program: its %s tables are at version %d, "+
		"which this program does not know", done.pkg, done.version)
}

// checkTables finds steps that are newer than this program, and tables that were lost.
func (s *Store) checkTables(ctx context.Context, migrations []Migration) error {
	known := map[step]bool{}
	for _, m := range migrations {
		known[step{m.Package, m.Version}] = true
	}
	rows, err := s.read.QueryContext(ctx, `select package, version from store_migrations order by package, version`)
	if err != nil {
		return fmt.Errorf("list the steps done: %w", err)
	}
	defer func() { _ = rows.Close() }() // read-only: what it could say, Err says
	for rows.Next() {
		var done step
		if err := rows.Scan(&done.pkg, &done.version); err != nil {
			return fmt.Errorf("list the steps done: %w", err)
		}
		if !known[done] {
			return newer(done)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the steps done: %w", err)
	}
	for name := range tables(migrations) {
		probe, err := s.read.QueryContext(ctx, `select 1 from `+name+` where 1 = 0`)
		if err != nil {
			return fmt.Errorf("the store is damaged: table %s cannot be read: %w", name, err)
		}
		_ = probe.Close()
	}
	return nil
}
