package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// Lowerings lists the open requests to lower a class that the caller may vote on or asked for.
func (c *Client) Lowerings(ctx context.Context) ([]api.Lowering, error) {
	return get[[]api.Lowering](ctx, c, "list lowerings", "/catalog/lowerings", nil)
}

// VoteLowering votes on a request to lower a class, as it was read.
func (c *Client) VoteLowering(ctx context.Context, r api.Lowering, v api.Vote) (api.Lowering, error) {
	v.Hash = r.Hash
	return post[api.Lowering](ctx, c, request{op: "vote", path: "/catalog/lowerings/" + url.PathEscape(r.ID) + "/vote", query: on(r.Resource)}, v)
}

// Usage is what somebody did lately; "" is the caller.
func (c *Client) Usage(ctx context.Context, who string) (api.Usage, error) {
	path := "/usage"
	if who != "" {
		path += "/" + url.PathEscape(who)
	}
	return get[api.Usage](ctx, c, "read usage", path, nil)
}
