package admin

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/web/api"
)

// logRoutes are about what happened. Whoever may not read the log may still ask
// why they themselves were refused.
func logRoutes() []Route {
	return []Route{
		{"GET", "/log/head", sallyport.ServerRead, system, (*API).head},
		{"GET", "/log/entries", sallyport.AuditRead, system, (*API).entries},
		{"GET", "/log/search", sallyport.AuditRead, system, (*API).search},
		{"GET", "/log/receipt/{seq}", sallyport.AuditRead, system, (*API).receipt},
		{"POST", "/log/reindex", sallyport.SystemConfigure, system, (*API).reindex},
		{"GET", "/decisions/{id}", sallyport.ServerRead, system, (*API).why},
	}
}

// maxEntries is how many leaves one answer holds.
const maxEntries = 500

func (a *API) head(c *Call) (any, error) { return a.Rooms.Log.Head(c.Context()) }

func (a *API) entries(c *Call) (any, error) {
	from, err := c.number("from", 0, 1<<62)
	if err != nil {
		return nil, err
	}
	most, err := c.number("max", maxEntries, maxEntries)
	if err != nil {
		return nil, err
	}
	entries, err := a.Rooms.Log.Read(c.Context(), from, int(most))
	if entries == nil {
		entries = []api.Entry{}
	}
	return entries, err
}

// patience is how long a search waits for the index to catch up with what the
// caller has just done.
const patience = 3 * time.Second

func (a *API) search(c *Call) (any, error) {
	q, err := queryOf(c)
	if err != nil {
		return nil, err
	}
	if err := a.looked(c, q.Who); err != nil {
		return nil, err
	}
	rows, err := a.find(c, q)
	if err != nil {
		return nil, err
	}
	found := []api.Found{}
	for _, r := range rows {
		found = append(found, api.Found{Seq: r.Seq, At: r.At, Type: r.Type, Who: r.Who, Action: r.Action, On: r.On, Outcome: r.Outcome, Decision: r.Decision, Reason: r.Reason})
	}
	return found, nil
}

func queryOf(c *Call) (history.Query, error) {
	v := c.URL.Query()
	q := history.Query{Who: sallyport.PrincipalID(v.Get("who")), Action: sallyport.Action(v.Get("action")), On: v.Get("on"),
		Outcome: v.Get("outcome"), Decision: v.Get("decision")}
	if t := v.Get("type"); t != "" {
		for _, name := range strings.Split(t, ",") {
			q.Types = append(q.Types, sallyport.EventType(name))
		}
	}
	var err error
	if q.Before, err = c.number("before", 0, 1<<62); err != nil {
		return q, err
	}
	most, err := c.number("max", history.DefaultRows, history.MaxRows)
	if err != nil {
		return q, err
	}
	q.Most = int(most)
	for name, at := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			if *at, err = time.Parse(time.RFC3339, s); err != nil {
				return q, sallyport.E("search", sallyport.Invalid, "the parameter \""+name+"\" must be a time", "write it like 2026-01-31T08:00:00Z")
			}
		}
	}
	return q, nil
}

func (a *API) find(c *Call, q history.Query) ([]history.Row, error) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if err := a.Rooms.History.Await(ctx, a.Rooms.Log.Size()); err != nil {
		return nil, err
	}
	return a.Rooms.History.Find(c.Context(), q)
}

// reindex forgets the search index and has it made again from the log.
func (a *API) reindex(c *Call) (any, error) {
	if err := a.Rooms.History.Rebuild(c.Context()); err != nil {
		return nil, err
	}
	return api.Head{Size: a.Rooms.Log.Size()}, a.note(c, sallyport.EventChanged, "search index", map[string]string{"what": "made again from the log"})
}

func (a *API) receipt(c *Call) (any, error) {
	seq, err := sallyportNumber(c.PathValue("seq"))
	if err != nil {
		return nil, err
	}
	proof, err := a.Rooms.Log.Receipt(c.Context(), seq)
	return map[string]string{"receipt": string(proof), "base64": base64.StdEncoding.EncodeToString(proof)}, err
}

func noDecision() error {
	return sallyport.E("why", sallyport.NotFound, "there is no such decision that you may read", "the id stands in the message you got, D-…")
}

