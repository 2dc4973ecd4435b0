package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/govern/drift"
	"sallyport/internal/govern/intent"
	"sallyport/internal/web/api"
)

// topicDrift is the topic of requests that change what is meant to be, or put back what is.
const topicDrift = "drift"

// driftFor is how long such a request waits for its answer.
const driftFor = 72 * time.Hour

// Drift is what the API needs of what is meant to be.
type Drift struct {
	*drift.Service
	Need int // people who approve a change
	// CatchUp waits until what the log says so far is known to the service.
	CatchUp func(ctx context.Context) error
	// Alone reports whether one person is all there ever was: nobody could approve then.
	Alone func(ctx context.Context) (bool, error)
}

// driftRoutes are about what is meant to be. Whoever approves a change is not who asks for it, nor who made what it accepts.
func driftRoutes() []Route {
	return []Route{
		{"GET", "/drift", sallyport.IdentityRead, system, (*API).drift},
		{"POST", "/drift/declare", sallyport.IdentityAdminister, system, (*API).declareDrift},
		{"POST", "/drift/fix", sallyport.SystemConfigure, system, (*API).fixDrift},
		{"GET", "/drift/requests/{id}", sallyport.IdentityRead, system, (*API).driftRequest},
		{"POST", "/drift/requests/{id}/vote", sallyport.PolicyApprove, system, (*API).voteDrift},
	}
}

// driftWait is how long an answer waits for the log: what is not known then waits for its record a little longer.
const driftWait = 5 * time.Second

// caughtUp has the service know what the log says so far, so that a change that was just made has its record.
func (a *API) caughtUp(c *Call) {
	ctx, cancel := context.WithTimeout(c.Context(), driftWait)
	defer cancel()
	if err := a.Rooms.Drift.CatchUp(ctx); err != nil {
		a.Logger.WarnContext(c.Context(), "drift is answered behind the log", "err", err)
	}
}

func (a *API) drift(c *Call) (any, error) {
	a.caughtUp(c)
	if err := a.Rooms.Drift.Look(c.Context()); err != nil && sallyport.KindOf(err) != sallyport.Conflict { // of which the report tells
		return nil, err
	}
	r, err := a.Rooms.Drift.Report(c.Context())
	if err != nil {
		return nil, err
	}
	out := api.Drift{Hash: r.Hash, Items: r.Items, Looked: r.Looked, More: r.More, Restart: r.Restart, Problem: r.Problem, Open: []api.DriftItem{}}
	if d := r.Declared; d != nil {
		out.Declared = &api.Intended{By: d.By, At: d.At, Source: d.Source, Hash: d.Hash, Request: d.Request}
	}
	for _, d := range r.Open {
		x := differenceOut(d.Difference)
		x.Since, x.Who, x.Decision, x.Recorded = d.Since, d.Who, d.Decision, d.Recorded
		out.Open = append(out.Open, x)
	}
	return out, nil
}

func differenceOut(d intent.Difference) api.DriftItem {
	return api.DriftItem{Item: d.Key(), Want: d.Want.Value, Is: d.Is.Value, Direction: string(d.Direction())}
}

func changeOut(c drift.Change) api.DriftChange {
	out := api.DriftChange{Way: string(c.Act), Why: c.Why, Items: []api.DriftItem{}}
	for _, d := range c.Items {
		out.Items = append(out.Items, differenceOut(d))
	}
	return out
}

