package auth_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"leasehold/auth"
	"leasehold/internal/errs"
	"leasehold/internal/secret"
	"leasehold/store"
)

func TestAuthenticateReadsWhatWasCreated(t *testing.T) {
	onEach(t, testAuthenticateReadsWhatWasCreated)
}

func testAuthenticateReadsWhatWasCreated(t *testing.T, f *fixture) {
	parent, _ := f.mustCreate(t, auth.Root())
	for _, kind := range []string{auth.Service, auth.Batch} {
		t.Run(kind, func(t *testing.T) {
			spec := auth.Spec{
				Type: kind, Parent: parent.Seq, Path: "auth/token/create/r", DisplayName: "token-x", EntityID: "e", Role: "r",
				Policies: []string{"a", "default"}, Meta: map[string]string{"k": "v"}, BoundCIDRs: []string{"192.0.2.0/24"},
				TTL: time.Hour, Period: 2 * time.Hour, ExplicitMaxTTL: 3 * time.Hour, NoDefault: true,
			}
			shape := regexp.MustCompile(`^hvb\.[A-Za-z0-9_-]{100,}$`)
			if kind == auth.Service {
				spec.Renewable, spec.NumUses = true, 5
				shape = regexp.MustCompile(`^hvs\.[A-Za-z0-9]{24}$`)
			}
			created, text := f.mustCreate(t, spec)
			if !shape.MatchString(text.Reveal()) {
				t.Errorf("the text has not the shape %s", shape)
			}
			got, err := f.Authenticate(t.Context(), text, "192.0.2.77")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(created, got, cmpopts.IgnoreUnexported(auth.Token{})); diff != "" {
				t.Errorf("the token changed (-created +read):\n%s", diff)
			}
			if kind == auth.Service && (len(got.Accessor) != 24 || !strings.HasPrefix(got.LeaseID, "auth/token/create/r/h")) {
				t.Errorf("accessor %q, lease id %q", got.Accessor, got.LeaseID)
			}
			if kind == auth.Batch && (got.Accessor != "" || got.LeaseID != "" || got.Seq != 0 || got.LeaseParent() != parent.Seq) {
				t.Errorf("a batch token has accessor %q, lease id %q, row %d, lease parent %d", got.Accessor, got.LeaseID, got.Seq, got.LeaseParent())
			}
			if got.TTL() != time.Hour {
				t.Errorf("ttl is %s, want 1h", got.TTL())
			}
		})
	}
}

func TestAuthenticateRefuses(t *testing.T) { onEach(t, testAuthenticateRefuses) }

func testAuthenticateRefuses(t *testing.T, f *fixture) {
	_, batch := f.mustCreate(t, hour(auth.Spec{Type: auth.Batch}))
	_, foreign := newFixture(t, f.on).mustCreate(t, hour(auth.Spec{Type: auth.Batch}))
	_, custom := f.mustCreate(t, hour(auth.Spec{ID: secret.NewText("my-own")}))
	f.mustWork(t, custom, "custom id")
	_, old := f.mustCreate(t, hour(auth.Spec{ID: secret.NewText("s.AAAAAAAAAAAAAAAAAAAAAAAA")}))
	f.mustWork(t, old, "old family of ids")
	service, text := f.mustCreate(t, hour(auth.Spec{}))
	for _, presented := range []string{
		"", "nope", "my-ow", "my-own ", "s.BBBBBBBBBBBBBBBBBBBBBBBB", "hvs.", "hvb.", "hvb.AAAA", "hvb.?", batch.Reveal()[4:], batch.Reveal() + "A",
		foreign.Reveal(), service.Accessor, strings.TrimPrefix(service.LeaseID, service.Path+"/h"), strings.ToUpper(text.Reveal()), "\x00", "\xff",
	} {
		_, err := f.Authenticate(t.Context(), secret.NewText(presented), "192.0.2.1")
		wantRefused(t, err, errs.Unauthenticated, "permission denied")
	}
}

func TestBoundCIDRs(t *testing.T) { onEach(t, testBoundCIDRs) }

