package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"leasehold/broker"
	"leasehold/engine/envelope"
	"leasehold/internal/clock"
	"leasehold/server/config"
)

// Config makes a Handler. All fields but Hostname and those behind it are required.
type Config struct {
	Broker      *broker.Broker
	Listener    *config.Listener // the listener that the handler serves
	Log         *slog.Logger
	Clock       clock.Clock
	Version     string // as sys/health shows it
	StorageType string // the configured word, as sys/seal-status shows it
	Hostname    string // shown as X-Vault-Hostname; "": not shown

	// Opened is called after sys/unseal has opened the store, before the client is told. May be nil.
	Opened func(ctx context.Context)

	Process  Process
	InFlight *InFlight // shared by all listeners; nil: the handler has one of its own
	// Answered is told of each answer. It returns at once. May be nil.
	Answered func(status int)
}

// Handler answers the requests of one listener. Safe for concurrent use.
type Handler struct {
	broker      *broker.Broker
	listener    *config.Listener
	limits      limits
	log         *slog.Logger
	clock       clock.Clock
	version     string
	storageType string
	hostname    []string
	fixed       map[string]methods
	opened      func(ctx context.Context)
	process     Process
	inFlight    *InFlight
	answered    func(status int)
	reloadable  atomic.Pointer[reloadable]
}

// reloadable is what SIGHUP may change.
type reloadable struct {
	headers    map[string]http.Header
	requestLog *slog.Level
}

// New makes the handler of a listener.
func New(cfg Config) (*Handler, error) {
	if cfg.Broker == nil || cfg.Listener == nil || cfg.Log == nil || cfg.Clock == nil {
		return nil, errors.New("httpapi: Broker, Listener, Log and Clock are required")
	}
	h := &Handler{
		broker: cfg.Broker, listener: cfg.Listener, log: cfg.Log, clock: cfg.Clock,
		version: cfg.Version, storageType: cfg.StorageType, process: cfg.Process, inFlight: cfg.InFlight, answered: cfg.Answered,
		limits: limits{bytes: cfg.Listener.MaxRequestBytes, memory: cfg.Listener.MaxJSONBytes, strings: cfg.Listener.MaxJSONStrings},
	}
	if h.opened = cfg.Opened; h.opened == nil {
		h.opened = func(context.Context) {}
	}
	if h.inFlight == nil {
		h.inFlight = new(InFlight)
	}
	if h.answered == nil {
		h.answered = func(int) {}
	}
	if cfg.Hostname != "" {
		h.hostname = []string{cfg.Hostname}
	}
	h.fixed = fixedPaths()
	h.Reload(cfg.Listener.Headers, nil)
	return h, nil
}

// Reload replaces the headers that answers carry, by status, and the level at which finished requests are logged; nil:
// they are not logged.
func (h *Handler) Reload(headers map[string]http.Header, requestLog *slog.Level) {
	h.reloadable.Store(&reloadable{headers: headers, requestLog: requestLog})
}

// exchange is one request and its answer.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	path   string // canonical, without "/v1/"
	id     string // "" until somebody asks
	status int    // 0 until the answer has begun
}

// requestID is the request's UUID: in the envelope, in the audit log, and in ours.
func (x *exchange) requestID() string {
	if x.id == "" {
		x.id = uuid.NewString()
	}
	return x.id
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, w: w, r: r}
	began := h.clock.Now()
	h.inFlight.enter(x, began)
	defer func() {
		h.inFlight.leave(x)
		h.answered(x.status)
	}()
	defer x.recovered()
	x.serve()
	level := h.reloadable.Load().requestLog
	if level == nil {
		return
	}
	h.log.Log(r.Context(), *level, "request", "request_id", x.requestID(), "method", r.Method, "path", r.URL.Path,
		"status", x.status, "duration", h.clock.Now().Sub(began))
}

// recovered answers 500 after a panic. What panicked is logged by its type: its text may hold what the client sent.
func (x *exchange) recovered() {
	reason := recover()
	if reason == nil {
		return
	}
	if reason == http.ErrAbortHandler {
		panic(reason)
	}
	what := fmt.Sprintf("%T", reason)
	if fault, ok := reason.(runtime.Error); ok {
		what = fault.Error() // such as an index out of range: positions and types only
	}
	x.h.log.Error("panic in a request", "request_id", x.requestID(), "panic", what, "stack", string(debug.Stack()))
	if x.status == 0 {
		x.fail(context.Background(), errInternal)
	}
}

