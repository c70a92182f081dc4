package external

import (
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
