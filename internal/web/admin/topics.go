package admin

import (
	"context"
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

// Votable says which action on what somebody must be permitted who votes on a request: "" of a change of approvers' keys, on
// which their holders vote. It is false for what nobody votes on. A scope finds what a request for break-glass is about.
func Votable(ctx context.Context, r approval.Request, scope func(ctx context.Context, request string) (sallyport.Ref, error)) (sallyport.Action, sallyport.Ref, bool) {
	g, ok := grounds(ctx, r, scope)
	return g.action, g.on, ok
}

// groundOf is the ground of a request; false where it is of no topic that is voted on.
func (a *API) groundOf(c *Call, r approval.Request) (ground, bool) {
	return grounds(c.Context(), r, func(ctx context.Context, request string) (sallyport.Ref, error) {
		return a.Rooms.Watch.BreakGlass.Scope(ctx, request)
	})
}

func grounds(ctx context.Context, r approval.Request, scope func(ctx context.Context, request string) (sallyport.Ref, error)) (ground, bool) {
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
		on, err := scope(ctx, r.ID)
		if err != nil {
			return g, false
		}
		g.action, g.on, g.path = sallyport.GrantApprove, on, "/breakglass/requests/"+id+"/vote"
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
