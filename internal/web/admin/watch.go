package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/risk"
	"sallyport/internal/watch/detect"
	"sallyport/internal/watch/notify"
	"sallyport/internal/watch/respond"
	"sallyport/internal/web/api"
)

// Watch are the rooms that know what is unusual, and what reports need.
type Watch struct {
	Habits     *habit.Service
	Detector   *detect.Detector
	Answers    *respond.Service
	Notices    *notify.Service
	BreakGlass *breakglass.Service
	// Relearn makes what is known of sign-ins anew from the trail.
	Relearn func(context.Context) error
	// EndOne ends a session or a login, and records it.
	EndOne func(ctx context.Context, id, why string, by sallyport.PrincipalID) error
	// LoseDevice removes a device and revokes its certificate; Devices are somebody's.
	LoseDevice func(ctx context.Context, id string, by sallyport.PrincipalID, why string) error
	Devices    func(ctx context.Context, owner sallyport.PrincipalID) ([]device.Device, error)
}

// watchRoutes are about risk, findings and notices.
func watchRoutes() []Route {
	return []Route{
		{"GET", "/me/risk", sallyport.ServerRead, system, (*API).myRisk},
		{"GET", "/people/{id}/risk", sallyport.AuditRead, system, (*API).riskOf},
		{"POST", "/risk/{id}/clear", sallyport.HoldLift, system, (*API).clearRisk},
		{"POST", "/risk/relearn", sallyport.SystemConfigure, system, (*API).relearn},
		{"GET", "/me/notices", sallyport.ServerRead, system, (*API).notices},
		{"POST", "/me/notices/read", sallyport.ServerRead, system, (*API).readNotices},
		{"POST", "/me/reports", sallyport.ServerRead, system, (*API).report},
		{"GET", "/findings", sallyport.AuditRead, system, (*API).findings},
		{"GET", "/findings/rules", sallyport.AuditRead, system, (*API).tripwires},
		{"GET", "/findings/{id}", sallyport.AuditRead, system, (*API).finding},
		{"POST", "/findings/{id}/close", sallyport.HoldLift, system, (*API).closeFinding},
	}
}

func (a *API) myRisk(c *Call) (any, error) { return a.risk(c, c.Permit.Who().ID) }

// riskOf is somebody else's risk. Reading about a person is recorded, and the person is told.
func (a *API) riskOf(c *Call) (any, error) {
	id, err := c.principal()
	if err != nil {
		return nil, err
	}
	if _, ok := a.Facts.Snapshot().Member(id); !ok {
		return nil, sallyport.E("risk", sallyport.NotFound, string(id)+" is not known here", "")
	}
	if err := a.looked(c, id); err != nil {
		return nil, err
	}
	return a.risk(c, id)
}

// looked records that the caller reads what is kept of somebody.
func (a *API) looked(c *Call, about sallyport.PrincipalID) error {
	if about.Kind() != sallyport.User || about == c.Permit.Who().ID || about == c.Permit.Who().Person {
		return nil
	}
	return a.note(c, sallyport.EventLooked, string(about), nil)
}

func (a *API) risk(c *Call, who sallyport.PrincipalID) (any, error) {
	w := a.Rooms.Watch
	known, err := w.Habits.Known(c.Context(), who)
	if err != nil {
		return nil, err
	}
	live, err := w.Habits.Sessions(c.Context(), string(who))
	if err != nil {
		return nil, err
	}
	out := api.Risk{Who: who, SignIns: known.SignIns, Last: known.Last, Threshold: known.Threshold, Sessions: []api.SessionRisk{}, Raised: []api.Raise{},
		From: strings.Join(slices.DeleteFunc([]string{known.From.Prefix, known.From.ASN, known.From.Country, known.From.Browser, known.From.OS}, func(s string) bool { return s == "" }), ", "),
		Note: "A score says how unusual a sign-in is, not that it is an attack; what share of attacks it would catch is not known."}
	for _, one := range live {
		score, reasons, err := w.Habits.Session(c.Context(), one)
		if err != nil {
			return nil, err
		}
		out.Sessions = append(out.Sessions, api.SessionRisk{Session: one.ID, Score: score, Factors: factors(reasons)})
	}
	now := a.Guard.Clock()
	for _, r := range known.Raises {
		out.Raised = append(out.Raised, raiseOut(r, now))
	}
	return out, nil
}

func factors(reasons []risk.Reason) []api.Factor {
	out := []api.Factor{}
	for _, r := range reasons {
		out = append(out, api.Factor{Kind: string(r.Kind), Weight: r.Points, Text: r.Text, Evidence: r.Evidence})
	}
	return out
}

func raiseOut(r habit.Raise, now time.Time) api.Raise {
	return api.Raise{ID: r.ID, Target: r.Target, Points: r.Points, Left: r.Left(now), Why: r.Why, Until: r.Until}
}

