package main

import (
	"context"
	"sync"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// jobFlag lets a command be a job that grants end with.
func jobFlag(c *cobra.Command, job *string) {
	c.Flags().StringVar(job, "job", "", "keep what was granted for this job alive (--task lease:`NAME`); it ends seconds after")
}

// keepJob keeps the grants of a job alive until ctx ends; "" is none.
func (a *app) keepJob(ctx context.Context, c *client.Client, job string) error {
	if job == "" {
		return nil
	}
	if err := sallyport.CheckName("run", job); err != nil {
		return err
	}
	var turn sync.Mutex // grants begin and end side by side
	held := false
	err := c.KeepJob(ctx, job, func(g api.Grant, err error) {
		turn.Lock()
		defer turn.Unlock()
		held = true
		if err != nil {
			a.note("%s has ended: %s", clean(g.ID), clean(err.Error()))
			return
		}
		a.note("%s holds while this runs, until %s at most", clean(g.ID), a.when(g.Until))
	})
	turn.Lock()
	defer turn.Unlock()
	if err == nil && !held {
		a.note("nothing is granted for the job %s yet; ask with --task %s%s", job, client.JobTask, job)
	}
	return err
}
