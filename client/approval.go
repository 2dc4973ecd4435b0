package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// Review returns what an approver sees before a vote: the request in a sentence, what it would change, and what was like it.
func (c *Client) Review(ctx context.Context, id string) (api.Review, error) {
	return get[api.Review](ctx, c, "review request", "/requests/"+url.PathEscape(id)+"/review", nil)
}

// Approvers lists whose keys sign approvals, and the caller's passkeys that could become one.
func (c *Client) Approvers(ctx context.Context) (api.Approvers, error) {
	return get[api.Approvers](ctx, c, "approvers", "/approvers", nil)
}

// FirstApprover pins the first approver's key of all; an administrator's business.
func (c *Client) FirstApprover(ctx context.Context, in api.Enrol) (api.Approvers, error) {
	return post[api.Approvers](ctx, c, request{op: "pin approver's key", path: "/approvers/first"}, in)
}

// EnrolApprover asks that one of the caller's passkeys becomes an approver's key.
func (c *Client) EnrolApprover(ctx context.Context, in api.Enrol) (api.Request, error) {
	return post[api.Request](ctx, c, request{op: "enrol approver's key", path: "/approvers/enrol"}, in)
}

// RemoveApprover asks that a key counts no more.
func (c *Client) RemoveApprover(ctx context.Context, id string) (api.Request, error) {
	return post[api.Request](ctx, c, request{op: "remove approver's key", path: "/approvers/" + url.PathEscape(id) + "/remove"}, nil)
}

// Statement returns what the caller would sign to vote on a request.
func (c *Client) Statement(ctx context.Context, r api.Request, yes bool, reason string) (api.Statement, error) {
	return post[api.Statement](ctx, c, request{op: "sign", path: "/requests/" + url.PathEscape(r.ID) + "/statement"}, api.Ballot{Yes: yes, Reason: reason, Hash: r.Hash})
}

// VoteSigned answers a request with a signed vote.
func (c *Client) VoteSigned(ctx context.Context, r api.Request, v api.Vote) (api.Request, error) {
	return c.vote(ctx, "approve", r, v)
}

// Standing lists who may do how much without an end.
func (c *Client) Standing(ctx context.Context) ([]api.Standing, error) {
	return get[[]api.Standing](ctx, c, "standing rights", "/grants/standing", nil)
}

// RenewGrant keeps a grant alive that is bound to a lease; it begins it with the first call.
func (c *Client) RenewGrant(ctx context.Context, id string) (api.Grant, error) {
	return post[api.Grant](ctx, c, request{op: "renew grant", path: "/grants/" + url.PathEscape(id) + "/renew"}, nil)
}
