package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// Sources lists the upstream providers that keep people and groups here.
func (c *Client) Sources(ctx context.Context) ([]api.Source, error) {
	return get[[]api.Source](ctx, c, "list sources", "/scim", nil)
}

// SourceToken makes an access token for a source's account. It is a secret.
func (c *Client) SourceToken(ctx context.Context, source string) (api.SourceToken, error) {
	return post[api.SourceToken](ctx, c, request{op: "make a token for " + source, path: "/scim/" + url.PathEscape(source) + "/token"}, nil)
}
