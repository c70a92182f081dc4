package seal_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/clock"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/internal/testdb"
	"leasehold/store"
	"leasehold/store/postgres"
	"leasehold/store/seal"
	"leasehold/store/seal/static"
	"leasehold/store/sqlite"
)

// wrapper is a static seal under a type of the test's choice, with faults on demand.
type wrapper struct {
	*static.Seal
	kind  string
	down  error  // what every call answers
	blind bool   // it wraps, and cannot unwrap
	wrap  func() // called before a key is wrapped
	calm  bool   // never says that a key is stale
}

func (w *wrapper) Type() string { return w.kind }

func (w *wrapper) Wrap(ctx context.Context, key []byte) ([]byte, error) {
	if w.wrap != nil {
		w.wrap()
	}
	if w.down != nil {
		return nil, w.down
	}
	return w.Seal.Wrap(ctx, key)
}

func (w *wrapper) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	if w.down != nil {
		return nil, w.down
	}
	if w.blind {
		return nil, errors.New("decryption is not allowed")
	}
	return w.Seal.Unwrap(ctx, wrapped)
}

func (w *wrapper) Stale(ctx context.Context, wrapped []byte) (bool, error) {
	if w.calm {
		return false, nil
	}
	return w.Seal.Stale(ctx, wrapped)
}

// key is a configured key, made of its id.
func key(id string) secret.Text { return secret.NewText(strings.Repeat(id, 32)[:32]) }

// mustWrapper wraps with the key of the first id and unwraps with that of the second, too.
func mustWrapper(t testing.TB, kind, current, previous string) *wrapper {
	t.Helper()
	cfg := static.Config{CurrentKeyID: current, CurrentKey: key(current)}
	if previous != "" {
		cfg.PreviousKeyID, cfg.PreviousKey = previous, key(previous)
	}
	s, err := static.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &wrapper{Seal: s, kind: kind}
}

// place is where a store is: several nodes may open it.
type place struct {
	dialect func() store.Dialect
	shared  bool
}

func (p place) open(t testing.TB, seals seal.Seals) (*store.Store, *seal.Barrier) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{
		Dialect: p.dialect(), Clock: clock.System{}, Migrations: append(seal.Migrations(), notes),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // some tests close it themselves
	b := seal.New(st, slog.New(slog.DiscardHandler))
	b.Use(seals)
	return st, b
}

func onSQLite(t testing.TB) place {
	path := filepath.Join(t.TempDir(), "store.db")
	return place{dialect: func() store.Dialect { return sqlite.New(sqlite.Config{Path: path}) }}
}

func TestMain(m *testing.M) { os.Exit(testdb.Main(m.Run)) }

func onPostgreSQL(t testing.TB) place {
	t.Helper()
	scratch := testdb.Shared(t).Scratch(t)
	return place{shared: true, dialect: func() store.Dialect {
		return postgres.New(postgres.Config{URL: secret.NewText(scratch.URL()), MaxConns: 4})
	}}
}

// onBoth runs a test on a store of each kind of database.
func onBoth(t *testing.T, test func(t *testing.T, p place)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, onSQLite(t))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		test(t, onPostgreSQL(t))
	})
}

