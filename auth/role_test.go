package auth_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/auth"
)

func TestRoles(t *testing.T) { onEach(t, testRoles) }

func testRoles(t *testing.T, f *fixture) {
	ctx := t.Context()
	if _, found, err := f.Role(ctx, "none"); found || err != nil {
		t.Errorf("a role that is not there: %t, %v", found, err)
	}
	full := auth.Role{
		Name: "full", AllowedPolicies: []string{"a"}, AllowedPoliciesGlob: []string{"b*"}, DisallowedPolicies: []string{"c"},
		DisallowedPoliciesGlob: []string{"d*"}, AllowedEntityAliases: []string{"e"}, Orphan: true, NoDefault: true, PathSuffix: "v-1",
		TokenType: auth.Batch, Period: time.Hour, ExplicitMaxTTL: 2 * time.Hour, BoundCIDRs: []string{"127.0.0.1"}, NumUses: 3,
		OldPeriod: true, OldExplicitMaxTTL: true, OldBoundCIDRs: true,
	}
	var fresh auth.Role
	err := f.UpdateRole(ctx, "full", func(r *auth.Role) error {
		fresh, *r = *r, full
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(auth.Role{Name: "full", Renewable: true, TokenType: "default-service"}, fresh); diff != "" {
		t.Errorf("a new role (-want +got):\n%s", diff)
	}
	got, found, err := f.Role(ctx, "full")
	if diff := cmp.Diff(full, got); diff != "" || !found || err != nil {
		t.Errorf("read back: %t, %v (-want +got):\n%s", found, err, diff)
	}

	refusal := errors.New("refused")
	err = f.UpdateRole(ctx, "full", func(r *auth.Role) error {
		r.NumUses = 99
		return refusal
	})
	if got, _, _ := f.Role(ctx, "full"); !errors.Is(err, refusal) || got.NumUses != 3 {
		t.Errorf("a refused change: got %v, num_uses %d", err, got.NumUses)
	}
	for _, name := range []string{"b", "a-2", "B"} {
		if err := f.UpdateRole(ctx, name, func(*auth.Role) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := f.Roles(ctx); err != nil || !slices.Equal(names, []string{"B", "a-2", "b", "full"}) {
		t.Errorf("list: %q, %v", names, err)
	}
	for range 2 {
		if err := f.DeleteRole(ctx, "full"); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, _ := f.Role(ctx, "full"); found {
		t.Error("a deleted role is still there")
	}
}
