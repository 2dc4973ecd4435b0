package client

import (
	"context"
	"time"
)

// SetPause replaces the waiting between attempts.
func (c *Client) SetPause(p func(context.Context, time.Duration) error) { c.pause = p }
