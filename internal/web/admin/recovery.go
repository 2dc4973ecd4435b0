package admin

import (
	"sallyport"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/web/api"
)

// recoveryRoutes are about people who lost their last authenticator: anybody may ask for a colleague, two who administer
// identities or were named for it approve, and after the delay one of them makes the link.
func recoveryRoutes() []Route {
	return []Route{
		{"GET", "/recoveries", sallyport.IdentityRead, system, (*API).recoveries},
		{"POST", "/recoveries", sallyport.ServerRead, system, (*API).askRecovery},
		{"GET", "/recoveries/vouch", sallyport.ServerRead, system, (*API).vouchable},
		{"POST", "/recoveries/{id}/vouch", sallyport.ServerRead, system, (*API).vouchRecovery},
		{"POST", "/recoveries/{id}/approve", sallyport.IdentityAdminister, system, (*API).approveRecovery},
		{"POST", "/recoveries/{id}/cancel", sallyport.IdentityAdminister, system, (*API).cancelRecovery},
		{"POST", "/recoveries/{id}/link", sallyport.IdentityAdminister, system, (*API).claimRecovery},
	}
}

func recoveryOut(r recovery.Request) api.Recovery {
	return api.Recovery{ID: r.ID, Who: r.Member, By: r.Asker, Why: r.Why, State: string(r.State), Asked: r.Asked, Ready: r.Ready, Ends: r.Ends, Approved: r.Votes}
}

func (a *API) recoveries(c *Call) (any, error) {
	all, err := a.Rooms.Recovery.All(c.Context())
	out := []api.Recovery{}
	for _, r := range all {
		out = append(out, recoveryOut(r))
	}
	return out, err
}

// recovering notes what becomes of a request. The person is the event's subject: whoever follows the trail tells them.
func (a *API) recovering(c *Call, what string) recovery.Note {
	return func(r recovery.Request) error {
		return a.note(c, sallyport.EventRecovery, string(r.Member), map[string]string{"what": what, "request": r.ID, "by": string(c.Permit.Who().ID)})
	}
}

func (a *API) askRecovery(c *Call) (any, error) {
	var in api.Recovery
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := sallyport.ParsePrincipalID(string(in.Who))
	if err != nil {
		return nil, err
	}
	if err := a.activePerson(c, id); err != nil {
		return nil, err
	}
	r, _, err := a.Rooms.Recovery.Ask(c.Context(), id, c.Permit.Who().ID, in.Why, a.recovering(c, "asked"))
	return recoveryOut(r), err
}

func (a *API) approveRecovery(c *Call) (any, error) {
	r, err := a.Rooms.Recovery.Approve(c.Context(), c.PathValue("id"), c.Permit.Who().ID, a.recovering(c, "approved"))
	return recoveryOut(r), err
}

// vouchable is what somebody who was named for it may approve, nothing for anybody else.
func (a *API) vouchable(c *Call) (any, error) {
	named, err := a.Rooms.Recovery.Recoverer(c.Context(), c.Permit.Who().ID)
	if err != nil || !named {
		return []api.Recovery{}, err
	}
	return a.recoveries(c)
}

// vouchRecovery is the approval by somebody who was named for it. Policy permits it to everybody: who was named is the
// operator's configuration. It takes two factors, and the person alone: nobody acts for them.
func (a *API) vouchRecovery(c *Call) (any, error) {
	p := c.Permit.Who()
	if p.Assurance < sallyport.MultiFactor || len(p.Actors) > 0 {
		return nil, sallyport.E("approve recovery", sallyport.Conflict, "this takes your own proof with two factors", "run 'sallyport login --assurance aal2'")
	}
	r, err := a.Rooms.Recovery.Vouch(c.Context(), c.PathValue("id"), p.ID, a.recovering(c, "approved"))
	return recoveryOut(r), err
}

func (a *API) cancelRecovery(c *Call) (any, error) {
	r, err := a.Rooms.Recovery.Cancel(c.Context(), c.PathValue("id"), c.Permit.Who().ID, a.recovering(c, "cancelled"))
	return recoveryOut(r), err
}

// claimRecovery uses an approved request up and makes its one link.
func (a *API) claimRecovery(c *Call) (any, error) {
	r, err := a.Rooms.Recovery.Claim(c.Context(), c.PathValue("id"), c.Permit.Who().ID, a.recovering(c, "link issued"))
	if err != nil {
		return nil, err
	}
	return a.enrolment(c, r.Member)
}
