package cast

import (
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Parts are an organisation that is known otherwise than by a file, such as from a living directory.
type Parts struct {
	Home        string          // name of the organisation that questions about one are asked of
	Entities    []policy.Entity // everybody and everything, without the roles they hold
	Resources   []sallyport.Resource
	Assignments []Assignment
	Suspended   []policy.UID
}

// New puts an organisation together. What Sallyport itself and the organisation are need not be among the parts.
func New(p Parts) *Cast {
	c := &Cast{Organisation: Organisation{Organisation: p.Home}, entities: map[policy.UID]policy.Entity{}, resources: map[string]sallyport.Resource{},
		suspended: map[policy.UID]bool{}, assignments: p.Assignments}
	c.place()
	for _, e := range p.Entities {
		c.Add(e)
	}
	for _, x := range p.Resources {
		c.put(x)
	}
	for _, u := range p.Suspended {
		c.suspended[u] = true
	}
	return c
}

// place adds Sallyport itself and the organisation.
func (c *Cast) place() {
	org := c.Organisation.Organisation
	c.add(uid("System", "sallyport"), nil)
	c.resources["system"] = sallyport.Resource{Kind: sallyport.SystemKind, Class: sallyport.Restricted}
	c.add(uid("Organisation", org), nil)
	c.resources["org:"+org] = sallyport.Resource{Kind: sallyport.OrganisationKind, Org: org, Class: sallyport.Restricted}
}

// of returns the entities of a type, sorted by id.
func (c *Cast) of(kind string) []policy.UID {
	var all []policy.UID
	for u := range c.entities {
		if u.Type == kind {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b policy.UID) int { return strings.Compare(a.ID, b.ID) })
	return all
}
