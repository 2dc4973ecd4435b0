package guard

import (
	"context"
	"slices"
	"sync"

	"sallyport"
	"sallyport/internal/authz/decision"
)

// Unmapped records a request that no route of the door's table covers. It was
// refused whoever asked.
func (g *Guard) Unmapped(ctx context.Context, c Call, method, path string) (string, error) {
	id, err := g.newID()
	if err != nil {
		return "", err
	}
	var who sallyport.PrincipalID
	if c.who != nil { // a proof of possession counts once
		who = c.who.ID
	} else if p, err := g.Who(ctx, c.Proof, g.now()); err == nil {
		who = p.ID
	}
	e := g.event(sallyport.EventUnmapped, c, who)
	e.Decision, e.Outcome, e.Reasons = id, sallyport.Deny.String(), []string{"route.unmapped"}
	e.Detail = map[string]string{"method": sallyport.OneLine(method), "path": sallyport.OneLine(path)}
	_, err = g.write(ctx, e)
	return id, err
}

// Note records an event that is not a call: a sign-in, a token, a change.
func (g *Guard) Note(ctx context.Context, e sallyport.Event) (uint64, error) {
	if e.At == 0 {
		e.At = g.now().UnixMicro()
	}
	return g.write(ctx, e)
}

func (g *Guard) event(t sallyport.EventType, c Call, who sallyport.PrincipalID) sallyport.Event {
	e := sallyport.Event{Type: t, At: g.now().UnixMicro(), Who: who, Action: c.Action,
		Asked: &sallyport.Asked{Door: c.Door, IP: c.IP, File: c.File}}
	if c.Target.Kind != "" {
		e.On = c.Target.String()
	}
	return e
}

func (g *Guard) write(ctx context.Context, e sallyport.Event) (uint64, error) {
	body, err := e.Encode()
	if err != nil {
		return 0, err
	}
	return g.append(ctx, body)
}

func (g *Guard) append(ctx context.Context, bodies ...[]byte) (uint64, error) {
	seq, err := g.Record(context.WithoutCancel(ctx), bodies...)
	if err != nil {
		return 0, sallyport.Wrap("record", sallyport.Unavailable, "the audit log cannot be written, so nothing is served", err)
	}
	return seq, nil
}

// writeDecision makes the decided event durable, with those bases before it that
// the trail does not hold yet.
func (g *Guard) writeDecision(ctx context.Context, p *Permit, f decision.Facts, d sallyport.Decision) (uint64, error) {
	e := decidedEvent(p, f, d)
	body, err := e.Encode()
	if err != nil {
		return 0, err
	}
	if len(f.Acting) == 0 && g.known.has(f.Basis.Hash()) {
		return g.append(ctx, body)
	}
	var bodies [][]byte
	var hashes []string
	for _, b := range append([]*decision.Basis{f.Basis}, f.Acting...) {
		hash := b.Hash()
		if g.known.has(hash) || slices.Contains(hashes, hash) {
			continue
		}
		text, err := decision.Marshal(b)
		if err != nil {
			return 0, err
		}
		fact, err := sallyport.Event{Type: sallyport.EventFacts, At: e.At, Facts: hash, Basis: text}.Encode()
		if err != nil {
			return 0, err
		}
		bodies, hashes = append(bodies, fact), append(hashes, hash)
	}
	first, err := g.append(ctx, append(bodies, body)...)
	if err != nil {
		return 0, err
	}
	for _, hash := range hashes {
		g.known.add(hash)
	}
	return first + uint64(len(hashes)), nil
}

func decidedEvent(p *Permit, f decision.Facts, d sallyport.Decision) sallyport.Event {
	e := sallyport.Event{
		Type: sallyport.EventDecided, At: f.At.UnixMicro(), Decision: p.id, Who: p.who.ID, Action: f.Action,
		On: p.call.Target.String(), Outcome: d.Outcome.String(), Facts: f.Basis.Hash(),
		Reasons: d.ReasonIDs(), Errors: d.Errors,
		Asked: f.Recorded(), Detail: p.detail(),
	}
	if f.Resource.Kind != "" {
		e.On = f.Resource.String()
	}
	for _, o := range d.Obligations {
		e.Obligations = append(e.Obligations, o.String())
	}
	if d.Outcome == sallyport.StepUp {
		e.Needs = d.Needs.String()
	}
	return e
}

// knownBases remembers which bases this process has made durable. Forgetting one
// costs a repeated entry, never a missing one.
type knownBases struct {
	mu     sync.RWMutex
	hashes map[string]struct{}
}

const maxKnownBases = 1 << 16

func (k *knownBases) has(h string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, ok := k.hashes[h]
	return ok
}

func (k *knownBases) add(h string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hashes == nil || len(k.hashes) >= maxKnownBases {
		k.hashes = map[string]struct{}{}
	}
	k.hashes[h] = struct{}{}
}
