package server

import (
	"context"
	"time"
)

// followEvery bounds how stale the facts may silently be; sweepEvery how long a
// call outlives an expired grant.
const (
	followEvery = 200 * time.Millisecond
	sweepEvery  = 500 * time.Millisecond
	policyEvery = 2 * time.Second // at the latest, where no wake-up came
	tendEvery   = time.Minute
)

func (s *Server) openBackground(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	for _, work := range []func(){
		func() { s.facts.Follow(ctx, followEvery) },
		func() { s.followPolicies(ctx) },
		func() { s.guard.Watch(ctx, sweepEvery) },
		func() { s.index.Run(ctx) },
		func() { s.keepWatch(ctx) },
		func() { s.followTasks(ctx) },
		func() { s.tend(ctx) },
		func() { s.remember(ctx) },
		func() { s.followTokens(ctx) },
		func() { s.sendLogouts(ctx) },
		func() { s.drift.service.Run(ctx) },
		func() { s.metric.meter.Run(ctx) },
		func() { s.metric.follower.Run(ctx) },
		func() { s.drift.follower.Run(ctx) },
		func() { s.signals.follower.Run(ctx) },
		func() { s.signals.doors.Run(ctx) },
		func() { s.rooms.drills.Run(ctx) },
	} {
		s.running.Go(work)
	}
	for _, w := range s.sweeps {
		s.running.Go(func() { s.runSweep(ctx, w) })
	}
	return nil
}

// every does something at each tick until ctx ends, one after the other.
func every(ctx context.Context, span time.Duration, do func()) {
	tick := time.NewTicker(span)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		do()
	}
}

// tend does what is due now and then. What fails is logged and due again.
func (s *Server) tend(ctx context.Context) {
	every(ctx, tendEvery, func() {
		for name, work := range map[string]func(context.Context) error{
			"tend tokens": s.tendTokens, "sweep uploads": s.vault.Sweep,
			"tend what is watched": s.tendWatch,
			"forget old guesses":   s.rooms.throttle.Prune, "mark the time": s.steady.Mark, "forget old sessions": s.rooms.sessions.Prune,
			"tend devices":          s.rooms.devices.Tend,
			"acknowledge policy":    s.rooms.policies.Acknowledge,
			"end what leavers left": s.rooms.leaver.Tend,
			"tend signals":          s.signals.streams.Tend,
		} {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				s.logger.WarnContext(ctx, "upkeep failed", "what", name, "err", err)
			}
		}
	})
}
