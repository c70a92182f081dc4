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
