package external

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"leasehold/plugins"
)

// How much of a plugin's line is read and how much of that is logged, in bytes. A secret that begins in what is logged is hidden as a
// whole, so more has to be read.
const (
	maxRead = 64 << 10
	maxLine = 4 << 10
)

// logWriter writes lines of a plugin to the log, each without the secrets that the plugin was told. Safe for concurrent use.
type logWriter struct {
	log   *slog.Logger
	masks []plugins.Mask // of the connection; constant
	calls *callMasks

	mu      sync.Mutex
	partial []byte // guarded by mu
}

// callMasks are those of the last calls: a plugin may write of a call after it was answered. Shared by a process's writers.
type callMasks struct {
	mu   sync.Mutex
	last [32][]plugins.Mask // guarded by mu
	next int                // guarded by mu
}

// another is a writer for another stream of the same process.
func (w *logWriter) another() *logWriter {
	return &logWriter{log: w.log, masks: w.masks, calls: w.calls}
}

// remember hides the forms of a secret from now on.
func (c *callMasks) remember(forms []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[c.next] = plugins.MaskPassword(forms...)
	c.next = (c.next + 1) % len(c.last)
}

func (c *callMasks) all() (masks []plugins.Mask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, some := range c.last {
		masks = append(masks, some...)
	}
	return masks
}

// hide is a text without secrets.
func (w *logWriter) hide(text string) string {
	return plugins.Conceal(errors.New(text), nil, append(w.calls.all(), w.masks...), nil).Error()
}

// Write implements io.Writer. It takes parts of lines.
func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := b; ; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if room := maxRead - len(w.partial); room > 0 {
			w.partial = append(w.partial, line[:min(room, len(line))]...)
		}
		if !whole {
			return len(b), nil
		}
		w.tell(string(w.partial))
		w.partial, rest = w.partial[:0], after
	}
}

// tell logs a line at the level that it says, if it is of the form that plugins' loggers write.
func (w *logWriter) tell(line string) {
	if line == "" {
		return
	}
	var said struct {
		Level string `json:"@level"`
	}
	level := slog.LevelInfo
	if json.Unmarshal([]byte(line), &said) == nil {
		switch said.Level {
		case "trace", "debug":
			level = slog.LevelDebug
		case "warn":
			level = slog.LevelWarn
		case "error":
			level = slog.LevelError
		}
	}
	w.log.Log(context.Background(), level, "a plugin writes", "line", shortened(w.hide(line), maxLine))
}
