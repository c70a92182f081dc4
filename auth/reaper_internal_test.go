package auth

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/store"
	"leasehold/store/storetest"
)

// newReaper is a token store whose tokens have the given number of leases each.
func newReaper(t testing.TB, leases int) (*Store, *store.Store, *clock.Fake) {
	t.Helper()
	clk := clock.NewFake(time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC))
	table := store.Migration{Package: "testleases", Version: 1, SQL: []string{
		`CREATE TABLE test_leases (token BIGINT NOT NULL PRIMARY KEY, left_over BIGINT NOT NULL) STRICT`,
	}}
	st := storetest.NewAt(t, clk, append(Migrations(), table)...)
	s, err := New(Config{Store: st, DueLeases: func(tx *store.Tx, token int64, limit int) (int, error) {
		if limit <= 0 {
			return 0, fmt.Errorf("asked for %d leases", limit)
		}
		if leases == 0 { // one statement, as the real one
			n, err := tx.Exec(`UPDATE test_leases SET left_over = 0 WHERE token = $1`, token)
			return int(n), err
		}
		if _, err := tx.Exec(`INSERT INTO test_leases VALUES ($1, $2) ON CONFLICT DO NOTHING`, token, leases); err != nil {
			return 0, err
		}
		var have int
		if err := tx.QueryRow(`SELECT left_over FROM test_leases WHERE token = $1`, token).Scan(&have); err != nil {
			return 0, err
		}
		n := min(have, limit)
		_, err := tx.Exec(`UPDATE test_leases SET left_over = left_over - $1 WHERE token = $2`, n, token)
		return n, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s, st, clk
}

// grow makes a tree with the given number of children at each level below one root, and returns the root.
func grow(t testing.TB, s *Store, st *store.Store, levels ...int) (root int64, total int) {
	t.Helper()
	err := st.Update(t.Context(), func(tx *store.Tx) error {
		total = 0
		child := func(parent int64) (int64, error) {
			total++
			token, _, err := s.CreateTx(tx, Spec{Path: "auth/token/create", Parent: parent, TTL: time.Hour})
			return token.Seq, err
		}
		top, err := child(0)
		if err != nil {
			return err
		}
		root = top
		above := []int64{top}
		for _, width := range levels {
			var level []int64
			for _, parent := range above {
				for range width {
					seq, err := child(parent)
					if err != nil {
						return err
					}
					level = append(level, seq)
				}
			}
			above = level
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, total
}

// state is what a batch of the reaper moves: how many rows are live, and how many are there.
func state(t *testing.T, st *store.Store) (live, rows, leases int) {
	t.Helper()
	err := st.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT (SELECT COUNT(*) FROM tokens WHERE state = 'live'), (SELECT COUNT(*) FROM tokens),
			(SELECT COALESCE(SUM(left_over), 0) FROM test_leases)`).Scan(&live, &rows, &leases)
	})
	if err != nil {
		t.Fatal(err)
	}
	return live, rows, leases
}

func TestReaperDescendsInBoundedBatches(t *testing.T) {
	t.Parallel()
	shapes := map[string][]int{
		"wide":  {2000},
		"deep":  chainOf(100),
		"bushy": {10, 10, 100}, // 10 110 descendants
	}
	for name, levels := range shapes {
		for _, expires := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by expiry %t", name, expires), func(t *testing.T) {
				t.Parallel()
				s, st, clk := newReaper(t, 0)
				root, total := grow(t, s, st, levels...)
				if expires {
					clk.Advance(time.Hour)
				} else if err := s.Revoke(t.Context(), root); err != nil {
					t.Fatal(err)
				}
				live, rows, _ := state(t, st)
				batches := 0
				for {
					worked, err := s.reap(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if !worked {
						break
					}
					batches++
					liveNow, rowsNow, _ := state(t, st)
					if changed := (live - liveNow) + (rows - rowsNow); changed > 2*s.batch || changed == 0 && rowsNow > 0 {
						t.Fatalf("batch %d changed %d rows, want 1 to %d", batches, changed, 2*s.batch)
					}
					live, rows = liveNow, rowsNow
				}
				if rows != 0 {
					t.Errorf("%d of %d rows are left", rows, total)
				}
				if least := total / s.batch; batches < least {
					t.Errorf("%d batches for %d tokens, want at least %d", batches, total, least)
				}
			})
		}
	}
}

// chainOf is the shape of a chain.
func chainOf(depth int) []int {
	levels := make([]int, depth)
	for i := range levels {
		levels[i] = 1
	}
	return levels
}

// A row stays while its token has leases that are not due, however many batches that takes.
func TestReaperWaitsForLeases(t *testing.T) {
	t.Parallel()
	s, st, _ := newReaper(t, 1500)
	root, _ := grow(t, s, st, 1)
	if err := s.Revoke(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	for {
		_, before, _ := state(t, st)
		worked, err := s.reap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, rows, leases := state(t, st)
		if before-rows > 0 && leases > 0 && rows == 0 {
			t.Fatalf("all rows went, and %d leases are not due", leases)
		}
		if !worked {
			if rows != 0 || leases != 0 {
				t.Errorf("the reaper stopped with %d rows and %d leases", rows, leases)
			}
			return
		}
	}
}

// What has expired and is not yet wholly dealt with stays dead though the clock be set back.
func TestUnfinishedExpiryIsDead(t *testing.T) {
	t.Parallel()
	s, st, clk := newReaper(t, 0)
	root, _ := grow(t, s, st, 501)
	clk.Advance(time.Hour)
	if _, err := s.reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	var state string
	err := st.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT state FROM tokens WHERE seq = $1`, root).Scan(&state)
	})
	if err != nil || state != "dead" {
		t.Errorf("state %q, %v, want dead", state, err)
	}
}

// What hangs on a token is told of each one's end once, in the transaction that deletes its row: when that fails the row
// stays, and the end is told again.
func TestEnded(t *testing.T) {
	t.Parallel()
	s, st, _ := newReaper(t, 0)
	failed, told := false, map[int64]int{}
	s.ended = func(_ *store.Tx, token int64) error {
		if !failed {
			failed = true
			return errors.New("no room")
		}
		told[token]++
		return nil
	}
	root, total := grow(t, s, st, 3, 2)
	if err := s.Revoke(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if err := s.RunOnce(t.Context()); err == nil {
		t.Fatal("the failure was not told")
	}
	if err := s.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != total || told[root] != 1 {
		t.Errorf("%d of %d tokens told, the first %d times", len(told), total, told[root])
	}
}

// Every query that runs often, or on many rows, must find them by an index.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	_, st, _ := newReaper(t, 0)
	chain := []string{"c", "chain"} // of ancestors, not longer than the tree is deep
	storetest.CheckPlans(t, st, []storetest.Planned{
		{Query: selectByID, Args: 2, By: []string{"(id=?)"}, Reads: chain},
		{Query: selectByAccessor, Args: 2, By: []string{"(accessor=?)"}, Reads: chain},
		{Query: selectBySeq, Args: 2, By: []string{"INTEGER PRIMARY KEY"}, Reads: chain},
		{Query: selectAlive, Args: 2, By: []string{"INTEGER PRIMARY KEY"}, Reads: chain},
		{Query: selectChildren, Args: 2, By: []string{"tokens_children"}},
		{Query: selectDue, Args: 2, By: []string{"tokens_due"}},
		{Query: selectNextDue, Args: 0, By: []string{"tokens_due"}},
		{Query: selectIDsAt, Args: 1, By: []string{"tokens_path"}},
		{Query: selectFirstPath, Args: 2, By: []string{"tokens_path"}},
	})
}

// How fast does a subtree of 10 000 go, and how long does its longest batch keep other writers waiting? SQLite, durable.
func BenchmarkReap(b *testing.B) {
	s, st, _ := newReaper(b, 0)
	var longest time.Duration
	tokens := 0
	for b.Loop() {
		b.StopTimer()
		root, total := grow(b, s, st, 10, 10, 100)
		tokens += total
		if err := s.Revoke(b.Context(), root); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		before := b.Elapsed()
		for worked := true; worked; {
			var err error
			if worked, err = s.reap(b.Context()); err != nil {
				b.Fatal(err)
			}
			now := b.Elapsed()
			longest = max(longest, now-before)
			before = now
		}
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest-batch")
}
