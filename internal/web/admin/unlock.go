package admin

import (
	"encoding/json"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/hold"
)

// topicUnlock is the topic of requests to lift a hold.
const topicUnlock = "unlock"

// unlockFor is how long such a request waits for its answer.
const unlockFor = 24 * time.Hour

// unlockRoutes are about lifting holds where that is signed.
func unlockRoutes() []Route {
	return []Route{{"POST", "/holds/requests/{id}/vote", sallyport.HoldLift, inQuery, (*API).voteUnlock}}
}

// A lifting is the canonical text of a request to lift a hold.
type lifting struct {
	Hold   string                `json:"hold"`
	Target string                `json:"target"`
	By     sallyport.PrincipalID `json:"by"` // who placed it
	Placed int64                 `json:"placed"`
	Why    string                `json:"why"`
}

// askUnlock asks others to lift a hold: where approvals are signed, nobody lifts one alone.
func (a *API) askUnlock(c *Call, h hold.Hold, why string) (any, error) {
	p := c.Permit.Who()
	switch {
	case !h.Active():
		return nil, sallyport.E("unlock", sallyport.Conflict, h.ID+" is lifted already", "")
	case p.Person == h.Held || string(p.ID) == h.Target:
		return nil, sallyport.E("unlock", sallyport.Conflict, "nobody lifts a hold on themselves", "ask another person to lift "+h.ID)
	}
	canonical, err := json.Marshal(lifting{h.ID, h.Target, h.By, h.At.UnixMicro(), why})
	if err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Ask(c.Context(), approval.Request{Topic: topicUnlock, Asker: p.ID, AskerPerson: p.Person, Canonical: canonical, Need: 1,
		Subject: "lift the hold " + h.ID + " on " + h.Target + ", placed by " + string(h.By), Approvers: "people who may " + string(sallyport.HoldLift) + " there and did not place it",
		Expires: a.Guard.Clock().Add(unlockFor)}, a.noteAsked(c, h.Target))
	if err != nil {
		return nil, err
	}
	out := holdOut(h)
	x, err := a.requestOut(c, r)
	out.Request = &x
	return out, err
}

func liftingOf(r approval.Request) (x lifting, err error) {
	if err = json.Unmarshal(r.Canonical, &x); err == nil && r.Topic != topicUnlock {
		err = noRequest()
	}
	return x, err
}

// heldRef is what a vote on a lifting needs a right to: the resource that is held, the system for people.
func heldRef(target string) sallyport.Ref {
	if len(target) > len("model:") && target[:len("model:")] == "model:" {
		target = target[len("model:"):]
	}
	ref, err := sallyport.ParseRef(target)
	if err != nil {
		return sallyport.Ref{Kind: sallyport.SystemKind}
	}
	switch ref.Kind {
	case sallyport.ModelKind, sallyport.VersionKind, sallyport.ProjectKind, sallyport.DatasetKind, sallyport.EndpointKind, sallyport.OrganisationKind:
		return ref
	}
	return sallyport.Ref{Kind: sallyport.SystemKind}
}

// voteUnlock counts a vote on lifting a hold; with the last yes it is lifted, by whoever said it.
func (a *API) voteUnlock(c *Call) (any, error) {
	var x lifting
	r, err := a.castVote(c, func(r approval.Request) (v casting, err error) {
		if x, err = liftingOf(r); err != nil {
			return v, noRequest()
		}
		h, err := a.Rooms.Holds.Get(c.Context(), x.Hold)
		if err != nil {
			return v, err
		}
		if p := c.Permit.Who(); p.Person == h.ByPerson || p.Person == h.Held {
			return v, sallyport.E("unlock", sallyport.Conflict, "who placed a hold, or is held, does not lift it", "ask another person to look at "+r.ID)
		}
		return casting{on: x.Target, vote: a.Rooms.Approvals.Vote}, nil
	})
	if err != nil {
		return nil, err
	}
	if r.State != approval.Approved {
		return a.requestOut(c, r)
	}
	return a.lift(c, r, x)
}

// lift spends an approved request, once, and lifts its hold. The record comes between the two: without it nothing is lifted.
func (a *API) lift(c *Call, r approval.Request, x lifting) (any, error) {
	if err := a.Rooms.Approvals.Verify(c.Context(), r); err != nil {
		return nil, err
	}
	if _, err := a.Rooms.Approvals.Use(c.Context(), r.ID, r.Hash); err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventHoldLifted, x.Target, map[string]string{"hold": x.Hold, "why": x.Why, "request": r.ID}); err != nil {
		return nil, err
	}
	p := c.Permit.Who()
	if _, err := a.Rooms.Holds.Lift(c.Context(), x.Hold, x.Why, hold.Actor{ID: p.ID, Person: p.Person}); err != nil {
		return nil, err
	}
	if _, err := a.enforce(c); err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}
