package testdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	superuser = "postgres"
	password  = "throwaway-superuser"

	startTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// postmaster is the server's first process.
type postmaster struct {
	binaries string // folder
	account  account
	data     string            // folder
	settings map[string]string // of the command line
	args     []string

	pid  int
	done chan struct{} // closed when the process has ended
}

// start tries a few ports: another process may take the one that was free a moment ago.
func (p *postmaster) start(s *Server) error {
	var err error
	for range 5 {
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return fmt.Errorf("find a free port: %w", listenErr)
		}
		s.Addr = l.Addr().String()
		_, port, _ := net.SplitHostPort(s.Addr)
		_ = l.Close()

		p.args = []string{"-D", p.data, "-p", port}
		for name, value := range p.settings {
			p.args = append(p.args, "-c", name+"="+value)
		}
		if err = s.Restart(); err == nil {
			return nil
		}
	}
	return err
}

// Restart starts a server that was stopped or crashed, at the same address and with the same data. It returns when the
// server takes connections.
func (s *Server) Restart() error {
	log, err := os.OpenFile(s.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	cmd := s.account.command(filepath.Join(s.binaries, "postgres"), s.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
	if err := s.launch(cmd); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		c, err := s.Connect(ctx)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-retry.C:
		case <-s.done:
			text, _ := os.ReadFile(s.LogFile)
			return fmt.Errorf("postgres ended at once:\n%s", text)
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("postgres takes no connections: %w", err)
		}
	}
}

// launch starts the process.
func (p *postmaster) launch(cmd command) error {
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The parent whose death Pdeathsig watches is the thread that forked, so this goroutine keeps it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.pid, p.done = cmd.Process.Pid, done
	return nil
}

// Stop ends the server in good order, its sessions included. A server that has ended is left alone.
func (p *postmaster) Stop() { p.end(syscall.SIGINT) }

// Crash ends the server as a power cut would, but for what the machine's memory holds: sessions are cut, and the next
// start recovers.
func (p *postmaster) Crash() { p.end(syscall.SIGQUIT) }

func (p *postmaster) end(sig syscall.Signal) {
	for _, sig := range []syscall.Signal{sig, syscall.SIGQUIT, syscall.SIGKILL} {
		select {
		case <-p.done:
			return
		default:
		}
		_ = syscall.Kill(-p.pid, sig)
		select {
		case <-p.done:
			return
		case <-time.After(stopTimeout):
		}
	}
	<-p.done
}

// template is a data directory that servers start from as a copy: six times faster than initdb.
type template struct {
	binaries string
	account  account
	data     string
}

// postgresTemplate finds or makes the template. It stays in the temporary directory for later processes: made elsewhere
// and then renamed, so that it is there wholly or not at all.
var postgresTemplate = sync.OnceValues(func() (t template, err error) {
	if t.binaries, err = postgresBinaries(); err != nil {
		return t, err
	}
	if t.account, err = serverAccount(); err != nil {
		return t, err
	}
	major := filepath.Base(filepath.Dir(t.binaries))
	home := filepath.Join(os.TempDir(), fmt.Sprintf("leasehold-pg%s-template-%d", major, t.account.uid))
	t.data = filepath.Join(home, "data")
	if t.account.owns(home) {
		return t, nil
	}

	dir, err := os.MkdirTemp("", "leasehold-pg-template-")
	if err != nil {
		return t, fmt.Errorf("make a folder for the template: %w", err)
	}
	defer os.RemoveAll(dir)
	pwfile := filepath.Join(dir, "password")
	if err := os.WriteFile(pwfile, []byte(password), 0o600); err != nil {
		return t, fmt.Errorf("write the password for initdb: %w", err)
	}
	for _, path := range []string{dir, pwfile} {
		if err := t.account.own(path); err != nil {
			return t, err
		}
	}
	initdb := t.account.command(filepath.Join(t.binaries, "initdb"), "-D", filepath.Join(dir, "data"), "-U", superuser,
		"--pwfile", pwfile, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if err := initdb.run(); err != nil {
		return t, err
	}
	if err := os.Rename(dir, home); err != nil && !t.account.owns(home) {
		return t, fmt.Errorf("keep the template: %w", err)
	}
	return t, nil
})

// postgresBinaries is the folder of the newest installed server.
func postgresBinaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	newest, version := "", -1
	for _, path := range found {
		bin := filepath.Dir(path)
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && n > version {
			newest, version = bin, n
		}
	}
	if newest == "" {
		return "", errors.New("no PostgreSQL server in /usr/lib/postgresql: install the Debian package postgresql " +
			"(apt-get install --no-install-recommends postgresql)")
	}
	return newest, nil
}

// account is the user that the server runs as: PostgreSQL refuses to run as root.
type account struct {
	uid, gid int
	other    bool // not the user that this process runs as
}

func serverAccount() (account, error) {
	if uid := os.Getuid(); uid != 0 {
		return account{uid: uid, gid: os.Getgid()}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, errors.New("PostgreSQL refuses to run as root, and there is no user postgres: " +
			"install the Debian package postgresql-common (apt-get install --no-install-recommends postgresql)")
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return account{}, fmt.Errorf("user postgres: %w", err)
	}
	return account{uid: uid, gid: gid, other: true}, nil
}

// own gives a file to the account.
func (a account) own(path string) error {
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("hand a file to the server's user: %w", err)
	}
	return nil
}

// owns reports whether path is a folder that nobody but the account has made.
func (a account) owns(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == a.uid
}

type command struct{ *exec.Cmd }

// command is a program that runs as the account in its own process group, so that a ctrl-C meant for the test does not
// reach it.
func (a account) command(name string, args ...string) command {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return command{cmd}
}

func (c command) run() error {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(c.Path), err, out.Bytes())
	}
	return nil
}
