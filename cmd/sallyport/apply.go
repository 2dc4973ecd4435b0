package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/web/api"
)

// A step is one change that brings the server to what the file says.
type step struct {
	what string
	do   func(context.Context, *client.Client) error // nil: only told
}

// A plan is the steps that are missing, from what is there to what the file says.
type plan struct {
	file   cast.Organisation
	people map[sallyport.PrincipalID]api.Member
	roles  api.Roles
	things map[string]api.Thing
	duties map[string]api.Duties
	steps  []step
	meant  api.Declaration // roles, groups and assignments, as the file says them, and which file it is
}

func (p *plan) add(what string, do func(context.Context, *client.Client) error) {
	p.steps = append(p.steps, step{what, do})
}

func (a *app) apply() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "apply FILE", Short: "Bring groups, people, roles and the catalog to what a file says", Args: arguments("FILE"),
		Long: `Read an organisation from a YAML file and make what is missing. Nothing is taken away, no class is changed and no version
is made: where the server has something else, it is told. Running it again changes nothing.
What was applied is declared as what is meant to be: see 'sallyport drift'. Others approve a later file that says something else.`,
		Example: `  sallyport apply examples/acme/acme.yaml --dry-run
  sallyport apply examples/acme/acme.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readText(args[0])
			if err != nil {
				return err
			}
			o, err := cast.Read([]byte(text))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			p, err := newPlan(cmd.Context(), c, o)
			if err != nil {
				return err
			}
			p.meant.Source = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
			return a.carryOut(cmd.Context(), c, p, dry)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	return c
}

// newPlan compares the file with what is there.
func newPlan(ctx context.Context, c *client.Client, o cast.Organisation) (*plan, error) {
	p := &plan{file: o, people: map[sallyport.PrincipalID]api.Member{}, things: map[string]api.Thing{}, duties: map[string]api.Duties{}}
	members, err := c.People(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		p.people[m.ID] = m
	}
	if p.roles, err = c.Roles(ctx); err != nil {
		return nil, err
	}
	things, err := c.Things(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range things {
		p.things[t.Resource] = t
	}
	duties, err := c.Duties(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range duties {
		p.duties[d.Resource] = d
	}
	if err := p.groups(); err != nil {
		return nil, err
	}
	p.members()
	if err := p.roleSteps(); err != nil {
		return nil, err
	}
	p.catalog()
	p.charters()
	p.assignments()
	return p, nil
}

// within gives a name its organisation, unless it has one.
func (p *plan) within(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return p.file.Organisation + "/" + name
}

func (p *plan) withinAll(names []string) []string {
	var all []string
	for _, n := range names {
		all = append(all, p.within(n))
	}
	return all
}

// inOrder visits what others refer to before those others. What is not among the names is on the server, and stays as it is.
func inOrder(names []string, below func(string) []string, visit func(string)) error {
	declared := map[string]bool{}
	for _, n := range names {
		if declared[n] {
			return sallyport.E("apply", sallyport.Invalid, "\""+sallyport.OneLine(n)+"\" stands there twice", "keep one of them in the file")
		}
		declared[n] = true
	}
	state := map[string]int{} // 1: under way, 2: done
	var walk func(string) error
	walk = func(n string) error {
		if !declared[n] {
			return nil
		}
		switch state[n] {
		case 1:
			return sallyport.E("apply", sallyport.Invalid, "\""+sallyport.OneLine(n)+"\" contains itself", "break the circle in the file")
		case 2:
			return nil
		}
		state[n] = 1
		for _, m := range below(n) {
			if err := walk(m); err != nil {
				return err
			}
		}
		state[n] = 2
		visit(n)
		return nil
	}
	for _, n := range names {
		if err := walk(n); err != nil {
			return err
		}
	}
	return nil
}

// groups are defined in any case: the server does not list them, and defining one again changes nothing.
func (p *plan) groups() error {
	in := map[string][]string{}
	var names []string
	for _, g := range p.file.Groups {
		in[g.Name] = g.In
		names = append(names, g.Name)
	}
	return inOrder(names, func(n string) []string { return in[n] }, func(n string) {
		g := api.Group{Name: p.within(n), Parents: p.withinAll(in[n])}
		p.meant.Groups = append(p.meant.Groups, g)
		p.add("group "+g.Name, func(ctx context.Context, c *client.Client) error {
			_, err := c.DefineGroup(ctx, g)
			return err
		})
	})
}

func (p *plan) members() {
	for _, x := range p.file.People {
		m := api.Member{ID: userID(x.Name), Org: p.file.Organisation, Display: x.Display, Groups: p.withinAll(x.Groups)}
		if x.Person != "" {
			m.Person = userID(x.Person)
		}
		p.member(m, x.Suspended)
	}
	for _, kind := range []struct {
		is  sallyport.PrincipalKind
		all []cast.Account
	}{{sallyport.Service, p.file.Services}, {sallyport.Agent, p.file.Agents}} {
		for _, x := range kind.all {
			p.member(api.Member{ID: sallyport.PrincipalID(string(kind.is) + ":" + x.Name), Person: userID(x.Owner), Org: p.file.Organisation, Groups: p.withinAll(x.Groups),
				Purpose: x.Purpose, Ends: time.Now().AddDate(0, 0, x.Days), Environment: sallyport.Environment(x.Environment)}, false)
		}
	}
}

func userID(name string) sallyport.PrincipalID { return sallyport.PrincipalID("user:" + name) }

// member adds somebody, or the groups that they are not in yet.
func (p *plan) member(m api.Member, suspended bool) {
	there, ok := p.people[m.ID]
	if !ok {
		p.add(string(m.ID), func(ctx context.Context, c *client.Client) error {
			_, err := c.AddPerson(ctx, m)
			return err
		})
	}
	for _, g := range m.Groups {
		if ok && !slices.Contains(there.Groups, g) {
			p.add(fmt.Sprintf("%s into %s", m.ID, g), func(ctx context.Context, c *client.Client) error {
				_, err := c.Join(ctx, m.ID, api.Group{Name: g})
				return err
			})
		}
	}
	if suspended && there.State != "suspended" {
		p.add("suspend "+string(m.ID), func(ctx context.Context, c *client.Client) error {
			_, err := c.SetState(ctx, m.ID, "suspended")
			return err
		})
	}
}

func (p *plan) roleSteps() error {
	byName := map[string]api.Role{}
	var names []string
	for _, r := range p.file.Roles {
		byName[r.Name] = api.Role{Name: r.Name, Inherits: slices.Sorted(slices.Values(r.Inherits)), Privileged: r.Privileged}
		names = append(names, r.Name)
	}
	return inOrder(names, func(n string) []string { return byName[n].Inherits }, func(n string) {
		r := byName[n]
		for _, old := range p.roles.Roles {
			if old.Name != n {
				continue
			}
			r.Description, r.Privileged = old.Description, old.Privileged || r.Privileged
			if slices.Equal(slices.Sorted(slices.Values(old.Inherits)), r.Inherits) && r.Privileged == old.Privileged {
				p.meant.Roles = append(p.meant.Roles, r)
				return
			}
		}
		p.meant.Roles = append(p.meant.Roles, r)
		p.add("role "+n, func(ctx context.Context, c *client.Client) error {
			_, err := c.DefineRole(ctx, r)
			return err
		})
	})
}

func (p *plan) assignments() {
	for _, x := range p.file.Assignments {
		for _, to := range x.To {
			s := api.Assignment{Subject: to, Role: x.Role, Scope: x.On}
			if g, ok := strings.CutPrefix(to, "group:"); ok {
				s.Subject = "group:" + p.within(g)
			}
			p.meant.Assignments = append(p.meant.Assignments, s)
			if slices.ContainsFunc(p.roles.Assignments, func(old api.Assignment) bool {
				return old.Subject == s.Subject && old.Role == s.Role && old.Scope == s.Scope
			}) {
				continue
			}
			p.add(fmt.Sprintf("%s is %s on %s", s.Subject, s.Role, s.Scope), func(ctx context.Context, c *client.Client) error {
				_, err := c.Assign(ctx, s)
				return err
			})
		}
	}
}

func (p *plan) catalog() {
	org := p.file.Organisation
	p.thing(api.Thing{Resource: "org:" + org})
	for _, name := range p.file.Projects {
		p.thing(api.Thing{Resource: "project:" + p.within(name)})
	}
	for _, m := range p.file.Models {
		p.item("", m.Item, api.Thing{})
	}
	for _, d := range p.file.Datasets {
		p.item("dataset:", d.Item, api.Thing{Environment: sallyport.Environment(d.Environment)})
	}
	for _, e := range p.file.Endpoints {
		p.item("endpoint:", e.Item, api.Thing{Model: e.Model, Environment: sallyport.Environment(e.Environment)})
	}
}

func (p *plan) item(prefix string, x cast.Item, t api.Thing) {
	t.Resource, t.Class, t.Purposes = prefix+p.within(x.Name), sallyport.Class(x.Class), x.Purposes
	if x.Project != "" {
		t.Project = p.within(x.Project)
	}
	for _, o := range x.Owners {
		t.Owners = append(t.Owners, userID(o))
	}
	p.thing(t)
}

// thing adds to the catalog what is not there. What is there with another class is only told: a label needs a reason.
func (p *plan) thing(t api.Thing) {
	there, ok := p.things[t.Resource]
	switch {
	case !ok:
		p.add(t.Resource, func(ctx context.Context, c *client.Client) error {
			_, err := c.Add(ctx, t)
			if e, is := errors.AsType[*client.Error](err); is && e.API.Status == 409 {
				return nil // it is there, and not for us to see
			}
			return err
		})
	case t.Class != "" && there.Class != t.Class:
		p.add(fmt.Sprintf("%s is %s, the file says %s: change it with 'sallyport catalog label %s %s --why …'", t.Resource, there.Class, t.Class, t.Resource, t.Class), nil)
	}
}

// An applied step is what came of it.
type applied struct {
	Step  string `json:"step"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// declare says that what the file says is meant to be. Where something else is declared already, others are asked.
