package auth_test

import (
	"slices"
	"testing"
	"time"

	"leasehold/auth"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
)

func TestRevokeEndsTheSubtreeAtOnce(t *testing.T) { onEach(t, testRevokeEndsTheSubtreeAtOnce) }

func testRevokeEndsTheSubtreeAtOnce(t *testing.T, f *fixture) {
	root, rootText := f.mustCreate(t, auth.Root())
	a, aText := f.mustCreate(t, hour(auth.Spec{Parent: root.Seq}))
	b, bText := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	_, cText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq}))
	_, batchText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq, Type: auth.Batch}))
	_, orphanText := f.mustCreate(t, hour(auth.Spec{}))
	for _, text := range []secret.Text{rootText, aText, bText, cText, batchText, orphanText} {
		f.mustWork(t, text, "before")
	}

	f.mustRevoke(t, b.Seq)
	if n := f.woken.Load(); n != 1 {
		t.Errorf("the reaper was woken %d times, want once", n)
	}
	check := func(when string) {
		f.mustWork(t, rootText, "root, "+when)
		f.mustWork(t, aText, "above, "+when)
		f.mustWork(t, orphanText, "orphan, "+when)
		f.mustNotWork(t, bText, "revoked, "+when)
		f.mustNotWork(t, cText, "child, "+when)
		f.mustNotWork(t, batchText, "batch child, "+when)
	}
	check("before the reaper")
	if _, _, err := f.Create(t.Context(), hour(auth.Spec{Path: "p", Parent: b.Seq})); errs.CodeOf(err) != errs.Unauthenticated {
		t.Errorf("a child of a revoked token: got %v, want a refusal", err)
	}
	f.mustReap(t)
	check("after the reaper")
	if n := f.rows(t); n != 3 {
		t.Errorf("%d rows are left, want 3", n)
	}
	f.mustRevoke(t, b.Seq)
}

func TestRevokeOrphanKeepsTheChildren(t *testing.T) { onEach(t, testRevokeOrphanKeepsTheChildren) }

func testRevokeOrphanKeepsTheChildren(t *testing.T, f *fixture) {
	a, aText := f.mustCreate(t, hour(auth.Spec{}))
	b, bText := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	c, cText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq}))
	_, dText := f.mustCreate(t, hour(auth.Spec{Parent: c.Seq}))
	_, batchText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq, Type: auth.Batch}))
	f.addLease(t, b.Seq)
	f.addLease(t, c.Seq)

	if err := f.RevokeOrphan(t.Context(), b.Seq); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		f.mustWork(t, aText, "parent, "+when)
		f.mustNotWork(t, bText, "severed, "+when)
		f.mustNotWork(t, batchText, "batch child, "+when)
		f.mustWork(t, cText, "child, "+when)
		f.mustWork(t, dText, "grandchild, "+when)
		got, found, err := f.Lookup(t.Context(), cText)
		if err != nil || !found || !got.Orphan {
			t.Errorf("child, %s: orphan is %t (found %t, %v), want true", when, got.Orphan, found, err)
		}
		if got, _, _ := f.Lookup(t.Context(), dText); got.Orphan {
			t.Errorf("grandchild, %s: is an orphan, and should not be", when)
		}
	}
	check("before the reaper")
	wantRefused(t, f.RevokeOrphan(t.Context(), b.Seq), errs.Invalid, "token to revoke not found")
	f.mustReap(t)
	check("after the reaper")
	if n := f.count(t, `SELECT COUNT(*) FROM tokens WHERE seq = $1`, b.Seq); n != 0 {
		t.Error("the severed row is still there")
	}
	if n := f.count(t, `SELECT COUNT(*) FROM test_leases WHERE token = $1 AND due = 1`, b.Seq); n != 1 {
		t.Error("the severed token's lease is not due")
	}
	if n := f.count(t, `SELECT COUNT(*) FROM test_leases WHERE token = $1 AND due = 0`, c.Seq); n != 1 {
		t.Error("the child's lease is due, and should not be")
	}
	f.mustRevoke(t, a.Seq)
	f.mustWork(t, cText, "child, after its former grandparent was revoked")
}

// Whoever ends his own token hears no when it has ended meanwhile: its children may live on.
func TestRevokeSelf(t *testing.T) { onEach(t, testRevokeSelf) }

