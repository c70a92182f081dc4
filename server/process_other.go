//go:build !linux

package server

import "errors"

var errNotHere = errors.New("not supported on this system")

func noCoreDumps() error { return errNotHere }

func lockMemory() error { return errNotHere }
