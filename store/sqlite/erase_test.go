package sqlite_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/sqlite"
	"leasehold/store/storetest"
)

// openErasing opens a store that does not wait long before it erases.
func openErasing(tb testing.TB, path string) *store.Store {
	tb.Helper()
	st, err := store.Open(context.Background(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: path, EraseWithin: 250 * time.Millisecond}), Clock: clock.System{},
		Migrations: []store.Migration{notes},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = st.Close() }) // some tests close it themselves
	st.Unlock(keyring.New(st.Clock().Now()))
	return st
}

// churn is a store whose rows are written, replaced by longer and shorter ones, and deleted, so that SQLite moves them about.
type churn struct {
	st     *store.Store
	dice   *rand.Rand
	live   map[string][]byte
	erased [][]byte
}

func newChurn(t *testing.T, path string) *churn {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &churn{st: openErasing(t, path), dice: rand.New(rand.NewPCG(seed, 0)), live: map[string][]byte{}}
}

func (c *churn) rounds(t *testing.T, n int) {
	t.Helper()
	for range n {
		err := c.st.Update(t.Context(), func(tx *store.Tx) error {
			for range 400 {
				if err := c.step(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (c *churn) step(tx *store.Tx) error {
	id, q := fmt.Sprintf("%x", c.dice.Uint64()), `insert into notes (id, part, body) values ($1, $2, $3)`
	if c.dice.IntN(100) < 58 {
		for known, body := range c.live { // any one
			c.erased = append(c.erased, body)
			if c.dice.IntN(2) == 0 {
				delete(c.live, known)
				_, err := tx.Exec(`delete from notes where id = $1`, known)
				return err
			}
			id, q = known, `update notes set part = $2, body = $3 where id = $1`
			break
		}
	}
	size := c.dice.IntN(300)
	if c.dice.IntN(3) == 0 {
		size = c.dice.IntN(9000) // more than a page holds
	}
	sealed, err := tx.Seal(store.Cell{Table: "notes", Column: "body", Key: id}, make([]byte, size))
	if err != nil {
		return err
	}
	c.live[id] = sealed
	_, err = tx.Exec(q, id, 0, sealed)
	return err
}

func TestErasedValuesAreInNoFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	c := newChurn(t, path)
	c.rounds(t, 20)
	live := slices.Collect(maps.Values(c.live))
	storetest.AwaitErased(t, path, c.erased)
	storetest.AwaitFound(t, path, live) // or else it would look in the wrong place
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("the log is not empty: %v, %v", info, err)
	}
	t.Logf("%d values are live, %d were erased", len(live), len(c.erased))
}

// What erases touches the pages of the file, so they are looked at by SQLite itself while it does.
func TestErasingDoesNoHarm(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	c := newChurn(t, path)
	for range 8 {
		c.rounds(t, 1)
		if _, bad, err := c.st.Verify(t.Context()); err != nil || len(bad) > 0 {
			t.Fatalf("values that do not open: %v, %v", bad, err)
		}
		var verdict string
		err := c.st.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`pragma integrity_check`).Scan(&verdict) })
		if err != nil || verdict != "ok" {
			t.Fatalf("integrity: %s, %v", verdict, err)
		}
	}
	if err := c.st.Close(); err != nil {
		t.Fatal(err)
	}
	c.st = openErasing(t, path)
	rows := 0
	err := c.st.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`select count(*) from notes`).Scan(&rows) })
	if err != nil || rows != len(c.live) {
		t.Errorf("%d rows, want %d; %v", rows, len(c.live), err)
	}
}

// A View that reads for long keeps the log from being emptied, and no commit from being made. The log is emptied after it.
func TestErasingWaitsForViews(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	c := newChurn(t, path)
	c.rounds(t, 1)
	err := c.st.View(t.Context(), func(tx *store.Tx) error {
		count := func() (rows int) {
			if err := tx.QueryRow(`select count(*) from notes`).Scan(&rows); err != nil {
				t.Error(err)
			}
			return rows
		}
		before := count()
		c.rounds(t, 3)
		if after := count(); after != before {
			t.Errorf("the View sees %d rows, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	storetest.AwaitErased(t, path, c.erased)
}

// visitor tells how many rows there are, as any program that opens the file.
const visitor = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute("select count(*) from notes").fetchone()[0])
db.close()`

// Another program that looks into the file while the store is open, and closes it again, must not take itself for the last to
// do so: it would remove the log that the store goes on writing to.
func TestErasingKeepsTheLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	st := openErasing(t, path)
	if err := putPair(st, "first"); err != nil {
		t.Fatal(err)
	}
	for emptied := false; !emptied; { // the eraser is at work
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		emptied = info.Size() == 0
	}
	for i := range 8 {
		if err := putPair(st, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("python3", "-c", visitor, path).CombinedOutput()
		if want := fmt.Sprintln(2 * (i + 2)); err != nil || string(out) != want {
			t.Fatalf("the other program sees %swant %s%v", out, want, err)
		}
	}
}

// What does it cost to erase? Each Update puts a row of 1 KiB in and deletes the one before it; synchronous=FULL.
//
// Two cores, busy, 10,000 of them on a file system in memory: 0.94 s of processor time with secure_delete, 0.89 s without.
func BenchmarkErase(b *testing.B) {
	body := make([]byte, 1<<10)
	st := mustOpen(b, filepath.Join(b.TempDir(), "store.db"))
	i := 0
	for b.Loop() {
		err := st.Update(b.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`delete from notes where id = $1`, fmt.Sprint(i)); err != nil {
				return err
			}
			i++
			return put(tx, fmt.Sprint(i), 0, body)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
