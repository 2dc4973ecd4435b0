package facts

import (
	"cmp"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/identity/directory"
)

// gather collects the basis for one principal and one resource: the entities both
// reach, the grants that cover the resource and the holds that bear on either.
func (s *Snapshot) gather(id sallyport.PrincipalID, x sallyport.Resource) *decision.Basis {
	m := s.people.members[id]
	b := &decision.Basis{
		Principal: PrincipalUID(id), PrincipalID: id, Person: m.Person, Active: m.State == directory.Active,
		Resource: x, ResourceUID: ResourceUID(x), Policy: s.engine.Version(),
	}
	c := closure{snap: s, seen: map[policy.UID]bool{}}
	c.principal(m, x)
	c.resource(x)
	slices.SortFunc(c.entities, func(a, b policy.Entity) int {
		return cmp.Or(strings.Compare(a.UID.Type, b.UID.Type), strings.Compare(a.UID.ID, b.UID.ID))
	})
	b.Entities = c.entities
	for _, g := range s.grants[id] {
		if g.Ref.Covers(x) {
			b.Grants = append(b.Grants, decision.Grant{ID: g.ID, Actions: g.Actions, From: g.From, Until: g.Until, Obligations: g.Scope})
		}
	}
	for _, h := range s.holds {
		if bears(h, m, x) {
			b.Holds = append(b.Holds, decision.Hold{ID: h.ID, Target: h.Target, Why: h.Why, Until: h.Until})
		}
	}
	for _, h := range s.probations {
		if bears(h, m, x) {
			b.Probation = append(b.Probation, decision.Probation{ID: h.ID, Target: h.Target, Until: h.Probation, Obligations: s.keeper.sources.Tighter})
		}
	}
	return b
}

// bears reports whether a hold concerns the principal, the person behind it or
// the resource. Holds on a session, token family or device are kept for every principal:
// the decision compares them with the call's own.
func bears(h hold.Hold, m directory.Member, x sallyport.Resource) bool {
	kind, rest, _ := strings.Cut(h.Target, ":")
	switch kind {
	case "user", "service", "agent":
		return h.Target == string(m.ID) || h.Target == string(m.Person)
	case "session", "family", "device":
		return true
	case "model":
		return refCovers(rest, x)
	}
	return refCovers(h.Target, x)
}

func refCovers(ref string, x sallyport.Resource) bool {
	r, err := sallyport.ParseRef(ref)
	return err == nil && r.Covers(x)
}

// PrincipalUID is the entity of a principal.
func PrincipalUID(id sallyport.PrincipalID) policy.UID {
	switch id.Kind() {
	case sallyport.Service:
		return policy.UID{Type: "Service", ID: id.Name()}
	case sallyport.Agent:
		return policy.UID{Type: "Agent", ID: id.Name()}
	}
	return policy.UID{Type: "User", ID: id.Name()}
}

// ResourceUID is the entity of a resource.
func ResourceUID(x sallyport.Resource) policy.UID {
	switch x.Kind {
	case sallyport.SystemKind:
		return policy.UID{Type: "System", ID: "sallyport"}
	case sallyport.OrganisationKind:
		return policy.UID{Type: "Organisation", ID: x.Org}
	case sallyport.ProjectKind:
		return policy.UID{Type: "Project", ID: x.Org + "/" + x.Name}
	case sallyport.ModelKind:
		return policy.UID{Type: "Model", ID: x.Org + "/" + x.Name}
	case sallyport.VersionKind:
		return policy.UID{Type: "Version", ID: x.Org + "/" + x.Name + "@" + x.Version}
	case sallyport.DatasetKind:
		return policy.UID{Type: "Dataset", ID: x.Org + "/" + x.Name}
	case sallyport.EndpointKind:
		return policy.UID{Type: "Endpoint", ID: x.Org + "/" + x.Name}
	}
	return policy.UID{}
}

// Nothing stands in for what a name does not resolve to, so that asking about it costs what asking about something
// costs. There is one for each principal and kind: it is in their organisation, and does not exist.
func (s *Snapshot) Nothing(id sallyport.PrincipalID, k sallyport.ResourceKind) sallyport.Resource {
	x := sallyport.Resource{Kind: sallyport.ModelKind, Org: s.people.members[id].Org, Name: "-", Class: sallyport.Restricted}
	if k == sallyport.DatasetKind || k == sallyport.EndpointKind {
		x.Kind = k
	}
	return x
}

