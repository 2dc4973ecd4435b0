package client

import (
	"context"
	"encoding/json"
	"net/url"

	"sallyport/internal/web/api"
)

// Providers lists the identity providers of others that people sign in by.
func (c *Client) Providers(ctx context.Context) ([]api.Provider, error) {
	return get[[]api.Provider](ctx, c, "list identity providers", "/idps", nil)
}

// TestProvider asks a provider whether it answers, and what it presents.
func (c *Client) TestProvider(ctx context.Context, name string) (api.ProviderTest, error) {
	return post[api.ProviderTest](ctx, c, request{op: "test " + name, path: "/idps/" + url.PathEscape(name) + "/test"}, struct{}{})
}

// MapClaims tells what the rules of a provider make of claims, a JSON object such as the payload of an ID token. It changes
// nothing.
func (c *Client) MapClaims(ctx context.Context, name string, claims json.RawMessage) (api.Mapped, error) {
	return post[api.Mapped](ctx, c, request{op: "map claims of " + name, path: "/idps/" + url.PathEscape(name) + "/map"}, api.ProviderMap{Claims: claims})
}

// LinkIdentity lets whom a provider knows by a subject sign in as a person.
func (c *Client) LinkIdentity(ctx context.Context, name string, link api.ProviderLink) (api.ProviderLink, error) {
	return post[api.ProviderLink](ctx, c, request{op: "link " + string(link.Who), path: "/idps/" + url.PathEscape(name) + "/link"}, link)
}
