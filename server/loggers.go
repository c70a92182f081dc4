package server

import (
	"context"
	"log/slog"
	"slices"

	"leasehold/internal/errs"
	"leasehold/server/config"
)

// loggerKey is the attribute that names a logger: log.With(loggerKey, "lease") is the one of that name.
const loggerKey = "logger"

// loggerNames are the loggers that there are. Another name is the core's.
var loggerNames = []string{"audit", "core", "database", "http", "lease"}

// loggers write lines to one handler, each at a level of its own that may change, and to monitors, which have levels of
// theirs. Safe for concurrent use.
type loggers struct {
	out      slog.Handler // takes every level
	levels   map[string]*slog.LevelVar
	start    slog.LevelVar // what levels go back to
	monitors monitors
}

func newLoggers(out slog.Handler, level slog.Level) *loggers {
	l := &loggers{out: out, levels: map[string]*slog.LevelVar{}}
	for _, name := range loggerNames {
		l.levels[name] = new(slog.LevelVar)
	}
	l.restart(level)
	return l
}

// restart sets all levels to the one of the configuration.
func (l *loggers) restart(level slog.Level) {
	l.start.Set(level)
	for _, each := range l.levels {
		each.Set(level)
	}
}

// named is the handler of a logger.
func (l *loggers) named(name string) *namedHandler {
	if l.levels[name] == nil {
		name = "core"
	}
	return &namedHandler{loggers: l, level: l.levels[name], name: name, out: withName(l.out, name)}
}

func withName(h slog.Handler, name string) slog.Handler {
	return h.WithAttrs([]slog.Attr{slog.String(loggerKey, name)})
}

// Levels implements sys.Loggers.
func (l *loggers) Levels() map[string]string {
	all := map[string]string{}
	for name, level := range l.levels {
		all[name] = levelName(level.Level())
	}
	return all
}

// SetLevel implements sys.Loggers.
func (l *loggers) SetLevel(name, level string) error {
	chosen, err := l.choose(name)
	if err != nil {
		return err
	}
	if level == "" {
		return errs.New(errs.Invalid, "level is required")
	}
	parsed, err := config.ParseLevel(level)
	if err != nil {
		return errs.New(errs.Invalid, "invalid level provided: unknown log level: %s", level)
	}
	for _, each := range chosen {
		each.Set(parsed)
	}
	return nil
}

// ResetLevel implements sys.Loggers.
func (l *loggers) ResetLevel(name string) error {
	chosen, err := l.choose(name)
	for _, each := range chosen {
		each.Set(l.start.Level())
	}
	return err
}

// choose is the logger of a name, or all for "".
func (l *loggers) choose(name string) ([]*slog.LevelVar, error) {
	var chosen []*slog.LevelVar
	for each, level := range l.levels {
		if name == "" || name == each {
			chosen = append(chosen, level)
		}
	}
	if len(chosen) == 0 {
		return nil, errs.New(errs.Invalid, "logger %q not found", name)
	}
	return chosen, nil
}

// namedHandler is one logger, perhaps with attributes and groups.
type namedHandler struct {
	loggers *loggers
	level   *slog.LevelVar
	name    string
	chain   []func(slog.Handler) slog.Handler // attributes and groups, for the handlers of monitors
	out     slog.Handler                      // with name and chain
}

// Enabled implements slog.Handler.
func (h *namedHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level() || h.loggers.monitors.want(level)
}

// Handle implements slog.Handler.
func (h *namedHandler) Handle(ctx context.Context, r slog.Record) error {
	h.loggers.monitors.tell(ctx, r, func(each slog.Handler) slog.Handler {
		each = withName(each, h.name)
		for _, add := range h.chain {
			each = add(each)
		}
		return each
	})
	if r.Level < h.level.Level() {
		return nil
	}
	return h.out.Handle(ctx, r)
}

// WithAttrs implements slog.Handler. [loggerKey] chooses another logger.
func (h *namedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if i := slices.IndexFunc(attrs, func(a slog.Attr) bool { return a.Key == loggerKey }); i >= 0 {
		named := h.loggers.named(attrs[i].Value.String())
		for _, add := range h.chain {
			named = named.with(add)
		}
		h, attrs = named, slices.Delete(slices.Clone(attrs), i, i+1)
	}
	if len(attrs) == 0 {
		return h
	}
	return h.with(func(out slog.Handler) slog.Handler { return out.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *namedHandler) WithGroup(name string) slog.Handler {
	return h.with(func(out slog.Handler) slog.Handler { return out.WithGroup(name) })
}

func (h *namedHandler) with(add func(slog.Handler) slog.Handler) *namedHandler {
	next := *h
	next.chain = append(slices.Clone(h.chain), add)
	next.out = add(h.out)
	return &next
}
