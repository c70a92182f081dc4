package token_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/auth"
	"leasehold/auth/token"
	"leasehold/engine"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
)

func TestLookup(t *testing.T) {
	f := newFixture(t)
	text := f.token("create", `{"policies":["a"],"ttl":"1h"}`)
	data := f.data(text)
	accessor := data["accessor"].(string)

	for _, op := range []engine.Operation{engine.Read, engine.Update} {
		for _, path := range []string{"lookup-self", "lookup"} {
			resp, err := f.do(text, false, op, path, "")
			f.must(err)
			f.same(path, resp.Data, data)
		}
	}
	resp, err := f.do(f.root, false, engine.Read, "lookup", `{"token":"`+text.Reveal()+`"}`)
	f.must(err)
	f.same("lookup by query", resp.Data, data)
	data["id"] = ""
	f.same("lookup by accessor", f.post("lookup-accessor", `{"accessor":"`+accessor+`"}`).Data, data)

	batch := f.token("create", `{"policies":["a"],"type":"batch","ttl":"20m","meta":{"k":"v"}}`)
	data = f.data(batch)
	f.same("batch", []any{data["accessor"], data["type"], data["id"], data["renewable"], data["creation_ttl"]}, []any{"", "batch", batch.Reveal(), false, int64(1200)})

	root := f.data(f.root)
	f.same("root", []any{root["expire_time"], root["ttl"], root["orphan"], root["meta"], root["policies"]}, []any{nil, int64(0), true, nil, []string{"root"}})
	empty := f.data(f.token("create", `{"policies":["default"],"no_default_policy":true}`))
	f.same("no policies", empty["policies"], any([]string{}))

	for _, path := range []string{"lookup", "renew"} {
		_, err = f.do(f.root, false, engine.Update, path, `{"token":["x"]}`)
		if errs.CodeOf(err) != errs.Invalid {
			t.Errorf("%s of an array: %v", path, err)
		}
	}
	_, err = f.do(f.root, false, engine.Update, "lookup", `{"token":"nope"}`)
	f.refused(err, errs.Denied, "bad token")
	_, err = f.do(f.root, false, engine.Update, "lookup-accessor", `{"accessor":"nope"}`)
	f.refused(err, errs.Invalid, framed("invalid accessor"))
	_, err = f.do(f.root, false, engine.Update, "lookup-accessor", `{}`)
	f.refused(err, errs.Invalid, framed("missing accessor"))
	_, err = f.do(f.root, false, engine.Read, "nothing", "")
	f.refused(err, errs.NotFound, framed("unsupported path"))
	_, err = f.do(f.root, false, engine.Update, "lookup/"+text.Reveal(), "")
	f.refused(err, errs.NotFound, framed("unsupported path"))
}

func TestLastUse(t *testing.T) {
	f := newFixture(t)
	text := f.token("create", `{"policies":["a"],"ttl":"1h","num_uses":2}`)
	for _, left := range []int{1, -1} {
		resp, err := f.do(text, false, engine.Read, "lookup-self", "")
		f.must(err)
		f.same("num_uses", resp.Data["num_uses"], any(left))
	}
	_, err := f.do(text, false, engine.Read, "lookup-self", "")
	f.refused(err, errs.Unauthenticated, "permission denied")
}

func TestRenew(t *testing.T) {
	f := newFixture(t)
	text := f.token("create", `{"policies":["a"],"ttl":"1h"}`)
	accessor := f.data(text)["accessor"].(string)
	self := func(body string) *engine.Auth { return f.postAs(text, "renew-self", body).Auth }
	for _, step := range []struct {
		got  *engine.Auth
		want time.Duration
	}{
		{self(`{}`), time.Hour},
		{self(`{"increment":"2h","token":"ignored"}`), 2 * time.Hour},
		{self(`{"increment":600}`), 10 * time.Minute},
		{f.post("renew", `{"token":"`+text.Reveal()+`","increment":"30m"}`).Auth, 30 * time.Minute},
	} {
		if step.got.Duration != step.want || !step.got.ClientToken.Equal(text) || step.got.Accessor != accessor || !step.got.Renewable {
			t.Errorf("got %+v, want %s", step.got, step.want)
		}
	}
	byAccessor := f.post("renew-accessor", `{"accessor":"`+accessor+`","increment":"45m"}`).Auth
	if byAccessor.Duration != 45*time.Minute || !byAccessor.ClientToken.Empty() {
		t.Errorf("by accessor: %s, and the token's text is shown: %t", byAccessor.Duration, !byAccessor.ClientToken.Empty())
	}
	f.clock.Advance(time.Minute)
	data := f.data(text)
	f.same("after the renewals", []any{data["creation_ttl"], data["ttl"], data["last_renewal"], data["last_renewal_time"]},
		[]any{int64(3600), int64(44 * 60), dawn.Format(time.RFC3339Nano), dawn.Unix()})
	resp := f.postAs(text, "renew-self", `{"increment":"9000h"}`)
	f.same("capped", resp.Warnings, []string{`TTL of "9000h" exceeded the effective max_ttl of "767h59m"; TTL value is capped accordingly`})

	stubborn := f.token("create", `{"policies":["a"],"ttl":"1h","renewable":false}`)
	batch := f.token("create", `{"policies":["a"],"ttl":"1h","type":"batch"}`)
	for _, tt := range []struct {
		as         secret.Text
		path, body string
		text       string
	}{
		{f.root, "renew", `{}`, "missing token ID"},
		{f.root, "renew", `{"token":"nope"}`, "token not found"},
		{f.root, "renew", `{"token":"` + batch.Reveal() + `"}`, "batch tokens cannot be renewed"},
		{batch, "renew-self", `{}`, "batch tokens cannot be renewed"},
		{stubborn, "renew-self", `{}`, "lease is not renewable"},
		{f.root, "renew-self", `{}`, "lease is not renewable"},
		{f.root, "renew-accessor", `{}`, framed("missing accessor")},
		{f.root, "renew-accessor", `{"accessor":"nope"}`, framed("invalid accessor")},
		{text, "renew-self", `{"increment":"abc"}`, `Field validation failed: error converting input for field "increment": time: invalid duration "abc"`},
	} {
		_, err := f.do(tt.as, false, engine.Update, tt.path, tt.body)
		f.refused(err, errs.Invalid, tt.text)
	}
}