func (x *exchange) serve() {
	ctx, cancel := context.WithTimeout(x.r.Context(), x.h.listener.MaxRequestDuration)
	defer cancel()
	if err := x.route(ctx); err != nil {
		x.fail(ctx, err)
	}
}

// route sends the request where its path belongs. It returns what is still to be answered.
func (x *exchange) route(ctx context.Context) error {
	x.standardHeaders()
	path, verdict := canonical(x.r.URL.Path)
	switch verdict {
	case pathBad:
		x.empty(http.StatusBadRequest)
		return nil
	case pathMoved:
		x.redirect(path)
		return nil
	}
	if err := forwarded(x.r, x.h.listener.ForwardedFor); err != nil {
		return err
	}
	if done, err := x.crossOrigin(ctx); done || err != nil {
		return err
	}
	path, ok := x.h.exposed(path)
	if !ok {
		return errNothing
	}
	if x.path, ok = strings.CutPrefix(path, "/v1/"); !ok {
		return errNothing
	}
	if err := namespace(x.r.Header, x.path); err != nil {
		return err
	}
	if done, err := x.open(ctx); done || err != nil {
		return err
	}
	if m, ok := x.h.fixed[x.path]; ok {
		return m.serve(ctx, x)
	}
	request, err := x.decode()
	if err != nil {
		return err
	}
	if x.wantsHelp() {
		text, err := x.h.broker.Help(ctx, request)
		if err != nil {
			return err
		}
		return x.value(map[string]any{"help": text, "see_also": nil, "openapi": nil})
	}
	resp, mountType, err := x.h.broker.Handle(ctx, request)
	if err != nil {
		return err
	}
	return x.answer(request.Operation, resp, mountType)
}

func (x *exchange) wantsHelp() bool {
	if x.r.Method != http.MethodGet || x.r.URL.RawQuery == "" {
		return false
	}
	help, err := strconv.ParseBool(x.r.URL.Query().Get("help"))
	return help && err == nil
}

// Header values that every answer shares. Their capacity is their length, so that an Add copies them.
var (
	jsonType  = []string{"application/json"}
	noStore   = []string{"no-store"}
	transport = []string{"max-age=31536000; includeSubDomains"}
)

func (x *exchange) standardHeaders() {
	header := x.w.Header()
	header["Cache-Control"] = noStore
	header["Strict-Transport-Security"] = transport
	if x.h.hostname != nil {
		header["X-Vault-Hostname"] = x.h.hostname
	}
}

// statusHeaders adds the configured headers: those of every status, of its class, and of itself, in this order.
func (x *exchange) statusHeaders(status int) {
	configured := x.h.reloadable.Load().headers
	if len(configured) == 0 {
		return
	}
	text := strconv.Itoa(status)
	for _, key := range []string{"default", text[:1] + "xx", text} {
		for name, values := range configured[key] {
			x.w.Header()[name] = values
		}
	}
}

// respond writes the answer.
func (x *exchange) respond(status int, contentType string, body []byte) {
	header := x.w.Header()
	if contentType != "" {
		header["Content-Type"] = []string{contentType}
	}
	x.send(status, body)
}

// json writes an answer in JSON.
func (x *exchange) json(status int, body []byte) {
	x.w.Header()["Content-Type"] = jsonType
	x.send(status, body)
}

func (x *exchange) send(status int, body []byte) {
	x.statusHeaders(status)
	x.status = status
	if status != http.StatusNoContent && status >= http.StatusOK {
		x.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body) // a client that is gone, or a status without a body: there is nobody to tell
}

// empty writes an answer without a body. It says what kind of body it does not have, as clients expect.
func (x *exchange) empty(status int) { x.json(status, nil) }

// value writes a value outside the envelope.
func (x *exchange) value(v map[string]any) error { return x.valueWith(http.StatusOK, v) }

func (x *exchange) valueWith(status int, v map[string]any) error {
	buffer := takeBuffer()
	defer buffer.release()
	b, err := envelope.AppendValue(buffer.b[:0], v)
	if err != nil {
		return err
	}
	buffer.b = append(b, '\n')
	x.json(status, buffer.b)
	return nil
}

// redirect sends the client to the clean form of its path.
func (x *exchange) redirect(path string) {
	x.status = http.StatusTemporaryRedirect
	x.statusHeaders(x.status)
	http.Redirect(x.w, x.r, (&url.URL{Path: path, RawQuery: x.r.URL.RawQuery}).String(), x.status)
}
