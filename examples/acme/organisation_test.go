package acme_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// organisation is acme.yaml; the file documents the fields.
type organisation struct {
	Organisation string
	Groups       []struct {
		Name string
		In   []string
	}
	People []struct {
		Name      string
		Groups    []string
		Person    string
		Suspended bool
	}
	Services []account
	Agents   []account
	Roles    []struct {
		Name       string
		Inherits   []string
		Privileged bool
	}
	Assignments []struct {
		Role string
		To   []string
		On   string
	}
	Projects []string
	Models   []struct {
		item     `yaml:",inline"`
		Versions []struct {
			Number, Environment string
			PushedBy            string `yaml:"pushedBy"`
		}
	}
	Datasets  []item
	Endpoints []struct {
		item               `yaml:",inline"`
		Model, Environment string
	}
}

type account struct {
	Name, Owner, Purpose string
	Days                 int
	Groups               []string
}

type item struct {
	Name, Project, Class string
	Owners               []string
}

// world is the organisation as entities without roles, which depend on the resource.
type world struct {
	org       organisation
	entities  map[policy.UID]policy.Entity
	resources map[string]sallyport.Resource // by the resource's name
	covers    []assignment
	suspended map[policy.UID]bool
}

type assignment struct {
	role policy.UID
	to   []policy.UID
	on   sallyport.Ref
}

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

func text(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func entity(u policy.UID) policy.Value { return policy.Value{Kind: policy.EntityValue, Entity: u} }

// load reads acme.yaml strictly.
func load() (*world, error) {
	file, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		return nil, err
	}
	w := &world{entities: map[policy.UID]policy.Entity{}, resources: map[string]sallyport.Resource{}, suspended: map[policy.UID]bool{}}
	d := yaml.NewDecoder(bytes.NewReader(file))
	d.KnownFields(true)
	if err := d.Decode(&w.org); err != nil {
		return nil, err
	}
	w.principals()
	if err := w.things(); err != nil {
		return nil, err
	}
	return w, w.assignments()
}

func (w *world) add(u policy.UID, attrs map[string]policy.Value, parents ...policy.UID) {
	w.entities[u] = policy.Entity{UID: u, Attrs: attrs, Parents: parents}
}

func (w *world) group(name string) policy.UID {
	return uid("Group", w.org.Organisation+"/"+name)
}

func (w *world) groups(names []string) []policy.UID {
	var list []policy.UID
	for _, n := range names {
		list = append(list, w.group(n))
	}
	return list
}

func (w *world) principals() {
	for _, g := range w.org.Groups {
		w.add(w.group(g.Name), nil, w.groups(g.In)...)
	}
	for _, p := range w.org.People {
		u, person := uid("User", p.Name), uid("User", p.Name)
		if p.Person != "" {
			person = uid("User", p.Person)
		}
		w.suspended[u] = p.Suspended
		w.add(u, map[string]policy.Value{"name": text(p.Name), "person": entity(person),
			"org": entity(uid("Organisation", w.org.Organisation))}, w.groups(p.Groups)...)
	}
	for _, s := range w.org.Services {
		w.add(uid("Service", s.Name), map[string]policy.Value{"owner": entity(uid("User", s.Owner))}, w.groups(s.Groups)...)
	}
	for _, a := range w.org.Agents {
		w.add(uid("Agent", a.Name), map[string]policy.Value{"owner": entity(uid("User", a.Owner))}, w.groups(a.Groups)...)
	}
	for _, r := range w.org.Roles {
		var parents []policy.UID
		for _, p := range r.Inherits {
			parents = append(parents, uid("Role", p))
		}
		w.add(uid("Role", r.Name), nil, parents...)
	}
}

// attributes are those of everything that has a class, owners among them where it has them.
func attributes(i item, owners bool) map[string]policy.Value {
	attrs := map[string]policy.Value{"class": text(i.Class)}
	if owners {
		set := policy.Value{Kind: policy.SetValue}
		for _, o := range i.Owners {
			set.Set = append(set.Set, entity(uid("User", o)))
		}
		attrs["owners"] = set
	}
	return attrs
}

func (w *world) things() error {
	org := w.org.Organisation
	w.add(uid("System", "sallyport"), nil)
	w.resources["system"] = sallyport.Resource{Kind: sallyport.SystemKind, Class: sallyport.Restricted}
	w.add(uid("Organisation", org), nil)
	w.resources["org:"+org] = sallyport.Resource{Kind: sallyport.OrganisationKind, Org: org, Class: sallyport.Restricted}
	for _, e := range []string{"development", "staging", "production"} {
		w.add(uid("Environment", e), nil)
	}
	for _, p := range w.org.Projects {
		w.add(uid("Project", org+"/"+p), nil, uid("Organisation", org))
		w.put(sallyport.Resource{Kind: sallyport.ProjectKind, Org: org, Project: p, Name: p, Class: sallyport.Internal})
	}
	for _, m := range w.org.Models {
		project, model := uid("Project", org+"/"+m.Project), uid("Model", org+"/"+m.Name)
		base := sallyport.Resource{Kind: sallyport.ModelKind, Org: org, Project: m.Project, Name: m.Name, Class: sallyport.Class(m.Class)}
		w.add(model, attributes(m.item, true), project)
		w.put(base)
		for _, v := range m.Versions {
			pusher, err := w.person(v.PushedBy)
			if err != nil {
				return err
			}
			attrs := attributes(m.item, true)
			attrs["number"], attrs["pushedBy"] = text(v.Number), entity(pusher)
			attrs["digest"] = text(strings.Repeat(fmt.Sprintf("%02x", len(w.entities)), 32))
			w.add(uid("Version", model.ID+"@"+v.Number), attrs, model, uid("Environment", v.Environment))
			x := base
			x.Kind, x.Version, x.Environment = sallyport.VersionKind, v.Number, sallyport.Environment(v.Environment)
			w.put(x)
		}
	}
	for _, d := range w.org.Datasets {
		w.add(uid("Dataset", org+"/"+d.Name), attributes(d, true), uid("Project", org+"/"+d.Project))
		w.put(sallyport.Resource{Kind: sallyport.DatasetKind, Org: org, Project: d.Project, Name: d.Name, Class: sallyport.Class(d.Class)})
	}
	for _, e := range w.org.Endpoints {
		attrs := attributes(e.item, false)
		attrs["model"] = entity(uid("Model", org+"/"+e.Model))
		w.add(uid("Endpoint", org+"/"+e.Name), attrs, uid("Project", org+"/"+e.Project), uid("Environment", e.Environment))
		w.put(sallyport.Resource{Kind: sallyport.EndpointKind, Org: org, Project: e.Project, Name: e.Name,
			Class: sallyport.Class(e.Class), Environment: sallyport.Environment(e.Environment)})
	}
	return w.check()
}

