package oidc

import (
	"net/http"
	"net/url"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// answerToken is RFC 6749, section 5.1.
type answerToken struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int64  `json:"expires_in"`
	Refresh string `json:"refresh_token,omitempty"`
	Scope   string `json:"scope"`
}

// client finds who asks. Clients are public: one that sends a secret or an assertion mistakes us for somebody else,
// or is not the one that is registered under the name.
func (s *Server) client(r *http.Request, form url.Values) (token.By, error) {
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		if form.Has(name) {
			return token.By{}, fault("invalid_client", "the client is public and has no "+name)
		}
	}
	if r.Header.Get("Authorization") != "" {
		return token.By{}, fault("invalid_client", "the client is public and sends no Authorization header")
	}
	c, ok := s.cfg.Issuer.Clients.Find(form.Get("client_id"))
	if !ok {
		return token.By{}, fault("invalid_client", "no client has this client_id")
	}
	return token.By{Client: c, IP: httpsafe.PeerIP(r)}, nil
}

// token is the token endpoint (RFC 6749, section 3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	by, err := s.client(r, form)
	if err == nil {
		var issued token.Issued
		if issued, err = s.issue(r, by, form); err == nil {
			return s.writeTokens(w, issued)
		}
	}
	if code, _ := codeOf(err); code != "authorization_pending" { // waiting is no offence
		s.refused(r, "", form.Get("client_id"), err)
	}
	return err
}

func (s *Server) writeTokens(w http.ResponseWriter, issued token.Issued) error {
	access := issued.Access.Reveal()
	if strings.HasSuffix(issued.Audience, "/hf") {
		access = token.HubPrefix + access
	}
	writeJSON(w, http.StatusOK, answerToken{
		Access: access, Type: "Bearer", Expires: int64(issued.Expires.Sub(s.cfg.Now()).Seconds()),
		Refresh: issued.Refresh.Reveal(), Scope: issued.Scope.String(),
	})
	return nil
}

// issue is the fork between the grants. What all have in common stands before it, so that no grant can forget it.
func (s *Server) issue(r *http.Request, by token.By, form url.Values) (token.Issued, error) {
	want := token.Want{Audience: form.Get("resource")}
	grant := token.GrantType(form.Get("grant_type"))
	if text := form.Get("scope"); text != "" && grant == token.GrantRefresh {
		scope, err := parseScope(text)
		if err != nil {
			return token.Issued{}, err
		}
		want.Scope = scope
	}
	need := func(name string) (secret.Text, error) {
		if form.Get(name) == "" {
			return secret.Text{}, fault("invalid_request", name+" is missing")
		}
		return secret.NewText(form.Get(name)), nil
	}
	switch grant {
	case token.GrantCode:
		code, err := need("code")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Issuer.Exchange(r.Context(), by, token.Exchange{
			Code: code, RedirectURI: form.Get("redirect_uri"), Verifier: secret.NewText(form.Get("code_verifier")),
		}, want)
	case token.GrantRefresh:
		refresh, err := need("refresh_token")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Issuer.Refresh(r.Context(), by, refresh, want)
	case token.GrantDevice:
		code, err := need("device_code")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Issuer.PollDevice(r.Context(), by, code, want)
	case "":
		return token.Issued{}, fault("invalid_request", "grant_type is missing")
	case "client_credentials":
		return token.Issued{}, fault("unauthorized_client", "a public client cannot act for itself")
	}
	return token.Issued{}, fault("unsupported_grant_type", "no grant type is called like this")
}

func parseScope(text string) (sallyport.Scope, error) {
	scope, err := sallyport.ParseScope(text)
	if err != nil {
		return nil, fault("invalid_scope", sallyport.PublicText(err))
	}
	return scope, nil
}

// revoke is RFC 7009. It answers alike whether there was anything to revoke.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	by, err := s.client(r, form)
	if err != nil {
		s.refused(r, "", form.Get("client_id"), err)
		return err
	}
	if form.Get("token") == "" {
		return fault("invalid_request", "token is missing")
	}
	raw := secret.NewText(form.Get("token"))
	p, _ := s.access(r, raw)
	if err := s.cfg.Issuer.GiveBack(r.Context(), by, raw, p.Family); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// access verifies an access token whatever door it is for.
func (s *Server) access(r *http.Request, raw secret.Text) (sallyport.Principal, bool) {
	for _, audience := range token.Audiences(s.cfg.URL) {
		if p, err := s.cfg.Verifier.Verify(r.Context(), raw, audience, s.cfg.Now()); err == nil {
			return p, true
		}
	}
	return sallyport.Principal{}, false
}

// introspection is RFC 7662, section 2.2.
type introspection struct {
	Active   bool   `json:"active"`
	Issuer   string `json:"iss,omitempty"`
	Subject  string `json:"sub,omitempty"`
	Audience string `json:"aud,omitempty"`
	Scope    string `json:"scope,omitempty"`
	Client   string `json:"client_id,omitempty"`
	Expires  int64  `json:"exp,omitempty"`
	ID       string `json:"jti,omitempty"`
	Type     string `json:"token_type,omitempty"`
	Level    string `json:"acr,omitempty"`
	AuthTime int64  `json:"auth_time,omitempty"`
}

// introspect is RFC 7662 for the one resource server there is, our own API, and whoever is allowed in there: the
// caller shows an access token for the API and learns about tokens of the same principal. Of all others it learns
// that they are not active.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	raw, ok := httpsafe.Bearer(r)
	if !ok {
		return sallyport.E("introspect", sallyport.Unknown, "no access token is shown", "send Authorization: Bearer with a token for the API")
	}
	caller, err := s.cfg.Verifier.Verify(r.Context(), secret.NewText(raw), token.Audiences(s.cfg.URL)[0], s.cfg.Now())
	if err != nil {
		s.refused(r, "", "", err)
		return err
	}
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	shown := secret.NewText(form.Get("token"))
	answer := introspection{}
	if p, ok := s.access(r, shown); ok {
		answer = introspection{
			Active: true, Issuer: s.cfg.URL, Subject: string(p.ID), Audience: p.Audience, Scope: p.Scope.String(), Expires: p.Expires.Unix(),
			ID: p.Token, Type: "Bearer", Level: p.Assurance.String(), AuthTime: p.AuthTime.Unix(),
		}
	} else if f, live, err := s.cfg.Issuer.Find(r.Context(), shown); err == nil && live {
		answer = introspection{
			Active: true, Issuer: s.cfg.URL, Subject: string(f.Principal), Scope: f.Scope.String(), Client: f.Client, Expires: f.Expires.Unix(),
		}
	} else if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return err
	}
	if answer.Subject != string(caller.ID) {
		answer = introspection{}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
