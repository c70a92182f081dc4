package audit

import (
	"context"
	"log/syslog"
	"strings"
	"sync/atomic"

	"leasehold/internal/errs"
)

// facilities are the names that RFC 5424, section 6.2.1, and syslog(3) have for the senders of messages.
var facilities = map[string]syslog.Priority{
	"KERN": syslog.LOG_KERN, "USER": syslog.LOG_USER, "MAIL": syslog.LOG_MAIL, "DAEMON": syslog.LOG_DAEMON,
	"AUTH": syslog.LOG_AUTH, "SYSLOG": syslog.LOG_SYSLOG, "LPR": syslog.LOG_LPR, "NEWS": syslog.LOG_NEWS,
	"UUCP": syslog.LOG_UUCP, "CRON": syslog.LOG_CRON, "AUTHPRIV": syslog.LOG_AUTHPRIV, "FTP": syslog.LOG_FTP,
	"LOCAL0": syslog.LOG_LOCAL0, "LOCAL1": syslog.LOG_LOCAL1, "LOCAL2": syslog.LOG_LOCAL2, "LOCAL3": syslog.LOG_LOCAL3,
	"LOCAL4": syslog.LOG_LOCAL4, "LOCAL5": syslog.LOG_LOCAL5, "LOCAL6": syslog.LOG_LOCAL6, "LOCAL7": syslog.LOG_LOCAL7,
}

// system sends lines to the machine's syslog, which the library connects to again by itself.
type system struct {
	network, address string // empty: where the machine's syslog listens
	priority         syslog.Priority
	tag              string
	open             atomic.Pointer[syslog.Writer]
}

func newSyslog(options map[string]string) (Sink, error) {
	s := &system{tag: "leasehold", priority: syslog.LOG_INFO | syslog.LOG_AUTH}
	if name, given := options["facility"]; given {
		facility, known := facilities[strings.ToUpper(name)]
		if !known {
			return nil, errs.New(errs.Invalid, "unknown syslog facility %q", name)
		}
		s.priority = syslog.LOG_INFO | facility
	}
	if tag := options["tag"]; tag != "" {
		s.tag = tag
	}
	return s, nil
}

func (s *system) Write(_ context.Context, line []byte) error {
	w := s.open.Load()
	if w == nil {
		var err error
		if w, err = syslog.Dial(s.network, s.address, s.priority, s.tag); err != nil {
			return err
		}
		if !s.open.CompareAndSwap(nil, w) {
			_ = w.Close() // another line was faster; nothing was written to this one
			w = s.open.Load()
		}
	}
	_, err := w.Write(line)
	return err
}

func (s *system) Close() error {
	if w := s.open.Swap(nil); w != nil {
		return w.Close()
	}
	return nil
}
