package seal

import (
	"context"
	"sync"

	"github.com/google/uuid"
)

// Collector gathers shares until they prove that their holders agree: for a rekey, or for a new root token. Safe for
// concurrent use.
type Collector struct {
	barrier *Barrier
	staged  *Staged // nil: the shares in force
	nonce   string

	mu    sync.Mutex
	given parts // guarded by mu
}

// NewCollector gathers shares of the unseal key in force.
func (b *Barrier) NewCollector() *Collector {
	return &Collector{barrier: b, nonce: uuid.NewString()}
}

// NewCollector gathers shares of the staged unseal key, to verify that they arrived.
func (s *Staged) NewCollector() *Collector {
	return &Collector{barrier: s.barrier, staged: s, nonce: uuid.NewString()}
}

// Nonce names this collection, a UUID.
func (c *Collector) Nonce() string { return c.nonce }

// Progress is how many different shares were given.
func (c *Collector) Progress() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.given)
}

// Required is how many shares are needed: for the unseal key in force, as it was last read.
func (c *Collector) Required() int {
	if c.staged != nil {
		return c.staged.params.Threshold
	}
	c.barrier.mu.Lock()
	defer c.barrier.mu.Unlock()
	return c.barrier.threshold
}

// Reset forgets the shares given so far.
func (c *Collector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.wipe()
}

// Add takes one share. A share given twice counts once. complete says that the shares are enough and right; progress is
// then the number required, and the shares are forgotten.
//
// Errors: ErrInvalidKey (the shares are enough and wrong: progress starts over; or this share has an impossible size:
// progress stays), ErrNotInitialized.
func (c *Collector) Add(ctx context.Context, share []byte) (progress int, complete bool, err error) {
	params, wrapped, err := c.target(ctx)
	if err != nil {
		return 0, false, err
	}
	if len(share) != params.shareSize() {
		return c.Progress(), false, ErrInvalidKey
	}
	given, progress := c.give(share, params.Threshold)
	defer given.wipe()
	if len(given) < params.Threshold {
		return progress, false, nil
	}
	root, err := c.barrier.unwrapRoot(params, wrapped, given)
	if err != nil {
		return 0, false, err
	}
	clear(root[:])
	return params.Threshold, true, nil
}

// target is what the shares have to open.
func (c *Collector) target(ctx context.Context) (Params, []byte, error) {
	if c.staged != nil {
		return c.staged.params, c.staged.root, nil
	}
	present, err := c.barrier.config(ctx)
	return present.Params, present.root, err
}

// give adds a share. Once there are threshold of them it takes them all out and returns them.
func (c *Collector) give(share []byte, threshold int) (taken parts, progress int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.add(share)
	if len(c.given) < threshold {
		return nil, len(c.given)
	}
	taken, c.given = c.given, nil
	return taken, 0
}
