package server

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"leasehold/server/config"
)

// logger is the server's log: slog over a writer, with a level that can change.
type logger struct {
	*slog.Logger
	level *slog.LevelVar
	file  *logFile // nil: standard error
}

// newLogger opens the log file, if one is configured; else lines go to stderr.
func newLogger(cfg *config.Config, stderr io.Writer) (*logger, error) {
	l := &logger{level: new(slog.LevelVar)}
	l.level.Set(cfg.LogLevel)
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
	options := &slog.HandlerOptions{Level: l.level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if level, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey && level == config.LevelTrace && len(groups) == 0 {
			return slog.String(slog.LevelKey, "TRACE")
		}
		return a
	}}
	if cfg.LogFormat == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(out, options))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(out, options))
	}
	return l, nil
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
