package admin

import (
	"cmp"

	"sallyport"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/web/api"
)

// leaverRoutes are about those who leave and what waits for a successor.
func leaverRoutes() []Route {
	return []Route{
		{"POST", "/people/{id}/leave", sallyport.IdentityAdminister, system, (*API).leave},
		{"GET", "/successors", sallyport.IdentityRead, system, (*API).successors},
		{"POST", "/successors", sallyport.IdentityAdminister, system, (*API).assignSuccessor},
	}
}

func (a *API) leave(c *Call) (any, error) {
	var in api.Leave
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	end := a.Rooms.Leaver.Leave
	if in.Remove {
		end = a.Rooms.Leaver.Remove
	}
	r, err := end(c.Context(), id, c.Permit.Who().ID, in.Why)
	if err != nil {
		return nil, err
	}
	return api.Left{Who: r.Who, State: string(r.State), Accounts: r.Accounts, Sessions: r.Sessions, Families: r.Families, Grants: r.Grants,
		Requests: r.Requests, Votes: r.Votes, Devices: r.Devices, Groups: r.Groups, Roles: r.Roles, Guests: r.Guests, Successors: r.Charges,
		Cut: r.Cut, InEffect: r.InEffect.String()}, nil
}

func successorOut(x leaver.Charge) api.Successor {
	return api.Successor{Thing: x.Thing, Org: x.Org, From: x.From, Since: x.Since, Due: x.Due, Stopped: x.Stopped}
}

func (a *API) successors(c *Call) (any, error) {
	all, err := a.Rooms.Leaver.Queue(c.Context())
	if err != nil {
		return nil, err
	}
	out := []api.Successor{}
	for _, x := range all {
		out = append(out, successorOut(x))
	}
	return out, nil
}

func (a *API) assignSuccessor(c *Call) (any, error) {
	var in api.Successor
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	to, err := sallyport.ParsePrincipalID(cmp.Or(string(in.To), "-"))
	if err != nil {
		return nil, err
	}
	x, err := a.Rooms.Leaver.Assign(c.Context(), in.Thing, to, c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	out := successorOut(x)
	out.To = to
	_, err = a.enforce(c)
	return out, err
}
