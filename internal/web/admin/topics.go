package admin

import (
	"net/url"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/label"
)

// A ground is what a vote on a request needs a right to, and where it goes.
type ground struct {
	action sallyport.Action // "" of the topic that only holders of keys vote on
	on     sallyport.Ref
	path   string // of the vote, with its query
}

// groundOf is the ground of a request; false where it is of no topic that is voted on.
func (a *API) groundOf(c *Call, r approval.Request) (ground, bool) {
	g := ground{on: sallyport.Ref{Kind: sallyport.SystemKind}}
	id := url.PathEscape(r.ID)
	switch r.Topic {
	case signed.Topic:
		g.path = "/approvers/requests/" + id + "/vote"
	case change.Topic:
		g.action, g.path = sallyport.PolicyApprove, "/policy/proposals/"+id+"/vote"
	case grant.Topic:
		ref, err := grant.On(r)
		if err != nil {
			return g, false
		}
		g.action, g.on, g.path = sallyport.GrantApprove, ref, "/requests/"+id+"/vote"
	case label.Topic:
		x, err := label.Read(r)
		if err != nil {
			return g, false
		}
		g.action, g.on, g.path = sallyport.LabelChange, x.Ref, "/catalog/lowerings/"+id+"/vote"
	case breakglass.TopicSeal, breakglass.TopicOpen:
		scope, err := a.Rooms.Watch.BreakGlass.Scope(c.Context(), r.ID)
		if err != nil {
			return g, false
		}
		g.action, g.on, g.path = sallyport.GrantApprove, scope, "/breakglass/requests/"+id+"/vote"
	case topicDrift:
		g.action, g.path = sallyport.PolicyApprove, "/drift/requests/"+id+"/vote"
	case topicUnlock:
		x, err := liftingOf(r)
		if err != nil {
			return g, false
		}
		g.action, g.on, g.path = sallyport.HoldLift, heldRef(x.Target), "/holds/requests/"+id+"/vote"
	default:
		return g, false
	}
	if g.action != "" && r.Topic != change.Topic && r.Topic != topicDrift {
		g.path += "?" + url.Values{"resource": {g.on.String()}}.Encode()
	}
	return g, true
}
