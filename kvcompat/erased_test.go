package kvcompat_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/kvcompat"
	"leasehold/store"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// What clients had erased is in no file of the store: not in its pages, not in its log.
func TestErasedValuesAreInNoFile(t *testing.T) {
	t.Parallel()
	cubbyhole := func(w *world, op engine.Operation, path, body string) {
		w.Helper()
		r := &engine.Request{Operation: op, Path: path, Data: object(w, body), Caller: &engine.Caller{TokenSeq: 7, Type: "service"}}
		if _, err := w.cubbyhole.Handle(w.Context(), r); err != nil {
			w.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, version string
		write         func(w *world, path, value string)
		erase         func(w *world, path string)
	}{
		{
			"a version destroyed", "2",
			func(w *world, path, value string) { w.must(engine.Update, "data/"+path, `{"data":`+value+`}`) },
			func(w *world, path string) { w.must(engine.Update, "destroy/"+path, `{"versions":[1]}`) },
		},
		{
			"a version outlived", "2",
			func(w *world, path, value string) {
				w.must(engine.Update, "metadata/"+path, `{"max_versions":1}`)
				w.must(engine.Update, "data/"+path, `{"data":`+value+`}`)
			},
			func(w *world, path string) { w.must(engine.Update, "data/"+path, `{"data":{}}`) },
		},
		{
			"a key with its versions", "2",
			func(w *world, path, value string) {
				w.must(engine.Update, "data/"+path, `{"data":`+value+`}`)
				w.must(engine.Update, "data/"+path, `{"data":`+value+`}`)
			},
			func(w *world, path string) { w.must(engine.Delete, "metadata/"+path, "") },
		},
		{
			"a value of version 1", "1",
			func(w *world, path, value string) { w.must(engine.Update, path, value) },
			func(w *world, path string) { w.must(engine.Delete, path, "") },
		},
		{
			"a value replaced", "1",
			func(w *world, path, value string) { w.must(engine.Update, path, value) },
			func(w *world, path string) { w.must(engine.Update, path, `{"short":1}`) },
		},
		{
			"a cubbyhole's value", "1",
			func(w *world, path, value string) { cubbyhole(w, engine.Update, path, value) },
			func(w *world, path string) { cubbyhole(w, engine.Delete, path, "") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store.db")
			w := newWorld(t, c.version, func(tb testing.TB, clk clock.Clock, m ...store.Migration) *store.Store {
				return storetest.OpenAt(tb, sqlite.New(sqlite.Config{Path: path, EraseWithin: 250 * time.Millisecond}), clk, m...)
			})
			const keys = 12
			for i := range keys { // of all sizes, up to some pages
				c.write(w, fmt.Sprint("folder/", i), fmt.Sprintf(`{"value":%q}`, strings.Repeat("x", 1<<i)))
			}
			written := storetest.Cells(t, w.store, kvcompat.Migrations())
			storetest.AwaitFound(t, path, written) // or else it would look in the wrong place
			for i := range keys {
				if i%3 > 0 { // some stay, between those that go
					c.erase(w, fmt.Sprint("folder/", i))
				}
			}
			kept := storetest.Cells(t, w.store, kvcompat.Migrations())
			gone := storetest.Missing(written, kept)
			if len(gone) < keys*2/3 {
				t.Errorf("only %d values were erased", len(gone))
			}
			storetest.AwaitErased(t, path, gone)
			storetest.AwaitFound(t, path, kept)
		})
	}
}