func testRevokeSelf(t *testing.T, f *fixture) {
	a, _ := f.mustCreate(t, hour(auth.Spec{}))
	b, _ := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	c, cText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq}))
	_, dText := f.mustCreate(t, hour(auth.Spec{Parent: c.Seq}))
	if err := f.RevokeOrphan(t.Context(), b.Seq); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, f.RevokeSelf(t.Context(), b.Seq), errs.Unauthenticated, "permission denied")
	f.mustWork(t, cText, "child of a severed token")
	if err := f.RevokeSelf(t.Context(), c.Seq); err != nil {
		t.Error(err)
	}
	f.mustNotWork(t, cText, "revoked")
	f.mustNotWork(t, dText, "child of a revoked token")
	wantRefused(t, f.RevokeSelf(t.Context(), c.Seq), errs.Unauthenticated, "permission denied")

	last, _ := f.mustCreate(t, hour(auth.Spec{NumUses: 1}))
	if err := f.Use(t.Context(), &last); err != nil || last.NumUses != -1 {
		t.Fatalf("%d uses left, %v", last.NumUses, err)
	}
	if err := f.RevokeSelf(t.Context(), last.Seq); err != nil {
		t.Errorf("with the last use: %v", err)
	}
	f.mustRevoke(t, last.Seq) // as is done after the last use
}

// A token that has ended with its parent must not give life back to its children.
func TestRevokeOrphanRefusesWhatHasEnded(t *testing.T) {
	onEach(t, testRevokeOrphanRefusesWhatHasEnded)
}

func testRevokeOrphanRefusesWhatHasEnded(t *testing.T, f *fixture) {
	a, _ := f.mustCreate(t, hour(auth.Spec{}))
	b, _ := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	_, cText := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq}))
	f.mustRevoke(t, a.Seq)
	wantRefused(t, f.RevokeOrphan(t.Context(), b.Seq), errs.Invalid, "token to revoke not found")
	f.mustNotWork(t, cText, "grandchild of a revoked token")
	f.mustReap(t)
	f.mustNotWork(t, cText, "grandchild of a revoked token, reaped")
}

func TestExpiry(t *testing.T) { onEach(t, testExpiry) }

func testExpiry(t *testing.T, f *fixture) {
	parent, parentText := f.mustCreate(t, auth.Spec{TTL: time.Minute})
	child, childText := f.mustCreate(t, hour(auth.Spec{Parent: parent.Seq}))
	_, batchText := f.mustCreate(t, auth.Spec{TTL: 30 * time.Second, Type: auth.Batch})
	_, foreverText := f.mustCreate(t, auth.Root())
	f.addLease(t, child.Seq)

	f.clock.Advance(30*time.Second - time.Microsecond)
	f.mustWork(t, batchText, "a moment before its end")
	f.clock.Advance(time.Microsecond)
	f.mustNotWork(t, batchText, "at its end")
	if at, ok, err := f.NextDue(t.Context()); err != nil || !ok || !at.Equal(dawn.Add(time.Minute)) {
		t.Errorf("next due: got %v, %t, %v", at, ok, err)
	}
	f.mustReap(t)
	f.clock.Advance(30*time.Second - time.Microsecond)
	f.mustWork(t, parentText, "a moment before its end")
	f.mustWork(t, childText, "before its parent's end")
	f.clock.Advance(time.Microsecond)
	f.mustNotWork(t, parentText, "at its end")
	f.mustNotWork(t, childText, "at its parent's end")
	f.mustReap(t)
	f.mustNotWork(t, childText, "after its parent's row went")
	f.mustWork(t, foreverText, "without an end")
	if n := f.rows(t); n != 1 {
		t.Errorf("%d rows are left, want 1", n)
	}
	if n := f.count(t, `SELECT COUNT(*) FROM test_leases WHERE due = 1`); n != 1 {
		t.Error("the child's lease is not due")
	}
	if _, ok, err := f.NextDue(t.Context()); err != nil || ok {
		t.Errorf("next due: got %t, %v, want nothing", ok, err)
	}
}

func TestAlive(t *testing.T) { onEach(t, testAlive) }

