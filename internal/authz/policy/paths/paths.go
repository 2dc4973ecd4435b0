// Package paths owns every chain that leads to a right in an organisation: who has it by a role, a group, as an owner or
// by name, and who could come to have it, by an assignment, a grant, an agent, somebody else's account, an emergency or an
// edit of the policies themselves. Declared chains are a file beside the policies; any other is a finding.
//
// It leaves the organisation to authz/policy/cast and deciding to authz/decision. A chain is found by asking with the
// strongest proof, from a managed device, at noon of a working day: what somebody could do at their best.
package paths

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
)

// A finder asks about one target.
type finder struct {
	engine   policy.Engine
	cast     *cast.Cast
	action   sallyport.Action
	resource string
	found    []string
}

// Emergency is how the names of roles begin that only an emergency gives.
const Emergency = "break-glass"

// To returns every chain that leads to an action on a resource of the organisation, sorted. It is an error of kind NotFound
// where the organisation has no such resource.
func To(e policy.Engine, c *cast.Cast, a sallyport.Action, resource string) ([]string, error) {
	if _, ok := c.Resource(resource); !ok {
		return nil, sallyport.E("paths", sallyport.NotFound, "the organisation has no resource "+sallyport.OneLine(resource), "name one as the organisation's file does")
	}
	f := &finder{engine: e, cast: c, action: a, resource: resource}
	for _, step := range []func() error{f.roles, f.groups, f.others, f.grants, f.machines, f.changes} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	slices.Sort(f.found)
	return slices.Compact(f.found), nil
}

func (f *finder) add(format string, args ...any) {
	f.found = append(f.found, fmt.Sprintf(format, args...))
}

// somebody is a principal that the organisation does not have, with what would be given to it.
type somebody struct {
	kind    string // "User", "Service" or "Agent"
	roles   []string
	groups  []policy.UID
	owner   bool // of the resource
	granted bool
	behind  *somebody // whom an agent acts for
}

// may asks what somebody could do at their best.
func (f *finder) may(who somebody, a sallyport.Action, resource string) (bool, error) {
	b, err := f.basis(who, a, resource)
	if err != nil {
		return false, err
	}
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	x := decision.Facts{Basis: b, Question: decision.Question{Action: a, At: at, Door: "paths", Scope: sallyport.Scope{"*"}, Assurance: sallyport.Hardware, AuthTime: at,
		Session: "s", Family: "f", Bound: true, Working: true, Purpose: purpose(b), To: b.Resource.Toward(a),
		Device: decision.Device{ID: "DV-1", Class: "admin", Level: 3, OS: "linux 6.1", Encrypted: true, Locked: true, Patched: true}}}
	if who.kind != "User" {
		x.Session = ""
	}
	if who.kind == "Agent" && who.behind != nil {
		person := x
		if person.Basis, err = f.basis(*who.behind, a, resource); err != nil {
			return false, err
		}
		person.Actors, person.Acting = []sallyport.PrincipalID{b.PrincipalID}, []*decision.Basis{b}
		x = person
	}
	d := decision.Decide(f.engine, x)
	return d.Outcome == sallyport.Allow || d.Outcome == sallyport.StepUp, nil
}

// purpose is one that the resource allows, "" where it declares none.
func purpose(b *decision.Basis) string {
	for _, e := range b.Entities {
		if e.UID == b.ResourceUID && len(e.Attrs["purposes"].Set) > 0 {
			return e.Attrs["purposes"].Set[0].String
		}
	}
	return ""
}

// basis builds the facts of somebody before a resource of the organisation.
func (f *finder) basis(who somebody, a sallyport.Action, resource string) (*decision.Basis, error) {
	x, _ := f.cast.Resource(resource)
	id := policy.UID{Type: who.kind, ID: "somebody"}
	person := policy.UID{Type: "User", ID: "somebody"}
	if who.kind != "User" {
		person.ID = "somebody-else"
	}
	b := &decision.Basis{Principal: id, PrincipalID: sallyport.PrincipalID(strings.ToLower(who.kind) + ":somebody"), Person: sallyport.PrincipalID("user:" + person.ID),
		Active: true, Resource: x, ResourceUID: f.cast.UID(resource)}
	self := policy.Entity{UID: id, Attrs: map[string]policy.Value{"owner": {Kind: policy.EntityValue, Entity: person}}, Parents: slices.Clone(who.groups)}
	if who.kind == "User" {
		self.Attrs = map[string]policy.Value{"name": {Kind: policy.StringValue, String: "somebody"}, "person": {Kind: policy.EntityValue, Entity: person}}
	}
	for _, r := range who.roles {
		self.Parents = append(self.Parents, policy.UID{Type: "Role", ID: r})
	}
	b.Entities = append([]policy.Entity{self}, f.cast.Closure(append(slices.Clone(self.Parents), b.ResourceUID)...)...)
	if who.kind != "User" {
		b.Entities = append(b.Entities, policy.Entity{UID: person, Attrs: map[string]policy.Value{"name": {Kind: policy.StringValue, String: person.ID}, "person": {Kind: policy.EntityValue, Entity: person}}})
	}
	for i, e := range b.Entities {
		if owners, has := e.Attrs["owners"]; has && e.UID == b.ResourceUID {
			attrs := map[string]policy.Value{}
			for name, v := range e.Attrs {
				attrs[name] = v
			}
			owners.Set = nil
			if who.owner {
				owners.Set = []policy.Value{{Kind: policy.EntityValue, Entity: person}}
			}
			attrs["owners"] = owners
			b.Entities[i].Attrs = attrs
		}
	}
	if who.granted {
		at := time.Date(2026, 3, 4, 11, 0, 0, 0, time.UTC)
		b.Grants = []decision.Grant{{ID: "G-1", Actions: []sallyport.Action{a}, From: at, Until: at.Add(2 * time.Hour)}}
	}
	return decision.Prepare(f.engine, b)
}

