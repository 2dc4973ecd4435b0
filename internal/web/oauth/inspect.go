package oauth

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/plumbing/secret"
)

// revoke is RFC 7009. It answers alike whether there was anything to revoke.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := ReadForm(w, r)
	if err != nil {
		return err
	}
	by, err := s.client(r, form)
	if err != nil {
		s.Refused(r, "", said(r, form), err)
		return err
	}
	if form.Get("token") == "" {
		return Fault("invalid_request", "token is missing")
	}
	raw := secret.NewText(form.Get("token"))
	p, err := s.verify(r, raw, slices.Concat(s.audiences(), by.Client.Audiences))
	if err == nil && p.Client != by.Client.ID {
		p.Family = "" // another client's: left alone, as the token is then unknown as a refresh token
	}
	if err := s.cfg.Issuer.GiveBack(r.Context(), by, raw, p.Family); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// audiences are all that a token of our own doors can be for.
func (s *Server) audiences() []string { return token.Audiences(s.cfg.URL) }

// introspection is RFC 7662, section 2.2, with RFC 8693, section 4.1, RFC 9396, section 9.2, RFC 9449, section 6.2, and
// RFC 9470, section 6.
type introspection struct {
	Active   bool                 `json:"active"`
	Issuer   string               `json:"iss,omitempty"`
	Subject  string               `json:"sub,omitempty"`
	Audience string               `json:"aud,omitempty"`
	Scope    string               `json:"scope,omitempty"`
	Client   string               `json:"client_id,omitempty"`
	Expires  int64                `json:"exp,omitempty"`
	ID       string               `json:"jti,omitempty"`
	Type     string               `json:"token_type,omitempty"`
	Level    string               `json:"acr,omitempty"`
	AuthTime int64                `json:"auth_time,omitempty"`
	Purpose  string               `json:"purpose,omitempty"`
	Confirm  *access.Confirmation `json:"cnf,omitempty"`
	Actor    *access.Actor        `json:"act,omitempty"`
	Details  json.RawMessage      `json:"authorization_details,omitempty"`
}

// introspect is RFC 7662. A resource server that is registered as a client learns about tokens that are for it. A person
// shows an access token for our API, the one resource server that there always is, and learns about tokens of their own.
// Of all others either learns that they are not active.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := ReadForm(w, r)
	if err != nil {
		return err
	}
	text := secret.NewText(form.Get("token"))
	if _, _, ok := shown(r); ok {
		return s.introspectOwn(w, r, text)
	}
	by, err := s.client(r, form)
	if err == nil && by.Client.Public() {
		err = Fault("invalid_client.public", "a public client proves nothing, and learns nothing")
	}
	if err != nil {
		s.Refused(r, "", said(r, form), err)
		return err
	}
	p, err := s.verify(r, text, by.Client.Serves)
	if err != nil {
		writeJSON(w, http.StatusOK, introspection{})
		return nil
	}
	return s.writeIntrospection(w, p)
}

func (s *Server) introspectOwn(w http.ResponseWriter, r *http.Request, text secret.Text) error {
	caller, err := s.caller(r, s.audiences()[0])
	if err != nil {
		s.Refused(r, "", "", err)
		return err
	}
	if p, err := s.verify(r, text, s.audiences()); err == nil {
		if p.ID != caller.ID {
			writeJSON(w, http.StatusOK, introspection{})
			return nil
		}
		return s.writeIntrospection(w, p)
	}
	f, live, err := s.cfg.Issuer.Find(r.Context(), text)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return err
	}
	answer := introspection{}
	if err == nil && live && f.Principal == caller.ID {
		answer = introspection{
			Active: true, Issuer: s.cfg.URL, Subject: string(f.Principal), Scope: f.Scope.String(), Client: f.Client, Expires: f.Expires.Unix(),
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) writeIntrospection(w http.ResponseWriter, p sallyport.Principal) error {
	details, err := access.Details(p.Scope, p.Purpose)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, introspection{
		Active: true, Issuer: s.cfg.URL, Subject: string(p.ID), Audience: p.Audience, Scope: p.Scope.String(), Client: p.Client, Expires: p.Expires.Unix(),
		ID: p.Token, Type: tokenType(p.Key), Level: p.Assurance.String(), AuthTime: p.AuthTime.Unix(), Purpose: p.Purpose,
		Confirm: access.Confirm(p.Key), Actor: access.Acting(p.Actors), Details: details,
	})
	return nil
}

// userInfo is OpenID Connect Core, section 5.3: who the person is, for a client that was let know. An access token for
// any door will do, because the person's approval counts and not the door.
func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) error {
	p, err := s.caller(r, append(s.audiences(), s.cfg.URL+pathUserInfo)...)
	if err != nil {
		s.resourceError(w, r, err)
		return nil
	}
	f, err := s.cfg.Issuer.Family(r.Context(), p.Family)
	if sallyport.KindOf(err) == sallyport.Invalid || err == nil && !f.Live(s.cfg.Now()) {
		err = sallyport.E("userinfo", sallyport.Unknown, "the approval has ended", "").Because("token.revoked")
		s.resourceError(w, r, err)
		return nil
	}
	if err != nil {
		return err
	}
	if !f.OpenID || len(p.Actors) > 0 {
		w.Header().Set("WWW-Authenticate", tokenType(p.Key)+` error="insufficient_scope", scope="openid"`)
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope", "error_description": "the token was not asked for with openid"})
		return nil
	}
	writeJSON(w, http.StatusOK, map[string]string{"sub": string(p.ID), "preferred_username": p.ID.Name()})
	return nil
}

// resourceError answers as a resource server does, whose words for the same errors are others than those of the token
// endpoint (RFC 6750, section 3; RFC 9449, section 7.1 and 9).
func (s *Server) resourceError(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusUnauthorized
	if sallyport.KindOf(err) != sallyport.Unknown {
		_, status = CodeOf(err)
	}
	code, _, _ := strings.Cut(sallyport.ReasonOf(err), ".")
	_, scheme, shown := shown(r)
	if status == http.StatusUnauthorized {
		switch {
		case strings.Contains(code, "_dpop_"):
			w.Header().Set("WWW-Authenticate", `DPoP error="`+code+`", algs="ES256 EdDSA"`)
			w.Header().Set("DPoP-Nonce", s.cfg.Proofs.Nonce())
		case !shown:
			code = "invalid_request"
			w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
			w.Header().Add("WWW-Authenticate", `DPoP algs="ES256 EdDSA"`)
		default:
			code = "invalid_token"
			w.Header().Set("WWW-Authenticate", scheme+` error="invalid_token"`)
		}
	}
	s.Refused(r, "", "", err)
	writeJSON(w, status, map[string]string{"error": code, "error_description": Describe(err)})
}
