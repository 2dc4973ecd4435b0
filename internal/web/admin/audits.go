package admin

import (
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/govern/drift"
	"sallyport/internal/web/api"
)

// auditRoutes are about what programs used of what they may do. What people did is the log's: it takes audit.read.
func auditRoutes() []Route {
	return []Route{
		{"GET", "/people/{id}/audit", sallyport.IdentityRead, system, (*API).audit},
	}
}

const maxAuditDays = 366

// audit compares what a service or an agent did in the last "days" with what it may do.
func (a *API) audit(c *Call) (any, error) {
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	if id.Kind() == sallyport.User {
		return nil, sallyport.E("audit", sallyport.Invalid, string(id)+" is a person", "name a service or an agent; what people did is in the log")
	}
	days, err := c.number("days", 30, maxAuditDays)
	if err != nil {
		return nil, err
	}
	if days == 0 {
		return nil, sallyport.E("audit", sallyport.Invalid, "no days are asked for", fmt.Sprintf("ask for 1 to %d", maxAuditDays))
	}
	now := a.Guard.Clock().UTC()
	x, err := drift.Look(c.Context(), a.Rooms.History.Find, a.Facts.Snapshot(),
		drift.Question{Who: id, Since: now.Add(-time.Duration(days) * 24 * time.Hour), Now: now})
	if err != nil {
		return nil, err
	}
	out := api.Audit{Who: x.Who, Since: x.Since, Complete: x.Complete, Policy: x.Policy, Used: []api.Used{}, Unused: []api.Unused{}, Advice: []api.Advice{}}
	for _, u := range x.Used {
		out.Used = append(out.Used, api.Used{Action: u.Action, Resource: u.Resource, Times: u.Times, Last: u.Last})
	}
	for _, r := range x.Unused {
		out.Unused = append(out.Unused, api.Unused{Action: r.Action, Resource: r.Resource})
	}
	for _, v := range x.Advice {
		out.Advice = append(out.Advice, api.Advice{Assignment: assignmentOut(v.Assignment), Unused: v.Unused, Narrower: v.Narrower})
	}
	return out, nil
}
