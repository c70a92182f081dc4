package store_test

import (
	"errors"
	"testing"

	"leasehold/store"
	"leasehold/store/storetest"
)

var notes = store.Migration{Package: "notes", Version: 1, SQL: []string{
	`create table notes (seq SEQ, id TEXT not null unique, size BIGINT not null, body BYTES not null) STRICT`,
}, Sealed: []store.SealedColumn{{Table: "notes", Column: "body", KeyColumn: "id"}}}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	st := storetest.New(t, notes)
	cell := store.Cell{Table: "notes", Column: "body", Key: "a"}
	insert := func(tx *store.Tx) error {
		sealed, err := tx.Seal(cell, []byte("hello"))
		if err != nil {
			return err
		}
		var seq int64
		return tx.QueryRow(`insert into notes (id, size, body) values ($1, $2, $3) returning seq`, "a", 5, sealed).Scan(&seq)
	}
	if err := st.Update(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	if err := st.Update(t.Context(), insert); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("second insert: got %v, want ErrConflict", err)
	}
	err := st.View(t.Context(), func(tx *store.Tx) error {
		var sealed []byte
		if err := tx.QueryRow(`select body from notes where id = $1`, "a").Scan(&sealed); err != nil {
			return err
		}
		plain, err := tx.Open(cell, sealed)
		if err != nil {
			return err
		}
		if string(plain) != "hello" {
			t.Errorf("got %q", plain)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
