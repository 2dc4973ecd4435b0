package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// PolicySetOf returns a policy set that is or was in force, by its version.
func (c *Client) PolicySetOf(ctx context.Context, version string) (api.PolicySet, error) {
	return get[api.PolicySet](ctx, c, "read policy", "/policy/versions/"+url.PathEscape(version), nil)
}

// PolicyStatus tells which enforcement points have the newest epoch in force, and which proposals are open.
func (c *Client) PolicyStatus(ctx context.Context) (api.PolicyStatus, error) {
	return get[api.PolicyStatus](ctx, c, "policy status", "/policy/status", nil)
}

// Propose asks others to approve a policy set, or with only a Version one that was in force before.
func (c *Client) Propose(ctx context.Context, p api.Proposal) (api.Proposal, error) {
	return post[api.Proposal](ctx, c, request{op: "propose policy", path: "/policy/proposals"}, p)
}

// Proposals lists the newest proposals.
func (c *Client) Proposals(ctx context.Context) ([]api.Proposal, error) {
	return get[[]api.Proposal](ctx, c, "policy proposals", "/policy/proposals", nil)
}

// Proposal returns one with its text and what it would change for the people of today.
func (c *Client) Proposal(ctx context.Context, id string) (api.Proposal, error) {
	return get[api.Proposal](ctx, c, "policy proposal", "/policy/proposals/"+url.PathEscape(id), nil)
}

// VotePolicy votes on a proposal whose hash is v.Hash.
func (c *Client) VotePolicy(ctx context.Context, id string, v api.Vote) (api.Proposal, error) {
	return post[api.Proposal](ctx, c, request{op: "vote on policy", path: "/policy/proposals/" + url.PathEscape(id) + "/vote"}, v)
}

// WithdrawPolicy takes a proposal of one's own back.
func (c *Client) WithdrawPolicy(ctx context.Context, id string) (api.Proposal, error) {
	return post[api.Proposal](ctx, c, request{op: "withdraw policy", path: "/policy/proposals/" + url.PathEscape(id) + "/withdraw"}, nil)
}

// Activate puts the set of an approved proposal in force.
func (c *Client) Activate(ctx context.Context, id string) (api.Epoch, error) {
	return post[api.Epoch](ctx, c, request{op: "activate policy", path: "/policy/activate"}, api.Activation{Request: id})
}

// ActivateAlone puts a set in force without approvals; it is refused as soon as there is anybody who could approve.
func (c *Client) ActivateAlone(ctx context.Context, s api.PolicySet) (api.Epoch, error) {
	return post[api.Epoch](ctx, c, request{op: "activate policy", path: "/policy"}, s)
}

// Rollback undoes the last approved change of policy.
func (c *Client) Rollback(ctx context.Context, x api.Activation) (api.Epoch, error) {
	return post[api.Epoch](ctx, c, request{op: "roll back policy", path: "/policy/rollback"}, x)
}

// Paths lists every chain that leads to a right, ACTION@RESOURCE, in the living directory.
func (c *Client) Paths(ctx context.Context, right string) (api.Paths, error) {
	return get[api.Paths](ctx, c, "paths", "/paths", url.Values{"right": {right}})
}
