package admin

import (
	"encoding/json"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/hold"
	"sallyport/internal/web/api"
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
		Expires: a.Guard.Clock().Add(unlockFor)})
	if err != nil {
		return nil, err
	}
	if err := a.noteAsked(c, r, h.Target); err != nil {
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
	var in api.Vote
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x, err := liftingOf(r)
	if err != nil {
		return nil, noRequest()
	}
	if on, ok := a.Facts.Snapshot().Resolve(heldRef(x.Target)); !ok || on != c.Permit.Resource() {
		return nil, noRequest()
	}
	h, err := a.Rooms.Holds.Get(c.Context(), x.Hold)
	if err != nil {
		return nil, err
	}
	p := c.Permit.Who()
	if p.Person == h.ByPerson || p.Person == h.Held {
		return nil, sallyport.E("unlock", sallyport.Conflict, "who placed a hold, or is held, does not lift it", "ask another person to look at "+r.ID)
	}
	b, err := a.ballot(c, r, in)
	if err != nil {
		return nil, err
	}
	if r, err = a.Rooms.Approvals.Vote(c.Context(), b); err != nil {
		return nil, a.unsigned(err, c.PathValue("id"))
	}
	detail, err := votedDetail(r, b)
	if err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventGrantVoted, x.Target, detail); err != nil {
		return nil, err
	}
	if r.State != approval.Approved {
		return a.requestOut(c, r)
	}
	return a.lift(c, r, x)
}

// lift spends an approved request, once, and lifts its hold.
func (a *API) lift(c *Call, r approval.Request, x lifting) (any, error) {
	if err := a.Rooms.Approvals.Verify(c.Context(), r); err != nil {
		return nil, err
	}
	if _, err := a.Rooms.Approvals.Use(c.Context(), r.ID, r.Hash); err != nil {
		return nil, err
	}
	p := c.Permit.Who()
	h, err := a.Rooms.Holds.Lift(c.Context(), x.Hold, x.Why, hold.Actor{ID: p.ID, Person: p.Person})
	if err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventHoldLifted, h.Target, map[string]string{"hold": h.ID, "why": x.Why, "request": r.ID}); err != nil {
		return nil, err
	}
	if _, err := a.enforce(c); err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}
