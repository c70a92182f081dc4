package storetest

import (
	"testing"

	"leasehold/store"
	"leasehold/store/keyring"
)

// Opener opens one database, which is empty at first, with the given migrations. Each call is another node, or the
// same one after a restart. The store is locked, and closed when the test ends unless the test has closed it.
type Opener func(t testing.TB, migrations ...store.Migration) (*store.Store, error)

// Conformance is what every dialect passes. fresh makes a new, empty database.
func Conformance(t *testing.T, fresh func(t testing.TB) Opener) {
	for _, group := range [][]check{statements, transactions, cells, schema} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, database{t: t, open: fresh(t)})
			})
		}
	}
}

// check is one property of a store.
type check struct {
	name string
	run  func(t *testing.T, db database)
}

// database is one database of one check.
type database struct {
	t    testing.TB
	open Opener
}

// items is the table that most checks use.
var items = store.Migration{Package: "items", Version: 1, SQL: []string{
	`create table items (
		seq SEQ,
		id TEXT not null unique,
		n BIGINT not null,
		note TEXT,
		body BYTES,
		other BYTES) STRICT`,
	`create table twins (id TEXT not null primary key, body BYTES) STRICT`,
}, Sealed: []store.SealedColumn{
	{Table: "items", Column: "body", KeyColumn: "id"},
	{Table: "items", Column: "other", KeyColumn: "id"},
	{Table: "twins", Column: "body", KeyColumn: "id"},
}}

// mustOpen opens the database with the table items, unlocked.
func (db database) mustOpen() *store.Store {
	db.t.Helper()
	st, err := db.open(db.t, items)
	if err != nil {
		db.t.Fatalf("open: %v", err)
	}
	st.Unlock(keyring.New(st.Clock().Now()))
	return st
}

// mustUpdate runs statements in one Update.
func mustUpdate(t testing.TB, st *store.Store, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// mustExec runs one statement in an Update.
func mustExec(t testing.TB, st *store.Store, q string, args ...any) (rows int64) {
	t.Helper()
	mustUpdate(t, st, func(tx *store.Tx) (err error) {
		rows, err = tx.Exec(q, args...)
		return err
	})
	return rows
}

// mustScan reads one row in a View.
func mustScan[T any](t testing.TB, st *store.Store, q string, args ...any) (v T) {
	t.Helper()
	err := st.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(q, args...).Scan(&v) })
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return v
}

// mustList reads one column in a View.
func mustList[T any](t testing.TB, st *store.Store, q string, args ...any) (list []T) {
	t.Helper()
	err := st.View(t.Context(), func(tx *store.Tx) (err error) {
		list, err = column[T](tx, q, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return list
}

func column[T any](tx *store.Tx, q string, args ...any) (list []T, err error) {
	rows, err := tx.Query(q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
