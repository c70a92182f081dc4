package server

import (
	"testing"
	"time"
)

func TestNextFiring(t *testing.T) {
	t.Parallel()
	after := time.Date(2040, 5, 6, 7, 8, 9, 0, time.FixedZone("east", 3600))
	for _, c := range []struct{ schedule, want string }{
		{"0 3 * * *", "2040-05-07T03:00:00Z"},
		{"30 6 * * *", "2040-05-06T06:30:00Z"},
		{"@daily", "2040-05-07T00:00:00Z"},
		{"0 0 1 1 *", "2041-01-01T00:00:00Z"},
		{"", ""}, {"never", ""}, {"0 0 30 2 *", ""}, {"* * * *", ""}, {"61 * * * *", ""},
		{"TZ=Asia/Tokyo 0 3 * * *", ""}, {"CRON_TZ=UTC", ""},
	} {
		got := ""
		if at, err := nextFiring(c.schedule, after); err == nil {
			got = at.Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.schedule, got, c.want)
		}
	}
}

// Whatever a client sends as a schedule, it is refused or fires later.
func FuzzNextFiring(f *testing.F) {
	for _, seed := range []string{"0 3 * * *", "@every 1h", "@every -1h", "TZ=", "CRON_TZ=x", "*/5 1-3,7 L W ?", "@"} {
		f.Add(seed)
	}
	after := time.Date(2040, 5, 6, 7, 8, 9, 0, time.UTC)
	f.Fuzz(func(t *testing.T, schedule string) {
		if at, err := nextFiring(schedule, after); err == nil && !at.After(after) {
			t.Errorf("%q: fires at %s", schedule, at)
		}
	})
}
