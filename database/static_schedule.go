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
	minRotationPeriod = 5 * time.Second
	minRotationWindow = time.Hour
)

// rhythm says when a static role rotates: each Period, or at the firings of Schedule, a line of cron in UTC. Window is how long
// after a firing it may still begin; zero: for as long as it takes.
type rhythm struct {
	Period   time.Duration `json:"period,omitempty"`
	Schedule string        `json:"schedule,omitempty"`
	Window   time.Duration `json:"window,omitempty"`
}

// merge takes over the fields that were named, and reports whether the rhythm is another one afterwards.
//
// Errors: Invalid. Source of the texts: the wire contract, "static-roles/:name".
func (r *rhythm) merge(f *engine.Fields) (changed bool, err error) {
	before := *r
	switch {
	case f.Has("rotation_period") && f.Has("rotation_schedule"):
		return false, errs.New(errs.Invalid,
			"mutually exclusive fields rotation_period and rotation_schedule were both specified; only one of them can be provided")
	case f.Has("rotation_period"):
		if f.Duration("rotation_period") < minRotationPeriod {
			return false, errs.New(errs.Invalid, "rotation_period must be 5 seconds or more")
		}
		*r = rhythm{Period: f.Duration("rotation_period")}
	case f.Has("rotation_schedule"):
		if _, err := readRotationSchedule(f.Text("rotation_schedule")); err != nil {
			return false, err
		}
		*r = rhythm{Schedule: f.Text("rotation_schedule"), Window: r.Window}
	case *r == rhythm{}:
		return false, errs.New(errs.Invalid, "one of rotation_schedule or rotation_period must be provided to create a static account")
	}
	if f.Has("rotation_window") {
		switch {
		case r.Period != 0:
			return false, errs.New(errs.Invalid, "rotation_window is invalid with use of rotation_period")
		case f.Duration("rotation_window") < minRotationWindow:
			return false, errs.New(errs.Invalid, "rotation_window must be 3600 seconds or more")
		}
		r.Window = f.Duration("rotation_window")
	}
	return *r != before, nil
}

func readRotationSchedule(text string) (cron.Schedule, error) {
	if strings.Contains(text, "TZ=") {
		return nil, errs.New(errs.Invalid, "could not parse rotation_schedule: it has no time zone, it is read as UTC")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, errs.New(errs.Invalid, "could not parse rotation_schedule: %s", err)
	}
	return parsed, nil
}

// endOfTime is the planned time of a schedule that does not fire any more.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// after is when a rotation is planned that follows one at a time.
func (r rhythm) after(at time.Time) (time.Time, error) {
	if r.Schedule == "" {
		return at.Add(r.Period), nil
	}
	parsed, err := readRotationSchedule(r.Schedule)
	if err != nil {
		return time.Time{}, err
	}
	next := parsed.Next(at.UTC())
	if next.IsZero() {
		return endOfTime, nil
	}
	return next, nil
}

// missed reports whether a rotation that was planned for a time has to wait for the next firing.
func (r rhythm) missed(planned, now time.Time) bool {
	return r.Window > 0 && now.After(planned.Add(r.Window))
}

const (
	firstRotationPause = 10 * time.Second
	lastRotationPause  = 5 * time.Minute
)

// rotationPause is the pause after a number of failures: doubling, capped, a tenth of it random, so that what failed together
// does not come back together.
func rotationPause(failures int) time.Duration {
	pause := lastRotationPause
	if n := max(failures, 1) - 1; n < 10 {
		pause = min(firstRotationPause<<n, lastRotationPause)
	}
	return pause + rand.N(pause/10)
}
