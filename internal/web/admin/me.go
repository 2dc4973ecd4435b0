package admin

import (
	"fmt"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/web/api"
)

// meRoutes are about the caller.
func meRoutes() []Route {
	return []Route{
		{"GET", "/whoami", sallyport.ServerRead, system, (*API).whoami},
		{"GET", "/can", sallyport.ServerRead, system, (*API).can},
		{"POST", "/can", sallyport.ServerRead, system, (*API).canAll},
		{"GET", "/sessions", sallyport.ServerRead, system, (*API).sessions},
		{"POST", "/sessions/{id}/revoke", sallyport.ServerRead, system, (*API).revokeSession},
		{"POST", "/logout", sallyport.ServerRead, system, (*API).logout},
		{"GET", "/matrix", sallyport.PolicyRead, system, (*API).matrix},
	}
}

// asker is the caller as they are, with every right that policy gives them and
// not only those of the token at hand.
func (a *API) asker(c *Call) whatif.Asker {
	p := c.Permit.Who()
	p.Scope = whatif.Everything()
	return whatif.Asker{Principal: p, At: a.Guard.Clock(), IP: httpsafe.PeerIP(c.Request)}
}

// whoami says who the caller is and what they can do; with rights=none only the former.
func (a *API) whoami(c *Call) (any, error) {
	snap, p := a.Facts.Snapshot(), c.Permit.Who()
	m, _ := snap.Member(p.ID)
	who := api.Who{ID: p.ID, Person: p.Person, Display: m.Display, Groups: m.Groups, Assurance: p.Assurance.String(), Methods: p.Methods,
		Session: p.Session, Expires: p.Expires, Scope: p.Scope.String(), Client: p.Client, Actors: p.Actors, Bound: p.Bound(), Device: p.Device, Rights: []api.Rights{}, Roles: []api.Assignment{}}
	who.Probation, who.Limits = snap.Probation(p, a.Guard.Clock())
	for _, as := range snap.Assignments(p.ID) {
		who.Roles = append(who.Roles, api.Assignment{ID: as.ID, Subject: as.Subject, Role: as.Role, Scope: as.Scope.String(), Until: as.Until})
	}
	if c.URL.Query().Get("rights") == "none" {
		return who, nil
	}
	asker := a.asker(c)
	for _, x := range snap.Catalog().All() {
		r, err := rights(snap, asker, x)
		if err != nil {
			return nil, err
		}
		if len(r.Can)+len(r.StepUp)+len(r.Device)+len(r.Request) > 0 {
			who.Rights = append(who.Rights, r)
		}
	}
	return who, nil
}

// rights are those of the asker on x, as they may be told them.
func rights(snap *facts.Snapshot, who whatif.Asker, x sallyport.Resource) (api.Rights, error) {
	cells, err := whatif.Own(snap, who, x)
	if err != nil {
		return api.Rights{}, err
	}
	r := api.Rights{Resource: x.String(), Class: x.Class}
	for _, action := range whatif.ActionsOn(x.Kind) {
		switch cells[action] {
		case whatif.Allowed:
			r.Can = append(r.Can, action)
		case whatif.AfterStep:
			r.StepUp = append(r.StepUp, action)
		case whatif.OnDevice:
			r.Device = append(r.Device, action)
		case whatif.OnRequest:
			r.Request = append(r.Request, action)
		default:
			r.Cannot = append(r.Cannot, action)
		}
	}
	return r, nil
}

// can answers for the caller, or with "as" for somebody else: whoever may read
// the policy may ask about everybody.
func (a *API) can(c *Call) (any, error) {
	q := c.URL.Query()
	action, err := sallyport.ParseAction(q.Get("action"))
	if err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(q.Get("resource"))
	if err != nil {
		return nil, err
	}
	who := a.asker(c)
	snap := a.Facts.Snapshot()
	if as := q.Get("as"); as != "" && as != string(who.Principal.ID) {
		if who, err = a.somebody(c, who, as, q.Get("assurance")); err != nil {
			return nil, err
		}
	}
	if to := q.Get("to"); to != "" {
		if who.To, err = sallyport.ParseEnvironment(to); err != nil {
			return nil, err
		}
	}
	return answerTo(c, snap, who, action, ref)
}

