package client

import (
	"context"

	"sallyport"
	"sallyport/internal/web/api"
)

// Leave ends an account: sessions, logins, grants, questions, devices, roles and running calls. What it answered for
// waits for a successor.
func (c *Client) Leave(ctx context.Context, id sallyport.PrincipalID, l api.Leave) (api.Left, error) {
	return post[api.Left](ctx, c, request{op: "leave " + string(id), path: member(id) + "/leave"}, l)
}

// Successors lists what waits for somebody to answer for it.
func (c *Client) Successors(ctx context.Context) ([]api.Successor, error) {
	return get[[]api.Successor](ctx, c, "list successors", "/successors", nil)
}

// AssignSuccessor makes a person answer for what s.Thing names.
func (c *Client) AssignSuccessor(ctx context.Context, s api.Successor) (api.Successor, error) {
	return post[api.Successor](ctx, c, request{op: "assign successor of " + s.Thing, path: "/successors"}, s)
}
