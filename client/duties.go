package client

import (
	"context"

	"sallyport/internal/web/api"
)

// Duties lists who answers for what the caller may know of.
func (c *Client) Duties(ctx context.Context) ([]api.Duties, error) {
	return get[[]api.Duties](ctx, c, "list duties", "/catalog/duties", nil)
}

// SetDuties names who answers for what d.Resource names. A duty that d leaves out stays as it is.
func (c *Client) SetDuties(ctx context.Context, d api.Duties) (api.Duties, error) {
	return post[api.Duties](ctx, c, request{op: "set duties of " + d.Resource, path: "/catalog/duties", query: on(d.Resource)}, d)
}
