package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"

	"leasehold/internal/errs"
)

// Broker holds the enabled devices. Safe for concurrent use; no lock is held while a device writes.
type Broker struct {
	log *slog.Logger

	mu  sync.Mutex
	now *devices // guarded by mu; what it points to does not change
}

// devices is one state of the table.
type devices struct {
	byPath  map[string]*Device // paths end in "/"
	headers map[string]bool    // lower-case names of the headers to write; true: hashed
}

// acquire is the present state, whose devices stay open until release.
func (b *Broker) acquire() *devices {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, device := range b.now.byPath {
		device.users.Add(1)
	}
	return b.now
}

func (d *devices) release() {
	for _, device := range d.byPath {
		device.users.Done()
	}
}

// NewBroker makes a broker without devices. log is told of every line that a device did not take.
func NewBroker(log *slog.Logger) *Broker {
	return &Broker{log: log, now: &devices{}}
}

// Request writes the line of a request that is about to run. An error means that it must not.
func (b *Broker) Request(ctx context.Context, e *Entry) error { return b.write(ctx, "request", e) }

// Response writes the line of an answer that is about to be sent. An error means that it must not.
func (b *Broker) Response(ctx context.Context, e *Entry) error { return b.write(ctx, "response", e) }

// write gives the line to every device. The error is internal: it names devices, and is not for clients.
func (b *Broker) write(ctx context.Context, kind string, e *Entry) error {
	now := b.acquire()
	defer now.release()
	// A client that hangs up must not leave a gap: the request may have run.
	ctx = context.WithoutCancel(ctx)
	var failures []error
	for path, device := range now.byPath {
		if err := device.write(ctx, kind, e, now.headers); err != nil {
			failures = append(failures, fmt.Errorf("device %s: %w", path, err))
		}
	}
	if len(failures) == 0 {
		return nil
	}
	if len(failures) == len(now.byPath) {
		return fmt.Errorf("audit: no device took the %s line: %w", kind, errors.Join(failures...))
	}
	for _, err := range failures {
		b.log.Error("audit device failed", "error", err, "request_id", e.Request.ID)
	}
	return nil
}

// Enabled reports whether any device is enabled.
func (b *Broker) Enabled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.now.byPath) > 0
}

// Enable adds a device. When the path is taken, or lies inside or around one that is, the device is still the caller's
// to close.
//
// Error: Invalid, "path already in use".
func (b *Broker) Enable(path string, device *Device) error {
	path = canonical(path)
	b.mu.Lock()
	defer b.mu.Unlock()
	for taken := range b.now.byPath {
		if strings.HasPrefix(path, taken) || strings.HasPrefix(taken, path) {
			return errs.New(errs.Invalid, "path already in use")
		}
	}
	b.replaceLocked(func(next *devices) { next.byPath[path] = device })
	return nil
}

// Disable removes a device and closes it, once the lines that are on their way to it are written. An unknown path is
// no error.
func (b *Broker) Disable(path string) error {
	path = canonical(path)
	b.mu.Lock()
	device := b.now.byPath[path]
	if device != nil {
		b.replaceLocked(func(next *devices) { delete(next.byPath, path) })
	}
	b.mu.Unlock()
	if device == nil {
		return nil
	}
	device.users.Wait()
	return device.Close()
}

// SetHeaders says which request headers are written: name to whether its values are hashed.
func (b *Broker) SetHeaders(headers map[string]bool) {
	lower := make(map[string]bool, len(headers))
	for name, hashed := range headers {
		lower[strings.ToLower(name)] = hashed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replaceLocked(func(next *devices) { next.headers = lower })
}

// List is the enabled devices by path, each with a trailing slash.
func (b *Broker) List() map[string]*Device {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.now.byPath)
}

// Hash is how text stands in the lines of the device at path.
//
// Errors: Invalid, `unknown audit backend "x/"` and `the "input" parameter is empty`.
func (b *Broker) Hash(path, text string) (string, error) {
	path = canonical(path)
	if text == "" {
		return "", errs.New(errs.Invalid, "the %q parameter is empty", "input")
	}
	device := b.List()[path]
	if device == nil {
		return "", errs.New(errs.Invalid, "unknown audit backend %q", path)
	}
	return device.Hash(text), nil
}

// Reopen opens the files of all devices again, after they were moved away. One that can't be opened goes on with what
// it has.
func (b *Broker) Reopen() error {
	now := b.acquire()
	defer now.release()
	var failures []error
	for path, device := range now.byPath {
		if r, ok := device.sink.(reopener); ok {
			if err := r.Reopen(); err != nil {
				failures = append(failures, fmt.Errorf("reopen audit device %s: %w", path, err))
			}
		}
	}
	return errors.Join(failures...)
}

// Close disables all devices.
func (b *Broker) Close() error {
	var failures []error
	for path := range b.List() {
		if err := b.Disable(path); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// replaceLocked makes a changed copy the present state.
func (b *Broker) replaceLocked(change func(*devices)) {
	next := &devices{byPath: maps.Clone(b.now.byPath), headers: b.now.headers}
	if next.byPath == nil {
		next.byPath = map[string]*Device{}
	}
	change(next)
	b.now = next
}

func canonical(path string) string { return strings.Trim(path, "/") + "/" }
