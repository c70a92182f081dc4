package testdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// standbyName is how a standby calls itself at its primary.
const standbyName = "standby"

// Standby makes a hot standby of a server, which follows it by streaming and is stopped and removed when the test ends.
// When Standby returns, the primary waits for it: what the primary has answered to a COMMIT is on both. A primary with TLS
// cannot have one.
func Standby(t testing.TB, primary *Server) *Server {
	t.Helper()
	dir, remove, err := claimFolder()
	if err != nil {
		t.Fatalf("make a standby: %v", err)
	}
	t.Cleanup(remove)
	s := *primary
	s.LogFile = filepath.Join(dir, "log")
	s.postmaster = &postmaster{
		binaries: primary.binaries, account: primary.account, data: filepath.Join(dir, "data"), settings: primary.settings,
	}
	if err := s.account.own(dir); err != nil {
		t.Fatalf("make a standby: %v", err)
	}
	source, err := pgx.ParseConfig(primary.URL())
	if err != nil {
		t.Fatalf("make a standby: %v", err)
	}
	copying := s.account.command(filepath.Join(s.binaries, "pg_basebackup"), "--pgdata="+s.data, "--write-recovery-conf",
		"--wal-method=stream", "--checkpoint=fast", "--no-sync", "--dbname="+
			fmt.Sprintf("host=%s port=%d user=%s application_name=%s", source.Host, source.Port, primary.User, standbyName))
	copying.Env = append(copying.Env, "PGPASSWORD="+primary.Password)
	if err := copying.run(); err != nil {
		t.Fatalf("make a standby: %v", err)
	}
	if err := s.start(&s); err != nil {
		t.Fatalf("start a standby: %v", err)
	}
	t.Cleanup(s.Stop)

	conn := primary.Conn(t)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + standbyName + "'", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("have the primary wait for its standby: %v", err)
		}
	}
	awaitTrue(t, conn, `SELECT EXISTS (SELECT 1 FROM pg_stat_replication
		WHERE application_name = '`+standbyName+`' AND state = 'streaming' AND sync_state = 'sync')`)
	return &s
}

// Promote makes a standby a primary of its own. It returns when the server takes writes. It waits for no standby: nobody
// has told it to.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	conn := s.Conn(t)
	if _, err := conn.Exec(t.Context(), `SELECT pg_promote()`); err != nil {
		t.Fatalf("promote the standby: %v", err)
	}
	awaitTrue(t, conn, `SELECT NOT pg_is_in_recovery()`)
}

// awaitTrue asks until the answer is true.
func awaitTrue(t testing.TB, conn *pgx.Conn, question string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		var yes bool
		if err := conn.QueryRow(ctx, question).Scan(&yes); err != nil {
			t.Fatalf("%s: %v", question, err)
		}
		if yes {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Kill ends all processes of the server without a chance to say or write anything, as when its machine dies.
func (p *postmaster) Kill() {
	_ = syscall.Kill(p.pid, syscall.SIGSTOP) // it starts no more processes
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid, p.pid))
	var children []int
	for _, child := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(child); err == nil {
			children = append(children, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	<-p.done
	for _, pid := range children { // on a busy machine they die late, and the next server would not start beside them
		awaitEnd(pid)
	}
	p.removeSharedMemory()
}

// awaitEnd returns when a process that is not ours to wait for has ended.
func awaitEnd(pid int) {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

// removeSharedMemory removes the segment that shows others whether a process of the server lives. A machine that dies
// takes it along; a killed server would leave it until the machine dies.
func (p *postmaster) removeSharedMemory() {
	const line = 7 // of postmaster.pid: the segment's key and id
	pidFile, _ := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	lines := strings.Split(string(pidFile), "\n")
	if len(lines) < line {
		return
	}
	fields := strings.Fields(lines[line-1])
	if len(fields) != 2 {
		return
	}
	if id, err := strconv.Atoi(fields[1]); err == nil {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}
