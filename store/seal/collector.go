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
	staged  *Staged // nil: of the shares in force
	nonce   string

	mu    sync.Mutex
	given parts // guarded by mu
}

// NewCollector gathers shares in force: of the unseal key, or of the recovery key where the store opens by itself.
func (b *Barrier) NewCollector() *Collector {
	return &Collector{barrier: b, nonce: uuid.NewString()}
}

// NewCollector gathers shares of the staged key, to verify that they arrived.
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

// Required is how many shares are needed: of those in force, as it was last read.
func (c *Collector) Required() int {
	if c.staged != nil {
		return c.staged.row.Threshold
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
// progress stays), ErrNotInitialized, store.ErrSealed.
func (c *Collector) Add(ctx context.Context, share []byte) (progress int, complete bool, err error) {
	target, err := c.target(ctx)
	if err != nil {
		return 0, false, err
	}
	if len(share) != target.shareSize() {
		return c.Progress(), false, ErrInvalidKey
	}
	given, progress := c.give(share, target.Threshold)
	defer given.wipe()
	if len(given) < target.Threshold {
		return progress, false, nil
	}
	key, err := combine(target.Params, given)
	if err != nil {
		return 0, false, err
	}
	defer key.wipe()
	if err := c.barrier.prove(target, key); err != nil {
		return 0, false, err
	}
	return target.Threshold, true, nil
}

// target is the row that the shares have to fit.
func (c *Collector) target(ctx context.Context) (*row, error) {
	if c.staged != nil {
		return &c.staged.row, nil
	}
	return c.barrier.read(ctx)
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
