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
	// What follows: a probation of so many seconds, 0 for the usual, or none for a reason. End asks for the end of one.
	Probation int64  `json:"probation,omitempty"`
	Without   string `json:"without,omitempty"`
	End       bool   `json:"end,omitempty"`
}

func (x lifting) terms() hold.Lifting {
	return hold.Lifting{Why: x.Why, Probation: time.Duration(x.Probation) * time.Second, Without: x.Without}
}

// askUnlock asks others to lift a hold: where approvals are signed, nobody lifts one alone.
func (a *API) askUnlock(c *Call, h hold.Hold, l hold.Lifting) (any, error) {
	p, end := c.Permit.Who(), h.OnProbation(a.Guard.Clock())
	switch {
	case !h.Active() && !end:
		return nil, sallyport.E("unlock", sallyport.Conflict, h.ID+" is lifted already", "")
	case p.Person == h.Held || string(p.ID) == h.Target:
		return nil, sallyport.E("unlock", sallyport.Conflict, "nobody lifts a hold on themselves", "ask another person to lift "+h.ID)
	}
	x := lifting{Hold: h.ID, Target: h.Target, By: h.By, Placed: h.At.UnixMicro(), Why: l.Why, Probation: int64(l.Probation / time.Second), Without: l.Without, End: end}
	subject, approvers := "lift the hold "+h.ID+" on "+h.Target+", placed by "+string(h.By), "did not place it"
	switch {
	case end:
		subject, approvers = "end the probation after the hold "+h.ID+" on "+h.Target, "did not lift it"
	case l.Without != "":
		subject += ", without a probation: " + l.Without
	case l.Probation != 0:
		subject += ", with a probation of " + l.Probation.String()
	}
	canonical, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Ask(c.Context(), approval.Request{Topic: topicUnlock, Asker: p.ID, AskerPerson: p.Person, Canonical: canonical, Need: 1,
		Subject: subject, Approvers: "people who may " + string(sallyport.HoldLift) + " there and " + approvers,
		Expires: a.Guard.Clock().Add(unlockFor)}, a.noteAsked(c, h.Target))
	if err != nil {
		return nil, err
	}
	out := a.holdOut(h)
	asked, err := a.requestOut(c, r)
	out.Request = &asked
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
		switch p := c.Permit.Who(); {
		case x.End && (p.Person == h.LiftedPerson || p.Person == h.Held):
			return v, sallyport.E("unlock", sallyport.Conflict, "who lifted a hold, or was held, does not end its probation", "ask another person to look at "+r.ID)
		case !x.End && (p.Person == h.ByPerson || p.Person == h.Held):
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

// lift spends an approved request, once, and lifts its hold.
func (a *API) lift(c *Call, r approval.Request, x lifting) (any, error) {
	if err := a.Rooms.Approvals.Verify(c.Context(), r); err != nil {
		return nil, err
	}
	if _, err := a.Rooms.Approvals.Use(c.Context(), r.ID, r.Hash); err != nil {
		return nil, err
	}
	if _, err := a.restore(c, x.Hold, x.terms(), x.End, r.ID); err != nil {
		return nil, err
	}
	if _, err := a.enforce(c); err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}
