package ttl_test

import (
	"strings"
	"testing"
	"time"

	"leasehold/internal/ttl"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	month := 768 * time.Hour
	tests := []struct {
		name     string
		limits   ttl.Limits
		age      time.Duration // of the lease
		want     time.Duration
		warnings []string
	}{
		{name: "mount default", want: month},
		{name: "role default", limits: ttl.Limits{Default: time.Hour}, want: time.Hour},
		{name: "increment wins", limits: ttl.Limits{Increment: time.Minute, Default: time.Hour}, want: time.Minute},
		{
			name: "cut at the role's maximum", limits: ttl.Limits{Default: time.Hour, Max: 20 * time.Minute}, want: 20 * time.Minute,
			warnings: []string{`TTL of "1h" exceeded the effective max_ttl of "20m"; TTL value is capped accordingly`},
		},
		{
			name: "cut at the mount's maximum", limits: ttl.Limits{Increment: 9000 * time.Hour}, want: month,
			warnings: []string{`TTL of "9000h" exceeded the effective max_ttl of "768h"; TTL value is capped accordingly`},
		},
		{
			name: "what is left of the maximum", limits: ttl.Limits{Increment: 2 * time.Hour, Max: time.Hour}, age: 15 * time.Minute, want: 45 * time.Minute,
			warnings: []string{`TTL of "2h" exceeded the effective max_ttl of "45m"; TTL value is capped accordingly`},
		},
		{name: "nothing is left", limits: ttl.Limits{Max: time.Hour}, age: time.Hour, want: 0, warnings: []string{"TTL"}},
		{name: "past the maximum", limits: ttl.Limits{Max: time.Hour}, age: 2 * time.Hour, want: -time.Hour, warnings: []string{"TTL"}},
		{name: "period", limits: ttl.Limits{Period: 6 * time.Hour, Increment: time.Hour}, age: 5000 * time.Hour, want: 6 * time.Hour},
		{
			name: "period above the maximum", limits: ttl.Limits{Period: 1000 * time.Hour}, want: month,
			warnings: []string{`period of "1000h" exceeded the effective max_ttl of "768h"; period value is capped accordingly`},
		},
		{
			name: "period under an explicit maximum", limits: ttl.Limits{Period: 2 * time.Hour, ExplicitMax: time.Hour}, age: 10 * time.Minute, want: 50 * time.Minute,
			warnings: []string{`period of "2h" exceeded the effective max_ttl of "1h"`, `TTL of "1h" exceeded the effective max_ttl of "50m"`},
		},
	}
	for _, test := range tests {
		test.limits.MountTTL, test.limits.MountMax = month, month
		test.limits.IssuedAt, test.limits.Now = now, now.Add(test.age)
		got, warnings := ttl.Resolve(test.limits)
		if got != test.want || len(warnings) != len(test.warnings) {
			t.Errorf("%s: got %v with %q, want %v with %q", test.name, got, warnings, test.want, test.warnings)
			continue
		}
		for i, w := range test.warnings {
			if !strings.HasPrefix(warnings[i], w) {
				t.Errorf("%s: warning %q, want %q", test.name, warnings[i], w)
			}
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		5 * time.Hour: "5h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 20 * time.Minute: "20m", 0: "0s",
		30 * time.Second: "30s", 10 * time.Hour: "10h", 100 * time.Minute: "1h40m",
	} {
		if got := ttl.Format(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
}