// clearRisk ends what is held against somebody else.
func (a *API) clearRisk(c *Call) (any, error) {
	p := c.Permit.Who()
	own, err := a.Rooms.Watch.Habits.Known(c.Context(), p.ID)
	if err != nil {
		return nil, err
	}
	id := c.PathValue("id")
	if slices.ContainsFunc(own.Raises, func(r habit.Raise) bool { return r.ID == id }) {
		return nil, sallyport.E("clear risk", sallyport.Conflict, "nobody clears what is held against themselves", "ask somebody else to look at it")
	}
	r, err := a.Rooms.Watch.Habits.Clear(c.Context(), id, p.ID)
	if err != nil {
		return nil, err
	}
	return raiseOut(r, a.Guard.Clock()), a.inForce(c)
}

func (a *API) relearn(c *Call) (any, error) {
	if err := a.note(c, sallyport.EventChanged, "system", map[string]string{"what": "what is known of sign-ins is made anew from the log"}); err != nil {
		return nil, err
	}
	return struct{}{}, a.Rooms.Watch.Relearn(c.Context())
}

func (a *API) notices(c *Call) (any, error) {
	list, err := a.Rooms.Watch.Notices.Inbox(c.Context(), c.Permit.Who().ID, c.URL.Query().Get("all") != "true")
	if err != nil {
		return nil, err
	}
	out := []api.Notice{}
	for _, n := range list {
		out = append(out, api.Notice{ID: n.ID, Kind: n.Kind, At: n.At, Text: n.Text, Seq: n.Seq, Read: n.Read})
	}
	return out, nil
}

// readNotices marks what the caller has seen: the newest notice names how far.
func (a *API) readNotices(c *Call) (any, error) {
	var in api.Notice
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	n, err := a.Rooms.Watch.Notices.MarkRead(c.Context(), c.Permit.Who().ID, in.At)
	return map[string]int{"read": n}, err
}

func (a *API) findings(c *Call) (any, error) {
	q := c.URL.Query()
	f := detect.Filter{Rule: q.Get("rule"), Who: sallyport.PrincipalID(q.Get("who"))}
	if s := q.Get("state"); s != "" {
		f.State = detect.State(s)
	}
	list, err := a.Rooms.Watch.Detector.Store.Findings(c.Context(), f)
	if err != nil {
		return nil, err
	}
	out := []api.Finding{}
	for _, f := range list {
		if q.Get("state") != "" || f.State != detect.Closed {
			out = append(out, findingOut(f))
		}
	}
	return out, nil
}

func findingOut(f detect.Finding) api.Finding {
	out := api.Finding{ID: f.ID, Rule: f.Rule, Severity: string(f.Severity), Who: f.Who, Subject: f.Subject, At: f.At, Text: f.Text, Evidence: f.Evidence, Detail: f.Detail,
		State: string(f.State), Did: f.Did, Closed: f.Closed, Closer: f.Closer, Verdict: f.Verdict, Why: f.Why}
	if out.Did == nil {
		out.Did = []string{}
	}
	return out
}

func (a *API) finding(c *Call) (any, error) {
	f, err := a.Rooms.Watch.Detector.Store.Finding(c.Context(), c.PathValue("id"))
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E("read finding", sallyport.NotFound, "there is no such finding", "run 'sallyport findings ls'")
	}
	if err != nil {
		return nil, err
	}
	return findingOut(f), a.looked(c, f.Who)
}

// closeFinding says what a finding was. What was done about one that was nothing is taken back.
func (a *API) closeFinding(c *Call) (any, error) {
	var in api.Verdict
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p := c.Permit.Who()
	f, err := a.Rooms.Watch.Detector.Close(c.Context(), c.PathValue("id"), detect.Verdict{Word: in.Verdict, Why: in.Why, By: p.ID, Person: p.Person})
	if err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventChanged, "finding:"+f.ID, map[string]string{"what": "finding closed", "verdict": f.Verdict, "why": f.Why}); err != nil {
		return nil, err
	}
	out := findingOut(f)
	if in.Verdict == "benign" {
		if out.Undone, err = a.Rooms.Watch.Answers.Undo(c.Context(), f, p); err != nil {
			return nil, err
		}
	}
	return out, a.inForce(c)
}

func (a *API) tripwires(*Call) (any, error) {
	out := []api.Tripwire{}
	for _, r := range detect.Rules() {
		t := api.Tripwire{Name: r.Name, Severity: string(r.Severity), Text: r.Text, Certain: r.Certain, Techniques: r.Techniques, Steps: []string{}}
		for _, s := range a.Rooms.Watch.Answers.Table[r.Name] {
			t.Steps = append(t.Steps, s.String())
		}
		out = append(out, t)
	}
	return out, nil
}