// kinds are whom a chain can lead.
func kinds() []string { return []string{"User", "Service", "Agent"} }

// anybody reports whether no role or group is needed.
func (f *finder) anybody(kind string) (bool, error) {
	return f.may(somebody{kind: kind}, f.action, f.resource)
}

// roles are those that give the right, and how one comes to hold them.
func (f *finder) roles() error {
	for _, kind := range kinds() {
		open, err := f.anybody(kind)
		if err != nil {
			return err
		}
		if open {
			f.add("anybody: every %s", kind)
			continue
		}
		for _, r := range f.cast.Roles() {
			gives, err := f.may(somebody{kind: kind, roles: []string{r}, behind: &somebody{kind: "User", roles: []string{r}}}, f.action, f.resource)
			if err != nil {
				return err
			}
			if !gives || kind == "Agent" {
				continue
			}
			if r == Emergency || strings.HasPrefix(r, Emergency+"-") {
				f.add("break-glass: %s", r)
				continue
			}
			f.add("role: %s as %s", r, kind)
			f.held(r)
			by, err := f.who(sallyport.IdentityAdminister)
			if err != nil {
				return err
			}
			for _, admin := range by {
				f.add("assignment: %s makes somebody %s", admin, r)
			}
		}
	}
	return nil
}

// held are the groups through which a role that covers the resource is held.
func (f *finder) held(role string) {
	x, _ := f.cast.Resource(f.resource)
	for _, a := range f.cast.Assignments() {
		if a.Role.ID != role || !a.On.Covers(x) {
			continue
		}
		for _, to := range a.To {
			if to.Type == "Group" {
				f.add("group: members of %s are %s on %s", to.ID, role, a.On)
			}
		}
	}
}

