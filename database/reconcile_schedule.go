package database

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"leasehold/engine"
	"leasehold/internal/errs"
)

const (
	// defaultPeriod is how often a connection is reconciled for which nothing else is configured.
	defaultPeriod = 24 * time.Hour
	minPeriod     = time.Minute
)

// schedule says when a connection is reconciled by itself.
type schedule struct {
	text   string        // as stored: "off", "@every 24h0m0s", or a cron expression
	period time.Duration // zero: by cron, or never
	cron   cron.Schedule
}

// schedule reads reconcile_schedule and reconcile_period, which stand among the details as they were written.
//
// Errors: Invalid.
func (s settings) schedule() (schedule, error) {
	expression, _ := s.Details["reconcile_schedule"].(string)
	if raw := s.Details["reconcile_schedule"]; raw != nil && raw != expression {
		return schedule{}, errs.New(errs.Invalid, "invalid reconcile_schedule: want a text")
	}
	given := s.Details["reconcile_period"]
	switch {
	case given == nil || given == "":
		if expression == "" {
			return schedule{text: every + defaultPeriod.String(), period: defaultPeriod}, nil
		}
		return readSchedule(strings.TrimSpace(expression))
	case expression != "":
		return schedule{}, errs.New(errs.Invalid, "reconcile_schedule and reconcile_period cannot both be set")
	}
	period, err := engine.ParseDuration(given)
	switch {
	case err != nil:
		return schedule{}, errs.New(errs.Invalid, "invalid reconcile_period: %s", err)
	case period == 0:
		return schedule{text: off}, nil
	case period < minPeriod:
		return schedule{}, errs.New(errs.Invalid, "invalid reconcile_period: it must be %s at least, or 0 for never", minPeriod)
	}
	return schedule{text: every + period.String(), period: period}, nil
}

const (
	off   = "off"
	every = "@every "
)

// readSchedule reads what is stored, or what an operator has written as reconcile_schedule.
func readSchedule(text string) (schedule, error) {
	if text == off {
		return schedule{text: off}, nil
	}
	if period, ok := strings.CutPrefix(text, every); ok {
		d, err := time.ParseDuration(period)
		if err != nil || d < minPeriod {
			return schedule{}, errs.New(errs.Invalid, "invalid reconcile_schedule: want @every with a duration of %s at least", minPeriod)
		}
		return schedule{text: text, period: d}, nil
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return schedule{}, errs.New(errs.Invalid, "invalid reconcile_schedule: want a cron expression such as \"30 3 * * *\", in UTC, or off: %s", err)
	}
	return schedule{text: text, cron: parsed}, nil
}

// next is when it is due after a run at now, or after never having run; false: never. Periods are a tenth shorter at most, and
// the first one is anywhere within the first period, so that many connections are spread out.
func (s schedule) next(now time.Time, first bool) (time.Time, bool) {
	switch {
	case s.cron != nil:
		at := s.cron.Next(now.UTC())
		return at, !at.IsZero()
	case s.period == 0:
		return time.Time{}, false
	case first:
		return now.Add(rand.N(s.period)), true
	}
	return now.Add(s.period - rand.N(s.period/10)), true
}
