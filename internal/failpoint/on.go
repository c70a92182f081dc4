//go:build failpoint

// Package failpoint lets crash tests stop the process between two steps.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	mu     sync.Mutex
	passed = map[string]int{} // guarded by mu
)

// Hit ends the process with SIGKILL when the environment variable LEASEHOLD_FAILPOINT names this point. "name" stops
// at the first pass, "name#3" at the third.
func Hit(name string) {
	want, nth := os.Getenv("LEASEHOLD_FAILPOINT"), 1
	if at := strings.LastIndexByte(want, '#'); at >= 0 {
		nth, _ = strconv.Atoi(want[at+1:])
		want = want[:at]
	}
	if want != name {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	if passed[name]++; passed[name] == nth {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal ends us
	}
}