func mustOpenAlone(t testing.TB, st *store.Store, b *seal.Barrier) {
	t.Helper()
	if err := b.OpenAlone(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestAStoreThatOpensByItself(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		seals := seal.Seals{Current: mustWrapper(t, "static", "one", "")}
		st, b := p.open(t, seals)
		if diff := cmp.Diff(seal.Status{Type: "static", Sealed: true, Recovery: true}, mustStatus(t, b)); diff != "" {
			t.Fatal(diff)
		}
		if err := b.OpenAlone(t.Context()); !errors.Is(err, seal.ErrNotInitialized) {
			t.Fatalf("before init: %v", err)
		}
		shares := mustInit(t, b, 3, 2)
		mustOpenAlone(t, st, b)
		opened := seal.Status{Type: "static", Initialized: true, Threshold: 2, Shares: 3, Recovery: true}
		if diff := cmp.Diff(opened, mustStatus(t, b)); diff != "" {
			t.Fatal(diff)
		}
		if b.OpenedAt().IsZero() {
			t.Error("it is not known when the store was opened")
		}

		// Sealed by a fault it opens again; sealed by hand it does not, but for the recovery shares.
		b.Seal()
		mustOpenAlone(t, st, b)
		b.Hold()
		if err := b.OpenAlone(t.Context()); err != nil || st.Unlocked() {
			t.Fatalf("opened though it was sealed by hand: %v, %v", st.Unlocked(), err)
		}
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Unseal(t.Context(), make([]byte, 33)); !errors.Is(err, seal.ErrInvalidKey) {
			t.Fatalf("a wrong recovery share: %v", err)
		}
		// Shares of another recovery key, which fit together.
		_, other := onSQLite(t).open(t, seals)
		var err error
		for _, share := range mustInit(t, other, 3, 2)[:2] {
			_, err = b.Unseal(t.Context(), share.Reveal())
		}
		if !errors.Is(err, seal.ErrInvalidKey) || st.Unlocked() {
			t.Fatalf("foreign recovery shares: unlocked: %v, %v", st.Unlocked(), err)
		}
		mustUnseal(t, b, shares[2], shares[1])
		b.Seal()
		mustOpenAlone(t, st, b)

		// Another process.
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st, b = p.open(t, seals)
		mustOpenAlone(t, st, b)
		b.Seal()
		b.Use(seal.Seals{Current: mustWrapper(t, "static", "two", "")})
		if err := b.OpenAlone(t.Context()); errs.CodeOf(err) != errs.Unavailable || st.Unlocked() {
			t.Errorf("another key: %v", err)
		}
	})
}

// Recovery shares consent; they do not open anything.
func TestRecoverySharesOpenNothingAlone(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	w := mustWrapper(t, "static", "one", "")
	st, b := p.open(t, seal.Seals{Current: w})
	shares := mustInit(t, b, 1, 1)
	w.down = errors.New("gone")
	_, err := b.Unseal(t.Context(), shares[0].Reveal())
	if errs.CodeOf(err) != errs.Unavailable || st.Unlocked() {
		t.Fatalf("unlocked: %v, %v", st.Unlocked(), err)
	}
	if text := errs.From(err).Shown(); strings.Contains(text, "gone") {
		t.Errorf("a client is shown %q", text)
	}
	if err := st.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(`update seal set kind = 'shamir'`); return err }); err != nil {
		t.Fatal(err)
	}
	b.Use(seal.Seals{})
	if _, err := b.Unseal(t.Context(), shares[0].Reveal()); !errors.Is(err, seal.ErrInvalidKey) || st.Unlocked() {
		t.Errorf("with the row's kind edited: unlocked: %v, %v", st.Unlocked(), err)
	}
}

func TestRecoveryRekey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		st, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "one", "")})
		old := mustInit(t, b, 3, 2)
		mustOpenAlone(t, st, b)
		fresh, staged, err := b.StageRekey(t.Context(), seal.Params{Shares: 2, Threshold: 2})
		if err != nil {
			t.Fatal(err)
		}
		give := func(c *seal.Collector, shares ...secret.Bytes) (complete bool, err error) {
			for _, share := range shares {
				if _, complete, err = c.Add(t.Context(), share.Reveal()); err != nil {
					return false, err
				}
			}
			return complete, nil
		}
		if complete, err := give(b.NewCollector(), old[1], old[2]); !complete || err != nil {
			t.Fatalf("the old shares before the commit: %v, %v", complete, err)
		}
		if complete, err := give(staged.NewCollector(), fresh...); !complete || err != nil {
			t.Fatalf("the new shares at their verification: %v, %v", complete, err)
		}
		if err := b.CommitRekey(t.Context(), staged); err != nil {
			t.Fatal(err)
		}
		if complete, err := give(b.NewCollector(), fresh...); !complete || err != nil {
			t.Fatalf("the new shares: %v, %v", complete, err)
		}
		if _, err := give(b.NewCollector(), old[0], old[1]); !errors.Is(err, seal.ErrInvalidKey) {
			t.Fatalf("the old shares: %v", err)
		}
		b.Seal()
		mustOpenAlone(t, st, b)
	})
}