// closure collects entities, each once.
type closure struct {
	snap     *Snapshot
	seen     map[policy.UID]bool
	entities []policy.Entity
}

func (c *closure) add(e policy.Entity) bool {
	if c.seen[e.UID] {
		return false
	}
	c.seen[e.UID] = true
	c.entities = append(c.entities, e)
	return true
}

// principal adds the member, its groups and the roles it holds on x. Roles come
// from assignments to the member and to each of its groups whose scope covers x.
func (c *closure) principal(m directory.Member, x sallyport.Resource) {
	e := policy.Entity{UID: PrincipalUID(m.ID)}
	subjects := []string{string(m.ID)}
	for _, g := range m.Groups {
		e.Parents = append(e.Parents, groupUID(g))
		subjects = c.group(g, subjects)
	}
	for _, subject := range subjects {
		for _, a := range c.snap.roles.bySubject[subject] {
			if a.Scope.Covers(x) {
				e.Parents = append(e.Parents, roleUID(a.Role))
				c.role(a.Role)
			}
		}
	}
	e.Parents = sorted(e.Parents)
	if m.ID.Kind() != sallyport.User {
		e.Attrs = map[string]policy.Value{"owner": entity(PrincipalUID(m.Person))}
		if m.Environment != "" {
			e.Attrs["environment"] = text(string(m.Environment))
		}
	} else {
		e.Attrs = map[string]policy.Value{"name": text(m.ID.Name()), "person": entity(PrincipalUID(m.Person))}
		if m.Org != "" {
			e.Attrs["org"] = entity(policy.UID{Type: "Organisation", ID: m.Org})
		}
	}
	c.add(e)
}

// group adds a group and what it is in, and returns subjects with their names.
func (c *closure) group(name string, subjects []string) []string {
	g := c.snap.people.groups[name]
	e := policy.Entity{UID: groupUID(name)}
	for _, p := range g.Parents {
		e.Parents = append(e.Parents, groupUID(p))
	}
	e.Parents = sorted(e.Parents)
	if !c.add(e) {
		return subjects
	}
	subjects = append(subjects, "group:"+name)
	for _, p := range g.Parents {
		subjects = c.group(p, subjects)
	}
	return subjects
}

// role adds a role and those it inherits.
func (c *closure) role(name string) {
	r := c.snap.roles.roles[name]
	e := policy.Entity{UID: roleUID(name)}
	for _, p := range r.Inherits {
		e.Parents = append(e.Parents, roleUID(p))
	}
	e.Parents = sorted(e.Parents)
	if !c.add(e) {
		return
	}
	for _, p := range r.Inherits {
		c.role(p)
	}
}

// resource adds x and everything it is in.
func (c *closure) resource(x sallyport.Resource) {
	if x.Kind == "" {
		return
	}
	e := policy.Entity{UID: ResourceUID(x)}
	switch x.Kind {
	case sallyport.ProjectKind:
		e.Parents = []policy.UID{{Type: "Organisation", ID: x.Org}}
	case sallyport.VersionKind:
		e.Parents = c.version(x)
	case sallyport.ModelKind, sallyport.DatasetKind, sallyport.EndpointKind:
		e.Parents = c.within(x)
	}
	e.Parents = sorted(e.Parents)
	e.Attrs = c.attrs(x)
	c.add(e)
	if x.Org != "" {
		c.add(policy.Entity{UID: policy.UID{Type: "Organisation", ID: x.Org}})
	}
}

// version returns the parents of a version and adds its model and environment.
func (c *closure) version(x sallyport.Resource) []policy.UID {
	model := x
	model.Kind, model.Version, model.Digest, model.Environment = sallyport.ModelKind, "", "", ""
	if m, ok := c.snap.catalog.Model(x.Org, x.Name); ok {
		if model.Class = m.Class; model.Class == "" {
			model.Class = sallyport.Restricted
		}
	}
	c.resource(model)
	return append(c.environment(x), ResourceUID(model))
}

