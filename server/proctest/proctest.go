// Package proctest runs the real binary as a process of its own, for tests that kill it, count its memory, or speak to it
// with other people's clients.
package proctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build compiles the binary into dir, with build tags, and returns its path.
func Build(dir string, tags ...string) (string, error) {
	path := filepath.Join(dir, "leasehold")
	cmd := exec.Command("go", "build", "-tags", strings.Join(tags, ","), "-o", path, "leasehold")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
}

// Main runs the tests of a package against the binary, built once: TestMain is os.Exit(proctest.Main(m, &binary)).
func Main(m *testing.M, binary *string, tags ...string) (code int) {
	dir, err := os.MkdirTemp("", "leasehold-tests-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		*binary, err = Build(dir, tags...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Server is one server process and what is needed to start it again on the same store.
type Server struct {
	Addr      string // host:port
	Dir       string // holds config.hcl, the store and the log
	RootToken string // after Init
	UnsealKey string // after Init: one share

	binary string
	http   *http.Client

	mu     sync.Mutex
	cmd    *exec.Cmd     // guarded by mu
	exited chan struct{} // closed when cmd has ended; guarded by mu
}

// New prepares a server with an SQLite store in dir; extra is added to its configuration. It is not started.
func New(t testing.TB, binary, extra string) *Server {
	t.Helper()
	s, err := Prepare(t.TempDir(), binary, extra)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// NewOn prepares a server with the given storage block, such as [PostgreSQL] makes: several may share one.
func NewOn(t testing.TB, binary, storage, extra string) *Server {
	t.Helper()
	s, err := PrepareOn(t.TempDir(), binary, storage, extra)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// PostgreSQL is the storage block of a PostgreSQL database.
func PostgreSQL(url string) string {
	return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", url)
}

// Prepare is New for programs that are no tests. The caller kills what it started.
func Prepare(dir, binary, extra string) (*Server, error) {
	return PrepareOn(dir, binary, fmt.Sprintf("storage \"sqlite\" {\n  path = %q\n}\n", filepath.Join(dir, "leasehold.db")), extra)
}

// PrepareOn is NewOn for programs that are no tests. The caller kills what it started.
func PrepareOn(dir, binary, storage, extra string) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Addr: listener.Addr().String(), Dir: dir, binary: binary,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 90 * time.Second},
	}
	_ = listener.Close()
	config := fmt.Sprintf("%slistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\napi_addr = %q\ndisable_mlock = true\n%s\n",
		storage, s.Addr, s.URL(), extra)
	return s, os.WriteFile(filepath.Join(dir, "config.hcl"), []byte(config), 0o600)
}

// URL is the address as clients take it.
func (s *Server) URL() string { return "http://" + s.Addr }

// LogFile holds what the server wrote to stdout and stderr, over all its starts.
func (s *Server) LogFile() string { return filepath.Join(s.Dir, "log") }

// Start runs the process and returns when it answers. env is added to the environment.
func (s *Server) Start(env ...string) error {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(s.binary, "server", "-config="+filepath.Join(s.Dir, "config.hcl"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append([]string{"HOME=" + s.Dir, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	for {
		if _, err := s.Call(http.MethodGet, "sys/seal-status", "", nil); err == nil {
			return nil
		}
		select {
		case <-exited:
			text, _ := os.ReadFile(s.LogFile())
			return fmt.Errorf("the server ended: %s", tail(text))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func tail(text []byte) []byte { return text[max(0, len(text)-2000):] }

// PID is the process id of the running server.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Kill ends the process with SIGKILL and returns when it is gone.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop ends the process with SIGTERM and returns when it is gone.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

// Pause stops the process where it is: it holds on to everything and does nothing, until Continue.
func (s *Server) Pause() { _ = syscall.Kill(-s.PID(), syscall.SIGSTOP) }

// Continue lets a paused process go on as if no time had passed.
func (s *Server) Continue() { _ = syscall.Kill(-s.PID(), syscall.SIGCONT) }

// Join makes s a node of the store that another server has initialised, and unseals it. Both must have been started.
func (s *Server) Join(first *Server) error {
	s.RootToken, s.UnsealKey = first.RootToken, first.UnsealKey
	return s.Unseal()
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, sig)
	<-exited
}

// Exited is closed when the running process has ended by itself or was ended.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// Error is an answer other than 2xx.
type Error struct {
	Status int
	Body   string
}

func (e *Error) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// Call sends one request below /v1/ and decodes the answer, nil when it is empty.
func (s *Server) Call(method, path, token string, body any) (map[string]any, error) {
	return s.CallContext(context.Background(), method, path, token, body)
}

// CallContext is Call by a client that hangs up when ctx is done.
func (s *Server) CallContext(ctx context.Context, method, path, token string, body any) (map[string]any, error) {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+"/v1/"+path, in)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, &Error{resp.StatusCode, string(data)}
	}
	if len(data) == 0 {
		return nil, nil
	}
	var out map[string]any
	return out, json.Unmarshal(data, &out)
}

// Root calls with the root token.
func (s *Server) Root(method, path string, body any) (map[string]any, error) {
	return s.Call(method, path, s.RootToken, body)
}

// Init initialises the store with one share and unseals it.
func (s *Server) Init() error {
	got, err := s.Call(http.MethodPut, "sys/init", "", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err != nil {
		return err
	}
	keys, _ := got["keys_base64"].([]any)
	if len(keys) != 1 {
		return errors.New("init gave no key")
	}
	s.UnsealKey, _ = keys[0].(string)
	s.RootToken, _ = got["root_token"].(string)
	return s.Unseal()
}

// Unseal opens the store.
func (s *Server) Unseal() error {
	_, err := s.Call(http.MethodPut, "sys/unseal", "", map[string]any{"key": s.UnsealKey})
	return err
}

// Restart starts the process again on the same store and unseals it.
func (s *Server) Restart(env ...string) error {
	if err := s.Start(env...); err != nil {
		return err
	}
	return s.Unseal()
}
