package seal_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"leasehold/internal/clock"
	"leasehold/internal/secret"
	"leasehold/store"
	"leasehold/store/seal"
)

// kinds are seals to move between; nil is Shamir's.
func kinds(t *testing.T) map[string]seal.Wrapper {
	return map[string]seal.Wrapper{
		"shamir": nil, "static": mustWrapper(t, "static", "one", ""), "transit": mustWrapper(t, "transit", "two", ""),
	}
}

// seals is the configuration with one in force and, where it is no people's, another to move away from.
func seals(current, former seal.Wrapper) seal.Seals {
	s := seal.Seals{Current: current}
	if former != nil {
		s.Former = []seal.Wrapper{former}
	}
	return s
}

// start opens the store as a process would: by itself, or with the shares.
func start(t *testing.T, p place, s seal.Seals, shares []secret.Bytes) error {
	t.Helper()
	st, b := p.open(t, s)
	defer func() { _ = st.Close() }()
	var err error
	if b.Alone() {
		err = b.OpenAlone(t.Context())
	} else {
		for _, share := range shares {
			if _, err = b.Unseal(t.Context(), share.Reveal()); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	return nil
}

func TestMovesInEveryDirection(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		all := kinds(t)
		current := "shamir"
		st, b := p.open(t, seals(all[current], nil))
		shares := mustInit(t, b, 3, 2)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		directions := []string{"static", "transit", "static", "shamir", "transit", "shamir"}
		if p.shared { // the statements are the same for all
			directions = []string{"static", "transit", "shamir"}
		}
		for _, next := range directions {
			before, after := seals(all[current], nil), seals(all[next], all[current])
			if err := start(t, p, before, shares[1:]); err != nil {
				t.Fatalf("%s: %v", current, err)
			}
			st, b := p.open(t, after)
			auto := next != "shamir"
			want := seal.Status{
				Type: next, Initialized: true, Sealed: true, Threshold: 2, Shares: 3, Recovery: auto, Migration: true,
			}
			if diff := cmp.Diff(want, mustStatus(t, b)); diff != "" {
				t.Fatalf("%s to %s: %s", current, next, diff)
			}
			if err := b.OpenAlone(t.Context()); !errors.Is(err, seal.ErrMoving) {
				t.Errorf("%s to %s: by itself: %v", current, next, err)
			}
			if _, err := b.Unseal(t.Context(), shares[0].Reveal()); !errors.Is(err, seal.ErrMoving) {
				t.Errorf("%s to %s: without migrate: %v", current, next, err)
			}
			for i, share := range shares[:2] {
				status, err := b.Migrate(t.Context(), share.Reveal())
				if err != nil || status.Sealed != (i == 0) || status.Migration != (i == 0) {
					t.Fatalf("%s to %s: share %d: %+v, %v", current, next, i, status, err)
				}
			}
			want.Sealed, want.Migration = false, false
			if diff := cmp.Diff(want, mustStatus(t, b)); diff != "" {
				t.Errorf("%s to %s: %s", current, next, diff)
			}
			if got, err := read(t.Context(), st, "first"); got != "seeded" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			// The shares count for whatever they are asked for now.
			c := b.NewCollector()
			for _, share := range shares[1:] {
				if _, _, err := c.Add(t.Context(), share.Reveal()); err != nil {
					t.Errorf("%s to %s: %v", current, next, err)
				}
			}
			// Once more is no harm.
			if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err != nil {
				t.Errorf("%s to %s: migrate when open: %v", current, next, err)
			}
			b.Seal()
			if _, err := b.Migrate(t.Context(), shares[0].Reveal()); !errors.Is(err, seal.ErrNotMoving) {
				t.Errorf("%s to %s: migrate again: %v", current, next, err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if err := start(t, p, after, shares[1:]); err != nil {
				t.Errorf("%s to %s: with the former seal still named: %v", current, next, err)
			}
			if err := start(t, p, before, shares[1:]); err == nil {
				t.Errorf("%s to %s: the former seal alone opens the store", current, next)
			}
			current = next
		}
	})
}

// A configuration that lacks the seal which the store has opens nothing, and says so.
func TestASealThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	all := kinds(t)
	st, b := p.open(t, seals(all["static"], nil))
	shares := mustInit(t, b, 1, 1)
	for _, s := range []seal.Seals{seals(nil, nil), seals(all["transit"], nil), seals(nil, all["transit"])} {
		b.Use(s)
		if _, err := b.Unseal(t.Context(), shares[0].Reveal()); err == nil || st.Unlocked() {
			t.Errorf("unlocked: %v, %v", st.Unlocked(), err)
		}
		if _, err := b.Migrate(t.Context(), shares[0].Reveal()); !errors.Is(err, seal.ErrNotMoving) {
			t.Errorf("migrate: %v", err)
		}
		want := seal.Status{Type: "static", Initialized: true, Sealed: true, Threshold: 1, Shares: 1, Recovery: true}
		if diff := cmp.Diff(want, mustStatus(t, b)); diff != "" {
			t.Error(diff)
		}
	}
}

// A former seal of the same type, such as another server's transit engine, opens the store once more, and hands over.
func TestTheSameTypeElsewhere(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	there, here := mustWrapper(t, "transit", "there", ""), mustWrapper(t, "transit", "here", "")
	here.calm = true // it cannot know: versions of two servers' keys do not compare
	st, b := p.open(t, seals(there, nil))
	mustInit(t, b, 1, 1)
	b.Use(seals(here, there))
	mustOpenAlone(t, st, b)
	if err := b.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Seal()
	b.Use(seals(here, nil))
	mustOpenAlone(t, st, b)
}

// Whatever fails or dies on the way leaves the former seal in force.
func TestAMoveThatEndsHalfway(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	all := kinds(t)
	st, b := p.open(t, seal.Seals{})
	shares := mustInit(t, b, 1, 1)
	w := all["static"].(*wrapper)
	b.Use(seals(w, nil))
	w.down = errors.New("gone")
	if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err == nil || st.Unlocked() {
		t.Fatalf("unlocked: %v, %v", st.Unlocked(), err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, p, seal.Seals{}, shares); err != nil {
		t.Fatalf("after a failed move: %v", err)
	}
	// The new seal wraps, and cannot unwrap.
	w.down, w.blind = nil, true
	st, b = p.open(t, seals(w, nil))
	if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err == nil || st.Unlocked() {
		t.Fatalf("unlocked: %v, %v", st.Unlocked(), err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, p, seal.Seals{}, shares); err != nil {
		t.Fatalf("after a move to a seal that cannot unwrap: %v", err)
	}
	w.blind = false
	// The process ends between the Wrapper's answer and the commit.
	st, b = p.open(t, seals(w, nil))
	w.wrap = func() { _ = st.Close() }
	if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err == nil {
		t.Fatal("moved a closed store")
	}
	w.wrap = nil
	if err := start(t, p, seal.Seals{}, shares); err != nil {
		t.Fatalf("after a death before the commit: %v", err)
	}
	// And after it.
	st, b = p.open(t, seals(w, nil))
	if _, err := b.Migrate(t.Context(), shares[0].Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, p, seals(w, nil), nil); err != nil {
		t.Fatalf("after a death after the commit: %v", err)
	}
}

// Two nodes that are moved at once, each to another seal: one of the seals is in force, and no node is open by the other.
func TestNodesMoveTogether(t *testing.T) {
	t.Parallel()
	p := onPostgreSQL(t)
	_, b := p.open(t, seal.Seals{})
	shares := mustInit(t, b, 1, 1)
	all := kinds(t)
	names := []string{"static", "transit", "static", "transit"}
	won := make([]bool, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		st, b := p.open(t, seals(all[name], nil))
		group.Go(func() {
			_, err := b.Migrate(context.WithoutCancel(t.Context()), shares[0].Reveal())
			switch {
			case err == nil:
				won[i] = true
			case errors.Is(err, seal.ErrChanged), errors.Is(err, seal.ErrNotMoving):
			default:
				t.Error(err)
			}
			if st.Unlocked() != won[i] {
				t.Errorf("%s: unlocked is %v after %v", name, st.Unlocked(), err)
			}
		})
	}
	group.Wait()
	winner := slices.Index(won, true)
	if winner < 0 || slices.Contains(won[winner+1:], true) {
		t.Fatalf("moved: %v", won)
	}
	for name, w := range all {
		err := start(t, p, seals(w, nil), shares)
		if name == names[winner] && err != nil || name != names[winner] && err == nil {
			t.Errorf("%s moved the store, and %s: %v", names[winner], name, err)
		}
	}
}

// A node that is open stays so when another changes the seal; only its next start asks for the new configuration.
func TestAnOpenNodeIsNotDisturbed(t *testing.T) {
	t.Parallel()
	p := onPostgreSQL(t)
	all := kinds(t)
	open, calm := p.open(t, seal.Seals{})
	shares := mustInit(t, calm, 2, 2)
	mustUnseal(t, calm, shares...)
	_, mover := p.open(t, seals(all["static"], nil))
	for _, share := range shares {
		if _, err := mover.Migrate(t.Context(), share.Reveal()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := read(t.Context(), open, "first"); got != "seeded" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	want := seal.Status{Type: "static", Initialized: true, Threshold: 2, Shares: 2, Recovery: true}
	if diff := cmp.Diff(want, mustStatus(t, calm)); diff != "" {
		t.Error(diff)
	}
	// It rotates, and rekeys what there is now.
	if err := calm.Rotate(t.Context()); err != nil {
		t.Error(err)
	}
	fresh, err := calm.Rekey(t.Context(), seal.Params{Shares: 1, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	mover.Hold()
	mustUnseal(t, mover, fresh...)
	calm.Seal()
	if _, err := calm.Unseal(t.Context(), fresh[0].Reveal()); err == nil || open.Unlocked() {
		t.Errorf("unlocked: %v, %v", open.Unlocked(), err)
	}
}

// A store of the first version of the tables opens with its shares.
func TestAStoreOfTheFirstVersion(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		model, b := onSQLite(t).open(t, seal.Seals{})
		shares := mustInit(t, b, 3, 2)
		old, err := store.Open(t.Context(), store.Config{Dialect: p.dialect(), Clock: clock.System{}, Migrations: append(seal.Migrations()[:1], notes)})
		if err != nil {
			t.Fatal(err)
		}
		var root, keys, body []byte
		err = model.View(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`select seal.root, keyring.keys, notes.body from seal, keyring, notes`).Scan(&root, &keys, &body)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = old.Update(t.Context(), func(tx *store.Tx) error {
			for _, q := range []struct {
				sql  string
				args []any
			}{
				{`update store_meta set value = $1 where name = 'id'`, []any{model.ID()}},
				{`insert into seal (id, shares, threshold, root, changed_at) values (1, 3, 2, $1, 0)`, []any{root}},
				{`insert into keyring (id, term, installed_at, keys) values (1, 1, 0, $1)`, []any{keys}},
				{`insert into notes (id, body) values ('first', $1)`, []any{body}},
			} {
				if _, err := tx.Exec(q.sql, q.args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		if err := start(t, p, seal.Seals{}, shares[:2]); err != nil {
			t.Fatal(err)
		}
	})
}
