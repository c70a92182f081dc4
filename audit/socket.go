package audit

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"leasehold/internal/errs"
)

// socket sends lines over a connection, or as one datagram each.
//
// One line at a time: a stream takes a line's bytes together, and a deadline belongs to the whole connection. Waiting
// for the turn counts against the same timeout as sending does.
type socket struct {
	network string // tcp, udp or unix
	address string
	timeout time.Duration
	turn    chan net.Conn // holds the connection, nil when there is none; who has received it may send
}

func newSocket(options map[string]string) (Sink, error) {
	s := &socket{network: "tcp", address: options["address"], timeout: 2 * time.Second, turn: make(chan net.Conn, 1)}
	if s.address == "" {
		return nil, errs.New(errs.Invalid, "address is required")
	}
	if network, given := options["socket_type"]; given {
		switch network {
		case "tcp", "udp", "unix":
			s.network = network
		default:
			return nil, errs.New(errs.Invalid, "unknown socket type %q", network)
		}
	}
	if text, given := options["write_timeout"]; given {
		timeout, err := time.ParseDuration(text)
		if seconds, bad := strconv.ParseUint(text, 10, 31); bad == nil {
			timeout, err = time.Duration(seconds)*time.Second, nil
		}
		if err != nil || timeout <= 0 {
			return nil, errs.New(errs.Invalid, "unreadable write_timeout %q", text)
		}
		s.timeout = timeout
	}
	s.turn <- nil
	return s, nil
}

func (s *socket) Write(ctx context.Context, line []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("audit socket %s: no answer in %v", s.address, s.timeout))
	defer cancel()
	var conn net.Conn
	select {
	case conn = <-s.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.turn <- conn }()
	// A connection that the other side closed shows that only now, so an old one gets a second try. The receiver may
	// then have a part of the line, or the line twice; never none.
	for retry := conn != nil; ; retry = false {
		var err error
		if conn == nil {
			if conn, err = new(net.Dialer).DialContext(ctx, s.network, s.address); err != nil {
				conn = nil
				return err
			}
		}
		deadline, _ := ctx.Deadline()
		if err = conn.SetWriteDeadline(deadline); err == nil {
			_, err = conn.Write(line)
		}
		if err == nil {
			return nil
		}
		_ = conn.Close() // the failed write is the error to report
		conn = nil
		if !retry {
			return err
		}
	}
}

func (s *socket) Close() error {
	conn := <-s.turn
	s.turn <- nil
	if conn != nil {
		return conn.Close()
	}
	return nil
}
