// Package ttl is the arithmetic of lease and token lifetimes, which secrets and tokens share.
//
// Source: ../../docs of the public HTTP API, and the recorded exchanges of leases and tokens.
package ttl

import (
	"fmt"
	"strings"
	"time"
)

// Limits are the inputs of one resolution. Zero means "not given" for every field but Now and IssuedAt.
type Limits struct {
	Increment   time.Duration // what the client asked for
	Default     time.Duration // the role's or engine's own default
	Max         time.Duration // the role's or engine's own maximum
	Period      time.Duration // periodic: every renewal starts again from it
	ExplicitMax time.Duration // a hard limit that binds periodic tokens, too
	MountTTL    time.Duration // the mount's default, or the system's; always given
	MountMax    time.Duration // the mount's maximum, or the system's; always given
	IssuedAt    time.Time     // when the lease began
	Now         time.Time
}

// Resolve returns the lifetime from Now in whole seconds, and the warnings that tell of a cut.
//
// At issue IssuedAt equals Now. At renewal the limits are those in force now; only the beginning is remembered. The
// result is zero or negative when the maximum has passed already.
func Resolve(l Limits) (time.Duration, []string) {
	var warnings []string
	cut := func(what string, wanted, limit time.Duration) time.Duration {
		if wanted <= limit {
			return wanted
		}
		subject := "TTL"
		if what == "period" {
			subject = "period"
		}
		warnings = append(warnings, fmt.Sprintf("%s of %q exceeded the effective max_ttl of %q; %s value is capped accordingly",
			what, Format(wanted), Format(limit), subject))
		return limit
	}
	limit := smallestPositive(l.MountMax, l.Max, l.ExplicitMax)
	var wanted time.Duration
	switch {
	case l.Period > 0:
		wanted = cut("period", l.Period, limit)
		if l.ExplicitMax > 0 {
			wanted = cut("TTL", wanted, l.IssuedAt.Add(l.ExplicitMax).Sub(l.Now).Truncate(time.Second))
		}
		return wanted.Truncate(time.Second), warnings
	case l.Increment > 0:
		wanted = l.Increment
	case l.Default > 0:
		wanted = l.Default
	default:
		wanted = l.MountTTL
	}
	left := l.IssuedAt.Add(limit).Sub(l.Now).Truncate(time.Second)
	return cut("TTL", wanted, left).Truncate(time.Second), warnings
}

func smallestPositive(ds ...time.Duration) time.Duration {
	var least time.Duration
	for _, d := range ds {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// Format prints a duration as Go does, without parts that are zero: 5h, 1h30m, 90s as 1m30s.
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
