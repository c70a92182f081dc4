package database

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"leasehold/plugins"
)

// closing counts how often it is closed.
type closing struct {
	plugins.Database
	closed atomic.Int64
}

func (c *closing) Close() error { c.closed.Add(1); return nil }

func TestPools(t *testing.T) {
	t.Parallel()
	p := newPools()
	opens := 0
	open := func(into *pool) error {
		opens++
		into.db = &closing{}
		return nil
	}
	acquire := func(id, version string) *pool {
		t.Helper()
		got, err := p.acquire(id, version, open)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	closed := func(of *pool) int64 { return of.db.(*closing).closed.Load() }

	first, again := acquire("m/a", "1"), acquire("m/a", "1")
	if first != again || opens != 1 {
		t.Fatalf("two pools for one version; %d opened", opens)
	}
	second := acquire("m/a", "2")
	p.release(first)
	if closed(first) != 0 {
		t.Error("the old pool was closed while it was in use")
	}
	p.release(again)
	if closed(first) != 1 {
		t.Error("the old pool was not closed by its last user")
	}
	p.release(second)
	if closed(second) != 0 {
		t.Error("an idle pool was closed")
	}
	third := acquire("m/a", "3")
	if closed(second) != 1 {
		t.Error("the stale idle pool was not closed")
	}
	other := acquire("n/a", "1")
	p.release(third)
	p.release(other)
	p.forgetAll("m/")
	if closed(third) != 1 || closed(other) != 0 {
		t.Errorf("closed %d of the prefix and %d of another, want 1 and 0", closed(third), closed(other))
	}
	p.forget("n/a")
	p.forget("n/a")
	if closed(other) != 1 {
		t.Error("a forgotten pool was not closed once")
	}
}

func TestPoolsFailure(t *testing.T) {
	t.Parallel()
	p := newPools()
	refused := errors.New("refused")
	if _, err := p.acquire("m/a", "1", func(*pool) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	got, err := p.acquire("m/a", "1", func(into *pool) error { into.db = &closing{}; return nil })
	if err != nil {
		t.Fatalf("a failure was kept: %v", err)
	}
	p.release(got)
}

// Whatever comes together, each opened database is closed exactly once when all is over.
func TestPoolsConcurrent(t *testing.T) {
	t.Parallel()
	p := newPools()
	var mu sync.Mutex
	var all []*closing
	open := func(into *pool) error {
		db := &closing{}
		mu.Lock()
		all = append(all, db)
		mu.Unlock()
		into.db = db
		return nil
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 300 {
				got, err := p.acquire("m/a", string(rune('a'+n/100)), open)
				if err != nil {
					t.Error(err)
					return
				}
				if got.db.(*closing).closed.Load() != 0 {
					t.Error("a closed database was handed out")
				}
				if (n+i)%50 == 0 {
					p.forget("m/a")
				}
				p.release(got)
			}
		})
	}
	wait.Wait()
	p.forgetAll("")
	for _, db := range all {
		if n := db.closed.Load(); n != 1 {
			t.Fatalf("a database was closed %d times", n)
		}
	}
}
