package audit

import (
	"context"
	"errors"
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
	silent := fmt.Errorf("audit socket %s: no answer in %v", s.address, s.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, silent)
	defer cancel()
	var conn net.Conn
	select {
	case conn = <-s.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	conn, err := s.send(ctx, conn, line)
	s.turn <- conn
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return silent
	}
	return err
}

// send returns the connection to use next; nil: a new one. One that the other side closed shows that only now, so an old one
// gets a second try. The receiver may then have a part of the line, or the line twice; never none.
func (s *socket) send(ctx context.Context, conn net.Conn, line []byte) (net.Conn, error) {
	for retry := conn != nil; ; retry = false {
		if conn == nil {
			var err error
			if conn, err = new(net.Dialer).DialContext(ctx, s.network, s.address); err != nil {
				return nil, err
			}
		}
		deadline, _ := ctx.Deadline()
		err := conn.SetWriteDeadline(deadline)
		if err == nil {
			_, err = conn.Write(line)
		}
		if err == nil {
			return conn, nil
		}
		_ = conn.Close() // the failed write is the error to report
		conn = nil
		if !retry {
			return nil, err
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