func (p *plan) declare(ctx context.Context, c *client.Client) (applied, error) {
	if len(p.meant.Roles)+len(p.meant.Groups)+len(p.meant.Assignments) == 0 {
		return applied{}, nil
	}
	done, err := c.Declare(ctx, p.meant)
	switch {
	case err != nil:
		return applied{Step: "declare"}, err
	case done.Request != nil:
		return applied{Step: fmt.Sprintf("%s asks others whether this is what is meant: %d items differ from what is declared", done.Request.ID, len(done.Items))}, nil
	}
	return applied{Step: "declared: this is what is meant", Done: true}, nil
}

// carryOut does all steps, also after one that was refused: the others may matter more.
func (a *app) carryOut(ctx context.Context, c *client.Client, p *plan, dry bool) error {
	out := []applied{}
	var first error
	m := a.meter()
	for i, s := range p.steps {
		x := applied{Step: s.what}
		if s.do != nil && !dry {
			m.show(client.Progress{Phase: "apply", File: s.what, Done: int64(i), Total: int64(len(p.steps))})
			err := s.do(ctx, c)
			if x.Done = err == nil; err != nil {
				x.Error = message(err)
				if first == nil {
					first = err
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		out = append(out, x)
	}
	m.done()
	if !dry && first == nil {
		x, err := p.declare(ctx, c)
		if err != nil {
			x.Error, first = message(err), err
		}
		if x.Step != "" {
			out = append(out, x)
		}
	}
	err := a.answer(out, func() {
		for _, x := range out {
			mark := map[bool]string{true: "+", false: "-"}[x.Done]
			if x.Error != "" {
				mark = "!"
			}
			a.line("%s %s%s", mark, x.Step, prefixed(": ", x.Error))
		}
		a.line("%d steps", len(out))
	})
	if err == nil && first != nil {
		err = ended(exitCode(first))
	}
	return err
}
