package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
)

// openCalls are the calls that have entered and not left, and those cut of late.
type openCalls struct {
	mu    sync.Mutex
	calls map[*Permit]struct{}

	sweeping sync.Mutex // one sweep at a time, so that who waits for it finds in lately all that it cut
	lately   []lateCut
	judged   *facts.Snapshot // of the last sweep
}

// Swept is the end of the first sweep on a snapshot: whatever enters, and whatever runs, is judged by it from then on.
type Swept struct {
	At    time.Time
	Facts *facts.Snapshot
	Cut   []*Permit // what the sweep ended
}

// A lateCut is kept for the report of whoever gave the order, which may not be
// whose sweep came first.
type lateCut struct {
	at     time.Time
	permit *Permit
}

// reportFor is how long a cut can be reported, maxLately how many are kept.
const (
	reportFor = time.Minute
	maxLately = 4096
)

// keep adds to lately and forgets what is old. It is called while sweeping.
func (o *openCalls) keep(at time.Time, cut []*Permit) {
	old := 0
	for old < len(o.lately) && (at.Sub(o.lately[old].at) > reportFor || len(o.lately)-old+len(cut) > maxLately) {
		old++
	}
	o.lately = slices.Delete(o.lately, 0, old)
	for _, p := range cut[:min(len(cut), maxLately)] {
		o.lately = append(o.lately, lateCut{at, p})
	}
}

func (o *openCalls) enter(p *Permit) {
	p.ended = make(chan struct{})
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls == nil {
		o.calls = map[*Permit]struct{}{}
	}
	o.calls[p] = struct{}{}
}

func (o *openCalls) leave(p *Permit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.calls, p)
}

func (o *openCalls) list() []*Permit {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*Permit, 0, len(o.calls))
	for p := range o.calls {
		all = append(all, p)
	}
	return all
}

// A CutCall is one call that a sweep ended.
type CutCall struct {
	Decision string                `json:"decision"`
	Who      sallyport.PrincipalID `json:"who"`
	Action   sallyport.Action      `json:"action"`
	On       string                `json:"on"`
	Reason   string                `json:"reason"`
	Bytes    int64                 `json:"bytes"`    // delivered in all
	AfterCut int64                 `json:"afterCut"` // of these, after the order to stop
	Ended    bool                  `json:"ended"`    // it had finished when the sweep returned
}

// Open returns how many calls are running.
func (g *Guard) Open() int { return len(g.open.list()) }

// Sweep decides every running call again on the present facts and cuts those that
// would not be permitted now. It waits up to wait for them to end and reports
// what it cut. It is safe to call at any time and from many goroutines.
func (g *Guard) Sweep(ctx context.Context, wait time.Duration) []CutCall {
	cut := g.sweep()
	if len(cut) == 0 {
		return nil
	}
	g.recordCuts(ctx, cut)
	return await(ctx, cut, wait)
}

func (g *Guard) sweep() []*Permit {
	g.open.sweeping.Lock()
	defer g.open.sweeping.Unlock()
	snap := g.Facts.Snapshot()
	var cut []*Permit
	for _, p := range g.open.list() {
		if c := g.recheck(p, snap); c != nil && p.cut.CompareAndSwap(nil, c) {
			p.cancel(c)
			cut = append(cut, p)
		}
	}
	at := g.now()
	g.open.keep(at, cut)
	if g.Swept != nil && snap != g.open.judged {
		g.Swept(Swept{At: at, Facts: snap, Cut: cut})
	}
	g.open.judged = snap
	return cut
}

// Enforce is Sweep for whoever changed the facts under the permit order: it
// reports every other call that was cut since order began, whichever sweep found
// it first, because Watch is woken by the same change.
func (g *Guard) Enforce(ctx context.Context, order *Permit, wait time.Duration) []CutCall {
	return g.enforce(ctx, order.began, func(p *Permit) bool { return p != order }, wait)
}

// EnforceFor is Enforce for whoever changed the facts about some principals since
// a time, under whatever permit: it reports their calls that were cut.
func (g *Guard) EnforceFor(ctx context.Context, since time.Time, who []sallyport.PrincipalID, wait time.Duration) []CutCall {
	return g.enforce(ctx, since, func(p *Permit) bool { return slices.Contains(who, p.who.ID) }, wait)
}

