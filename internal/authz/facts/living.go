package facts

import (
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/identity/directory"
)

// Cast is everybody there is, with all groups, roles and assignments of now, and some resources with all that contains
// them, as an organisation of which one asks who could ever come to something. home names the organisation that is asked
// about where the resource is none of an organisation.
func (s *Snapshot) Cast(home string, about ...sallyport.Resource) *cast.Cast {
	c := closure{snap: s, seen: map[policy.UID]bool{}}
	p := cast.Parts{Home: home, Resources: about}
	for m := range s.Members {
		c.principal(m, sallyport.Resource{}) // with its groups: nothing covers no resource
		if m.State != directory.Active {
			p.Suspended = append(p.Suspended, PrincipalUID(m.ID))
		}
	}
	for name := range s.people.groups {
		c.group(name, nil)
	}
	for name := range s.roles.roles {
		c.role(name)
	}
	for _, x := range about {
		c.resource(x)
	}
	p.Entities = c.entities
	for subject, list := range s.roles.bySubject {
		to := groupUID(strings.TrimPrefix(subject, "group:"))
		if !strings.HasPrefix(subject, "group:") {
			to = PrincipalUID(sallyport.PrincipalID(subject))
		}
		for _, a := range list {
			p.Assignments = append(p.Assignments, cast.Assignment{Role: roleUID(a.Role), To: []policy.UID{to}, On: a.Scope})
		}
	}
	slices.SortFunc(p.Assignments, func(a, b cast.Assignment) int {
		return strings.Compare(a.On.String()+" "+a.Role.ID+" "+a.To[0].ID, b.On.String()+" "+b.Role.ID+" "+b.To[0].ID)
	})
	return cast.New(p)
}
