package embed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
)

// A Permit is the permission to do one thing, now. Only a Guard makes one; nil and the zero value permit nothing. It is
// asked again while it is open, and ends with Done.
type Permit struct {
	guard       *Guard
	call        Call
	id          string
	obligations []sallyport.Obligation

	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  sync.WaitGroup
	done   sync.Once
	bytes  atomic.Int64
}

// A Cut is the cause with which a permit's context ends when it was withdrawn, or nobody could say any more that it stands.
type Cut struct {
	Decision string // id of the decision that was withdrawn
	Text     string // for people
}

// Error says what the caller may read.
func (c *Cut) Error() string {
	return fmt.Sprintf("sallyport %s: the permission was withdrawn: %s", c.Decision, c.Text)
}

// Valid reports whether the permit permits anything now.
func (p *Permit) Valid() bool { return p != nil && p.guard != nil && p.ctx.Err() == nil }

// Allows reports whether the permit is valid and was given for one of actions on a resource.
func (p *Permit) Allows(on sallyport.Ref, actions ...sallyport.Action) bool {
	return p.Valid() && p.call.Resource == on && slices.Contains(actions, p.call.Action)
}

// Context ends when the permit is cut or done, or the caller is gone. Everything done under the permit uses it.
func (p *Permit) Context() context.Context { return p.ctx }

// ID is the decision id, "D-…", under which the permission stands in Sallyport's log.
func (p *Permit) ID() string { return p.id }

// Who is whom it was permitted to.
func (p *Permit) Who() sallyport.PrincipalID { return p.call.Who }

// Obligations are what must be carried out.
func (p *Permit) Obligations() []sallyport.Obligation { return slices.Clone(p.obligations) }

// Count adds n bytes that are about to be handed out. It returns an error, and the bytes must stay, where the permit was
// cut, is done, or is for fewer bytes.
func (p *Permit) Count(n int) error {
	if !p.Valid() {
		if p == nil || p.guard == nil {
			return sallyport.E("count", sallyport.Invalid, "there is no permit", "")
		}
		return context.Cause(p.ctx)
	}
	total := p.bytes.Add(int64(n))
	for _, o := range p.obligations {
		if o.Kind == sallyport.LimitBytes && total > o.Value {
			p.cancel(&Cut{Decision: p.id, Text: fmt.Sprintf("it is for %d bytes", o.Value)})
			return context.Cause(p.ctx)
		}
	}
	return nil
}

// Done ends the permit and waits for its watch. It may be called more than once.
func (p *Permit) Done() {
	if p == nil || p.guard == nil {
		return
	}
	p.done.Do(func() { p.cancel(nil) })
	p.watch.Wait()
}

// follow asks again until the permit ends, and cuts it when the answer is another one or there is none.
func (p *Permit) follow() {
	tick := time.NewTicker(p.guard.cfg.Again)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		a, obligations, err := p.guard.ask(p.ctx, p.call)
		switch {
		case err != nil:
			p.cancel(&Cut{Decision: p.id, Text: "Sallyport could not be asked whether it still stands"})
		case a.Outcome != sallyport.Allow:
			p.cancel(&Cut{Decision: p.id, Text: a.Message})
		case !slices.Equal(obligations, p.obligations):
			p.cancel(&Cut{Decision: p.id, Text: "what it obliges to has changed"})
		}
	}
}
