package database

import (
	"context"
	"sync"
)

// patience is how many slots in a row may pass to waiting requests before a waiting revocation gets one. Requests go
// first because a client waits for them; but under a steady stream of them users must be removed all the same.
const patience = 3

// gate gives out one database's slots: as many calls at once as its pool has connections. Requests go before
// revocations when slots are short. Safe for concurrent use; waiting holds no lock.
type gate struct {
	mu     sync.Mutex
	free   int             // slots that nobody has; guarded by mu
	first  []chan struct{} // waiting requests, oldest first; guarded by mu
	second []chan struct{} // waiting revocations, oldest first; guarded by mu
	passed int             // slots given to requests in a row while a revocation waited; guarded by mu
}

func newGate(slots int) *gate { return &gate{free: max(slots, 1)} }

// enter waits for a slot until the context ends. Each nil is answered by one leave.
func (g *gate) enter(ctx context.Context, urgent bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	turn := g.join(urgent)
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		g.withdraw(turn)
		return ctx.Err()
	}
}

// join takes a free slot and returns nil, or joins a queue and returns what is closed when the slot is ours.
func (g *gate) join(urgent bool) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free > 0 {
		g.free--
		return nil
	}
	turn := make(chan struct{})
	if urgent {
		g.first = append(g.first, turn)
	} else {
		g.second = append(g.second, turn)
	}
	return turn
}

// withdraw leaves the queue. A slot that came at the same moment is handed on.
func (g *gate) withdraw(turn chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&g.first, &g.second} {
		for i, waiting := range *queue {
			if waiting == turn {
				*queue = append((*queue)[:i], (*queue)[i+1:]...)
				return
			}
		}
	}
	g.handOnLocked()
}

// leave gives a slot back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handOnLocked()
}

func (g *gate) handOnLocked() {
	switch {
	case len(g.first) > 0 && (len(g.second) == 0 || g.passed < patience):
		if len(g.second) > 0 {
			g.passed++
		}
		close(g.first[0])
		g.first = g.first[1:]
	case len(g.second) > 0:
		g.passed = 0
		close(g.second[0])
		g.second = g.second[1:]
	default:
		g.free++
	}
}
