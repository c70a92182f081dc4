package broker_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
)

const noWrapping = "wrapping token is not valid or does not exist"

// mustWrap has the answer of a request wrapped for a minute.
func mustWrap(n *brokertest.Node, token secret.Text, op engine.Operation, path string, data map[string]any) *engine.Wrap {
	n.T.Helper()
	resp, err := n.DoWrapped(n.T.Context(), time.Minute, token, op, path, data)
	if err != nil {
		n.T.Fatal(err)
	}
	if resp == nil || resp.Wrap == nil || resp.Data != nil || resp.Secret != nil || resp.Auth != nil || resp.Warnings != nil {
		n.T.Fatalf("%s is not wrapped, or tells more: %+v", path, resp)
	}
	return resp.Wrap
}

// unwrapFor unwraps on behalf of a token of the client's.
func unwrapFor(n *brokertest.Node, client, wrapping secret.Text) (*engine.Response, error) {
	return n.Do(client, engine.Update, "sys/wrapping/unwrap", map[string]any{"token": wrapping.Reveal()})
}

// entries is how many values are kept for tokens, in wrapped answers and otherwise.
func entries(n *brokertest.Node) (count int) {
	n.T.Helper()
	err := n.Store.View(n.T.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM kv_entries`).Scan(&count)
	})
	if err != nil {
		n.T.Fatal(err)
	}
	return count
}

func runTokens(n *brokertest.Node) {
	n.T.Helper()
	if err := n.Tokens.RunOnce(n.T.Context()); err != nil {
		n.T.Fatal(err)
	}
}

// Of 32 who unwrap at once on two nodes, through other tokens and with the wrapping token itself, one gets the answer.
func TestUnwrapIsExactlyOnce(t *testing.T) {
	t.Parallel()
	for name, newNode := range map[string]func(t *testing.T) *brokertest.Node{
		"sqlite": func(t *testing.T) *brokertest.Node { return brokertest.New(t, broker.Settings{}) },
		"postgresql": func(t *testing.T) *brokertest.Node {
			url := secret.NewText(testdb.Postgres(t).URL())
			return brokertest.NewOn(t, broker.Settings{}, func(clk clock.Clock) store.Dialect {
				return postgres.New(postgres.Config{URL: url, MaxConns: 8, Clock: clk})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := newNode(t)
			nodes := []*brokertest.Node{first, first.Another()}
			w := mustWrap(first, first.Root, engine.Update, "sys/wrapping/wrap", map[string]any{"v": "1"})
			var got atomic.Int32
			var wait sync.WaitGroup
			for i := range 32 {
				wait.Go(func() {
					n := nodes[i%2]
					var resp *engine.Response
					var err error
					if i%4 < 2 {
						resp, err = unwrapFor(n, n.Root, w.Token)
					} else {
						resp, err = n.Do(w.Token, engine.Update, "sys/wrapping/unwrap", nil)
					}
					switch {
					case err == nil && resp.Data["v"] == "1":
						got.Add(1)
					case err == nil:
						t.Errorf("answer %+v", resp)
					case errs.CodeOf(err) != errs.Invalid && errs.CodeOf(err) != errs.Unauthenticated:
						t.Errorf("unwrap: %v", err)
					}
				})
			}
			wait.Wait()
			if got.Load() != 1 {
				t.Errorf("%d of 32 got the answer", got.Load())
			}
			runTokens(first)
			if n := entries(first); n != 0 {
				t.Errorf("%d values are kept for a token that has ended", n)
			}
		})
	}
}

// What is lent through a wrapped answer belongs to the token that asked for it, not to the wrapping token.
func TestWrappedLease(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	asking := n.MustToken(`path "notes/*" { capabilities = ["read"] }`, nil)
	w := mustWrap(n, asking, engine.Read, "notes/lend/a", nil)
	n.Must(engine.Update, "auth/token/revoke-accessor", map[string]any{"accessor": w.Accessor})
	runTokens(n)
	reap(n)
	if n.Lab.Lent() != 1 {
		t.Fatal("what was lent ended with the wrapping token")
	}
	w = mustWrap(n, asking, engine.Read, "notes/lend/a", nil)
	resp, err := unwrapFor(n, n.Root, w.Token)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Secret == nil || !strings.HasPrefix(resp.Secret.LeaseID, "notes/lend/a/") || resp.Secret.Duration != 768*time.Hour ||
		!resp.Secret.Renewable || resp.Data["thing"] != "a" {
		t.Errorf("got %+v, %+v", resp, resp.Secret)
	}
	n.Must(engine.Update, "auth/token/revoke", map[string]any{"token": asking.Reveal()})
	runTokens(n)
	reap(n)
	if n.Lab.Lent() != 0 {
		t.Errorf("%d things outlived the token that asked for them", n.Lab.Lent())
	}
}

// An answer that cannot be kept is withheld: what it lends is taken back.
func TestLeaseOfAnAnswerThatIsNotKept(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	ctx, cancel := context.WithCancel(t.Context())
	n.Lab.AfterLend(cancel) // the client has hung up
	if resp, err := n.DoWrapped(ctx, time.Minute, n.Root, engine.Read, "notes/lend/a", nil); err == nil {
		t.Fatalf("answered %+v", resp)
	}
	reap(n)
	if n.Lab.Lent() != 0 {
		t.Error("the lease of an answer that was not kept stays")
	}
}

// An answer whose audit line nobody takes is withheld, also when it was wrapped or unwrapped; a renewal takes nothing away.
func TestWithheldWrapping(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	kept := n.Must(engine.Read, "notes/lend/kept", nil).Secret.LeaseID
	w := mustWrap(n, n.Root, engine.Read, "notes/lend/a", nil)
	for name, ask := range map[string]func() error{
		"wrap": func() error {
			_, err := n.DoWrapped(t.Context(), time.Minute, n.Root, engine.Read, "notes/lend/b", nil)
			return err
		},
		"unwrap": func() error {
			_, err := unwrapFor(n, n.Root, w.Token)
			return err
		},
		"renew": func() error {
			_, err := n.Do(n.Root, engine.Update, "sys/leases/renew", map[string]any{"lease_id": kept})
			return err
		},
	} {
		withoutAnswers(n, func() {
			if err := ask(); err == nil || errs.From(err) != nil {
				t.Errorf("%s: the answer was not withheld: %v", name, err)
			}
		})
	}
	reap(n)
	if n.Lab.Lent() != 1 {
		t.Errorf("%d things are out, want the one that was renewed", n.Lab.Lent())
	}
}

// withoutAnswers runs fn, a request, with audit devices that take its line and not that of the answer.
func withoutAnswers(n *brokertest.Node, fn func()) {
	n.T.Helper()
	disable := func(path string) {
		if err := n.DisableAudit(n.T.Context(), path); err != nil {
			n.T.Errorf("disable: %v", err)
		}
	}
	enable(n, "good", "discard", nil)
	enable(n, "full", "/dev/full", map[string]any{"skip_test": "true"})
	n.Audited = func(answer bool) {
		if !answer {
			disable("good/")
		}
	}
	fn()
	n.Audited = nil
	disable("full/")
}

// The answer goes with its token, however that ends.
func TestWrappedAnswerEndsWithItsToken(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	for name, end := range map[string]func(w *engine.Wrap){
		"expiry": func(*engine.Wrap) { n.Clock.Advance(time.Minute) },
		"revocation": func(w *engine.Wrap) {
			n.Must(engine.Update, "auth/token/revoke", map[string]any{"token": w.Token.Reveal()})
		},
		"other use": func(w *engine.Wrap) { _, _ = n.Do(w.Token, engine.Read, "auth/token/lookup-self", nil) },
		"old way":   func(w *engine.Wrap) { _, _ = n.Do(w.Token, engine.Read, "cubbyhole/response", nil) },
		"rewrapping itself": func(w *engine.Wrap) {
			_, err := n.Do(w.Token, engine.Update, "sys/wrapping/rewrap", nil)
			wantError(t, err, errs.Denied, framedDenial)
		},
		"both ways": func(w *engine.Wrap) {
			_, err := unwrapFor(n, w.Token, w.Token)
			wantError(t, err, errs.Invalid, "1 error occurred:\n\t* error decrementing wrapping token's use-count: "+
				"invalid token entry provided for use count decrementing\n\n")
		},
	} {
		w := mustWrap(n, n.Root, engine.Update, "sys/wrapping/wrap", map[string]any{"v": "1"})
		if entries(n) == 0 {
			t.Fatal("nothing is kept")
		}
		end(w)
		for _, path := range []string{"lookup", "unwrap", "rewrap"} {
			_, err := n.Do(n.Root, engine.Update, "sys/wrapping/"+path, map[string]any{"token": w.Token.Reveal()})
			wantError(t, err, errs.Invalid, noWrapping)
		}
		runTokens(n)
		if left := entries(n); left != 0 {
			t.Errorf("%s: %d values are left", name, left)
		}
	}
}

// A refusal that comes before the wrapping token is touched leaves it as it was.
func TestRefusedUnwrapping(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	w := mustWrap(n, n.Root, engine.Update, "sys/wrapping/wrap", map[string]any{"v": "1"})
	nothing := n.MustToken("", map[string]any{"policies": []any{"none"}, "no_default_policy": true})
	_, err := unwrapFor(n, nothing, w.Token)
	wantError(t, err, errs.Denied, framedDenial)
	_, err = unwrapFor(n, secret.Text{}, w.Token)
	wantError(t, err, errs.Unauthenticated, "permission denied")
	_, err = unwrapFor(n, n.MustToken("", nil), w.Token)
	if err != nil {
		t.Error(err)
	}
}

// A wrapped answer can be wrapped again, by its token or by asking; so can its unwrapping.
func TestWrappingOfWrapped(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	w := mustWrap(n, n.Root, engine.Update, "sys/wrapping/wrap", map[string]any{"v": "1"})
	n.Clock.Advance(30 * time.Second)
	w = n.Must(engine.Update, "sys/wrapping/rewrap", map[string]any{"token": w.Token.Reveal()}).Wrap
	n.Clock.Advance(45 * time.Second) // the first one would have expired
	resp, err := n.DoWrapped(t.Context(), time.Hour, n.Root, engine.Update, "sys/wrapping/unwrap", map[string]any{"token": w.Token.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	outer := resp.Wrap
	if outer.CreationPath != "sys/wrapping/unwrap" || outer.TTL != time.Hour {
		t.Errorf("got %+v", outer)
	}
	lookup := n.Must(engine.Update, "sys/wrapping/lookup", map[string]any{"token": outer.Token.Reveal()}).Data
	if lookup["creation_path"] != "sys/wrapping/unwrap" || lookup["creation_ttl"] != int64(3600) {
		t.Errorf("lookup %v", lookup)
	}
	if resp, err = unwrapFor(n, n.Root, outer.Token); err != nil || resp.Data["v"] != "1" {
		t.Errorf("got %+v, %v", resp, err)
	}
}

func TestWrappedAccessor(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/auth/door", map[string]any{"type": "door"})
	n.Must(engine.Update, "sys/auth/approle", map[string]any{"type": "approle"})
	login := mustWrap(n, secret.Text{}, engine.Update, "auth/door/login", map[string]any{"name": "ann"})
	inside, err := unwrapFor(n, n.Root, login.Token)
	if err != nil {
		t.Fatal(err)
	}
	if login.WrappedAccessor != inside.Auth.Accessor || login.WrappedAccessor == "" {
		t.Errorf("accessor %q, inside %q", login.WrappedAccessor, inside.Auth.Accessor)
	}
	if _, err := n.Do(inside.Auth.ClientToken, engine.Read, "auth/token/lookup-self", nil); err != nil {
		t.Errorf("the token inside: %v", err)
	}
	for path, want := range map[string]string{"auth/approle/secret-id": "a", "auth/door/secret-id": "", "sys/wrapping/wrap": ""} {
		w := mustWrap(n, n.Root, engine.Update, path, map[string]any{"secret_id_accessor": "x"})
		if w.WrappedAccessor != want {
			t.Errorf("%s: accessor %q, want %q", path, w.WrappedAccessor, want)
		}
	}
	batch := mustWrap(n, n.Root, engine.Update, "auth/token/create", map[string]any{"type": "batch", "policies": []any{"default"}, "ttl": "1m"})
	if batch.WrappedAccessor != "" {
		t.Errorf("a batch token has the accessor %q", batch.WrappedAccessor)
	}
}

// A policy that demands wrapping is not met by an answer in clear.
func TestWrappingIsNotIgnored(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	_, err := n.DoWrapped(t.Context(), time.Minute, n.Root, engine.Read, "sys/pprof/cmdline", nil)
	wantError(t, err, errs.Invalid, "this answer has no envelope and cannot be wrapped: ask without X-Vault-Wrap-TTL")
}

// The lines of a wrapped login tell who has logged in, and neither what is inside nor the wrapping token. A request without a
// good wrapping token has one line.
func TestAuditOfWrapping(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, audited)
	n.Must(engine.Update, "sys/auth/door", map[string]any{"type": "door"})
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	n.Must(engine.Update, "notes/a", map[string]any{"canary-key": "canary-value"})
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(n, "f", file, nil)
	at := len(lines(t, file))

	note := mustWrap(n, n.Root, engine.Read, "notes/a", nil)
	login := mustWrap(n, secret.Text{}, engine.Update, "auth/door/login", map[string]any{"name": "ann"})
	all := lines(t, file)[at:]
	if len(all) != 4 {
		t.Fatalf("%d lines, want 4", len(all))
	}
	for i, w := range []*engine.Wrap{note, login} {
		response := all[2*i+1]["response"].(map[string]any)
		info, _ := response["wrap_info"].(map[string]any)
		if info["creation_path"] != w.CreationPath || info["ttl"] != 60.0 || response["data"] != nil || response["auth"] != nil {
			t.Errorf("response %v", response)
		}
	}
	if who := all[3]["auth"].(map[string]any); who["display_name"] != "door-ann" {
		t.Errorf("the login's line has auth %v", who)
	}

	_, err := unwrapFor(n, n.Root, secret.NewText("canary-none"))
	wantError(t, err, errs.Invalid, noWrapping)
	bad := lines(t, file)[at+4:]
	if len(bad) != 1 || bad[0]["type"] != "request" || bad[0]["error"] != noWrapping || bad[0]["auth"].(map[string]any)["accessor"] == nil {
		line, _ := json.Marshal(bad)
		t.Errorf("lines %s", line)
	}
	if _, err := unwrapFor(n, n.Root, note.Token); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{note.Token.Reveal(), login.Token.Reveal(), "canary-value", "canary-none", note.Accessor} {
		if strings.Contains(string(written), canary) {
			t.Errorf("%q stands in the log", canary)
		}
	}
}
