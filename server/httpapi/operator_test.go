package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"leasehold/internal/clock"
	"leasehold/server/servertest"
)

const (
	denied    = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
	noToken   = `{"errors":["permission denied"]}`
	sealed    = `{"errors":["Vault is sealed"]}`
	formJSON  = "Content-Type: application/json"
	formText  = "Content-Type: text/plain; version=0.0.4; charset=utf-8"
	formPlain = "Content-Type: text/plain"
)

func TestOperatorPaths(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true})
	auth, _ := s.Root(t, http.MethodPost, "auth/token/create", map[string]any{"policies": "default"})["auth"].(map[string]any)
	plain, _ := auth["client_token"].(string)
	run(t, s, []exchange{
		{name: "metrics", method: "GET", path: "sys/metrics", token: "root", status: 200, want: `"Gauges":[`, header: formJSON},
		{name: "metrics in JSON", method: "GET", path: "sys/metrics?format=json", token: "root", status: 200, want: `"Samples":[`, header: formJSON},
		{name: "metrics as text", method: "GET", path: "sys/metrics?format=prometheus", token: "root", status: 200, want: "# TYPE vault_core_handle_request summary", header: formText},
		{name: "metrics for a scraper", method: "GET", path: "sys/metrics", token: "root", headers: []string{"Accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1"}, status: 200, want: `vault_core_response_status_code{code="200",type="2xx"}`, header: formText},
		{name: "unknown form", method: "GET", path: "sys/metrics?format=odd", token: "root", status: 400, want: "unknown metrics format", header: formPlain},
		{name: "metrics without a token", method: "GET", path: "sys/metrics", status: 403, want: noToken},
		{name: "metrics without a policy", method: "GET", path: "sys/metrics", token: plain, status: 403, want: denied},
		{name: "in flight", method: "GET", path: "sys/in-flight-req", token: "root", status: 200, want: `"request_method":"GET","request_path":"/v1/sys/in-flight-req","start_time":"20`, header: formJSON},
		{name: "in flight without a policy", method: "GET", path: "sys/in-flight-req", token: plain, status: 403, want: denied},
		{name: "profile", method: "GET", path: "sys/pprof/goroutine?debug=1", token: "root", status: 200, want: "goroutine profile:", header: "Content-Type: text/plain; charset=utf-8"},
		{name: "profile without a token", method: "GET", path: "sys/pprof/goroutine", status: 403, want: noToken},
		{name: "monitor without a policy", method: "GET", path: "sys/monitor", token: plain, status: 403, want: denied},
		{name: "monitor of no level", method: "GET", path: "sys/monitor?log_level=loud", token: "root", status: 400, want: `{"errors":["unknown log level"]}`},
		{name: "logger", method: "POST", path: "sys/loggers/lease", token: "root", body: map[string]any{"level": "trace"}, status: 204},
		{name: "loggers", method: "GET", path: "sys/loggers", token: "root", status: 200, want: `"data":{"audit":"info","core":"info","database":"info","http":"info","lease":"trace"}`},
		{name: "unknown logger", method: "GET", path: "sys/loggers/hat", token: "root", status: 400, want: `{"errors":["logger \"hat\" not found"]}`},
		{name: "reset", method: "DELETE", path: "sys/loggers", token: "root", status: 204},
		{name: "after the reset", method: "GET", path: "sys/loggers/lease", token: "root", status: 200, want: `"data":{"lease":"info"},"wrap_info":null,"warnings":[]`},
		{name: "tokens", method: "GET", path: "sys/internal/counters/tokens", token: "root", status: 200, want: `"counters":{"service_tokens":{"total":2}}`},
	})
}

// TestOpenListener: what the listener shows to everybody, and also while the store is sealed.
func TestOpenListener(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Bare: true, Listener: `tls_disable = true
  telemetry { unauthenticated_metrics_access = true }
  profiling { unauthenticated_pprof_access = true }
  inflight_requests_logging { unauthenticated_in_flight_requests_access = true }`})
	shown := []exchange{
		{name: "metrics", method: "GET", path: "sys/metrics?format=prometheus", status: 200, want: "_core_unsealed 0\n", header: formText},
		{name: "unknown form", method: "GET", path: "sys/metrics?format=odd", status: 400, want: "unknown metrics format", header: formPlain},
		{name: "profile", method: "GET", path: "sys/pprof/heap?debug=1", status: 200, want: "heap profile:"},
		{name: "index", method: "GET", path: "sys/pprof/", status: 200, want: "goroutine"},
		{name: "in flight", method: "GET", path: "sys/in-flight-req", status: 200, want: `"request_path":"/v1/sys/in-flight-req"`},
		{name: "not to be written", method: "PUT", path: "sys/metrics", status: 405, want: empty},
		{name: "nothing else", method: "GET", path: "sys/monitor", status: 503, want: sealed},
	}
	run(t, s, shown)
	s.Init(t)
	shown[0].want = "_core_unsealed 1\n"
	shown[len(shown)-1] = exchange{name: "nothing else", method: "GET", path: "sys/monitor", status: 403, want: noToken}
	run(t, s, shown)
}

