package database

import (
	"context"
	"errors"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/lease"
	"leasehold/plugins"
)

var (
	silentCall  = &plugins.Error{Op: "create user", Class: plugins.Unreachable, Err: errors.New("no connection")}
	refusedCall = &plugins.Error{Op: "create user", Class: plugins.Refused, Err: errors.New("no")}
)

// never is a probe that is not to be called.
func never(t *testing.T) func() error {
	return func() error {
		t.Error("a sign of life was asked for")
		return nil
	}
}

func newBreaker() (*breaker, *clock.Fake) {
	clk := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	return &breaker{clock: clk}, clk
}

func TestBreakerOpensAfterSilenceAlone(t *testing.T) {
	t.Parallel()
	b, _ := newBreaker()
	ctx := t.Context()
	for _, err := range []error{silentCall, silentCall, refusedCall, silentCall, silentCall, nil, silentCall, silentCall} {
		b.watch(ctx, err)
		if err := b.pass(never(t)); err != nil {
			t.Fatalf("got %v: no three calls in a row went without an answer", err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	b.watch(gone, &plugins.Error{Class: plugins.Unknown, Err: gone.Err()}) // its client hung up
	if err := b.pass(never(t)); err != nil {
		t.Fatalf("got %v: the database was blamed for a client", err)
	}
	b.watch(ctx, silentCall)
	if err := b.pass(never(t)); !errors.Is(err, lease.ErrUnreachable) {
		t.Fatalf("got %v, want that nothing is sent", err)
	}
}

func TestBreakerAsksAgain(t *testing.T) {
	t.Parallel()
	b, clk := newBreaker()
	for range breakAfter {
		b.watch(t.Context(), silentCall)
	}
	asked := 0
	for range 20 { // an hour of outage
		clk.Advance(3 * time.Minute)
		err := b.pass(func() error {
			asked++
			if err := b.pass(never(t)); !errors.Is(err, lease.ErrUnreachable) {
				t.Errorf("got %v: others were let through during the probe", err)
			}
			return silentCall
		})
		if !errors.Is(err, lease.ErrUnreachable) {
			t.Fatalf("got %v", err)
		}
		if err := b.pass(never(t)); !errors.Is(err, lease.ErrUnreachable) {
			t.Fatalf("got %v", err)
		}
	}
	if asked != 20 {
		t.Errorf("asked %d times", asked)
	}
	clk.Advance(lastPause)
	if err := b.pass(func() error { return nil }); err != nil {
		t.Errorf("the database is back within %s: %v", lastPause, err)
	}
	if err := b.pass(never(t)); err != nil {
		t.Error(err)
	}
}

// A database that refuses the sign of life is there.
func TestBreakerTakesARefusalForAnAnswer(t *testing.T) {
	t.Parallel()
	b, clk := newBreaker()
	for range breakAfter {
		b.watch(t.Context(), silentCall)
	}
	clk.Advance(lastPause)
	if err := b.pass(func() error { return refusedCall }); err != nil {
		t.Error(err)
	}
}

func TestBreakerOutlivesAPanic(t *testing.T) {
	t.Parallel()
	b, clk := newBreaker()
	for range breakAfter {
		b.watch(t.Context(), silentCall)
	}
	clk.Advance(lastPause)
	func() {
		defer func() { _ = recover() }()
		_ = b.pass(func() error { panic("a fault of the plugin") })
	}()
	clk.Advance(lastPause)
	if err := b.pass(func() error { return nil }); err != nil {
		t.Error(err)
	}
}
