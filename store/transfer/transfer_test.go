package transfer_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/postgres"
	"leasehold/store/sqlite"
	"leasehold/store/transfer"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

// place is one database. raw runs SQL in it behind the store's back.
type place struct {
	dialect func() store.Dialect
	raw     func(t testing.TB, q string, args ...any)
}

func onSQLite(t testing.TB) place {
	path := filepath.Join(t.TempDir(), "store.db")
	return place{
		dialect: func() store.Dialect { return sqlite.New(sqlite.Config{Path: path}) },
		raw: func(t testing.TB, q string, args ...any) {
			t.Helper()
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if _, err := db.Exec(q, args...); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		},
	}
}

func onPostgres(t testing.TB) place {
	return inSchema(testdb.Shared(t).Scratch(t), "")
}

func inSchema(db *testdb.Server, schema string) place {
	return place{
		dialect: func() store.Dialect {
			return postgres.New(postgres.Config{URL: secret.NewText(db.URL()), Schema: schema, MaxConns: 4})
		},
		raw: func(t testing.TB, q string, args ...any) {
			t.Helper()
			if _, err := db.Conn(t).Exec(t.Context(), q, args...); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		},
	}
}

// kinds are the databases by name.
var kinds = map[string]func(testing.TB) place{"sqlite": onSQLite, "postgresql": onPostgres}

// directions runs a test from each database to each.
func directions(t *testing.T, run func(t *testing.T, from, to place)) {
	t.Parallel()
	for fromName, from := range kinds {
		for toName, to := range kinds {
			t.Run(fromName+" to "+toName, func(t *testing.T) {
				t.Parallel()
				run(t, from(t), to(t))
			})
		}
	}
}

// across runs a test from each database to the other.
func across(t *testing.T, run func(t *testing.T, from, to place)) {
	t.Parallel()
	for name, pair := range map[string][2]func(testing.TB) place{"to postgresql": {onSQLite, onPostgres}, "to sqlite": {onPostgres, onSQLite}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, pair[0](t), pair[1](t))
		})
	}
}

// shelf has what packages' tables have, and in the first table's name one that comes before those it depends on.
var shelf = store.Migration{Package: "shelf", Version: 1, SQL: []string{
	`create table shelves (id TEXT not null primary key, room TEXT) STRICT`,
	`create table books (
		seq SEQ,
		id TEXT not null unique,
		shelf TEXT not null references shelves (id),
		pages BIGINT,
		note TEXT,
		body BYTES,
		raw BYTES not null) STRICT`,
	`create table a_loans (book BIGINT not null references books (seq), reader BYTES not null, since BIGINT not null,
		primary key (reader, book)) STRICT`,
	`create table vacant (id BIGINT not null primary key) STRICT`,
}, Sealed: []store.SealedColumn{{Table: "books", Column: "body", KeyColumn: "id"}}}

var shelfTwo = store.Migration{Package: "shelf", Version: 2, SQL: []string{`alter table books add column extra BIGINT not null default 7`}}

func open(t testing.TB, p place, migrations ...store.Migration) (*store.Store, error) {
	t.Helper()
	if migrations == nil {
		migrations = []store.Migration{shelf}
	}
	st, err := store.Open(t.Context(), store.Config{Dialect: p.dialect(), Clock: clock.System{}, Migrations: migrations})
	if err == nil {
		t.Cleanup(func() { _ = st.Close() })
	}
	return st, err
}

