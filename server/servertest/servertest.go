// Package servertest runs a real server inside a test, on a free port of loopback and with a store of its own.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"leasehold/server"
)

// Options say what the server is like. The zero value is a server with an SQLite store, initialised with one share and
// unsealed.
type Options struct {
	Config    string // further top-level settings, in HCL
	Listener  string // settings of the listener, in HCL; empty: tls_disable = true
	Bare      bool   // leave the store without keys
	Shares    int    // 0: 1
	Threshold int    // 0: 1
	InMemory  bool   // keep nothing
}

// Server is a running server. Its methods are for the test's goroutine, but Do, which may be called by any.
type Server struct {
	URL        string // such as http://127.0.0.1:4711; another one after Restart
	RootToken  string
	UnsealKeys []string // base64
	Dir        string   // holds config.hcl and the folder data
	Log        *Log

	opts   Options
	client *http.Client
	server *server.Server
	stop   context.CancelFunc
	ended  chan error
}

// Start runs a server until the test ends. What goes wrong fails the test.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Shares == 0 {
		opts.Shares, opts.Threshold = 1, 1
	}
	if opts.Listener == "" {
		opts.Listener = "tls_disable = true"
	}
	s := &Server{Dir: t.TempDir(), Log: &Log{}, opts: opts, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	storage := fmt.Sprintf("storage \"file\" {\n  path = %q\n}\n", filepath.Join(s.Dir, "data"))
	if opts.InMemory {
		storage = "storage \"inmem\" {}\n"
	}
	text := fmt.Sprintf("%slistener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  %s\n}\ndisable_mlock = true\n%s\n", storage, opts.Listener, opts.Config)
	if err := os.WriteFile(s.configFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log)
		}
	})
	s.start(t)
	if !opts.Bare {
		s.Init(t)
	}
	return s
}

func (s *Server) configFile() string { return filepath.Join(s.Dir, "config.hcl") }

func (s *Server) start(t testing.TB) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	srv, err := server.New(ctx, server.Options{
		ConfigPaths: []string{s.configFile()}, Version: "0.0.0", Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: s.Log,
	})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	s.server, s.stop, s.ended = srv, stop, make(chan error, 1)
	scheme := "http://"
	if !strings.Contains(s.opts.Listener, "tls_disable") {
		scheme = "https://"
	}
	s.URL = scheme + srv.Addr(0).String()
	go func() { s.ended <- srv.Serve(ctx) }() // Stop waits for it
}

// Stop ends the server as a signal would. Stopping twice does no harm.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("the server ended with: %v", err)
	}
	s.stop = nil
	s.client.CloseIdleConnections()
}

// Restart stops the server, starts one on the same store, and unseals it.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.start(t)
	s.Unseal(t)
}

// Reload is what SIGHUP does.
func (s *Server) Reload() error { return s.server.Reload() }

// Init makes the store's keys and unseals it.
func (s *Server) Init(t testing.TB) {
	t.Helper()
	answer := s.Must(t, http.MethodPut, "sys/init", "", map[string]any{"secret_shares": s.opts.Shares, "secret_threshold": s.opts.Threshold})
	keys, _ := answer["keys_base64"].([]any)
	s.UnsealKeys = nil
	for _, key := range keys {
		text, _ := key.(string)
		s.UnsealKeys = append(s.UnsealKeys, text)
	}
	s.RootToken, _ = answer["root_token"].(string)
	s.Unseal(t)
}

// Unseal gives as many shares as are needed.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	for _, key := range s.UnsealKeys[:s.opts.Threshold] {
		s.Must(t, http.MethodPut, "sys/unseal", "", map[string]any{"key": key})
	}
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Raw    []byte
	Body   map[string]any // nil when Raw is not a JSON object; numbers are json.Number
}

// Do sends a request below /v1/. body is encoded as JSON, but for a string, which is sent as it is, and nil.
func (s *Server) Do(method, path, token string, body any, headers ...string) (Answer, error) {
	var in io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(body)
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		in = bytes.NewReader(encoded)
	}
	r, err := http.NewRequest(method, s.URL+"/v1/"+path, in)
	if err != nil {
		return Answer{}, err
	}
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if len(headers)%2 != 0 {
		return Answer{}, errors.New("headers are pairs of name and value")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.Send(r)
}

// Send sends any request.
func (s *Server) Send(r *http.Request) (Answer, error) {
	resp, err := s.client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Status: resp.StatusCode, Header: resp.Header, Raw: raw}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&answer.Body); err != nil {
		answer.Body = nil
	}
	return answer, nil
}

// Must is Do for a request that succeeds. It returns the body.
func (s *Server) Must(t testing.TB, method, path, token string, body any, headers ...string) map[string]any {
	t.Helper()
	answer, err := s.Do(method, path, token, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.Status >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: status %d: %s", method, path, answer.Status, answer.Raw)
	}
	return answer.Body
}

// Root is Must with the root token.
func (s *Server) Root(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	return s.Must(t, method, path, s.RootToken, body)
}

// Log is what the server has logged so far. Safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	text   bytes.Buffer // guarded by mu
	waiter []waiter     // guarded by mu
}

type waiter struct {
	text string
	seen chan struct{}
}

// Write implements io.Writer.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(line)
	l.tellLocked()
	return n, err
}

func (l *Log) tellLocked() {
	left := l.waiter[:0]
	for _, w := range l.waiter {
		if bytes.Contains(l.text.Bytes(), []byte(w.text)) {
			close(w.seen)
			continue
		}
		left = append(left, w)
	}
	l.waiter = left
}

// Wait returns once the text was logged; at once when it was before.
func (l *Log) Wait(text string) {
	seen := make(chan struct{})
	l.mu.Lock()
	l.waiter = append(l.waiter, waiter{text, seen})
	l.tellLocked()
	l.mu.Unlock()
	<-seen
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
