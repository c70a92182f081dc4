//go:build failpoint

// Package failpoint lets crash tests end or stop the process between two steps.
package failpoint

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	mu     sync.Mutex
	passed = map[string]int{} // guarded by mu
)

// Hit acts when the environment variable LEASEHOLD_FAILPOINT names this point; it may name several, with commas between them.
// "name" ends the process with SIGKILL at the first pass, "name#3" at the third. "stop:name" stops it instead: it goes on
// from here when it is sent SIGCONT.
func Hit(name string) {
	for point := range strings.SplitSeq(os.Getenv("LEASEHOLD_FAILPOINT"), ",") {
		act(point, name)
	}
}

func act(point, name string) {
	want, nth := point, 1
	if at := strings.LastIndexByte(want, '#'); at >= 0 {
		nth, _ = strconv.Atoi(want[at+1:])
		want = want[:at]
	}
	want, stop := strings.CutPrefix(want, "stop:")
	if want != name {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	if passed[point]++; passed[point] != nth {
		return
	}
	if stop {
		// Sent to this thread, the signal takes effect before the call returns.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGSTOP)
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal ends us
}
