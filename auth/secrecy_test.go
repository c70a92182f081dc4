package auth_test

import (
	"strings"
	"testing"

	"leasehold/auth"
	"leasehold/engine"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store/storetest"
)

// What the database is told, which logs it all here, does not help who reads it.
func TestTheDatabaseSeesNoSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storetest.Databases["postgresql"])
	custom := "canary-custom-token"
	service, serviceText := f.mustCreate(t, hour(auth.Spec{DisplayName: "canary-display", Policies: []string{"canary-policy"}, Meta: map[string]string{"canary-key": "canary-value"}}))
	_, customText := f.mustCreate(t, hour(auth.Spec{ID: secret.NewText(custom)}))
	_, batchText := f.mustCreate(t, hour(auth.Spec{Type: auth.Batch, Parent: service.Seq}))
	mount := engine.Mount{Path: "auth/x/", DefaultTTL: month, MaxTTL: month}
	_, loginText, _, err := f.CreateLogin(t.Context(), mount, "auth/x/login", &engine.Login{Alias: "canary-alias", Internal: map[string]any{"refresh": "canary-refresh"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []secret.Text{serviceText, customText, batchText, loginText} {
		f.mustWork(t, text, "to be logged")
	}
	f.mustNotWork(t, secret.NewText("canary-guess"), "unknown")
	if _, _, err := f.LookupAccessor(t.Context(), service.Accessor); err != nil {
		t.Fatal(err)
	}
	if err := f.UpdateRole(t.Context(), "role", func(r *auth.Role) error {
		r.AllowedPolicies = []string{"canary-role"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	log := testdb.Shared(t).Log(t)
	if !strings.Contains(log, "auth/x/login") {
		t.Fatal("the log does not hold the statements' parameters: the test would find nothing")
	}
	for _, marker := range []string{"canary", service.Accessor, serviceText.Reveal(), batchText.Reveal(), loginText.Reveal()} {
		if strings.Contains(log, marker) {
			t.Error("the database was told a secret")
		}
	}
}
