package storetest

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/store"
)

// schema are the checks of migrations.
var schema = []check{
	{"migrations run once, in order, and data stay", func(t *testing.T, db database) {
		st, err := db.open(t, items)
		if err != nil {
			t.Fatal(err)
		}
		id := st.ID()
		mustExec(t, st, `insert into items (id, n) values ('a', 1)`)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st, err = db.open(t, items, itemsTwo)
		if err != nil {
			t.Fatal(err)
		}
		if got := mustScan[int64](t, st, `select extra from items`); got != 7 || st.ID() != id {
			t.Errorf("got %d; id %q, was %q", got, st.ID(), id)
		}
	}},
	{"a store of another shape is not opened", func(t *testing.T, db database) {
		edited := items
		edited.SQL = append([]string{`create table surprise (id TEXT not null) STRICT`}, items.SQL...)
		gap := itemsTwo
		gap.Version = 3
		lost := store.Migration{Package: "lost", Version: 1, SQL: []string{`create table lost (id TEXT not null) STRICT`}}

		st, err := db.open(t, items, itemsTwo, lost)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, st, `drop table lost`)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			migrations []store.Migration
			want       string
		}{
			"a newer step":      {[]store.Migration{items, lost}, "written by a newer program: its items tables are at version 2"},
			"a package unknown": {[]store.Migration{items, itemsTwo}, "written by a newer program: its lost tables are at version 1"},
			"an edited step":    {[]store.Migration{edited, itemsTwo, lost}, "migrate items to version 1: the store did this step with other statements"},
			"a gap":             {[]store.Migration{items, gap}, "migration 3 of items stands where 2 belongs"},
			"a table missing":   {[]store.Migration{items, itemsTwo, lost}, "the store is damaged: table lost cannot be read"},
		} {
			st, err := db.open(t, c.migrations...)
			if err == nil {
				_ = st.Close()
				t.Errorf("%s: it was opened", name)
			} else if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %q, want %q", name, err, c.want)
			}
		}
	}},
	{"a step that fails leaves nothing", func(t *testing.T, db database) {
		broken := store.Migration{Package: "broken", Version: 1, SQL: []string{
			`create table half (id TEXT not null) STRICT`,
			`create table half (id TEXT not null) STRICT`,
		}}
		if _, err := db.open(t, items, broken); err == nil || !strings.Contains(err.Error(), "migrate broken to version 1") {
			t.Fatalf("got %v", err)
		}
		whole := broken
		whole.SQL = broken.SQL[:1]
		if _, err := db.open(t, items, whole); err != nil {
			t.Fatal(err)
		}
	}},
	{"names in a refused configuration", func(t *testing.T, db database) {
		_, err := store.Open(t.Context(), store.Config{})
		if err == nil || !strings.Contains(err.Error(), "Dialect") {
			t.Errorf("got %v", err)
		}
	}},
}

var itemsTwo = store.Migration{Package: "items", Version: 2, SQL: []string{`alter table items add column extra BIGINT not null default 7`}}

// TogetherOpen checks that nodes which start at once on an empty database agree: for dialects that have many nodes.
func TogetherOpen(t *testing.T, open Opener) {
	var mu sync.Mutex
	ids := map[string]int{}
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			st, err := open(t, items, itemsTwo)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[st.ID()]++
		})
	}
	group.Wait()
	counts := []int{}
	for _, n := range ids {
		counts = append(counts, n)
	}
	if diff := cmp.Diff([]int{5}, counts); diff != "" {
		t.Error(diff)
	}
}
