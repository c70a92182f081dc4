package sys

import (
	"bytes"
	"context"
	"net/http"
	"net/http/pprof" // #nosec G108 -- it adds itself to http.DefaultServeMux, which this program does not serve
	"net/url"

	"leasehold/engine"
)

func profile(ctx context.Context, r *engine.Request, f *engine.Fields) (*engine.Response, error) {
	query := url.Values{}
	for name, value := range r.Data {
		if text, ok := value.(string); ok {
			query.Set(name, text)
		}
	}
	return Profile(ctx, f.Text("name"), query)
}

// Profile is a profile of the process: the name and the query are those of package net/http/pprof, "" is its index.
//
// Wire: GET sys/pprof/NAME.
func Profile(ctx context.Context, name string, query url.Values) (*engine.Response, error) {
	handler := pprof.Index // knows the named profiles as well
	switch name {
	case "cmdline":
		handler = pprof.Cmdline
	case "profile":
		handler = pprof.Profile
	case "symbol":
		handler = pprof.Symbol
	case "trace":
		handler = pprof.Trace
	}
	target := url.URL{Path: "/debug/pprof/" + name, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	w := &recorded{header: http.Header{}}
	handler(w, r)
	return &engine.Response{
		Status: w.status, Raw: &engine.Raw{ContentType: w.header.Get("Content-Type"), Body: w.body.Bytes()},
	}, nil
}

// recorded keeps what a handler answers.
type recorded struct {
	header http.Header
	status int // 0: 200
	body   bytes.Buffer
}

func (w *recorded) Header() http.Header             { return w.header }
func (w *recorded) WriteHeader(status int)          { w.status = status }
func (w *recorded) Write(piece []byte) (int, error) { return w.body.Write(piece) }
