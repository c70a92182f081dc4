package transfer_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/transfer"
)

// filled makes a store with some rows on a database, and closes it.
func filled(t *testing.T, p place) {
	t.Helper()
	st := mustOpen(t, p)
	err := st.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`insert into shelves (id, room) values ('a', 'x'), ('b', 'canary-room'), ('c', null), ('d', '')`); err != nil {
			return err
		}
		_, err := tx.Exec(`insert into books (id, shelf, raw) values ('one', 'a', $1), ('two', 'b', $1)`, []byte("raw"))
		if err != nil {
			return err
		}
		_, err = tx.Exec(`update books set body = $1 where id = 'two'`, []byte{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, st)
}

// half moves a store until its rows are copied, and stops.
func half(t *testing.T, from, to place) {
	t.Helper()
	ctx, config := stopAt(func(p transfer.Progress) bool { return p.Phase == transfer.Comparing })
	if _, err := move(ctx, from, to, config); !errors.Is(err, context.Canceled) {
		t.Fatalf("it ended with %v", err)
	}
}

func reset(cfg *transfer.Config) { cfg.Reset = true }

func newer(cfg *transfer.Config) { cfg.Migrations = append(cfg.Migrations, shelfTwo) }

// TestRefused: what a move must not touch or take for its own it leaves alone, and says what to do.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, from, to place)
		change  func(cfg *transfer.Config)
		want    string
	}{
		"another store": {func(t *testing.T, from, to place) { filled(t, from); filled(t, to) }, nil,
			"destination: it holds another store: choose an empty database"},
		"another store, and -reset": {func(t *testing.T, from, to place) { filled(t, from); filled(t, to) }, reset,
			"destination: it holds another store: choose an empty database"},
		"moved before": {func(t *testing.T, from, to place) { filled(t, from); mustHaveMoved(t, from, to) }, nil,
			"destination: it holds this store already, whole"},
		"moved before, and -reset": {func(t *testing.T, from, to place) { filled(t, from); mustHaveMoved(t, from, to) }, reset,
			"destination: it holds this store already, whole"},
		"nothing to begin anew": {func(t *testing.T, from, _ place) { filled(t, from) }, reset, "leave out -reset"},
		"somebody else's table": {func(t *testing.T, from, to place) {
			filled(t, from)
			to.raw(t, `create table books (id integer)`)
		}, nil, "destination: it has a table books, and is no store"},
		"half of another store": {func(t *testing.T, from, to place) {
			other := onSQLite(t)
			filled(t, other)
			half(t, other, to)
			filled(t, from)
		}, nil, "destination: it holds the unfinished move of another store"},
		"begun by another program": {func(t *testing.T, from, to place) {
			filled(t, from)
			half(t, from, to)
			mustClose(t, mustOpen(t, from, shelf, shelfTwo))
		}, newer, "destination: it holds a move that another version of this program has begun"},
		"no store": {func(t *testing.T, from, _ place) { from.raw(t, `create table t (id integer)`) }, nil, "source: there is no store in it"},
		"a source half moved": {func(t *testing.T, from, _ place) {
			other := onSQLite(t)
			filled(t, other)
			half(t, other, from)
		}, nil, "source: " + store.ErrHalfMoved.Error()},
		"an older source": {func(t *testing.T, from, _ place) { filled(t, from) }, newer,
			"source: the store was written by an older program: its shelf tables are not at version 2 yet; start the server"},
		"a newer source": {func(t *testing.T, from, _ place) { mustClose(t, mustOpen(t, from, shelf, shelfTwo)) }, nil,
			"source: the store was written by a newer program: its shelf tables are at version 2"},
		"a source changed by hand": {func(t *testing.T, from, to place) {
			filled(t, from)
			from.raw(t, `alter table books add column mine integer`)
		}, nil, "table books"},
		"a source in use":      {func(t *testing.T, from, _ place) { filled(t, from); mustOpen(t, from) }, nil, "open the source: "},
		"a destination in use": {func(t *testing.T, from, to place) { filled(t, from); mustOpen(t, to) }, nil, "open the destination"},
	} {
		t.Run(name, func(t *testing.T) {
			across(t, func(t *testing.T, from, to place) {
				c.prepare(t, from, to)
				change := c.change
				if change == nil {
					change = func(*transfer.Config) {}
				}
				if _, err := move(t.Context(), from, to, change); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got  %v\nwant %s", err, c.want)
				}
			})
		})
	}
}

