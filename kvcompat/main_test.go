package kvcompat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/testdb"
	"leasehold/kvcompat"
	"leasehold/store"
	"leasehold/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

var began = time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)

// world is both engines on a real store, and a clock of the test's.
type world struct {
	*testing.T
	clock     *clock.Fake
	store     *store.Store
	engine    *kvcompat.Engine
	cubbyhole *kvcompat.Cubbyhole
	mount     engine.Mount // of send
	gone      bool         // the mount takes no requests any more
}

// each runs a test on all databases.
func each(t *testing.T, version string, test func(w *world)) {
	t.Helper()
	t.Parallel()
	for name, open := range storetest.Databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newWorld(t, version, open))
		})
	}
}

func newWorld(t *testing.T, version string, open storetest.Open) *world {
	t.Helper()
	w := &world{T: t, clock: clock.NewFake(began), mount: mount("mount-1", version)}
	w.store = open(t, w.clock, kvcompat.Migrations()...)
	e, err := kvcompat.New(kvcompat.Config{Store: w.store, MountLive: func(*store.Tx, string) (bool, error) { return !w.gone, nil }})
	if err != nil {
		t.Fatal(err)
	}
	w.engine, w.cubbyhole = e, kvcompat.NewCubbyhole(w.store)
	return w
}

func mount(uuid, version string) engine.Mount {
	return engine.Mount{
		UUID: uuid, Path: "kv/", Type: "kv", Options: map[string]string{"version": version}, DefaultTTL: 768 * time.Hour,
	}
}

type data = map[string]any

// object decodes JSON as a request's body is.
func object(t testing.TB, text string) data {
	t.Helper()
	if text == "" {
		return nil
	}
	var out data
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// text is an answer as JSON, its keys sorted.
func text(t testing.TB, v any) string {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// send runs one request; a write becomes a create where the engine says so, as the broker does it.
func (w *world) send(op engine.Operation, path, body string) (*engine.Response, error) {
	w.Helper()
	r := &engine.Request{Operation: op, Mount: w.mount, Path: path, Data: object(w, body)}
	facts, err := w.engine.Describe(w.Context(), r)
	if err != nil {
		return nil, err
	}
	if facts.Creates && op == engine.Update {
		r.Operation = engine.Create
	}
	return w.engine.Handle(w.Context(), r)
}

// must is send for what has to succeed. It returns the data as JSON, after the status where that is not the usual one.
func (w *world) must(op engine.Operation, path, body string) string {
	w.Helper()
	resp, err := w.send(op, path, body)
	if err != nil {
		w.Fatalf("%s %s %s: %v", op, path, body, err)
	}
	return w.shown(resp)
}

func (w *world) shown(resp *engine.Response) string {
	w.Helper()
	switch {
	case resp == nil:
		return ""
	case resp.Status != 0 && resp.Data == nil:
		return fmt.Sprint(resp.Status)
	case resp.Status != 0:
		return fmt.Sprint(resp.Status, " ", text(w, resp.Data))
	case resp.Data == nil:
		return ""
	}
	return text(w, resp.Data)
}

// refused demands an error with a text that begins with want.
func (w *world) refused(op engine.Operation, path, body string, code errs.Code, want string) {
	w.Helper()
	resp, err := w.send(op, path, body)
	shown := errs.From(err)
	if shown == nil || shown.Code != code || !strings.Contains(shown.Shown(), want) {
		w.Errorf("%s %s %s: got %v, %v, want code %d, %q", op, path, body, resp, err, code, want)
	}
}

// step is one request of a table, and its answer as must tells it.
type step struct {
	op   engine.Operation
	path string
	body string
	want string
}

func (w *world) steps(steps []step) {
	w.Helper()
	for i, s := range steps {
		if got := w.must(s.op, s.path, s.body); got != s.want {
			w.Fatalf("step %d: %s %s %s:\n got %s\nwant %s", i, s.op, s.path, s.body, got, s.want)
		}
	}
}
