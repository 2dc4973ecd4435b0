package admin

import (
	"fmt"
	"net/http"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/web/api"
)

// reviewWithin is how soon an opening must be reviewed after it is over.
const reviewWithin = 72 * time.Hour

// breakGlassRoutes are about rights for an emergency. A vote and a review are permitted on what the right is for.
func breakGlassRoutes() []Route {
	return []Route{
		{"GET", "/breakglass", sallyport.ServerRead, system, (*API).emergencies},
		{"POST", "/breakglass", sallyport.SystemConfigure, system, (*API).defineBreakGlass},
		{"POST", "/breakglass/{name}/open", sallyport.GrantRequest, system, (*API).openBreakGlass},
		{"POST", "/breakglass/requests/{id}/vote", sallyport.GrantApprove, inQuery, (*API).voteBreakGlass},
		{"POST", "/breakglass/openings/{id}/end", sallyport.ServerRead, system, (*API).endBreakGlass},
		{"POST", "/breakglass/openings/{id}/review", sallyport.ReviewDecide, inQuery, (*API).reviewBreakGlass},
	}
}

func (a *API) defineBreakGlass(c *Call) (any, error) {
	var in api.BreakGlass
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	scope, err := sallyport.ParseRef(in.Scope)
	if err != nil {
		return nil, err
	}
	lasts, err := time.ParseDuration(in.For)
	if err != nil {
		return nil, sallyport.E("define break-glass", sallyport.Invalid, "\"for\" must be a duration", "write for example 1h")
	}
	if _, ok := a.Facts.Snapshot().Role(in.Role); !ok {
		return nil, sallyport.E("define break-glass", sallyport.NotFound, "there is no such role", "run 'sallyport role ls'")
	}
	d := breakglass.Definition{Name: in.Name, Openers: in.Openers, Role: in.Role, Scope: scope, For: lasts, Why: in.Why}
	r, err := a.Rooms.Watch.BreakGlass.Define(c.Context(), d, c.Permit.Who())
	if err != nil {
		return nil, err
	}
	in.Request, in.Hash, in.Subject, in.By = r.ID, r.Hash, r.Subject, c.Permit.Who().ID
	return in, nil
}

func (a *API) openBreakGlass(c *Call) (any, error) {
	var in api.Opening
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	o, err := a.Rooms.Watch.BreakGlass.Open(c.Context(), c.PathValue("name"), in.Why, c.Permit.Who())
	if err != nil {
		return nil, err
	}
	return a.openingOut(c, o, "")
}

// needsProof is the answer to an error that asks for a stronger or fresher proof; false for any other.
func needsProof(h http.Header, err error) (api.Error, bool) {
	if sallyport.ReasonOf(err) != breakglass.ReasonProof {
		return api.Error{}, false
	}
	needs := sallyport.Hardware.String()
	h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_user_authentication", acr_values="%s", max_age=900`, needs))
	return api.Error{Status: http.StatusUnauthorized, Message: sallyport.PublicText(err), Kind: sallyport.StepUp.String(), Outcome: sallyport.StepUp.String(), Needs: needs}, true
}

func (a *API) voteBreakGlass(c *Call) (any, error) {
	r, err := a.castVote(c, func(approval.Request) (casting, error) {
		return casting{vote: a.Rooms.Watch.BreakGlass.Vote}, nil
	})
	if err != nil {
		return nil, err
	}
	return api.Request{ID: r.ID, Who: r.Asker, Resource: c.Permit.Resource().String(), Why: r.Subject, Hash: r.Hash, Need: r.Need, State: string(r.State), Created: r.Created, Expires: r.Expires,
		Votes: []api.Vote{}}, a.inForce(c)
}

// onScope checks that the permit is for what a request is about.
func (a *API) onScope(c *Call, request string) error {
	scope, err := a.Rooms.Watch.BreakGlass.Scope(c.Context(), request)
	if err != nil {
		return err
	}
	if x, ok := a.Facts.Snapshot().Resolve(scope); !ok || x != c.Permit.Resource() { // a model's name resolves to its version
		return sallyport.E("break-glass", sallyport.Invalid, "the query parameter \"resource\" must name what it is about, "+scope.String(), "")
	}
	return nil
}

