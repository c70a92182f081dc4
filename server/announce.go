package server

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"

	"leasehold/server/config"
)

// announce prints the start-up text. People read it, and scripts wait for its last line.
func (s *Server) announce() {
	lines := [][2]string{{"Api Address", s.cfg.URL()}, {"Go Version", runtime.Version()}}
	for i, l := range s.cfg.Listeners {
		lines = append(lines, [2]string{fmt.Sprintf("Listener %d", i+1), describeListener(l)})
	}
	lines = append(lines,
		[2]string{"Log Level", levelName(s.cfg.LogLevel)},
		[2]string{"Mlock", fmt.Sprintf("enabled: %v", s.cfg.LockMemory)},
		[2]string{"Storage", s.cfg.Storage.Type},
		[2]string{"Version", "Leasehold v" + s.opts.Version},
	)
	width := 0
	for _, line := range lines {
		width = max(width, len(line[0]))
	}
	var text strings.Builder
	text.WriteString("==> Leasehold server configuration:\n\n")
	for _, line := range lines {
		fmt.Fprintf(&text, "%*s: %s\n", width+8, line[0], line[1])
	}
	text.WriteString("\n")
	if s.dev != nil {
		text.WriteString(s.devText())
	}
	text.WriteString("==> Leasehold server started! Log data will stream in below:\n\n")
	_, _ = io.WriteString(s.opts.Stdout, text.String()) // a terminal that is gone is no reason not to serve
}

func describeListener(l *config.Listener) string {
	secure := "disabled"
	if l.TLS != nil {
		secure = "enabled"
	}
	return fmt.Sprintf("%s (addr: %q, max_request_duration: %q, max_request_size: %q, tls: %q)",
		l.Network, l.Address, l.MaxRequestDuration, fmt.Sprint(l.MaxRequestBytes), secure)
}

func levelName(level slog.Level) string {
	if level == config.LevelTrace {
		return "trace"
	}
	return strings.ToLower(level.String())
}
