package server_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// Job makes a service with a role and a rule by which a pipeline proves that it is it, and returns what gets it a token for a
// door: no secret is kept anywhere.
func (r *story) Job(m api.Member, role, scope string) func(client.Door, string) string {
	r.t.Helper()
	ctx, adam := r.t.Context(), r.As("adam").who.client
	key, document := issuerKey(r.t)
	signer := jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader}
	m.Org, m.Ends = "acme", r.clock.Now().Add(24*time.Hour)
	if _, err := adam.AddPerson(ctx, m); err != nil {
		r.t.Fatal(err)
	}
	if _, err := adam.Assign(ctx, api.Assignment{Subject: string(m.ID), Role: role, Scope: scope}); err != nil {
		r.t.Fatal(err)
	}
	return func(door client.Door, scope string) string {
		r.t.Helper()
		now, audience := r.clock.Now(), r.server.External()
		rule := api.TrustRule{Name: m.ID.Name() + "-" + strings.ReplaceAll(string(door), "/", "-"), Kind: "github", Issuer: "https://token.actions.githubusercontent.com",
			Audience: audience, Keys: document, Match: map[string]string{"repository_id": "42", "repository_owner_id": "7", "environment": "prod"},
			Principal: m.ID, Scope: scope, Life: "10m", Clients: []string{"sallyport-cli"}}
		if _, err := adam.AddTrustRule(ctx, rule); err != nil {
			r.t.Fatal(err)
		}
		proof := signed(r.t, signer, map[string]any{"iss": rule.Issuer, "aud": audience, "sub": "repo:acme/x:environment:prod", "jti": rule.Name, "iat": now.Unix(),
			"exp": now.Add(5 * time.Minute).Unix(), "repository_id": "42", "repository_owner_id": "7", "environment": "prod"})
		status, body := r.tokenForm(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"sallyport-cli"},
			"resource": {audience + "/" + string(door)}, "subject_token": {proof}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}})
		var got struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Token == "" {
			r.t.Fatalf("%d %.300s", status, body)
		}
		return got.Token
	}
}

