package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// ID-11: a job of GitHub Actions gets a token for the Hub's door by its own proof, and keeps no secret. What the rule
// does not name exactly gets nothing, and so does a service that may act no longer.
func TestID11KeylessJob(t *testing.T) {
	r := tell(t)
	adam := r.As("adam").who.client
	key, document := issuerKey(t)
	signer := jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader}
	now := r.clock.Now()
	id := sallyport.PrincipalID("service:ci-job")
	if _, err := adam.AddPerson(t.Context(), api.Member{ID: id, Person: "user:ana", Org: "acme", Purpose: "trains", Ends: now.Add(24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if _, err := adam.Assign(t.Context(), api.Assignment{Subject: string(id), Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
		t.Fatal(err)
	}
	hub := r.server.External() + "/hf"
	rule := api.TrustRule{Name: "ci", Kind: "github", Issuer: "https://token.actions.githubusercontent.com", Audience: hub, Keys: document,
		Match:     map[string]string{"repository_id": "42", "repository_owner_id": "7", "environment": "prod"},
		Principal: id, Scope: "model.read model.list server.read model.push@" + base, Life: "10m", Clients: []string{"huggingface-hub"}}
	if _, err := adam.AddTrustRule(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	claims := func(repository string) map[string]any {
		return map[string]any{"iss": rule.Issuer, "aud": hub, "sub": "repo:acme/x:environment:prod", "jti": repository, "iat": now.Unix(),
			"exp": now.Add(5 * time.Minute).Unix(), "repository_id": repository, "repository_owner_id": "7", "environment": "prod"}
	}
	exchange := func(repository string) (int, string, string) {
		t.Helper()
		proof, err := signer.Sign("JWT", claims(repository))
		if err != nil {
			t.Fatal(err)
		}
		status, body := r.tokenForm(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"huggingface-hub"},
			"subject_token": {proof.Reveal()}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}})
		var got struct {
			Token string `json:"access_token"`
		}
		_ = json.Unmarshal([]byte(body), &got) // an answer without a token is looked at as text
		return status, got.Token, body
	}
	status, token, body := exchange("42")
	if status != http.StatusOK || !strings.HasPrefix(token, "hf_") {
		t.Fatalf("%d %.300s", status, body)
	}
	r.Nobody().Send(request{path: own()[client.Hub], bearer: token})
	r.WantStatus(http.StatusOK)
	r.Nobody().Send(request{path: own()[client.API], bearer: token})
	r.WantStatus(http.StatusUnauthorized)
	if status, _, body := exchange("43"); status != http.StatusBadRequest || !strings.Contains(body, "invalid_grant") {
		t.Errorf("another repository: %d %.300s", status, body)
	}
	trials, err := adam.TestTrust(t.Context(), api.TrustTest{Proof: signed(t, signer, claims("43")), Client: "huggingface-hub"})
	if err != nil || len(trials) != 1 || trials[0].Accepted || trials[0].Why != `repository_id is "43", want "42"` {
		t.Errorf("test: %+v, %v", trials, err)
	}
	if _, err := adam.SetState(t.Context(), id, "suspended"); err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: own()[client.Hub], bearer: token})
	r.WantStatus(http.StatusUnauthorized)
	if status, _, body := exchange("42"); status != http.StatusBadRequest {
		t.Errorf("a suspended service: %d %.300s", status, body)
	}
	if err := adam.RemoveTrustRule(t.Context(), "ci"); err != nil {
		t.Error(err)
	}
}

func signed(t *testing.T, s jose.Signer, claims map[string]any) string {
	t.Helper()
	text, err := s.Sign("JWT", claims)
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

// issuerKey is a key of an issuer, k1, and its key set.
func issuerKey(t *testing.T) (*ecdsa.PrivateKey, json.RawMessage) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey("k1", jose.ES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(public)
	if err != nil {
		t.Fatal(err)
	}
	return key, set.Document()
}
