package seal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/keyring"
	"leasehold/store/seal"
	"leasehold/store/sqlite"
)

var notes = store.Migration{Package: "notes", Version: 1, SQL: []string{
	`create table notes (id TEXT not null primary key, body BYTES not null) STRICT`,
}, Sealed: []store.SealedColumn{{Table: "notes", Column: "body", KeyColumn: "id"}}}

// open opens the store in a file, locked, as a starting server does.
func open(t testing.TB, path string) (*store.Store, *seal.Barrier) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{
		Dialect:    sqlite.New(sqlite.Config{Path: path}),
		Clock:      clock.System{},
		Migrations: append(seal.Migrations(), notes),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // some tests close it themselves
	return st, seal.New(st, slog.New(slog.DiscardHandler))
}

func put(tx *store.Tx, id, body string) error {
	sealed, err := tx.Seal(store.Cell{Table: "notes", Column: "body", Key: id}, []byte(body))
	if err != nil {
		return err
	}
	_, err = tx.Exec(`insert into notes (id, body) values ($1, $2)`, id, sealed)
	return err
}

func read(ctx context.Context, st *store.Store, id string) (string, error) {
	var plain []byte
	err := st.View(ctx, func(tx *store.Tx) error {
		var sealed []byte
		if err := tx.QueryRow(`select body from notes where id = $1`, id).Scan(&sealed); err != nil {
			return err
		}
		var err error
		plain, err = tx.Open(store.Cell{Table: "notes", Column: "body", Key: id}, sealed)
		return err
	})
	return string(plain), err
}

func mustInit(t testing.TB, b *seal.Barrier, shares, threshold int) []secret.Bytes {
	t.Helper()
	got, err := b.Initialize(t.Context(), seal.Params{Shares: shares, Threshold: threshold}, func(tx *store.Tx) error {
		return put(tx, "first", "seeded")
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != shares {
		t.Fatalf("got %d shares, want %d", len(got), shares)
	}
	return got
}

func mustUnseal(t testing.TB, b *seal.Barrier, shares ...secret.Bytes) {
	t.Helper()
	for i, share := range shares {
		status, err := b.Unseal(t.Context(), share.Reveal())
		if err != nil {
			t.Fatalf("share %d: %v", i, err)
		}
		if last := i == len(shares)-1; status.Sealed == last {
			t.Fatalf("share %d: sealed is %v", i, status.Sealed)
		}
	}
}

func mustStatus(t testing.TB, b *seal.Barrier) seal.Status {
	t.Helper()
	status, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shares, threshold int
		want              string
	}{
		{1, 1, ""}, {5, 3, ""}, {255, 255, ""}, {2, 2, ""},
		{0, 0, "shares must be at least one"},
		{-1, 1, "shares must be at least one"},
		{256, 2, "shares must be less than 256"},
		{3, 0, "threshold must be at least one"},
		{5, 6, "threshold cannot be larger than shares"},
		{2, 1, "threshold must be greater than one for multiple shares"},
	} {
		got := ""
		if err := (seal.Params{Shares: c.shares, Threshold: c.threshold}).Validate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%d of %d: got %q, want %q", c.threshold, c.shares, got, c.want)
		}
	}
}

