package broker_test

import (
	"testing"

	"leasehold/broker"
	"leasehold/broker/brokertest"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

const (
	framedDenial   = "1 error occurred:\n\t* permission denied\n\n"
	framedNoPath   = "1 error occurred:\n\t* unsupported path\n\n"
	noRouteNowhere = `no handler for route "nowhere/x". route entry not found.`
)

// wantError fails the test unless err is a refusal with that code and that text, as the wire shows it.
func wantError(t *testing.T, err error, code errs.Code, text string) {
	t.Helper()
	e := errs.From(err)
	if e == nil {
		t.Fatalf("got %v, want %q", err, text)
	}
	if e.Code != code || e.Shown() != text {
		t.Fatalf("got code %d, %q; want code %d, %q", e.Code, e.Shown(), code, text)
	}
}

func TestSealedAnswersNothing(t *testing.T) {
	t.Parallel()
	n := brokertest.NewSealed(t, broker.Settings{})
	_, err := n.Do(n.Root, engine.Read, "sys/mounts", nil)
	wantError(t, err, errs.Sealed, "leasehold is sealed")

	n = brokertest.New(t, broker.Settings{})
	n.SealNow()
	for _, path := range []string{"sys/mounts", "nowhere/x", "sys/internal/ui/mounts"} {
		_, err = n.Do(n.Root, engine.Read, path, nil)
		wantError(t, err, errs.Sealed, "leasehold is sealed")
	}
}

// The order of refusals: token, policy, path, so that nobody learns of paths that they may not use.
func TestRefusals(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	n.Must(engine.Update, "notes/a", map[string]any{"v": "1"})
	n.Must(engine.Update, "sys/auth/door", map[string]any{"type": "door"})
	none := secret.Text{}
	bad := secret.NewText("hvs.unknown")
	plain := n.MustToken("", nil)
	reader := n.MustToken(`path "notes/*" { capabilities = ["read"] }`, nil)
	writer := n.MustToken(`path "notes/*" { capabilities = ["update", "create"] } path "sys/audit" { capabilities = ["read"] }`, nil)
	sudoer := n.MustToken(`path "sys/audit" { capabilities = ["read", "sudo"] }`, nil)

	for _, test := range []struct {
		name  string
		token secret.Text
		op    engine.Operation
		path  string
		code  errs.Code
		text  string // empty: success
	}{
		{"no token", none, engine.Read, "notes/a", errs.Unauthenticated, "permission denied"},
		{"unknown token", bad, engine.Read, "notes/a", errs.Unauthenticated, "permission denied"},
		{"no token, no mount", none, engine.Read, "nowhere/x", errs.Unauthenticated, "permission denied"},
		{"no rule", plain, engine.Read, "notes/a", errs.Denied, framedDenial},
		{"no rule, no mount", plain, engine.Read, "nowhere/x", errs.Denied, framedDenial},
		{"another operation", reader, engine.Update, "notes/a", errs.Denied, framedDenial},
		{"denied before not found", writer, engine.Read, "notes/none", errs.Denied, framedDenial},
		{"sudo is missing", writer, engine.Read, "sys/audit", errs.Denied, framedDenial},
		{"sudo", sudoer, engine.Read, "sys/audit", 0, ""},
		{"root, no mount", n.Root, engine.Read, "nowhere/x", errs.NotFound, noRouteNowhere},
		{"root, no path", n.Root, engine.Read, "sys/nope", errs.NotFound, framedNoPath},
		{"an engine that is not there yet", n.Root, engine.Read, "identity/a", errs.NotFound, framedNoPath},
		{"a write to a folder", n.Root, engine.Update, "notes/x/", errs.Invalid, "cannot write to a path ending in '/'"},
		{"a denied write to a folder", plain, engine.Update, "notes/x/", errs.Denied, framedDenial},
		{"nothing there", reader, engine.Read, "notes/none", errs.NotFound, ""},
		{"an empty list", n.Root, engine.List, "notes/", errs.NotFound, ""},
		{"read", reader, engine.Read, "notes/a", 0, ""},
		{"a login ignores no token", none, engine.Update, "auth/door/login", 0, ""},
		{"a login ignores a bad token", bad, engine.Update, "auth/door/login", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := n.Do(test.token, test.op, test.path, nil)
			if test.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, test.code, test.text)
		})
	}
}

