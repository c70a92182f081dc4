package transit

import (
	"context"

	"leasehold/engine"
	"leasehold/internal/secret"
)

// KeepWrappingPair gives a mount a wrapping key, which takes seconds to make.
func (e *Engine) KeepWrappingPair(ctx context.Context, m engine.Mount, pair secret.Bytes) error {
	_, err := e.keepWrappingPair(ctx, m, pair)
	return err
}

// ClaimDue claims a key that is due. finish rotates it, if the claim is good until then.
func (e *Engine) ClaimDue(ctx context.Context) (finish func() error, err error) {
	c, err := e.claim(ctx)
	if c == nil || err != nil {
		return nil, err
	}
	return func() error { return e.rotateClaimed(ctx, c) }, nil
}
