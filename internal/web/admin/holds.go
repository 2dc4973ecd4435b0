package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
	"sallyport/internal/web/api"
)

// holdRoutes are about temporary restrictions. A hold on a resource is permitted
// on that resource (named in the query), one on a person, session or token on the
// system.
func holdRoutes() []Route {
	return []Route{
		{"POST", "/holds", sallyport.HoldPlace, inQuery, (*API).lock},
		{"GET", "/holds", sallyport.AuditRead, system, (*API).holds},
		{"POST", "/holds/{id}/lift", sallyport.HoldLift, inQuery, (*API).unlock},
	}
}

// waitForCut is how long an order to stop waits for what it stopped.
const waitForCut = 2 * time.Second

// enforce brings a change of rights into force and reports what it cut. When it
// returns, no new call is decided on the old rights.
func (a *API) enforce(c *Call) ([]api.Cut, error) {
	if err := a.inForce(c); err != nil {
		return nil, err
	}
	return a.cut(c), nil
}

// inForce returns when no new call is decided on the rights before the change.
func (a *API) inForce(c *Call) error {
	if err := a.Facts.Sync(c.Context()); err != nil {
		return sallyport.Wrap("enforce", sallyport.Unavailable, "the change is kept, and could not be brought into force here yet", err)
	}
	return nil
}

// cut ends what is running and no longer permitted, and waits a little for it to
// end.
func (a *API) cut(c *Call) []api.Cut {
	out := []api.Cut{}
	for _, x := range a.Guard.Enforce(c.Context(), c.Permit, waitForCut) {
		out = append(out, api.Cut{Decision: x.Decision, Who: x.Who, Action: x.Action, On: x.On, Bytes: x.Bytes, AfterCut: x.AfterCut, Ended: x.Ended})
	}
	return out
}

// onTarget checks that the permit, which is for a resource or for the system, is
// the one that a hold on target needs.
func onTarget(c *Call, target string) error {
	kind, _, _ := strings.Cut(target, ":")
	name := strings.TrimPrefix(target, "model:")
	switch kind {
	case "user", "service", "agent", "session", "family", "device":
		name = "system"
	}
	asked := c.URL.Query().Get("resource")
	if asked == "" {
		asked = "system"
	}
	if name != asked {
		return sallyport.E("hold", sallyport.Invalid, "the query parameter \"resource\" must name what is held, "+name, "")
	}
	return nil
}

func (a *API) lock(c *Call) (any, error) {
	var in api.Lock
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := onTarget(c, in.Target); err != nil {
		return nil, err
	}
	began, p := time.Now(), c.Permit.Who()
	// A stop is kept before it is recorded: it is in force also where the record fails, and whoever ordered it is told of that.
	h, err := a.Rooms.Holds.Place(c.Context(), in.Target, in.Why, hold.Actor{ID: p.ID, Person: p.Person})
	if err != nil {
		return nil, err
	}
	if err := a.noteOrder(c, sallyport.EventHoldPlaced, h.Target, map[string]string{"hold": h.ID, "why": h.Why}); err != nil {
		return nil, err
	}
	out := a.holdOut(h)
	if err := a.inForce(c); err != nil {
		return out, err
	}
	out.InForce = time.Since(began).Round(time.Microsecond).String() // of the order, not of the cut calls' ends
	out.Cut = a.cut(c)
	return out, nil
}

func (a *API) unlock(c *Call) (any, error) {
	var in api.Lock
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	h, err := a.Rooms.Holds.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := onTarget(c, h.Target); err != nil {
		return nil, err
	}
	sign, err := a.Rooms.Approvals.MustSign(c.Context())
	if err != nil && sallyport.KindOf(err) == sallyport.Unavailable {
		return nil, err
	}
	l, err := liftingIn(in)
	if err != nil {
		return nil, err
	}
	if !h.Active() && (in.Probation != "" || in.Without != "") {
		return nil, sallyport.E("end probation", sallyport.Conflict, h.ID+" is lifted already, and how long its probation lasts was said then",
			"leave that out to end it")
	}
	if sign {
		return a.askUnlock(c, h, l)
	}
	if h, err = a.restore(c, h.ID, l, !h.Active(), ""); err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return a.holdOut(h), err
}

// liftingIn is what the body says of a lifting.
func liftingIn(in api.Lock) (hold.Lifting, error) {
	l := hold.Lifting{Why: in.Why, Without: in.Without}
	if in.Probation != "" {
		d, err := time.ParseDuration(in.Probation)
		if err != nil || d <= 0 {
			return l, sallyport.E("unlock", sallyport.Invalid, fmt.Sprintf("%.40q is no length of a probation", in.Probation), "write 24h; without one, say why in \"without\"")
		}
		l.Probation = d
	}
	return l, l.Check()
}

// restore lifts a hold, or ends the probation after one, by a request that was approved or "". It is recorded first.
func (a *API) restore(c *Call, id string, l hold.Lifting, end bool, request string) (hold.Hold, error) {
	p := c.Permit.Who()
	by := hold.Actor{ID: p.ID, Person: p.Person}
	note := func(_ context.Context, h hold.Hold) error {
		detail := liftedDetail(h, l.Why)
		if request != "" {
			detail["request"] = request
		}
		return a.note(c, sallyport.EventHoldLifted, h.Target, detail)
	}
	if end {
		return a.Rooms.Holds.Acquit(c.Context(), id, l.Why, by, note)
	}
	return a.Rooms.Holds.Lift(c.Context(), id, l, by, note)
}

// liftedDetail is what the record of a lifting says of it.
func liftedDetail(h hold.Hold, why string) map[string]string {
	d := map[string]string{"hold": h.ID, "why": why}
	switch {
	case h.ProbationBy != "":
		d["probation"] = "ended"
	case h.Probation.IsZero():
		d["probation"], d["without"] = "none", h.ProbationWhy
	default:
		d["probation"] = h.Probation.Format(time.RFC3339)
	}
	return d
}

func (a *API) holds(c *Call) (any, error) {
	all, err := a.Rooms.Holds.List(c.Context(), c.URL.Query().Get("target"))
	if err != nil {
		return nil, err
	}
	out := []api.Hold{}
	for _, h := range all {
		out = append(out, a.holdOut(h))
	}
	return out, nil
}

func (a *API) holdOut(h hold.Hold) api.Hold {
	return api.Hold{ID: h.ID, Target: h.Target, Why: h.Why, By: h.By, At: h.At, Active: h.Active(), Probation: h.Probation,
		OnProbation: h.OnProbation(a.Guard.Clock()), ProbationWhy: h.ProbationWhy}
}
