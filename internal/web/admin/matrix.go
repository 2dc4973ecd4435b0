package admin

import (
	"sallyport"
	"sallyport/internal/authz/policy/matrix"
	"sallyport/internal/authz/policy/paths"
	"sallyport/internal/web/api"
)

// matrixRoutes are about the access matrix as a text that can be kept, and about how one comes into it.
func matrixRoutes() []Route {
	return []Route{
		{"GET", "/matrix/signed", sallyport.PolicyRead, system, (*API).signedMatrix},
		{"GET", "/paths", sallyport.PolicyRead, system, (*API).paths},
	}
}

// signedMatrix is the matrix as one text with the log's signature below it.
func (a *API) signedMatrix(c *Call) (any, error) {
	all, err := a.matrixOf(c)
	if err != nil {
		return nil, err
	}
	m := matrix.New(all.Policy, all.At)
	for _, r := range all.Rows {
		for i, cell := range r.Cells {
			m.Set(r.Who, r.Resource, all.Actions[i], cell)
		}
	}
	signed, err := a.Rooms.Log.Sign(m.Statement())
	return api.SignedMatrix{Text: m.File(signed)}, err
}

// paths lists every chain that leads to a right in the living directory, with who stands at its end today.
func (a *API) paths(c *Call) (any, error) {
	t, err := paths.ParseTarget(c.URL.Query().Get("right"))
	if err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(t.Resource)
	if err != nil {
		return nil, err
	}
	snap := a.Facts.Snapshot()
	x, known := snap.Resolve(ref)
	if !known {
		return nil, sallyport.E("find paths", sallyport.NotFound, "there is no "+sallyport.OneLine(t.Resource), "run 'sallyport catalog' to see what there is")
	}
	home := x.Org
	if m, ok := snap.Member(c.Permit.Who().ID); ok && home == "" {
		home = m.Org
	}
	people := snap.Cast(home, x)
	chains, err := paths.To(snap.Engine(), people, t.Action, x.String())
	if err != nil {
		return nil, err
	}
	held, err := paths.Held(people, chains, x.String())
	out := api.Paths{Right: string(t.Action) + "@" + x.String(), Policy: snap.Engine().Version(), At: a.Guard.Clock().UTC(), Chains: []api.Chain{}}
	for _, h := range held {
		out.Chains = append(out.Chains, api.Chain{Chain: h.Chain, Who: h.Who})
	}
	return out, err
}