// Of two changes that were prepared for the same seal the first one holds.
func TestAChangeMeetsAnother(t *testing.T) {
	t.Parallel()
	st, b := onSQLite(t).open(t, seal.Seals{})
	old := mustInit(t, b, 1, 1)
	mustUnseal(t, b, old...)
	first, one, err := b.StageRekey(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, two, err := b.StageRekey(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CommitRekey(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := b.CommitRekey(t.Context(), two); !errors.Is(err, seal.ErrChanged) {
		t.Errorf("the second: %v", err)
	}
	// A rekey that was begun before the seal was changed, and would lock everybody out.
	_, late, err := b.StageRekey(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.Seal()
	b.Use(seal.Seals{Current: mustWrapper(t, "static", "one", "")})
	if _, err := b.Migrate(t.Context(), first[0].Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := b.CommitRekey(t.Context(), late); !errors.Is(err, seal.ErrChanged) {
		t.Errorf("after the change of the seal: %v", err)
	}
	b.Seal()
	mustOpenAlone(t, st, b)
}

func TestTheStaticKeyIsRotated(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		opens := func(w *wrapper, renew bool) error {
			st, b := p.open(t, seal.Seals{Current: w})
			defer func() { _ = st.Close() }()
			if err := b.OpenAlone(t.Context()); err != nil {
				return err
			}
			if renew {
				return b.Renew(t.Context())
			}
			return nil
		}
		st, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "one", "")})
		shares := mustInit(t, b, 2, 2)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if err := opens(mustWrapper(t, "static", "two", "one"), false); err != nil {
			t.Fatalf("by the previous key: %v", err)
		}
		// Nothing was wrapped anew so far: a death before that leaves everything as it was.
		if err := opens(mustWrapper(t, "static", "one", ""), true); err != nil {
			t.Fatalf("by the old configuration: %v", err)
		}
		if err := opens(mustWrapper(t, "static", "two", "one"), true); err != nil {
			t.Fatalf("rotate: %v", err)
		}
		if err := opens(mustWrapper(t, "static", "two", ""), true); err != nil {
			t.Fatalf("by the new key alone: %v", err)
		}
		if err := opens(mustWrapper(t, "static", "one", ""), false); err == nil {
			t.Fatal("the old key alone still opens the store")
		}
		_, b = p.open(t, seal.Seals{Current: mustWrapper(t, "static", "two", "")})
		b.Hold()
		mustUnseal(t, b, shares...)
	})
}

// A node that cannot wrap anew is open all the same.
func TestWrappingAnewMayFail(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	st, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "one", "")})
	mustInit(t, b, 1, 1)
	w := mustWrapper(t, "static", "two", "one")
	b.Use(seal.Seals{Current: w})
	mustOpenAlone(t, st, b)
	w.down = errors.New("gone")
	if err := b.Renew(t.Context()); err == nil || !st.Unlocked() {
		t.Fatalf("unlocked: %v, %v", st.Unlocked(), err)
	}
	w.down = nil
	if err := b.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Seal()
	b.Use(seal.Seals{Current: mustWrapper(t, "static", "two", "")})
	mustOpenAlone(t, st, b)
}