// GV-4: the pipeline of the policies' repository proposes with its commit, two people approve, one puts it in force. The
// pipeline votes on nothing and activates nothing, and whoever answers for it counts as its person.
func TestGV4ThePipelineProposes(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.restartWith(func() { r.config.PolicyNeed = 2 })
	adam := r.As("adam").who.client
	if _, err := adam.DefineRole(t.Context(), api.Role{Name: "policy-ci"}); err != nil {
		t.Fatal(err)
	}
	token := r.Job(api.Member{ID: "service:policies", Person: "user:ravi", Purpose: "proposes policy sets from their repository"}, "policy-ci", "system")
	bearer := token(client.API, "policy.propose policy.approve policy.activate policy.read grant.approve@"+fraud)
	sends := func(path string, in any, status int, reasons ...string) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r.Nobody().Send(request{method: http.MethodPost, path: api.Version + path, body: string(body), bearer: bearer})
		r.WantStatus(status)
		if status == http.StatusForbidden {
			r.Want(denied, reasons...)
		}
	}
	now, err := adam.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := api.Proposal{Schema: cedar.Schema, Policies: cloneMap(now.Policies), Why: "ML-412", Commit: "4f1955c", Repository: "https://git.acme.example/policy"}
	next.Policies["more.cedar"] = `@id("more") @owner("security") @requirement("AZ-6") @text("Nobody exports.")
forbid (principal, action == Action::"model.export", resource);`
	sends("/policy/proposals", next, http.StatusOK)
	var asked api.Proposal
	if err := json.Unmarshal(r.last.body, &asked); err != nil || asked.By != "service:policies" || asked.Commit != "4f1955c" || asked.Need != 2 {
		t.Fatalf("proposed %+v, %v", asked, err)
	}

	vote := api.Vote{Yes: true, Reason: "read it", Hash: asked.Hash}
	sends("/policy/proposals/"+asked.Request+"/vote", vote, http.StatusForbidden, "services.never-govern")
	sends("/policy/activate", api.Activation{Request: asked.Request}, http.StatusForbidden, "services.never-govern")
	sends("/policy", api.PolicySet{Schema: next.Schema, Policies: next.Policies, Why: "now"}, http.StatusForbidden, "services.never-govern")
	_, err = r.As("ravi").who.client.VotePolicy(t.Context(), asked.Request, vote)
	r.heard("the owner approves", err)
	r.WantStatus(http.StatusConflict)

	approvers := []string{"rita", "rolf"}
	if _, err := adam.AddPerson(t.Context(), api.Member{ID: "user:rolf", Org: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, err := adam.Assign(t.Context(), api.Assignment{Subject: "user:rolf", Role: "security-reviewer", Scope: "system"}); err != nil {
		t.Fatal(err)
	}
	for i, name := range approvers {
		_, err := adam.Activate(t.Context(), asked.Request)
		r.heard("activate too early", err)
		r.WantStatus(http.StatusConflict)
		if asked, err = r.As(name).who.client.VotePolicy(t.Context(), asked.Request, vote); err != nil || len(asked.Votes) != i+1 {
			t.Fatalf("%s: %+v, %v", name, asked.Votes, err)
		}
	}
	e, err := adam.Activate(t.Context(), asked.Request)
	if err != nil || e.Version != asked.Version {
		t.Fatalf("epoch %+v, %v", e, err)
	}
	if p, err := adam.Policy(t.Context()); err != nil || p.Version != asked.Version {
		t.Errorf("in force is %s, %v", p.Version, err)
	}
}

// EV-2: staging reads no data of production by way of what it says a version was made from either. Naming what one may not
// read is refused in the words for what is not there, and recorded; what one may read is named, and its class flows.
func TestEV2NoOriginThatOneMayNotRead(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	adam := r.As("adam").who.client
	for _, d := range []api.Thing{{Resource: "dataset:acme/ledger", Class: sallyport.Internal, Environment: sallyport.Production},
		{Resource: "dataset:acme/made-up", Class: sallyport.Internal, Environment: sallyport.Staging}} {
		d.Project = "acme/risk"
		if _, err := adam.Add(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adam.DefineRole(t.Context(), api.Role{Name: "training-job"}); err != nil {
		t.Fatal(err)
	}
	trainer := r.Job(api.Member{ID: "service:trains", Person: "user:oto", Purpose: "trains", Environment: sallyport.Production}, "training-job", "project:acme/risk")
	rehearsal := r.Job(api.Member{ID: "service:tries", Person: "user:oto", Purpose: "tries out", Environment: sallyport.Staging}, "training-job", "project:acme/risk")
	const scope = "model.push@" + fraud + " dataset.read model.read"
	live, staging := trainer(client.Vault, scope), rehearsal(client.Vault, scope)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("hi")))
	begin := func(bearer, kind, ref string, status int) {
		t.Helper()
		r.Nobody().Send(request{method: http.MethodPost, path: "/vault/v1/" + fraud + "/uploads", bearer: bearer,
			body: `{"files":[{"path":"README.md","size":2,"sha256":"` + sum + `","blocks":["` + sum + `"]}],"lineage":[{"kind":"` + kind + `","ref":"` + ref + `"}]}`})
		r.WantStatus(status)
	}
	begin(staging, "dataset", "acme/ledger", http.StatusNotFound)
	hidden := strings.ReplaceAll(string(r.last.body), "ledger", "NAME")
	begin(staging, "dataset", "acme/none-such", http.StatusNotFound)
	if nothing := strings.ReplaceAll(string(r.last.body), "none-such", "NAME"); withoutID(hidden) != withoutID(nothing) {
		t.Errorf("what is hidden: %s\nwhat is not there: %s", hidden, nothing)
	}
	begin(staging, "base", "acme/none-such@v1", http.StatusNotFound)
	begin(staging, "dataset", "acme/made-up", http.StatusOK)
	begin(staging, "base", "meta-llama/llama", http.StatusOK)
	begin(live, "dataset", "acme/ledger", http.StatusOK)
	found := false
	for _, l := range r.leaves() {
		found = found || l.Type == sallyport.EventRefused && l.Who == "service:tries" && l.Detail["origin"] == "dataset:acme/ledger"
	}
	if !found {
		t.Error("nothing is recorded of it")
	}
}

var decisionID = regexp.MustCompile(`D-[0-9a-z]{12}`)

// withoutID is a text without the ids of decisions, which are never the same.
func withoutID(s string) string { return decisionID.ReplaceAllString(s, "D-…") }
