package httpapi

import (
	"sync"
	"time"
)

// InFlight knows the requests that the process is answering, of all its listeners. The zero value is ready. Safe for
// concurrent use.
type InFlight struct {
	mu       sync.Mutex
	requests map[*exchange]underWay // guarded by mu
}

// underWay is what is told of a request. Its query is not: it may hold what is no one's business.
type underWay struct {
	id, remote, method, path string
	began                    time.Time
}

func (f *InFlight) enter(x *exchange, began time.Time) {
	r := underWay{id: x.requestID(), remote: x.r.RemoteAddr, method: x.r.Method, path: x.r.URL.Path, began: began}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.requests == nil {
		f.requests = map[*exchange]underWay{}
	}
	f.requests[x] = r
}

func (f *InFlight) leave(x *exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.requests, x)
}

// Count is how many requests there are, the one that asks included.
func (f *InFlight) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

// List is the requests by their ids.
//
// Wire: GET sys/in-flight-req. client_id is empty: a request is listed before anybody knows whose it is.
func (f *InFlight) List() map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make(map[string]any, len(f.requests))
	for _, r := range f.requests {
		all[r.id] = map[string]any{
			"start_time": r.began, "client_remote_address": r.remote, "request_path": r.path, "request_method": r.method, "client_id": "",
		}
	}
	return all
}