func mustHaveMoved(t *testing.T, from, to place) {
	t.Helper()
	_, st := mustMove(t, from, to)
	mustClose(t, st)
}

func TestSourceIsDestination(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := kind(t)
			filled(t, p)
			if _, err := move(t.Context(), p, p); err == nil || !strings.Contains(err.Error(), "must be another database than the source") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestServerWaits: no server can open either side while a move is under way.
func TestServerWaits(t *testing.T) {
	across(t, func(t *testing.T, from, to place) {
		filled(t, from)
		tried := 0
		_, err := move(t.Context(), from, to, func(cfg *transfer.Config) {
			cfg.Report = func(p transfer.Progress) {
				if p.Phase != transfer.Opened {
					return
				}
				for _, side := range []place{from, to} {
					if _, err := open(t, side); !errors.Is(err, store.ErrInUse) {
						t.Errorf("a server has opened one of the sides: %v", err)
					}
					tried++
				}
			}
		})
		if err != nil || tried != 2 {
			t.Errorf("tried %d times, %v", tried, err)
		}
		mustOpen(t, from)
		mustOpen(t, to)
	})
}

// TestReset begins anew where a move was cut short, also with another store than before.
func TestReset(t *testing.T) {
	across(t, func(t *testing.T, from, to place) {
		other := onSQLite(t)
		filled(t, other)
		half(t, other, to)
		filled(t, from)
		if _, st := mustMove(t, from, to, reset); st.ID() != mustOpen(t, from).ID() {
			t.Error("it is not the store that was moved last")
		}
	})
}

// TestSourceUsedMeanwhile: a server ran on the source between two parts of a move.
func TestSourceUsedMeanwhile(t *testing.T) {
	across(t, func(t *testing.T, from, to place) {
		filled(t, from)
		half(t, from, to)
		st := mustOpen(t, from)
		if err := st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`update shelves set room = 'moved' where id = 'a'`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, st)
		want := "the source was used since that began" // SQLite keeps the time of its last commit
		if from.dialect().Name() == "postgresql" {
			want = transfer.ErrDiffers.Error()
		}
		if _, err := move(t.Context(), from, to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
		if _, moved := mustMove(t, from, to, reset); len(dump(t, moved)["shelves"]) != 4 {
			t.Error("not all rows are there")
		}
	})
}

// TestComparison finds whatever is not the same, names it, and shows nothing of it.
func TestComparison(t *testing.T) {
	for name, c := range map[string]struct{ spoil, want string }{
		"a changed text":   {`update shelves set room = 'canary-other' where id = 'b'`, `shelves: the row id "b" differs in room`},
		"a text gone":      {`update shelves set room = null where id = 'b'`, `shelves: the row id "b" differs in room`},
		"a text made":      {`update shelves set room = '' where id = 'c'`, `shelves: the row id "c" differs in room`},
		"a changed number": {`update books set pages = 7, note = 'canary' where id = 'one'`, `books: the row seq 1 differs in pages, note`},
		"no bytes":         {`update books set body = raw, raw = body where id = 'two'`, `books: the row seq 2 differs in body, raw`},
		"a row gone":       {`delete from shelves where id = 'c'`, `shelves: the row id "c" is missing in the destination`},
		"a row too many":   {`insert into shelves (id) values ('bb')`, `shelves: the row id "bb" is in the destination alone`},
		"a row behind":     {`insert into shelves (id) values ('z')`, `shelves: the row id "z" is in the destination alone`},
	} {
		t.Run(name, func(t *testing.T) {
			across(t, func(t *testing.T, from, to place) {
				filled(t, from)
				half(t, from, to)
				to.raw(t, c.spoil)
				_, err := move(t.Context(), from, to)
				if !errors.Is(err, transfer.ErrDiffers) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
					t.Errorf("got  %v\nwant %s", err, c.want)
				}
				if _, err := open(t, to); !errors.Is(err, store.ErrHalfMoved) {
					t.Errorf("the spoilt copy can be opened: %v", err)
				}
				mustMove(t, from, to, reset)
			})
		})
	}
}

