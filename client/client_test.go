package client_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"leasehold/client"
	"leasehold/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server and a client for it that retries at once.
func serve(t *testing.T, handler http.HandlerFunc, change func(*client.Config)) *client.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	cfg := client.Config{Address: s.URL, Token: secret.NewText("canary-token"), RetryWait: time.Nanosecond}
	if change != nil {
		change(&cfg)
	}
	return newClient(t, cfg)
}

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	type seen struct{ Method, URI, Body, Token, Namespace, Wrap, Own, Type string }
	var got seen
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header
		got = seen{r.Method, r.URL.RequestURI(), string(body), h.Get("X-Vault-Token"), h.Get("X-Vault-Namespace"),
			h.Get("X-Vault-Wrap-TTL"), h.Get("X-Own"), h.Get("Content-Type")}
		if h.Get("X-Vault-Request") != "true" {
			t.Error("X-Vault-Request is missing")
		}
		w.WriteHeader(http.StatusNoContent)
	}, func(cfg *client.Config) {
		cfg.Namespace, cfg.WrapTTL, cfg.Header = "ns", "60s", http.Header{"X-Own": {"1"}}
	})
	base := seen{Token: "canary-token", Namespace: "ns", Wrap: "60s", Own: "1"}
	for _, tc := range []struct {
		name string
		req  client.Request
		want seen
	}{
		{"read with parameters", client.Request{Method: "GET", Path: "kv/a", Query: map[string][]string{"b": {"2"}, "a": {"1"}}},
			seen{Method: "GET", URI: "/v1/kv/a?a=1&b=2"}},
		{"list", client.Request{Method: "LIST", Path: "kv/"}, seen{Method: "GET", URI: "/v1/kv/?list=true"}},
		{"write", client.Request{Method: "PUT", Path: "kv/a", Body: map[string]any{"a": "<b>"}},
			seen{Method: "PUT", URI: "/v1/kv/a", Body: `{"a":"<b>"}`}},
		{"exact bytes", client.Request{Method: "POST", Path: "kv/a", Body: []byte("{broken")},
			seen{Method: "POST", URI: "/v1/kv/a", Body: "{broken"}},
		{"patch", client.Request{Method: "PATCH", Path: "kv/a", Body: map[string]any{}},
			seen{Method: "PATCH", URI: "/v1/kv/a", Body: "{}", Type: "application/merge-patch+json"}},
		{"odd characters", client.Request{Method: "GET", Path: "kv/a b?c#d%e/é"},
			seen{Method: "GET", URI: "/v1/kv/a%20b%3Fc%23d%25e/%C3%A9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := c.Send(t.Context(), tc.req); err != nil {
				t.Fatal(err)
			}
			want := tc.want
			want.Token, want.Namespace, want.Wrap, want.Own = base.Token, base.Namespace, base.Wrap, base.Own
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := c.WithToken(secret.Text{}).WithWrapTTL("").Do(t.Context(), "GET", "a", nil); err != nil {
		t.Fatal(err)
	}
	if got.Token != "" || got.Wrap != "" {
		t.Errorf("token %q, wrap %q; want none", got.Token, got.Wrap)
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	c := serve(t, answer(200, `{"request_id":"r","lease_id":"l","renewable":true,"lease_duration":60,
		"data":{"n":12345678901234567890},"warnings":["w"],
		"auth":{"client_token":"t","lease_duration":5},"wrap_info":{"token":"w","ttl":7}}`), nil)
	resp, err := c.Do(t.Context(), "GET", "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.LeaseID != "l" || resp.LeaseDuration != 60 || !resp.Renewable || resp.Auth.ClientToken != "t" || resp.WrapInfo.TTL != 7 {
		t.Errorf("envelope: %+v", resp.Secret)
	}
	var data struct {
		N uint64 `json:"n"`
	}
	if err := resp.Decode(&data); err != nil || data.N != 12345678901234567890 {
		t.Errorf("decode: %v, %v", data.N, err)
	}
}

func TestBareAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body, want string }{
		{"object", `{"sealed":true,"t":3}`, ""},
		{"text", "-----BEGIN", "read answer: invalid character"},
		{"nothing", "", "read answer: it has no data"},
		{"envelope without data", `{"request_id":"","data":null}`, "read answer: it has no data"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			resp, err := serve(t, answer(200, tc.body), nil).Do(t.Context(), "GET", "sys/seal-status", nil)
			if err != nil {
				t.Fatal(err)
			}
			if string(resp.Raw) != tc.body || !resp.Empty() {
				t.Errorf("raw %q, envelope %+v", resp.Raw, resp.Secret)
			}
			var status struct{ Sealed bool }
			err = resp.Decode(&status)
			if tc.want == "" && (err != nil || !status.Sealed) || tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
				t.Errorf("decode: %+v, %v; want error %q", status, err, tc.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   *client.Error // nil: no error
	}{
		{"refusal", 400, `{"errors":["a","b"]}`, &client.Error{StatusCode: 400, Errors: []string{"a", "b"}}},
		{"not found", 404, `{"errors":[]}`, &client.Error{StatusCode: 404, Errors: []string{}}},
		{"not found with data", 404, `{"request_id":"r","data":{"metadata":{}}}`, nil},
		{"refusal with data", 403, `{"errors":["x"],"data":{"y":1}}`, &client.Error{StatusCode: 403, Errors: []string{"x"}, Data: []byte(`{"y":1}`)}},
		{"from a proxy", 502, "<html>", &client.Error{StatusCode: 502, Raw: "<html>"}},
		{"empty", 400, "", &client.Error{StatusCode: 400}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, answer(tc.status, tc.body), func(cfg *client.Config) { cfg.MaxRetries = -1 })
			req := client.Request{Method: "LIST", Path: "kv/a", Query: map[string][]string{"p": {"canary-p"}}}
			resp, err := c.Send(t.Context(), req)
			if tc.want == nil {
				if err != nil || resp.Status != tc.status || resp.Data == nil {
					t.Fatalf("got %+v, %v; want an answer", resp, err)
				}
				return
			}
			tc.want.Method, tc.want.URL = "GET", c.Address()+"/v1/kv/a?list=true"
			var got *client.Error
			if !errors.As(err, &got) {
				t.Fatalf("error %v is not of the API", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if client.IsNotFound(err) != (tc.status == 404) {
				t.Errorf("IsNotFound(%v) is wrong", err)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("a parameter in the error: %v", err)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		retries int // Config.MaxRetries
		handler func(w http.ResponseWriter, n int32)
		want    int32 // requests
		fails   bool
	}{
		{"500 until the limit", 0, func(w http.ResponseWriter, _ int32) { w.WriteHeader(500) }, 3, true},
		{"more retries", 4, func(w http.ResponseWriter, _ int32) { w.WriteHeader(503) }, 5, true},
		{"none", -1, func(w http.ResponseWriter, _ int32) { w.WriteHeader(500) }, 1, true},
		{"501 at once", 0, func(w http.ResponseWriter, _ int32) { w.WriteHeader(501) }, 1, true},
		{"400 at once", 0, func(w http.ResponseWriter, _ int32) { w.WriteHeader(400) }, 1, true},
		{"429 at once", 0, func(w http.ResponseWriter, _ int32) { w.WriteHeader(429) }, 1, true},
		{"good at last", 0, func(w http.ResponseWriter, n int32) {
			if n < 3 {
				w.WriteHeader(500)
			}
		}, 3, false},
		{"broken connection", 0, func(_ http.ResponseWriter, n int32) {
			if n < 3 {
				panic(http.ErrAbortHandler)
			}
		}, 3, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) != `{"a":"b"}` {
					t.Errorf("body %q", body)
				}
				tc.handler(w, n.Add(1))
			}, func(cfg *client.Config) { cfg.MaxRetries = tc.retries })
			_, err := c.Do(t.Context(), "POST", "a", map[string]string{"a": "b"})
			if n.Load() != tc.want || (err != nil) != tc.fails {
				t.Errorf("%d requests, error %v; want %d, error %v", n.Load(), err, tc.want, tc.fails)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t, client.Config{Address: "http://127.0.0.1:1", RetryWait: time.Nanosecond})
	_, err := c.Do(t.Context(), "GET", "a", nil)
	var api *client.Error
	if err == nil || errors.As(err, &api) {
		t.Errorf("error %v, want a connection error", err)
	}

	release := make(chan struct{})
	c = serve(t, func(http.ResponseWriter, *http.Request) { <-release }, func(cfg *client.Config) { cfg.Timeout = time.Millisecond })
	t.Cleanup(func() { close(release) })
	if _, err := c.Do(t.Context(), "GET", "a", nil); err == nil || err.Error() != "no answer within 1ms" {
		t.Errorf("error %v, want the time limit", err)
	}
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("enough"))
	if _, err := c.Do(ended, "GET", "a", nil); err == nil || err.Error() != "enough" {
		t.Errorf("error %v, want the cause of the end", err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	active := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.Method != "PUT" || string(body) != `{"a":1}` || r.Header.Get("X-Vault-Token") != "canary-token" {
			t.Errorf("%s with body %q arrived", r.Method, body)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(active.Close)
	standby := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}
	put := func(c *client.Client) error {
		_, err := c.Do(t.Context(), "PUT", "a", map[string]int{"a": 1})
		return err
	}
	if err := put(serve(t, standby, nil)); err != nil {
		t.Errorf("followed: %v", err)
	}
	err := put(serve(t, standby, func(cfg *client.Config) { cfg.RefuseRedirects = true }))
	var api *client.Error
	if !errors.As(err, &api) || api.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("error %v, want the redirect", err)
	}
	loop := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}
	if err := put(serve(t, loop, nil)); err == nil || !strings.Contains(err.Error(), "too many redirects") {
		t.Errorf("error %v, want an end of the loop", err)
	}
	secure := httptest.NewTLSServer(http.HandlerFunc(standby))
	t.Cleanup(secure.Close)
	c := newClient(t, client.Config{Address: secure.URL, TLS: client.TLS{CACertPEM: certificateOf(secure.Certificate())}})
	if err := put(c); err == nil || !strings.Contains(err.Error(), "redirect from https to http refused") {
		t.Errorf("error %v, want a refusal to leave TLS", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(answer(204, ""))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes are meant to fail
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, []byte(certificateOf(s.Certificate())), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		tls  client.TLS
		want string // part of the error; "": none
	}{
		{"file", client.TLS{CACert: file}, ""},
		{"directory", client.TLS{CAPath: dir}, ""},
		{"text", client.TLS{CACertPEM: certificateOf(s.Certificate())}, ""},
		{"not verified", client.TLS{SkipVerify: true}, ""},
		{"system's roots", client.TLS{}, "certificate signed by unknown authority"},
		{"other name", client.TLS{CACert: file, ServerName: "other.invalid"}, "other.invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, client.Config{Address: s.URL, TLS: tc.tls, RetryWait: time.Hour, Timeout: time.Minute})
			_, err := c.Do(t.Context(), "GET", "a", nil)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []client.TLS{{CACert: bad}, {CACert: "/nowhere"}, {CAPath: "/nowhere"}, {CACertPEM: "x"},
		{CAPath: filepath.Dir(bad)}, {ClientCert: bad, ClientKey: bad}} {
		if _, err := client.New(client.Config{TLS: cfg}); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func certificateOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "lh") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer(200, `{"sealed":true}`)}}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, client.Config{Address: "unix://" + path})
	if resp, err := c.Do(t.Context(), "GET", "sys/seal-status", nil); err != nil || resp.Status != 200 {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:8200", "ftp://u:canary@host", "http://", "://canary", "http://a b/canary"} {
		_, err := client.New(client.Config{Address: address})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: error %v", address, err)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	c := serve(t, answer(204, ""), func(cfg *client.Config) { cfg.Rate, cfg.Burst, cfg.Timeout = 0.0001, 2, time.Minute })
	for range 2 {
		if _, err := c.Do(t.Context(), "GET", "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Do(t.Context(), "GET", "a", nil); err == nil || !strings.Contains(err.Error(), "rate limit") {
		t.Errorf("error %v, want the rate limit", err)
	}
}
