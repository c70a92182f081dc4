package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"leasehold/internal/errs"
	"leasehold/server/config"
)

// waitingLines is how many lines wait for a client that reads slowly. Further ones are dropped: the log waits for nobody.
const waitingLines = 512

// monitors are the clients that read the log as it is written. The zero value has none. Safe for concurrent use.
type monitors struct {
	present atomic.Pointer[[]*monitor] // what it points to does not change

	mu    sync.Mutex
	ended bool // guarded by mu
}

// monitor is one client.
type monitor struct {
	level   slog.Level
	handler slog.Handler // writes to lines
	lines   chan []byte  // closed when the server ends

	// mu is held while a line is put into lines, which never waits.
	mu      sync.Mutex
	closed  bool // guarded by mu
	dropped int  // lines since the last one that was kept; guarded by mu
}

// Monitor implements sys.Node's field of that name.
func (l *loggers) Monitor(level, format string) (stream func(ctx context.Context, w io.Writer) error, err error) {
	m := &monitor{lines: make(chan []byte, waitingLines)}
	if m.level, err = config.ParseLevel(level); err != nil {
		return nil, errs.New(errs.Invalid, "unknown log level")
	}
	if format != "" && !slices.Contains(config.LogFormats, format) {
		return nil, errs.New(errs.Invalid, "unknown log format")
	}
	m.handler = formatted(m, format)
	return func(ctx context.Context, w io.Writer) error { return l.monitors.serve(ctx, m, w) }, nil
}

// serve writes lines until the client or the server ends it.
func (all *monitors) serve(ctx context.Context, m *monitor, w io.Writer) error {
	all.add(m)
	defer all.remove(m)
	if _, err := w.Write(nil); err != nil { // the client may count on every line from here on
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, open := <-m.lines:
			if !open {
				return nil
			}
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
	}
}

func (all *monitors) add(m *monitor) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.ended {
		m.close()
		return
	}
	next := append(slices.Clone(all.list()), m)
	all.present.Store(&next)
}

func (all *monitors) remove(m *monitor) {
	all.mu.Lock()
	defer all.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(all.list()), func(each *monitor) bool { return each == m })
	all.present.Store(&next)
}

// end ends all streams, and those that come later: the server is about to wait for its requests.
func (all *monitors) end() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.ended = true
	for _, m := range all.list() {
		m.close()
	}
	all.present.Store(nil)
}

func (all *monitors) list() []*monitor {
	if present := all.present.Load(); present != nil {
		return *present
	}
	return nil
}

// want reports whether anybody reads lines of a level.
func (all *monitors) want(level slog.Level) bool {
	return slices.ContainsFunc(all.list(), func(m *monitor) bool { return level >= m.level })
}

// tell gives a line to whom it concerns. dress adds the logger's name and attributes to a handler.
func (all *monitors) tell(ctx context.Context, r slog.Record, dress func(slog.Handler) slog.Handler) {
	for _, m := range all.list() {
		if r.Level < m.level {
			continue
		}
		if n := m.missed(); n > 0 {
			note := slog.NewRecord(r.Time, slog.LevelWarn, "lines were left out: they are read too slowly", 0)
			note.AddAttrs(slog.Int("lines", n))
			_ = m.handler.Handle(ctx, note) // a monitor's Write does not fail
		}
		_ = dress(m.handler).Handle(ctx, r)
	}
}

// missed is how many lines were dropped, once there is room to say so.
func (m *monitor) missed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cap(m.lines)-len(m.lines) < 2 {
		return 0
	}
	n := m.dropped
	m.dropped = 0
	return n
}

// Write implements io.Writer for the monitor's handler, which calls it once for each line.
func (m *monitor) Write(line []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return len(line), nil
	}
	select {
	case m.lines <- bytes.Clone(line):
	default:
		m.dropped++
	}
	return len(line), nil
}

func (m *monitor) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.lines)
	}
}
