package admin

import (
	"cmp"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/govern/drill"
	"sallyport/internal/web/api"
)

// drillRoutes are about exercises against fraud. Starting one sends messages to people in the system's name, which is for who
// runs it; how they went is for who may read about people, in numbers. Everything else is everybody's own.
func drillRoutes() []Route {
	return []Route{
		{"POST", "/drills", sallyport.SystemConfigure, system, (*API).startDrill},
		{"GET", "/drills", sallyport.IdentityRead, system, (*API).drills},
		{"GET", "/drills/{id}", sallyport.IdentityRead, system, (*API).drill},
		{"GET", "/me/drills", sallyport.ServerRead, system, (*API).myDrills},
		{"POST", "/me/drills", sallyport.ServerRead, system, (*API).volunteer},
		{"GET", "/me/lures/{id}", sallyport.ServerRead, system, (*API).lure},
		{"POST", "/me/lures/{id}", sallyport.ServerRead, system, (*API).answerLure},
	}
}

// byPerson is the caller, who must be a person that is signed in and acts for themselves.
func (c *Call) byPerson(op string) (drill.By, error) {
	p := c.Permit.Who()
	if p.ID.Kind() != sallyport.User || len(p.Actors) > 0 || p.Session == "" {
		return drill.By{}, sallyport.E(op, sallyport.Conflict, "drills are for people who are signed in, and nobody for them", "sign in as yourself")
	}
	return drill.By{Who: p.ID, Person: cmp.Or(p.Person, p.ID), Decision: c.Permit.ID()}, nil
}

func (a *API) startDrill(c *Call) (any, error) {
	const op = "start drill"
	var in api.StartDrill
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	by, err := c.byPerson(op)
	if err != nil {
		return nil, err
	}
	kind, err := drill.ParseKind(in.Kind)
	if err != nil {
		return nil, err
	}
	span, err := time.ParseDuration(in.For)
	if err != nil {
		return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.40q is no time", in.For), "say how long it waits for answers, such as 72h")
	}
	d, n, err := a.Rooms.Drills.Start(c.Context(), kind, span, by)
	if err != nil {
		return nil, err
	}
	return drillOut(d, drill.Counts{Sent: n, Waiting: n}, d.Begun), nil
}

func drillOut(d drill.Drill, n drill.Counts, now time.Time) api.Drill {
	return api.Drill{ID: d.ID, Kind: string(d.Kind), By: d.By, Begun: d.Begun, Ends: d.Ends, Over: d.Over(now),
		Sent: n.Sent, Passed: n.Passed(), Reported: n.Reported, Fell: n.Fell, Waiting: n.Waiting, Ignored: n.Ignored, Median: int64(n.Median / time.Second)}
}

func (a *API) drills(c *Call) (any, error) {
	return a.drillsOf(c, "")
}

// drillsOf are the newest drills, or one, with how they went.
func (a *API) drillsOf(c *Call, id string) ([]api.Drill, error) {
	store, now, out := a.Rooms.Drills.Store, a.Rooms.Drills.Clock(), []api.Drill{}
	list, err := store.Drills(c.Context(), drill.MaxDrills)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if id != "" && d.ID != id {
			continue
		}
		lures, err := store.Lures(c.Context(), drill.Filter{Drill: d.ID})
		if err != nil {
			return nil, err
		}
		out = append(out, drillOut(d, drill.Count(lures, now), now))
	}
	return out, nil
}

func (a *API) drill(c *Call) (any, error) {
	list, err := a.drillsOf(c, c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, sallyport.E("show drill", sallyport.NotFound, "there is no such drill", "list them with 'sallyport drill ls'")
	}
	return list[0], nil
}

// myDrills are those that are over for the caller: what waits is told by nothing but its notice.
func (a *API) myDrills(c *Call) (any, error) {
	by, err := c.byPerson("show drills")
	if err != nil {
		return nil, err
	}
	rooms, out := a.Rooms.Drills, api.MyDrills{Drills: []api.MyDrill{}}
	all, err := rooms.Store.Volunteers(c.Context())
	if err != nil {
		return nil, err
	}
	out.Volunteer, out.Training.Who = all[by.Person], by.Person
	kept, err := a.Rooms.Training.Store.Get(c.Context(), by.Person)
	switch {
	case err == nil:
		out.Training = a.trainingOut(kept)
	case sallyport.KindOf(err) != sallyport.NotFound:
		return nil, err
	}
	sent, err := rooms.Store.Lures(c.Context(), drill.Filter{Who: by.Person})
	for _, x := range sent {
		if !x.Open(a.Rooms.Drills.Clock()) {
			out.Drills = append(out.Drills, *a.told(x))
		}
	}
	return out, err
}

