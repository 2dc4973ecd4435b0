package client

import (
	"context"

	"sallyport"
	"sallyport/internal/web/api"
)

// MyTraining is when the caller was last trained.
func (c *Client) MyTraining(ctx context.Context) (api.Training, error) {
	return get[api.Training](ctx, c, "show training", "/me/training", nil)
}

// Training is when somebody was last trained.
func (c *Client) Training(ctx context.Context, who sallyport.PrincipalID) (api.Training, error) {
	return get[api.Training](ctx, c, "show training", member(who)+"/training", nil)
}

// RecordTraining says that somebody else was trained, or takes it back.
func (c *Client) RecordTraining(ctx context.Context, who sallyport.PrincipalID, t api.Trained) (api.Training, error) {
	return post[api.Training](ctx, c, request{op: "record training", path: member(who) + "/training"}, t)
}
