package server_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// A helper is an agent of ana's, with the key of the issuer that vouches for it.
type helper struct {
	signer jose.Signer
	rule   api.TrustRule
}

// Helper adds an agent, which may use what is in scopes, a client for it, and the rule by which it proves itself.
func (r *story) Helper(scopes string) *helper {
	r.t.Helper()
	adam, now := r.As("adam").who.client, r.clock.Now()
	const id = sallyport.PrincipalID("agent:helper")
	if _, err := adam.AddPerson(r.t.Context(), api.Member{ID: id, Person: "user:ana", Org: "acme", Purpose: "answers questions", Ends: now.Add(24 * time.Hour)}); err != nil {
		r.t.Fatal(err)
	}
	for scope := range splitSeq(scopes) {
		if _, err := adam.Assign(r.t.Context(), api.Assignment{Subject: string(id), Role: "assistant", Scope: scope}); err != nil {
			r.t.Fatal(err)
		}
	}
	key, document := issuerKey(r.t)
	at := r.server.External()
	if _, err := adam.AddProgram(r.t.Context(), api.Program{ID: "helper", Name: "Helper", Grants: []string{"urn:ietf:params:oauth:grant-type:token-exchange"},
		Scopes: []string{"model.*"}, Audiences: []string{at + "/openai", at + "/hf"}}); err != nil {
		r.t.Fatal(err)
	}
	h := &helper{signer: jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader},
		rule: api.TrustRule{Name: "helper", Kind: "oidc", Issuer: "https://agents.acme.example", Keys: document, Match: map[string]string{"sub": "helper-1"},
			Principal: id, Scope: "model.*", Life: "10m", Clients: []string{"helper"}}}
	if _, err := adam.AddTrustRule(r.t.Context(), h.rule); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// proof is what the issuer says of one of its agents, once.
func (h *helper) proof(r *story, subject string) string {
	r.t.Helper()
	now := r.clock.Now()
	return signed(r.t, h.signer, map[string]any{"iss": h.rule.Issuer, "aud": r.server.External(), "sub": subject, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()})
}

// Behalf exchanges the token of the person who acts and the proof of a subject for a token of both.
func (r *story) Behalf(h *helper, subject string, door client.Door) (token string, status int, said string) {
	r.t.Helper()
	person, err := r.who.token(r.t.Context(), door)
	if err != nil {
		r.t.Fatal(err)
	}
	proof := h.proof(r, subject)
	r.canaries.note("proof of an agent", proof)
	status, said = r.tokenForm(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"helper"},
		"subject_token": {person}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"actor_token": {proof}, "actor_token_type": {"urn:ietf:params:oauth:token-type:jwt"}})
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		r.t.Fatalf("%d %.200s: %v", status, said, err)
	}
	r.canaries.note("token of an agent", got.Token)
	return got.Token, status, said
}

// TestID14AgentActsOnBehalf is the whole way of an agent: ana lets it act, it proves itself, and has what she, it and the
// task have in common, at the doors that stock clients use; the record names both, and her word ends what runs.
func TestID14AgentActsOnBehalf(t *testing.T) {
	r := tell(t)
	r.As("ana").Infer(fraud)
	r.Want(allowed) // what she may herself
	h := r.Helper(base + " " + keel)
	ana := r.As("ana")
	if _, status, said := ana.Behalf(h, "helper-1", client.OpenAI); status != http.StatusBadRequest || !strings.Contains(said, "sallyport delegate agent:helper") {
		t.Fatalf("before she let it: %d %s", status, said)
	}
	const task = "model.infer@" + base + " model.infer@" + fraud + " model.infer@" + keel + " model.pull@" + base
	given, err := ana.who.client.Delegate(t.Context(), api.Delegation{Agent: "agent:helper", Scope: task, For: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, status, said := ana.Behalf(h, "helper-2", client.OpenAI); status != http.StatusBadRequest || !strings.Contains(said, "invalid_grant") {
		t.Errorf("another agent of the issuer: %d %s", status, said)
	}
	token, status, said := ana.Behalf(h, "helper-1", client.OpenAI)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	as := func(model string) *story {
		q := chat(model, false, 1)
		q.bearer = token
		return r.Nobody().Send(q)
	}
	as(base).Want(allowed)
	both(r, r.last.decision)
	as(fraud).Want(denied)
	e, _ := r.decided(r.last.decision)
	if !slices.Contains(e.Reasons, "actor:agent:helper") {
		t.Errorf("beyond the agent: because of %q", e.Reasons)
	}
	as(keel).Want(denied) // beyond her: what she may not know of is not there
	r.WantStatus(http.StatusNotFound)
	r.Nobody().Send(request{method: http.MethodPost, path: "/openai/v1/embeddings", body: `{"model":"` + base + `","input":"x"}`, bearer: token}).Want(denied, "token.scope")
	ana.Pull(base).Want(allowed) // she may
	hub, status, said := ana.Behalf(h, "helper-1", client.Hub)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	r.Nobody().Send(request{path: hubFile(base, weights), bearer: hub}).Want(denied)
	if e, _ := r.decided(r.last.decision); !slices.Equal(e.Reasons, []string{"actor:agent:helper", "agents.never-take-release-govern"}) {
		t.Errorf("an agent takes weights: because of %q", e.Reasons)
	}
	r.Nobody().Send(request{path: own()[client.API], bearer: token})
	r.WantStatus(http.StatusUnauthorized) // the token is for one door

	running := chat(base, true, 0)
	running.bearer = token
	stream := r.Nobody().Begin(running, false)
	if _, err := ana.who.client.EndDelegation(t.Context(), given.ID); err != nil {
		t.Fatal(err)
	}
	r.End(stream)
	if strings.Contains(string(stream.text), "[DONE]") {
		t.Errorf("the stream went on to its end: %d bytes", stream.got.Load())
	}
	r.wantCut(stream)
	as(base).WantStatus(http.StatusUnauthorized)
	if _, status, _ := ana.Behalf(h, "helper-1", client.OpenAI); status != http.StatusBadRequest {
		t.Errorf("a new token after she took it back: %d", status)
	}
	ana.Infer(base)
	ana.Want(allowed) // her own are untouched
	if _, err := r.As("adam").who.client.SetState(t.Context(), "agent:helper", "suspended"); err != nil {
		t.Error(err)
	}
}

// both checks that the record of a decision names the person and who acts for them, and that the auditor is shown what
// was known of either.
func both(r *story, id string) {
	r.t.Helper()
	e, w := r.decided(id)
	if e.Who != "user:ana" || e.Asked == nil || e.Asked.Actors != "agent:helper" || len(w.Acting) != 1 || w.Facts == nil {
		r.t.Errorf("the record of %s: who %s, asked %+v, facts of %d who act", id, e.Who, e.Asked, len(w.Acting))
	}
	if !slices.Contains(e.Reasons, "agents.know-and-use") || !slices.Contains(e.Reasons, "developer.work") {
		r.t.Errorf("%s was allowed because of %q", id, e.Reasons)
	}
}