func (g *Guard) enforce(ctx context.Context, since time.Time, of func(*Permit) bool, wait time.Duration) []CutCall {
	g.Sweep(ctx, 0)
	g.open.sweeping.Lock()
	var cut []*Permit
	for _, c := range g.open.lately {
		if of(c.permit) && !c.at.Before(since) {
			cut = append(cut, c.permit)
		}
	}
	g.open.sweeping.Unlock()
	return await(ctx, cut, wait)
}

// recheck returns why p must end, nil when it may go on.
func (g *Guard) recheck(p *Permit, snap *facts.Snapshot) *Cut {
	if p.basis.Load() == nil {
		return nil // entered, not decided yet: its own decision reads facts no older than these
	}
	if err := snap.Live(p.who, g.now()); err != nil {
		return &Cut{Decision: p.id, Reason: sallyport.ReasonOf(err), Text: sallyport.PublicText(err)}
	}
	f, err := g.gather(p, snap)
	if err != nil {
		return &Cut{Decision: p.id, Reason: "facts.missing", Text: sallyport.PublicText(err)}
	}
	if f.Resource.Digest != p.resource.Digest {
		f.Basis = nil // the name moved; what is being read has been replaced or removed
		if f, err = g.gatherPinned(p, snap); err != nil {
			return &Cut{Decision: p.id, Reason: "resource.gone", Text: "what is being read was removed"}
		}
	}
	d := decision.Judge(snap.Engine(), f)
	if d.Outcome == sallyport.Allow {
		p.basis.Store(f.Basis)
		return nil
	}
	told := cause(decision.Shown(snap.Engine(), d).Reasons)
	return &Cut{Decision: p.id, Reason: cause(d.Reasons).ID, Text: told.Text}
}

// gatherPinned gathers the facts for exactly what p was decided on.
func (g *Guard) gatherPinned(p *Permit, snap *facts.Snapshot) (decision.Facts, error) {
	pinned := &Permit{call: p.call, who: p.who}
	pinned.call.Target = p.resource.Ref()
	return g.gather(pinned, snap)
}

// recordsAtOnce is how many records the trail takes in one piece.
const recordsAtOnce = 100

func (g *Guard) recordCuts(ctx context.Context, cut []*Permit) {
	bodies := make([][]byte, 0, len(cut))
	for _, p := range cut {
		e := sallyport.Event{Type: sallyport.EventCut, At: g.now().UnixMicro(), Decision: p.id, Who: p.who.ID,
			Action: p.call.Action, On: p.resource.String(), Reasons: []string{p.cut.Load().Reason}}
		if b, err := e.Encode(); err == nil {
			bodies = append(bodies, b)
		}
	}
	for group := range slices.Chunk(bodies, recordsAtOnce) {
		if _, err := g.append(ctx, group...); err != nil {
			g.Logger.ErrorContext(ctx, "cuts were made and could not be recorded", "calls", len(group), "err", err)
		}
	}
}

// await gives the cut calls time to end, so that the report can say how many
// bytes left after the order.
func await(ctx context.Context, cut []*Permit, wait time.Duration) []CutCall {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	report := make([]CutCall, len(cut))
	for i, p := range cut {
		r := CutCall{Decision: p.id, Who: p.who.ID, Action: p.call.Action, On: p.resource.String(), Reason: p.cut.Load().Reason}
		select {
		case <-p.ended:
			r.Ended = true
		case <-ctx.Done():
		}
		r.Bytes, r.AfterCut = p.bytes.Load(), p.afterCut.Load()
		report[i] = r
	}
	return report
}

// Watch sweeps whenever the facts change and once every interval, until ctx ends.
// The interval bounds how long a call outlives an expired grant.
func (g *Guard) Watch(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		changed := g.Facts.Changed()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
		g.Sweep(ctx, 0)
	}
}

// A Cut is the cause with which a permit's context ends when it is withdrawn.
type Cut struct {
	Decision string // id of the decision that was withdrawn
	Reason   string // id of the reason, for example "hold:H-…"
	Text     string // for people
}

// Error says what the caller may read.
func (c *Cut) Error() string {
	return fmt.Sprintf("sallyport %s: the permission was withdrawn: %s", c.Decision, c.Text)
}

// AsCut returns the cut that ended ctx, if one did.
func AsCut(ctx context.Context) (*Cut, bool) { return errors.AsType[*Cut](context.Cause(ctx)) }
