package client

import (
	"context"
	"net/url"
	"time"

	"sallyport/internal/web/api"
)

// Revocations are how fast orders that took rights away were in force; a zero since is the server's own span of 30 days.
func (c *Client) Revocations(ctx context.Context, since time.Time) (api.Revocations, error) {
	q := url.Values{}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339))
	}
	return get[api.Revocations](ctx, c, "metrics", "/metrics/revoke", q)
}