func TestRenewPeriodic(t *testing.T) {
	f := newFixture(t)
	text := f.token("create", `{"policies":["a"],"period":"6h"}`)
	f.clock.Advance(5 * time.Hour)
	f.same("increments are ignored", f.postAs(text, "renew-self", `{"increment":"12h"}`).Auth.Duration, 6*time.Hour)
	for range 200 { // far past the maximum of the mount
		f.clock.Advance(5 * time.Hour)
		f.postAs(text, "renew-self", `{}`)
	}
	bounded := f.token("create", `{"policies":["a"],"period":"2h","explicit_max_ttl":"3h"}`)
	f.clock.Advance(110 * time.Minute)
	resp := f.postAs(bounded, "renew-self", `{}`)
	f.same("what is left of the explicit maximum", resp.Auth.Duration, 70*time.Minute)
	f.clock.Advance(70 * time.Minute)
	if f.works(bounded) {
		t.Error("a periodic token lives past its explicit maximum")
	}
}

// A role's token is renewed by what the role says now.
func TestRenewByRole(t *testing.T) {
	f := newFixture(t)
	f.post("roles/r", `{"allowed_policies":"a","token_period":"6h"}`)
	text := f.token("create/r", `{"period":"5h","explicit_max_ttl":"5h"}`)
	f.same("role's period", f.postAs(text, "renew-self", `{}`).Auth.Duration, 6*time.Hour)
	f.post("roles/r", `{"token_period":"1h"}`)
	f.same("role's new period", f.postAs(text, "renew-self", `{}`).Auth.Duration, time.Hour)
	f.post("roles/r", `{"token_period":0,"token_explicit_max_ttl":"2h"}`)
	f.clock.Advance(30 * time.Minute)
	f.same("role's explicit maximum", f.postAs(text, "renew-self", `{"increment":"100h"}`).Auth.Duration, 90*time.Minute)
	_, err := f.do(f.root, false, engine.Delete, "roles/r", "")
	f.must(err)
	_, err = f.do(text, false, engine.Update, "renew-self", `{}`)
	f.refused(err, errs.Invalid, framed(`failed to renew entry: original token role "r" could not be found, not renewing`))
}

// A login's token is renewed by what its method says now.
func TestRenewLogin(t *testing.T) {
	f := newFixture(t)
	mount := engine.Mount{Path: "auth/users/", DefaultTTL: time.Hour, MaxTTL: 4 * time.Hour}
	login := func(l engine.Login) secret.Text {
		t.Helper()
		l.Renewable = true
		_, text, _, err := f.tokens.CreateLogin(t.Context(), mount, "auth/users/login/alice", &l)
		f.must(err)
		return text
	}
	unchanged := func(*engine.Login) error { return nil }

	f.renewLogin = unchanged
	text := login(engine.Login{})
	f.same("the mount's default", f.postAs(text, "renew-self", `{}`).Auth.Duration, 2*time.Hour)
	f.same("an increment", f.postAs(text, "renew-self", `{"increment":"3h"}`).Auth.Duration, 3*time.Hour)
	f.same("the mount's default again", f.postAs(text, "renew-self", `{}`).Auth.Duration, 2*time.Hour)
	f.same("the mount's maximum", f.postAs(text, "renew-self", `{"increment":"30h"}`).Auth.Duration, 4*time.Hour)

	text = login(engine.Login{TTL: 30 * time.Minute, Alias: "alice"})
	f.same("the login's ttl", f.postAs(text, "renew-self", `{}`).Auth.Duration, 30*time.Minute)
	f.renewLogin = func(l *engine.Login) error {
		if l.Alias != "alice" {
			t.Errorf("the method is shown the login of %q", l.Alias)
		}
		l.TTL, l.MaxTTL = 50*time.Minute, 40*time.Minute
		return nil
	}
	f.same("the role's of now", f.postAs(text, "renew-self", `{}`).Auth.Duration, 40*time.Minute)
	f.renewLogin = func(*engine.Login) error { return errs.New(errs.Invalid, "policies have changed, not renewing") }
	_, err := f.do(text, false, engine.Update, "renew-self", `{}`)
	f.refused(err, errs.Invalid, framed("failed to renew entry: policies have changed, not renewing"))
}

