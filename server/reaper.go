package server

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/robfig/cron/v3"

	"leasehold/broker"
	"leasehold/internal/clock"
	"leasehold/lease"
)

// reaper calls the broker when something is due: each second, when a commit has made something due at once, and at the
// moment at which the next lease ends.
type reaper struct {
	broker *broker.Broker
	leases *lease.Manager
	clock  clock.Clock
	log    *slog.Logger
	woken  <-chan struct{} // tokens made something due
}

// period is how often the reaper looks by itself.
const period = time.Second

// run returns when ctx is done and the round that was under way has ended. Claimed work goes on until lease.Manager.Wait
// returns.
func (r *reaper) run(ctx context.Context) {
	next := make(chan time.Time, 1)
	job := cron.NewChain(cron.Recover(cronLog{r.log}), cron.SkipIfStillRunning(cron.DiscardLogger)).Then(cron.FuncJob(func() {
		r.round(ctx, next)
	}))
	c := cron.New()
	c.Schedule(cron.Every(period), job)
	c.Start()
	early := time.NewTimer(period)
	defer early.Stop()
	for {
		select {
		case <-ctx.Done():
			<-c.Stop().Done()
			return
		case at := <-next:
			early.Reset(max(at.Sub(r.clock.Now()), 0))
			continue
		case <-r.woken:
		case <-r.leases.Wake():
		case <-early.C:
		}
		job.Run()
	}
}

// round does what is due, and tells when to come again if that is before cron does.
func (r *reaper) round(ctx context.Context, next chan<- time.Time) {
	if ctx.Err() != nil {
		return
	}
	if err := r.broker.Reap(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("reap", "error", err)
	}
	at, ok, err := r.broker.NextDue(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("reap", "error", err)
		}
		return
	}
	// What is due already is being worked at, or waits for its turn: cron's pace is right for it.
	if now := r.clock.Now(); ok && at.After(now) && at.Sub(now) < period {
		select {
		case next <- at:
		default: // the round before has told already
		}
	}
}

// cronLog logs panics of the reaper. The value of a panic may hold data, so only the runtime's own is shown.
type cronLog struct{ log *slog.Logger }

func (cronLog) Info(string, ...any) {}

func (l cronLog) Error(err error, message string, pairs ...any) {
	if fault, ok := err.(runtime.Error); ok {
		pairs = append(pairs, "error", fault)
	}
	l.log.Error("reaper: "+message, pairs...)
}
