package auth_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/auth"
	"leasehold/internal/secret"
	"leasehold/store"
)

// spend uses a wrapping token up as somebody else's unwrapping does.
func (f *fixture) spend(t testing.TB, text secret.Text) (token auth.Token, spent bool) {
	t.Helper()
	err := f.store.Update(t.Context(), func(tx *store.Tx) (err error) {
		token, spent, err = f.FindWrappingTx(tx, text)
		if err == nil && spent {
			spent, err = f.SpendTx(tx, token)
		}
		return err
	})
	if err != nil {
		t.Errorf("spend: %v", err)
	}
	return token, spent
}

func TestWrappingToken(t *testing.T) { onEach(t, testWrappingToken) }

func testWrappingToken(t *testing.T, f *fixture) {
	created, text := f.mustCreate(t, auth.Wrapping("database/creds/app", time.Minute))
	got, found, err := f.Lookup(t.Context(), text)
	if err != nil || !found {
		t.Fatalf("lookup: %t, %v", found, err)
	}
	for _, token := range []auth.Token{created, got} {
		if !token.Wrapping || token.Path != "database/creds/app" || token.LeaseID != "" || token.NumUses != 1 || !token.Orphan ||
			token.Renewable || token.ExplicitMaxTTL != time.Minute || token.TTL() != time.Minute {
			t.Errorf("got %+v", token)
		}
	}
	if token, spent := f.spend(t, text); !spent || token.Seq != created.Seq {
		t.Errorf("spent %t, %+v", spent, token)
	}
	if f.woken.Load() != 1 {
		t.Errorf("the reaper was woken %d times", f.woken.Load())
	}
	if _, spent := f.spend(t, text); spent {
		t.Error("spent twice")
	}
	f.mustReap(t)
	if n := f.rows(t); n != 0 {
		t.Errorf("%d rows are left of a spent token", n)
	}
}

// What stands for nothing any more, and what never did.
func TestNotAWrappingToken(t *testing.T) { onEach(t, testNotAWrappingToken) }

func testNotAWrappingToken(t *testing.T, f *fixture) {
	_, ordinary := f.mustCreate(t, hour(auth.Spec{NumUses: 1, Policies: []string{"response-wrapping"}}))
	_, expired := f.mustCreate(t, auth.Wrapping("p", time.Second))
	revoked, revokedText := f.mustCreate(t, auth.Wrapping("p", time.Minute))
	_, used := f.mustCreate(t, auth.Wrapping("p", time.Minute))
	f.clock.Advance(time.Second)
	f.mustRevoke(t, revoked.Seq)
	token, err := f.Authenticate(t.Context(), used, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Use(t.Context(), &token); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]secret.Text{
		"ordinary": ordinary, "expired": expired, "revoked": revokedText, "used": used, "unknown": secret.NewText("hvs.none"), "none": {},
	} {
		if _, spent := f.spend(t, text); spent {
			t.Errorf("%s: spent", name)
		}
	}
	if !f.works(t, ordinary) {
		t.Error("an ordinary token was used up by trying")
	}
}

// Requests by the path that leases begin with do not see a wrapping token: it has no lease.
func TestWrappingTokenHasNoLease(t *testing.T) { onEach(t, testWrappingTokenHasNoLease) }

func testWrappingTokenHasNoLease(t *testing.T, f *fixture) {
	const path = "auth/token/create"
	_, wrapping := f.mustCreate(t, auth.Wrapping(path, time.Minute))
	for _, prefix := range []string{"", "auth", path} {
		if keys, err := f.ListLeases(t.Context(), prefix); err != nil || len(keys) != 0 {
			t.Errorf("below %q: %q, %v", prefix, keys, err)
		}
	}
	ordinary, text := f.mustCreate(t, hour(auth.Spec{Path: path}))
	if keys, err := f.ListLeases(t.Context(), ""); err != nil || len(keys) != 1 || keys[0] != "auth/" {
		t.Errorf("all: %q, %v", keys, err)
	}
	if keys, err := f.ListLeases(t.Context(), path); err != nil || len(keys) != 1 || path+"/"+keys[0] != ordinary.LeaseID {
		t.Errorf("below %s: %q, %v", path, keys, err)
	}
	if err := f.RevokeLeasePrefix(t.Context(), "auth"); err != nil {
		t.Fatal(err)
	}
	if f.works(t, text) {
		t.Error("an ordinary token outlived the revocation of its prefix")
	}
	if !f.works(t, wrapping) {
		t.Error("a wrapping token was revoked by a prefix that it is not below")
	}
}

// Of all who spend or use a wrapping token at once, one succeeds.
func TestConcurrentSpending(t *testing.T) { onEach(t, testConcurrentSpending) }

func testConcurrentSpending(t *testing.T, f *fixture) {
	_, text := f.mustCreate(t, auth.Wrapping("p", time.Minute))
	var succeeded atomic.Int32
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			if i%2 == 0 {
				if _, spent := f.spend(t, text); spent {
					succeeded.Add(1)
				}
				return
			}
			token, err := f.Authenticate(t.Context(), text, "")
			if err == nil && f.Use(t.Context(), &token) == nil {
				succeeded.Add(1)
			}
		})
	}
	wait.Wait()
	if n := succeeded.Load(); n != 1 {
		t.Errorf("%d of 32 succeeded", n)
	}
}
