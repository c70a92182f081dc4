// Package clock is the only place that reads the system's time.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time. Safe for concurrent use.
type Clock interface{ Now() time.Time }

// System is the machine's clock.
type System struct{}

// Now is the present time, UTC.
func (System) Now() time.Time { return time.Now().UTC() }

// Fake is a clock that moves only when told to. The zero value stands at the zero time.
type Fake struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// NewFake makes a clock that stands at t.
func NewFake(t time.Time) *Fake { return &Fake{now: t.UTC()} }

// Now is where the clock stands.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock by d, which may be negative.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}