// canAll answers questions of the caller about themselves, all on the same facts and in their order: what a page offers.
func (a *API) canAll(c *Call) (any, error) {
	var in []api.CanAsk
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in) == 0 {
		return nil, sallyport.E("can", sallyport.Invalid, "nothing is asked", "send a list of questions")
	}
	if len(in) > api.MostAsks {
		return nil, sallyport.E("can", sallyport.TooLarge, fmt.Sprintf("%d questions at once", len(in)), fmt.Sprintf("ask at most %d", api.MostAsks))
	}
	snap, who, out := a.Facts.Snapshot(), a.asker(c), []api.Answer{}
	for _, q := range in {
		action, err := sallyport.ParseAction(string(q.Action))
		if err != nil {
			return nil, err
		}
		ref, err := sallyport.ParseRef(q.Resource)
		if err != nil {
			return nil, err
		}
		answer, err := answerTo(c, snap, who, action, ref)
		if err != nil {
			return nil, err
		}
		out = append(out, answer)
	}
	return out, nil
}

// answerTo is the answer to one question.
func answerTo(c *Call, snap *facts.Snapshot, who whatif.Asker, action sallyport.Action, ref sallyport.Ref) (api.Answer, error) {
	d, x, err := whatif.Can(snap, who, action, ref)
	if err != nil {
		return api.Answer{}, err
	}
	if who.Principal.ID == c.Permit.Who().ID {
		if d, x, err = whatif.Told(snap, who, d, x); err != nil {
			return api.Answer{}, err
		}
	}
	answer := api.Answer{Who: who.Principal.ID, Action: action, Resource: ref.String(), Outcome: d.Outcome.String(), Cell: string(whatif.CellOf(d)), Reasons: d.Reasons, Remedies: d.Remedies, Otherwise: d.Otherwise, Policy: d.Policy}
	if x.Kind != "" {
		answer.Resource = x.String()
	}
	if d.Outcome == sallyport.StepUp {
		answer.Needs = d.Needs.String()
	}
	return answer, nil
}

func (a *API) somebody(c *Call, asker whatif.Asker, as, assurance string) (whatif.Asker, error) {
	snap := a.Facts.Snapshot()
	d, _, err := whatif.Can(snap, asker, sallyport.PolicyRead, sallyport.Ref{Kind: sallyport.SystemKind})
	if err != nil {
		return asker, err
	}
	if d.Outcome != sallyport.Allow {
		return asker, sallyport.E("can", sallyport.NotFound, "you may ask about yourself only", "ask somebody who may read the policy")
	}
	id, err := sallyport.ParsePrincipalID(as)
	if err != nil {
		return asker, err
	}
	m, ok := snap.Member(id)
	if !ok {
		return asker, sallyport.E("can", sallyport.NotFound, string(id)+" is not known here", "")
	}
	level := sallyport.MultiFactor
	if assurance != "" {
		if level, err = sallyport.ParseAssurance(assurance); err != nil {
			return asker, err
		}
	}
	now := a.Guard.Clock()
	return whatif.Asker{At: now, Principal: sallyport.Principal{ID: m.ID, Person: m.Person, Scope: whatif.Everything(),
		Assurance: level, AuthTime: now}}, nil
}

// matrix is who may do what, for everybody proved at "assurance" (aal2 unless
// said otherwise), on every resource or those below "project".
func (a *API) matrix(c *Call) (any, error) {
	m, err := a.matrixOf(c)
	return m, err
}

func (a *API) matrixOf(c *Call) (api.Matrix, error) {
	snap, now := a.Facts.Snapshot(), a.Guard.Clock()
	level := sallyport.MultiFactor
	if s := c.URL.Query().Get("assurance"); s != "" {
		var err error
		if level, err = sallyport.ParseAssurance(s); err != nil {
			return api.Matrix{}, err
		}
	}
	m := api.Matrix{Policy: snap.Engine().Version(), At: now.UTC(), Actions: matrixActions(), Rows: []api.MatrixRow{}}
	for _, member := range snap.Sorted() {
		who := whatif.Asker{At: now, Principal: sallyport.Principal{ID: member.ID, Person: member.Person, Scope: whatif.Everything(), Assurance: level, AuthTime: now}}
		for _, x := range snap.Catalog().All() {
			if p := c.URL.Query().Get("project"); p != "" && p != x.Org+"/"+x.Project {
				continue
			}
			row, err := matrixRow(a, who, x, m.Actions)
			if err != nil {
				return api.Matrix{}, err
			}
			m.Rows = append(m.Rows, row)
		}
	}
	return m, nil
}

