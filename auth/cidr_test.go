package auth_test

import (
	"slices"
	"testing"

	"leasehold/auth"
)

// What is accepted is accepted again as it was written, unchanged.
func FuzzParseCIDRs(f *testing.F) {
	for _, text := range []string{"10.0.0.1", "10.0.0.0/8", "10.1.2.3/8", "::1/128", "fe80::1%eth0", "::ffff:10.0.0.1", "", "/", "1/2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, err := auth.ParseCIDRs([]string{text})
		if err != nil {
			return
		}
		if twice, err := auth.ParseCIDRs(once); err != nil || !slices.Equal(once, twice) {
			t.Errorf("%q is read as %q and that as %q, %v", text, once, twice, err)
		}
	})
}
