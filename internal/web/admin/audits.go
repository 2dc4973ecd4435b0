package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/audit/past"
	"sallyport/internal/govern/usage"
	"sallyport/internal/web/api"
)

// auditRoutes are about what programs used of what they may do. What people did is the log's: it takes audit.read.
func auditRoutes() []Route {
	return []Route{
		{"GET", "/people/{id}/history", sallyport.AuditRead, system, (*API).biography},
		{"GET", "/people/{id}/audit", sallyport.IdentityRead, system, (*API).audit},
	}
}

const (
	maxAuditDays = 366
	maxEvents    = 20_000 // of those that change what somebody is, in all of the log up to an instant
)

// biography rebuilds what somebody was at the instant "at", now unless it is given, from the log alone.
func (a *API) biography(c *Call) (any, error) {
	const op = "history"
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	at := a.Guard.Clock().UTC()
	if s := c.URL.Query().Get("at"); s != "" {
		if at, err = time.Parse(time.RFC3339, s); err != nil {
			return nil, sallyport.E(op, sallyport.Invalid, "the instant cannot be read", "write 2026-09-01T00:00:00Z")
		}
	}
	events, err := a.eventsUntil(c, id, at)
	if err != nil {
		return nil, err
	}
	l := past.Rebuild(id, at, events)
	out := api.Life{Who: l.Who, At: l.At, Known: l.Known, State: l.State, Owner: l.Owner, Groups: l.Groups, Devices: l.Devices,
		Roles: []api.Assignment{}, Grants: []api.LifeGrant{}, Steps: []api.LifeStep{}}
	for _, r := range l.Roles {
		out.Roles = append(out.Roles, api.Assignment{ID: r.ID, Subject: r.Subject, Role: r.Name, Scope: r.Scope, Until: r.Until})
	}
	for _, g := range l.Grants {
		out.Grants = append(out.Grants, api.LifeGrant{ID: g.ID, Actions: g.Actions, Resource: g.Resource, Until: g.Until})
	}
	for _, s := range l.Steps {
		out.Steps = append(out.Steps, api.LifeStep{Seq: s.Seq, At: s.At, By: s.By, What: s.What})
	}
	return out, nil
}

// eventsUntil gathers the events that may concern a member, in the order of the log.
func (a *API) eventsUntil(c *Call, id sallyport.PrincipalID, at time.Time) ([]sallyport.Logged, error) {
	q := history.Query{Types: past.Types(), Until: at.Add(time.Microsecond), Most: history.MaxRows}
	var numbers []uint64
	for {
		rows, err := a.find(c, q)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Type != sallyport.EventChanged || row.On == string(id) || strings.HasPrefix(row.On, "group:") || strings.HasPrefix(row.On, "assignment:") {
				numbers = append(numbers, row.Seq)
			}
		}
		if len(rows) < q.Most {
			break
		}
		if q.Before = rows[len(rows)-1].Seq; len(numbers) > maxEvents {
			return nil, sallyport.E("history", sallyport.TooLarge, fmt.Sprintf("more than %d changes lie before that instant", maxEvents), "copy the log and rebuild from the copy")
		}
	}
	events := make([]sallyport.Logged, 0, len(numbers))
	for _, n := range slices.Backward(numbers) {
		entries, err := a.Rooms.Log.Read(c.Context(), n, 1)
		if err != nil {
			return nil, err
		}
		if len(entries) != 1 {
			return nil, sallyport.E("history", sallyport.Unavailable, fmt.Sprintf("entry %d of the log cannot be read", n), "")
		}
		e, err := sallyport.DecodeLogged(entries[0].Leaf)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

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
	x, err := usage.Look(c.Context(), a.Rooms.History.Find, a.Facts.Snapshot(),
		usage.Question{Who: id, Since: now.Add(-time.Duration(days) * 24 * time.Hour), Now: now})
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
