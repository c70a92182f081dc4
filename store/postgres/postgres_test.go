package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/postgres"
	"leasehold/store/seal"
	"leasehold/store/storetest"
)

func opener(server *testdb.Server) storetest.Opener {
	return func(t testing.TB, migrations ...store.Migration) (*store.Store, error) {
		st, err := store.Open(context.Background(), store.Config{
			Dialect:    postgres.New(postgres.Config{URL: secret.NewText(server.URL()), MaxConns: 8}),
			Clock:      clock.System{},
			Migrations: migrations,
		})
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
		}
		return st, err
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	storetest.Conformance(t, func(t testing.TB) storetest.Opener { return opener(server.Scratch(t)) })
}

func TestNodesThatStartTogether(t *testing.T) {
	t.Parallel()
	storetest.TogetherOpen(t, opener(testdb.Postgres(t, testdb.Durable())))
}

var notes = store.Migration{Package: "notes", Version: 1, SQL: []string{
	`create table notes (id TEXT not null primary key, n BIGINT not null, body BYTES) STRICT`,
}, Sealed: []store.SealedColumn{{Table: "notes", Column: "body", KeyColumn: "id"}}}

// node is one of several servers on one database.
func node(t *testing.T, server *testdb.Server) (*store.Store, *seal.Barrier) {
	t.Helper()
	st, err := opener(server)(t, append(seal.Migrations(), notes)...)
	if err != nil {
		t.Fatal(err)
	}
	return st, seal.New(st, slog.New(slog.DiscardHandler))
}

func put(st *store.Store, id string) error {
	return st.Update(context.Background(), func(tx *store.Tx) error {
		sealed, err := tx.Seal(store.Cell{Table: "notes", Column: "body", Key: id}, []byte("value of "+id))
		if err != nil {
			return err
		}
		_, err = tx.Exec(`insert into notes (id, n, body) values ($1, 0, $2)`, id, sealed)
		return err
	})
}

func TestNodesThatInitialiseTogether(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	var mu sync.Mutex
	var winners [][]secret.Bytes
	var group sync.WaitGroup
	for range 4 {
		_, b := node(t, server)
		group.Go(func() {
			shares, err := b.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1}, func(tx *store.Tx) error {
				_, err := tx.Exec(`insert into notes (id, n) values ($1, 0)`, "seed")
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, shares)
			} else if !errors.Is(err, seal.ErrInitialized) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d nodes initialised the store", len(winners))
	}
	_, b := node(t, server)
	if status, err := b.Unseal(t.Context(), winners[0][0].Reveal()); err != nil || status.Sealed {
		t.Errorf("got %+v, %v", status, err)
	}
}

// A node that has not heard of a rotation reads the keyring when it meets the new key, even with rows open and with
// every connection for Views in use.
func TestANodeLearnsOfARotation(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	one, first := node(t, server)
	two, second := node(t, server)
	shares, err := first.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1}, func(*store.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*seal.Barrier{first, second} {
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := put(one, id); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			read := 0
			err := two.View(t.Context(), func(tx *store.Tx) error {
				rows, err := tx.Query(`select id, body from notes`)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					var id string
					var sealed []byte
					if err := rows.Scan(&id, &sealed); err != nil {
						return err
					}
					if _, err := tx.Open(store.Cell{Table: "notes", Column: "body", Key: id}, sealed); err != nil {
						return err
					}
					read++
				}
				return rows.Err()
			})
			if err != nil || read != 3 {
				t.Errorf("read %d, %v", read, err)
			}
		})
	}
	group.Wait()
	// Rotations of both nodes add up.
	if err := second.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(two, "d"); err != nil {
		t.Fatal(err)
	}
	checked, bad, err := one.Verify(t.Context())
	if checked != 4 || len(bad) > 0 || err != nil {
		t.Errorf("checked %d, bad %v, %v", checked, bad, err)
	}
	if term, _, _, err := first.KeyStatus(t.Context()); term != 3 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
}

// A node that follows a rotation seals with the new key before it has met a value of it.
func TestANodeFollowsARotation(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	_, first := node(t, server)
	two, second := node(t, server)
	shares, err := first.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1}, func(*store.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := two.View(t.Context(), second.Follow); !errors.Is(err, store.ErrSealed) {
		t.Errorf("a sealed node follows: %v", err)
	}
	for _, b := range []*seal.Barrier{first, second} {
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint32{2, 2} { // the second time there is nothing to follow
		if err := two.View(t.Context(), second.Follow); err != nil {
			t.Fatal(err)
		}
		if got, _ := two.Keyring().Newest(); got != want {
			t.Errorf("the newest key is %d, want %d", got, want)
		}
	}
}

// Two nodes read and write the same rows; every transaction that is answered holds.
func TestNodesCollideAndRunAgain(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	one, _ := node(t, server)
	two, _ := node(t, server)
	err := one.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`insert into notes (id, n) values ('a', 0), ('b', 0)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			st := []*store.Store{one, two}[i%2]
			for range 5 {
				err := st.Update(t.Context(), func(tx *store.Tx) error {
					var n int64
					if err := tx.QueryRow(`select max(n) from notes`).Scan(&n); err != nil {
						return err
					}
					if _, err := tx.Exec(`update notes set n = $1 where id = $2`, n+1, string("ab"[i/2%2])); err != nil {
						return errs.New(errs.Internal, "this says nothing of the collision") // as a careless caller does
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	var n int64
	err = one.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`select max(n) from notes`).Scan(&n) })
	if n != 8*5 || err != nil {
		t.Errorf("counted to %d, want %d; %v", n, 8*5, err)
	}
}

func TestARestartedDatabaseIsFoundAgain(t *testing.T) {
	t.Parallel()
	server := testdb.Postgres(t, testdb.Durable())
	st, err := opener(server)(t, notes)
	if err != nil {
		t.Fatal(err)
	}
	st.Unlock(keyring.New(st.Clock().Now()))
	if err := put(st, "before"); err != nil {
		t.Fatal(err)
	}
	server.Crash()
	if err := put(st, "meanwhile"); err == nil {
		t.Error("an Update went through without a database")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := put(st, "after"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if checked, bad, err := st.Verify(t.Context()); checked != 2 || len(bad) > 0 || err != nil {
		t.Errorf("checked %d, bad %v, %v", checked, bad, err)
	}
}

func TestTheURLIsNotInErrors(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgresql://user:canary-5d21@127.0.0.1:1/db?connect_timeout=1",
		"postgresql://user:canary-5d21@127.0.0.1:notaport/db",
		"postgresql://user:canary-5d21@%zz/db",
	} {
		_, err := store.Open(t.Context(), store.Config{Dialect: postgres.New(postgres.Config{URL: secret.NewText(url)}), Clock: clock.System{}})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	}
}

// An acknowledged commit is durable whatever the server's default is.
func TestSynchronousCommit(t *testing.T) {
	t.Parallel()
	for was, want := range map[string]string{"off": "on", "local": "local"} {
		server := testdb.Postgres(t, testdb.With("synchronous_commit", was))
		st, err := opener(server)(t, notes)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		err = st.Update(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`show synchronous_commit`).Scan(&got) })
		if got != want || err != nil {
			t.Errorf("%s: got %q, %v", was, got, err)
		}
	}
}
