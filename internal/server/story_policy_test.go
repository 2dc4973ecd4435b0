package server_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/store/sqldb"
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
	r.eventually("rita is told of the proposal", func() bool {
		return slices.ContainsFunc(r.notices("rita", "request.new"), func(n api.Notice) bool { return strings.Contains(n.Text, "new policies, nothing in particular") })
	})
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

// I-11: somebody with the database puts a set in force there: a node that runs goes on with the approved one and alarms, and
// one that starts does not start, until the rows are what they were.
func TestI11EditedDatabaseOverAServer(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.InForce(api.Proposal{Policies: guardRail(t, r), Why: "a rule to come from"})
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(r.config.Data, "sallyport.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	open := policy.Source{Schema: old.Schema, Policies: map[string]string{"open.cedar": `@id("open") @owner("eve") @requirement("X-1") permit (principal is User, action, resource);`}}
	engine, err := cedar.Compile(open)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := db.Policy().Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forged := e // with the seal, the approval and everything else of the one in force
	forged.Number, forged.Version, forged.Request, forged.At = e.Number+1, engine.Version(), "", time.Now().UTC()
	if err := db.Policy().Activate(t.Context(), change.Set{Version: engine.Version(), Source: open, By: "user:adam", Why: "approved, really", Activated: forged.At}, forged); err != nil {
		t.Fatal(err)
	}
	r.eventually("an alarm", func() bool {
		return slices.ContainsFunc(r.leaves(), func(l sallyport.Logged) bool {
			return l.Type == sallyport.EventAlarm && slices.Contains(l.Reasons, "policy.tampered") && l.On == engine.Version()
		})
	})
	r.As("nora").Pull(base)
	r.Want(denied)
	if code, body := get(t, trusting(t, r.server), r.server.External()+"/readyz"); code != 200 || !strings.Contains(body, fmt.Sprintf("policy epoch %d %s", e.Number, e.Version)) {
		t.Errorf("in force: %d %s", code, body)
	}
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.start(t.Context(), trail.Files{}); err == nil || !strings.Contains(err.Error(), "not one that was approved") {
		t.Errorf("it started with %v", err)
	}
	r.broken = true // the refused start is told in the log
}

// guardRail is the set in force with one more rule.
func guardRail(t *testing.T, r *story) map[string]string {
	t.Helper()
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := cloneMap(old.Policies)
	next["rail.cedar"] = `@id("rail") @owner("security") @requirement("AZ-6") @text("Nobody scales.")
forbid (principal, action == Action::"model.scale", resource);`
	return next
}
