package admin

import (
	"encoding/json"
	"fmt"
	"slices"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/web/api"
)

// policyRoutes are about the policy set in force, how another comes to be, and the keys.
func policyRoutes() []Route {
	return []Route{
		{"GET", "/policy", sallyport.PolicyRead, system, (*API).policy},
		{"GET", "/policy/versions", sallyport.PolicyRead, system, (*API).policyVersions},
		{"GET", "/policy/versions/{version}", sallyport.PolicyRead, system, (*API).policyVersion},
		{"GET", "/policy/status", sallyport.PolicyRead, system, (*API).policyStatus},
		{"POST", "/policy/proposals", sallyport.PolicyPropose, system, (*API).propose},
		{"GET", "/policy/proposals", sallyport.PolicyRead, system, (*API).proposals},
		{"GET", "/policy/proposals/{id}", sallyport.PolicyRead, system, (*API).proposal},
		{"POST", "/policy/proposals/{id}/vote", sallyport.PolicyApprove, system, (*API).votePolicy},
		{"POST", "/policy/proposals/{id}/sign", sallyport.ServerRead, system, (*API).signProposal},
		{"POST", "/policy/proposals/{id}/withdraw", sallyport.PolicyPropose, system, (*API).withdrawPolicy},
		{"POST", "/policy", sallyport.PolicyActivate, system, (*API).activateAlone},
		{"POST", "/policy/activate", sallyport.PolicyActivate, system, (*API).activate},
		{"POST", "/policy/rollback", sallyport.PolicyActivate, system, (*API).rollback},
		{"POST", "/keys/rotate", sallyport.SystemConfigure, system, (*API).rotateKeys},
	}
}

func setOut(s change.Set) api.PolicySet {
	return api.PolicySet{Version: s.Version, Schema: s.Source.Schema, Policies: s.Source.Policies, By: s.By, Why: s.Why, At: s.Activated}
}

func (a *API) policy(c *Call) (any, error) {
	s, _, err := a.Rooms.Policies.Store.Active(c.Context())
	return setOut(s), err
}

func (a *API) policyVersions(c *Call) (any, error) {
	all, err := a.Rooms.Policies.Store.List(c.Context())
	out := []api.PolicySet{}
	for _, s := range all {
		out = append(out, setOut(s))
	}
	return out, err
}

func (a *API) policyVersion(c *Call) (any, error) {
	s, err := a.Rooms.Policies.Kept(c.Context(), c.PathValue("version"))
	return setOut(s), err
}

func epochOut(e change.Epoch) api.Epoch {
	return api.Epoch{Number: e.Number, Version: e.Version, Before: e.Before, Kind: string(e.Kind), Request: e.Request, By: e.By, Why: e.Why, At: e.At}
}

// policyStatus tells which enforcement points have the newest epoch in force, and what is open.
func (a *API) policyStatus(c *Call) (any, error) {
	const recent = 20
	s, err := a.Rooms.Policies.Status(c.Context())
	if err != nil {
		return nil, err
	}
	out := api.PolicyStatus{Epoch: epochOut(s.Newest), Settled: s.Settled, Nodes: []api.PolicyNode{}, Epochs: []api.Epoch{}, Open: []api.Proposal{}}
	for i, x := range append(s.Acks, s.Silent...) {
		out.Nodes = append(out.Nodes, api.PolicyNode{Node: x.Node, Epoch: x.Epoch, Version: x.Version, At: x.At, Silent: i >= len(s.Acks)})
	}
	epochs, err := a.Rooms.Policies.Store.Epochs(c.Context(), recent)
	if err != nil {
		return nil, err
	}
	for _, e := range epochs {
		out.Epochs = append(out.Epochs, epochOut(e))
	}
	all, err := a.proposed(c)
	for _, p := range all {
		if p.State == string(approval.Pending) || p.State == string(approval.Approved) {
			out.Open = append(out.Open, p)
		}
	}
	return out, err
}

