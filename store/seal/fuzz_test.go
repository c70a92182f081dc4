package seal_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"leasehold/store/seal"
)

// FuzzShares: whatever two shares somebody sends, only true ones open the store, and nothing panics.
func FuzzShares(f *testing.F) {
	st, b := open(f, filepath.Join(f.TempDir(), "store.db"))
	shares := mustInit(f, b, 3, 2)
	zero, ones := make([]byte, 33), bytes.Repeat([]byte{0xff}, 33)
	f.Add(shares[0].Reveal(), shares[1].Reveal())
	f.Add(shares[0].Reveal(), shares[0].Reveal())
	f.Add(zero, ones)
	f.Add(shares[2].Reveal(), zero)
	f.Add([]byte{}, shares[1].Reveal()[:32])
	f.Fuzz(func(t *testing.T, one, two []byte) {
		genuine := 0
		for _, share := range shares {
			if bytes.Equal(one, share.Reveal()) || bytes.Equal(two, share.Reveal()) {
				genuine++
			}
		}
		for _, share := range [][]byte{one, two} {
			if _, err := b.Unseal(t.Context(), share); err != nil && !errors.Is(err, seal.ErrInvalidKey) {
				t.Error(err)
			}
		}
		if st.Unlocked() != (genuine == 2) {
			t.Errorf("unlocked: %v, with %d genuine shares", st.Unlocked(), genuine)
		}
		b.Seal()
	})
}
