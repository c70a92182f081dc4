package external

import (
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// dieWithUs makes the program the first of a group of its own, so that a signal to this server's group is not its signal, too,
// and has the system end it when this server is killed.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// strike kills the program's group.
func strike(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it fails when nobody is left
	}
}

// ours reports whether a file belongs to root or to this server's user.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}
