package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// AZ-16: each topic has its own route for votes. A vote on one topic that is sent to another topic's route, under whatever
// resource, counts nothing, and the same vote where it belongs counts.
func TestVotesGoToTheirOwnTopicsRoute(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	r.approvers("rita", "ravi")
	adam, rita := r.As("adam").who.client, r.As("rita").who.client
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	asked := map[string]api.Request{"/requests/": r.As("ana").Request(sallyport.ModelPull, fraud, "5m")}
	take := func(route, id string) {
		t.Helper()
		x, err := rita.Request(ctx, id)
		must(route, err)
		asked[route] = x
	}
	lowered, err := r.As("ravi").who.client.Label(ctx, api.Thing{Resource: fraud, Class: sallyport.Internal, Why: "it is not"})
	must("label", err)
	take("/catalog/lowerings/", lowered.Request)
	old, err := adam.Policy(ctx)
	must("policy", err)
	proposed, err := adam.Propose(ctx, api.Proposal{Schema: old.Schema, Policies: guardRail(t, r), Why: "nobody scales"})
	must("propose", err)
	take("/policy/proposals/", proposed.Request)
	sealing, err := adam.DefineBreakGlass(ctx, api.BreakGlass{Name: "language", Openers: []string{"user:ana"}, Role: "evaluator", Scope: keel, For: "30m", Why: "the team is away"})
	must("break-glass", err)
	take("/breakglass/requests/", sealing.Request)
	h := r.As("adam").Lock("user:eva")
	lifting, err := r.As("ravi").who.client.Unlock(ctx, h.ID, api.Lock{Target: h.Target, Why: "it was her"})
	must("unlock", err)
	take("/holds/requests/", lifting.Request.ID)
	_, err = adam.DefineRole(ctx, api.Role{Name: "scribe", Inherits: []string{"evaluator"}})
	must("role", err)
	_, err = adam.Declare(ctx, api.Declaration{Source: fileHash, Roles: []api.Role{{Name: "scribe", Inherits: []string{"evaluator"}}}})
	must("declare", err)
	r.sql("UPDATE role SET inherits = 'developer' WHERE name = 'scribe'")
	r.drifts("role scribe")
	fixed, err := adam.FixDrift(ctx, api.DriftFix{Way: "accept", Items: []string{"role scribe"}, Why: "it is right"})
	must("drift", err)
	take("/drift/requests/", fixed.Request.ID)
	ana := r.As("ana").who
	browser, err := ana.passkey(ctx, true)
	must("passkey", err)
	must("sign in", ana.loginBy(ctx, browser))
	keys, err := ana.client.Approvers(ctx)
	must("keys", err)
	enrolled, err := ana.client.EnrolApprover(ctx, api.Enrol{Passkey: keys.Own[len(keys.Own)-1].Passkey})
	must("enrol", err)
	take("/approvers/requests/", enrolled.ID)

	vote := func(route string, x api.Request, on string) *story {
		query := ""
		if on != "" {
			query = "?resource=" + url.QueryEscape(on)
		}
		return r.As("rita").Send(request{door: client.API, method: http.MethodPost, path: api.Version + route + x.ID + "/vote" + query,
			body: fmt.Sprintf(`{"yes":false,"hash":%q}`, x.Hash)}) // a no takes no signature
	}
	for topic, x := range asked {
		for route, other := range asked {
			for _, on := range []string{"", x.Resource, other.Resource} {
				if route == topic {
					continue
				}
				if vote(route, x, on); r.last.status != http.StatusNotFound && r.last.status != http.StatusForbidden && r.last.status != http.StatusBadRequest {
					t.Errorf("%s at %s on %q: %d %s", topic, route, on, r.last.status, r.last.body)
				}
			}
		}
		if now, err := rita.Request(ctx, x.ID); err != nil || now.State != "pending" || len(now.Votes) != 0 {
			t.Errorf("%s is %+v, %v", topic, now, err)
		}
	}
	for topic, x := range asked {
		on := ""
		if u, err := url.Parse(x.VotePath); err == nil {
			on = u.Query().Get("resource")
		}
		if vote(topic, x, on).WantStatus(http.StatusOK); r.last.status == http.StatusOK {
			if now, err := rita.Request(ctx, x.ID); err == nil && now.State != "denied" {
				t.Errorf("a vote where it belongs: %s is %s", topic, now.State)
			}
		}
	}
}
