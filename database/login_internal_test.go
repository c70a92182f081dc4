package database

import (
	"context"
	"errors"
	"testing"
	"time"

	"leasehold/internal/errs"
)

// TestKeyTurns has all turns taken: who waits for one gives up with its client, and the turns are not lost.
func TestKeyTurns(t *testing.T) {
	t.Parallel()
	e := &Engine{timeout: time.Hour, keyTurns: newKeyTurns()}
	for range cap(e.keyTurns) {
		e.keyTurns <- struct{}{}
	}
	ctx, hangUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, _, err := e.makeKey(ctx, keyRSA, 4096)
		failed <- err
	}()
	hangUp()
	if err := <-failed; errs.CodeOf(err) != errs.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for range cap(e.keyTurns) {
		<-e.keyTurns
	}
	for range 2 * cap(e.keyTurns) {
		if _, private, err := e.makeKey(t.Context(), keyEC, 256); err != nil || private.Empty() {
			t.Fatal(err)
		}
	}
	e.timeout = -time.Second
	if _, _, err := e.makeKey(t.Context(), keyEd25519, 0); !errors.Is(err, errSlow) {
		t.Errorf("a key that came too late: got %v", err)
	}
}