func mustOpen(t testing.TB, p place, migrations ...store.Migration) *store.Store {
	t.Helper()
	st, err := open(t, p, migrations...)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func mustClose(t testing.TB, st *store.Store) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func move(ctx context.Context, from, to place, change ...func(*transfer.Config)) (transfer.Summary, error) {
	source, _ := from.dialect().(store.Mover)
	destination, _ := to.dialect().(store.Mover)
	cfg := transfer.Config{Source: source, Destination: destination, Migrations: []store.Migration{shelf}, Clock: clock.System{}}
	for _, c := range change {
		c(&cfg)
	}
	return transfer.Move(ctx, cfg)
}

// mustMove moves, and opens the new store.
func mustMove(t *testing.T, from, to place, change ...func(*transfer.Config)) (transfer.Summary, *store.Store) {
	t.Helper()
	summary, err := move(t.Context(), from, to, change...)
	if err != nil {
		t.Fatal(err)
	}
	return summary, mustOpen(t, to)
}

// stopAt cuts a move short at the first report that it wants.
func stopAt(want func(p transfer.Progress) bool) (context.Context, func(*transfer.Config)) {
	ctx, cancel := context.WithCancel(context.Background())
	return ctx, func(cfg *transfer.Config) {
		cfg.Report = func(p transfer.Progress) {
			if want(p) {
				cancel()
			}
		}
	}
}

// hostile are texts that a copy by text, by order or by length would spoil.
var hostile = []string{
	"", " ", "'; drop table books; --", `"quoted" \ back`, "new\nline\ttab\r\n", "%s %d {{x}} $1 ?", "ünïcödé", "\u202eright to left",
	"日本語", "🔑", "Z", "a", "A", "~", "\u00ff", "e\u0301", "\u00e9", "null", "NULL", "0", "1e3", strings.Repeat("x", 2000),
	"\x01\x1f\x7f",
}

const (
	plainBooks = 4321 // more than two batches
	bigBooks   = 2
)

// fill makes a store with every kind of value, big ones if so wanted, and closes it. The highest assigned numbers are gone
// again. It returns the store's id, its keyring, and what it holds.
func fill(t testing.TB, p place, big bool) (id string, ring []byte, content map[string][]string) {
	t.Helper()
	st := mustOpen(t, p)
	fresh := keyring.New(time.Unix(1, 0))
	ring, err := fresh.Encode()
	if err != nil {
		t.Fatal(err)
	}
	st.Unlock(fresh)
	value := bytes.Repeat([]byte{0, 1, 2, 0xff, '\''}, 1<<10)
	if big {
		value = bytes.Repeat(value, 1<<10) // 5 MiB
	}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		for i, text := range hostile {
			if _, err := tx.Exec(`insert into shelves (id, room) values ($1, $2)`, "shelf "+text, text); err != nil {
				return err
			}
			body, err := tx.Seal(store.Cell{Table: "books", Column: "body", Key: text}, []byte(text))
			if err != nil {
				return err
			}
			var seq int64
			err = tx.QueryRow(`insert into books (id, shelf, pages, note, body, raw) values ($1, $2, $3, $4, $5, $6) returning seq`,
				text, "shelf "+text, []any{nil, int64(0), int64(math.MaxInt64), int64(math.MinInt64)}[i%4], []any{nil, text}[i%2], body,
				[][]byte{{}, {0}, []byte(text + "\x00"), bytes.Repeat([]byte{0xfe}, i)}[i%4]).Scan(&seq)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`insert into a_loans (book, reader, since) values ($1, $2, 1), ($1, $3, 2)`,
				seq, []byte{byte(255 - i), 0}, []byte{byte(i)}); err != nil {
				return err
			}
		}
		for i := range bigBooks {
			if _, err := tx.Exec(`insert into books (id, shelf, raw) values ($1, 'shelf ', $2)`, fmt.Sprintf("big %d", i), value); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`insert into books (id, shelf, pages, raw)
			with recursive n (i) as (select 1 union all select i + 1 from n where i < $1) select 'book ' || i, 'shelf ', i, $2 from n`,
			plainBooks, []byte("raw"))
		if err != nil {
			return err
		}
		for range 5 {
			if _, err := tx.Exec(`insert into books (id, shelf, raw) values ('last', 'shelf ', $1)`, []byte{}); err != nil {
				return err
			}
			if _, err := tx.Exec(`delete from books where id = 'last'`); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	content = dump(t, st)
	mustClose(t, st)
	return st.ID(), ring, content
}

// allRows is how many rows fill leaves.
var allRows = int64(4*len(hostile) + bigBooks + plainBooks)

var keys = map[string]string{"shelves": "id", "books": "seq", "a_loans": "reader, book", "vacant": "id"}

// dump is all that a store holds, by table.
func dump(t testing.TB, st *store.Store) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := st.View(t.Context(), func(tx *store.Tx) error {
		for table, columns := range map[string]string{
			"shelves": "id, room", "books": "seq, id, shelf, pages, note, body, raw", "a_loans": "reader, book, since", "vacant": "id",
		} {
			all[table] = []string{}
			list, err := tx.Query(`select ` + columns + ` from ` + table + ` order by ` + keys[table])
			if err != nil {
				return err
			}
			values := make([]any, strings.Count(columns, ",")+1)
			into := make([]any, len(values))
			for i := range values {
				into[i] = &values[i]
			}
			for list.Next() {
				if err := list.Scan(into...); err != nil {
					return err
				}
				var line strings.Builder
				for _, v := range values {
					if b, ok := v.([]byte); ok && len(b) > 100 {
						v = fmt.Sprintf("%d bytes: %x", len(b), b[:100])
					} else if ok {
						v = fmt.Sprintf("bytes %x", b)
					}
					fmt.Fprintf(&line, "%#v ", v)
				}
				all[table] = append(all[table], line.String())
			}
			if err := list.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// newBook is the number that the database assigns next.
func newBook(t testing.TB, st *store.Store) (seq int64) {
	t.Helper()
	err := st.Update(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`insert into books (id, shelf, raw) values ('new', 'shelf ', $1) returning seq`, []byte{}).Scan(&seq)
	})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// TestMove: whatever a store holds is there afterwards, and the store goes on as if it had never moved.
func TestMove(t *testing.T) {
	directions(t, func(t *testing.T, from, to place) {
		id, ring, before := fill(t, from, true)
		var seen []transfer.Progress
		summary, st := mustMove(t, from, to, func(cfg *transfer.Config) {
			cfg.Report = func(p transfer.Progress) { seen = append(seen, p) }
		})
		if summary.Rows != allRows || summary.Copied != summary.Rows || summary.Tables != 4 {
			t.Errorf("the summary is %+v, rows: %d", summary, allRows)
		}
		if p := seen[len(seen)-1]; p.Phase != transfer.Comparing || !p.Ended || p.Done != p.Rows {
			t.Errorf("the last report is %+v", p)
		}
		if diff := cmp.Diff(before, dump(t, st)); diff != "" {
			t.Error(diff)
		}
		if st.ID() != id {
			t.Errorf("the store's id was %s, is %s", id, st.ID())
		}
		read, err := keyring.Decode(ring)
		if err != nil {
			t.Fatal(err)
		}
		st.Unlock(read)
		if checked, bad, err := st.Verify(t.Context()); err != nil || checked != len(hostile) || bad != nil {
			t.Errorf("%d cells, bad: %v, %v", checked, bad, err)
		}
		if want, got := int64(len(hostile)+bigBooks+plainBooks+5), newBook(t, st); got <= want {
			t.Errorf("number %d is assigned, though %d was assigned before", got, want)
		}
		if diff := cmp.Diff(before, dump(t, mustOpen(t, from))); diff != "" {
			t.Errorf("the source was changed:\n%s", diff)
		}
	})
}

// TestEmptyTablesKeepTheirNumbers: nothing is left in the table, and its numbers are not used again all the same.
func TestEmptyTablesKeepTheirNumbers(t *testing.T) {
	directions(t, func(t *testing.T, from, to place) {
		source := mustOpen(t, from)
		err := source.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`insert into shelves (id) values ('shelf ')`); err != nil {
				return err
			}
			for range 3 {
				if _, err := tx.Exec(`insert into books (id, shelf, raw) values ('x', 'shelf ', $1)`, []byte{}); err != nil {
					return err
				}
				if _, err := tx.Exec(`delete from books`); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, source)
		if _, st := mustMove(t, from, to); newBook(t, st) != 4 {
			t.Error("a number was assigned again")
		}
	})
}

// TestTimeGoesOn: the store's time is never earlier than what it was in the source, whatever the clocks say.
func TestTimeGoesOn(t *testing.T) {
	t.Parallel()
	ahead := clock.NewFake(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	file := filepath.Join(t.TempDir(), "store.db")
	db := testdb.Shared(t).Scratch(t)
	for name, dialect := range map[string]func() store.Dialect{
		"sqlite": func() store.Dialect { return sqlite.New(sqlite.Config{Path: file}) },
		"postgresql": func() store.Dialect {
			return postgres.New(postgres.Config{URL: secret.NewText(db.URL()), MaxConns: 4, Clock: ahead})
		},
	} {
		for kind, destination := range kinds {
			t.Run(name+" to "+kind, func(t *testing.T) {
				st, err := store.Open(t.Context(), store.Config{Dialect: dialect(), Clock: ahead, Migrations: []store.Migration{shelf}})
				if err != nil {
					t.Fatal(err)
				}
				if err := st.Update(t.Context(), func(*store.Tx) error { return nil }); err != nil {
					t.Fatal(err)
				}
				mustClose(t, st)
				_, moved := mustMove(t, place{dialect: dialect}, destination(t))
				err = moved.View(t.Context(), func(tx *store.Tx) error {
					if tx.Now().Before(ahead.Now()) {
						t.Errorf("the store's time went back to %s", tx.Now())
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestInterrupted: a move that is cut short anywhere cannot be opened, and goes on.
func TestInterrupted(t *testing.T) {
	for name, at := range map[string]func(p transfer.Progress) bool{
		"prepared":       func(p transfer.Progress) bool { return p.Phase == transfer.Opened },
		"at a new table": func(p transfer.Progress) bool { return p.Phase == transfer.Copying && p.Table == "a_loans" },
		"in a table": func(p transfer.Progress) bool {
			return p.Phase == transfer.Copying && p.Table == "books" && p.Done >= 2000 && !p.Ended
		},
		"copied":    func(p transfer.Progress) bool { return p.Phase == transfer.Comparing },
		"comparing": func(p transfer.Progress) bool { return p.Phase == transfer.Comparing && p.Done > 0 && !p.Ended },
		"compared": func(p transfer.Progress) bool {
			return p.Phase == transfer.Comparing && p.Table == "a_loans" && p.Ended
		},
	} {
		t.Run(name, func(t *testing.T) {
			across(t, func(t *testing.T, from, to place) {
				_, _, before := fill(t, from, false)

				ctx, config := stopAt(at)
				if _, err := move(ctx, from, to, config); !errors.Is(err, context.Canceled) {
					t.Fatalf("it ended with %v", err)
				}
				if _, err := open(t, to); !errors.Is(err, store.ErrHalfMoved) {
					t.Errorf("a half-done store was opened: %v", err)
				}
				var there int64
				summary, st := mustMove(t, from, to, func(cfg *transfer.Config) {
					cfg.Report = func(p transfer.Progress) {
						if p.Phase == transfer.Copying && p.Ended {
							there += p.Before
						}
					}
				})
				if summary.Copied+there != allRows {
					t.Errorf("%d rows were there, %d were copied, there are %d", there, summary.Copied, allRows)
				}
				if name == "in a table" && there < 2000 {
					t.Errorf("only %d rows were kept", there)
				}
				if diff := cmp.Diff(before, dump(t, st)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
