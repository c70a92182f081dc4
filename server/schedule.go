package server

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// nextFiring is when a cron schedule of five fields, or a word such as "@daily", fires next after a time. It counts in UTC:
// nodes may be set to different time zones.
func nextFiring(schedule string, after time.Time) (time.Time, error) {
	if strings.Contains(schedule, "TZ=") {
		return time.Time{}, errors.New("a schedule has no time zone: it is read as UTC")
	}
	parsed, err := cron.ParseStandard(schedule)
	if err != nil {
		return time.Time{}, err
	}
	at := parsed.Next(after.UTC())
	if at.IsZero() {
		return time.Time{}, errors.New("the schedule never fires")
	}
	return at, nil
}
