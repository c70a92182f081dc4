package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/sqlite"
)

// The test binary is also the child process of the tests that need a second one.
func TestMain(m *testing.M) {
	if path := os.Getenv("LEASEHOLD_TEST_WRITER"); path != "" {
		writeForEver(path)
	}
	goleak.VerifyTestMain(m)
}

var notes = store.Migration{Package: "notes", Version: 1, SQL: []string{
	`create table notes (seq SEQ, id TEXT not null unique, part BIGINT not null, body BYTES not null) STRICT`,
}, Sealed: []store.SealedColumn{{Table: "notes", Column: "body", KeyColumn: "id"}}}

func open(path string, clk clock.Clock) (*store.Store, error) {
	return store.Open(context.Background(), store.Config{
		Dialect: sqlite.New(sqlite.Config{Path: path}), Clock: clk, Migrations: []store.Migration{notes},
	})
}

func mustOpen(t testing.TB, path string) *store.Store {
	t.Helper()
	st, err := open(path, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // some tests close it themselves
	st.Unlock(keyring.New(st.Clock().Now()))
	return st
}

func put(tx *store.Tx, id string, part int, body []byte) error {
	sealed, err := tx.Seal(store.Cell{Table: "notes", Column: "body", Key: id}, body)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`insert into notes (id, part, body) values ($1, $2, $3)`, id, part, sealed)
	return err
}