func TestRevoke(t *testing.T) {
	f := newFixture(t)
	fresh := func() (secret.Text, secret.Text, string) {
		parent := f.token("create", `{"ttl":"1h"}`)
		child := f.postAs(parent, "create", `{"policies":["a"],"ttl":"1h"}`).Auth.ClientToken
		return parent, child, f.data(parent)["accessor"].(string)
	}
	for _, how := range []string{"revoke", "revoke-self", "revoke-accessor"} {
		parent, child, accessor := fresh()
		as, body := f.root, `{"token":"`+parent.Reveal()+`"}`
		switch how {
		case "revoke-self":
			as, body = parent, ""
		case "revoke-accessor":
			body = `{"accessor":"` + accessor + `"}`
		}
		before := f.woken
		if resp := f.postAs(as, how, body); resp != nil {
			t.Errorf("%s: got %+v, want an empty answer", how, resp)
		}
		if f.works(parent) || f.works(child) || f.woken == before {
			t.Errorf("%s: the parent works: %t, the child works: %t, the reaper was woken: %t", how, f.works(parent), f.works(child), f.woken > before)
		}
		if how == "revoke" {
			if resp := f.postAs(f.root, how, body); resp != nil {
				t.Errorf("a second time: got %+v, want an empty answer", resp)
			}
		}
		if how == "revoke-accessor" {
			f.same("a second time", f.postAs(f.root, how, body).Warnings, []string{"No token found with this accessor"})
		}
	}

	parent, child, _ := fresh()
	maker := f.token("create", `{"policies":["maker"],"ttl":"1h"}`)
	_, err := f.do(maker, false, engine.Update, "revoke-orphan", `{"token":"`+parent.Reveal()+`"}`)
	f.refused(err, errs.Invalid, "root or sudo privileges required to revoke and orphan")
	f.post("revoke-orphan", `{"token":"`+parent.Reveal()+`"}`)
	if f.works(parent) || !f.works(child) || f.data(child)["orphan"] != true {
		t.Error("revoke-orphan: the parent works, or the child does not or is none")
	}

	batch := f.token("create", `{"policies":["a"],"ttl":"1h","type":"batch"}`)
	for _, tt := range []struct {
		as         secret.Text
		path, body string
		text       string
	}{
		{f.root, "revoke", `{}`, "missing token ID"},
		{f.root, "revoke-orphan", `{}`, "missing token ID"},
		{f.root, "revoke-orphan", `{"token":"` + parent.Reveal() + `"}`, "token to revoke not found"},
		{f.root, "revoke-accessor", `{}`, framed("missing accessor")},
		{f.root, "revoke", `{"token":"` + batch.Reveal() + `"}`, "batch tokens cannot be revoked"},
		{f.root, "revoke-orphan", `{"token":"` + batch.Reveal() + `"}`, "batch tokens cannot be revoked"},
		{batch, "revoke-self", ``, "batch tokens cannot be revoked"},
	} {
		_, err := f.do(tt.as, false, engine.Update, tt.path, tt.body)
		f.refused(err, errs.Invalid, tt.text)
	}
}

func TestAccessorsAndTidy(t *testing.T) {
	f := newFixture(t)
	text := f.token("create", `{"policies":["a"]}`)
	resp, err := f.do(f.root, false, engine.List, "accessors/", "")
	f.must(err)
	got, _ := resp.Data["keys"].([]string)
	want := []string{f.data(f.root)["accessor"].(string), f.data(text)["accessor"].(string)}
	slices.Sort(got)
	slices.Sort(want)
	f.same("accessors", got, want)
	facts, err := f.engine.Describe(t.Context(), &engine.Request{Operation: engine.List, Path: "accessors/"})
	if err != nil || !facts.Sudo {
		t.Errorf("listing accessors needs no sudo: %+v, %v", facts, err)
	}
	resp = f.post("tidy", "")
	if resp.Status != 202 || len(resp.Warnings) != 1 || !strings.HasPrefix(resp.Warnings[0], "Tidy operation successfully started.") || f.woken != 1 {
		t.Errorf("tidy: %+v, the reaper was woken %d times", resp, f.woken)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := token.New(token.Config{}); err == nil || !strings.Contains(err.Error(), "Tokens") {
		t.Errorf("got %v", err)
	}
	if _, err := auth.New(auth.Config{}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Errorf("got %v", err)
	}
}