func testBoundCIDRs(t *testing.T, f *fixture) {
	tests := []struct {
		blocks []string
		remote string
		want   bool
	}{
		{nil, "203.0.113.9", true},
		{nil, "", true},
		{[]string{"127.0.0.1"}, "127.0.0.1", true},
		{[]string{"127.0.0.1"}, "127.0.0.2", false},
		{[]string{"10.0.0.0/8", "192.0.2.0/24"}, "192.0.2.255", true},
		{[]string{"10.0.0.0/8", "192.0.2.0/24"}, "192.0.3.0", false},
		{[]string{"10.0.0.0/8"}, "::ffff:10.1.2.3", true},
		{[]string{"2001:db8::/32"}, "2001:db8::1", true},
		{[]string{"fe80::1"}, "fe80::1%eth0", true},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", false},
		{[]string{"0.0.0.0/0"}, "", false},
		{[]string{"0.0.0.0/0"}, "@", false},
	}
	for _, tt := range tests {
		for _, kind := range []string{auth.Service, auth.Batch} {
			_, text := f.mustCreate(t, hour(auth.Spec{Type: kind, BoundCIDRs: tt.blocks}))
			_, err := f.Authenticate(t.Context(), text, tt.remote)
			if (err == nil) != tt.want {
				t.Errorf("%s token bound to %v, used from %q: got %v, want works %t", kind, tt.blocks, tt.remote, err, tt.want)
			}
		}
	}
}

func TestParseCIDRs(t *testing.T) {
	t.Parallel()
	got, err := auth.ParseCIDRs([]string{"127.0.0.0/8", " 10.0.0.1", "127.0.0.1/32", "::1/128"})
	want := []string{"127.0.0.0/8", "10.0.0.1", "127.0.0.1", "::1"}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "999.1.1.1/8", "10.0.0.0/33", "host", "/run/socket"} {
		if _, err := auth.ParseCIDRs([]string{bad}); errs.CodeOf(err) != errs.Invalid {
			t.Errorf("%q: got %v, want a refusal", bad, err)
		}
	}
}

// Nobody can make a batch token out of another, whatever they change.
func TestBatchTokensDoNotBend(t *testing.T) { onEach(t, testBatchTokensDoNotBend) }