// putPair writes two rows in one Update, with statements in between that give a kill time to strike.
func putPair(st *store.Store, id string) error {
	return st.Update(context.Background(), func(tx *store.Tx) error {
		for part := range 2 {
			if err := put(tx, fmt.Sprintf("%s.%d", id, part), part, bytes.Repeat([]byte{'x'}, 700)); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeForEver writes pairs from eight goroutines, and prints the name of each pair once it is acknowledged.
func writeForEver(path string) {
	st, err := open(path, clock.System{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	st.Unlock(keyring.New(st.Clock().Now()))
	fmt.Println("open")
	var mu sync.Mutex
	var n atomic.Int64
	for range 8 {
		go func() {
			for {
				id := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(n.Add(1), 10)
				if err := putPair(st, id); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// startWriter starts the child and waits until it has the store open.
func startWriter(t *testing.T, path string) (cmd *exec.Cmd, lines *bufio.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "LEASEHOLD_TEST_WRITER="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is dead already, unless the test has failed
		_ = cmd.Wait()
	})
	lines = bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "open\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd, lines
}

func TestKilledProcessLosesNothingAcknowledgedAndLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	acknowledged := map[string]bool{}
	for round := range 8 {
		cmd, lines := startWriter(t, path)
		// Killed at another point of the work each time.
		for i := 0; ; i++ {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				break // what is left after the kill was acknowledged as well, up to a torn line
			}
			if err != nil || strings.HasPrefix(line, "error") {
				t.Fatalf("the child says %q, %v", line, err)
			}
			acknowledged[strings.TrimSpace(line)] = true
			if i == 40+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed

		st := mustOpen(t, path)
		parts := map[string]int{}
		err := st.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(`select id from notes`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id string
				if err := rows.Scan(&id); err != nil {
					return err
				}
				pair, _, _ := strings.Cut(id, ".")
				parts[pair]++
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		for id := range acknowledged {
			if parts[id] != 2 {
				t.Errorf("round %d: pair %s was acknowledged, and has %d rows", round, id, parts[id])
			}
		}
		for id, n := range parts {
			if n != 2 {
				t.Errorf("round %d: half of pair %s is there", round, id)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 500 {
		t.Errorf("only %d pairs were written: the test shows little", len(acknowledged))
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	cmd, lines := startWriter(t, path)
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	if _, err := open(path, clock.System{}); err == nil || !strings.Contains(err.Error(), "another process has this store open") {
		t.Fatalf("got %v", err)
	}
	// The lock goes with the process.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	mustOpen(t, path)
	// The same process is no exception.
	if _, err := open(path, clock.System{}); err == nil {
		t.Error("the store was opened twice")
	}
}

// A kill cannot show what a power cut would: these settings are what SQLite's promise hangs on.
func TestConnectionsAreSetForDurability(t *testing.T) {
	t.Parallel()
	st := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	settings := func(into map[string]string) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			for _, name := range []string{"journal_mode", "synchronous", "foreign_keys", "query_only", "secure_delete"} {
				var value string
				if err := tx.QueryRow(`pragma ` + name).Scan(&value); err != nil {
					return err
				}
				into[name] = value
			}
			return nil
		}
	}
	write, read := map[string]string{}, map[string]string{}
	if err := errors.Join(st.Update(t.Context(), settings(write)), st.View(t.Context(), settings(read))); err != nil {
		t.Fatal(err)
	}
	full := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "query_only": "0", "secure_delete": "1"}
	if diff := cmp.Diff(full, write); diff != "" {
		t.Error("writer", diff)
	}
	if read["journal_mode"] != "wal" || read["query_only"] != "1" {
		t.Error("reader", read)
	}
}

func TestFilesHoldNoPlaintextAndAreForTheirOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	st := mustOpen(t, path)
	err := st.Update(t.Context(), func(tx *store.Tx) error { return put(tx, "one", 0, []byte("canary-51c0")) })
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, name := range []string{path, path + "-wal", path + "-shm", path + ".lock"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("canary")) {
			t.Errorf("%s holds the plain value", filepath.Base(name))
		}
		found = found || bytes.Contains(content, []byte("one"))
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
	if !found {
		t.Error("the row is in none of the files: the test looks in the wrong place")
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	st := mustOpen(t, path)
	for i := range 50 {
		if err := putPair(st, strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) < 10*4096 {
		t.Fatalf("the file has %d bytes: too few to cut", len(whole))
	}
	for name, content := range map[string][]byte{
		"cut in the middle":  whole[:len(whole)/2/4096*4096],
		"not a database":     bytes.Repeat([]byte("nonsense"), 1000),
		"first page damaged": append(bytes.Repeat([]byte{0xff}, 200), whole[200:]...),
	} {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := open(path, clock.System{})
		if err == nil {
			_ = st.Close()
			t.Errorf("%s: it was opened", name)
			continue
		}
		if !strings.Contains(err.Error(), "malformed") && !strings.Contains(err.Error(), "not a database") {
			t.Errorf("%s: unclear: %v", name, err)
		}
	}
}

// full plays a full disk: the file must not grow. It holds until the connection is replaced.
func full(tx *store.Tx) error {
	var pages int
	return tx.QueryRow(`pragma max_page_count = 1`).Scan(&pages) // SQLite takes the present size instead
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	st := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	if err := putPair(st, "before"); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte{1}, 100_000)
	err := st.Update(t.Context(), func(tx *store.Tx) error {
		if err := full(tx); err != nil {
			return err
		}
		if err := put(tx, "small", 0, nil); err != nil {
			return err
		}
		if put(tx, "large", 0, large) == nil {
			t.Error("the disk was not full")
		}
		// Whoever goes on regardless gets nowhere.
		if put(tx, "more", 0, nil) == nil {
			t.Error("the transaction went on")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v", err)
	}
	// Among others that share the commit: each is told, and what it was told is true.
	var group sync.WaitGroup
	var acknowledged atomic.Int64
	for i := range 60 {
		group.Go(func() {
			err := st.Update(t.Context(), func(tx *store.Tx) error {
				if err := full(tx); err != nil {
					return err
				}
				if i%5 == 0 {
					return put(tx, fmt.Sprint(i), 0, large)
				}
				_, err := tx.Exec(`update notes set part = part + 1 where id = 'before.0'`)
				return err
			})
			switch {
			case err == nil && i%5 == 0:
				t.Errorf("%d was written to a full disk", i)
			case err == nil:
				acknowledged.Add(1)
			case !strings.Contains(err.Error(), "full"):
				t.Errorf("%d: got %v", i, err)
			}
		})
	}
	group.Wait()
	var parts, rows int64
	err = st.View(t.Context(), func(tx *store.Tx) error {
		if err := tx.QueryRow(`select count(*) from notes`).Scan(&rows); err != nil {
			return err
		}
		return tx.QueryRow(`select part from notes where id = 'before.0'`).Scan(&parts)
	})
	if err != nil || rows != 2 || parts != acknowledged.Load() {
		t.Errorf("%d rows, want 2; %d increments, %d acknowledged; %v", rows, parts, acknowledged.Load(), err)
	}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		var pages int
		return tx.QueryRow(`pragma max_page_count = 1000000`).Scan(&pages)
	})
	if err = errors.Join(err, putPair(st, "after")); err != nil {
		t.Errorf("after the disk has room again: %v", err)
	}
}

func TestTimeDoesNotGoBackThroughARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	clk := clock.NewFake(noon)
	now := func(st *store.Store) (now time.Time) {
		t.Helper()
		err := st.Update(t.Context(), func(tx *store.Tx) error { now = tx.Now(); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	st, err := open(path, clk)
	if err != nil {
		t.Fatal(err)
	}
	if got := now(st); !got.Equal(noon) {
		t.Errorf("got %v", got)
	}
	clk.Advance(-time.Hour)
	if got := now(st); !got.Equal(noon) {
		t.Errorf("after the clock was set back: got %v", got)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = open(path, clk); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if got := now(st); !got.Equal(noon) {
		t.Errorf("after a restart: got %v", got)
	}
	clk.Advance(2 * time.Hour)
	if got := now(st); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("after the clock has caught up: got %v", got)
	}
}

func TestACallThatWaitsCanBeCancelled(t *testing.T) {
	t.Parallel()
	st := mustOpen(t, filepath.Join(t.TempDir(), "store.db"))
	inside, leave := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		err := st.Update(context.Background(), func(tx *store.Tx) error {
			close(inside)
			<-leave
			return put(tx, "first", 0, nil)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 10 {
		group.Go(func() {
			err := st.Update(ctx, func(tx *store.Tx) error { return put(tx, fmt.Sprint(i), 0, nil) })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	cancel()
	// Those that were cancelled leave at once: the first is still inside.
	waited := make(chan struct{})
	go func() { group.Wait(); close(waited) }()
	close(leave)
	<-waited
	if err := putPair(st, "last"); err != nil {
		t.Error(err)
	}
	var rows int
	err := st.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`select count(*) from notes`).Scan(&rows) })
	if err != nil || rows != 3 {
		t.Errorf("%d rows, want 3; %v", rows, err)
	}
}

func TestNothingIsKeptWithoutAPath(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	st := mustOpen(t, "")
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			if err := putPair(st, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
			if _, bad, err := st.Verify(t.Context()); err != nil || len(bad) > 0 {
				t.Error(bad, err)
			}
		})
	}
	group.Wait()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