// endBreakGlass ends an opening: by who opened it, or who may end grants there.
func (a *API) endBreakGlass(c *Call) (any, error) {
	_, openings, err := a.Rooms.Watch.BreakGlass.Status(c.Context())
	if err != nil {
		return nil, err
	}
	for _, o := range openings {
		if o.ID != c.PathValue("id") || o.Who != c.Permit.Who().ID && !a.knows(c, o.Request, sallyport.GrantRevoke) {
			continue
		}
		if o, err = a.Rooms.Watch.BreakGlass.End(c.Context(), o.ID, c.Permit.Who().ID); err != nil {
			return nil, err
		}
		if _, err := a.enforce(c); err != nil {
			return nil, err
		}
		return a.openingOut(c, o, "")
	}
	return nil, sallyport.E("end break-glass", sallyport.NotFound, "there is no such opening", "run 'sallyport breakglass status'")
}

func (a *API) reviewBreakGlass(c *Call) (any, error) {
	var in api.Opening
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	_, openings, err := a.Rooms.Watch.BreakGlass.Status(c.Context())
	if err != nil {
		return nil, err
	}
	for _, o := range openings {
		if o.ID == id {
			if err := a.onScope(c, o.Request); err != nil {
				return nil, err
			}
		}
	}
	o, err := a.Rooms.Watch.BreakGlass.Review(c.Context(), id, in.Review, c.Permit.Who())
	if err != nil {
		return nil, err
	}
	return a.openingOut(c, o, "")
}

// knows reports whether the caller could do something on what a request is about, after more proof perhaps.
func (a *API) knows(c *Call, request string, actions ...sallyport.Action) bool {
	scope, err := a.Rooms.Watch.BreakGlass.Scope(c.Context(), request)
	if err != nil {
		return false
	}
	for _, action := range actions {
		d, _, err := whatif.Can(a.Facts.Snapshot(), a.asker(c), action, scope)
		if err == nil && (d.Outcome == sallyport.Allow || d.Outcome == sallyport.StepUp) {
			return true
		}
	}
	return false
}

// emergencies is what the caller may know: what they may open or have opened, and all that they may approve, review or
// configure.
func (a *API) emergencies(c *Call) (any, error) {
	w, p := a.Rooms.Watch.BreakGlass, c.Permit.Who()
	rights, openings, err := w.Status(c.Context())
	if err != nil {
		return nil, err
	}
	out := api.Emergencies{Rights: []api.BreakGlass{}, Openings: []api.Opening{}}
	scopes := map[string]string{}
	for _, d := range rights {
		scopes[d.Name] = d.Scope.String()
		opener, err := w.Within(c.Context(), p.ID, d.Openers)
		if err != nil {
			return nil, err
		}
		if !opener && d.By != p.ID && !a.knows(c, d.Request, sallyport.GrantApprove, sallyport.ReviewDecide, sallyport.AuditRead) {
			continue
		}
		x := api.BreakGlass{Name: d.Name, Openers: d.Openers, Role: d.Role, Scope: d.Scope.String(), For: d.For.String(), Why: d.Why, By: d.By, At: d.At, Sealed: d.Sealed, Request: d.Request}
		if d.Sealed.IsZero() {
			r, err := a.Rooms.Approvals.Get(c.Context(), d.Request)
			if err != nil {
				return nil, err
			}
			x.Hash, x.Subject = r.Hash, r.Subject
		}
		out.Rights = append(out.Rights, x)
	}
	for _, o := range openings {
		if o.Who != p.ID && !a.knows(c, o.Request, sallyport.GrantApprove, sallyport.ReviewDecide, sallyport.AuditRead) {
			continue
		}
		x, err := a.openingOut(c, o, scopes[o.Name])
		if err != nil {
			return nil, err
		}
		out.Openings = append(out.Openings, x)
	}
	return out, nil
}

func (a *API) openingOut(c *Call, o breakglass.Opening, scope string) (api.Opening, error) {
	now := a.Guard.Clock()
	out := api.Opening{ID: o.ID, Name: o.Name, Who: o.Who, Why: o.Why, Asked: o.Asked, State: string(o.At(now)), From: o.From, Until: o.Until, Approvers: o.Approvers,
		Reviewer: o.Reviewer, Review: o.Review, Scope: scope, Request: o.Request, Overdue: o.At(now) == breakglass.Over && now.Sub(o.Until) > reviewWithin}
	if o.State == breakglass.Asked {
		r, err := a.Rooms.Approvals.Get(c.Context(), o.Request)
		if err != nil {
			return out, err
		}
		out.Hash, out.Subject = r.Hash, r.Subject
		if r.State == approval.Expired {
			out.State = string(approval.Expired)
		}
	}
	return out, nil
}
