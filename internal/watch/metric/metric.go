// Package metric owns how fast orders that take rights away are in force (the measure that NIST SP 800-55 asks of a control): for
// each such record of the log, the time until this node's guard judged every call by it and what ran was cut.
//
// It follows the trail and the guard's sweeps, and measures nothing where the order is carried out: whoever gives it, by
// whatever door, is measured alike. What it finds is an event of the trail, and every figure can be made again from those.
//
// It leaves orders to their rooms, judging and cutting to the guard, and limits to whoever reads the figures.
package metric

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/enforce/guard"
)

// Limits of what is kept in memory.
const (
	maxSweeps  = 64     // that were not looked at yet; later ones are taken together
	maxMoments = 16_384 // of things that were taken
	maxWaiting = 4_096  // orders that are not in force yet
	maxCalls   = 20     // cut calls that an event names
)

// patience is how long an order may take until the log says that nobody saw it in force.
const patience = time.Minute

// A Meter measures. Its fields are set before its first use; its methods may be called from many goroutines, Handle from one.
type Meter struct {
	// Note writes an event down, durably.
	Note  func(ctx context.Context, e sallyport.Event) error
	Clock func() time.Time
	// Provider reports whether a principal is the account of a provider that keeps people here.
	Provider func(sallyport.PrincipalID) bool
	Logger   *slog.Logger

	mu     sync.Mutex
	sweeps []guard.Swept
	woken  chan struct{}

	work    sync.Mutex // held while sweeps and orders are held against each other
	newest  *facts.Snapshot
	moments map[string]moment
	names   []string // of moments, the oldest first
	waiting []order
	next    uint64
}

// A moment is when something was taken, and what that cut.
type moment struct {
	at  time.Time
	cut []string // decision ids
}

// Begin has the meter read the trail from an entry on: the orders of an earlier process are in force by what a start reads.
func (m *Meter) Begin(next uint64) {
	m.work.Lock()
	defer m.work.Unlock()
	m.next = next
}

// Next is the number of the first event that was not handled yet.
func (m *Meter) Next(context.Context) (uint64, error) {
	m.work.Lock()
	defer m.work.Unlock()
	return m.next, nil
}

// Swept takes the end of a sweep. It does not wait.
func (m *Meter) Swept(s guard.Swept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.sweeps); n == maxSweeps {
		s.Cut = slices.Concat(m.sweeps[n-1].Cut, s.Cut)
		m.sweeps = m.sweeps[:n-1]
	}
	m.sweeps = append(m.sweeps, s)
	select {
	case m.wake() <- struct{}{}:
	default:
	}
}

// wake returns the channel that says that there are sweeps. The caller holds mu.
func (m *Meter) wake() chan struct{} {
	if m.woken == nil {
		m.woken = make(chan struct{}, 1)
	}
	return m.woken
}

// Run looks at sweeps as they end, until ctx does.
func (m *Meter) Run(ctx context.Context) {
	m.mu.Lock()
	woken := m.wake()
	m.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-tick.C:
		}
		if err := m.Look(ctx); err != nil && ctx.Err() == nil {
			m.Logger.WarnContext(ctx, "how fast orders are in force cannot be written down yet", "err", err)
		}
	}
}

// Look holds what waits against the sweeps that ended meanwhile.
func (m *Meter) Look(ctx context.Context) error {
	m.work.Lock()
	defer m.work.Unlock()
	m.learn()
	for i := 0; i < len(m.waiting); {
		settled, err := m.settle(ctx, m.waiting[i])
		if err != nil {
			return err
		}
		if settled {
			m.waiting = slices.Delete(m.waiting, i, i+1)
		} else {
			i++
		}
	}
	return nil
}

// Handle takes events that give orders. An order whose sweep is not over waits for it.
func (m *Meter) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	m.work.Lock()
	defer m.work.Unlock()
	m.learn()
	for _, e := range events {
		if e.Seq < m.next {
			continue // handled before one failed
		}
		if o, ok := orderOf(e, m.Provider); ok {
			o.read = m.Clock()
			settled, err := m.settle(ctx, o)
			if err != nil {
				return err
			}
			if !settled && len(m.waiting) < maxWaiting {
				m.waiting = append(m.waiting, o)
			}
		}
		m.next = e.Seq + 1
	}
	m.next = max(m.next, next)
	return nil
}