func TestFromNothingToOpenAndBack(t *testing.T) {
	t.Parallel()
	st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	if diff := cmp.Diff(seal.Status{Type: "shamir", Sealed: true}, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}
	if _, err := b.Unseal(t.Context(), make([]byte, 33)); !errors.Is(err, seal.ErrNotInitialized) {
		t.Fatalf("unseal before init: %v", err)
	}
	shares := mustInit(t, b, 5, 3)
	for _, share := range shares {
		if len(share.Reveal()) != 33 {
			t.Errorf("a share has %d bytes, want 33", len(share.Reveal()))
		}
	}
	if _, err := b.Initialize(t.Context(), seal.Params{Shares: 1, Threshold: 1}, nil); !errors.Is(err, seal.ErrInitialized) {
		t.Fatalf("second init: %v", err)
	}
	sealed := seal.Status{Type: "shamir", Initialized: true, Sealed: true, Threshold: 3, Shares: 5}
	if diff := cmp.Diff(sealed, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}
	if _, err := read(t.Context(), st, "first"); !errors.Is(err, store.ErrSealed) {
		t.Fatalf("read while sealed: %v", err)
	}

	// One share, twice: it counts once, and the nonce stays.
	one, err := b.Unseal(t.Context(), shares[0].Reveal())
	if err != nil || one.Progress != 1 || one.Nonce == "" {
		t.Fatalf("got %+v, %v", one, err)
	}
	again, err := b.Unseal(t.Context(), shares[0].Reveal())
	if diff := cmp.Diff(one, again); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	b.ResetUnseal()
	if diff := cmp.Diff(sealed, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}

	mustUnseal(t, b, shares[1], shares[3], shares[4])
	opened := seal.Status{Type: "shamir", Initialized: true, Threshold: 3, Shares: 5}
	if diff := cmp.Diff(opened, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}
	if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if got, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil || got != opened {
		t.Fatalf("a share when open: %+v, %v", got, err)
	}

	k := st.Keyring()
	b.Seal()
	b.Seal()
	if diff := cmp.Diff(sealed, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}
	if _, err := k.Index("x", nil); !errors.Is(err, keyring.ErrWiped) {
		t.Errorf("the keyring outlived the seal: %v", err)
	}
	mustUnseal(t, b, shares[2], shares[1], shares[0])
}

func TestEveryThresholdSubsetUnsealsAndNoSmallerOne(t *testing.T) {
	t.Parallel()
	_, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	shares := mustInit(t, b, 4, 3)
	for i := range shares {
		for j := range shares {
			for k := range shares {
				if i == j || j == k || i == k {
					continue
				}
				mustUnseal(t, b, shares[i], shares[j], shares[k])
				b.Seal()
			}
		}
	}
}

func TestWrongSharesAreRefusedAndProgressStartsOver(t *testing.T) {
	t.Parallel()
	_, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	shares := mustInit(t, b, 3, 2)
	_, other := open(t, filepath.Join(t.TempDir(), "store.db"))
	foreign := mustInit(t, other, 3, 2)

	edited := func(i int, edit func([]byte) []byte) []byte { return edit(slices.Clone(shares[i].Reveal())) }
	for name, bad := range map[string][]byte{
		"zeros":               make([]byte, 33),
		"ones":                bytes.Repeat([]byte{0xff}, 33),
		"point zero":          edited(1, func(b []byte) []byte { b[32] = 0; return b }),
		"point of the other":  edited(1, func(b []byte) []byte { b[32] = 1; return b }),
		"point of nobody":     edited(1, func(b []byte) []byte { b[32] = 77; return b }),
		"one bit":             edited(1, func(b []byte) []byte { b[3] ^= 1; return b }),
		"not a scalar":        edited(1, func(b []byte) []byte { b[31] |= 0xe0; return b }),
		"of another store":    foreign[1].Reveal(),
		"shares swapped ends": edited(1, func(b []byte) []byte { slices.Reverse(b[:32]); return b }),
	} {
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Unseal(t.Context(), bad); !errors.Is(err, seal.ErrInvalidKey) {
			t.Errorf("%s: got %v, want ErrInvalidKey", name, err)
		}
		if status := mustStatus(t, b); status.Progress != 0 || status.Nonce != "" || !status.Sealed {
			t.Errorf("%s: afterwards %+v", name, status)
		}
	}
	// A share of an impossible size is refused on the spot; what others gave stays.
	if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 16, 32, 34, 1000} {
		if _, err := b.Unseal(t.Context(), make([]byte, size)); !errors.Is(err, seal.ErrInvalidKey) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	if status := mustStatus(t, b); status.Progress != 1 {
		t.Errorf("after shares of impossible sizes: %+v", status)
	}
	mustUnseal(t, b, shares[1])
}

