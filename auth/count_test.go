package auth_test

import (
	"testing"

	"leasehold/auth"
)

func TestCount(t *testing.T) { onEach(t, testCount) }

func testCount(t *testing.T, f *fixture) {
	parent, _ := f.mustCreate(t, hour(auth.Spec{}))
	for range 3 {
		f.mustCreate(t, hour(auth.Spec{Parent: parent.Seq}))
	}
	f.mustCreate(t, hour(auth.Spec{}))
	f.mustCreate(t, hour(auth.Spec{Type: auth.Batch})) // is not stored
	count := func(want int64, when string) {
		t.Helper()
		if n, err := f.Count(t.Context()); err != nil || n != want {
			t.Errorf("%s: %d tokens, %v, want %d", when, n, err, want)
		}
	}
	count(5, "at first")
	f.mustRevoke(t, parent.Seq)
	f.mustReap(t)
	count(1, "without the revoked one and its children")
}
