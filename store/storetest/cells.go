package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"leasehold/store"
	"leasehold/store/keyring"
)

var plain = []byte("canary-7c1f: the value of a cell")

// mustSeal puts a row with a sealed body and other into items, and a body into twins.
func mustSeal(t testing.TB, st *store.Store, id string) {
	t.Helper()
	mustUpdate(t, st, func(tx *store.Tx) error {
		var sealed [3][]byte
		for i, c := range []store.Cell{{Table: "items", Column: "body", Key: id}, {Table: "items", Column: "other", Key: id}, {Table: "twins", Column: "body", Key: id}} {
			var err error
			if sealed[i], err = tx.Seal(c, plain); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`insert into items (id, n, body, other) values ($1, 0, $2, $3)`, id, sealed[0], sealed[1]); err != nil {
			return err
		}
		_, err := tx.Exec(`insert into twins (id, body) values ($1, $2)`, id, sealed[2])
		return err
	})
}

// openIn reads items.body of a row.
func openIn(tx *store.Tx, id string) ([]byte, error) {
	var sealed []byte
	if err := tx.QueryRow(`select body from items where id = $1`, id).Scan(&sealed); err != nil {
		return nil, err
	}
	return tx.Open(store.Cell{Table: "items", Column: "body", Key: id}, sealed)
}

// open is openIn in a View of its own.
func open(t testing.TB, st *store.Store, id string) (value []byte, err error) {
	err = st.View(t.Context(), func(tx *store.Tx) (err error) {
		value, err = openIn(tx, id)
		return err
	})
	return value, err
}

