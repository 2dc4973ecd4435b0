package guard

import (
	"context"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
)

// Ask decides what who may do, for an enforcement point elsewhere that holds the permit by to ask about the resource
// (sallyport.DecisionAsk). The decision is recorded under who, with the point and the decision that let it ask. It is
// an answer and no capability: there is no Permit in it, and nothing here opens for it. Who cannot act at all is refused
// with the reason why, as an answer.
//
// Whether who is as the point says is the door's to know: proved by a token of theirs, or believed because the point is
// one that is believed.
func (g *Guard) Ask(ctx context.Context, by *Permit, who sallyport.Principal, c Call) (Answer, error) {
	if err := mayAsk(by, sallyport.DecisionAsk); err != nil {
		return Answer{}, err
	}
	p := &Permit{guard: g, call: c, who: who, began: g.now(), asked: by}
	snap := g.Facts.Snapshot()
	if target, ok := snap.Resolve(c.Target); !ok || target != by.resource {
		return Answer{}, sallyport.E("ask", sallyport.Other, "the permission to ask is for another resource", "")
	}
	if err := snap.Live(who, p.began); err != nil {
		id, iderr := g.newID()
		if iderr != nil {
			return Answer{}, iderr
		}
		e := g.event(sallyport.EventRefused, c, who.ID)
		e.Decision, e.Reasons, e.Detail = id, []string{sallyport.ReasonOf(err)}, p.detail()
		if _, err := g.write(ctx, e); err != nil {
			return Answer{}, err
		}
		return Answer{ID: id, Hidden: true, Decision: sallyport.Decision{Outcome: sallyport.Deny}}, nil
	}
	return g.decide(ctx, p, snap)
}

// Would is what Ask would say, with nothing recorded: for lists of what somebody may do, or of who may, whose recording
// is the caller's. It is false where no decision can be made. With a permit to list (sallyport.ModelList) the caller asks
// about what Visible has shown only.
func (g *Guard) Would(by *Permit, who sallyport.Principal, c Call) bool {
	if mayAsk(by, sallyport.DecisionAsk, sallyport.ModelList) != nil {
		return false
	}
	snap := g.Facts.Snapshot()
	if snap.Live(who, g.now()) != nil {
		return false
	}
	f, err := g.gather(&Permit{guard: g, call: c, who: who}, snap)
	return err == nil && f.Resource.Kind != "" && carry(&f, decision.Judge(snap.Engine(), f), c.CarryOut).Outcome == sallyport.Allow
}

// mayAsk refuses what is no permit for one of actions.
func mayAsk(by *Permit, actions ...sallyport.Action) error {
	if !by.Allows(actions...) {
		return sallyport.E("ask", sallyport.Other, "there is no permit to ask for decisions about others", "")
	}
	return nil
}

// detail names the enforcement point that asked, nil where the one who acts did.
func (p *Permit) detail() map[string]string {
	if p.asked == nil {
		return nil
	}
	return map[string]string{"by": string(p.asked.who.ID), "asked": p.asked.id}
}

// judge decides, with what decision points elsewhere say where the call is permitted here. What they say is kept in f: a
// replay hears the same. That one could not be asked is recorded, and nothing is permitted.
func (g *Guard) judge(ctx context.Context, p *Permit, snap *facts.Snapshot, f *decision.Facts) (sallyport.Decision, error) {
	d := carry(f, decision.Judge(snap.Engine(), *f), p.call.CarryOut)
	if d.Outcome != sallyport.Allow || g.Opinions == nil {
		return d, nil
	}
	var err error
	if f.Opinions, err = g.Opinions(ctx, *f); err != nil {
		e := g.event(sallyport.EventRefused, p.call, p.who.ID)
		e.Reasons = []string{"opinion.unavailable"}
		if _, werr := g.write(ctx, e); werr != nil {
			return d, werr
		}
		return d, sallyport.Wrap("check", sallyport.Unavailable, "a decision point elsewhere that has a say in this cannot be asked", err)
	}
	if len(f.Opinions) == 0 {
		return d, nil
	}
	return decision.Judge(snap.Engine(), *f), nil
}
