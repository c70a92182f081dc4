package audit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// slow is a sink that takes a line only when told to.
type slow struct {
	proceed chan struct{}
	closed  atomic.Bool
}

func (s *slow) Write(ctx context.Context, _ []byte) error {
	<-s.proceed
	return ctx.Err()
}

func (s *slow) Close() error {
	s.closed.Store(true)
	return nil
}

// A device is closed only after the lines that are on their way, also those that began under an older state of the
// table. And a client that hangs up meanwhile does not keep its line out of the log.
func TestDisableWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink := &slow{proceed: make(chan struct{})}
		b := NewBroker(slog.New(slog.DiscardHandler))
		if err := b.Enable("a", &Device{format: newFormat(testKey), sink: sink}); err != nil {
			t.Fatal(err)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		written, disabled := make(chan error, 1), make(chan error, 1)
		go func() { written <- b.Response(ctx, &Entry{}) }()
		synctest.Wait()
		b.SetHeaders(nil)
		go func() { disabled <- b.Disable("a") }()
		hangUp()
		synctest.Wait()
		if sink.closed.Load() || b.Enabled() {
			t.Errorf("while a line is on its way: closed %v, enabled %v; want neither", sink.closed.Load(), b.Enabled())
		}
		close(sink.proceed)
		if err := <-written; err != nil {
			t.Errorf("the line: %v", err)
		}
		if err := <-disabled; err != nil || !sink.closed.Load() {
			t.Errorf("afterwards: %v, closed %v", err, sink.closed.Load())
		}
	})
}
