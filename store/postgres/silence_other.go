//go:build !linux

package postgres

import "syscall"

// limitSilence does nothing where the system has no such setting: keep-alive probes and deadlines have to do.
func limitSilence(_, _ string, _ syscall.RawConn) error { return nil }
