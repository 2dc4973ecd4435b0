package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

// scim sends a request as the identity provider does, and returns the id in the answer.
func (s *story) scim(ctx context.Context, method, path, body string, want int) (string, error) {
	adam, err := s.who("adam")
	if err != nil {
		return "", err
	}
	t, err := adam.Client.SourceToken(ctx, "okta")
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, method, s.server.External()+"/scim/v2"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/scim+json")
	r.Header.Set("Authorization", "Bearer "+t.Token)
	answer, err := s.wire.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var said struct {
		ID string `json:"id"`
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("SCIM answers %d: %.300s", answer.StatusCode, text)
	}
	if err != nil {
		return "", err
	}
	return said.ID, json.Unmarshal(text, &said)
}

// provisions connects the provider: an account for it, its role. Then it adds lea, and acme gives her a role.
func (s *story) provisions(ctx context.Context, _ *people.Person) (seen, error) {
	adam, err := s.who("adam")
	if err != nil {
		return seen{}, err
	}
	if _, err := adam.Client.AddPerson(ctx, api.Member{ID: "service:okta", Org: "acme", Person: "user:adam", Purpose: "keeps people", Ends: time.Now().Add(week)}); err != nil {
		return seen{}, err
	}
	if _, err := adam.Client.Assign(ctx, api.Assignment{Subject: "service:okta", Role: "provisioner", Scope: "org:acme"}); err != nil {
		return seen{}, err
	}
	if s.lea, err = s.scim(ctx, http.MethodPost, "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"lea@acme.example","externalId":"00u1","active":true,
		"name":{"givenName":"Lea","familyName":"Weiss"},"emails":[{"value":"lea@acme.example","type":"work","primary":true}]}`, http.StatusCreated); err != nil {
		return seen{}, err
	}
	_, err = adam.Client.Assign(ctx, api.Assignment{Subject: "user:lea", Role: "model-developer", Scope: "project:acme/risk"})
	return seen{resource: "user:lea", outcome: "created", note: "record " + s.lea + ", a developer of harbour's project"}, err
}

func (s *story) leaJoins(ctx context.Context, _ *people.Person) (seen, error) {
	if err := s.invite(ctx, "user:lea"); err != nil {
		return seen{}, err
	}
	lea, err := s.who("lea")
	if err != nil {
		return seen{}, err
	}
	if err := lea.Login(ctx, sallyport.PhishingResistant); err != nil {
		return seen{}, err
	}
	var r api.Request
	if _, err := s.askFor(ctx, lea, &r, "1h", "her first week"); err != nil {
		return seen{}, err
	}
	ravi, err := s.who("ravi")
	if err != nil {
		return seen{}, err
	}
	got, err := s.approve(ctx, ravi, &r)
	got.outcome, got.reason = "granted", ""
	return got, err
}

// leaLeaves measures from the provider's request to the end of the download, as lea's computer sees it.
func (s *story) leaLeaves(ctx context.Context, _ *people.Person) (seen, error) {
	lea, err := s.who("lea")
	if err != nil {
		return seen{}, err
	}
	running, err := s.begin(ctx, hub(lea, guarded, weights), 64<<10)
	if err != nil {
		return seen{}, err
	}
	if running.status != http.StatusOK {
		return seen{}, fmt.Errorf("the download is answered by %d", running.status)
	}
	began := time.Now()
	if _, err := s.scim(ctx, http.MethodPatch, "/Users/"+s.lea,
		`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"active","value":false}]}`, http.StatusOK); err != nil {
		return seen{}, err
	}
	if err := running.wait(ctx); err != nil {
		return seen{}, err
	}
	took := time.Since(began)
	if running.err == nil || running.got.Load() >= running.total {
		return seen{}, fmt.Errorf("all %d bytes arrived", running.got.Load())
	}
	return s.broken(ctx, running, fmt.Sprintf("her download had ended %d ms after the request was sent, %s of %s had arrived",
		took.Milliseconds(), mebibytes(running.got.Load()), mebibytes(running.total)))
}

// wasntMe lets tess report the sign-in of somebody who has her passkey and sits elsewhere.
func (s *story) wasntMe(ctx context.Context, tess *people.Person) (seen, error) {
	other, err := tess.Other("elsewhere")
	if err != nil {
		return seen{}, err
	}
	before, err := tess.Client.Sessions(ctx)
	if err != nil {
		return seen{}, err
	}
	if err := other.SignIn(ctx); err != nil {
		return seen{}, err
	}
	all, err := tess.Client.Sessions(ctx)
	if err != nil {
		return seen{}, err
	}
	known := func(x api.Session) bool {
		return slices.ContainsFunc(before, func(y api.Session) bool { return y.ID == x.ID })
	}
	i := slices.IndexFunc(all, func(x api.Session) bool { return !known(x) })
	if i < 0 {
		return seen{}, errors.New("the sign-in is not among her sessions")
	}
	done, err := tess.Client.Report(ctx, api.Report{What: "wasnt-me", ID: all[i].ID, About: "I was at lunch"})
	if err != nil {
		return seen{}, err
	}
	if at, err := other.Browser.Open(ctx, s.server.External()+"/account"); err != nil || at.At.Path != "/login" {
		return seen{}, fmt.Errorf("the session still lives: %w", err)
	}
	return seen{resource: all[i].ID, outcome: "ended", note: fmt.Sprintf("in force in %s: %s", done.InForce, strings.Join(done.Did, "; "))}, nil
}
