package client

import (
	"context"
	"net/url"

	"sallyport/internal/web/api"
)

// StartDrill sends an exercise against fraud to the volunteers.
func (c *Client) StartDrill(ctx context.Context, d api.StartDrill) (api.Drill, error) {
	return post[api.Drill](ctx, c, request{op: "start drill", path: "/drills"}, d)
}

// Drills lists drills with how they went, the newest first.
func (c *Client) Drills(ctx context.Context) ([]api.Drill, error) {
	return get[[]api.Drill](ctx, c, "list drills", "/drills", nil)
}

// Drill is one drill with how it went.
func (c *Client) Drill(ctx context.Context, id string) (api.Drill, error) {
	return get[api.Drill](ctx, c, "show drill", "/drills/"+url.PathEscape(id), nil)
}

// MyDrills are those of the caller that are over, and whether they take part.
func (c *Client) MyDrills(ctx context.Context) (api.MyDrills, error) {
	return get[api.MyDrills](ctx, c, "show drills", "/me/drills", nil)
}

// Volunteer makes the caller take part in drills, or no longer.
func (c *Client) Volunteer(ctx context.Context, v api.Volunteering) (api.Volunteering, error) {
	return post[api.Volunteering](ctx, c, request{op: "join drills", path: "/me/drills"}, v)
}

// Lure is what the link of a drill leads to, by the end of its address.
func (c *Client) Lure(ctx context.Context, link string) (api.Lure, error) {
	return get[api.Lure](ctx, c, "open page", "/me/lures/"+url.PathEscape(link), nil)
}

// AnswerLure is what the buttons of that page do.
func (c *Client) AnswerLure(ctx context.Context, link string, a api.LureAnswer) (api.Lure, error) {
	return post[api.Lure](ctx, c, request{op: "answer", path: "/me/lures/" + url.PathEscape(link)}, a)
}