// within returns the project, organisation and environment that x stands in.
func (c *closure) within(x sallyport.Resource) []policy.UID {
	parents := []policy.UID{{Type: "Organisation", ID: x.Org}}
	if x.Project != "" {
		p := sallyport.Resource{Kind: sallyport.ProjectKind, Org: x.Org, Project: x.Project, Name: x.Project}
		c.resource(p)
		parents = []policy.UID{ResourceUID(p)}
	}
	return append(parents, c.environment(x)...)
}

func (c *closure) environment(x sallyport.Resource) []policy.UID {
	if x.Environment == "" {
		return nil
	}
	u := policy.UID{Type: "Environment", ID: string(x.Environment)}
	c.add(policy.Entity{UID: u})
	return []policy.UID{u}
}

func (c *closure) attrs(x sallyport.Resource) map[string]policy.Value {
	switch x.Kind {
	case sallyport.ModelKind, sallyport.DatasetKind:
		return map[string]policy.Value{"class": text(string(x.Class)), "owners": c.owners(x), "purposes": c.purposes(x)}
	case sallyport.VersionKind:
		return c.versionAttrs(x)
	case sallyport.EndpointKind:
		return map[string]policy.Value{"class": text(string(x.Class))}
	}
	return nil
}

// versionAttrs are those of a version: who made it are the people behind whoever had
// a hand in it, so that no second account, service or agent of theirs is somebody else.
func (c *closure) versionAttrs(x sallyport.Resource) map[string]policy.Value {
	a := map[string]policy.Value{"class": text(string(x.Class)), "owners": c.owners(x), "purposes": c.purposes(x),
		"number": text(x.Version), "digest": text(x.Digest)}
	v, _ := c.snap.catalog.Version(x)
	if v.PushedBy != "" {
		a["pushedBy"] = entity(PrincipalUID(c.snap.behind(v.PushedBy)))
	}
	if trainer := c.snap.behind(v.TrainedBy); trainer.Kind() == sallyport.User {
		a["trainedBy"] = entity(PrincipalUID(trainer))
	}
	a["makers"] = people(c.snap.Makers(v))
	return a
}

// Makers are the people behind everybody who had a hand in a version, sorted.
func (s *Snapshot) Makers(v catalog.Version) []sallyport.PrincipalID {
	var all []sallyport.PrincipalID
	for _, id := range append([]sallyport.PrincipalID{v.PushedBy, v.TrainedBy}, v.Makers...) {
		if id != "" {
			all = append(all, s.behind(id))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// behind is the person behind a principal, itself where nobody knows it.
func (s *Snapshot) behind(id sallyport.PrincipalID) sallyport.PrincipalID {
	if m, ok := s.people.members[id]; ok {
		return m.Person
	}
	return id
}

// people is the set of the users among ids: nobody but a person is an attribute's User.
func people(ids []sallyport.PrincipalID) policy.Value {
	v := policy.Value{Kind: policy.SetValue}
	for _, id := range ids {
		if id.Kind() == sallyport.User {
			v.Set = append(v.Set, entity(PrincipalUID(id)))
		}
	}
	return v
}

func (c *closure) purposes(x sallyport.Resource) policy.Value {
	v := policy.Value{Kind: policy.SetValue}
	for _, p := range c.snap.catalog.Purposes(x) {
		v.Set = append(v.Set, text(p))
	}
	return v
}

func (c *closure) owners(x sallyport.Resource) policy.Value {
	v := policy.Value{Kind: policy.SetValue}
	for _, o := range slices.Sorted(slices.Values(c.snap.catalog.Owners(x))) {
		v.Set = append(v.Set, entity(PrincipalUID(o)))
	}
	return v
}

func groupUID(name string) policy.UID { return policy.UID{Type: "Group", ID: name} }
func roleUID(name string) policy.UID  { return policy.UID{Type: "Role", ID: name} }

func text(s string) policy.Value       { return policy.Value{Kind: policy.StringValue, String: s} }
func entity(u policy.UID) policy.Value { return policy.Value{Kind: policy.EntityValue, Entity: u} }

// sorted orders UIDs and drops doubles, so that equal facts hash equally.
func sorted(uids []policy.UID) []policy.UID {
	slices.SortFunc(uids, func(a, b policy.UID) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID))
	})
	return slices.Compact(uids)
}
