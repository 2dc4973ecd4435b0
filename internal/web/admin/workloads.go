package admin

import (
	"errors"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// workloadRoutes are about trust rules, and about services, agents and guests.
func workloadRoutes() []Route {
	return []Route{
		{"GET", "/trust", sallyport.IdentityRead, system, (*API).trustRules},
		{"POST", "/trust", sallyport.IdentityAdminister, system, (*API).addTrustRule},
		{"POST", "/trust/{name}/remove", sallyport.IdentityAdminister, system, (*API).removeTrustRule},
		{"POST", "/trust-test", sallyport.IdentityAdminister, system, (*API).testTrust},
		{"POST", "/people/{id}/owner", sallyport.IdentityAdminister, system, (*API).setOwner},
		{"POST", "/people/{id}/sponsor", sallyport.IdentityAdminister, system, (*API).setSponsor},
		{"POST", "/people/{id}/extend", sallyport.IdentityAdminister, system, (*API).extend},
	}
}

func ruleOut(r workload.Rule) api.TrustRule {
	return api.TrustRule{Name: r.Name, Kind: string(r.Kind), Issuer: r.Issuer, Audience: r.Audience, Match: r.Match, AnySubject: r.AnySubject,
		Keys: r.Keys, KeysURL: r.KeysURL, Principal: r.Principal, Scope: r.Scope.String(), Life: r.Life.String(), Clients: r.Clients,
		By: r.By, Created: r.Created}
}

func (a *API) trustRules(c *Call) (any, error) {
	rules, err := a.Rooms.Workloads.List(c.Context())
	if err != nil {
		return nil, err
	}
	out := []api.TrustRule{}
	for _, r := range rules {
		out = append(out, ruleOut(r))
	}
	return out, nil
}

func (a *API) addTrustRule(c *Call) (any, error) {
	const op = "add trust rule"
	var in api.TrustRule
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	scope, err := sallyport.ParseScope(in.Scope)
	if err != nil {
		return nil, err
	}
	life, err := time.ParseDuration(in.Life)
	if err != nil {
		return nil, sallyport.E(op, sallyport.Invalid, "the life is no time span", "write 15m; an hour is the most")
	}
	m, err := a.Rooms.Directory.Get(c.Context(), in.Principal)
	if err != nil || m.State != directory.Active {
		return nil, sallyport.E(op, sallyport.NotFound, "there is no such active service or agent", "make it with 'sallyport service create'")
	}
	r, err := a.Rooms.Workloads.Add(c.Context(), workload.Rule{
		Name: in.Name, Kind: workload.Kind(in.Kind), Issuer: in.Issuer, Audience: in.Audience, Match: in.Match, AnySubject: in.AnySubject,
		Keys: in.Keys, KeysURL: in.KeysURL, Principal: in.Principal, Scope: scope, Life: life, Clients: in.Clients, By: c.Permit.Who().ID,
	})
	if err != nil {
		return nil, err
	}
	return ruleOut(r), a.changed(c, string(r.Principal), map[string]string{"what": "trust rule added", "rule": r.Name, "issuer": r.Issuer, "scope": r.Scope.String()})
}

func (a *API) removeTrustRule(c *Call) (any, error) {
	name := c.PathValue("name")
	if err := a.Rooms.Workloads.Remove(c.Context(), name); err != nil {
		return nil, err
	}
	return api.TrustRule{Name: name}, a.changed(c, "trust:"+name, map[string]string{"what": "trust rule removed", "rule": name})
}

func (a *API) testTrust(c *Call) (any, error) {
	var in api.TrustTest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	trials, err := a.Rooms.Workloads.Try(c.Context(), secret.NewText(in.Proof), in.Client)
	if sallyport.KindOf(err) == sallyport.Unknown { // of the proof, not of the caller
		return nil, sallyport.Wrap("test proof", sallyport.Invalid, "no rule speaks of the issuer of this proof, or it is no token", err)
	}
	if err != nil {
		return nil, err
	}
	out := []api.TrustTrial{}
	for _, t := range trials {
		x := api.TrustTrial{Rule: t.Rule, Why: t.Why, Accepted: t.Proven != nil}
		if t.Proven != nil {
			x.Principal, x.Scope, x.Expires = t.Proven.Principal, t.Proven.Scope.String(), t.Proven.Expires
		}
		out = append(out, x)
	}
	return out, nil
}

// memberChange is the order of work of what changes one field of a member.
func (a *API) memberChange(c *Call, what string, apply func(id sallyport.PrincipalID, in api.Member) error) (any, error) {
	var in api.Member
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	if err := apply(id, in); err != nil {
		return nil, err
	}
	m, err := a.Rooms.Directory.Get(c.Context(), id)
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"what": what, "owner": string(m.Person), "sponsor": string(m.Sponsor), "until": m.Ends.Format(time.RFC3339)}
	return memberOut(m), a.changed(c, string(id), detail)
}

func (a *API) setOwner(c *Call) (any, error) {
	return a.memberChange(c, "owner", func(id sallyport.PrincipalID, in api.Member) error { return a.reassign(c, id, in.Person) })
}

// reassign makes another person answer for a service or an agent, and takes it back where that would unite in one person
// what must stay apart.
func (a *API) reassign(c *Call, id, to sallyport.PrincipalID) error {
	before, err := a.Rooms.Directory.Get(c.Context(), id)
	if err != nil {
		return err
	}
	if err := a.Rooms.Directory.Reassign(c.Context(), id, to); err != nil {
		return err
	}
	violations, err := a.Rooms.Roles.Violations(c.Context())
	for _, v := range violations {
		if v.Person == to {
			err = sallyport.E("set owner", sallyport.Conflict, fmt.Sprintf("%s would have both %s and %s", to, v.Roles[0], v.Roles[1]), "name somebody else")
		}
	}
	if err != nil {
		return errors.Join(err, a.Rooms.Directory.Reassign(c.Context(), id, before.Person))
	}
	return nil
}

func (a *API) setSponsor(c *Call) (any, error) {
	return a.memberChange(c, "sponsor", func(id sallyport.PrincipalID, in api.Member) error {
		return a.Rooms.Directory.SetSponsor(c.Context(), id, in.Sponsor)
	})
}

func (a *API) extend(c *Call) (any, error) {
	return a.memberChange(c, "extended", func(id sallyport.PrincipalID, in api.Member) error {
		return a.Rooms.Directory.Extend(c.Context(), id, in.Ends)
	})
}

// mayJoin refuses groups by which a service or an agent would hold what only people may.
func (a *API) mayJoin(c *Call, id sallyport.PrincipalID, groups []string) error {
	if id.Kind() == sallyport.User || len(groups) == 0 {
		return nil
	}
	d, err := a.Rooms.Directory.Dump(c.Context())
	if err != nil {
		return err
	}
	return a.Rooms.Roles.CheckJoining(c.Context(), id, d.Above(groups))
}
