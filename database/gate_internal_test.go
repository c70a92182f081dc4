package database

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// line makes one waiter after another, and returns the order in which they got the only slot.
func line(t *testing.T, g *gate, urgent ...bool) []int {
	t.Helper()
	order := make(chan int, len(urgent))
	for i, u := range urgent {
		go func() {
			if err := g.enter(t.Context(), u); err != nil {
				t.Error(err)
			}
			order <- i
			g.leave()
		}()
		synctest.Wait() // it waits in its queue
	}
	g.leave()
	synctest.Wait()
	close(order)
	var got []int
	for i := range order {
		got = append(got, i)
	}
	return got
}

func TestGateOrder(t *testing.T) {
	t.Parallel()
	const request, revocation = true, false
	for _, test := range []struct {
		name   string
		queue  []bool
		expect []int
	}{
		{"oldest first", []bool{request, request, request}, []int{0, 1, 2}},
		{"requests before revocations", []bool{revocation, revocation, request}, []int{2, 0, 1}},
		{"revocations are not starved", []bool{revocation, revocation, request, request, request, request, request}, []int{2, 3, 4, 0, 5, 6, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGate(1)
				if err := g.enter(t.Context(), request); err != nil {
					t.Fatal(err)
				}
				got := line(t, g, test.queue...)
				for i := range got {
					if got[i] != test.expect[i] {
						t.Fatalf("order %v, want %v", got, test.expect)
					}
				}
			})
		})
	}
}

func TestGateGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		for _, urgent := range []bool{true, false} {
			go func() { result <- g.enter(ctx, urgent) }()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want canceled", err)
			}
		}
		g.leave()
		if g.free != 1 || len(g.first)+len(g.second) != 0 {
			t.Errorf("%d free slots and %d waiters, want 1 and 0", g.free, len(g.first)+len(g.second))
		}
		if err := g.enter(ctx, true); !errors.Is(err, context.Canceled) {
			t.Errorf("a free slot was given to a dead context: %v", err)
		}
	})
}

// No slot is lost or doubled, however entering, giving up and leaving fall together.
func TestGateCount(t *testing.T) {
	t.Parallel()
	const slots = 3
	g := newGate(slots)
	var inside, most atomic.Int64
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+n)%3 == 0 {
					go cancel()
				}
				if g.enter(ctx, n%2 == 0) == nil {
					now := inside.Add(1)
					for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
					}
					inside.Add(-1)
					g.leave()
				}
				cancel()
			}
		})
	}
	wait.Wait()
	if most.Load() > slots || g.free != slots || len(g.first)+len(g.second) != 0 {
		t.Errorf("at most %d inside, %d free afterwards, %d waiting; want %d, %d, 0", most.Load(), g.free, len(g.first)+len(g.second), slots, slots)
	}
}
