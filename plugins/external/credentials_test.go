package external_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/secret"
	"leasehold/plugins"
)

// request is what the plugin was sent last, without the names and times that all requests have.
func (o *target) request() map[string]any {
	o.Helper()
	text, err := os.ReadFile(filepath.Join(o.dir, "request"))
	if err != nil {
		o.Fatal(err)
	}
	sent := map[string]any{}
	if err := json.Unmarshal(text, &sent); err != nil {
		o.Fatal(err)
	}
	for _, name := range []string{"username_config", "expiration", "statements"} {
		delete(sent, name)
	}
	return sent
}

// withKey is a user with a key.
func withKey(name string, key plugins.Key) plugins.User {
	u := user(name)
	u.Password, u.Key = secret.Text{}, &key
	return u
}

func TestKeys(t *testing.T) {
	t.Parallel()
	o := open(t, "takes keys, names by the subject", nil)
	chooser := o.Database.(plugins.Chooser)
	for kind, want := range map[string]bool{plugins.TypePassword: true, plugins.TypeRSA: true, plugins.TypeCertificate: true, "another": false} {
		if takes, err := chooser.Takes(t.Context(), kind); err != nil || takes != want {
			t.Errorf("takes %s: %v, %v", kind, takes, err)
		}
	}
	for _, test := range []struct {
		user plugins.User
		name string
		want map[string]any // Base64, as JSON has bytes
	}{
		{user("V_ONE"), "V_ONE", map[string]any{"password": "canary-of-the-user"}},
		{withKey("V_TWO", plugins.Key{Type: plugins.TypeRSA, PublicKey: []byte("public")}), "V_TWO",
			map[string]any{"credential_type": 1.0, "public_key": "cHVibGlj"}},
		{withKey("V_THREE", plugins.Key{Type: plugins.TypeCertificate, Subject: "CN=V_THREE"}), "CN=V_THREE",
			map[string]any{"credential_type": 2.0, "subject": "CN=V_THREE"}},
	} {
		if got, err := o.namer.CreateNamed(t.Context(), test.user); err != nil || got != test.name || !o.has(test.name) {
			t.Errorf("got %q, %v", got, err)
		}
		if diff := cmp.Diff(test.want, o.request()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	for kind, want := range map[string]bool{plugins.TypePassword: true, plugins.TypeRSA: true, plugins.TypeCertificate: false, "another": false} {
		if got := o.namer.Obeys("V_TEN", kind); got != want {
			t.Errorf("Obeys of %s: %v", kind, got)
		}
	}
	if err := o.AlterUser(t.Context(), "V_TWO", plugins.Change{Key: &plugins.Key{Type: plugins.TypeRSA, PublicKey: []byte("next")}, Statements: []string{"SET"}}); err != nil {
		t.Error(err)
	}
	want := map[string]any{"username": "V_TWO", "credential_type": 1.0, "public_key": map[string]any{"new_public_key": "bmV4dA==",
		"statements": map[string]any{"Commands": []any{"SET"}}}}
	if diff := cmp.Diff(want, o.request()); diff != "" {
		t.Error(diff)
	}
	if err := o.DropUser(t.Context(), "CN=V_THREE", nil); err != nil || o.has("CN=V_THREE") {
		t.Error(err)
	}
}

// TestKeysNotTaken has a plugin that has not said that it takes keys: it never hears of a user with one.
func TestKeysNotTaken(t *testing.T) {
	t.Parallel()
	o := open(t, "good", nil)
	if takes, err := o.Database.(plugins.Chooser).Takes(t.Context(), plugins.TypeRSA); err != nil || takes {
		t.Errorf("takes keys: %v, %v", takes, err)
	}
	for _, key := range []plugins.Key{{Type: plugins.TypeRSA, PublicKey: []byte("public")}, {Type: plugins.TypeCertificate, Subject: "CN=V_ONE"}} {
		failed(t, o.CreateUser(t.Context(), withKey("V_ONE", key)), plugins.Permanent, `does not take credential_type "`+key.Type+`"`)
	}
	o.create("V_TWO")
	failed(t, o.AlterUser(t.Context(), "V_TWO", plugins.Change{Key: &plugins.Key{Type: plugins.TypeRSA}}), plugins.Permanent, "does not take")
	if o.has("V_ONE") {
		t.Error("the user was made")
	}
	stopped := open(t, "exits", nil)
	_, err := stopped.Database.(plugins.Chooser).Takes(t.Context(), plugins.TypeRSA)
	failed(t, err, plugins.Unreachable, "does not start")
}