// proposed are the newest proposals with their votes, without their texts.
func (a *API) proposed(c *Call) ([]api.Proposal, error) {
	all, err := a.Rooms.Policies.Proposed(c.Context())
	if err != nil {
		return nil, err
	}
	out := []api.Proposal{}
	for _, p := range all {
		r, err := a.Rooms.Approvals.Get(c.Context(), p.Request)
		if err != nil {
			return nil, err
		}
		out = append(out, proposalOut(p, r))
	}
	return out, nil
}

func (a *API) proposals(c *Call) (any, error) {
	all, err := a.proposed(c)
	return all, err
}

func proposalOut(p change.Proposal, r approval.Request) api.Proposal {
	out := api.Proposal{Request: p.Request, Version: p.Version, Base: p.Base, Schema: p.Source.Schema, Policies: p.Source.Policies, By: p.By, Why: p.Why,
		Commit: p.Commit, Repository: p.Repository, At: p.At, Hash: r.Hash, Subject: r.Subject, Need: r.Need, Approvers: r.Approvers, State: string(r.State), Expires: r.Expires, Authored: p.Author != nil}
	var q struct{ Added, Removed, Changed []string }
	if json.Unmarshal(r.Canonical, &q) == nil { // what cannot be read is not shown, and is not activated either
		out.Added, out.Removed, out.Changed = q.Added, q.Removed, q.Changed
	}
	for _, v := range r.Votes {
		out.Votes = append(out.Votes, api.Vote{By: v.Voter, Yes: v.Yes, Reason: v.Reason, Hash: r.Hash, At: v.At})
	}
	return out
}

// propose asks others to approve a set, or one that was in force before.
func (a *API) propose(c *Call) (any, error) {
	var in api.Proposal
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	src := policy.Source{Schema: in.Schema, Policies: in.Policies}
	if in.Version != "" && len(in.Policies) == 0 {
		set, err := a.Rooms.Policies.Kept(c.Context(), in.Version)
		if err != nil {
			return nil, err
		}
		src = set.Source
	}
	p := c.Permit.Who()
	r, err := a.Rooms.Policies.Propose(c.Context(), a.Facts, change.Proposal{Source: src, By: p.ID, Why: in.Why, Commit: in.Commit, Repository: in.Repository}, p.Person)
	if err != nil {
		return nil, err
	}
	return a.proposalWhole(c, r.ID, false)
}

func (a *API) proposal(c *Call) (any, error) { return a.proposalWhole(c, c.PathValue("id"), true) }

// proposalWhole is a proposal with what it would change for the people of today.
func (a *API) proposalWhole(c *Call, id string, rows bool) (api.Proposal, error) {
	p, r, err := a.Rooms.Policies.Proposal(c.Context(), id)
	if err != nil {
		return api.Proposal{}, err
	}
	out := proposalOut(p, r)
	if out.Sign, err = a.Rooms.Approvals.MustSign(c.Context()); err != nil && sallyport.KindOf(err) == sallyport.Unavailable {
		return out, err
	}
	if !rows {
		return out, nil
	}
	snap := a.Facts.Snapshot()
	var changes []whatif.Change
	if err := a.Rooms.Policies.Examine(p.Source, func(next policy.Engine) (err error) {
		changes, out.More, err = whatif.Changes(c.Context(), snap, snap.Under(next), a.Guard.Clock())
		return err
	}); err != nil {
		return out, err
	}
	for _, x := range changes {
		out.Rows = append(out.Rows, api.MatrixChange{Who: x.Who, Resource: x.Resource, Action: x.Action, From: string(x.From), To: string(x.To), Wider: x.Wider})
	}
	return out, nil
}

// votePolicy counts the caller's vote on a proposal.
func (a *API) votePolicy(c *Call) (any, error) {
	r, err := a.castVote(c, func(approval.Request) (casting, error) {
		return casting{vote: a.Rooms.Policies.Vote}, nil // which records it by itself, as what it is
	})
	if err != nil {
		return nil, err
	}
	return a.proposalWhole(c, r.ID, false)
}

// isAuthor reports whether the caller answers for a proposed set, and could still sign it.
func isAuthor(c *Call, r approval.Request) bool {
	return r.Topic == change.Topic && r.AskerPerson == c.Permit.Who().Person && (r.State == approval.Pending || r.State == approval.Approved)
}

