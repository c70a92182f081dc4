package server

import (
	"context"

	"github.com/robfig/cron/v3"

	"leasehold/node"
)

// beat gives the other nodes signs of life while the store is open, until ctx is done. It is apart from the reaper, whose
// rounds may take long.
func (p *parts) beat(ctx context.Context) {
	failing := false
	job := cron.NewChain(cron.Recover(cronLog{p.log}), cron.SkipIfStillRunning(cron.DiscardLogger)).Then(cron.FuncJob(func() {
		if ctx.Err() != nil || !p.store.Unlocked() {
			return
		}
		err := p.nodes.Beat(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			p.log.Error("the other nodes cannot be told that this one is alive; they will take over its work", "error", err)
		}
		failing = err != nil
	}))
	c := cron.New()
	c.Schedule(cron.Every(node.Period), job)
	c.Start()
	<-ctx.Done()
	<-c.Stop().Done()
}

// leave hands this node's work over before it ends.
func (p *parts) leave(ctx context.Context) {
	if !p.store.Unlocked() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := p.nodes.Leave(ctx); err != nil {
		p.log.Warn("the other nodes could not be told that this one ends; they will notice", "error", err)
	}
}
