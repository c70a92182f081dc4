package server

import (
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"leasehold/server/config"
)

// logger is the server's log: slog over a writer. Logger itself is the one named "core".
type logger struct {
	*slog.Logger
	loggers *loggers
	file    *logFile // nil: standard error
}

// newLogger opens the log file, if one is configured; else lines go to stderr.
func newLogger(cfg *config.Config, stderr io.Writer) (*logger, error) {
	l := &logger{}
	out := stderr
	if cfg.LogFile != "" {
		l.file = &logFile{path: cfg.LogFile}
		if strings.HasSuffix(cfg.LogFile, "/") {
			l.file.path = filepath.Join(cfg.LogFile, "leasehold.log")
		}
		if err := l.file.reopen(); err != nil {
			return nil, err
		}
		out = l.file
	}
	l.loggers = newLoggers(formatted(out, cfg.LogFormat), cfg.LogLevel)
	l.Logger = slog.New(l.loggers.named("core"))
	return l, nil
}

// formatted writes lines of every level in one of [config.LogFormats].
func formatted(out io.Writer, format string) slog.Handler {
	options := &slog.HandlerOptions{Level: slog.Level(math.MinInt), ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if level, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey && level == config.LevelTrace && len(groups) == 0 {
			return slog.String(slog.LevelKey, "TRACE")
		}
		return a
	}}
	if format == "json" {
		return slog.NewJSONHandler(out, options)
	}
	return slog.NewTextHandler(out, options)
}

// logFile is a log file that can be moved away: reopen makes a new one of the same name. Safe for concurrent use.
type logFile struct {
	path string

	// mu is held while a line is written, against the rule that no lock is held across I/O: slog holds one there in any
	// case, and reopen must not close the file below a line.
	mu   sync.Mutex
	file *os.File // guarded by mu
}

func (l *logFile) reopen() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.file
	l.file = file
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Write implements io.Writer.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(line)
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
