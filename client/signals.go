package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// SignalStreams lists the streams by which partners hear of our people.
func (c *Client) SignalStreams(ctx context.Context) ([]api.SignalStream, error) {
	return get[[]api.SignalStream](ctx, c, "list event streams", "/signals/streams", nil)
}

// SignalPartners lists the partners whose events are taken.
func (c *Client) SignalPartners(ctx context.Context) ([]api.SignalPartner, error) {
	return get[[]api.SignalPartner](ctx, c, "list partners", "/signals/partners", nil)
}

// TestStream sends a verification event on a stream.
func (c *Client) TestStream(ctx context.Context, id string) error {
	_, err := post[api.SignalStream](ctx, c, request{op: "test stream", path: "/signals/streams/" + url.PathEscape(id) + "/test"}, nil)
	return err
}
