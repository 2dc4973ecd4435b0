package cast

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

func (c *Cast) add(u policy.UID, attrs map[string]policy.Value, parents ...policy.UID) {
	c.Add(policy.Entity{UID: u, Attrs: attrs, Parents: parents})
}

func (c *Cast) group(name string) policy.UID {
	return uid("Group", c.Organisation.Organisation+"/"+name)
}

func (c *Cast) groups(names []string) []policy.UID {
	var list []policy.UID
	for _, n := range names {
		list = append(list, c.group(n))
	}
	return list
}

// principals adds groups, people, services, agents and roles.
func (c *Cast) principals() {
	for _, g := range c.Organisation.Groups {
		c.add(c.group(g.Name), nil, c.groups(g.In)...)
	}
	for _, p := range c.Organisation.People {
		u, person := uid("User", p.Name), uid("User", p.Name)
		if p.Person != "" {
			person = uid("User", p.Person)
		}
		c.suspended[u] = p.Suspended
		c.add(u, map[string]policy.Value{"name": text(p.Name), "person": entity(person),
			"org": entity(uid("Organisation", c.Organisation.Organisation))}, c.groups(p.Groups)...)
	}
	for kind, accounts := range map[string][]Account{"Service": c.Organisation.Services, "Agent": c.Organisation.Agents} {
		for _, a := range accounts {
			attrs := map[string]policy.Value{"owner": entity(uid("User", a.Owner))}
			if a.Environment != "" {
				attrs["environment"] = text(a.Environment)
			}
			c.add(uid(kind, a.Name), attrs, c.groups(a.Groups)...)
		}
	}
	for _, r := range c.Organisation.Roles {
		var parents []policy.UID
		for _, p := range r.Inherits {
			parents = append(parents, uid("Role", p))
		}
		c.add(uid("Role", r.Name), nil, parents...)
	}
}

// attributes are those of everything that has a class, owners among them where it has them.
func attributes(i Item, owners bool) map[string]policy.Value {
	attrs := map[string]policy.Value{"class": text(i.Class)}
	if owners {
		set := policy.Value{Kind: policy.SetValue}
		for _, o := range i.Owners {
			set.Set = append(set.Set, entity(uid("User", o)))
		}
		purposes := policy.Value{Kind: policy.SetValue}
		for _, p := range i.Purposes {
			purposes.Set = append(purposes.Set, text(p))
		}
		attrs["owners"], attrs["purposes"] = set, purposes
	}
	return attrs
}

// things adds what is protected.
func (c *Cast) things() error {
	o := c.Organisation
	org := o.Organisation
	c.place()
	for _, e := range []string{"development", "staging", "production"} {
		c.add(uid("Environment", e), nil)
	}
	for _, p := range o.Projects {
		c.add(uid("Project", org+"/"+p), nil, uid("Organisation", org))
		c.put(sallyport.Resource{Kind: sallyport.ProjectKind, Org: org, Project: p, Name: p, Class: sallyport.Internal})
	}
	if err := c.models(); err != nil {
		return err
	}
	for _, d := range o.Datasets {
		parents := []policy.UID{uid("Project", org+"/"+d.Project)}
		if d.Environment != "" {
			parents = append(parents, uid("Environment", d.Environment))
		}
		c.add(uid("Dataset", org+"/"+d.Name), attributes(d.Item, true), parents...)
		c.put(sallyport.Resource{Kind: sallyport.DatasetKind, Org: org, Project: d.Project, Name: d.Name, Class: sallyport.Class(d.Class),
			Environment: sallyport.Environment(d.Environment)})
	}
	for _, e := range o.Endpoints {
		attrs := attributes(e.Item, false)
		attrs["model"] = entity(uid("Model", org+"/"+e.Model))
		c.add(uid("Endpoint", org+"/"+e.Name), attrs, uid("Project", org+"/"+e.Project), uid("Environment", e.Environment))
		c.put(sallyport.Resource{Kind: sallyport.EndpointKind, Org: org, Project: e.Project, Name: e.Name,
			Class: sallyport.Class(e.Class), Environment: sallyport.Environment(e.Environment)})
	}
	return nil
}

func (c *Cast) models() error {
	org := c.Organisation.Organisation
	for _, m := range c.Organisation.Models {
		project, model := uid("Project", org+"/"+m.Project), uid("Model", org+"/"+m.Name)
		base := sallyport.Resource{Kind: sallyport.ModelKind, Org: org, Project: m.Project, Name: m.Name, Class: sallyport.Class(m.Class)}
		c.add(model, attributes(m.Item, true), project)
		c.put(base)
		for _, v := range m.Versions {
			pusher, err := c.Person(v.PushedBy)
			if err != nil {
				return err
			}
			attrs := attributes(m.Item, true)
			attrs["number"], attrs["pushedBy"] = text(v.Number), entity(pusher)
			makers := []policy.Value{entity(pusher)}
			if v.TrainedBy != "" {
				trainer, err := c.Person(v.TrainedBy)
				if err != nil {
					return err
				}
				attrs["trainedBy"] = entity(trainer)
				makers = append(makers, entity(trainer))
			}
			attrs["makers"] = policy.Value{Kind: policy.SetValue, Set: makers}
			attrs["digest"] = text(strings.Repeat(fmt.Sprintf("%02x", len(c.entities)%256), 32))
			c.add(uid("Version", model.ID+"@"+v.Number), attrs, model, uid("Environment", v.Environment))
			x := base
			x.Kind, x.Version, x.Environment = sallyport.VersionKind, v.Number, sallyport.Environment(v.Environment)
			c.put(x)
		}
	}
	return nil
}

func (c *Cast) put(x sallyport.Resource) { c.resources[x.String()] = x }

// check refuses names that are referred to and not declared.
func (c *Cast) check() error {
	for _, e := range c.entities {
		named := slices.Clone(e.Parents)
		for _, v := range e.Attrs {
			named = append(named, v.Entity)
			for _, x := range v.Set {
				named = append(named, x.Entity)
			}
		}
		for _, u := range named {
			if _, ok := c.entities[u]; !ok && u != (policy.UID{}) {
				return fmt.Errorf("%v names %v, which is not declared", e.UID, u)
			}
		}
	}
	for _, d := range c.Organisation.Duties {
		if _, ok := c.resources[d.On]; !ok {
			return fmt.Errorf("duties are about %s, which is not declared", d.On)
		}
		for _, who := range slices.Concat(d.Owner, d.Approver, d.Monitor, d.Responder) {
			if _, err := c.Principal(who); err != nil {
				return err
			}
		}
	}
	return nil
}

// give reads the assignments.
func (c *Cast) give() error {
	for _, a := range c.Organisation.Assignments {
		on, err := sallyport.ParseRef(a.On)
		if err != nil {
			return err
		}
		if _, ok := c.resources[on.String()]; !ok {
			return fmt.Errorf("an assignment is on %s, which is not declared", a.On)
		}
		entry := Assignment{Role: uid("Role", a.Role), On: on}
		if _, ok := c.entities[entry.Role]; !ok {
			return fmt.Errorf("an assignment has the role %s, which is not declared", a.Role)
		}
		for _, to := range a.To {
			u, err := c.Principal(to)
			if err != nil {
				return err
			}
			entry.To = append(entry.To, u)
		}
		c.assignments = append(c.assignments, entry)
	}
	return nil
}
