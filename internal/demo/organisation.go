package demo

import (
	"context"
	_ "embed"
	"fmt"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

//go:embed policies/demo.cedar
var morePolicies string

// organisation is acme as the story needs it: people and roles of examples/acme, in the words of the management API.
type organisation struct {
	people      []api.Member
	roles       []api.Role
	things      []api.Thing
	assignments []api.Assignment
}

// acme is the organisation. The auditor is not in it: she is there before.
func acme() organisation {
	staff := []string{"acme/staff"}
	member := func(name string) api.Member {
		return api.Member{ID: sallyport.PrincipalID("user:" + name), Org: "acme", Groups: staff}
	}
	alias := member("rita.two")
	alias.Person = "user:rita"
	give := func(role, scope string, names ...string) []api.Assignment {
		var all []api.Assignment
		for _, n := range names {
			all = append(all, api.Assignment{Subject: "user:" + n, Role: role, Scope: scope})
		}
		return all
	}
	o := organisation{
		people: []api.Member{member("ana"), member("tess"), member("eva"), member("oto"), member("rita"), alias, member("ravi"), member("nora")},
		roles: []api.Role{
			{Name: "reader", Description: "sees models: cards, metrics, lists of files"},
			{Name: "model-developer", Inherits: []string{"reader"}, Description: "makes models and uses them"},
			{Name: "evaluator", Inherits: []string{"reader"}, Description: "calls models and measures them"},
			{Name: "operator", Inherits: []string{"reader"}, Description: "releases models and runs their servers"},
			{Name: "assistant", Description: "software that acts on behalf of somebody"},
			{Name: "provisioner", Description: "keeps people and groups, by SCIM"},
			{Name: "security-reviewer", Inherits: []string{"auditor"}, Description: "approves, holds, lifts"},
		},
		things: []api.Thing{
			{Resource: "project:acme/risk"},
			{Resource: "project:acme/language"},
			{Resource: guarded, Project: "acme/risk", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:ana"}},
			{Resource: open, Project: "acme/risk", Class: sallyport.Internal, Owners: []sallyport.PrincipalID{"user:ana"}},
			{Resource: closed, Project: "acme/language", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:tess"}},
		},
	}
	o.assignments = append(o.assignments, give("model-developer", "project:acme/risk", "ana")...)
	o.assignments = append(o.assignments, give("model-developer", closed, "tess")...)
	o.assignments = append(o.assignments, give("reader", closed, "ana")...)
	o.assignments = append(o.assignments, give("evaluator", "org:acme", "eva")...)
	o.assignments = append(o.assignments, give("operator", "org:acme", "oto")...)
	for _, scope := range []string{"org:acme", "system"} {
		o.assignments = append(o.assignments, give("security-reviewer", scope, "rita", "rita.two", "ravi")...)
	}
	return o
}

// beforeAnybody makes what the auditor's invitation needs.
func beforeAnybody(ctx context.Context, c *client.Client) error {
	if _, err := c.Add(ctx, api.Thing{Resource: "org:acme"}); err != nil {
		return err
	}
	if _, err := c.DefineGroup(ctx, api.Group{Name: "acme/staff"}); err != nil {
		return err
	}
	for _, r := range []api.Role{
		{Name: "auditor", Description: "inspects the log"},
		{Name: "governance-reviewer", Inherits: []string{"auditor"}, Description: "inspects the log, and touches nothing else"},
	} {
		if _, err := c.DefineRole(ctx, r); err != nil {
			return err
		}
	}
	if _, err := c.AddPerson(ctx, api.Member{ID: "user:alba", Org: "acme", Groups: []string{"acme/staff"}}); err != nil {
		return err
	}
	for _, a := range []api.Assignment{
		{Subject: "user:alba", Role: "governance-reviewer", Scope: "org:acme"},
		{Subject: "user:alba", Role: "governance-reviewer", Scope: "system"},
		{Subject: "user:adam", Role: "administrator", Scope: "org:acme"},
	} {
		if _, err := c.Assign(ctx, a); err != nil {
			return fmt.Errorf("%s to %s on %s: %w", a.Role, a.Subject, a.Scope, err)
		}
	}
	return nil
}

// establish makes the rest, and reports how many things it made.
func (o organisation) establish(ctx context.Context, c *client.Client) (int, error) {
	for _, m := range o.people {
		if _, err := c.AddPerson(ctx, m); err != nil {
			return 0, err
		}
	}
	for _, r := range o.roles {
		if _, err := c.DefineRole(ctx, r); err != nil {
			return 0, err
		}
	}
	for _, t := range o.things {
		if _, err := c.Add(ctx, t); err != nil {
			return 0, err
		}
	}
	if _, err := c.SetDuties(ctx, api.Duties{Resource: "org:acme", Owner: []string{"user:oto"}, Approver: []string{"user:rita"}, Monitor: []string{"user:rita"},
		Responder: []string{"user:ravi"}}); err != nil {
		return 0, err
	}
	for _, a := range o.assignments {
		if _, err := c.Assign(ctx, a); err != nil {
			return 0, fmt.Errorf("%s to %s on %s: %w", a.Role, a.Subject, a.Scope, err)
		}
	}
	return len(o.people) + len(o.roles) + len(o.things) + len(o.assignments), nil
}