// settle writes down when an order was in force, and reports whether nothing more is to be done about it.
func (m *Meter) settle(ctx context.Context, o order) (bool, error) {
	var last moment
	took := 0
	for _, what := range o.takes {
		now, known := m.moments[what]
		switch {
		case known && !now.at.Before(o.given):
			if took++; now.at.After(last.at) {
				last.at = now.at
			}
			last.cut = append(last.cut, now.cut...)
		case m.newest != nil && m.newest.Took(what): // by an earlier order
		case m.Clock().Sub(o.read) < patience:
			return false, nil
		default:
			return true, m.Note(ctx, o.unseen())
		}
	}
	if took == 0 {
		return true, nil // it took what was taken before
	}
	return true, m.Note(ctx, o.seen(last))
}

// about is the event of an order's being in force, or of its not being seen to be.
func (o order) about() sallyport.Event {
	return sallyport.Event{Type: sallyport.EventInForce, Who: o.event.Who, Decision: o.event.Decision, On: o.event.On,
		Detail: map[string]string{"kind": string(o.kind), "order": strconv.FormatUint(o.event.Seq, 10)}}
}

func (o order) seen(at moment) sallyport.Event {
	e := o.about()
	e.Detail["micros"] = strconv.FormatInt(at.at.Sub(o.given).Microseconds(), 10)
	slices.Sort(at.cut)
	if cut := slices.Compact(at.cut); len(cut) > 0 {
		e.Detail["cut"] = strconv.Itoa(len(cut))
		e.Detail["calls"] = strings.Join(cut[:min(len(cut), maxCalls)], " ")
	}
	return e
}

func (o order) unseen() sallyport.Event {
	e := o.about()
	e.Detail["unseen"] = patience.String()
	return e
}

// learn finds out what each sweep that ended was the first to take.
func (m *Meter) learn() {
	m.mu.Lock()
	sweeps := m.sweeps
	m.sweeps = nil
	m.mu.Unlock()
	if m.moments == nil {
		m.moments = map[string]moment{}
	}
	for _, s := range sweeps {
		if m.newest != nil {
			taken := s.Facts.TakenSince(m.newest)
			cut := share(taken, s.Cut)
			for _, what := range taken {
				m.keep(what, moment{s.At, cut[what]})
			}
		}
		m.newest = s.Facts
	}
}

func (m *Meter) keep(what string, at moment) {
	if _, again := m.moments[what]; !again {
		m.names = append(m.names, what)
	}
	m.moments[what] = at
	for len(m.names) > maxMoments {
		delete(m.moments, m.names[0])
		m.names = m.names[1:]
	}
}

// share says which of the cut calls ended for what of all that was taken at once: those of the person, the session or the device, by
// the hold that the cut names, and what is left by the grants and policies.
func share(taken []string, cut []*guard.Permit) map[string][]string {
	all := map[string][]string{}
	for _, p := range cut {
		whose := names(p)
		found := false
		for _, what := range taken {
			if slices.Contains(whose, what) {
				all[what], found = append(all[what], p.ID()), true
			}
		}
		for _, what := range taken {
			if !found && (strings.HasPrefix(what, "grant:") || strings.HasPrefix(what, "policy:")) {
				all[what] = append(all[what], p.ID())
			}
		}
	}
	return all
}

// names are the things without which a call ends, and the hold that ended it.
func names(p *guard.Permit) []string {
	w := p.Who()
	all := []string{string(w.ID), string(w.Person), "session:" + w.Session, "session:" + w.Family, "device:" + w.Device}
	for _, id := range w.Actors {
		all = append(all, string(id))
	}
	for _, id := range w.Consents {
		all = append(all, "session:"+id)
	}
	if c, ok := guard.AsCut(p.Context()); ok {
		all = append(all, c.Reason)
	}
	return all
}
