package storetest

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/store"
)

// statements are the checks of what SQL means.
var statements = []check{
	{"values come back as they went in", func(t *testing.T, db database) {
		st := db.mustOpen()
		type row struct {
			ID   string
			N    int64
			Note *string
			Body []byte
		}
		note, empty := "günther\n☃", ""
		want := []row{
			{"bytes", math.MinInt64, &note, []byte{0, 1, 0xff}},
			{"empty", math.MaxInt64, &empty, nil},
			{"null", 0, nil, nil},
		}
		var got []row
		mustUpdate(t, st, func(tx *store.Tx) error {
			for _, r := range want {
				if _, err := tx.Exec(`insert into items (id, n, note, body) values ($1, $2, $3, $4)`, r.ID, r.N, r.Note, r.Body); err != nil {
					return err
				}
			}
			return nil
		})
		err := st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`select id, n, note, body from items order by id`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var r row
				if err := rows.Scan(&r.ID, &r.N, &r.Note, &r.Body); err != nil {
					return err
				}
				got = append(got, r)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}},
	{"empty bytes are not null", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n, body, other) values ('a', 0, $1, $2)`, []byte{}, []byte(nil))
		if n := mustScan[int64](t, st, `select count(*) from items where body is not null and other is null`); n != 1 {
			t.Error("empty and nil bytes are not kept apart")
		}
	}},
	{"text is ordered by bytes", func(t *testing.T, db database) {
		st := db.mustOpen()
		want := []string{"", "A", "Z", "_", "a", "a/", "a/b", "a0", "b", "z", "ä"}
		for i := range want {
			mustExec(t, st, `insert into items (id, n) values ($1, $2)`, want[(i*7)%len(want)], 0)
		}
		if diff := cmp.Diff(want, mustList[string](t, st, `select id from items order by id`)); diff != "" {
			t.Error(diff)
		}
		// How a prefix is searched: '0' follows '/'.
		below := mustList[string](t, st, `select id from items where id >= $1 and id < $2 order by id`, "a/", "a0")
		if diff := cmp.Diff([]string{"a/", "a/b"}, below); diff != "" {
			t.Error(diff)
		}
	}},
	{"assigned ids rise and are never used twice", func(t *testing.T, db database) {
		st := db.mustOpen()
		insert := func(id string) (seq int64) {
			mustUpdate(t, st, func(tx *store.Tx) error {
				return tx.QueryRow(`insert into items (id, n) values ($1, 0) returning seq`, id).Scan(&seq)
			})
			return seq
		}
		one, two := insert("1"), insert("2")
		mustExec(t, st, `delete from items`)
		three := insert("3")
		mustExec(t, st, `delete from items`)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = db.mustOpen()
		four := insert("4")
		if one >= two || two >= three || three >= four {
			t.Errorf("got %d, %d, %d, %d", one, two, three, four)
		}
	}},
	{"a refused row is a conflict", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 1)`)
		err := st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`insert into items (id, n) values ('a', 2)`)
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("Exec: got %v", err)
			}
			return err
		})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("Update after Exec: got %v", err)
		}
		err = st.Update(t.Context(), func(tx *store.Tx) error {
			var seq int64
			return tx.QueryRow(`insert into items (id, n) values ('a', 3) returning seq`).Scan(&seq)
		})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("Update after QueryRow: got %v", err)
		}
		err = st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`insert into items (id, n) values ('b', null)`)
			return err
		})
		if err == nil || errors.Is(err, store.ErrConflict) {
			t.Errorf("another constraint: got %v", err)
		}
		if got := mustList[int64](t, st, `select n from items`); !cmp.Equal(got, []int64{1}) {
			t.Errorf("got %v", got)
		}
	}},
	{"nothing found is no failure", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustUpdate(t, st, func(tx *store.Tx) error {
			var n int64
			if err := tx.QueryRow(`select n from items where id = 'a'`).Scan(&n); !errors.Is(err, store.ErrNoRow) {
				t.Errorf("got %v, want ErrNoRow", err)
			}
			_, err := tx.Exec(`insert into items (id, n) values ('a', 1)`)
			return err
		})
		if got := mustScan[int64](t, st, `select count(*) from items`); got != 1 {
			t.Errorf("got %d rows", got)
		}
	}},
	{"upsert, returning and recursion", func(t *testing.T, db database) {
		st := db.mustOpen()
		for range 3 {
			mustExec(t, st, `insert into items (id, n) values ('a', 1) on conflict (id) do update set n = items.n + excluded.n`)
		}
		if n := mustExec(t, st, `insert into items (id, n) values ('a', 1) on conflict (id) do nothing`); n != 0 {
			t.Errorf("do nothing changed %d rows", n)
		}
		mustExec(t, st, `with recursive up (i) as (select 1 union all select i + 1 from up where i < $1)
			insert into items (id, n) select 'n' || cast(i as text), i from up`, 10)
		var got []int64
		mustUpdate(t, st, func(tx *store.Tx) (err error) {
			got, err = column[int64](tx, `with picked as materialized (
					select seq from items where n <= $1 order by n, id limit $2 `+tx.ClaimSuffix()+`)
				update items set n = -n where seq in (select seq from picked) returning n`, 5, 4)
			return err
		})
		if len(got) != 4 || mustScan[int64](t, st, `select sum(n) from items`) != 58-2*(1+2+3+3) {
			t.Errorf("got %v", got)
		}
	}},
	{"a statement that failed ends the transaction", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 1)`)
		err := st.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`insert into items (id, n) values ('b', 1)`); err != nil {
				return err
			}
			_, first := tx.Exec(`insert into items (id, n) values ('a', 1)`)
			if _, err := tx.Exec(`insert into items (id, n) values ('c', 1)`); !errors.Is(err, first) {
				t.Errorf("Exec afterwards: got %v, want %v", err, first)
			}
			if _, err := tx.Query(`select 1`); !errors.Is(err, first) {
				t.Errorf("Query afterwards: got %v, want %v", err, first)
			}
			var n int
			if err := tx.QueryRow(`select 1`).Scan(&n); err == nil {
				t.Error("QueryRow went through")
			}
			return nil
		})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("got %v", err)
		}
		if got := mustList[string](t, st, `select id from items`); !cmp.Equal(got, []string{"a"}) {
			t.Errorf("got %v", got)
		}
	}},
	{"one statement at a time", func(t *testing.T, db database) {
		st := db.mustOpen()
		mustExec(t, st, `insert into items (id, n) values ('a', 1), ('b', 2)`)
		err := st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`select n from items`)
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			_, err = tx.Exec(`select 1`)
			return err
		})
		if err == nil {
			t.Error("a statement ran while rows were open")
		}
		// Rows that were left open harm nobody.
		err = st.Update(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`update items set n = n + 1 returning n`)
			if err != nil {
				return err
			}
			rows.Next()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := mustScan[int64](t, st, `select sum(n) from items`); got != 5 {
			t.Errorf("got %d", got)
		}
	}},
	{"a View cannot write", func(t *testing.T, db database) {
		st := db.mustOpen()
		err := st.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`insert into items (id, n) values ('a', 1)`)
			return err
		})
		if err == nil {
			t.Error("a View wrote")
		}
		if got := mustScan[int64](t, st, `select count(*) from items`); got != 0 {
			t.Errorf("got %d rows", got)
		}
	}},
}
