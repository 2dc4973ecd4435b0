package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// Drift says what is meant to be, and where what is differs from it.
func (c *Client) Drift(ctx context.Context) (api.Drift, error) {
	return get[api.Drift](ctx, c, "read drift", "/drift", nil)
}

// FixDrift asks others to put something right, one way or the other.
func (c *Client) FixDrift(ctx context.Context, fix api.DriftFix) (api.DriftChange, error) {
	return post[api.DriftChange](ctx, c, request{op: "fix drift", path: "/drift/fix"}, fix)
}

// DriftRequest is what a request about drift would change.
func (c *Client) DriftRequest(ctx context.Context, id string) (api.DriftChange, error) {
	return get[api.DriftChange](ctx, c, "read request", "/drift/requests/"+url.PathEscape(id), nil)
}

// VoteDrift votes on a request about drift, exactly as it was read. With the last yes it is carried out.
func (c *Client) VoteDrift(ctx context.Context, r api.Request, v api.Vote) (api.Request, error) {
	v.Hash = r.Hash
	return post[api.Request](ctx, c, request{op: "vote", path: "/drift/requests/" + url.PathEscape(r.ID) + "/vote"}, v)
}

// Declare says what is meant to be, as a file says it: the first time at once, later by others' approval.
func (c *Client) Declare(ctx context.Context, d api.Declaration) (api.DriftChange, error) {
	return post[api.DriftChange](ctx, c, request{op: "declare", path: "/drift/declare"}, d)
}
