package admin

import (
	"context"
	"encoding/json"
	"slices"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/label"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/web/api"
)

// labelRoutes are about classes that would be lowered, and about what people did lately.
func labelRoutes() []Route {
	return []Route{
		{"GET", "/catalog/lowerings", sallyport.ServerRead, system, (*API).lowerings},
		{"POST", "/catalog/lowerings/{id}/vote", sallyport.LabelChange, inQuery, (*API).voteLower},
		{"GET", "/usage", sallyport.ServerRead, system, (*API).usage},
		{"GET", "/usage/{id}", sallyport.AuditRead, system, (*API).usageOf},
	}
}

// askLower asks others to lower the class of what the call names.
func (a *API) askLower(c *Call, ref sallyport.Ref, in api.Thing) (any, error) {
	snap := a.Facts.Snapshot()
	x, ok := snap.Resolve(ref)
	if !ok {
		return nil, sallyport.E("change label", sallyport.NotFound, ref.String()+" does not exist", "")
	}
	from := snap.Catalog().Own(x)
	if ref.Kind == sallyport.ModelKind && ref.Revision == "" { // a bare name resolves to its main version
		if m, ok := snap.Catalog().Model(ref.Org, ref.Name); ok {
			if from = m.Class; from == "" {
				from = sallyport.Restricted
			}
		}
	}
	r, err := a.Rooms.Labels.Ask(c.Context(), label.Change{Ref: ref, From: from, To: in.Class, Why: in.Why}, c.Permit.Who(), a.noteAsked(c, ref.String()))
	if err != nil {
		return nil, err
	}
	in.Request = r.ID
	return in, nil
}

// lowerings lists the open requests on whose resources the caller may change the label,
// and their own.
func (a *API) lowerings(c *Call) (any, error) {
	all, err := a.Rooms.Approvals.List(c.Context(), approval.Filter{Topic: label.Topic, State: approval.Pending})
	if err != nil {
		return nil, err
	}
	out := []api.Lowering{}
	for _, r := range all {
		x, err := label.Read(r)
		if err != nil {
			continue // what was altered where it is kept is nobody's request
		}
		if r.AskerPerson != c.Permit.Who().Person {
			d, _, err := whatif.Can(a.Facts.Snapshot(), a.asker(c), sallyport.LabelChange, x.Ref)
			if err != nil || d.Outcome != sallyport.Allow && d.Outcome != sallyport.StepUp {
				continue
			}
		}
		out = append(out, loweringOut(r, x))
	}
	return out, nil
}

func loweringOut(r approval.Request, x label.Change) api.Lowering {
	return api.Lowering{ID: r.ID, Who: r.Asker, Resource: x.Ref.String(), From: x.From, To: x.To, Why: x.Why,
		Hash: r.Hash, Need: r.Need, Yes: len(r.Votes), State: string(r.State), Expires: r.Expires}
}

// voteLower counts the caller's vote. The permit is for the resource named in the query, which
// must be the request's own.
func (a *API) voteLower(c *Call) (any, error) {
	var (
		x    label.Change
		done bool
	)
	r, err := a.castVote(c, func(r approval.Request) (v casting, err error) {
		x, err = label.Read(r)
		return casting{vote: func(ctx context.Context, b approval.Ballot) (r approval.Request, err error) {
			r, done, err = a.Rooms.Labels.Vote(ctx, b)
			return r, err
		}}, err
	})
	if err != nil {
		return nil, err
	}
	if done {
		err = a.changed(c, x.Ref.String(), map[string]string{"what": "label", "class": string(x.To), "from": string(x.From), "why": x.Why, "request": r.ID})
	}
	return loweringOut(r, x), err
}

// usage is what the caller did lately.
func (a *API) usage(c *Call) (any, error) { return a.usageOut(c.Permit.Who().ID), nil }

// usageOf is what somebody did lately, for those who may read the log.
func (a *API) usageOf(c *Call) (any, error) {
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	if _, ok := a.Facts.Snapshot().Member(id); !ok {
		return nil, sallyport.E("usage", sallyport.NotFound, "there is no such account", "")
	}
	return a.usageOut(id), nil
}

func (a *API) usageOut(id sallyport.PrincipalID) api.Usage {
	snap := a.Facts.Snapshot()
	h := snap.History(id, a.Guard.Clock())
	return api.Usage{Person: snap.Behind(id), Short: api.Window(h.Short), Day: api.Window(h.Day), Month: api.Window(h.Month)}
}

// notItsMaker refuses the vote of whoever made the version that a request would promote or
// deploy, by whatever account they come.
func (a *API) notItsMaker(c *Call, r approval.Request) error {
	var q asked
	if err := json.Unmarshal(r.Canonical, &q); err != nil {
		return sallyport.Wrap("vote", sallyport.Other, r.ID, err)
	}
	if !slices.Contains(q.Actions, sallyport.ModelPromote) && !slices.Contains(q.Actions, sallyport.ModelDeploy) {
		return nil
	}
	snap := a.Facts.Snapshot()
	v, ok := snap.Catalog().Version(c.Permit.Resource())
	if ok && slices.Contains(snap.Makers(v), c.Permit.Who().Person) {
		return sallyport.E("vote", sallyport.Conflict, "you had a hand in this version, and somebody else approves its release", "ask another reviewer to look at it").Because("release.its-maker")
	}
	return nil
}
