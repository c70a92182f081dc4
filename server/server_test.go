package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/server"
	"leasehold/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) string { return "" }

// configFile writes a configuration.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runServer calls server.Run, and returns once the start-up text is complete.
func runServer(t *testing.T, opts server.Options) (stdout, log *servertest.Log, signals chan<- os.Signal, result <-chan error) {
	t.Helper()
	stdout, log = &servertest.Log{}, &servertest.Log{}
	sent := make(chan os.Signal, 1)
	opts.Stdout, opts.Stderr, opts.Signals, opts.Getenv, opts.Version = stdout, log, sent, noEnv, "1.2.3"
	ended := make(chan error, 1)
	go func() { ended <- server.Run(context.Background(), opts) }()
	stdout.Wait("==> Leasehold server started! Log data will stream in below:\n")
	return stdout, log, sent, ended
}

func TestDevMode(t *testing.T) {
	t.Parallel()
	var stored secret.Text
	pid := filepath.Join(t.TempDir(), "pid")
	stdout, _, signals, result := runServer(t, server.Options{
		Dev: true, DevRootTokenID: "my-root", DevListenAddress: "127.0.0.1:0",
		ConfigPaths: []string{configFile(t, fmt.Sprintf("pid_file = %q\nlog_level = \"error\"", pid))},
		StoreToken:  func(token secret.Text) error { stored = token; return nil },
	})
	text := stdout.String()
	for _, want := range []string{
		"==> Leasehold server configuration:\n\n", "Storage: inmem\n", "Version: Leasehold v1.2.3\n", "Log Level: error\n",
		"\nUnseal Key: ", "\nRoot Token: my-root\n", "$ export VAULT_ADDR='http://127.0.0.1:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if stored.Reveal() != "my-root" {
		t.Error("the root token was not stored")
	}
	if written, err := os.ReadFile(pid); err != nil || string(written) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("pid file: %q %v", written, err)
	}
	signals <- syscall.SIGTERM
	if err := <-result; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(pid); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
}

func TestDevModeWithTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stdout, _, signals, result := runServer(t, server.Options{
		Dev: true, DevTLS: true, DevTLSCertDir: dir, DevListenAddress: fmt.Sprintf("127.0.0.1:%d", freePort(t)), DevNoStoreToken: true,
		StoreToken: func(secret.Text) error { t.Error("the token was stored"); return nil },
	})
	address := between(stdout.String(), "VAULT_ADDR='https://", "'")
	ca := between(stdout.String(), "VAULT_CACERT='", "'")
	pool := x509.NewCertPool()
	written, err := os.ReadFile(ca)
	if err != nil || !pool.AppendCertsFromPEM(written) {
		t.Fatalf("CA %q: %v", ca, err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get("https://" + address + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	client.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK || filepath.Dir(ca) != dir {
		t.Errorf("status %d, CA %q", resp.StatusCode, ca)
	}
	signals <- syscall.SIGINT
	if err := <-result; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	found, _, _ := strings.Cut(rest, after)
	return found
}

func TestStartErrorsAreOneLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	const storage = "storage \"inmem\" {}\n"
	for _, test := range []struct {
		name, text, want string
		opts             server.Options
	}{
		{"nothing configured", "", "a storage block is needed", server.Options{}},
		{"bad key", "default_lease_ttl = []", "config.hcl:1: default_lease_ttl: expected a duration", server.Options{}},
		{"address in use", storage + fmt.Sprintf("listener \"tcp\" { tls_disable = true address = %q }", taken.Addr()), "address already in use", server.Options{}},
		{"no certificate", storage + `listener "tcp" { address = "127.0.0.1:0" tls_cert_file = "/none/c" tls_key_file = "/none/k" }`, "load certificate /none/c", server.Options{}},
		{"bad level", storage, "-log-level: expected a log level", server.Options{LogLevel: "loud"}},
		{"bad format", storage, "-log-format: expected one of standard, json", server.Options{LogFormat: "xml"}},
		{"log file", storage + `listener "tcp" { address = "127.0.0.1:0" tls_disable = true } log_file = "/none/log"`, "open the log file", server.Options{}},
	} {
		test.opts.ConfigPaths = []string{configFile(t, test.text)}
		test.opts.Getenv, test.opts.Stdout, test.opts.Stderr = noEnv, io.Discard, io.Discard
		err := server.Run(t.Context(), test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", test.name, err, test.want)
		}
	}
}

func TestSecondServerOnAStore(t *testing.T) {
	t.Parallel()
	first := servertest.Start(t, servertest.Options{})
	_, err := server.New(t.Context(), server.Options{
		ConfigPaths: []string{filepath.Join(first.Dir, "config.hcl")}, Getenv: noEnv, Stdout: io.Discard, Stderr: io.Discard,
	})
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second server opened the store: %v", err)
	}
}

