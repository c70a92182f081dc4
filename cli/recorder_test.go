package cli_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// recorder is a server that keeps what it was asked and answers as it was told.
type recorder struct {
	server *httptest.Server

	mu      sync.Mutex
	answers map[string][]canned // by method and path; guarded by mu
	asked   strings.Builder     // guarded by mu
}

type canned struct {
	status int
	body   string
	served bool
}

func startRecorder() *recorder {
	r := &recorder{answers: map[string][]canned{}}
	r.server = httptest.NewServer(r)
	return r
}

func (r *recorder) url() string { return r.server.URL }

func (r *recorder) close() { r.server.Close() }

func (r *recorder) answer(method, path string, status int, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := method + " " + path
	r.answers[key] = append(r.answers[key], canned{status: status, body: body})
}

// take returns the requests since the last call.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.asked.String()
	r.asked.Reset()
	return text
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(req, string(body))
	path := strings.TrimPrefix(req.URL.Path, "/v1/")
	method := req.Method
	if req.URL.Query().Get("list") == "true" {
		method = "LIST"
	}
	key := method + " " + path
	answer := canned{status: http.StatusNotFound, body: `{"errors":[]}`}
	if queue := r.answers[key]; len(queue) > 0 {
		if queue[0].served && len(queue) > 1 {
			queue = queue[1:]
		}
		queue[0].served = true
		answer, r.answers[key] = queue[0], queue
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body)
}

// note writes req down; r.mu is held.
func (r *recorder) note(req *http.Request, body string) {
	line := req.Method + " " + req.URL.RequestURI()
	if body != "" {
		line += " " + body
	}
	fmt.Fprintln(&r.asked, line)
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		kept := strings.HasPrefix(name, "X-Vault-") || strings.HasPrefix(name, "X-Own-") || name == "Content-Type"
		if !kept || name == "X-Vault-Request" && req.Header.Get(name) == "true" {
			continue
		}
		for _, value := range req.Header[name] {
			fmt.Fprintf(&r.asked, "  %s: %s\n", name, value)
		}
	}
	if req.Header.Get("X-Vault-Request") != "true" {
		fmt.Fprintln(&r.asked, "  X-Vault-Request is missing")
	}
}
