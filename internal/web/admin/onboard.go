package admin

import (
	"cmp"
	"time"

	"sallyport"
	"sallyport/internal/authz/role"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/identity/directory"
	"sallyport/internal/web/api"
)

// maxJob is the longest job that somebody is given rights for at once.
const maxJob = 365 * 24 * time.Hour

func onboardRoutes() []Route {
	return []Route{{"POST", "/onboard", sallyport.IdentityAdminister, system, (*API).onboard}}
}

// onboard makes or finds a person and gives one role on one project, with an end.
// Doing it twice is no error: the second time finds what the first gave.
func (a *API) onboard(c *Call) (any, error) {
	var in api.Onboard
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	scope, until, err := a.job(in)
	if err != nil {
		return nil, err
	}
	out := api.Onboarded{}
	m, err := a.Rooms.Directory.Get(c.Context(), in.ID)
	if out.New = sallyport.KindOf(err) == sallyport.NotFound && err != nil; out.New {
		m, err = a.joiner(c, in, scope.Org, until)
	}
	switch {
	case err != nil:
		return nil, err
	case m.State != directory.Active:
		return nil, sallyport.E("onboard", sallyport.Conflict, string(m.ID)+" is "+string(m.State), "bring them back first, with 'sallyport user activate'")
	case m.Org != scope.Org:
		return nil, sallyport.E("onboard", sallyport.Invalid, string(m.ID)+" belongs to another organisation", "invite them as a guest, under another name")
	}
	out.Member = memberOut(m)
	if out.Assignment, err = a.giveJob(c, m, in.Role, scope, until); err != nil {
		return nil, err
	}
	if out.Enrolment, err = a.firstLink(c, m); err != nil {
		return nil, err
	}
	out.Commands, err = a.firstCommands(m.ID, scope)
	return out, err
}

// job reads what the job is: a role that is not privileged, a project, an end.
func (a *API) job(in api.Onboard) (scope sallyport.Ref, until time.Time, err error) {
	const op = "onboard"
	if in.ID.Kind() != sallyport.User {
		return scope, until, sallyport.E(op, sallyport.Invalid, "only people are onboarded", "add a service with 'sallyport user add service:NAME'")
	}
	if scope, err = sallyport.ParseRef("project:" + in.Project); err != nil {
		return scope, until, err
	}
	snap := a.Facts.Snapshot()
	if _, ok := snap.Resolve(scope); !ok {
		return scope, until, sallyport.E(op, sallyport.NotFound, "there is no project "+sallyport.OneLine(in.Project), "list them with 'sallyport catalog ls'")
	}
	r, ok := snap.Role(in.Role)
	if !ok || r.Privileged {
		return scope, until, sallyport.E(op, sallyport.Invalid, "there is no everyday role "+sallyport.OneLine(in.Role), "list the roles with 'sallyport role ls'; give a privileged one with 'sallyport role assign'")
	}
	until = in.Until.UTC().Truncate(time.Microsecond)
	if now := a.Guard.Clock(); !until.After(now) || until.Sub(now) > maxJob {
		return scope, until, sallyport.E(op, sallyport.Invalid, "the end is not within a year from now", "say until when the job lasts")
	}
	return scope, until, nil
}

// joiner makes somebody new. A guest ends with the job.
func (a *API) joiner(c *Call, in api.Onboard, org string, until time.Time) (directory.Member, error) {
	m := directory.Member{ID: in.ID, Org: cmp.Or(in.Org, org), Display: in.Display}
	if in.Sponsor != "" {
		m.Guest, m.Sponsor, m.Ends = true, in.Sponsor, until
	}
	m, err := a.Rooms.Directory.Create(c.Context(), m)
	if err != nil {
		return m, err
	}
	return m, a.note(c, sallyport.EventJoined, string(m.ID), map[string]string{"org": m.Org, "sponsor": string(m.Sponsor)})
}

// giveJob assigns the role, or finds it assigned for exactly as long.
func (a *API) giveJob(c *Call, m directory.Member, name string, scope sallyport.Ref, until time.Time) (api.Assignment, error) {
	state, err := a.Rooms.Roles.List(c.Context())
	if err != nil {
		return api.Assignment{}, err
	}
	for _, s := range state.Assignments {
		if s.Subject == string(m.ID) && s.Role == name && s.Scope == scope {
			if s.Until.Equal(until) {
				return assignmentOut(s), nil
			}
			if err := a.Rooms.Roles.Unassign(c.Context(), s.ID); err != nil {
				return api.Assignment{}, err
			}
			if err := a.note(c, sallyport.EventMoved, "assignment:"+s.ID, map[string]string{"what": "role taken away"}); err != nil {
				return api.Assignment{}, err
			}
		}
	}
	s, err := a.Rooms.Roles.Assign(c.Context(), role.Assignment{Subject: string(m.ID), Role: name, Scope: scope, By: c.Permit.Who().ID, Until: until})
	if err != nil {
		return api.Assignment{}, err
	}
	return assignmentOut(s), a.moved(c, s.Subject, map[string]string{"what": "role assigned", "role": s.Role, "scope": scope.String(), "id": s.ID, "until": until.Format(time.RFC3339)})
}

// firstLink makes an enrolment link for somebody who cannot sign in yet. Whom a
// provider keeps signs in there.
func (a *API) firstLink(c *Call, m directory.Member) (*api.Enrolment, error) {
	if m.Source != "" || len(m.Identities) > 0 {
		return nil, nil
	}
	has, err := a.Rooms.Enrolled(c.Context(), m.ID)
	if err != nil || has {
		return nil, err
	}
	link, until, err := a.Rooms.Enrol.IssueLink(c.Context(), m.ID)
	if err != nil {
		return nil, err
	}
	return &api.Enrolment{Who: m.ID, Link: a.External + "/enrol/" + link.Reveal(), Expires: until},
		a.note(c, sallyport.EventChanged, string(m.ID), map[string]string{"what": "enrolment link issued"})
}

// firstCommands are a few things that the role really permits, asked of the policy
// in force: what is printed works.
func (a *API) firstCommands(id sallyport.PrincipalID, scope sallyport.Ref) ([]string, error) {
	snap, now := a.Facts.Snapshot(), a.Guard.Clock()
	m, _ := snap.Member(id)
	as := whatif.Asker{At: now, Principal: sallyport.Principal{ID: id, Person: m.Person, Scope: whatif.Everything(), Assurance: sallyport.MultiFactor, AuthTime: now}}
	commands := []string{"sallyport login --server " + a.External, "sallyport whoami"}
	for _, x := range snap.Catalog().All() {
		if !scope.Covers(x) {
			continue
		}
		cells, err := whatif.Rights(snap, as, x)
		if err != nil {
			return nil, err
		}
		name := x.Org + "/" + x.Name
		switch {
		case cells[sallyport.ModelRead] == whatif.Allowed:
			commands = append(commands, "sallyport show "+name)
		case cells[sallyport.ModelList] == whatif.Allowed:
			commands = append(commands, "sallyport ls")
		}
		switch {
		case cells[sallyport.ModelPull] == whatif.Allowed:
			return append(commands, "sallyport pull "+name), nil
		case cells[sallyport.ModelInfer] == whatif.Allowed:
			return append(commands, `eval "$(sallyport env)"  # then any OpenAI client, with the model `+name), nil
		case cells[sallyport.ModelPull] == whatif.OnRequest:
			return append(commands, "sallyport request model.pull "+name+" --for 1h --why '…'"), nil
		}
	}
	return commands, nil
}