// told is what a drill was, for whom it is over.
func (a *API) told(x drill.Sent) *api.MyDrill {
	return &api.MyDrill{ID: x.Drill, Kind: string(x.Of.Kind), Begun: x.Of.Begun, Ended: cmp.Or(string(x.Answer), "ignored"), Page: a.Rooms.Drills.Address(x), Learned: x.Learned}
}

func (a *API) volunteer(c *Call) (any, error) {
	var in api.Volunteering
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	by, err := c.byPerson("join drills")
	if err != nil {
		return nil, err
	}
	if in.Join {
		return in, a.Rooms.Drills.Join(c.Context(), by)
	}
	return in, a.Rooms.Drills.Leave(c.Context(), by)
}

// lureOf finds what the caller was sent.
func (a *API) lureOf(c *Call) (drill.By, drill.Sent, error) {
	by, _ := c.byPerson("open page") // to anybody else there is nothing
	x, err := a.Rooms.Drills.Find(c.Context(), by.Who, c.PathValue("id"))
	return by, x, err
}

func (a *API) lure(c *Call) (any, error) {
	_, x, err := a.lureOf(c)
	if err != nil {
		return nil, err
	}
	return a.lureOut(x), nil
}

func (a *API) lureOut(x drill.Sent) api.Lure {
	words := x.Of.Kind.Words()
	out := api.Lure{Title: words.Title, Lead: words.Lead, Facts: []api.LureFact{}, Yes: words.Yes, No: words.No}
	for _, f := range words.Facts {
		out.Facts = append(out.Facts, api.LureFact{Name: f.Name, Text: f.Text})
	}
	if !x.Open(a.Rooms.Drills.Clock()) {
		out.Told, out.Signs = a.told(x), x.Of.Kind.Signs()
	}
	return out
}

// answerLure keeps what the caller does on the page of a drill, and does nothing else.
func (a *API) answerLure(c *Call) (any, error) {
	var in api.LureAnswer
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	by, x, err := a.lureOf(c)
	if err != nil {
		return nil, err
	}
	switch in.Answer {
	case "yes":
		x, err = a.Rooms.Drills.Answer(c.Context(), by, x, drill.Fell, "")
	case "no":
		x, err = a.Rooms.Drills.Answer(c.Context(), by, x, drill.Denied, "")
	case "read":
		if x, err = a.Rooms.Drills.Read(c.Context(), x); err == nil {
			err = a.inForce(c)
		}
	default:
		err = sallyport.E("answer", sallyport.Invalid, "this is no answer", "reload the page and try again")
	}
	if err != nil {
		return nil, err
	}
	return a.lureOut(x), nil
}

// reportDrill is a report that names a notice or the link of a drill that the caller was sent: it locks nobody out. was is
// false for every other report, which acts as always.
func (a *API) reportDrill(c *Call, in api.Report) (out api.Reported, was bool, err error) {
	if in.What != phish && in.What != wasntMe || in.ID == "" {
		return out, false, nil
	}
	p, drills := c.Permit.Who(), a.Rooms.Drills
	x, was, err := drills.Named(c.Context(), p.ID, in.ID)
	if !was || err != nil {
		return out, false, err
	}
	out = api.Reported{What: in.What, Drill: x.Drill, Did: []string{"that was a drill: it is over for you, and nothing had to be held or ended"}}
	if x.Open(a.Rooms.Drills.Clock()) {
		by := drill.By{Who: p.ID, Person: p.Person, Decision: c.Permit.ID()}
		if x, err = drills.Answer(c.Context(), by, x, drill.Reported, in.About[:min(len(in.About), maxAbout)]); err != nil {
			return out, false, err
		}
		out.Did[0] = "that was a drill, and you have seen it: well done. Nothing had to be held or ended"
	}
	out.Did = append(out.Did, "by which signs it could be known: "+drills.Address(x))
	return out, true, nil
}
