package server_test

import (
	"testing"

	"sallyport/internal/web/api"
)

// InForce brings a policy set into force the way it is done: adam proposes, rita approves, adam activates.
func (r *story) InForce(p api.Proposal) api.Epoch {
	r.t.Helper()
	asked, err := r.As("adam").who.client.Propose(r.t.Context(), p)
	if err != nil {
		r.t.Fatalf("propose: %v", err)
	}
	if _, err := r.As("rita").who.client.VotePolicy(r.t.Context(), asked.Request, api.Vote{Yes: true, Reason: "read it", Hash: asked.Hash}); err != nil {
		r.t.Fatalf("approve: %v", err)
	}
	e, err := r.As("adam").who.client.Activate(r.t.Context(), asked.Request)
	if err != nil {
		r.t.Fatalf("activate: %v", err)
	}
	return e
}

// GV-3: nobody changes the rules alone, by no way that the API has.
func TestGV3NobodyChangesTheRulesAlone(t *testing.T) {
	r := tell(t)
	adam, rita := r.As("adam").who.client, r.As("rita").who.client
	old, err := adam.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := api.Proposal{Schema: old.Schema, Policies: cloneMap(old.Policies), Why: "nothing in particular"}
	next.Policies["more.cedar"] = `@id("more") @owner("security") @requirement("AZ-6") @text("Nobody exports.")
forbid (principal, action == Action::"model.export", resource);`

	_, err = adam.ActivateAlone(t.Context(), api.PolicySet{Schema: next.Schema, Policies: next.Policies, Why: "now"})
	r.heard("activate alone", err)
	r.WantStatus(409)
	asked, err := adam.Propose(t.Context(), next)
	if err != nil || len(asked.Added) != 1 || asked.Added[0] != "more" || asked.State != "pending" {
		t.Fatalf("proposed %+v, error %v", asked, err)
	}
	_, err = adam.Activate(t.Context(), asked.Request)
	r.heard("activate unapproved", err)
	r.WantStatus(409)
	_, err = adam.VotePolicy(t.Context(), asked.Request, api.Vote{Yes: true, Hash: asked.Hash})
	r.heard("approve one's own", err)
	r.Want(denied, "administrators.never-approve")
	_, err = rita.VotePolicy(t.Context(), asked.Request, api.Vote{Yes: true, Hash: asked.Hash[1:] + "0"})
	r.heard("approve something else", err)
	r.WantStatus(409)
	if _, err = rita.VotePolicy(t.Context(), asked.Request, api.Vote{Yes: true, Hash: asked.Hash}); err != nil {
		t.Fatal(err)
	}
	_, err = rita.Activate(t.Context(), asked.Request)
	r.heard("activate what one approved", err)
	r.Want(denied, "default.deny")
	e, err := adam.Activate(t.Context(), asked.Request)
	if err != nil || e.Version != asked.Version || e.Before != old.Version || e.Request != asked.Request {
		t.Fatalf("epoch %+v, error %v", e, err)
	}
	_, err = adam.Activate(t.Context(), asked.Request)
	r.heard("activate twice", err)
	r.WantStatus(409)
	s, err := adam.PolicyStatus(t.Context())
	if err != nil || !s.Settled || s.Epoch.Number != e.Number || len(s.Nodes) != 1 || s.Nodes[0].Version != e.Version {
		t.Errorf("status %+v, error %v", s, err)
	}

	back, err := adam.Rollback(t.Context(), api.Activation{Why: "exports are missed"})
	if err != nil || back.Version != old.Version || back.Number != e.Number+1 {
		t.Fatalf("rolled back to %+v, error %v", back, err)
	}
	_, err = adam.Rollback(t.Context(), api.Activation{Why: "and forth"})
	r.heard("roll the rollback back", err)
	r.WantStatus(409)
	again := r.InForce(api.Proposal{Version: e.Version, Why: "after all"})
	if again.Version != e.Version || again.Number != back.Number+1 {
		t.Errorf("an old set approved anew: %+v", again)
	}
	r.InForce(api.Proposal{Version: old.Version, Why: "as it was"})
}
