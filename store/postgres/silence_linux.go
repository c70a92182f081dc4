package postgres

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence ends a connection whose data nobody acknowledges, which keep-alive probes do not notice while there is
// something to send.
func limitSilence(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
