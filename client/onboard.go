package client

import (
	"context"

	"sallyport/internal/web/api"
)

// Onboard makes or finds a person and gives one role on one project, until an end.
func (c *Client) Onboard(ctx context.Context, o api.Onboard) (api.Onboarded, error) {
	return post[api.Onboarded](ctx, c, request{op: "onboard " + string(o.ID), path: "/onboard"}, o)
}
