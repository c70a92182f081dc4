package auth_test

import (
	"slices"
	"testing"

	"leasehold/auth"
)

func TestSanitizePolicies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		names      []string
		addDefault bool
		want       []string
	}{
		{nil, false, nil},
		{nil, true, []string{"default"}},
		{[]string{"Beta", "alpha", " alpha ", "default", ""}, true, []string{"alpha", "beta", "default"}},
		{[]string{"b", "a", "b"}, false, []string{"a", "b"}},
		{[]string{"a", " ROOT "}, true, []string{"root"}},
		{[]string{"a,b"}, false, []string{"a,b"}},
	}
	for _, tt := range tests {
		if got := auth.SanitizePolicies(tt.names, tt.addDefault); !slices.Equal(got, tt.want) {
			t.Errorf("%q, add default %t: got %q, want %q", tt.names, tt.addDefault, got, tt.want)
		}
	}
}
