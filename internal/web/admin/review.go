package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/explain"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/web/api"
)

// Limits of what a review shows.
const (
	mostSimilar = 8
	lookedAt    = 200 // requests that are searched for similar ones
)

// review is the one screen before a vote: what is asked in a sentence, what it would change, who asks, and what was asked
// like it before.
func (a *API) review(c *Call) (any, error) {
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	person := c.Permit.Who().Person
	mayVote := a.mayVote(c, r)
	if _, ok := a.groundOf(c, r); !ok || r.AskerPerson != person && !mayVote {
		return nil, noRequest()
	}
	out := api.Review{MayVote: mayVote && r.State == approval.Pending, Gains: []string{}, Changes: []string{}, History: []string{}, Similar: []api.Similar{}}
	if out.Request, err = a.requestOut(c, r); err != nil {
		return nil, err
	}
	out.Sign, out.Sentence = out.Request.Sign, out.Request.Sentence
	switch {
	case r.AskerPerson == person:
		out.Why = "You asked for it; somebody else decides."
	case r.State != approval.Pending:
		out.Why = "It is " + out.Request.State + "."
	case slices.ContainsFunc(r.Votes, func(v approval.Vote) bool { return v.Person == person }):
		out.MayVote, out.Why = false, "You have voted."
	case out.Sign:
		keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
		if err != nil {
			out.MayVote, out.Why = false, "The approvers' keys cannot be trusted now: "+sallyport.PublicText(err)
		} else if len(keys.Of(person, a.Guard.Clock())) == 0 {
			out.MayVote, out.Why = false, "A yes is signed with an approver's key, and you have none."
		}
	}
	if err := a.reviewAsker(c, r, &out); err != nil {
		return nil, err
	}
	if err := a.reviewBefore(c, r, &out); err != nil {
		return nil, err
	}
	switch r.Topic {
	case grant.Topic:
	case change.Topic:
		return out, a.reviewPolicy(c, r, &out)
	case topicDrift:
		return out, a.reviewDrift(c, r, &out)
	default:
		return out, nil
	}
	return out, a.reviewRights(r, &out)
}

// reviewAsker adds what is known of whoever asks.
func (a *API) reviewAsker(c *Call, r approval.Request, out *api.Review) error {
	snap, now := a.Facts.Snapshot(), a.Guard.Clock()
	m, known := snap.Member(r.Asker)
	if !known {
		out.History = append(out.History, "The asker is not known any more.")
	} else {
		out.History = append(out.History, fmt.Sprintf("Known since %s, %s, in %s.", m.Created.Format("2 January 2006"), m.State, cmp.Or(strings.Join(m.Groups, ", "), "no group")))
	}
	if m.Guest {
		out.History = append(out.History, "A guest; "+a.called(m.Sponsor)+" vouches.")
	}
	if m.Person != "" && m.Person != r.AskerPerson {
		out.History = append(out.History, "Somebody else answers for the asker now than when it was asked: "+a.called(m.Person)+".")
	}
	sessions, err := a.Rooms.Sessions.List(c.Context(), r.Asker)
	if err != nil {
		return err
	}
	live := 0
	for _, s := range sessions {
		if s.Live(now) {
			live++
			out.Risk = max(out.Risk, s.Risk)
		}
	}
	if live == 0 && r.Asker.Kind() == sallyport.User {
		out.History = append(out.History, "Not signed in at present, so the risk says nothing.")
	}
	return nil
}

// reviewBefore adds what the asker asked for before, and what was asked like it by anybody.
func (a *API) reviewBefore(c *Call, r approval.Request, out *api.Review) error {
	all, err := a.Rooms.Approvals.List(c.Context(), approval.Filter{Topic: r.Topic, Newest: lookedAt})
	if err != nil {
		return err
	}
	counts := map[approval.State]int{}
	var like []approval.Request
	for _, o := range all {
		if o.ID == r.ID || o.AskerPerson != r.AskerPerson && !similar(o, r) {
			continue
		}
		if o.AskerPerson == r.AskerPerson {
			counts[o.State]++
		}
		if similar(o, r) {
			like = append(like, o)
		}
	}
	out.History = append(out.History, fmt.Sprintf("Asked before: %d approved, %d denied, %d expired, %d still open.", counts[approval.Approved]+counts[approval.Used], counts[approval.Denied], counts[approval.Expired], counts[approval.Pending]))
	for _, o := range like[:min(len(like), mostSimilar)] {
		x, err := a.requestOut(c, o)
		if err != nil {
			return err
		}
		out.Similar = append(out.Similar, api.Similar{ID: o.ID, Who: o.Asker, For: x.For, Why: x.Why, State: x.State, At: o.Created, Mine: o.AskerPerson == r.AskerPerson})
	}
	return nil
}