// Nodes that start together with a rotated key, and one that starts a recovery rekey meanwhile.
func TestNodesWrapAnewTogether(t *testing.T) {
	t.Parallel()
	p := onPostgreSQL(t)
	_, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "one", "")})
	mustInit(t, b, 1, 1)
	var group sync.WaitGroup
	for range 4 {
		st, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "two", "one")})
		group.Go(func() {
			if err := b.OpenAlone(t.Context()); err != nil || !st.Unlocked() {
				t.Errorf("unlocked: %v, %v", st.Unlocked(), err)
			}
			if err := b.Renew(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	st, b := p.open(t, seal.Seals{Current: mustWrapper(t, "static", "two", "")})
	mustOpenAlone(t, st, b)
}

// Whatever is edited in the row, the store does not open to anybody, and no other shares count.
func TestEditedSealsDoNotOpen(t *testing.T) {
	t.Parallel()
	w := mustWrapper(t, "static", "one", "")
	stranger, other := onSQLite(t).open(t, seal.Seals{Current: w})
	foreign := mustInit(t, other, 1, 1)
	var root, wrapping, recovery []byte
	err := stranger.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`select root, wrapping, recovery from seal`).Scan(&root, &wrapping, &recovery)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range []struct {
		sql  string
		args []any
	}{
		{`update seal set wrapping = $1`, []any{wrapping}},
		{`update seal set root = $1`, []any{root}},
		{`update seal set root = $1, wrapping = $2`, []any{root, wrapping}},
		{`update seal set root = $1, wrapping = $2, recovery = $3`, []any{root, wrapping, recovery}},
		{`update seal set wrapping = x''`, nil},
		{`update seal set wrapping = null`, nil},
		{`update seal set wrapping = x'ff01'`, nil},
		{`update seal set kind = 'transit'`, nil},
	} {
		st, b := onSQLite(t).open(t, seal.Seals{Current: w})
		mustInit(t, b, 1, 1)
		if err := st.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(edit.sql, edit.args...); return err }); err != nil {
			t.Fatal(err)
		}
		if err := b.OpenAlone(t.Context()); err == nil || st.Unlocked() {
			t.Errorf("%s: opened, %v", edit.sql, err)
		}
	}
	// The proof of another recovery key is put in place of the right one.
	for _, edit := range []string{`update seal set recovery = $1`, `update seal set recovery = root where $1 is not null`, `update seal set recovery = substr($1, 1, 5)`} {
		st, b := onSQLite(t).open(t, seal.Seals{Current: w})
		mustInit(t, b, 1, 1)
		if err := st.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(edit, recovery); return err }); err != nil {
			t.Fatal(err)
		}
		mustOpenAlone(t, st, b)
		if _, complete, err := b.NewCollector().Add(t.Context(), foreign[0].Reveal()); complete || err == nil {
			t.Errorf("%s: foreign recovery shares count: %v", edit, err)
		}
	}
}

// The errors of a Wrapper reach the log; no key does.
func TestNoKeyIsLogged(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	p := onSQLite(t)
	st, err := store.Open(t.Context(), store.Config{Dialect: p.dialect(), Clock: clock.System{}, Migrations: append(seal.Migrations(), notes)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	b := seal.New(st, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})))
	b.Use(seal.Seals{Current: mustWrapper(t, "static", "one", "")})
	shares := mustInit(t, b, 1, 1)
	mustOpenAlone(t, st, b)
	b.Hold()
	mustUnseal(t, b, shares...)
	b.Seal()
	b.Use(seal.Seals{Current: mustWrapper(t, "static", "two", "")})
	fmt.Fprint(&said, b.OpenAlone(t.Context()))
	b.Use(seal.Seals{Former: []seal.Wrapper{mustWrapper(t, "static", "one", "")}})
	if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{key("one").Reveal(), key("two").Reveal(), string(shares[0].Reveal()), fmt.Sprintf("%x", shares[0].Reveal())} {
		if strings.Contains(said.String(), hidden) {
			t.Errorf("a key was logged:\n%s", said.String())
		}
	}
	if !strings.Contains(said.String(), "from=static to=shamir") {
		t.Errorf("the change of the seal was not logged:\n%s", said.String())
	}
}