func TestRestartKeepsTheStore(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{Shares: 3, Threshold: 2})
	s.Root(t, http.MethodPut, "sys/policies/acl/kept", map[string]any{"policy": `path "a" { capabilities = ["read"] }`})
	s.Restart(t)
	got := s.Root(t, http.MethodGet, "sys/policies/acl/kept", nil)
	if data, _ := got["data"].(map[string]any); data["name"] != "kept" {
		t.Errorf("the policy is gone: %v", got)
	}
}

// TestShutdownDrains: a request that has begun when the server is told to end is answered, and no new one is taken.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	body, send := io.Pipe()
	begun := make(chan struct{})
	// The server says "100 Continue" when its handler begins to read the body.
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL+"/v1/sys/policies/acl/late", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Expect", "100-continue")
	r.Header.Set("X-Vault-Token", s.RootToken)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Hour}}
	defer client.CloseIdleConnections()
	type outcome struct {
		status int
		err    error
	}
	answered := make(chan outcome, 1)
	go func() {
		resp, err := client.Do(r)
		if err != nil {
			answered <- outcome{err: err}
			return
		}
		_ = resp.Body.Close()
		answered <- outcome{status: resp.StatusCode}
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		s.Stop(t)
		close(stopped)
	}()
	s.Log.Wait("stopping")
	if _, err := io.WriteString(send, `{"policy":"path \"a\" {}"}`); err != nil {
		t.Fatal(err)
	}
	_ = send.Close()
	if got := <-answered; got.err != nil || got.status != http.StatusNoContent {
		t.Errorf("the request under way: status %d, %v", got.status, got.err)
	}
	<-stopped
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://")); err == nil {
		t.Error("the address is still open")
	}
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{now: clock.System{}.Now()}
	a.cert, a.key = a.issue(t, 1, nil)
	return a
}

// issue makes a certificate for 127.0.0.1; parent nil: of itself.
func (a *authority) issue(t *testing.T, serial int64, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("test ", serial)},
		NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        parent == nil, BasicConstraintsValid: true,
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// write makes a leaf and writes it with its key.
func (a *authority) write(t *testing.T, dir string, serial int64) {
	t.Helper()
	cert, key := a.issue(t, serial, a)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: der},
		"ca.pem": {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) config() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool}
}

// serial connects and returns the serial number of the server's certificate.
func serial(t *testing.T, address string, cfg *tls.Config) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

