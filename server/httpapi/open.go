package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"leasehold/engine"
)

// Process is what a listener may show by itself, to everybody and while the store is sealed, where its configuration
// says so. Otherwise the same things are asked of the engine behind sys/*, with a token. A nil field is never shown.
type Process struct {
	// Metrics is the answer of sys/metrics. header may ask for a form when format does not.
	Metrics func(format string, header http.Header) (*engine.Response, error)
	// Profile is the answer of sys/pprof/NAME.
	Profile func(ctx context.Context, name string, query url.Values) (*engine.Response, error)
}

const metricsPath = "/v1/sys/metrics"

// exposed applies what the listener says about metrics: it returns the path that is meant, and whether the listener has
// it at all.
func (h *Handler) exposed(path string) (string, bool) {
	e := h.listener.Exposure
	if e.MetricsPath != "" && path == e.MetricsPath {
		path = metricsPath
	}
	if path == metricsPath {
		return path, !e.NoMetrics
	}
	return path, !e.OnlyMetrics
}

// open answers what this listener shows without a token. done is false for everything else.
//
// Such a request is not audited: whoever watches the server must be able to see that its audit devices have failed.
func (x *exchange) open(ctx context.Context) (done bool, err error) {
	e := x.h.listener.Exposure
	profile, isProfile := strings.CutPrefix(x.path, "sys/pprof/")
	var show func() error
	switch {
	case e.OpenMetrics && x.path == "sys/metrics" && x.h.process.Metrics != nil:
		show = func() error { return x.shown(x.h.process.Metrics(x.r.URL.Query().Get("format"), x.r.Header)) }
	case e.OpenProfiles && isProfile && x.h.process.Profile != nil:
		show = func() error { return x.shown(x.h.process.Profile(ctx, profile, x.r.URL.Query())) }
	case e.OpenInFlight && x.path == "sys/in-flight-req":
		show = func() error { return x.value(x.h.inFlight.List()) }
	default:
		return false, nil
	}
	if x.r.Method != http.MethodGet {
		return true, errBadMethod
	}
	return true, show()
}

func (x *exchange) shown(resp *engine.Response, err error) error {
	if err != nil {
		return err
	}
	return x.answer(engine.Read, resp, "")
}

// stream writes a body as it comes. The limits of time are those of requests that have an end.
func (x *exchange) stream(raw *engine.Raw) error {
	control := http.NewResponseController(x.w)
	// What cannot be lifted ends the stream when its time has come, as a broken connection would.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	x.w.Header()["Content-Type"] = []string{raw.ContentType}
	x.status = http.StatusOK
	x.statusHeaders(x.status)
	x.w.WriteHeader(x.status)
	// An error here is a client that has gone, and there is nobody to tell.
	_ = raw.Stream(x.r.Context(), flushed{x.w, control})
	return nil
}

// flushed sends each piece at once.
type flushed struct {
	io.Writer
	control *http.ResponseController
}

// Write implements io.Writer.
func (w flushed) Write(piece []byte) (int, error) {
	n, err := w.Writer.Write(piece)
	if err != nil {
		return n, err
	}
	return n, w.control.Flush()
}
