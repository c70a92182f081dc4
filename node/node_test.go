package node_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/node"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

// world is a store, a clock that all nodes share, and the nodes that were said to be dead.
type world struct {
	t     *testing.T
	clock *clock.Fake
	open  func() *store.Store

	mu        sync.Mutex
	died      []int64 // guarded by mu
	claimants []int64 // guarded by mu
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))}
	url := secret.NewText(testdb.Shared(t).Scratch(t).URL())
	w.open = func() *store.Store {
		return storetest.OpenAt(t, postgres.New(postgres.Config{URL: url, MaxConns: 4, Clock: w.clock}), w.clock, node.Migrations()...)
	}
	return w
}

func (w *world) node(name string, st *store.Store) *node.Registry {
	w.t.Helper()
	r, err := node.New(node.Config{
		Store: st, Hostname: name, APIAddress: "https://" + name + ":8200", Version: "1.2.3",
		Died: func(_ *store.Tx, n int64) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.died = append(w.died, n)
			return nil
		},
		Claimants: func(*store.Tx) ([]int64, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.claimants, nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantNodes(r *node.Registry, want ...string) {
	w.t.Helper()
	nodes, err := r.Nodes(w.t.Context())
	w.must(err)
	var got []string
	for _, n := range nodes {
		name := n.Hostname
		if n.Self {
			name += " (self)"
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("nodes %v, want %v", got, want)
	}
}

func (w *world) wantDied(want ...int64) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.died, want) {
		w.t.Errorf("given back: %v, want %v", w.died, want)
	}
	w.died = nil
}

// TestAClaimantWithoutARowIsBuried: a node that was buried while it lived may claim more before it notices, and die then.
func TestAClaimantWithoutARowIsBuried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.node("a", w.open()), w.node("b", w.open())
	w.must(a.Join(t.Context()))
	w.must(b.Join(t.Context()))
	w.claimants = []int64{0, a.Self(), b.Self(), 4711}
	w.must(a.Beat(t.Context()))
	w.wantDied(4711)
	w.wantNodes(a, "a (self)", "b")
}

func TestASilentNodeIsBuriedAndComesBackAsANewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.node("a", w.open()), w.node("b", w.open())
	w.must(a.Join(t.Context()))
	w.must(b.Join(t.Context()))
	w.wantNodes(a, "a (self)", "b")
	former := b.Self()

	for range 10 { // b says nothing
		w.clock.Advance(node.Period)
		w.must(a.Beat(t.Context()))
	}
	w.wantNodes(a, "a (self)")
	w.wantDied(former)

	w.must(b.Beat(t.Context()))
	w.wantNodes(b, "a", "b (self)")
	if b.Self() == former {
		t.Error("the node that was buried goes on under its number")
	}
	w.wantDied()
}

func TestASlowNodeLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.node("a", w.open()), w.node("b", w.open())
	w.must(a.Join(t.Context()))
	w.must(b.Join(t.Context()))
	for range 5 {
		w.clock.Advance(4 * node.Period)
		w.must(b.Beat(t.Context()))
		w.must(a.Beat(t.Context()))
	}
	w.wantDied()
	w.wantNodes(a, "a (self)", "b")
}

func TestLeavingGivesTheWorkBackAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.node("a", w.open()), w.node("b", w.open())
	w.must(a.Join(t.Context()))
	w.must(b.Join(t.Context()))
	former := a.Self()
	w.must(a.Leave(t.Context()))
	w.must(a.Leave(t.Context()))
	w.wantDied(former)
	w.wantNodes(b, "b (self)")
	if a.Self() != 0 {
		t.Error("a node that has left still claims under its number")
	}
}

// A node that joins again, as after it was sealed, has left its former work behind.
func TestJoiningAgainGivesTheFormerWorkBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.node("a", w.open())
	w.must(a.Join(t.Context()))
	former := a.Self()
	a.Doubt() // what was doubtful was the former one's
	w.must(a.Join(t.Context()))
	w.wantDied(former)
	w.must(a.Beat(t.Context()))
	w.wantDied()
	w.wantNodes(a, "a (self)")
}

// A node that does not know what became of its claims gives them back and goes on as another, on any store.
func TestDoubtGivesTheFormerWorkBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, st := range []*store.Store{w.open(), storetest.NewAt(t, w.clock, node.Migrations()...)} {
		a := w.node("a", st)
		w.must(a.Join(t.Context()))
		former := a.Self()
		a.Doubt()
		broken, cut := context.WithCancel(t.Context())
		cut()
		if err := a.Beat(broken); err == nil { // the store is not back yet
			t.Error("a beat without a store succeeds")
		}
		w.wantDied()
		w.must(a.Beat(t.Context()))
		w.wantDied(former)
		w.wantNodes(a, "a (self)")
		if a.Self() == former {
			t.Error("the number is the former one")
		}
		w.must(a.Beat(t.Context()))
		w.wantDied()
	}
}

// A store that one process opens has no other living node, however recently one has spoken, and needs no signs of life.
func TestAnEmbeddedStoreHasOneNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	st := storetest.NewAt(t, w.clock, node.Migrations()...)
	dead := w.node("dead", st)
	w.must(dead.Join(t.Context()))
	former := dead.Self()

	alive := w.node("alive", st)
	w.must(alive.Beat(t.Context()))
	w.wantDied(former)
	w.wantNodes(alive, "alive (self)")
	w.clock.Advance(time.Hour)
	w.must(alive.Beat(t.Context()))
	w.wantDied()
	w.wantNodes(alive, "alive (self)")
}
