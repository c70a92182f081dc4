package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"leasehold/internal/quiet"
	"leasehold/store/seal"
)

// The pauses between attempts to open the store by itself: after a failure, then doubling; and while there is nothing to do
// but to look whether somebody has initialised the store, or this node was sealed.
const (
	firstAttemptPause   = 100 * time.Millisecond
	longestAttemptPause = 30 * time.Second
	watchPause          = time.Second
)

// KeepUnsealed opens the store whenever its seal can do so without people: at the start, as soon as any node has initialised
// it, after the seal could not be reached, after a fault. It leaves a node alone that was sealed through the API. opened is called
// each time. It returns when ctx is done; where people open the store, at once.
func (b *Broker) KeepUnsealed(ctx context.Context, opened func(ctx context.Context)) {
	if !b.barrier.Alone() {
		b.explain(ctx)
		return
	}
	var failures quiet.Errors
	pause := firstAttemptPause
	for {
		err := b.OpenAlone(ctx, opened)
		if ctx.Err() != nil {
			return
		}
		if failures.News(err) { // it may fail in the same way for days
			b.log.Warn("the store does not open by itself yet: it is tried again and again", "error", err)
		}
		wait := watchPause
		switch {
		case err == nil:
			pause = firstAttemptPause
		case !waiting(err):
			wait = pause/2 + rand.N(pause/2) // nodes that started together do not ask together
			pause = min(2*pause, longestAttemptPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// explain tells the log why shares of an unseal key will not open the store, where they will not: the store may have a seal that
// the configuration lacks, or waits to be moved away from.
func (b *Broker) explain(ctx context.Context) {
	err := b.barrier.OpenAlone(ctx)
	if err == nil || errors.Is(err, seal.ErrNeedsShares) || errors.Is(err, seal.ErrNotInitialized) || ctx.Err() != nil {
		return
	}
	b.log.Warn("the store does not open with shares of an unseal key", "error", err)
}

// waiting says that the store waits for somebody: looking again soon costs nothing.
func waiting(err error) bool {
	return errors.Is(err, seal.ErrNotInitialized) || errors.Is(err, seal.ErrMoving)
}

// OpenAlone opens the store by its seal, unless it is open or was sealed by an operator. opened is called when it did.
//
// Errors: those of [seal.Barrier.OpenAlone].
func (b *Broker) OpenAlone(ctx context.Context, opened func(ctx context.Context)) error {
	select {
	case b.opening <- struct{}{}:
		defer func() { <-b.opening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.store.Unlocked() {
		return nil
	}
	if err := b.barrier.OpenAlone(ctx); err != nil {
		return err
	}
	if !b.store.Unlocked() { // sealed by an operator
		return nil
	}
	if err := b.opened(ctx); err != nil {
		return err
	}
	opened(ctx)
	if err := b.barrier.Renew(ctx); err != nil {
		b.log.Warn("the root key was not wrapped anew; the next start looks again", "error", err)
	}
	return nil
}