// signProposal keeps the signature of whoever answers for a proposed set.
func (a *API) signProposal(c *Call) (any, error) {
	var in api.Vote
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if !isAuthor(c, r) {
		return nil, noRequest()
	}
	if in.Signature == nil || !in.Yes || in.Reason != "" || len(in.Groups) > 0 {
		return nil, a.unsigned(sallyport.E("sign proposal", sallyport.Conflict, "nobody has signed it", "").Because(signed.ReasonUnsigned), r.ID)
	}
	p := c.Permit.Who()
	b := approval.Ballot{Request: r.ID, Voter: p.ID, Person: p.Person, Yes: true, Hash: in.Hash, At: in.At}
	if b.Signature, err = signatureIn(*in.Signature); err != nil {
		return nil, err
	}
	if r, err = a.Rooms.Policies.Sign(c.Context(), b); err != nil {
		return nil, err
	}
	return a.proposalWhole(c, r.ID, false)
}

func (a *API) withdrawPolicy(c *Call) (any, error) {
	if _, _, err := a.Rooms.Policies.Proposal(c.Context(), c.PathValue("id")); err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Withdraw(c.Context(), c.PathValue("id"), c.Permit.Who().Person, a.noteWithdrawn(c))
	if err != nil {
		return nil, err
	}
	return a.proposalWhole(c, r.ID, false)
}

// activateAlone puts a set in force without approvals, while nobody could give one.
func (a *API) activateAlone(c *Call) (any, error) {
	var in api.PolicySet
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	e, err := a.Rooms.Policies.ActivateAlone(c.Context(), a.Facts, policy.Source{Schema: in.Schema, Policies: in.Policies}, c.Permit.Who().ID, in.Why)
	return a.nowInForce(c, e, err)
}

// activate puts an approved proposal in force and ends what it no longer permits.
func (a *API) activate(c *Call) (any, error) {
	var in api.Activation
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Request == "" || in.Version != "" || in.Why != "" {
		return nil, sallyport.E("activate policy", sallyport.Invalid, "name the request of an approved proposal, and nothing else", "run 'sallyport policy status' to see them")
	}
	e, err := a.Rooms.Policies.Activate(c.Context(), a.Facts, in.Request, c.Permit.Who().ID)
	return a.nowInForce(c, e, err)
}

func (a *API) rollback(c *Call) (any, error) {
	var in api.Activation
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	e, err := a.Rooms.Policies.Rollback(c.Context(), a.Facts, in.Version, c.Permit.Who().ID, in.Why)
	return a.nowInForce(c, e, err)
}

// nowInForce ends what the new set does not permit.
func (a *API) nowInForce(c *Call, e change.Epoch, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	_, err = a.enforce(c)
	return epochOut(e), err
}

func (a *API) rotateKeys(c *Call) (any, error) {
	id, n, err := a.Rooms.Keys.Rotate(c.Permit)
	if err != nil {
		return nil, err
	}
	return api.Rotation{Key: id, Rewrapped: n}, a.note(c, sallyport.EventChanged, "keys", map[string]string{"what": "key-encryption key rotated", "key": id})
}

// reviewPolicy adds what a proposed set would change for the people of today.
func (a *API) reviewPolicy(c *Call, r approval.Request, out *api.Review) error {
	p, err := a.proposalWhole(c, r.ID, true)
	if err != nil {
		return err
	}
	for what, ids := range map[string][]string{"new": p.Added, "gone": p.Removed, "changed": p.Changed} {
		for _, id := range ids {
			out.Changes = append(out.Changes, fmt.Sprintf("policy %s: %s", id, what))
		}
	}
	slices.Sort(out.Changes)
	for _, x := range p.Rows {
		text := fmt.Sprintf("%s, %s on %s: %s → %s", x.Who, x.Action, x.Resource, x.From, x.To)
		if out.Changes = append(out.Changes, text); x.Wider {
			out.Gains = append(out.Gains, text)
		}
	}
	out.Author = out.Sign && isAuthor(c, r) && !p.Authored
	if p.More > 0 {
		out.Changes = append(out.Changes, fmt.Sprintf("and %d more cells of the matrix", p.More))
	}
	return nil
}