// declared reads the items of a declaration.
func declared(in api.Declaration) ([]intent.Item, error) {
	var all []intent.Item
	add := func(i intent.Item, err error) error {
		all = append(all, i)
		return err
	}
	for _, r := range in.Roles {
		if err := add(intent.NewRole(r.Name, intent.RoleValue{Inherits: r.Inherits, Privileged: r.Privileged})); err != nil {
			return nil, err
		}
	}
	for _, g := range in.Groups {
		if err := add(intent.NewGroup(g.Name, intent.GroupValue{In: g.Parents, Guests: g.Guests})); err != nil {
			return nil, err
		}
	}
	for _, s := range in.Assignments {
		scope, err := sallyport.ParseRef(s.Scope)
		if err != nil {
			return nil, err
		}
		if err := add(intent.NewAssignment(s.Subject, s.Role, scope.String(), s.Until)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// declareDrift takes what a file says for what is meant: the first at once, a later one that says something else by others'
// approval.
func (a *API) declareDrift(c *Call) (any, error) {
	var in api.Declaration
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	digest, ok := strings.CutPrefix(in.Source, "sha256:")
	if _, err := sallyport.ParseDigest("declare", digest); !ok || err != nil {
		return nil, sallyport.E("declare", sallyport.Invalid, "the source is no hash of a file", "write sha256: and 64 lower-case hexadecimal digits")
	}
	items, err := declared(in)
	if err != nil {
		return nil, err
	}
	a.caughtUp(c)
	change, first, err := a.Rooms.Drift.PlanDeclaration(c.Context(), items, in.Source, c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	return a.askDrift(c, change, first || len(change.Items) == 0)
}

func (a *API) fixDrift(c *Call) (any, error) {
	var in api.DriftFix
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	a.caughtUp(c)
	change, err := a.Rooms.Drift.Plan(c.Context(), drift.Act(in.Way), in.Items, c.Permit.Who().ID, sallyport.Flat(in.Why))
	if err != nil {
		return nil, err
	}
	return a.askDrift(c, change, false)
}

// askDrift asks others for a change, or carries it out where nobody needs to be asked or nobody is there.
func (a *API) askDrift(c *Call, change drift.Change, atOnce bool) (any, error) {
	p, out := c.Permit.Who(), changeOut(change)
	alone, err := a.Rooms.Drift.Alone(c.Context())
	if err != nil {
		return nil, err
	}
	if atOnce || alone {
		out.Done = true
		return out, a.carryDrift(c, change, "")
	}
	canonical, err := change.Canonical()
	if err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Ask(c.Context(), approval.Request{Topic: topicDrift, Asker: p.ID, AskerPerson: p.Person, Canonical: canonical, Need: a.Rooms.Drift.Need,
		Subject: change.Subject(), Approvers: "people who may " + string(sallyport.PolicyApprove) + " and changed none of it", Expires: a.Guard.Clock().Add(driftFor)},
		a.noteAsked(c, "drift"))
	if err != nil {
		return nil, err
	}
	x, err := a.requestOut(c, r)
	out.Request = &x
	return out, err
}

// carryDrift carries a change out and brings it into force.
func (a *API) carryDrift(c *Call, change drift.Change, request string) error {
	if err := a.Rooms.Drift.Carry(c.Context(), change, drift.By{Who: c.Permit.Who().ID, Decision: c.Permit.ID(), Request: request}); err != nil {
		return err
	}
	_, err := a.enforce(c)
	return err
}

// askedDrift is the change that a request is about.
func (a *API) askedDrift(c *Call, r approval.Request) (drift.Change, error) {
	if r.Topic != topicDrift || !r.Intact() {
		return drift.Change{}, noRequest()
	}
	return a.Rooms.Drift.Asked(c.Context(), r.Canonical)
}

func (a *API) driftRequest(c *Call) (any, error) {
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	change, err := a.askedDrift(c, r)
	if err != nil {
		return nil, err
	}
	out := changeOut(change)
	x, err := a.requestOut(c, r)
	out.Request = &x
	return out, err
}

// voteDrift counts a vote; with the last yes the change is carried out, by whoever said it.
func (a *API) voteDrift(c *Call) (any, error) {
	var change drift.Change
	r, err := a.castVote(c, func(r approval.Request) (v casting, err error) {
		if change, err = a.askedDrift(c, r); err != nil {
			return v, err
		}
		return casting{on: "drift", vote: a.Rooms.Approvals.Vote}, a.notItsChanger(c, change)
	})
	if err != nil {
		return nil, err
	}
	if r.State != approval.Approved {
		return a.requestOut(c, r)
	}
	if err := a.Rooms.Approvals.Verify(c.Context(), r); err != nil {
		return nil, err
	}
	if r, err = a.Rooms.Approvals.Use(c.Context(), r.ID, r.Hash); err != nil {
		return nil, err
	}
	if err := a.carryDrift(c, change, r.ID); err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}

// notItsChanger refuses the vote of whoever changed what it is about.
func (a *API) notItsChanger(c *Call, change drift.Change) error {
	makers, err := a.Rooms.Drift.Makers(c.Context(), change)
	if err != nil {
		return err
	}
	snap := a.Facts.Snapshot()
	if slices.ContainsFunc(makers, func(id sallyport.PrincipalID) bool { return snap.Behind(id) == c.Permit.Who().Person }) {
		return sallyport.E("vote", sallyport.Conflict, "you changed what this is about, and somebody else decides on it", "ask another person to look at it")
	}
	return nil
}

// mostChanges is how many differences a review shows.
const mostChanges = 50

// reviewDrift adds what a yes would change.
func (a *API) reviewDrift(c *Call, r approval.Request, out *api.Review) error {
	change, err := a.askedDrift(c, r)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return nil // it is answered
	}
	if err != nil {
		return err
	}
	for n, d := range change.Items {
		if n == mostChanges {
			out.Changes = append(out.Changes, fmt.Sprintf("and %d more", len(change.Items)-n))
			break
		}
		from, to := d.Want.Value, d.Is.Value // what is meant becomes what is
		if change.Act == drift.Restore {
			from, to = to, from // what is becomes what is meant
		}
		out.Changes = append(out.Changes, fmt.Sprintf("%s: %s → %s (it is %s than what is meant)", drift.Printed(d.Key()), orNothing(from), orNothing(to), d.Direction()))
	}
	out.Changes = append(out.Changes, "because: "+change.Why)
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	const most = 500
	if len(s) > most {
		s = fmt.Sprintf("%s… (%d bytes in all)", strings.ToValidUTF8(s[:most], ""), len(s))
	}
	return drift.Printed(s)
}
