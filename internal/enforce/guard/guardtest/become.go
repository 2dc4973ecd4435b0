package guardtest

import (
	"slices"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
)

// An Organisation is everything that a world knows, in place of what New gave it.
type Organisation struct {
	People  directory.Dump
	Roles   role.State
	Catalog catalog.Dump
	Engine  policy.Engine
}

// Become replaces who there is, what they hold, what is protected and the policies. Grants and holds end.
func (w *World) Become(o Organisation) {
	w.t.Helper()
	w.Facts.Use(o.Engine)
	w.change(func() {
		w.members, w.groups, w.roles, w.catalog = o.People.Members, o.People.Groups, o.Roles, o.Catalog
		w.grants, w.holds, w.risks = nil, nil, nil
	})
}

// Give replaces every grant, hold and risk at once.
func (w *World) Give(grants []grant.Grant, targets []string, risks map[string]int) {
	w.t.Helper()
	w.change(func() {
		w.grants, w.holds, w.risks = grants, nil, risks
		for _, target := range targets {
			w.holds = append(w.holds, hold.Hold{ID: "H-1", Target: target, Kind: hold.Lock, Why: "test", At: w.Clock.Now()})
		}
	})
}

// Person is who answers for a member, the member itself where it is not known.
func (w *World) Person(id sallyport.PrincipalID) sallyport.PrincipalID {
	if m, ok := w.Facts.Snapshot().Member(id); ok {
		return m.Person
	}
	return id
}

// Assign gives a role on a resource and what is in it.
func (w *World) Assign(subject, name string, scope sallyport.Ref) {
	w.t.Helper()
	w.change(func() {
		w.roles.Assignments = append(slices.Clone(w.roles.Assignments), role.Assignment{ID: "A-" + subject + name + scope.String(), Subject: subject, Role: name, Scope: scope})
		if !slices.ContainsFunc(w.roles.Roles, func(r role.Role) bool { return r.Name == name }) {
			w.roles.Roles = append(slices.Clone(w.roles.Roles), role.Role{Name: name})
		}
	})
}
