package client

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sallyport/internal/web/api"
)

// JobTask is what stands before the name of a job in the task of a grant that ends with the job ("lease:train-fraud").
const JobTask = "lease:"

// How often a lease is renewed, three times before it would end; how long one renewal may take, so that after one that is lost
// there is time for another; and how often grants of a job are looked for that were approved while it runs.
const (
	renewEvery = time.Second
	renewIn    = 1500 * time.Millisecond
	lookEvery  = 10 * time.Second
)

// KeepGrant begins a grant that is bound to a lease and renews it until ctx ends, which is no error, or the grant has
// ended, which is one. begun is told once that it holds. A server that cannot be reached is asked again: whether the
// grant outlives that is the server's to say.
func (c *Client) KeepGrant(ctx context.Context, id string, begun func(api.Grant)) error {
	for first := true; ; first = false {
		next := time.Now().Add(renewEvery)
		g, err := c.renewOnce(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (first || !passing(err)):
			return err
		case first:
			begun(g)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next)):
		}
	}
}

func (c *Client) renewOnce(ctx context.Context, id string) (api.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, renewIn)
	defer cancel()
	return c.RenewGrant(ctx, id)
}

// passing reports whether an error may be gone in a moment.
func passing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.API.Status == 0 || e.API.Status == http.StatusTooManyRequests || e.API.Status >= http.StatusInternalServerError)
}

// KeepJob keeps every grant of the caller alive that is bound to the lease of a job, also those that are approved while it
// runs. It returns when those that were there have begun, or with the reason why nobody could be asked, and goes on
// until ctx ends. told hears of each grant once when it begins, and once, with the reason, when it ends before the job
// does; it is called from several goroutines.
func (c *Client) KeepJob(ctx context.Context, job string, told func(api.Grant, error)) error {
	kept := map[string]bool{}
	look := func() error {
		all, err := c.Grants(ctx, false)
		if err != nil {
			return err
		}
		for _, g := range all {
			if g.Task != JobTask+job || g.Ended || kept[g.ID] {
				continue
			}
			kept[g.ID] = c.keepOne(ctx, g, told)
		}
		return nil
	}
	if err := look(); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
				_ = look() // what is kept goes on; it is looked for again
			}
		}
	}()
	return nil
}

// keepOne keeps one grant in the background. It returns when the grant has begun or cannot; false when that may be tried again.
func (c *Client) keepOne(ctx context.Context, g api.Grant, told func(api.Grant, error)) bool {
	started := make(chan bool, 1)
	go func() {
		begun := false
		err := c.KeepGrant(ctx, g.ID, func(now api.Grant) {
			begun = true
			told(now, nil)
			started <- true
		})
		later := !begun && err != nil && passing(err)
		if err != nil && !later {
			told(g, err)
		}
		if !begun {
			started <- !later
		}
	}()
	return <-started
}