func TestCreateAndUpdateAreTwoCapabilities(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/mounts/notes", map[string]any{"type": "lab"})
	creator := n.MustToken(`path "notes/*" { capabilities = ["create"] }`, nil)
	updater := n.MustToken(`path "notes/*" { capabilities = ["update"] }`, nil)

	_, err := n.Do(updater, engine.Update, "notes/a", nil)
	wantError(t, err, errs.Denied, framedDenial)
	if _, err := n.Do(creator, engine.Update, "notes/a", nil); err != nil {
		t.Fatal(err)
	}
	_, err = n.Do(creator, engine.Update, "notes/a", nil)
	wantError(t, err, errs.Denied, framedDenial)
	if _, err := n.Do(updater, engine.Update, "notes/a", nil); err != nil {
		t.Fatal(err)
	}
}

// Every request that gets as far as the policies costs a use, denied ones as well; paths without a token cost none.
func TestLimitedUses(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	token := n.MustToken("", map[string]any{"num_uses": 3})
	if _, err := n.Do(token, engine.Read, "sys/internal/ui/mounts", nil); err != nil {
		t.Fatal(err)
	}
	_, err := n.Do(token, engine.Read, "sys/mounts", nil)
	wantError(t, err, errs.Denied, framedDenial)
	for want := range 2 {
		resp, err := n.Do(token, engine.Read, "auth/token/lookup-self", nil)
		if err != nil {
			t.Fatal(err)
		}
		if left := resp.Data["num_uses"]; left != 1 && want == 0 || left != -1 && want == 1 {
			t.Errorf("use %d shows %v left", want, left)
		}
	}
	_, err = n.Do(token, engine.Read, "auth/token/lookup-self", nil)
	wantError(t, err, errs.Unauthenticated, "permission denied")
}

// ACLs are kept by their policies' names, which clients choose: no name may stand for two others.
func TestPolicyNamesCannotBeForged(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/policies/acl/b", map[string]any{"policy": `path "sys/mounts" { capabilities = ["read"] }`})
	token := func(names ...any) secret.Text {
		return n.MustToken("", map[string]any{"policies": names, "no_default_policy": true})
	}
	if _, err := n.Do(token("a", "b"), engine.Read, "sys/mounts", nil); err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{"a\nb", "a\x00b", "a,b", "a:b", ":a:b", "1:a1:b"} {
		_, err := n.Do(token(forged), engine.Read, "sys/mounts", nil)
		wantError(t, err, errs.Denied, framedDenial)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	n.Must(engine.Update, "sys/auth/front/door", map[string]any{"type": "door", "config": map[string]any{"default_lease_ttl": "10m"}})
	resp, err := n.Do(secret.Text{}, engine.Update, "auth/front/door/login", map[string]any{"name": "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if a := resp.Auth; a.DisplayName != "front-door-ann" || a.Duration.String() != "10m0s" || !a.Orphan || a.ClientToken.Empty() {
		t.Errorf("got %+v", a)
	}
	token := resp.Auth.ClientToken
	if _, err := n.Do(token, engine.Read, "auth/token/lookup-self", nil); err != nil {
		t.Fatal(err)
	}
	n.Must(engine.Delete, "sys/auth/front/door", nil)
	_, err = n.Do(token, engine.Read, "auth/token/lookup-self", nil)
	wantError(t, err, errs.Unauthenticated, "permission denied")
}

func TestHelp(t *testing.T) {
	t.Parallel()
	n := brokertest.New(t, broker.Settings{})
	plain := n.MustToken("", nil)
	text, err := n.Help(t.Context(), &broker.Request{Path: "sys/mounts", Token: plain})
	if err != nil || text == "" {
		t.Errorf("got %q, %v", text, err)
	}
	_, err = n.Help(t.Context(), &broker.Request{Path: "sys/mounts"})
	wantError(t, err, errs.Unauthenticated, "permission denied")
	_, err = n.Help(t.Context(), &broker.Request{Path: "sys/nope", Token: plain})
	wantError(t, err, errs.NotFound, framedNoPath)
	_, err = n.Help(t.Context(), &broker.Request{Path: "nowhere/x", Token: plain})
	wantError(t, err, errs.NotFound, noRouteNowhere)
}
