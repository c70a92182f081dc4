package faults

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A disk answers the system calls by which a process changes files of one folder, in the kernel's place where its rule
// says so. The process is any program: it is started by this test's binary, which asks the kernel (seccomp_unotify(2)) to be
// asked about those calls, hands that over to the disk, and then becomes the program.
type disk struct {
	t      *testing.T
	folder string
	socket string // where a process that is being started hands itself over

	mu    sync.Mutex
	calls int                                    // so far; guarded by mu
	rule  func(nth int, call, file string) error // nil: the kernel does it; guarded by mu
	wg    sync.WaitGroup
}

const (
	diskVariable    = "LEASEHOLD_FAULTS_DISK"    // the socket
	programVariable = "LEASEHOLD_FAULTS_PROGRAM" // the program to become
)

// writing are the calls that a disk is asked about.
var writing = map[uint32]string{
	unix.SYS_PWRITE64:  "pwrite64",
	unix.SYS_WRITE:     "write",
	unix.SYS_FTRUNCATE: "ftruncate",
	unix.SYS_FALLOCATE: "fallocate",
	unix.SYS_FSYNC:     "fsync",
	unix.SYS_FDATASYNC: "fdatasync",
}

func newDisk(t *testing.T, folder string) *disk {
	t.Helper()
	d := &disk{t: t, folder: folder, socket: filepath.Join(folder, "disk")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	d.wg.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			listener, err := receive(conn)
			if err != nil {
				t.Errorf("receive a process: %v", err)
				continue
			}
			d.wg.Go(func() { d.serve(listener) })
		}
	})
	t.Cleanup(func() { // the processes have ended: they were started later
		_ = l.Close()
		d.wg.Wait()
	})
	return d
}

// environment has a process that this test's binary is started as become the program, on the disk.
func (d *disk) environment(program string) []string {
	return []string{diskVariable + "=" + d.socket, programVariable + "=" + program}
}

// obey sets what becomes of each call; nil: the kernel does it. It counts from 1 again.
func (d *disk) obey(rule func(nth int, call, file string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.rule = 0, rule
}

// count is how many calls there were since obey.
func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func (d *disk) judge(call, file string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.rule == nil {
		return nil
	}
	return d.rule(d.calls, call, file)
}

// The kernel's structures seccomp_notif and seccomp_notif_resp.
type (
	question struct {
		id          uint64
		pid, flags  uint32
		number      uint32
		arch        uint32
		instruction uint64
		args        [6]uint64
	}
	reply struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

// serve answers until the process has ended.
func (d *disk) serve(listener int) {
	defer func() { _ = unix.Close(listener) }()
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			return
		}
		var q question
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&q)); err != nil {
			continue // the thread has ended meanwhile
		}
		r := reply{id: q.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", q.pid, int32(q.args[0])))
		if err == nil && filepath.Dir(file) == d.folder && !strings.HasSuffix(file, "/log") {
			var errno unix.Errno
			if errors.As(d.judge(writing[q.number], filepath.Base(file)), &errno) {
				r.errno, r.flags = -int32(errno), 0
			}
		}
		_ = ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)) // a thread that has ended needs no answer
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// receive takes a file descriptor from a socket.
func receive(conn *net.UnixConn) (int, error) {
	defer func() { _ = conn.Close() }()
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("%d messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors, %w", len(fds), err)
	}
	return fds[0], nil
}

// becomeProgram is what this test's binary does where the environment says so. It does not return.
func becomeProgram(socket, program string) {
	err := func() error {
		runtime.LockOSThread() // the filter is this thread's, and the program inherits it
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			return err
		}
		out, err := conn.File()
		if err != nil {
			return err
		}
		listener, err := filter()
		if err != nil {
			return fmt.Errorf("filter system calls: %w", err)
		}
		// Nothing in between writes: nobody would answer.
		if err := unix.Sendmsg(int(out.Fd()), []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
			return err
		}
		_ = unix.Close(listener)
		return unix.Exec(program, append([]string{program}, os.Args[1:]...), []string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")})
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// filter has whoever reads the descriptor be asked about writing calls of this thread.
func filter() (listener int, err error) {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for number := range writing {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jt: 0, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
