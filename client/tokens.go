package client

import (
	"context"
	"net/url"
	"time"

	"sallyport/internal/web/api"
)

// TokensAlive lists the logins whose access tokens may be alive; with older above zero those whose newest token is at
// least as old.
func (c *Client) TokensAlive(ctx context.Context, older time.Duration) ([]api.TokenAlive, error) {
	query := url.Values{}
	if older > 0 {
		query.Set("older", older.String())
	}
	return get[[]api.TokenAlive](ctx, c, "tokens", "/tokens", query)
}
