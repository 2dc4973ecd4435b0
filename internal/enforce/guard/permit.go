package guard

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
)

// A Permit is the capability to do one permitted thing. Only a guard makes one;
// the zero value and nil open nothing. It ends with Done, or is cut.
type Permit struct {
	guard       *Guard
	id          string
	call        Call
	who         sallyport.Principal
	resource    sallyport.Resource
	obligations []sallyport.Obligation
	began       time.Time
	basis       atomic.Pointer[decision.Basis]
	asked       *Permit // of the enforcement point that asks for the decision, nil where who acts does

	ctx    context.Context
	cancel context.CancelCauseFunc

	bytes    atomic.Int64
	cut      atomic.Pointer[Cut]
	afterCut atomic.Int64
	done     sync.Once
	ended    chan struct{}
}

// Valid reports whether the permit opens anything now: made by a guard, not
// finished, not cut.
func (p *Permit) Valid() bool { return p != nil && p.guard != nil && p.ctx.Err() == nil }

// Allows reports whether the permit is valid and was given for one of actions.
func (p *Permit) Allows(actions ...sallyport.Action) bool {
	return p.Valid() && slices.Contains(actions, p.call.Action)
}

// Context ends when the permit is cut or done, or the caller is gone. Everything
// done under the permit uses it.
func (p *Permit) Context() context.Context { return p.ctx }

// ID is the decision id, "D-…".
func (p *Permit) ID() string { return p.id }

// Began is when the guard took the call in, before it was decided on.
func (p *Permit) Began() time.Time { return p.began }

// Action is what was permitted.
func (p *Permit) Action() sallyport.Action { return p.call.Action }

// Who is whom it was permitted to. It is for records (an owner, a requester),
// never for a decision.
func (p *Permit) Who() sallyport.Principal { return p.who }

// Resource is what it was permitted on, pinned.
func (p *Permit) Resource() sallyport.Resource { return p.resource }

// File is the path inside the version that it was permitted for, "" for all.
func (p *Permit) File() string { return p.call.File }

// Obligations are what must be carried out, sorted.
func (p *Permit) Obligations() []sallyport.Obligation { return slices.Clone(p.obligations) }

// Opens reports whether the permit reaches a file of its version: it matches every glob
// that the permit obliges to.
func (p *Permit) Opens(file string) bool {
	for _, o := range p.obligations {
		if o.Kind == sallyport.OnlyFiles && !sallyport.MatchFile(o.Text, file) {
			return false
		}
	}
	return true
}

// Span is which bytes of each file the permit reaches, both offsets inclusive: what all
// of its ranges have in common. Where nothing is in common, last is below first.
func (p *Permit) Span() (first, last int64) {
	last = math.MaxInt64
	for _, o := range p.obligations {
		if o.Kind != sallyport.OnlyRange {
			continue
		}
		a, b, ok := o.Range()
		if !ok {
			return 0, -1
		}
		first, last = max(first, a), min(last, b)
	}
	return first, last
}

// Scoped reports whether the permit reaches only a part of what it was given for.
func (p *Permit) Scoped() bool {
	return slices.ContainsFunc(p.obligations, func(o sallyport.Obligation) bool { return o.Kind.Several() })
}

// Count adds n bytes handed to the client. It returns the cut if the permit was
// withdrawn; those bytes are then counted as delivered after the order.
func (p *Permit) Count(n int) error {
	p.bytes.Add(int64(n))
	if c := p.cut.Load(); c != nil {
		p.afterCut.Add(int64(n))
		return c
	}
	return nil
}

// Bytes is how many bytes were counted so far.
func (p *Permit) Bytes() int64 { return p.bytes.Load() }

// Done ends the permit and records what was delivered; it returns when that is
// durable. Fields the door leaves zero (bytes, duration) are filled in; after a cut
// the bytes are those counted, whatever the door says. Only the first call
// records; later ones return nil.
func (p *Permit) Done(d sallyport.Delivered) error {
	if p == nil || p.guard == nil {
		return sallyport.E("finish", sallyport.Invalid, "there is no permit", "")
	}
	var err error
	p.done.Do(func() { err = p.finish(d) })
	return err
}

func (p *Permit) finish(d sallyport.Delivered) error {
	g := p.guard
	defer close(p.ended)
	defer p.cancel(nil)
	g.open.leave(p)
	if d.Bytes == 0 {
		d.Bytes = p.bytes.Load()
	}
	d.Micros = g.now().Sub(p.began).Microseconds()
	// From here on no sweep can cut the call: either it was cut, and the record says
	// so, or it ended, and nobody reports a cut that did not happen.
	if !p.cut.CompareAndSwap(nil, &Cut{Decision: p.id, Reason: "finished", Text: "the call is over"}) {
		p.cancel(p.cut.Load()) // the sweep may not have come to it yet
		d.End, d.Bytes, d.AfterCut = "cut", p.bytes.Load(), p.afterCut.Load()
	}
	e := sallyport.Event{Type: sallyport.EventCompleted, At: g.now().UnixMicro(), Decision: p.id, Delivered: &d}
	_, err := g.write(p.ctx, e)
	return err
}
