package doortest

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/plumbing/secret"
)

func bearer(s string) secret.Text { return secret.NewText(s) }

// engine compiles the policies of an organisation.
func engine(files fs.FS) (policy.Engine, error) {
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{}}
	names, err := fs.Glob(files, "policies/*.cedar")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		src.Policies[path.Base(name)] = string(text)
	}
	return cedar.Compile(src)
}

func user(name string) sallyport.PrincipalID { return sallyport.PrincipalID("user:" + name) }

// people are the members and groups of an organisation.
func people(c *cast.Cast) directory.Dump {
	o := c.Organisation
	var d directory.Dump
	within := func(groups []string) []string {
		var names []string
		for _, g := range groups {
			names = append(names, o.Organisation+"/"+g)
		}
		return names
	}
	for _, g := range o.Groups {
		d.Groups = append(d.Groups, directory.Group{Name: o.Organisation + "/" + g.Name, Parents: within(g.In)})
	}
	for _, p := range o.People {
		m := directory.Member{ID: user(p.Name), Person: user(p.Name), Org: o.Organisation, State: directory.Active, Groups: within(p.Groups)}
		if p.Person != "" {
			m.Person = user(p.Person)
		}
		if p.Suspended {
			m.State = directory.Suspended
		}
		d.Members = append(d.Members, m)
	}
	for kind, accounts := range map[string][]cast.Account{"service:": o.Services, "agent:": o.Agents} {
		for _, a := range accounts {
			d.Members = append(d.Members, directory.Member{ID: sallyport.PrincipalID(kind + a.Name), Person: user(a.Owner), Org: o.Organisation,
				State: directory.Active, Groups: within(a.Groups), Environment: sallyport.Environment(a.Environment)})
		}
	}
	slices.SortFunc(d.Members, func(a, b directory.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return d
}

// roles are its roles and who holds them.
func roles(c *cast.Cast) role.State {
	var s role.State
	for _, r := range c.Organisation.Roles {
		s.Roles = append(s.Roles, role.Role{Name: r.Name, Inherits: r.Inherits, Privileged: r.Privileged})
	}
	for i, a := range c.Assignments() {
		for k, to := range a.To {
			s.Assignments = append(s.Assignments, role.Assignment{ID: fmt.Sprintf("A-%d-%d", i, k), Subject: strings.ToLower(to.Type) + ":" + to.ID,
				Role: a.Role.ID, Scope: a.On})
		}
	}
	return s
}

// things are what it protects.
func things(c *cast.Cast) catalog.Dump {
	o := c.Organisation
	owners := func(names []string) []sallyport.PrincipalID {
		var ids []sallyport.PrincipalID
		for _, n := range names {
			ids = append(ids, user(n))
		}
		return ids
	}
	d := catalog.Dump{Orgs: []catalog.Org{{Name: o.Organisation}}}
	for _, p := range o.Projects {
		d.Projects = append(d.Projects, catalog.Project{Org: o.Organisation, Name: p})
	}
	for _, m := range o.Models {
		model := catalog.Model{Org: o.Organisation, Name: m.Name, Project: m.Project, Class: sallyport.Class(m.Class), Owners: owners(m.Owners), Purposes: m.Purposes}
		for _, v := range m.Versions { // without aliases: a bare name means the model, as in the tables
			d.Versions = append(d.Versions, catalog.Version{ID: m.Name + v.Number, Org: o.Organisation, Model: m.Name, Number: v.Number,
				Digest: strings.Repeat(fmt.Sprintf("%02x", len(d.Versions)+1), 32), Environment: sallyport.Environment(v.Environment), PushedBy: sallyport.PrincipalID(v.PushedBy),
				TrainedBy: sallyport.PrincipalID(v.TrainedBy)})
		}
		d.Models = append(d.Models, model)
	}
	for _, x := range o.Datasets {
		d.Datasets = append(d.Datasets, catalog.Dataset{Org: o.Organisation, Name: x.Name, Project: x.Project, Class: sallyport.Class(x.Class), Owners: owners(x.Owners),
			Purposes: x.Purposes, Environment: sallyport.Environment(x.Environment)})
	}
	for _, e := range o.Endpoints {
		d.Endpoints = append(d.Endpoints, catalog.Endpoint{Org: o.Organisation, Name: e.Name, Project: e.Project, Model: e.Model,
			Class: sallyport.Class(e.Class), Environment: sallyport.Environment(e.Environment)})
	}
	return d
}