// TestManyDifferences are counted, not listed.
func TestManyDifferences(t *testing.T) {
	t.Parallel()
	from, to := onSQLite(t), onSQLite(t)
	fill(t, from, false)
	half(t, from, to)
	to.raw(t, `update books set raw = x'00' where id like 'book %'`)
	_, err := move(t.Context(), from, to)
	if !errors.Is(err, transfer.ErrDiffers) || !strings.Contains(err.Error(), "books: 4311 rows more") || strings.Count(err.Error(), "\n") > 15 {
		t.Errorf("got %v", err)
	}
}

// TestNotText: SQLite keeps a text that PostgreSQL cannot. The row is named.
func TestNotText(t *testing.T) {
	t.Parallel()
	from, to := onSQLite(t), onPostgres(t)
	filled(t, from)
	from.raw(t, `update shelves set room = $1 where id = 'b'`, "canary\x00")
	_, err := move(t.Context(), from, to)
	if err == nil || !strings.Contains(err.Error(), `copy table shelves: write the destination: the row id "b"`) || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	from.raw(t, `update shelves set room = 'x' where id = 'b'`)
	mustMove(t, from, to)
}

// TestSchemas: two stores in two schemas of one database do not disturb each other.
func TestSchemas(t *testing.T) {
	t.Parallel()
	db := testdb.Shared(t).Scratch(t)
	from, to := inSchema(db, "first"), inSchema(db, `second "one"`)
	filled(t, from)
	source := mustOpen(t, from)
	want := dump(t, source)
	mustClose(t, source)
	running := mustOpen(t, to)
	if _, err := move(t.Context(), from, to); !errors.Is(err, store.ErrInUse) {
		t.Errorf("got %v", err)
	}
	mustClose(t, running)
	to.raw(t, `drop schema "second ""one""" cascade`)
	_, st := mustMove(t, from, to)
	if diff := cmp.Diff(want, dump(t, st)); diff != "" {
		t.Error(diff)
	}
}

// TestShapes refuses tables that rows cannot be walked through by.
func TestShapes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ table, want string }{
		"no key":   {`create table odd (id TEXT not null) STRICT`, "table odd: it has no primary key"},
		"own type": {`create table odd (id TEXT not null primary key, x real) STRICT`, "table odd: column x has type real"},
		"circle": {`create table odd (id TEXT not null primary key, parent TEXT references odd (id)) STRICT`,
			"the foreign keys of table odd lead back to it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			odd := store.Migration{Package: "odd", Version: 1, SQL: []string{c.table}}
			from, to := onSQLite(t), onSQLite(t)
			mustClose(t, mustOpen(t, from, odd))
			_, err := move(t.Context(), from, to, func(cfg *transfer.Config) { cfg.Migrations = []store.Migration{odd} })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSourceIsOnlyRead: whatever this program did by mistake, the source would refuse it.
func TestSourceIsOnlyRead(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := kind(t)
			filled(t, p)
			mover, _ := p.dialect().(store.Mover)
			source, err := store.OpenRaw(t.Context(), mover, []store.Migration{shelf}, true)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = source.Close() }()
			if _, err := source.Conn.ExecContext(t.Context(), `delete from a_loans`); err == nil {
				t.Error("it was changed")
			}
		})
	}
}