const oneListener = `storage "inmem" {}
disable_mlock = true
log_level = %q
listener "tcp" {
  address = "127.0.0.1:%d"
  tls_cert_file = "%s/cert.pem"
  tls_key_file = "%s/key.pem"
  custom_response_headers { "default" = { "X-A" = %q } }
  %s
}
`

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestReload(t *testing.T) {
	t.Parallel()
	dir, ca, port := t.TempDir(), newAuthority(t), freePort(t)
	ca.write(t, dir, 100)
	path := configFile(t, fmt.Sprintf(oneListener, "warn", port, dir, dir, "before", ""))
	_, log, signals, result := runServer(t, server.Options{ConfigPaths: []string{path}})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if got := serial(t, address, ca.config()); got != 100 {
		t.Errorf("serial %d before", got)
	}
	held, err := tls.Dial("tcp", address, ca.config()) // a connection that outlives the reload
	if err != nil {
		t.Fatal(err)
	}
	ca.write(t, dir, 200)
	if err := os.WriteFile(path, fmt.Appendf(nil, oneListener, "info", port, dir, dir, "after", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	signals <- syscall.SIGHUP
	log.Wait("msg=reloaded") // at level info, which is new
	if got := serial(t, address, ca.config()); got != 200 {
		t.Errorf("serial %d after", got)
	}
	if _, err := io.WriteString(held, "GET /v1/sys/init HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(held)
	if err != nil || !bytes.Contains(answer, []byte("X-A: after")) {
		t.Errorf("the old connection: %q %v", answer, err)
	}
	_ = held.Close()

	// What cannot be read leaves things as they are.
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	signals <- syscall.SIGHUP
	log.Wait("msg=reload logger=core error=")
	if got := serial(t, address, ca.config()); got != 200 {
		t.Errorf("serial %d after a bad reload", got)
	}
	signals <- syscall.SIGTERM
	if err := <-result; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), newAuthority(t)
	ca.write(t, dir, 100)
	files := fmt.Sprintf("tls_cert_file = \"%s/cert.pem\"\n tls_key_file = \"%s/key.pem\"\n", dir, dir)
	start := func(more string) string {
		s := servertest.Start(t, servertest.Options{InMemory: true, Bare: true, Listener: files + more})
		return strings.TrimPrefix(s.URL, "https://")
	}

	plain := start("")
	conn, err := net.Dial("tcp", plain)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, _ := io.ReadAll(conn); !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "Client sent an HTTP request to an HTTPS server.") {
		t.Errorf("plain HTTP: %q", answer)
	}
	_ = conn.Close()
	old := ca.config()
	old.MaxVersion = tls.VersionTLS11
	if conn, err := tls.Dial("tcp", plain, old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was accepted")
	}

	only13 := start("tls_min_version = \"tls13\"")
	v12 := ca.config()
	v12.MaxVersion = tls.VersionTLS12
	if conn, err := tls.Dial("tcp", only13, v12); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 was accepted")
	}

	mutual := start(fmt.Sprintf("tls_require_and_verify_client_cert = true\n tls_client_ca_file = \"%s/ca.pem\"", dir))
	cert, key := ca.issue(t, 300, ca)
	stranger := newAuthority(t)
	other, otherKey := stranger.issue(t, 400, stranger)
	for _, test := range []struct {
		name string
		cert []tls.Certificate
		ok   bool
	}{
		{"no certificate", nil, false},
		{"a certificate of the CA", []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, true},
		{"a stranger's", []tls.Certificate{{Certificate: [][]byte{other.Raw}, PrivateKey: otherKey}}, false},
	} {
		cfg := ca.config()
		// Given outright: a client would not even send one that the server's list of authorities does not name.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if test.cert == nil {
				return &tls.Certificate{}, nil
			}
			return &test.cert[0], nil
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
		resp, err := client.Get("https://" + mutual + "/v1/sys/init")
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "lh") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "s")
	// An earlier server may have left its socket.
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	_, _, signals, result := runServer(t, server.Options{ConfigPaths: []string{configFile(t, fmt.Sprintf(
		"storage \"inmem\" {}\ndisable_mlock = true\nlistener \"unix\" { address = %q socket_mode = \"0600\" }", path))}})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://socket/v1/sys/init")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	client.CloseIdleConnections()
	signals <- syscall.SIGTERM
	if err := <-result; err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, Run: %v", resp.StatusCode, err)
	}
}

func TestLogFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := servertest.Start(t, servertest.Options{InMemory: true, Config: fmt.Sprintf(
		"log_file = %q\nlog_format = \"json\"\nlog_requests_level = \"info\"", dir+"/")})
	name := filepath.Join(dir, "leasehold.log")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(http.MethodGet, "sys/mounts?x=canary-query", "canary-token", nil); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"msg":"request"`)) || !bytes.Contains(text, []byte(`"path":"/v1/sys/mounts","status":403`)) {
		t.Errorf("no line of the request in %s", text)
	}
	if bytes.Contains(text, []byte("canary")) {
		t.Errorf("the log shows what the client sent: %s", text)
	}
}
