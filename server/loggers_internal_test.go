package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/errs"
	"leasehold/server/config"
)

func TestLoggers(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newLoggers(formatted(&out, "json"), slog.LevelInfo)
	core := slog.New(l.named("core"))
	lease := core.With(loggerKey, "lease").With("target", "shop").WithGroup("g")
	if err := l.SetLevel("lease", "TRACE"); err != nil {
		t.Fatal(err)
	}
	core.Debug("hidden")
	lease.Debug("shown", "n", 1)
	lease.Log(t.Context(), config.LevelTrace, "traced")
	core.With("before", 1).With("x", 2, loggerKey, "audit").Info("audited")
	core.With(loggerKey, "nobody").Info("of the core")
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{
		`"level":"DEBUG","msg":"shown","logger":"lease","target":"shop","g":{"n":1}}`,
		`"level":"TRACE","msg":"traced","logger":"lease","target":"shop"`,
		`"level":"INFO","msg":"audited","logger":"audit","before":1,"x":2}`,
		`"level":"INFO","msg":"of the core","logger":"core"}`,
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("line %d: want %s in:\n%s", i, want, out.String())
		}
	}

	if err := l.SetLevel("", "warn"); err != nil {
		t.Fatal(err)
	}
	if err := l.ResetLevel("audit"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"audit": "info", "core": "warn", "database": "warn", "http": "warn", "lease": "warn"}
	if diff := cmp.Diff(want, l.Levels()); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	l.restart(slog.LevelError)
	if levels := l.Levels(); levels["core"] != "error" || levels["audit"] != "error" {
		t.Errorf("after a reload: %v", levels)
	}
}

func TestLoggerRefusals(t *testing.T) {
	t.Parallel()
	l := newLoggers(slog.DiscardHandler, slog.LevelInfo)
	for _, test := range []struct {
		err  error
		want string
	}{
		{l.SetLevel("core", ""), "level is required"},
		{l.SetLevel("", "loud"), "invalid level provided: unknown log level: loud"},
		{l.SetLevel("hat", "warn"), `logger "hat" not found`},
		{l.ResetLevel("hat"), `logger "hat" not found`},
		{func() error { _, err := l.Monitor("loud", ""); return err }(), "unknown log level"},
		{func() error { _, err := l.Monitor("", "perhaps"); return err }(), "unknown log format"},
	} {
		if e := errs.From(test.err); e == nil || e.Code != errs.Invalid || e.Text != test.want {
			t.Errorf("got %v, want %q", test.err, test.want)
		}
	}
}

// follow reads the log until the stream ends.
func follow(t *testing.T, l *loggers, ctx context.Context, level, format string) (lines *io.PipeReader, ended <-chan error) {
	t.Helper()
	stream, err := l.Monitor(level, format)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() { result <- errors.Join(stream(ctx, w), w.Close()) }()
	if n, err := r.Read(nil); n != 0 || err != nil { // it begins with nothing
		t.Fatal(n, err)
	}
	return r, result
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	l := newLoggers(slog.DiscardHandler, slog.LevelError)
	log := slog.New(l.named("core"))
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug lines are made for nobody")
	}
	ctx, stop := context.WithCancel(t.Context())
	debug, endedDebug := follow(t, l, ctx, "debug", "json")
	warn, endedWarn := follow(t, l, t.Context(), "warn", "standard")
	log.With(loggerKey, "lease", "target", "shop").Debug("below the log's level")
	log.Warn("both")

	buffer := make([]byte, 4096)
	read := func(from io.Reader) string {
		n, err := from.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	if got := read(debug); !strings.Contains(got, `"msg":"below the log's level","logger":"lease","target":"shop"}`) {
		t.Errorf("got %s", got)
	}
	if got := read(debug); !strings.Contains(got, `"msg":"both"`) {
		t.Errorf("got %s", got)
	}
	if got := read(warn); !strings.Contains(got, `level=WARN msg=both logger=core`) {
		t.Errorf("got %s", got)
	}
	stop()
	if err := <-endedDebug; err != nil {
		t.Errorf("a client that goes away: %v", err)
	}
	l.monitors.end()
	if err := <-endedWarn; err != nil {
		t.Errorf("the end of the server: %v", err)
	}
	stream, err := l.Monitor("", "")
	if err != nil || stream(t.Context(), io.Discard) != nil {
		t.Error("a monitor that comes too late is not sent away")
	}
	if log.Enabled(t.Context(), slog.LevelWarn) {
		t.Error("lines are made for monitors that are gone")
	}
}

// TestSlowMonitor: the log does not wait for a client that reads nothing, and tells it what it has missed.
func TestSlowMonitor(t *testing.T) {
	t.Parallel()
	l := newLoggers(slog.DiscardHandler, slog.LevelError)
	log := slog.New(l.named("core"))
	lines, ended := follow(t, l, t.Context(), "info", "")
	for range 3 * waitingLines {
		log.Info("many")
	}
	// One line is in the pipe, or waits to be.
	buffer, all := make([]byte, 4096), ""
	for range waitingLines / 2 {
		n, err := lines.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		all += string(buffer[:n])
	}
	log.Info("last")
	go l.monitors.end()
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if all += string(rest); !strings.Contains(all, `msg="lines were left out: they are read too slowly" lines=`) || !strings.Contains(all, "msg=last") {
		t.Error("the client is not told what it has missed")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