func testAlive(t *testing.T, f *fixture) {
	a, _ := f.mustCreate(t, hour(auth.Spec{}))
	b, _ := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	alive := func(seq int64) (alive bool) {
		err := f.store.View(t.Context(), func(tx *store.Tx) (err error) {
			alive, err = f.Alive(tx, seq)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return alive
	}
	if !alive(a.Seq) || !alive(b.Seq) {
		t.Error("new tokens are not alive")
	}
	if alive(0) || alive(b.Seq+1) {
		t.Error("rows that are not there are alive")
	}
	f.mustRevoke(t, a.Seq)
	if alive(a.Seq) || alive(b.Seq) {
		t.Error("tokens are alive after a revocation")
	}
}

func TestLeasesOfTokens(t *testing.T) { onEach(t, testLeasesOfTokens) }

func testLeasesOfTokens(t *testing.T, f *fixture) {
	issue := func(path string) auth.Token {
		token, _ := f.mustCreate(t, hour(auth.Spec{Path: path}))
		return token
	}
	plain, suffixed, byRole, other := issue("auth/token/create"), issue("auth/token/create-orphan"), issue("auth/token/create/r"), issue("auth/token/create/r2")
	login := issue("auth/userpass/login/alice")
	issue("auth/userpass/login/bob")
	issue("auth/userpass/login/bob")
	f.mustCreate(t, hour(auth.Spec{Path: "auth/token/create/batch", Type: auth.Batch}))

	hash := func(token auth.Token) string { return token.LeaseID[len(token.Path)+1:] }
	lists := []struct {
		prefix string
		want   []string
	}{
		{"", []string{"auth/"}},
		{"auth", []string{"token/", "userpass/"}},
		{"auth/token/", []string{"create-orphan/", "create/"}},
		{"auth/token/create", []string{hash(plain), "r/", "r2/"}},
		{"auth/token/create/r/", []string{hash(byRole)}},
		{"auth/userpass/login/", []string{"alice/", "bob/"}},
		{"auth/tok", nil},
		{"database/creds", nil},
	}
	for _, tt := range lists {
		got, err := f.ListLeases(t.Context(), tt.prefix)
		slices.Sort(tt.want)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("list %q: got %q, %v, want %q", tt.prefix, got, err, tt.want)
		}
	}
	if got, err := f.ListLeases(t.Context(), "auth/userpass/login/bob"); err != nil || len(got) != 2 {
		t.Errorf("two logins of bob: got %q, %v", got, err)
	}

	if got, found, err := f.LookupLease(t.Context(), byRole.LeaseID); err != nil || !found || got.Seq != byRole.Seq {
		t.Errorf("look up %s: got row %d, %t, %v", byRole.LeaseID, got.Seq, found, err)
	}
	for _, id := range []string{"", "h", "/", "auth/token/create/r2/" + hash(byRole), "auth/token/create/r/" + hash(byRole)[1:], byRole.LeaseID + "0"} {
		if _, found, err := f.LookupLease(t.Context(), id); found || err != nil {
			t.Errorf("look up %q: got %t, %v, want nothing", id, found, err)
		}
	}

	alive := func(token auth.Token) bool {
		_, found, err := f.LookupLease(t.Context(), token.LeaseID)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if err := f.RevokeLeasePrefix(t.Context(), "auth/token/create/r/"); err != nil {
		t.Fatal(err)
	}
	if alive(byRole) || !alive(other) || !alive(plain) || !alive(suffixed) {
		t.Error("revoking auth/token/create/r ended the wrong tokens")
	}
	if err := f.RevokeMount(t.Context(), "auth/userpass/"); err != nil {
		t.Fatal(err)
	}
	if alive(login) || !alive(plain) {
		t.Error("revoking the mount auth/userpass/ ended the wrong tokens")
	}
	if err := f.RevokeLeasePrefix(t.Context(), "auth/token/create"); err != nil {
		t.Fatal(err)
	}
	if alive(other) || alive(plain) || !alive(suffixed) {
		t.Error("revoking auth/token/create ended the wrong tokens")
	}
	wantRefused(t, f.RevokeLeasePrefix(t.Context(), "/"), errs.Invalid, "a prefix is needed")
}

func TestAccessors(t *testing.T) { onEach(t, testAccessors) }

func testAccessors(t *testing.T, f *fixture) {
	root, _ := f.mustCreate(t, auth.Root())
	a, _ := f.mustCreate(t, hour(auth.Spec{Parent: root.Seq}))
	b, _ := f.mustCreate(t, hour(auth.Spec{Parent: a.Seq}))
	c, _ := f.mustCreate(t, hour(auth.Spec{Parent: b.Seq}))
	f.mustCreate(t, hour(auth.Spec{Parent: a.Seq, Type: auth.Batch}))
	short, _ := f.mustCreate(t, auth.Spec{Parent: root.Seq, TTL: time.Minute})
	f.mustCreate(t, hour(auth.Spec{Parent: short.Seq}))
	check := func(when string, want ...auth.Token) {
		t.Helper()
		var accessors []string
		for _, token := range want {
			accessors = append(accessors, token.Accessor)
		}
		got, err := f.Accessors(t.Context())
		slices.Sort(got)
		slices.Sort(accessors)
		if err != nil || !slices.Equal(got, accessors) {
			t.Errorf("%s: got %q, %v, want %q", when, got, err, accessors)
		}
	}
	f.clock.Advance(time.Minute)
	check("one has expired", root, a, b, c)
	if err := f.RevokeOrphan(t.Context(), b.Seq); err != nil {
		t.Fatal(err)
	}
	check("one is severed", root, a, c)
	f.mustRevoke(t, root.Seq)
	check("the root is revoked", c)
	f.mustReap(t)
	check("reaped", c)
	if got, found, err := f.LookupAccessor(t.Context(), c.Accessor); err != nil || !found || got.Seq != c.Seq {
		t.Errorf("look up an accessor: got row %d, %t, %v", got.Seq, found, err)
	}
	if _, found, err := f.LookupAccessor(t.Context(), a.Accessor); found || err != nil {
		t.Errorf("look up the accessor of a token that has ended: got %t, %v", found, err)
	}
}
