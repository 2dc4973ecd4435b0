package admin

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/role"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/identity/directory"
	"sallyport/internal/web/api"
)

// peopleRoutes are about the directory and roles.
func peopleRoutes() []Route {
	return []Route{
		{"GET", "/people", sallyport.IdentityRead, system, (*API).people},
		{"POST", "/people", sallyport.IdentityAdminister, system, (*API).addPerson},
		{"POST", "/people/{id}/state", sallyport.IdentityAdminister, system, (*API).setState},
		{"POST", "/people/{id}/enrol", sallyport.IdentityAdminister, system, (*API).enrol},
		{"POST", "/people/{id}/groups", sallyport.IdentityAdminister, system, (*API).addToGroup},
		{"POST", "/groups", sallyport.IdentityAdminister, system, (*API).defineGroup},
		{"GET", "/roles", sallyport.IdentityRead, system, (*API).roles},
		{"POST", "/roles", sallyport.IdentityAdminister, system, (*API).defineRole},
		{"POST", "/assignments", sallyport.IdentityAdminister, system, (*API).assign},
		{"POST", "/assignments/{id}/remove", sallyport.IdentityAdminister, system, (*API).unassign},
	}
}

func sallyportNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, sallyport.E("read request", sallyport.Invalid, "this is not a number of the log", "")
	}
	return n, nil
}

// ownDecision is what the caller may do on the system, apart from the call.
func (a *API) ownDecision(c *Call, action sallyport.Action) (sallyport.Decision, error) {
	d, _, err := whatif.Can(a.Facts.Snapshot(), a.asker(c), action, sallyport.Ref{Kind: sallyport.SystemKind})
	return d, err
}

func memberOut(m directory.Member) api.Member {
	return api.Member{
		ID: m.ID, Person: m.Person, Org: m.Org, Display: m.Display, State: string(m.State), Groups: m.Groups,
		Purpose: m.Purpose, Ends: m.Ends, Guest: m.Guest, Sponsor: m.Sponsor, Source: m.Source, Environment: m.Environment,
	}
}

func (a *API) people(*Call) (any, error) {
	out := []api.Member{}
	for _, m := range a.Facts.Snapshot().Sorted() {
		out = append(out, memberOut(m))
	}
	return out, nil
}

// changed notes a change of the directory or of roles and brings it into force.
func (a *API) changed(c *Call, on string, detail map[string]string) error {
	if err := a.note(c, sallyport.EventChanged, on, detail); err != nil {
		return err
	}
	_, err := a.enforce(c)
	return err
}

// moved notes that somebody's groups or roles change (the mover of joiner, mover
// and leaver) and brings it into force.
func (a *API) moved(c *Call, on string, detail map[string]string) error {
	if err := a.note(c, sallyport.EventMoved, on, detail); err != nil {
		return err
	}
	_, err := a.enforce(c)
	return err
}

func (a *API) addPerson(c *Call) (any, error) {
	var in api.Member
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := sallyport.ParsePrincipalID(string(in.ID))
	if err != nil {
		return nil, err
	}
	if err := a.mayJoin(c, id, in.Groups); err != nil {
		return nil, err
	}
	m, err := a.Rooms.Directory.Create(c.Context(), directory.Member{
		ID: id, Person: in.Person, Org: in.Org, Display: in.Display, Groups: in.Groups,
		Purpose: in.Purpose, Ends: in.Ends, Guest: in.Guest, Sponsor: in.Sponsor, Environment: in.Environment,
	})
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"what": "joined", "org": m.Org, "owner": string(m.Person), "groups": strings.Join(m.Groups, " "), "purpose": m.Purpose, "sponsor": string(m.Sponsor)}
	if m.Environment != "" {
		detail["environment"] = string(m.Environment)
	}
	if !m.Ends.IsZero() {
		detail["until"] = m.Ends.Format(time.RFC3339)
	}
	return memberOut(m), a.changed(c, string(id), detail)
}

// target reads a principal's id from the path.
func (c *Call) principal() (sallyport.PrincipalID, error) {
	s, err := url.PathUnescape(c.PathValue("id"))
	if err != nil {
		return "", sallyport.E("read request", sallyport.Invalid, "the id cannot be read", "")
	}
	return sallyport.ParsePrincipalID(s)
}

func (a *API) setState(c *Call) (any, error) {
	var in api.Member
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	state, err := directory.ParseState(in.State)
	if err != nil {
		return nil, err
	}
	switch by := c.Permit.Who().ID; state {
	case directory.Active:
		err = a.Rooms.Leaver.Return(c.Context(), id)
	case directory.Suspended:
		_, err = a.Rooms.Leaver.Suspend(c.Context(), id, by, "the account is suspended")
	default:
		_, err = a.Rooms.Leaver.Remove(c.Context(), id, by, "the account is removed")
	}
	if err != nil {
		return nil, err
	}
	m, err := a.Rooms.Directory.Get(c.Context(), id)
	if err != nil {
		return nil, err
	}
	return memberOut(m), a.changed(c, string(id), map[string]string{"what": "state", "to": string(state)})
}