func (w *world) put(x sallyport.Resource) { w.resources[x.String()] = x }

// person returns the person behind "user:ana" or "service:trainer".
func (w *world) person(id string) (policy.UID, error) {
	p, err := w.principal(id)
	if err != nil {
		return p, err
	}
	attrs := w.entities[p].Attrs
	if p.Type != "User" {
		return attrs["owner"].Entity, nil
	}
	return attrs["person"].Entity, nil
}

// principal finds "user:ana", "ana", "service:trainer", "agent:helper" or "group:risk-team".
func (w *world) principal(id string) (policy.UID, error) {
	kind, name, ok := strings.Cut(id, ":")
	if !ok {
		kind, name = "user", id
	}
	u := map[string]policy.UID{"user": uid("User", name), "service": uid("Service", name), "agent": uid("Agent", name), "group": w.group(name)}[kind]
	if _, known := w.entities[u]; !known {
		return u, fmt.Errorf("acme.yaml has no %s", id)
	}
	return u, nil
}

// check refuses names that are referred to and not declared.
func (w *world) check() error {
	refers := func(v policy.Value) []policy.UID {
		list := []policy.UID{v.Entity}
		for _, e := range v.Set {
			list = append(list, e.Entity)
		}
		return list
	}
	for _, e := range w.entities {
		named := slices.Clone(e.Parents)
		for _, v := range e.Attrs {
			named = append(named, refers(v)...)
		}
		for _, u := range named {
			if _, ok := w.entities[u]; !ok && u != (policy.UID{}) {
				return fmt.Errorf("acme.yaml: %v names %v, which is not declared", e.UID, u)
			}
		}
	}
	return nil
}

func (w *world) assignments() error {
	for _, a := range w.org.Assignments {
		on, err := sallyport.ParseRef(a.On)
		if err != nil {
			return err
		}
		if _, ok := w.resources[on.String()]; !ok {
			return fmt.Errorf("acme.yaml: an assignment is on %s, which is not declared", a.On)
		}
		entry := assignment{role: uid("Role", a.Role), on: on}
		if _, ok := w.entities[entry.role]; !ok {
			return fmt.Errorf("acme.yaml: an assignment has the role %s, which is not declared", a.Role)
		}
		for _, to := range a.To {
			u, err := w.principal(to)
			if err != nil {
				return err
			}
			entry.to = append(entry.to, u)
		}
		w.covers = append(w.covers, entry)
	}
	return nil
}

// basis gathers the facts of one principal before one resource.
func (w *world) basis(who, resource string) (*decision.Basis, error) {
	p, err := w.principal(who)
	if err != nil {
		return nil, err
	}
	x, ok := w.resources[resource]
	if !ok {
		return nil, fmt.Errorf("acme.yaml has no resource %s", resource)
	}
	person, err := w.person(who)
	if err != nil {
		return nil, err
	}
	kind, id := strings.ToLower(p.Type), p.ID
	b := &decision.Basis{Principal: p, PrincipalID: sallyport.PrincipalID(kind + ":" + id), Person: sallyport.PrincipalID("user:" + person.ID),
		Active: !w.suspended[p], Resource: x, ResourceUID: resourceUID(x)}
	own := w.closure(p)
	principal := w.entities[p]
	principal.Parents = slices.Clone(principal.Parents)
	for _, a := range w.covers {
		if a.on.Covers(x) && slices.ContainsFunc(a.to, func(u policy.UID) bool { return slices.Contains(own, u) }) {
			principal.Parents = append(principal.Parents, a.role)
		}
	}
	b.Entities = append(b.Entities, principal)
	for _, start := range append(slices.Clone(principal.Parents), b.ResourceUID) {
		for _, u := range w.closure(start) {
			if !slices.ContainsFunc(b.Entities, func(e policy.Entity) bool { return e.UID == u }) {
				b.Entities = append(b.Entities, w.entities[u])
			}
		}
	}
	return b, nil
}

func (w *world) closure(start policy.UID) []policy.UID {
	list := []policy.UID{start}
	for i := 0; i < len(list); i++ {
		for _, p := range w.entities[list[i]].Parents {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

func resourceUID(x sallyport.Resource) policy.UID {
	switch x.Kind {
	case sallyport.SystemKind:
		return uid("System", "sallyport")
	case sallyport.OrganisationKind:
		return uid("Organisation", x.Org)
	case sallyport.VersionKind:
		return uid("Version", x.Org+"/"+x.Name+"@"+x.Version)
	}
	name := string(x.Kind)
	return uid(strings.ToUpper(name[:1])+name[1:], x.Org+"/"+x.Name)
}
