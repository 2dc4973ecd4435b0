package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// Programs lists the OAuth clients.
func (c *Client) Programs(ctx context.Context) ([]api.Program, error) {
	return get[[]api.Program](ctx, c, "list clients", "/clients", nil)
}

// Program returns one OAuth client.
func (c *Client) Program(ctx context.Context, id string) (api.Program, error) {
	return get[api.Program](ctx, c, "show client", "/clients/"+url.PathEscape(id), nil)
}

// AddProgram registers an OAuth client.
func (c *Client) AddProgram(ctx context.Context, p api.Program) (api.Program, error) {
	return post[api.Program](ctx, c, request{op: "register client", path: "/clients"}, p)
}

// RemoveProgram takes an OAuth client out; everything that it was given ends.
func (c *Client) RemoveProgram(ctx context.Context, id string) error {
	_, err := post[api.Program](ctx, c, request{op: "remove client", path: "/clients/" + url.PathEscape(id) + "/remove"}, nil)
	return err
}

// KeyInventory lists every key that the server has, without the keys themselves.
func (c *Client) KeyInventory(ctx context.Context) ([]api.KeyEntry, error) {
	return get[[]api.KeyEntry](ctx, c, "key inventory", "/keys", nil)
}

// RotateTokenKeys makes a new key that signs tokens, and returns the inventory. With r.Now everything that the old ones
// signed ends.
func (c *Client) RotateTokenKeys(ctx context.Context, r api.KeyRotation) ([]api.KeyEntry, error) {
	return post[[]api.KeyEntry](ctx, c, request{op: "rotate keys", path: "/keys/tokens/rotate"}, r)
}

// Delegations lists whom the caller lets act for them.
func (c *Client) Delegations(ctx context.Context) ([]api.Delegation, error) {
	return get[[]api.Delegation](ctx, c, "list delegations", "/delegations", nil)
}

// Delegate lets an agent act for the caller within a scope and for a while.
func (c *Client) Delegate(ctx context.Context, d api.Delegation) (api.Delegation, error) {
	return post[api.Delegation](ctx, c, request{op: "delegate", path: "/delegations"}, d)
}

// EndDelegation takes a permission back.
func (c *Client) EndDelegation(ctx context.Context, id string) (api.Delegation, error) {
	return post[api.Delegation](ctx, c, request{op: "delegate", path: "/delegations/" + url.PathEscape(id) + "/end"}, nil)
}