// cells are the checks of sealed values and blind indexes.
var cells = []check{
	{"a cell opens where it was sealed", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustSeal(t, st, "a")
		mustSeal(t, st, "b")
		got, err := open(t, st, "a")
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %q, %v", got, err)
		}
		a, b := mustScan[[]byte](t, st, `select body from items where id = 'a'`), mustScan[[]byte](t, st, `select body from items where id = 'b'`)
		if len(a) != len(plain)+keyring.Overhead || bytes.Contains(a, plain[:8]) || bytes.Equal(a[6:], b[6:]) {
			t.Errorf("stored %x and %x", a, b)
		}
	}},
	{"a cell with any byte changed does not open", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustSeal(t, st, "a")
		sealed := mustScan[[]byte](t, st, `select body from items where id = 'a'`)
		mustUpdate(t, st, func(tx *store.Tx) error {
			for i := range sealed {
				for _, flip := range []byte{0x01, 0x80, 0xff} {
					edited := slices.Clone(sealed)
					edited[i] ^= flip
					if _, err := tx.Exec(`update items set body = $1 where id = 'a'`, edited); err != nil {
						return err
					}
					if got, err := openIn(tx, "a"); !errors.Is(err, store.ErrTampered) {
						t.Errorf("byte %d xor %#x: got %q, %v", i, flip, got, err)
					}
				}
			}
			return nil
		})
		for _, n := range []int{0, 1, 5, 6, 29, keyring.Overhead - 1, keyring.Overhead, len(sealed) - 1} {
			mustExec(t, st, `update items set body = $1 where id = 'a'`, sealed[:n])
			if got, err := open(t, st, "a"); !errors.Is(err, store.ErrTampered) {
				t.Errorf("cut to %d bytes: got %q, %v", n, got, err)
			}
		}
	}},
	{"a moved cell does not open, and Verify finds it", func(t *testing.T, db database) {
		st := db.mustOpen()
		ref := func(table, column, key string) store.SealedRef {
			return store.SealedRef{Table: table, Column: column, Key: key}
		}
		for name, c := range map[string]struct {
			move string
			want []store.SealedRef
		}{
			"two rows swapped": {`with former as materialized (select id, body from items)
				update items set body = (select body from former where former.id <> items.id)`,
				[]store.SealedRef{ref("items", "body", "a"), ref("items", "body", "b")}},
			"another column":   {`update items set body = other where id = 'a'`, []store.SealedRef{ref("items", "body", "a")}},
			"another table":    {`update items set body = (select body from twins where id = 'a') where id = 'a'`, []store.SealedRef{ref("items", "body", "a")}},
			"to another table": {`update twins set body = (select body from items where id = 'b') where id = 'b'`, []store.SealedRef{ref("twins", "body", "b")}},
			"nothing":          {`update items set n = 1`, nil},
			"a cell removed":   {`update items set body = null where id = 'a'`, nil},
		} {
			mustExec(t, st, `delete from items`)
			mustExec(t, st, `delete from twins`)
			mustSeal(t, st, "a")
			mustSeal(t, st, "b")
			mustExec(t, st, c.move)
			checked, bad, err := st.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := 6
			if name == "a cell removed" {
				want = 5
			}
			slices.SortFunc(bad, func(a, b store.SealedRef) int {
				return cmp.Or(strings.Compare(a.Column, b.Column), strings.Compare(a.Key, b.Key))
			})
			if diff := gocmp.Diff(c.want, bad); diff != "" || checked != want {
				t.Errorf("%s: checked %d: %s", name, checked, diff)
			}
		}
	}},
	{"a cell of another store does not open, whatever the keys", func(t *testing.T, db database) {
		one := db.mustOpen()
		two := NewAt(t, one.Clock(), items)
		mustSeal(t, one, "a")
		mustSeal(t, two, "a")
		encoded, err := one.Keyring().Encode()
		if err != nil {
			t.Fatal(err)
		}
		shared, err := keyring.Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		two.Unlock(shared)
		mustExec(t, two, `update items set body = $1`, mustScan[[]byte](t, one, `select body from items`))
		if got, err := open(t, two, "a"); !errors.Is(err, store.ErrTampered) {
			t.Errorf("got %q, %v", got, err)
		}
	}},
	{"a locked store neither seals nor opens", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustSeal(t, st, "a")
		k := st.Keyring()
		err := st.View(t.Context(), func(tx *store.Tx) error {
			st.Lock() // in the middle of a transaction
			_, err := tx.Index("p", []byte("v"))
			return err
		})
		if !errors.Is(err, store.ErrSealed) || st.Unlocked() {
			t.Errorf("Index: got %v", err)
		}
		if _, err := open(t, st, "a"); !errors.Is(err, store.ErrSealed) {
			t.Errorf("Open: got %v", err)
		}
		err = st.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Seal(store.Cell{Table: "items", Column: "body", Key: "a"}, plain)
			return err
		})
		if !errors.Is(err, store.ErrSealed) {
			t.Errorf("Seal: got %v", err)
		}
		if _, _, err := st.Verify(t.Context()); !errors.Is(err, store.ErrSealed) {
			t.Errorf("Verify: got %v", err)
		}
		st.Unlock(k) // it was wiped
		if _, err := open(t, st, "a"); !errors.Is(err, store.ErrSealed) {
			t.Errorf("Open with wiped keys: got %v", err)
		}
	}},
	{"only declared columns are sealed", func(t *testing.T, db database) {
		st := db.mustOpen()
		err := st.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Seal(store.Cell{Table: "items", Column: "note", Key: "a"}, plain)
			return err
		})
		if err == nil {
			t.Error("a column that no migration declares was sealed")
		}
	}},
	{"a blind index tells equal values apart by purpose only", func(t *testing.T, db database) {
		st := db.mustOpen()
		index := func(purpose, value string) (got string) {
			err := st.View(t.Context(), func(tx *store.Tx) (err error) {
				got, err = tx.Index(purpose, []byte(value))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		one := index("token", "secret")
		if one != index("token", "secret") || len(one) != 64 {
			t.Errorf("got %q", one)
		}
		for _, other := range []string{index("accessor", "secret"), index("token", "secres"), index("tokens", "ecret"), index("toke", "nsecret")} {
			if one == other {
				t.Errorf("%q occurs twice", one)
			}
		}
		st.Unlock(keyring.New(st.Clock().Now()))
		if one == index("token", "secret") {
			t.Error("another key gives the same index")
		}
	}},
}
