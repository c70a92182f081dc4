package transit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/store"
	"leasehold/store/storetest"
	"leasehold/transit"
)

// newStore makes an unlocked store of the database that the present round runs on.
var newStore storetest.Open

// TestMain runs every test on SQLite, and on a real PostgreSQL.
func TestMain(m *testing.M) { os.Exit(storetest.MainOnBoth(m, &newStore)) }

var began = time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)

// world is a node on a real store, and a clock of the test's.
type world struct {
	testing.TB
	clock  *clock.Fake
	store  *store.Store
	engine *transit.Engine
	mount  engine.Mount // of send
	gone   *bool        // the mount takes no requests any more
}

func newWorld(t testing.TB) *world {
	t.Helper()
	clk := clock.NewFake(began)
	w := &world{TB: t, clock: clk, store: newStore(t, clk, transit.Migrations()...), mount: mount("mount-1"), gone: new(bool)}
	w.engine = w.newEngine()
	return w
}

func (w *world) newEngine() *transit.Engine {
	w.Helper()
	e, err := transit.New(transit.Config{
		Store:     w.store,
		MountLive: func(*store.Tx, string) (bool, error) { return !*w.gone, nil },
		Next: func(schedule string, after time.Time) (time.Time, error) {
			s, err := cron.ParseStandard(schedule)
			if err != nil {
				return time.Time{}, err
			}
			if at := s.Next(after.UTC()); !at.IsZero() {
				return at, nil
			}
			return time.Time{}, errors.New("never")
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(e.Wait)
	return e
}

// node is another node on the same store.
func (w *world) node() *world {
	w.Helper()
	other := *w
	other.engine = w.newEngine()
	return &other
}

func mount(uuid string) engine.Mount {
	return engine.Mount{UUID: uuid, Path: "transit/", Type: transit.Kind, DefaultTTL: 768 * time.Hour}
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

// request makes a request; a write becomes a create where the engine says so, as the broker does it.
func (w *world) request(op engine.Operation, path string, body data) (*engine.Response, error) {
	r := &engine.Request{Operation: op, Mount: w.mount, Path: path, Data: body}
	facts, err := w.engine.Describe(w.Context(), r)
	if err != nil {
		return nil, err
	}
	if facts.Creates && op == engine.Update {
		r.Operation = engine.Create
	}
	return w.engine.Handle(w.Context(), r)
}

// send is a write with a body of JSON.
func (w *world) send(path, body string) (*engine.Response, error) {
	w.Helper()
	return w.request(engine.Update, path, object(w, body))
}

// post is send for what has to succeed. It returns the data.
func (w *world) post(path, body string) data {
	w.Helper()
	resp, err := w.send(path, body)
	if err != nil {
		w.Fatalf("%s %s: %v", path, body, err)
	}
	return dataOf(resp)
}

// get reads what has to be there.
func (w *world) get(path string) data {
	w.Helper()
	resp, err := w.request(engine.Read, path, nil)
	if err != nil || resp == nil {
		w.Fatalf("read %s: %v, %v", path, resp, err)
	}
	return resp.Data
}

func dataOf(resp *engine.Response) data {
	if resp == nil {
		return nil
	}
	return resp.Data
}

// refusal is a request that must fail, and how.
type refusal struct {
	path, body string
	code       errs.Code
	want       string // what the client is shown begins with it, behind the frame
}

func (w *world) refuse(list ...refusal) {
	w.Helper()
	for _, c := range list {
		op := engine.Update
		for word, as := range map[string]engine.Operation{"GET ": engine.Read, "DELETE ": engine.Delete} {
			if rest, ok := strings.CutPrefix(c.path, word); ok {
				c.path, op = rest, as
			}
		}
		resp, err := w.request(op, c.path, object(w, c.body))
		shown := errs.From(err)
		switch {
		case shown == nil:
			w.Errorf("%s %s: got %v, %v, want %q", c.path, c.body, resp, err, c.want)
		case shown.Code != c.code || !strings.HasPrefix(shown.Text, c.want) || shown.Framed != (c.code == errs.Fault || shown.Text == "unsupported path"):
			w.Errorf("%s %s: got code %d, framed %v, %q, want code %d, %q", c.path, c.body, shown.Code, shown.Framed, shown.Text, c.code, c.want)
		}
	}
}

// b64 is a text in base64.
func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// str is the text under a key.
func str(t testing.TB, d data, key string) string {
	t.Helper()
	s, ok := d[key].(string)
	if !ok {
		t.Fatalf("%s is %v in %v", key, d[key], d)
	}
	return s
}

// items are the results of a batch.
func items(t testing.TB, d data) []data {
	t.Helper()
	list, ok := d["batch_results"].([]any)
	if !ok {
		t.Fatalf("no results in %v", d)
	}
	out := make([]data, len(list))
	for i, one := range list {
		out[i], _ = one.(data)
	}
	return out
}

// all are the types of keys, with the fields that make one.
var all = []struct {
	name, fields string
	slow         bool // seconds to generate
}{
	{"aes128-gcm96", `"type":"aes128-gcm96"`, false},
	{"aes256-gcm96", `"type":"aes256-gcm96"`, false},
	{"chacha20-poly1305", `"type":"chacha20-poly1305"`, false},
	{"xchacha20-poly1305", `"type":"xchacha20-poly1305"`, false},
	{"ed25519", `"type":"ed25519"`, false},
	{"ecdsa-p256", `"type":"ecdsa-p256"`, false},
	{"ecdsa-p384", `"type":"ecdsa-p384"`, false},
	{"ecdsa-p521", `"type":"ecdsa-p521"`, false},
	{"rsa-2048", `"type":"rsa-2048"`, false},
	{"rsa-3072", `"type":"rsa-3072"`, true},
	{"rsa-4096", `"type":"rsa-4096"`, true},
	{"hmac", `"type":"hmac","key_size":32`, false},
	{"ml-dsa-44", `"type":"ml-dsa","parameter_set":"44"`, false},
	{"ml-dsa-65", `"type":"ml-dsa","parameter_set":"65"`, false},
	{"ml-dsa-87", `"type":"ml-dsa","parameter_set":"87"`, false},
	{"ml-kem-768", `"type":"ml-kem","parameter_set":"768"`, false},
	{"ml-kem-1024", `"type":"ml-kem","parameter_set":"1024"`, false},
}
