package audit

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strconv"
	"sync"
	"time"

	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

// Device writes lines in its own form to one place. Safe for concurrent use.
type Device struct {
	typ      string
	options  map[string]string
	skipTest bool
	format   *format
	sink     Sink
	users    sync.WaitGroup // calls of the Broker that are on their way; added to only while the device is enabled
}

// Sink is where a device's lines go. Safe for concurrent use.
type Sink interface {
	// Write hands over one line, which ends in a newline and may not be kept. It returns once the receiver has the
	// line: for a file or a local socket, the kernel.
	Write(ctx context.Context, line []byte) error

	// Close ends the sink after the last Write has returned.
	Close() error
}

// reopener is an optional ability of sinks whose receiver can be replaced under them.
type reopener interface{ Reopen() error }

// New makes a device of type file, syslog or socket. It only looks at the options; [Device.Check] shows whether the
// device works. key is the device's own, random, at least 32 bytes, and always the same for the same device.
//
// Error: Invalid, with the texts of the wire contract.
func New(typ string, options map[string]string, key secret.Bytes) (*Device, error) {
	d := &Device{typ: typ, options: maps.Clone(options), format: newFormat(key)}
	makers := map[string]func(map[string]string) (Sink, error){"file": newFile, "syslog": newSyslog, "socket": newSocket}
	maker, ok := makers[typ]
	if !ok {
		return nil, errs.New(errs.Invalid, "unknown backend type: %q", typ)
	}
	var err error
	if d.sink, err = maker(options); err != nil {
		return nil, err
	}
	switch options["format"] {
	case "", "json":
	case "jsonx":
		d.format.jsonx = true
	default:
		return nil, errs.New(errs.Invalid, "unknown format type %q", options["format"])
	}
	d.format.prefix = options["prefix"]
	hashAccessors := true
	for _, flag := range []struct {
		name  string
		field *bool
	}{
		{"log_raw", &d.format.raw},
		{"hmac_accessor", &hashAccessors},
		{"elide_list_responses", &d.format.elideLists},
		{"skip_test", &d.skipTest},
	} {
		if text, given := options[flag.name]; given {
			if *flag.field, err = strconv.ParseBool(text); err != nil {
				return nil, errs.New(errs.Invalid, "%s", err)
			}
		}
	}
	d.format.clearAccessors = !hashAccessors
	return d, nil
}

// Type is file, syslog or socket.
func (d *Device) Type() string { return d.typ }

// Options are those that New was given.
func (d *Device) Options() map[string]string { return maps.Clone(d.options) }

// Hash is how text stands in the device's lines, such as "hmac-sha256:" and 64 hexadecimal digits.
func (d *Device) Hash(text string) string { return d.format.hash(text) }

// Check opens the device and, unless its option skip_test is on, writes a test line to it. It belongs to enabling a
// device, not to loading one that was enabled before: that one must count, and fail, even while it does not work.
//
// Error: Invalid.
func (d *Device) Check(ctx context.Context, requestID string, now time.Time) error {
	if r, ok := d.sink.(reopener); ok {
		if err := r.Reopen(); err != nil {
			return errs.New(errs.Invalid, "%s", err)
		}
	}
	if d.skipTest {
		return nil
	}
	err := d.write(ctx, "request", &Entry{
		Time:    now,
		Request: Request{ID: requestID, Operation: "update", Path: "sys/audit/test"},
	}, nil)
	if err == nil {
		return nil
	}
	text := err.Error()
	var path *fs.PathError
	if errors.As(err, &path) && path.Op == "write" {
		// Compat: recording audit-fail-closed has this text whatever the cause.
		text = "write " + path.Path + ": " + fs.ErrClosed.Error()
	}
	return errs.New(errs.Invalid, "audit backend failed test message: %s", text).Because(err)
}

// Close ends the device, which must not be written to any more.
func (d *Device) Close() error { return d.sink.Close() }

func (d *Device) write(ctx context.Context, kind string, e *Entry, headers map[string]bool) error {
	w := d.format.take()
	defer d.format.giveBack(w)
	return d.sink.Write(ctx, w.line(kind, e, headers))
}