func TestMetricsListeners(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Bare: true, Listener: `tls_disable = true
  telemetry { unauthenticated_metrics_access = true  metrics_only = true  metrics_path = "/metrics" }`})
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Send(r)
		if err != nil {
			t.Fatal(err)
		}
		return got.Status, string(got.Raw)
	}
	for _, path := range []string{"/metrics?format=prometheus", "/v1/sys/metrics?format=prometheus"} {
		if status, body := get(path); status != 200 || !strings.Contains(body, "# TYPE ") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/v1/sys/health", "/v1/sys/seal-status", "/v1/sys/metricsx", "/"} {
		if status, body := get(path); status != 404 || strings.TrimSpace(body) != empty {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	other := servertest.Start(t, servertest.Options{InMemory: true, Listener: "tls_disable = true\n telemetry { disallow_metrics = true }"})
	run(t, other, []exchange{
		{name: "not at this address", method: "GET", path: "sys/metrics", token: "root", status: 404, want: empty},
		{name: "all else is", method: "GET", path: "sys/loggers", token: "root", status: 200, want: "core"},
	})
}

// monitor reads the log as it is written.
func monitor(t *testing.T, s *servertest.Server, query string) *bufio.Scanner {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.URL+"/v1/sys/monitor"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", s.RootToken)
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("monitor: %d %v", resp.StatusCode, resp.Header)
	}
	return bufio.NewScanner(resp.Body)
}

// TestMonitor: the limits of time of a listener do not cut the stream, and the stream does not hold up the end of the
// server.
func TestMonitor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Config: `log_level = "error"
log_requests_level = "debug"`, Listener: `tls_disable = true
  max_request_duration = "1s"
  http_read_timeout = "1s"
  http_write_timeout = "1s"`})
	lines := monitor(t, s, "?log_level=debug&log_format=json")
	now := clock.System{}
	for n, until := 0, now.Now().Add(2*time.Second); now.Now().Before(until); n++ {
		path := fmt.Sprintf("sys/health-%d", n)
		if _, err := s.Do(http.MethodGet, path, "", nil); err != nil {
			t.Fatal(err)
		}
		for {
			if !lines.Scan() {
				t.Fatalf("the stream has ended: %v", lines.Err())
			}
			if line := lines.Text(); strings.Contains(line, path) {
				if !strings.Contains(line, `"level":"DEBUG"`) || !strings.Contains(line, `"logger":"http"`) {
					t.Fatalf("line: %s", line)
				}
				break
			}
		}
	}
	s.Stop(t)
	for lines.Scan() {
		continue // what was on its way
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream was broken off: %v", err)
	}
	if log := s.Log.String(); strings.Contains(log, "cut off") {
		t.Errorf("the stream held up the server:\n%s", log)
	}
}

// TestAuditFailureIsMeasured: whoever watches sees that requests are refused for want of an audit device.
func TestAuditFailureIsMeasured(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{InMemory: true, Listener: `tls_disable = true
  telemetry { unauthenticated_metrics_access = true }`})
	device, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 16)
	go func() {
		defer close(accepted)
		for {
			conn, err := device.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	s.Root(t, http.MethodPut, "sys/audit/s", map[string]any{
		"type": "socket", "options": map[string]any{"address": device.Addr().String(), "socket_type": "tcp"},
	})
	run(t, s, []exchange{{name: "none yet", method: "GET", path: "sys/metrics?format=prometheus", status: 200, want: "vault_audit_log_request_failure 0\n"}})
	_ = device.Close()
	for conn := range accepted {
		_ = conn.Close()
	}
	for status := http.StatusOK; status != http.StatusInternalServerError; { // the first line may go into a buffer
		got, err := s.Do(http.MethodGet, "sys/mounts", s.RootToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		status = got.Status
	}
	got, err := s.Do(http.MethodGet, "sys/metrics?format=prometheus", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	text := string(got.Raw)
	if strings.Contains(text, "vault_audit_log_request_failure 0\n") && strings.Contains(text, "vault_audit_log_response_failure 0\n") {
		t.Error("no failure was counted")
	}
	for _, line := range []string{`vault_core_response_status_code{code="500",type="5xx"} 1`, "# TYPE vault_audit_log_request summary"} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q", line)
		}
	}
}