func (a *API) mayRead(c *Call) (bool, error) {
	d, err := a.ownDecision(c, sallyport.AuditRead)
	return d.Outcome == sallyport.Allow, err
}

func (a *API) leaf(c *Call, seq uint64) (api.Entry, error) {
	entries, err := a.Rooms.Log.Read(c.Context(), seq, 1)
	if err == nil && len(entries) != 1 {
		err = sallyport.E("read log", sallyport.Unavailable, "the log does not hold the entry that the index names", "rebuild the index: sallyport log reindex")
	}
	if err != nil {
		return api.Entry{}, err
	}
	return entries[0], nil
}

// same compares a decision made again with the recorded one: outcome, reasons,
// failed policies and obligations, never texts.
func same(e sallyport.Event, d sallyport.Decision) bool {
	again := sallyport.Event{Outcome: d.Outcome.String(), Reasons: d.ReasonIDs(), Errors: d.Errors}
	for _, o := range d.Obligations {
		again.Obligations = append(again.Obligations, o.String())
	}
	equal := func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
	return again.Outcome == e.Outcome && equal(again.Reasons, e.Reasons) && equal(again.Errors, e.Errors) && equal(again.Obligations, e.Obligations)
}

// recorded finds the facts and compiles the policy set of a decision, both from
// the log alone.
func (a *API) recorded(c *Call, w *api.Why, l sallyport.Logged) (policy.Engine, []byte, error) {
	e, text, err := a.factsOf(c, l.Facts)
	if err != nil {
		return nil, nil, err
	}
	w.Facts = &e
	b, err := decision.Unmarshal(text)
	if err != nil {
		return nil, nil, err
	}
	engine, err := a.engineOf(c, b.Policy)
	return engine, text, err
}

// actedOn finds the facts about those who acted on behalf of the principal, by hash.
func (a *API) actedOn(c *Call, w *api.Why, l sallyport.Logged) (map[string][]byte, error) {
	bases := map[string][]byte{}
	for _, hash := range decision.ActedOn(l.Event) {
		e, text, err := a.factsOf(c, hash)
		if err != nil {
			return nil, err
		}
		w.Acting, bases[hash] = append(w.Acting, e), text
	}
	return bases, nil
}

// factsOf finds the recorded facts of a content hash.
func (a *API) factsOf(c *Call, hash string) (api.Entry, []byte, error) {
	rows, err := a.find(c, history.Query{Facts: hash, Types: []sallyport.EventType{sallyport.EventFacts}, Most: 1})
	if err != nil || len(rows) == 0 {
		return api.Entry{}, nil, cmpErr(err, "the facts of the decision are not in the log")
	}
	e, err := a.leaf(c, rows[0].Seq)
	if err != nil {
		return e, nil, err
	}
	f, err := sallyport.DecodeLogged(e.Leaf)
	return e, f.Basis, err
}

// engineOf compiles a policy set from its events. The set in force is at hand.
func (a *API) engineOf(c *Call, version string) (policy.Engine, error) {
	if e := a.Facts.Snapshot().Engine(); e.Version() == version {
		return e, nil
	}
	rows, err := a.find(c, history.Query{Types: []sallyport.EventType{sallyport.EventPolicy}, On: version, Most: history.MaxRows})
	if err != nil {
		return nil, err
	}
	var events []sallyport.Event
	for i := len(rows) - 1; i >= 0; i-- {
		e, err := a.leaf(c, rows[i].Seq)
		if err != nil {
			return nil, err
		}
		l, err := sallyport.DecodeLogged(e.Leaf)
		if err != nil {
			return nil, err
		}
		events = append(events, l.Event)
	}
	sources, err := policy.Join(events)
	if err != nil {
		return nil, err
	}
	src, ok := sources[version]
	if !ok {
		return nil, cmpErr(nil, "the policy set of the decision is not in the log")
	}
	var engine policy.Engine
	err = a.Rooms.Policies.Examine(src, func(e policy.Engine) error { engine = e; return nil })
	return engine, err
}

func cmpErr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return sallyport.E("why", sallyport.Unavailable, otherwise, "verify the log: sallyport log verify")
}
