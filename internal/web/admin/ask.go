package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/web/api"
)

// askRoutes are about just-in-time grants.
func askRoutes() []Route {
	return []Route{
		{"POST", "/requests", sallyport.GrantRequest, inQuery, (*API).ask},
		{"GET", "/requests", sallyport.ServerRead, system, (*API).requests},
		{"GET", "/requests/{id}", sallyport.ServerRead, system, (*API).request},
		{"POST", "/requests/{id}/withdraw", sallyport.ServerRead, system, (*API).withdraw},
		{"POST", "/requests/{id}/vote", sallyport.GrantApprove, inQuery, (*API).vote},
		{"GET", "/grants", sallyport.ServerRead, system, (*API).grants},
		{"POST", "/grants/{id}/revoke", sallyport.GrantRevoke, inQuery, (*API).revokeGrant},
	}
}

// ask asks for a grant on the resource that the call was permitted for.
func (a *API) ask(c *Call) (any, error) {
	var in api.Ask
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	action, err := sallyport.ParseAction(string(in.Action))
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(in.For)
	if err != nil {
		return nil, sallyport.E("request", sallyport.Invalid, "\"for\" must be a duration", "write for example 1h or 30m")
	}
	p, x := c.Permit.Who(), c.Permit.Resource()
	ref := x.Ref()
	if err := a.worthAsking(c, action, ref); err != nil {
		return nil, err
	}
	ask := grant.Ask{Principal: p.ID, Person: p.Person, Actions: []sallyport.Action{action}, Ref: ref, For: d, Why: in.Why, Digest: x.Digest, Purpose: p.Purpose}
	if ask.Scope, err = grant.ParseScope(in.Scope); err != nil {
		return nil, err
	}
	if ask.Task, err = a.task(in.Task); err != nil {
		return nil, err
	}
	if ask.Groups, err = whatif.Approvers(a.Facts.Snapshot(), a.asker(c), action, x); err != nil {
		return nil, err
	}
	ask.Note = a.noteAsked(c, ref.String())
	r, err := a.Rooms.Grants.Ask(c.Context(), ask)
	if err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}

// An unseen is the refusal of what the caller may not know of, found out behind the guard: who may ask for anything may
// not learn by asking what there is. It is answered in the guard's words for what does not exist.
type unseen struct {
	answer guard.Answer
	call   guard.Call
}

func (a *API) unseen(c *Call) error {
	target, err := inQuery(c.Request)
	if err != nil {
		return err
	}
	return &unseen{guard.Answer{ID: c.Permit.ID(), Hidden: true}, guard.Call{Action: c.Permit.Action(), Target: target}}
}

// Error is the sentence that the caller reads.
func (u *unseen) Error() string { return guard.Sentence(u.answer, u.call) }

// Unwrap gives it the kind of what is not there.
func (u *unseen) Unwrap() error {
	return sallyport.E("request", sallyport.NotFound, "there is no such thing that you may know of", "")
}

// worthAsking refuses what a grant would not change: it is allowed already, or no
// grant makes it so.
func (a *API) worthAsking(c *Call, action sallyport.Action, ref sallyport.Ref) error {
	who := a.asker(c)
	snap := a.Facts.Snapshot()
	d, x, err := whatif.Can(snap, who, action, ref)
	if err == nil {
		d, x, err = whatif.Told(snap, who, d, x)
	}
	if err != nil {
		return err
	}
	if d.Outcome == sallyport.Allow {
		return sallyport.E("request", sallyport.Conflict, "you may do that already", "")
	}
	if x.Kind == "" {
		return a.unseen(c)
	}
	for _, r := range slices.Concat(append([][]sallyport.Remedy{d.Remedies}, d.Otherwise...)...) {
		if r.Kind == sallyport.RemedyRequest {
			return nil
		}
	}
	text := "a grant would not permit it"
	if len(d.Remedies) > 0 {
		text += "; " + d.Remedies[0].Text
	}
	return sallyport.E("request", sallyport.Conflict, text, "")
}