// matrixActions are the columns: what people ask about first.
func matrixActions() []sallyport.Action {
	return []sallyport.Action{sallyport.ModelRead, sallyport.ModelInfer, sallyport.ModelEvaluate, sallyport.ModelPullAux, sallyport.ModelPull,
		sallyport.ModelPush, sallyport.ModelPromote, sallyport.ModelDeploy, sallyport.ModelDelete, sallyport.DatasetRead, sallyport.DatasetWrite,
		sallyport.GrantApprove, sallyport.HoldPlace, sallyport.LabelChange, sallyport.AuditRead}
}

func matrixRow(a *API, who whatif.Asker, x sallyport.Resource, actions []sallyport.Action) (api.MatrixRow, error) {
	row := api.MatrixRow{Who: who.Principal.ID, Resource: x.String(), Cells: make([]string, len(actions))}
	cells, err := whatif.Rights(a.Facts.Snapshot(), who, x)
	if err != nil {
		return row, err
	}
	for i, action := range actions {
		cell, ok := cells[action]
		if !ok {
			cell = "-" // the action makes no sense on this kind of resource
		}
		row.Cells[i] = string(cell)
	}
	return row, nil
}

func (a *API) sessions(c *Call) (any, error) {
	p := c.Permit.Who()
	list, err := a.Rooms.Sessions.List(c.Context(), p.ID)
	if err != nil {
		return nil, err
	}
	families, err := a.Rooms.Tokens.Families.Families(c.Context(), token.Selector{Principal: p.ID})
	if err != nil {
		return nil, err
	}
	out := []api.Session{}
	for _, s := range list {
		out = append(out, api.Session{ID: s.ID, Kind: "browser", Created: s.Created, LastSeen: s.Seen, Expires: s.End,
			Assurance: s.Assurance.String(), IP: s.Source, Agent: s.Agent, Current: s.ID == p.Session})
	}
	for _, f := range families {
		if !f.Live(a.Guard.Clock()) {
			continue
		}
		out = append(out, api.Session{ID: f.ID, Kind: f.Client, Created: f.Created, LastSeen: f.LastIssued, Expires: f.Expires,
			Assurance: f.Assurance.String(), Current: f.ID == p.Family})
	}
	return out, nil
}

// revokeSession ends one session or token family of the caller.
func (a *API) revokeSession(c *Call) (any, error) {
	id := c.PathValue("id")
	mine, err := a.sessions(c)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(mine.([]api.Session), func(s api.Session) bool { return s.ID == id }) {
		return nil, sallyport.E("end session", sallyport.NotFound, "you have no such session", "list yours with 'sallyport sessions'")
	}
	return a.end(c, map[string]string{}, id)
}

// logout ends the session behind the call, or with everywhere=true all of the
// caller's, and everything that runs under them.
func (a *API) logout(c *Call) (any, error) {
	p := c.Permit.Who()
	ids, detail := []string{p.Session, p.Family}, map[string]string{}
	if c.URL.Query().Get("everywhere") == "true" {
		mine, err := a.sessions(c)
		if err != nil {
			return nil, err
		}
		for _, s := range mine.([]api.Session) {
			ids = append(ids, s.ID)
		}
		detail["everywhere"] = "true"
	}
	slices.Sort(ids)
	return a.end(c, detail, slices.Compact(slices.DeleteFunc(ids, func(s string) bool { return s == "" }))...)
}

// end revokes sessions and families and returns what it cut. detail is what their records say beside why.
func (a *API) end(c *Call, detail map[string]string, ids ...string) (any, error) {
	const why = "ended by the person"
	detail["why"] = why
	began := time.Now()
	for _, id := range ids {
		if err := a.Rooms.endOne(c.Context(), id, why); err != nil {
			return nil, err
		}
		if err := a.noteOrder(c, sallyport.EventSessionRevoked, "session:"+id, detail); err != nil {
			return nil, err
		}
	}
	out := api.Hold{Target: "session", Why: why, By: c.Permit.Who().ID}
	if err := a.inForce(c); err != nil {
		return out, err
	}
	out.InForce = time.Since(began).Round(time.Microsecond).String()
	out.Cut = a.cut(c)
	return out, nil
}
