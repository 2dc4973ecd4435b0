package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy/cedar"
)

// pauseWithin is how much longer a decision may wait because a policy set is put in force, in milliseconds.
const pauseWithin = 50

// A standing is a set in force with questions that were prepared for it.
type standing struct {
	engine *cedar.Engine
	ask    []decision.Facts
}

// swap measures the longest that a decision waits while the largest set is put in force again and again, and while such a
// set is compiled on the same processors, both against the longest wait while neither happens.
func (r *run) swap(ctx context.Context) error {
	most := r.size.policies[len(r.size.policies)-1]
	w := cedar.NewWorkload(most, r.size.entities)
	var sets [2]*standing
	for i := range sets {
		engine, err := cedar.Compile(w.Source)
		if err != nil {
			return err
		}
		sets[i] = &standing{engine: engine}
		for n := range questions {
			f, err := factsOf(engine, w.Entities, n, sallyport.Allow)
			if err != nil {
				return err
			}
			sets[i].ask = append(sets[i].ask, f)
		}
	}
	now := &atomic.Pointer[standing]{}
	now.Store(sets[0])
	all, err := turns(ctx, r.size.rounds, r.waits(now, nil),
		r.waits(now, func(turn int) error { // a set that was compiled when it was proposed
			now.Store(sets[turn%2])
			time.Sleep(r.size.round / 50)
			return nil
		}),
		r.waits(now, func(int) error {
			_, err := cedar.Compile(w.Source)
			return err
		}))
	if err != nil {
		return err
	}
	const group = "swap"
	quiet := of(all[0], longest)
	r.add(added(of(all[1], longest), quiet, "ms", "nothing is put in force").atMost(pauseWithin), group, fmt.Sprintf("longest wait, %d policies put in force", most),
		fmt.Sprintf("how much longer the longest of all decisions takes on %d processors that do nothing else, while sets that are compiled are put in force over and over", runtime.GOMAXPROCS(0)))
	r.add(added(of(all[2], longest), quiet, "ms", "nothing is compiled").atMost(pauseWithin), group, fmt.Sprintf("longest wait, %d policies compiled", most),
		"the same while a proposed set is compiled without a pause on the same processors, and the memory that this takes is collected")
	return nil
}

// waits is the side that decides on every processor for a round, or until what happens meanwhile is done once, and keeps the longest time.
func (r *run) waits(now *atomic.Pointer[standing], meanwhile func(turn int) error) side {
	return func(ctx context.Context) (sample, error) {
		begin := time.Now()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var asking sync.WaitGroup
		times := make([][]time.Duration, runtime.GOMAXPROCS(0))
		wrong := make([]error, len(times))
		for i := range times {
			asking.Go(func() { times[i], wrong[i] = decideUntil(ctx, now) })
		}
		var err error
		for turn := 0; err == nil && (time.Since(begin) < r.size.round || turn == 0); turn++ {
			if meanwhile == nil {
				time.Sleep(r.size.round)
				continue
			}
			err = meanwhile(turn)
		}
		cancel()
		asking.Wait()
		for _, e := range append(wrong, err) {
			if e != nil {
				return sample{}, e
			}
		}
		return sampled(slices.Concat(times...), time.Since(begin)), nil
	}
}

// decideUntil decides without a pause until ctx ends, and returns how long each decision took with the wait for a processor.
func decideUntil(ctx context.Context, now *atomic.Pointer[standing]) ([]time.Duration, error) {
	var times []time.Duration
	last := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		s := now.Load()
		d := decision.Decide(s.engine, s.ask[i%len(s.ask)])
		if d.Outcome != sallyport.Allow {
			return times, fmt.Errorf("a decision is %v because of %v", d.Outcome, d.ReasonIDs())
		}
		next := time.Now()
		times = append(times, next.Sub(last))
		last = next
	}
	return times, nil
}
