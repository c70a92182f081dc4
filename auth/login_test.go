package auth_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/errs"
)

func TestCreateLogin(t *testing.T) { onEach(t, testCreateLogin) }

func testCreateLogin(t *testing.T, f *fixture) {
	mount := engine.Mount{Path: "auth/corp/users/", Type: "userpass", DefaultTTL: month, MaxTTL: month}
	login := &engine.Login{
		DisplayName: "alice", Policies: []string{"App"}, Metadata: map[string]string{"username": "alice"}, Alias: "alice",
		Internal: map[string]any{"n": json.Number("7")}, TTL: time.Hour, MaxTTL: 30 * time.Minute, NumUses: 4,
		BoundCIDRs: []string{"192.0.2.0/24"}, Renewable: true,
	}
	token, text, warnings, err := f.CreateLogin(t.Context(), mount, "auth/corp/users/login/alice", login)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`TTL of "1h" exceeded the effective max_ttl of "30m"; TTL value is capped accordingly`}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
	read, err := f.Authenticate(t.Context(), text, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []auth.Token{token, read} {
		if got.DisplayName != "corp-users-alice" || !slices.Equal(got.Policies, []string{"app", "default"}) || !got.Orphan || got.NumUses != 4 ||
			got.CreationTTL != 30*time.Minute || got.Path != "auth/corp/users/login/alice" || !got.Renewable || got.Meta["username"] != "alice" {
			t.Errorf("got %+v", got)
		}
	}
	kept, err := read.Login()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(login, kept); diff != "" {
		t.Errorf("the login changed (-given +kept):\n%s", diff)
	}
	plain, _ := f.mustCreate(t, hour(auth.Spec{}))
	if l, err := plain.Login(); l != nil || err != nil {
		t.Errorf("a token that was not made by a login has one: %v, %v", l, err)
	}
}

func TestLoginType(t *testing.T) { onEach(t, testLoginType) }

func testLoginType(t *testing.T, f *fixture) {
	for _, tt := range []struct{ mount, role, want string }{
		{"", "", auth.Service},
		{"", "batch", auth.Batch},
		{"default-service", "default", auth.Service},
		{"default-service", "batch", auth.Batch},
		{"default-batch", "", auth.Batch},
		{"default-batch", "default", auth.Batch},
		{"default-batch", "service", auth.Service},
		{"service", "batch", auth.Service},
		{"batch", "service", auth.Batch},
	} {
		mount := engine.Mount{Path: "auth/x/", TokenType: tt.mount, DefaultTTL: time.Hour, MaxTTL: time.Hour}
		token, text, _, err := f.CreateLogin(t.Context(), mount, "auth/x/login", &engine.Login{TokenType: tt.role, Renewable: true, Period: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if token.Type != tt.want || token.DisplayName != "x" || token.Granted != time.Minute || token.Renewable != (tt.want == auth.Service) {
			t.Errorf("mount %q, role %q: got %s named %q for %s, renewable %t", tt.mount, tt.role, token.Type, token.DisplayName, token.Granted, token.Renewable)
		}
		f.mustWork(t, text, tt.want)
	}
}

func TestLoginRefusals(t *testing.T) { onEach(t, testLoginRefusals) }

func testLoginRefusals(t *testing.T, f *fixture) {
	mount := engine.Mount{Path: "auth/x/", DefaultTTL: time.Hour, MaxTTL: time.Hour}
	for text, login := range map[string]*engine.Login{
		"auth methods cannot create root tokens":                  {Policies: []string{"app", "root"}},
		`batch tokens cannot have "num_uses" set`:                 {TokenType: auth.Batch, NumUses: 2},
		`"10.0.0.0/40" is neither an IP address nor a CIDR block`: {BoundCIDRs: []string{"10.0.0.0/40"}},
	} {
		_, _, _, err := f.CreateLogin(t.Context(), mount, "auth/x/login", login)
		wantRefused(t, err, errs.Invalid, text)
	}
	if _, _, _, err := f.CreateLogin(t.Context(), engine.Mount{Path: "auth/x/"}, "auth/x/login", &engine.Login{}); err == nil {
		t.Error("a mount without a maximum made a token without an end")
	}
	if n := f.rows(t); n != 0 {
		t.Errorf("%d tokens were made", n)
	}
}