func TestOneShareIsTheKey(t *testing.T) {
	t.Parallel()
	_, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	shares := mustInit(t, b, 1, 1)
	if n := len(shares[0].Reveal()); n != 32 {
		t.Fatalf("the share has %d bytes, want 32", n)
	}
	wrong := slices.Clone(shares[0].Reveal())
	wrong[0] ^= 1
	if _, err := b.Unseal(t.Context(), wrong); !errors.Is(err, seal.ErrInvalidKey) {
		t.Fatalf("wrong key: %v", err)
	}
	mustUnseal(t, b, shares[0])
}

func TestProgressDoesNotSurviveARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	st, b := open(t, path)
	shares := mustInit(t, b, 3, 2)
	if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, b = open(t, path)
	if status := mustStatus(t, b); status.Progress != 0 || status.Nonce != "" {
		t.Fatalf("got %+v", status)
	}
	mustUnseal(t, b, shares[2], shares[0])
	if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestInitializeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	broken := errors.New("seed is broken")
	_, err := b.Initialize(t.Context(), seal.Params{Shares: 3, Threshold: 2}, func(tx *store.Tx) error {
		if err := put(tx, "first", "half"); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if mustStatus(t, b).Initialized || st.Unlocked() {
		t.Fatal("a failed init left something")
	}
	shares := mustInit(t, b, 3, 2)
	mustUnseal(t, b, shares[0], shares[2])
}

func TestRotate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	st, b := open(t, path)
	if err := b.Rotate(t.Context()); !errors.Is(err, store.ErrSealed) {
		t.Fatalf("rotate while sealed: %v", err)
	}
	if _, _, _, err := b.KeyStatus(t.Context()); !errors.Is(err, store.ErrSealed) {
		t.Fatalf("key status while sealed: %v", err)
	}
	shares := mustInit(t, b, 1, 1)
	mustUnseal(t, b, shares...)
	stale := st.Keyring()
	for want := 2; want <= 4; want++ {
		if err := b.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		term, installed, _, err := b.KeyStatus(t.Context())
		if term != want || installed.IsZero() || err != nil {
			t.Fatalf("got term %d, installed %v, %v", term, installed, err)
		}
	}
	if err := st.Update(t.Context(), func(tx *store.Tx) error { return put(tx, "new", "later") }); err != nil {
		t.Fatal(err)
	}
	if st.Keyring() != stale {
		t.Error("rotation replaced the keyring under running transactions")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, b = open(t, path)
	mustUnseal(t, b, shares...)
	for id, want := range map[string]string{"first": "seeded", "new": "later"} {
		if got, err := read(t.Context(), st, id); got != want || err != nil {
			t.Errorf("%s: got %q, %v", id, got, err)
		}
	}
}

// Another node's rotation is played by a second barrier on the same store: the first one's keyring does not learn of it.
func TestUnknownKeyReloadsTheKeyring(t *testing.T) {
	t.Parallel()
	st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	shares := mustInit(t, b, 1, 1)
	mustUnseal(t, b, shares...)
	before, err := st.Keyring().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Update(t.Context(), func(tx *store.Tx) error { return put(tx, "new", "later") }); err != nil {
		t.Fatal(err)
	}
	old, err := keyring.Decode(before)
	if err != nil {
		t.Fatal(err)
	}
	st.Unlock(old)
	if got, err := read(t.Context(), st, "new"); got != "later" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if id, _ := old.Newest(); id != 2 {
		t.Errorf("the keyring is at key %d, want 2", id)
	}
}

func TestCollector(t *testing.T) {
	t.Parallel()
	_, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	shares := mustInit(t, b, 3, 2)
	mustUnseal(t, b, shares[0], shares[1])
	c := b.NewCollector()
	if c.Required() != 2 || c.Progress() != 0 || c.Nonce() == b.NewCollector().Nonce() {
		t.Fatalf("required %d, progress %d, nonce %q", c.Required(), c.Progress(), c.Nonce())
	}
	type result struct {
		Progress int
		Complete bool
		Invalid  bool
	}
	add := func(share []byte) result {
		progress, complete, err := c.Add(t.Context(), share)
		if err != nil && !errors.Is(err, seal.ErrInvalidKey) {
			t.Fatal(err)
		}
		return result{progress, complete, err != nil}
	}
	for i, step := range []struct {
		share []byte
		want  result
	}{
		{shares[2].Reveal(), result{1, false, false}},
		{shares[2].Reveal(), result{1, false, false}},
		{make([]byte, 20), result{1, false, true}},
		{make([]byte, 33), result{0, false, true}},
		{shares[0].Reveal(), result{1, false, false}},
		{shares[2].Reveal(), result{2, true, false}},
		{shares[0].Reveal(), result{1, false, false}},
	} {
		if diff := cmp.Diff(step.want, add(step.share)); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	c.Reset()
	if c.Progress() != 0 {
		t.Error("shares are there after Reset")
	}
}

func TestRekeyWithVerification(t *testing.T) {
	t.Parallel()
	st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	old := mustInit(t, b, 3, 2)
	if _, _, err := b.StageRekey(t.Context(), seal.Params{Shares: 1, Threshold: 1}); !errors.Is(err, store.ErrSealed) {
		t.Fatalf("rekey while sealed: %v", err)
	}
	mustUnseal(t, b, old[0], old[1])
	fresh, staged, err := b.StageRekey(t.Context(), seal.Params{Shares: 4, Threshold: 3})
	if err != nil {
		t.Fatal(err)
	}
	c := staged.NewCollector()
	if c.Required() != 3 {
		t.Errorf("verification needs %d shares, want 3", c.Required())
	}
	for i, share := range fresh[1:] {
		_, complete, err := c.Add(t.Context(), share.Reveal())
		if err != nil || complete != (i == 2) {
			t.Fatalf("new share %d: complete %v, %v", i, complete, err)
		}
	}
	// Nothing has changed so far.
	b.Seal()
	mustUnseal(t, b, old[1], old[2])
	if err := b.CommitRekey(t.Context(), staged); err != nil {
		t.Fatal(err)
	}
	b.Seal()
	want := seal.Status{Type: "shamir", Initialized: true, Sealed: true, Threshold: 3, Shares: 4}
	if diff := cmp.Diff(want, mustStatus(t, b)); diff != "" {
		t.Fatal(diff)
	}
	for _, share := range old {
		_, err = b.Unseal(t.Context(), share.Reveal())
	}
	if !errors.Is(err, seal.ErrInvalidKey) {
		t.Fatalf("the old shares: %v", err)
	}
	mustUnseal(t, b, fresh[0], fresh[3], fresh[2])
	if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestRekeyToOneShare(t *testing.T) {
	t.Parallel()
	_, b := open(t, filepath.Join(t.TempDir(), "store.db"))
	mustUnseal(t, b, mustInit(t, b, 2, 2)...)
	shares, err := b.Rekey(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.Seal()
	mustUnseal(t, b, shares...)
}

func TestEditedKeysDoNotOpen(t *testing.T) {
	t.Parallel()
	for _, edit := range []string{
		`update seal set root = (select keys from keyring)`,
		`update keyring set keys = (select root from seal)`,
		`update keyring set keys = x'01'`,
		`update seal set root = x''`,
		`delete from keyring`,
	} {
		st, b := open(t, filepath.Join(t.TempDir(), "store.db"))
		shares := mustInit(t, b, 1, 1)
		if err := st.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(edit); return err }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err == nil || st.Unlocked() {
			t.Errorf("%s: unsealed, %v", edit, err)
		}
	}
}