func (a *API) enrol(c *Call) (any, error) {
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	return a.enrolment(c, id)
}

// activePerson refuses whoever cannot enrol.
func (a *API) activePerson(c *Call, id sallyport.PrincipalID) error {
	if m, err := a.Rooms.Directory.Get(c.Context(), id); err != nil || m.State != directory.Active || id.Kind() != sallyport.User {
		return sallyport.E("enrol", sallyport.NotFound, "there is no such active person", "add them with 'sallyport user add'")
	}
	return nil
}

// enrolment makes a one-time link for an active person.
func (a *API) enrolment(c *Call, id sallyport.PrincipalID) (any, error) {
	if err := a.activePerson(c, id); err != nil {
		return nil, err
	}
	link, until, err := a.Rooms.Enrol.IssueLink(c.Context(), id)
	if err != nil {
		return nil, err
	}
	return api.Enrolment{Who: id, Link: a.External + "/enrol/" + link.Reveal(), Expires: until},
		a.changed(c, string(id), map[string]string{"what": "enrolment link issued"})
}

func (a *API) addToGroup(c *Call) (any, error) {
	var in api.Group
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	if in.Remove {
		err = a.Rooms.Directory.RemoveGroup(c.Context(), id, in.Name)
	} else if err = a.mayJoin(c, id, []string{in.Name}); err == nil {
		err = a.Rooms.Directory.AddGroup(c.Context(), id, in.Name)
	}
	if err != nil {
		return nil, err
	}
	return in, a.moved(c, string(id), map[string]string{"what": "group", "group": in.Name, "removed": strconv.FormatBool(in.Remove)})
}

func (a *API) defineGroup(c *Call) (any, error) {
	var in api.Group
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := a.Rooms.Directory.DefineGroup(c.Context(), directory.Group{Name: in.Name, Parents: in.Parents, Guests: in.Guests}); err != nil {
		return nil, err
	}
	return in, a.changed(c, "group:"+in.Name, map[string]string{"what": "group defined", "parents": strings.Join(in.Parents, " "), "guests": strconv.FormatBool(in.Guests)})
}

func (a *API) roles(c *Call) (any, error) {
	state, err := a.Rooms.Roles.List(c.Context())
	if err != nil {
		return nil, err
	}
	out := api.Roles{Roles: []api.Role{}, Assignments: []api.Assignment{}}
	for _, r := range state.Roles {
		out.Roles = append(out.Roles, api.Role{Name: r.Name, Inherits: r.Inherits, Description: r.Description, Privileged: r.Privileged})
	}
	for _, s := range state.Assignments {
		out.Assignments = append(out.Assignments, assignmentOut(s))
	}
	return out, nil
}

func assignmentOut(s role.Assignment) api.Assignment {
	return api.Assignment{ID: s.ID, Subject: s.Subject, Role: s.Role, Scope: s.Scope.String(), Until: s.Until}
}

func (a *API) defineRole(c *Call) (any, error) {
	var in api.Role
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r := role.Role{Name: in.Name, Inherits: in.Inherits, Description: in.Description, Privileged: in.Privileged}
	if err := a.Rooms.Roles.Define(c.Context(), r); err != nil {
		return nil, err
	}
	return in, a.changed(c, "role:"+in.Name, map[string]string{"what": "role defined", "inherits": strings.Join(in.Inherits, " "), "privileged": strconv.FormatBool(in.Privileged)})
}

func (a *API) assign(c *Call) (any, error) {
	var in api.Assignment
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	scope, err := sallyport.ParseRef(in.Scope)
	if err != nil {
		return nil, err
	}
	s, err := a.Rooms.Roles.Assign(c.Context(), role.Assignment{Subject: in.Subject, Role: in.Role, Scope: scope, By: c.Permit.Who().ID, Until: in.Until})
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"what": "role assigned", "role": s.Role, "scope": in.Scope, "id": s.ID}
	if !s.Until.IsZero() {
		detail["until"] = s.Until.Format(time.RFC3339)
	}
	return assignmentOut(s), a.moved(c, s.Subject, detail)
}

func (a *API) unassign(c *Call) (any, error) {
	id := c.PathValue("id")
	if err := a.Rooms.Roles.Unassign(c.Context(), id); err != nil {
		return nil, err
	}
	return api.Assignment{ID: id}, a.moved(c, "assignment:"+id, map[string]string{"what": "role taken away"})
}
