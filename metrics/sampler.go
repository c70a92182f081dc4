package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotNow is the answer of a sampler that cannot look at present. Its gauges stay as they were, nobody is told, and it
// is asked again in the next round.
var ErrNotNow = errors.New("not now")

// Take tells what a sampler has counted: set is called for each value.
type Take func(ctx context.Context, set func(g Gauge, value float64, labels ...string)) error

// sampler is a count that costs something, and is made once in a while.
type sampler struct {
	name  string
	every time.Duration
	take  Take

	taken time.Time           // zero: never
	last  map[string]*reading // what it told last, by series key
}

// Sample has take called by RunOnce, at most once in a period. A gauge that it does not set any more goes to zero: the
// mount or connection that it told of is gone. When it fails, its gauges stay as they were.
//
// name is a fixed word, for the log and for [SampleFailed]. Call it before the first RunOnce.
func (r *Registry) Sample(name string, every time.Duration, take Take) {
	r.samplers = append(r.samplers, &sampler{name: name, every: every, take: take})
}

// RunOnce runs the samplers that are due, and tells all gauges and the figures of the Go runtime. The server calls it
// every ten seconds; a call while another is under way does nothing. The error names the samplers that failed.
func (r *Registry) RunOnce(ctx context.Context) error {
	select {
	case r.sampling <- struct{}{}:
		defer func() { <-r.sampling }()
	default:
		return nil
	}
	var failed []error
	for _, s := range r.samplers {
		// The clock's steps are not exact: half an interval early is not early.
		if now := r.clock.Now(); s.taken.IsZero() || now.Sub(s.taken) >= s.every-interval/2 {
			s.taken = now
			err := r.run(ctx, s)
			switch {
			case err == nil:
			case errors.Is(err, ErrNotNow):
				s.taken = time.Time{}
			default:
				r.Add(SampleFailed, 1, s.name)
				failed = append(failed, fmt.Errorf("sample %s: %w", s.name, err))
			}
		}
	}
	for _, reading := range r.readings() {
		r.emit(reading.Gauge, reading.value, reading.labels)
	}
	r.emission.RLock()
	defer r.emission.RUnlock()
	if r.measurement != nil {
		r.measurement.EmitRuntimeStats()
	}
	return errors.Join(failed...)
}

func (r *Registry) run(ctx context.Context, s *sampler) error {
	found := map[string]*reading{}
	err := s.take(ctx, func(g Gauge, value float64, labels ...string) {
		found[seriesKey(g.Metric, labels)] = &reading{Gauge: g, value: value, labels: labels}
	})
	if err != nil {
		return err
	}
	for key, former := range s.last {
		if found[key] == nil {
			r.drop(former)
			r.emit(former.Gauge, 0, former.labels)
		}
	}
	for _, reading := range found {
		r.Set(reading.Gauge, reading.value, reading.labels...)
	}
	s.last = found
	return nil
}

func (r *Registry) readings() []*reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*reading, 0, len(r.held))
	for _, reading := range r.held {
		all = append(all, reading)
	}
	return all
}
