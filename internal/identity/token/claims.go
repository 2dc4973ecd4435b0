package token

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	accessType = "at+jwt" // RFC 9068, section 2.1
	maxLeeway  = 30 * time.Second

	maxRaw     = 8 << 10 // bytes of a token
	maxHeader  = 512     // characters of its first part
	maxScope   = 4 << 10 // bytes of the scope's text
	maxMethods = 16
	maxClaim   = 256 // bytes of any other claim
)

// HubPrefix stands before a token that goes to stock Hugging Face clients, which refuse others before they send them.
const HubPrefix = "hf_"

// claims are those of RFC 9068, section 2.2, with sid, and two of our own: fam names the family, person who answers
// for a service. The types are narrow on purpose: an audience in an array or an expiry with a fraction is not ours.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	Before   int64    `json:"nbf,omitempty"`
	ID       string   `json:"jti"`
	Client   string   `json:"client_id"`
	Scope    string   `json:"scope"`
	Level    string   `json:"acr"`
	Methods  []string `json:"amr,omitempty"`
	AuthTime int64    `json:"auth_time"`
	Session  string   `json:"sid,omitempty"`
	Family   string   `json:"fam"`
	Person   string   `json:"person,omitempty"`
}

// Issued is what a client gets.
type Issued struct {
	Access   secret.Text // the JWT, without any prefix
	Refresh  secret.Text // empty where no refresh token was asked for
	ID       string      // jti of the access token
	Audience string
	Scope    sallyport.Scope
	Expires  time.Time // of the access token
	Family   Family
}

// mint signs an access token of a family. Its scope lies within the family's, and it ends with the family if that
// is sooner than AccessLifetime.
func (s *Issuer) mint(f Family, want Want) (Issued, error) {
	now := s.Now()
	audience, scope, err := f.narrow(want)
	if err != nil {
		return Issued{}, err
	}
	if !f.Live(now) {
		return Issued{}, fault("invalid_grant.dead", "the approval has ended", "sign in again")
	}
	id, err := newID(s.Rand)
	if err != nil {
		return Issued{}, err
	}
	expires := now.Add(AccessLifetime)
	if f.Expires.Before(expires) {
		expires = f.Expires
	}
	c := claims{
		Issuer: s.URL, Subject: string(f.Principal), Audience: audience, Expires: expires.Unix(), Issued: now.Unix(),
		ID: id, Client: f.Client, Scope: scope.String(), Level: f.Assurance.String(), Methods: f.Methods,
		AuthTime: f.AuthTime.Unix(), Session: f.Session, Family: f.ID,
	}
	if f.Person != f.Principal {
		c.Person = string(f.Person)
	}
	raw, err := s.Keys.sign(c, now)
	if err != nil {
		return Issued{}, err
	}
	if raw.Len() > maxRaw {
		return Issued{}, fault("invalid_scope", "the scope makes the token too large", "ask for fewer items")
	}
	return Issued{Access: raw, ID: id, Audience: audience, Scope: scope, Expires: time.Unix(c.Expires, 0).UTC(), Family: f}, nil
}

// A Want narrows what is issued: both fields are optional, and neither can widen anything.
type Want struct {
	Audience string          // RFC 8707 resource; "" = the family's default
	Scope    sallyport.Scope // nil = the family's scope
}

// narrow resolves a want against a family (RFC 6749, section 6; RFC 8707, section 2.2).
func (f Family) narrow(w Want) (string, sallyport.Scope, error) {
	if len(f.Audiences) == 0 {
		return "", nil, fault("invalid_target", "the approval names no resource", "sign in again")
	}
	audience, scope := f.Audiences[0], f.Scope
	if w.Audience != "" {
		audience = w.Audience
	}
	if !slices.Contains(f.Audiences, audience) {
		return "", nil, fault("invalid_target", "the approval does not cover this resource", "ask for one of "+strings.Join(f.Audiences, ", "))
	}
	if w.Scope != nil {
		scope = w.Scope
	}
	if len(scope) == 0 || !scope.Within(f.Scope) {
		return "", nil, fault("invalid_scope", "the scope asked for is wider than what was approved", "ask for less, or sign in again with the wider scope")
	}
	return audience, scope, nil
}

// A refusal is why a token proves nothing here. The caller learns only that it does not.
func refusal(reason string) error {
	return sallyport.E("access token", sallyport.Unknown, "the token is not valid here", "sign in again with 'sallyport login'").Because("token." + reason)
}

// check is the one place where claims are held against what is expected. Nothing is optional by being left empty.
func (c *claims) check(issuer, audience string, now time.Time, leeway time.Duration) error {
	expires, issued, before := time.Unix(c.Expires, 0), time.Unix(c.Issued, 0), time.Unix(c.Before, 0)
	switch {
	case issuer == "" || c.Issuer != issuer:
		return refusal("issuer")
	case audience == "" || c.Audience != audience:
		return refusal("audience")
	case c.Expires <= 0 || c.Issued <= 0 || c.Expires <= c.Issued:
		return refusal("time")
	case !now.Before(expires.Add(leeway)):
		return refusal("expired")
	case now.Add(leeway).Before(issued) || now.Add(leeway).Before(before):
		return refusal("early")
	case expires.Sub(issued) > AccessLifetime:
		return refusal("time")
	}
	return nil
}

// principal reads who is meant. Every name is parsed again: a signature says who wrote them, not that they are right.
func (c *claims) principal() (sallyport.Principal, error) {
	for _, s := range append([]string{c.ID, c.Client, c.Session, c.Family, c.Audience}, c.Methods...) {
		if len(s) > maxClaim {
			return sallyport.Principal{}, refusal("claims")
		}
	}
	if c.ID == "" || c.Client == "" || c.Family == "" || len(c.Scope) > maxScope || len(c.Methods) > maxMethods {
		return sallyport.Principal{}, refusal("claims")
	}
	person := c.Person
	if person == "" {
		person = c.Subject
	}
	id, errID := parseFull(c.Subject)
	owner, errOwner := parseFull(person)
	scope, errScope := sallyport.ParseScope(c.Scope)
	level, errLevel := sallyport.ParseAssurance(c.Level)
	if errID != nil || errOwner != nil || errScope != nil || errLevel != nil {
		return sallyport.Principal{}, refusal("claims")
	}
	return sallyport.Principal{
		ID: id, Person: owner, Session: c.Session, Family: c.Family, Token: c.ID, Audience: c.Audience, Scope: scope,
		Assurance: level, Methods: c.Methods, AuthTime: time.Unix(c.AuthTime, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
	}, nil
}

// parseFull accepts an id only in the spelling that ids are written in, with its kind.
func parseFull(s string) (sallyport.PrincipalID, error) {
	id, err := sallyport.ParsePrincipalID(s)
	if err == nil && string(id) != s {
		return "", refusal("claims")
	}
	return id, err
}

// header is the protected header of a token of ours, complete.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// parseHeader accepts a header only when writing its three members gives the same bytes again. Repeated and unknown
// members, crit, and any that brings its own key (jwk, jku, x5u, x5c) are refused before a library sees them.
func parseHeader(b []byte) (header, error) {
	var h header
	if json.Unmarshal(b, &h) != nil {
		return header{}, refusal("header")
	}
	if again, err := json.Marshal(h); err != nil || string(again) != string(b) {
		return header{}, refusal("header")
	}
	return h, nil
}