// similar reports whether two requests ask for the same on the same thing, whatever its version.
func similar(a, b approval.Request) bool {
	var x, y asked
	if a.Topic != b.Topic || json.Unmarshal(a.Canonical, &x) != nil || json.Unmarshal(b.Canonical, &y) != nil {
		return false
	}
	left, _, _ := strings.Cut(x.Ref, "@")
	right, _, _ := strings.Cut(y.Ref, "@")
	return left == right && left != "" && slices.Equal(x.Actions, y.Actions)
}

// reviewRights adds what a yes would change of what the asker may do.
func (a *API) reviewRights(r approval.Request, out *api.Review) error {
	var q asked
	if err := json.Unmarshal(r.Canonical, &q); err != nil {
		return err
	}
	ref, err := sallyport.ParseRef(q.Ref)
	if err != nil {
		return err
	}
	snap, now := a.Facts.Snapshot(), a.Guard.Clock()
	x, known := snap.Resolve(ref)
	m, active := snap.Member(r.Asker)
	if !known || !active {
		out.Changes = append(out.Changes, "nothing: the asker or the resource is gone")
		return nil
	}
	who := whatif.Asker{At: now, Principal: sallyport.Principal{ID: m.ID, Person: m.Person, Scope: whatif.Everything(), Assurance: sallyport.Hardware, AuthTime: now, Purpose: q.Purpose}}
	changes, err := whatif.WithGrant(snap, who, q.Actions, x)
	if err != nil {
		return err
	}
	for _, d := range changes {
		if d.After == whatif.Allowed {
			out.Gains = append(out.Gains, string(d.Action))
		}
		out.Changes = append(out.Changes, fmt.Sprintf("%s (%s): %s → %s", explain.Doing(d.Action, q.Ref), d.Action, cellWords(d.Before), cellWords(d.After)))
	}
	return nil
}

// standingRights counts the rights that have no end: role assignments without one, by who has them. What belongs to an
// account with an end, of a service, an agent or a guest, ends with it.
func (a *API) standingRights(c *Call) (any, error) {
	snap := a.Facts.Snapshot()
	state, err := a.Rooms.Roles.List(c.Context())
	if err != nil {
		return nil, err
	}
	now := a.Guard.Clock()
	by := map[string]*api.Standing{}
	of := func(id sallyport.PrincipalID, person sallyport.PrincipalID) *api.Standing {
		if by[string(id)] == nil {
			by[string(id)] = &api.Standing{Who: id, Person: person, Rights: []string{}}
		}
		return by[string(id)]
	}
	for m := range snap.Members {
		if snap.Live(sallyport.Principal{ID: m.ID}, now) != nil {
			continue
		}
		for _, as := range state.Assignments {
			if !as.Active(now) || as.Subject != string(m.ID) && !snap.Within(m.ID, strings.TrimPrefix(as.Subject, "group:")) {
				continue
			}
			s := of(m.ID, m.Person)
			if !as.Until.IsZero() || !m.Ends.IsZero() {
				s.Ending++
				continue
			}
			s.Standing++
			via := ""
			if as.Subject != string(m.ID) {
				via = " by " + as.Subject
			}
			s.Rights = append(s.Rights, as.Role+" on "+as.Scope.String()+via)
		}
	}
	grants, err := a.Rooms.Grants.Active(c.Context(), now)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		of(g.Principal, g.Person).Ending++ // a grant always ends
	}
	out := []api.Standing{}
	for _, s := range by {
		slices.Sort(s.Rights)
		out = append(out, *s)
	}
	slices.SortFunc(out, func(x, y api.Standing) int {
		return cmp.Or(cmp.Compare(y.Standing, x.Standing), cmp.Compare(x.Who, y.Who))
	})
	return out, nil
}

// renew keeps one of the caller's grants that are bound to a lease alive.
func (a *API) renew(c *Call) (any, error) {
	before, err := a.Rooms.Grants.Get(c.Context(), c.PathValue("id"))
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return nil, err
	}
	g, err := a.Rooms.Grants.Renew(c.Context(), c.PathValue("id"), c.Permit.Who().ID)
	if err != nil {
		return nil, err
	}
	if before.Seen.IsZero() {
		if err := a.Facts.Sync(c.Context()); err != nil {
			return nil, err
		}
	}
	return a.grantOut(g), nil
}