// requests lists what waits for the caller's vote (inbox), or with mine=true what
// the caller asked for.
func (a *API) requests(c *Call) (any, error) {
	p := c.Permit.Who()
	f := approval.Filter{State: approval.Pending}
	mine := c.URL.Query().Get("mine") == "true"
	if mine {
		f.Person, f.State = p.Person, ""
	}
	all, err := a.Rooms.Approvals.List(c.Context(), f)
	if err != nil {
		return nil, err
	}
	out := []api.Request{}
	for _, r := range all {
		if _, ok := a.groundOf(c, r); !ok || !mine && !a.mayVote(c, r) {
			continue
		}
		x, err := a.requestOut(c, r)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// mayVote reports whether a request belongs in the caller's inbox.
func (a *API) mayVote(c *Call, r approval.Request) bool {
	if r.AskerPerson == c.Permit.Who().Person {
		return false
	}
	if r.Topic == signed.Topic {
		return a.mayVoteOnKeys(c, r)
	}
	g, ok := a.groundOf(c, r)
	if !ok {
		return false
	}
	d, _, err := whatif.Can(a.Facts.Snapshot(), a.asker(c), g.action, g.on)
	return err == nil && (d.Outcome == sallyport.Allow || d.Outcome == sallyport.StepUp)
}

// request returns one request to whoever asked it or may vote on it.
func (a *API) request(c *Call) (any, error) {
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if _, ok := a.groundOf(c, r); !ok || r.AskerPerson != c.Permit.Who().Person && !a.mayVote(c, r) {
		return nil, noRequest()
	}
	return a.requestOut(c, r)
}

func noRequest() error {
	return sallyport.E("read request", sallyport.NotFound, "there is no such request", "run 'sallyport inbox' to see the open ones")
}

func (a *API) withdraw(c *Call) (any, error) {
	r, err := a.Rooms.Approvals.Withdraw(c.Context(), c.PathValue("id"), c.Permit.Who().Person, a.noteWithdrawn(c))
	if err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}

// noteWithdrawn records that a request was taken back: as no vote, but where votes are told of.
func (a *API) noteWithdrawn(c *Call) approval.Note {
	return func(_ context.Context, r approval.Request) error {
		t, on := sallyport.EventGrantVoted, r.ID
		if r.Topic == change.Topic {
			t = sallyport.EventPolicyVoted
		}
		return a.note(c, t, on, r.Ended())
	}
}

// vote counts the caller's vote. The permit is for the resource named in the query, which
// must be the request's own.
func (a *API) vote(c *Call) (any, error) {
	r, err := a.castVote(c, func(r approval.Request) (casting, error) {
		return casting{more: begun, vote: func(ctx context.Context, b approval.Ballot) (approval.Request, error) {
			r, _, err := a.Rooms.Grants.Vote(ctx, b)
			return r, err
		}}, a.notItsMaker(c, r)
	})
	if err != nil {
		return nil, err
	}
	if err := a.Facts.Sync(c.Context()); err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}

// begun is what the record of a vote says of the grant that begins with it, nothing where none does.
func begun(r approval.Request) (map[string]string, error) {
	if r.State != approval.Approved {
		return nil, nil
	}
	g, err := grant.Of(r)
	return map[string]string{"grant": g.ID, "who": string(g.Principal), "until": g.Until.Format(time.RFC3339), "actions": sallyport.OneLine(fmt.Sprint(g.Actions))}, err
}

// grants lists the caller's own, or with all=true everybody's for those who may
// read the log.
func (a *API) grants(c *Call) (any, error) {
	who := c.Permit.Who().ID
	if c.URL.Query().Get("all") == "true" {
		d, _, err := whatif.Can(a.Facts.Snapshot(), a.asker(c), sallyport.AuditRead, sallyport.Ref{Kind: sallyport.SystemKind})
		if err != nil {
			return nil, err
		}
		if d.Outcome != sallyport.Allow {
			return nil, sallyport.E("grants", sallyport.NotFound, "you may list your own grants only", "leave out --all")
		}
		who = ""
	}
	all, err := a.Rooms.Grants.List(c.Context(), who)
	if err != nil {
		return nil, err
	}
	out := []api.Grant{}
	for _, g := range all {
		out = append(out, a.grantOut(g))
	}
	return out, nil
}

func (a *API) revokeGrant(c *Call) (any, error) {
	g, err := a.Rooms.Grants.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if x, ok := a.Facts.Snapshot().Resolve(g.Ref); !ok || x != c.Permit.Resource() {
		return nil, sallyport.E("revoke grant", sallyport.NotFound, "there is no such grant on this resource", "run 'sallyport grants'")
	}
	// Like a hold it is kept before it is recorded: a right ends also where the record fails.
	if g, err = a.Rooms.Grants.Revoke(c.Context(), g.ID, c.Permit.Who().ID); err != nil {
		return nil, err
	}
	if err := a.noteOrder(c, sallyport.EventGrantRevoked, g.Ref.String(), map[string]string{"grant": g.ID}); err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return a.grantOut(g), err
}

func (a *API) grantOut(g grant.Grant) api.Grant {
	out := api.Grant{ID: g.ID, Who: g.Principal, Actions: g.Actions, Resource: g.Ref.String(), From: g.From, Until: g.Until, Why: g.Why, Active: g.Active(a.Guard.Clock()), Task: g.Task.String(), Scope: g.ScopeText()}
	now := a.Guard.Clock()
	out.Ended = !g.RevokedAt.IsZero() || !now.Before(g.Until) || g.Lapsed(now)
	if len(g.ApprovedBy) > 0 {
		out.By = g.ApprovedBy[len(g.ApprovedBy)-1]
	}
	return out
}

// asked is the canonical text of a request for a grant.
type asked struct {
	Actions []sallyport.Action `json:"actions"`
	Ref     string             `json:"ref"`
	Seconds int64              `json:"seconds"`
	Why     string             `json:"why"`
	Digest  string             `json:"digest"`
	Purpose string             `json:"purpose"`
	Task    *grant.Task        `json:"task"`
	Scope   []string           `json:"scope"`
}

func (a *API) requestOut(c *Call, r approval.Request) (api.Request, error) {
	sign, err := a.Rooms.Approvals.MustSign(c.Context())
	if err != nil && sallyport.KindOf(err) == sallyport.Unavailable {
		return api.Request{}, err
	}
	out := api.Request{ID: r.ID, Who: r.Asker, Hash: r.Hash, Need: r.Need, State: string(r.State), Created: r.Created, Expires: r.Expires, Votes: []api.Vote{},
		Topic: r.Topic, Subject: r.Subject, Groups: r.Groups, Approvers: r.Approvers, Policy: r.Policy, Sign: sign, Page: a.External + "/approvals/" + r.ID}
	for _, v := range r.Votes {
		out.Votes = append(out.Votes, api.Vote{By: v.Voter, Yes: v.Yes, Reason: v.Reason, Hash: r.Hash, At: v.At, Groups: v.Groups, Signature: signatureOut(v.Signature)})
	}
	if g, ok := a.groundOf(c, r); ok {
		out.Resource, out.VotePath = g.on.String(), g.path
	}
	if isAuthor(c, r) {
		out.VotePath = "/policy/proposals/" + url.PathEscape(r.ID) + "/sign"
	}
	switch r.Topic {
	case signed.Topic:
		out, err = a.keyRequestOut(out, r)
		out.Sentence = a.sentence(r, out)
		return out, err
	case grant.Topic:
	default:
		out.Sentence = a.sentence(r, out)
		return out, nil // what it asks stands in the subject
	}
	var q asked
	if err := json.Unmarshal(r.Canonical, &q); err != nil || len(q.Actions) == 0 {
		return api.Request{}, sallyport.Wrap("read request", sallyport.Other, r.ID, err)
	}
	out.Action, out.Resource, out.For, out.Why = q.Actions[0], q.Ref, (time.Duration(q.Seconds) * time.Second).String(), q.Why
	out.Digest, out.Purpose, out.Task, out.Scope = q.Digest, q.Purpose, q.Task.String(), q.Scope
	out.Sentence = a.sentence(r, out)
	if r.State == approval.Approved {
		g, err := a.Rooms.Grants.Settle(c.Context(), r.ID)
		if sallyport.KindOf(err) == sallyport.Conflict {
			out.State = "void" // kept as approved, and its approval does not verify
			return out, nil
		}
		if err != nil {
			return out, err
		}
		x := a.grantOut(g)
		out.Grant = &x
	}
	return out, nil
}
