package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/auth"
	"leasehold/auth/token"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/storetest"
)

const month = 768 * time.Hour

var dawn = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is the engine with its token store, on a clock that the test moves.
type fixture struct {
	t        *testing.T
	tokens   *auth.Store
	engine   *engine.Router
	clock    *clock.Fake
	mount    engine.Mount
	policies []string // that exist
	entities bool
	woken    int
	root     secret.Text

	// What the auth method says to a renewal.
	renewLogin func(l *engine.Login) error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	return fixtureWith(t, true)
}

func fixtureWith(t *testing.T, entities bool) *fixture {
	f := &fixture{
		t: t, clock: clock.NewFake(dawn), policies: []string{"root", "default", "a", "b", "c", "d", "e", "maker", "one", "dev-web"},
		mount: engine.Mount{Path: "auth/token/", Type: "token", DefaultTTL: month, MaxTTL: month},
	}
	var err error
	f.tokens, err = auth.New(auth.Config{
		Store:     storetest.NewAt(t, f.clock, auth.Migrations()...),
		DueLeases: func(*store.Tx, int64, int) (int, error) { return 0, nil },
		Wake:      func() { f.woken++ },
	})
	f.must(err)
	cfg := token.Config{
		Tokens:       f.tokens,
		PolicyExists: func(_ context.Context, name string) (bool, error) { return slices.Contains(f.policies, name), nil },
		RenewLogin: func(_ context.Context, path string, l *engine.Login) (engine.Mount, error) {
			return engine.Mount{Path: "auth/users/", DefaultTTL: 2 * time.Hour, MaxTTL: 4 * time.Hour}, f.renewLogin(l)
		},
	}
	if entities {
		cfg.Entity = func(_ context.Context, _ engine.Mount, alias string) (string, error) {
			return "entity-of-" + alias, nil
		}
	}
	f.engine, err = token.New(cfg)
	f.must(err)
	_, f.root, err = f.tokens.Create(t.Context(), auth.Root())
	f.must(err)
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// do sends a request as the broker would, with sudo where the policy's rule has it. The body is JSON.
func (f *fixture) do(as secret.Text, sudo bool, op engine.Operation, path, body string) (*engine.Response, error) {
	f.t.Helper()
	caller, err := f.tokens.Authenticate(f.t.Context(), as, "192.0.2.1")
	if err != nil {
		return nil, err
	}
	if err := f.tokens.Use(f.t.Context(), &caller); err != nil {
		return nil, err
	}
	r := &engine.Request{
		Operation: op, Mount: f.mount, Path: path, Data: map[string]any{}, RemoteAddr: "192.0.2.1",
		Caller: &engine.Caller{
			TokenSeq: caller.Seq, LeaseParent: caller.LeaseParent(), Token: as, Accessor: caller.Accessor, Policies: caller.Policies,
			Type: caller.Type, Root: caller.Root(), Sudo: sudo || caller.Root(), NumUses: caller.NumUses, ExpiresAt: caller.ExpiresAt,
		},
	}
	if body != "" {
		decoder := json.NewDecoder(bytes.NewReader([]byte(body)))
		decoder.UseNumber()
		f.must(decoder.Decode(&r.Data))
	}
	return f.engine.Handle(f.t.Context(), r)
}

// post is a write by the root token that must succeed.
func (f *fixture) post(path, body string) *engine.Response {
	f.t.Helper()
	return f.postAs(f.root, path, body)
}

func (f *fixture) postAs(as secret.Text, path, body string) *engine.Response {
	f.t.Helper()
	resp, err := f.do(as, false, engine.Update, path, body)
	if err != nil {
		f.t.Fatalf("POST %s %s: %v", path, body, err)
	}
	return resp
}

// token makes a token as root, and returns its text.
func (f *fixture) token(path, body string) secret.Text {
	f.t.Helper()
	return f.post(path, body).Auth.ClientToken
}

// data looks a token up.
func (f *fixture) data(text secret.Text) map[string]any {
	f.t.Helper()
	resp, err := f.do(f.root, false, engine.Update, "lookup", `{"token":"`+text.Reveal()+`"}`)
	f.must(err)
	return resp.Data
}

func (f *fixture) works(text secret.Text) bool {
	f.t.Helper()
	_, err := f.tokens.Authenticate(f.t.Context(), text, "192.0.2.1")
	if err != nil && errs.CodeOf(err) != errs.Unauthenticated {
		f.t.Fatal(err)
	}
	return err == nil
}

// refused checks the text of a refusal as a client sees it.
func (f *fixture) refused(err error, code errs.Code, text string) {
	f.t.Helper()
	if e := errs.From(err); e == nil || e.Code != code || e.Shown() != text {
		f.t.Errorf("got %v, want code %d with %q", err, code, text)
	}
}

func framed(text string) string { return "1 error occurred:\n\t* " + text + "\n\n" }

func (f *fixture) same(what string, got, want any) {
	f.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
