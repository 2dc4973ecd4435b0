package oauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// client authenticates who asks, and the key that the request proves. Everything that could be a proof is shown to the
// registry, so that a client that comes by another way than its own is refused.
func (s *Server) client(r *http.Request, form url.Values) (token.By, error) {
	p := clients.Proof{
		ClientID: form.Get("client_id"), Assertion: secret.NewText(form.Get("client_assertion")), AssertionType: form.Get("client_assertion_type"),
		Secret: form.Has("client_secret") || r.Header.Get("Authorization") != "",
	}
	if r.TLS != nil {
		p.Certificates = r.TLS.PeerCertificates
	}
	c, credential, err := s.cfg.Issuer.Clients.Authenticate(r.Context(), p, clients.Place{Issuer: s.cfg.URL, TokenEndpoint: s.cfg.URL + pathToken})
	if err != nil {
		return token.By{}, err
	}
	by := token.By{Client: c, IP: httpsafe.PeerIP(r), Credential: credential}
	by.Key, err = s.proved(r, secret.Text{})
	if err == nil && by.Key == "" && len(p.Certificates) > 0 && (c.Method == clients.TLS || c.Method == clients.SelfSignedTLS || c.Bind) {
		by.Key = "x5t:" + jose.CertificateThumbprint(p.Certificates[0].Raw)
	}
	return by, err
}

// proved returns the key of the request's DPoP proof, "" where there is none. The address that it must be for is the
// external one, whatever Host the request says.
func (s *Server) proved(r *http.Request, access secret.Text) (string, error) {
	return s.cfg.Proofs.Check(r.Header.Values("DPoP"), r.Method, s.cfg.URL+r.URL.EscapedPath(), access)
}

// shown is the access token of a request to a resource, with its scheme: Bearer or DPoP.
func shown(r *http.Request) (raw secret.Text, scheme string, ok bool) {
	scheme, text, found := strings.Cut(r.Header.Get("Authorization"), " ")
	for _, known := range []string{"Bearer", "DPoP"} {
		if found && strings.EqualFold(scheme, known) {
			return secret.NewText(strings.TrimSpace(text)), known, true
		}
	}
	return secret.Text{}, "", false
}

// caller verifies the access token of a request and the key that it is bound to (RFC 9449, section 7; RFC 8705, section
// 3). A bound token shown as a bearer token is refused.
func (s *Server) caller(r *http.Request, audiences ...string) (sallyport.Principal, error) {
	raw, scheme, ok := shown(r)
	if !ok {
		return sallyport.Principal{}, sallyport.E("request", sallyport.Unknown, "no access token is shown", "send Authorization: Bearer or DPoP").Because("token.missing")
	}
	p, err := s.verify(r, raw, audiences)
	if err != nil {
		return p, err
	}
	bad := sallyport.E("access token", sallyport.Unknown, "the token is bound to a key that this request does not prove", "send a DPoP proof, or use the client certificate").Because("token.bound")
	key, err := s.proved(r, raw)
	if err != nil {
		return sallyport.Principal{}, err
	}
	if key == "" && strings.HasPrefix(p.Key, "x5t:") && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		key = "x5t:" + jose.CertificateThumbprint(r.TLS.PeerCertificates[0].Raw)
	}
	if p.Key != "" && key != p.Key || (scheme == "DPoP") != strings.HasPrefix(p.Key, "jkt:") {
		return sallyport.Principal{}, bad
	}
	return p, nil
}

// verify verifies an access token that is for one of some audiences.
func (s *Server) verify(r *http.Request, raw secret.Text, audiences []string) (sallyport.Principal, error) {
	err := sallyport.E("access token", sallyport.Unknown, "the token is not valid here", "").Because("token.audience")
	for _, audience := range audiences {
		p, failed := s.cfg.Verifier.Verify(r.Context(), raw, audience, s.cfg.Now())
		if failed == nil {
			return p, nil
		}
	}
	return sallyport.Principal{}, err
}

// basic tells whether a request tried a secret by HTTP Basic, for the record only: there are none here. Both halves are
// percent-encoded (RFC 6749, section 2.3.1).
func basic(r *http.Request) string {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return ""
	}
	id, _, _ := strings.Cut(string(raw), ":")
	id, err = url.QueryUnescape(id)
	if err != nil {
		return ""
	}
	return id
}

// said is who a request says it is from, for the record.
func said(r *http.Request, form url.Values) string {
	if id := form.Get("client_id"); id != "" {
		return id
	}
	if id := basic(r); id != "" {
		return id
	}
	if one, err := jose.Peek(form.Get("client_assertion")); err == nil {
		return one.Issuer
	}
	return ""
}
