package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// The identities that are no people, and the platform that says which job is which.
const (
	ciJob      = sallyport.PrincipalID("service:ci")
	helper     = sallyport.PrincipalID("agent:helper")
	platform   = "https://ci.acme.example"
	repository = "42"
	week       = 7 * 24 * time.Hour
)

// trusts makes the two identities and the rules under which they prove themselves.
func (s *story) trusts(ctx context.Context, adam *people.Person) (seen, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return seen{}, err
	}
	s.platform = jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "ci", Rand: rand.Reader}
	public, err := jose.NewKey("ci", jose.ES256, key.Public())
	if err != nil {
		return seen{}, err
	}
	set, err := jose.NewSet(public)
	if err != nil {
		return seen{}, err
	}
	for _, m := range []struct {
		member api.Member
		role   string
		rule   api.TrustRule
	}{
		{api.Member{ID: ciJob, Purpose: "measures what was released"}, "model-developer", api.TrustRule{Name: "acme-ci", Audience: adam.Client.Audience(client.Hub),
			Match: map[string]string{"sub": "job", "repository_id": repository}, Scope: "model.pull@" + open, Clients: []string{"huggingface-hub"}}},
		{api.Member{ID: helper, Purpose: "answers questions"}, "assistant", api.TrustRule{Name: "acme-helper",
			Match: map[string]string{"sub": "helper"}, Scope: "model.read model.infer model.pull", Clients: []string{"sallyport-cli"}}},
	} {
		m.member.Person, m.member.Org, m.member.Ends = "user:ana", "acme", time.Now().Add(week)
		if _, err := adam.Client.AddPerson(ctx, m.member); err != nil {
			return seen{}, err
		}
		if _, err := adam.Client.Assign(ctx, api.Assignment{Subject: string(m.member.ID), Role: m.role, Scope: "project:acme/risk"}); err != nil {
			return seen{}, err
		}
		m.rule.Kind, m.rule.Issuer, m.rule.Keys, m.rule.Principal, m.rule.Life = "oidc", platform, set.Document(), m.member.ID, "10m"
		if _, err := adam.Client.AddTrustRule(ctx, m.rule); err != nil {
			return seen{}, err
		}
	}
	return s.latest(ctx, adam, sallyport.IdentityAdminister, "by claims that must be exactly so, and a key set; ana answers for both")
}

// signed is what the platform signs for one job.
func (s *story) signed(audience string, claims map[string]any) (string, error) {
	if s.platform.Key == nil {
		return "", errors.New("the platform is not trusted yet")
	}
	now := time.Now()
	all := map[string]any{"iss": platform, "aud": audience, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	text, err := s.platform.Sign("JWT", all)
	return text.Reveal(), err
}

// exchange asks for a token for a token (RFC 8693), and returns it or the error code.
func (s *story) exchange(ctx context.Context, program string, form url.Values) (access, code string, err error) {
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	form.Set("client_id", program)
	return s.tokens(ctx, form)
}

// tokens asks the token endpoint.
func (s *story) tokens(ctx context.Context, form url.Values) (access, code string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.External()+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := s.wire.Do(r)
	if err != nil {
		return "", "", err
	}
	defer answer.Body.Close()
	var said struct {
		Access string `json:"access_token"`
		Error  string `json:"error"`
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	return said.Access, said.Error, err
}

const idToken = "urn:ietf:params:oauth:token-type:id_token"

// job exchanges what the platform signs for a job of a repository.
func (s *story) job(ctx context.Context, repository string) (access, code string, err error) {
	proof, err := s.signed(s.server.External()+"/hf", map[string]any{"sub": "job", "repository_id": repository})
	if err != nil {
		return "", "", err
	}
	return s.exchange(ctx, "huggingface-hub", url.Values{"subject_token": {proof}, "subject_token_type": {idToken}})
}

func (s *story) jobToken(ctx context.Context, _ *people.Person) (seen, error) {
	access, code, err := s.job(ctx, repository)
	if err == nil && access == "" {
		err = fmt.Errorf("no token: %s", code)
	}
	s.ci = access
	return seen{outcome: "issued", note: "to " + string(ciJob)}, err
}

func (s *story) jobPulls(ctx context.Context, _ *people.Person) (seen, error) {
	c := hub(nil, open, weights)
	c.bearer = s.ci
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	return s.answered(ctx, a, http.StatusOK, mebibytes(int64(len(a.body))))
}

func (s *story) otherRepository(ctx context.Context, _ *people.Person) (seen, error) {
	access, code, err := s.job(ctx, "43")
	if access != "" {
		return seen{}, errors.New("it gets a token")
	}
	return seen{outcome: "refused", reason: code}, err
}

func (s *story) delegates(ctx context.Context, ana *people.Person) (seen, error) {
	d, err := ana.Client.Delegate(ctx, api.Delegation{Agent: helper, Scope: "model.read model.infer@" + guarded + " model.pull@" + open, For: "10m"})
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, ana, sallyport.ServerRead, d.Scope)
}

// onBehalf lets the agent make a call for ana: with a token of hers that it exchanged, by a proof of its own.
func (s *story) onBehalf(ctx context.Context, c call, status int) (seen, error) {
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	subject, err := ana.Token(ctx, c.door)
	if err != nil {
		return seen{}, err
	}
	proof, err := s.signed(s.server.External(), map[string]any{"sub": "helper"})
	if err != nil {
		return seen{}, err
	}
	access, code, err := s.exchange(ctx, "sallyport-cli", url.Values{"subject_token": {subject.Reveal()}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"actor_token": {proof}, "actor_token_type": {idToken}})
	if err == nil && access == "" {
		err = fmt.Errorf("no token: %s", code)
	}
	if err != nil {
		return seen{}, err
	}
	c.bearer = access
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	got, err := s.answered(ctx, a, status, "")
	if err != nil {
		return got, err
	}
	w, err := s.cast["alba"].Client.Why(ctx, got.decision)
	if err != nil {
		return got, err
	}
	if got.asked.Actors != string(helper) || len(w.Acting) != 1 {
		return got, fmt.Errorf("the decision names %q, and facts about %d", got.asked.Actors, len(w.Acting))
	}
	l, err := sallyport.DecodeLogged(w.Decided.Leaf)
	got.note = fmt.Sprintf("why names %s and %s", l.Who, got.asked.Actors)
	return got, err
}

func (s *story) agentCalls(ctx context.Context, _ *people.Person) (seen, error) {
	return s.onBehalf(ctx, chat(nil, guarded, false, 4), http.StatusOK)
}

func (s *story) agentBeyondTask(ctx context.Context, _ *people.Person) (seen, error) {
	return s.onBehalf(ctx, chat(nil, open, false, 4), http.StatusForbidden)
}

func (s *story) agentPulls(ctx context.Context, _ *people.Person) (seen, error) {
	return s.onBehalf(ctx, hub(nil, open, weights), http.StatusForbidden)
}