// who are the roles, and "anybody", that may take an action on Sallyport itself or the resource's organisation.
func (f *finder) who(a sallyport.Action) ([]string, error) {
	var out []string
	for _, target := range []string{"system", f.cast.Home(), f.resource} {
		if !asked(a, target) {
			continue
		}
		for _, r := range append([]string{""}, f.cast.Roles()...) {
			who := somebody{kind: "User"}
			if r != "" {
				who.roles = []string{r}
			}
			ok, err := f.may(who, a, target)
			if err != nil {
				return nil, err
			}
			name := r
			if r == "" {
				name = "anybody"
			}
			if ok && !slices.Contains(out, name) {
				out = append(out, name)
			}
			if ok && r == "" {
				break
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// asked reports whether an action is one that is asked of a target.
func asked(a sallyport.Action, target string) bool {
	switch a.Group() {
	case "policy", "identity", "system":
		return target == "system" || strings.HasPrefix(target, "org:")
	}
	return true
}

// groups are those that give the right themselves.
func (f *finder) groups() error {
	open, err := f.anybody("User")
	if err != nil || open {
		return err
	}
	for _, g := range f.cast.Groups() {
		gives, err := f.may(somebody{kind: "User", groups: []policy.UID{g}}, f.action, f.resource)
		if err != nil {
			return err
		}
		if gives {
			f.add("group: members of %s", g.ID)
		}
	}
	return nil
}

// others are owners, and those whom policies name.
func (f *finder) others() error {
	open, err := f.anybody("User")
	if err != nil || open {
		return err
	}
	owns, err := f.may(somebody{kind: "User", owner: true}, f.action, f.resource)
	if err != nil {
		return err
	}
	if owns {
		f.add("owner: an owner of the resource")
	}
	for _, p := range f.engine.Policies() {
		for _, id := range f.cast.Principals() {
			u, err := f.cast.Principal(string(id))
			if err == nil && p.Effect == policy.Permit && strings.Contains(p.Text, fmt.Sprintf("principal == %s::%q", u.Type, u.ID)) {
				if ok, err := f.named(u, p); err != nil {
					return err
				} else if ok {
					f.add("name: %s, by %s", id, p.ID)
				}
			}
		}
	}
	return nil
}

// named asks whether a principal that a policy names has the right by it.
func (f *finder) named(u policy.UID, p policy.Info) (bool, error) {
	b, err := f.cast.Basis(strings.ToLower(u.Type)+":"+u.ID, f.resource)
	if err == nil {
		b, err = decision.Prepare(f.engine, b)
	}
	if err != nil {
		return false, err
	}
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	d := decision.Decide(f.engine, decision.Facts{Basis: b, Question: decision.Question{Action: f.action, At: at, Door: "paths", Scope: sallyport.Scope{"*"}, Assurance: sallyport.Hardware, AuthTime: at, Session: "s", Bound: true, Working: true, To: b.Resource.Toward(f.action)}})
	return d.Outcome == sallyport.Allow && slices.Contains(d.ReasonIDs(), p.ID), nil
}

// grants are rights for a time, and who approves them.
func (f *finder) grants() error {
	approvers, err := f.who(sallyport.GrantApprove)
	if err != nil || len(approvers) == 0 {
		return err
	}
	by := strings.Join(approvers, " or ")
	anybody, err := f.may(somebody{kind: "User", granted: true}, f.action, f.resource)
	if err != nil {
		return err
	}
	plain, err := f.anybody("User")
	if err != nil {
		return err
	}
	if anybody && !plain {
		f.add("grant: to anybody who asks, approved by %s", by)
		return nil
	}
	for _, r := range f.cast.Roles() {
		with, err := f.may(somebody{kind: "User", roles: []string{r}, granted: true}, f.action, f.resource)
		if err != nil {
			return err
		}
		without, err := f.may(somebody{kind: "User", roles: []string{r}}, f.action, f.resource)
		if err != nil {
			return err
		}
		if with && !without {
			f.add("grant: to a %s, approved by %s", r, by)
		}
	}
	return nil
}

// machines are programs that have the right, and agents that may use somebody's.
func (f *finder) machines() error {
	for _, id := range f.cast.Principals() {
		if id.Kind() != sallyport.Service {
			continue
		}
		u, err := f.cast.Principal(string(id))
		if err != nil {
			return err
		}
		b, err := f.cast.Basis(string(id), f.resource)
		if err != nil {
			return err
		}
		var roles []string
		var groups []policy.UID
		for _, e := range b.Entities {
			if e.UID == u {
				for _, p := range e.Parents {
					if p.Type == "Role" {
						roles = append(roles, p.ID)
					} else {
						groups = append(groups, p)
					}
				}
			}
		}
		ok, err := f.may(somebody{kind: "Service", roles: roles, groups: groups}, f.action, f.resource)
		if err != nil {
			return err
		}
		if ok {
			f.add("impersonation: whoever runs %s, which %s answers for", id, b.Person)
		}
	}
	for _, r := range f.cast.Roles() {
		for _, held := range f.cast.Roles() {
			ok, err := f.may(somebody{kind: "Agent", roles: []string{r}, behind: &somebody{kind: "User", roles: []string{held}}}, f.action, f.resource)
			if err != nil {
				return err
			}
			if ok {
				f.add("delegation: an agent that is %s, for a %s", r, held)
			}
		}
	}
	return nil
}

// changes are the ways around: another's account, and other policies.
func (f *finder) changes() error {
	admins, err := f.who(sallyport.IdentityAdminister)
	if err != nil {
		return err
	}
	for _, r := range admins {
		f.add("impersonation: %s makes an enrolment link for somebody who may", r)
	}
	var chain [3][]string
	for i, a := range []sallyport.Action{sallyport.PolicyPropose, sallyport.PolicyApprove, sallyport.PolicyActivate} {
		if chain[i], err = f.who(a); err != nil {
			return err
		}
		if len(chain[i]) == 0 {
			return nil
		}
	}
	for _, r := range f.cast.Roles() { // programs propose where they may; who approves and activates is somebody
		ok, err := f.may(somebody{kind: "Service", roles: []string{r}}, sallyport.PolicyPropose, "system")
		if err != nil {
			return err
		}
		if ok {
			chain[0] = append(chain[0], r+" as Service")
		}
	}
	f.add("policy: proposed by %s, approved by %s, activated by %s", strings.Join(chain[0], " or "), strings.Join(chain[1], " or "), strings.Join(chain[2], " or "))
	return nil
}