func testBatchTokensDoNotBend(t *testing.T, f *fixture) {
	const charset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, policy := range []string{"a", "ab", "abc"} { // the last character carries 6, 4 or 2 bits
		_, text := f.mustCreate(t, hour(auth.Spec{Type: auth.Batch, Policies: []string{policy}}))
		whole := text.Reveal()
		for i := len("hvb."); i < len(whole); i++ {
			c := charset[(strings.IndexByte(charset, whole[i])+1)%len(charset)]
			f.mustNotWork(t, secret.NewText(whole[:i]+string(c)+whole[i+1:]), fmt.Sprintf("character %d changed", i))
		}
	}
	// A cell of the table is no token, though it is sealed by the same keys.
	var sealed []byte
	f.mustCreate(t, hour(auth.Spec{}))
	err := f.store.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT sealed FROM tokens`).Scan(&sealed) })
	if err != nil {
		t.Fatal(err)
	}
	f.mustNotWork(t, secret.NewText("hvb."+base64.RawURLEncoding.EncodeToString(sealed)), "a row's cell")
}

func TestBatchNeedsAnEnd(t *testing.T) { onEach(t, testBatchNeedsAnEnd) }

func testBatchNeedsAnEnd(t *testing.T, f *fixture) {
	for name, spec := range map[string]auth.Spec{
		"no end":       {},
		"uses":         {TTL: time.Hour, NumUses: 1},
		"renewable":    {TTL: time.Hour, Renewable: true},
		"id":           {TTL: time.Hour, ID: secret.NewText("x")},
		"negative ttl": {TTL: -time.Hour},
	} {
		spec.Type = auth.Batch
		if _, _, err := f.Create(t.Context(), spec); err == nil {
			t.Errorf("%s: a batch token was made", name)
		}
	}
}

func TestDuplicateID(t *testing.T) { onEach(t, testDuplicateID) }

func testDuplicateID(t *testing.T, f *fixture) {
	_, text := f.mustCreate(t, hour(auth.Spec{ID: secret.NewText("taken")}))
	_, _, err := f.Create(t.Context(), hour(auth.Spec{Path: "p", ID: secret.NewText("taken")}))
	wantRefused(t, err, errs.Invalid, "cannot create a token with a duplicate ID")
	f.mustWork(t, text, "the first")
	_, _, err = f.Create(t.Context(), hour(auth.Spec{Path: "p", ID: secret.NewText("hvb.x")}))
	wantRefused(t, err, errs.Invalid, "custom token ID cannot have the 'hvb.' prefix")
}

func TestUseCounts(t *testing.T) { onEach(t, testUseCounts) }

func testUseCounts(t *testing.T, f *fixture) {
	created, text := f.mustCreate(t, hour(auth.Spec{NumUses: 3, Renewable: true}))
	for _, left := range []int{2, 1, -1} {
		token, err := f.Authenticate(t.Context(), text, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Use(t.Context(), &token); err != nil {
			t.Fatal(err)
		}
		got, found, err := f.Lookup(t.Context(), text)
		if token.NumUses != left || err != nil || !found || got.NumUses != left {
			t.Errorf("%d uses left, a lookup shows %d (%t, %v), want %d", token.NumUses, got.NumUses, found, err, left)
		}
	}
	f.mustNotWork(t, text, "no use left")

	// The process died before it could revoke the token. It ends without that, and a renewal does not put the end off.
	if _, _, err := f.Renew(t.Context(), created.Seq, noLimits); err != nil {
		t.Fatal(err)
	}
	f.mustReap(t)
	if n := f.rows(t); n != 1 {
		t.Fatal("the token went before its last request could be over")
	}
	f.clock.Advance(2 * time.Minute)
	f.mustReap(t)
	if n := f.rows(t); n != 0 {
		t.Error("the token is still there long after its last request")
	}
}

func TestUseOfUnlimitedTokenWritesNothing(t *testing.T) {
	onEach(t, testUseOfUnlimitedTokenWritesNothing)
}

func testUseOfUnlimitedTokenWritesNothing(t *testing.T, f *fixture) {
	token, _ := f.mustCreate(t, auth.Root())
	f.store.Lock()
	if err := f.Use(t.Context(), &token); err != nil {
		t.Errorf("an unlimited token: %v", err)
	}
}

func TestUseAfterRevocation(t *testing.T) { onEach(t, testUseAfterRevocation) }

func testUseAfterRevocation(t *testing.T, f *fixture) {
	parent, _ := f.mustCreate(t, hour(auth.Spec{}))
	token, _ := f.mustCreate(t, hour(auth.Spec{Parent: parent.Seq, NumUses: 3}))
	f.mustRevoke(t, parent.Seq)
	wantRefused(t, f.Use(t.Context(), &token), errs.Unauthenticated, "permission denied")
	if token.NumUses != 3 {
		t.Errorf("a refused use was counted: %d are left", token.NumUses)
	}
}

func TestConcurrentUses(t *testing.T) { onEach(t, testConcurrentUses) }

func testConcurrentUses(t *testing.T, f *fixture) {
	const uses, callers = 10, 32
	_, text := f.mustCreate(t, hour(auth.Spec{NumUses: uses}))
	var succeeded, last atomic.Int32
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			token, err := f.Authenticate(t.Context(), text, "")
			if err == nil {
				err = f.Use(t.Context(), &token)
			}
			switch {
			case err == nil:
				succeeded.Add(1)
				if token.NumUses == -1 {
					last.Add(1)
				}
			case errs.CodeOf(err) != errs.Unauthenticated:
				t.Errorf("use: %v", err)
			}
		})
	}
	wait.Wait()
	if succeeded.Load() != uses || last.Load() != 1 {
		t.Errorf("%d of %d calls succeeded and %d were the last, want %d and 1", succeeded.Load(), callers, last.Load(), uses)
	}
	f.mustNotWork(t, text, "all uses gone")
}

// A child made while its parent is revoked either is not made or is dead.
func TestCreateAgainstRevoke(t *testing.T) { onEach(t, testCreateAgainstRevoke) }

func testCreateAgainstRevoke(t *testing.T, f *fixture) {
	for range 20 {
		parent, _ := f.mustCreate(t, hour(auth.Spec{}))
		var texts [8]secret.Text
		var wait sync.WaitGroup
		for i := range texts {
			wait.Go(func() {
				_, text, err := f.Create(t.Context(), hour(auth.Spec{Path: "p", Parent: parent.Seq}))
				if err == nil {
					texts[i] = text
				} else if errs.CodeOf(err) != errs.Unauthenticated {
					t.Errorf("create: %v", err)
				}
			})
		}
		wait.Go(func() { f.mustRevoke(t, parent.Seq); f.mustReap(t) })
		wait.Wait()
		f.mustReap(t)
		for _, text := range texts {
			if !text.Empty() {
				f.mustNotWork(t, text, "a child of a revoked token")
			}
		}
	}
	f.mustReap(t)
	if n := f.rows(t); n != 0 {
		f.clock.Advance(time.Hour)
		f.mustReap(t)
		if n := f.rows(t); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	}
}
