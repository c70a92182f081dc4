package auth_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"leasehold/auth"
	"leasehold/internal/errs"
	"leasehold/internal/ttl"
	"leasehold/store"
)

const month = 768 * time.Hour

func noLimits(*store.Tx, auth.Token) (ttl.Limits, error) {
	return ttl.Limits{MountTTL: month, MountMax: month}, nil
}

func TestRenew(t *testing.T) { onEach(t, testRenew) }

func testRenew(t *testing.T, f *fixture) {
	tests := []struct {
		name     string
		spec     auth.Spec
		after    time.Duration
		limits   ttl.Limits
		want     time.Duration
		warnings []string
	}{
		{"again what was granted", auth.Spec{TTL: time.Hour}, time.Minute, ttl.Limits{}, time.Hour, nil},
		{"longer", auth.Spec{TTL: time.Hour}, time.Minute, ttl.Limits{Increment: 2 * time.Hour}, 2 * time.Hour, nil},
		{"shorter", auth.Spec{TTL: time.Hour}, time.Minute, ttl.Limits{Increment: 10 * time.Second}, 10 * time.Second, nil},
		{"the method's", auth.Spec{TTL: time.Hour}, time.Minute, ttl.Limits{Default: 3 * time.Hour}, 3 * time.Hour, nil},
		{"to the maximum within the first second", auth.Spec{TTL: time.Hour}, 900 * time.Millisecond, ttl.Limits{Increment: 9000 * time.Hour}, month,
			[]string{`TTL of "9000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly`}},
		{"to what is left of the maximum", auth.Spec{TTL: time.Hour}, time.Minute, ttl.Limits{Increment: 2 * time.Hour, ExplicitMax: time.Hour}, 59 * time.Minute,
			[]string{`TTL of "2h" exceeded the effective max_ttl of "59m"; TTL value is capped accordingly`}},
		{"periodic", auth.Spec{TTL: time.Hour}, 50 * time.Minute, ttl.Limits{Period: 6 * time.Hour, Increment: time.Minute}, 6 * time.Hour, nil},
		{"periodic past the mount's maximum", auth.Spec{TTL: 2000 * time.Hour}, 1500 * time.Hour, ttl.Limits{Period: 6 * time.Hour}, 6 * time.Hour, nil},
		{"periodic with an explicit maximum", auth.Spec{TTL: time.Hour}, 2 * time.Second, ttl.Limits{Period: 2 * time.Hour, ExplicitMax: time.Hour}, time.Hour - 2*time.Second,
			[]string{`period of "2h" exceeded the effective max_ttl of "1h"; period value is capped accordingly`,
				`TTL of "1h" exceeded the effective max_ttl of "59m58s"; TTL value is capped accordingly`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Renewable = true
			start := f.clock.Now()
			created, text := f.mustCreate(t, tt.spec)
			f.clock.Advance(tt.after)
			got, warnings, err := f.Renew(t.Context(), created.Seq, func(*store.Tx, auth.Token) (ttl.Limits, error) {
				tt.limits.MountTTL, tt.limits.MountMax = month, month
				return tt.limits, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Granted != tt.want || !slices.Equal(warnings, tt.warnings) {
				t.Errorf("granted %s with warnings %q, want %s with %q", got.Granted, warnings, tt.want, tt.warnings)
			}
			now := start.Add(tt.after)
			limit := start.Add(month)
			if tt.limits.ExplicitMax > 0 {
				limit = start.Add(tt.limits.ExplicitMax)
			}
			end := now.Add(tt.want)
			if end.After(limit) && (tt.limits.Period == 0 || tt.limits.ExplicitMax > 0) {
				end = limit
			}
			read, found, err := f.Lookup(t.Context(), text)
			if err != nil || !found || !read.ExpiresAt.Equal(end) || !read.LastRenewal.Equal(now) || read.CreationTTL != created.CreationTTL {
				t.Errorf("read ends %v, renewed %v, created for %s (%t, %v); want the end at %v", read.ExpiresAt, read.LastRenewal, read.CreationTTL, found, err, end)
			}
			if n := f.count(t, `SELECT COUNT(*) FROM tokens WHERE seq = $1 AND due_at = $2`, created.Seq, store.Micros(end)); n != 1 {
				t.Errorf("the row is not due at its end, %v", end)
			}
		})
	}
}

// The lifetime granted last is the one that a renewal without a wish grants again.
func TestRenewGrantsTheLatestAgain(t *testing.T) { onEach(t, testRenewGrantsTheLatestAgain) }

func testRenewGrantsTheLatestAgain(t *testing.T, f *fixture) {
	created, _ := f.mustCreate(t, hour(auth.Spec{Renewable: true}))
	for _, step := range []struct{ increment, want time.Duration }{{0, time.Hour}, {2 * time.Hour, 2 * time.Hour}, {0, 2 * time.Hour}, {time.Minute, time.Minute}, {0, time.Minute}} {
		got, _, err := f.Renew(t.Context(), created.Seq, func(*store.Tx, auth.Token) (ttl.Limits, error) {
			return ttl.Limits{Increment: step.increment, MountTTL: month, MountMax: month}, nil
		})
		if err != nil || got.Granted != step.want {
			t.Fatalf("increment %s: granted %s, %v, want %s", step.increment, got.Granted, err, step.want)
		}
	}
}

func TestRenewRefuses(t *testing.T) { onEach(t, testRenewRefuses) }

func testRenewRefuses(t *testing.T, f *fixture) {
	parent, _ := f.mustCreate(t, hour(auth.Spec{}))
	child, text := f.mustCreate(t, hour(auth.Spec{Parent: parent.Seq, Renewable: true}))
	before, _, _ := f.Lookup(t.Context(), text)

	refusal := errors.New("refused")
	_, _, err := f.Renew(t.Context(), child.Seq, func(*store.Tx, auth.Token) (ttl.Limits, error) { return ttl.Limits{}, refusal })
	if !errors.Is(err, refusal) {
		t.Errorf("got %v, want the refusal of limits", err)
	}
	f.clock.Advance(10 * time.Minute)
	_, _, err = f.Renew(t.Context(), child.Seq, func(*store.Tx, auth.Token) (ttl.Limits, error) {
		return ttl.Limits{MountTTL: time.Minute, MountMax: time.Minute}, nil
	})
	wantRefused(t, err, errs.Invalid, "past the max TTL, cannot renew")
	if after, _, _ := f.Lookup(t.Context(), text); !after.ExpiresAt.Equal(before.ExpiresAt) || !after.LastRenewal.IsZero() {
		t.Error("a refused renewal changed the token")
	}
	f.mustRevoke(t, parent.Seq)
	_, _, err = f.Renew(t.Context(), child.Seq, noLimits)
	wantRefused(t, err, errs.Invalid, "token not found")
}
