package client

import (
	"context"
	"net/url"

	"sallyport"
	"sallyport/internal/web/api"
)

// Recoveries lists the open requests of people who lost their last authenticator.
func (c *Client) Recoveries(ctx context.Context) ([]api.Recovery, error) {
	return get[[]api.Recovery](ctx, c, "list recoveries", "/recoveries", nil)
}

// AskRecovery asks for a way back in for somebody. A request that is open already is returned as it is.
func (c *Client) AskRecovery(ctx context.Context, who sallyport.PrincipalID, why string) (api.Recovery, error) {
	return post[api.Recovery](ctx, c, request{op: "ask for recovery", path: "/recoveries"}, api.Recovery{Who: who, Why: why})
}

// ApproveRecovery says that it is really the person who asks. Two other people must.
func (c *Client) ApproveRecovery(ctx context.Context, id string) (api.Recovery, error) {
	return post[api.Recovery](ctx, c, request{op: "approve recovery", path: recovery(id) + "/approve"}, nil)
}

// VouchRecovery is ApproveRecovery by somebody whom the operator named for it.
func (c *Client) VouchRecovery(ctx context.Context, id string) (api.Recovery, error) {
	return post[api.Recovery](ctx, c, request{op: "approve recovery", path: recovery(id) + "/vouch"}, nil)
}

// Vouchable lists the open requests that the caller was named to approve.
func (c *Client) Vouchable(ctx context.Context) ([]api.Recovery, error) {
	return get[[]api.Recovery](ctx, c, "list recoveries", "/recoveries/vouch", nil)
}

// CancelRecovery ends a request.
func (c *Client) CancelRecovery(ctx context.Context, id string) (api.Recovery, error) {
	return post[api.Recovery](ctx, c, request{op: "cancel recovery", path: recovery(id) + "/cancel"}, nil)
}

// ClaimRecovery uses an approved request up, after its delay, and makes its one enrolment link.
func (c *Client) ClaimRecovery(ctx context.Context, id string) (api.Enrolment, error) {
	return post[api.Enrolment](ctx, c, request{op: "claim recovery", path: recovery(id) + "/link"}, nil)
}

func recovery(id string) string { return "/recoveries/" + url.PathEscape(id) }
