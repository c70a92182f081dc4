package seal_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// Whatever is to be done before a store is open is done while nobody can use it, each time, and its failure keeps it shut.
func TestBeforeOpen(t *testing.T) {
	t.Parallel()
	st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	var failure error
	calls := 0
	b.BeforeOpen(func(context.Context) error {
		calls++
		if st.Unlocked() {
			t.Error("the store is open already")
		}
		return failure
	})
	shares := mustInit(t, b, 1, 1)
	if calls != 0 {
		t.Error("called by an initialisation, which opens nothing")
	}
	failure = errors.New("not yet")
	if _, err := b.Unseal(t.Context(), shares[0].Reveal()); !errors.Is(err, failure) || st.Unlocked() {
		t.Errorf("got %v; open: %v", err, st.Unlocked())
	}
	failure = nil
	mustUnseal(t, b, shares...)
	mustUnseal(t, b, shares...) // it is open: nothing is to be done
	b.Seal()
	mustUnseal(t, b, shares...)
	if calls != 3 {
		t.Errorf("called %d times, want 3", calls)
	}
}
