package admin

import (
	"encoding/json"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/explain"
	"sallyport/internal/authz/policy"
	"sallyport/internal/web/api"
)

// why gathers everything the log holds about a decision. Whoever may read the log sees the facts and the policies, clause
// by clause; whom it was about sees the outcome, the reasons and the ways out, and nothing that is for auditors. With
// "for" an auditor looks at what the other is told.
func (a *API) why(c *Call) (any, error) {
	to, err := a.audience(c)
	if err != nil {
		return nil, err
	}
	rows, err := a.find(c, history.Query{Decision: c.PathValue("id")})
	if err != nil {
		return nil, err
	}
	w := api.Why{ID: c.PathValue("id"), Policies: []api.PolicyText{}}
	for _, r := range rows {
		e, err := a.leaf(c, r.Seq)
		if err != nil {
			return nil, err
		}
		switch r.Type {
		case sallyport.EventDecided, sallyport.EventUnmapped:
			w.Decided = e
		case sallyport.EventCut:
			w.Cut = &e
		case sallyport.EventCompleted:
			w.Completed = &e
		}
	}
	l, err := sallyport.DecodeLogged(w.Decided.Leaf)
	if err != nil {
		return nil, noDecision()
	}
	if may, err := a.mayRead(c); err != nil || !may && l.Who != c.Permit.Who().ID {
		return nil, cmpNo(err)
	}
	if l.Type == sallyport.EventDecided {
		return a.explained(c, w, l, to)
	}
	return w, nil
}

// audience is for whom the caller asks: an auditor, unless they say otherwise, for themselves.
func (a *API) audience(c *Call) (explain.Audience, error) {
	may, err := a.mayRead(c)
	if err != nil {
		return "", err
	}
	switch to := explain.Audience(c.URL.Query().Get("for")); {
	case to == "" && may || to == explain.Auditor && may:
		return explain.Auditor, nil
	case to == "" || to == explain.Asker:
		return explain.Asker, nil
	case to == explain.Auditor:
		return "", sallyport.E("why", sallyport.NotFound, "there is nothing more that you may read", "ask somebody who may read the log")
	}
	return "", sallyport.E("why", sallyport.Invalid, "\"for\" is asker or auditor", "")
}

func cmpNo(err error) error {
	if err != nil {
		return err
	}
	return noDecision()
}

// explained adds what the decision was made from, and makes it again.
func (a *API) explained(c *Call, w api.Why, l sallyport.Logged, to explain.Audience) (api.Why, error) {
	engine, basis, err := a.recorded(c, &w, l)
	if err != nil {
		return w, err
	}
	bases, err := a.actedOn(c, &w, l)
	if err != nil {
		return w, err
	}
	bases[l.Facts] = basis
	f, err := decision.Recall(engine, l.Event, func(hash string) []byte { return bases[hash] })
	if err != nil {
		return w, err
	}
	f.Turns = a.Facts.Snapshot().Turns(f.Question)
	d := decision.Decide(engine, f)
	x := explain.Of(engine, f, d, to)
	w.Explained = &x
	if to != explain.Auditor {
		return told(w, l, engine, d)
	}
	w.Remedies, w.Otherwise = d.Remedies, d.Otherwise
	for _, id := range l.Reasons {
		if info, ok := engine.Info(id); ok {
			w.Policies = append(w.Policies, api.PolicyText{ID: id, Owner: info.Owner, Text: info.Annotations["text"], Code: info.Text})
		}
	}
	w.Replay = &api.Replay{Recorded: l.Outcome, Again: d.Outcome.String(), Reasons: d.ReasonIDs(), Same: same(l.Event, d)}
	return w, nil
}

// told is what whom a decision was about is told. It is written anew, so that nothing is in it that was not put there: of
// what they may not know of, the same as of what does not exist.
func told(w api.Why, l sallyport.Logged, engine policy.Engine, d sallyport.Decision) (api.Why, error) {
	out := api.Why{ID: w.ID, Policies: []api.PolicyText{}, Explained: w.Explained}
	if out.Explained.Refused == explain.Unknown {
		l.Event = sallyport.Event{Type: l.Type, At: l.At, Decision: l.Decision, Who: l.Who, Action: l.Action, Outcome: sallyport.Deny.String()}
		var err error
		out.Decided, err = leafOf(l)
		return out, err
	}
	l.Event = explain.Withhold(engine, l.Event)
	var err error
	if out.Decided, err = leafOf(l); err != nil {
		return out, err
	}
	if out.Completed = w.Completed; w.Cut != nil {
		if out.Cut, err = toldCut(*w.Cut, engine); err != nil {
			return out, err
		}
	}
	out.Remedies, out.Otherwise = d.Remedies, d.Otherwise
	for _, id := range l.Reasons {
		if info, ok := engine.Info(id); ok {
			out.Policies = append(out.Policies, api.PolicyText{ID: id, Owner: info.Owner, Text: info.Annotations["text"]})
		}
	}
	return out, nil
}

// toldCut is the record of a cut, without reasons that are for auditors.
func toldCut(e api.Entry, engine policy.Engine) (*api.Entry, error) {
	l, err := sallyport.DecodeLogged(e.Leaf)
	if err != nil {
		return nil, err
	}
	l.Event = explain.Withhold(engine, l.Event)
	e, err = leafOf(l)
	return &e, err
}

func leafOf(l sallyport.Logged) (api.Entry, error) {
	leaf, err := json.Marshal(l)
	return api.Entry{Seq: l.Seq, Leaf: leaf}, err
}
