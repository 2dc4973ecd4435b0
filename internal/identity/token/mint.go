package token

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/plumbing/secret"
)

// Issued is what a client gets.
type Issued struct {
	Access   secret.Text // the JWT, without any prefix
	Refresh  secret.Text // empty where no refresh token was asked for, or the old one stays
	Identity secret.Text // ID token, empty unless the client asked for openid
	ID       string      // jti of the access token
	Audience string
	Scope    sallyport.Scope
	Purpose  string
	Key      string          // that the access token is bound to, "" = a bearer token
	Details  json.RawMessage // authorization_details, nil unless the client asked in this form
	Expires  time.Time       // of the access token
	Family   Family
}

// Text returns the access token as its client gets it, which is what an at_hash is over: behind access.HubPrefix where
// it is for the Hub's door.
func (i Issued) Text() string {
	if strings.HasSuffix(i.Audience, "/hf") {
		return access.HubPrefix + i.Access.Reveal()
	}
	return i.Access.Reveal()
}

// A Want narrows what is issued: every field is optional, and none can widen anything.
type Want struct {
	Audience string          // RFC 8707 resource; "" = the family's default
	Scope    sallyport.Scope // nil = the family's scope
	Purpose  string          // "" = the family's; a family that has one keeps it
	OpenID   bool            // says openid, which only a family with it can
	Detailed bool            // say the scope as authorization_details (RFC 9396), too
}

// mint signs an access token of a family. Its scope lies within the family's, and it ends with the family if that
// is sooner than AccessLifetime.
func (s *Issuer) mint(f Family, want Want, by By) (Issued, error) {
	now := s.Now()
	audience, scope, err := f.narrow(want)
	if err != nil {
		return Issued{}, err
	}
	if !f.Live(now) {
		return Issued{}, dead()
	}
	out := Issued{Audience: audience, Scope: scope, Family: f, Purpose: f.Purpose}
	if out.Purpose == "" {
		out.Purpose = want.Purpose
	}
	if out.Key, err = f.bound(by); err != nil {
		return Issued{}, err
	}
	if out.ID, err = newID(s.Rand); err != nil {
		return Issued{}, err
	}
	expires := now.Add(AccessLifetime)
	if f.Expires.Before(expires) {
		expires = f.Expires
	}
	if expires.Unix() <= now.Unix() {
		return Issued{}, dead()
	}
	out.Expires = time.Unix(expires.Unix(), 0).UTC()
	if want.Detailed || f.Detailed {
		if out.Details, err = access.Details(scope, out.Purpose); err != nil {
			return Issued{}, err
		}
	}
	if out.Access, err = s.Keys.Sign(access.Type, s.claims(out, now), now); err != nil {
		return Issued{}, err
	}
	if out.Access.Len() > access.MaxRaw {
		return Issued{}, fault("invalid_scope", "the scope makes the token too large", "ask for fewer items")
	}
	return out, nil
}

func (s *Issuer) claims(i Issued, now time.Time) access.Claims {
	f := i.Family
	c := access.Claims{
		Issuer: s.URL, Subject: string(f.Principal), Audience: i.Audience, Expires: i.Expires.Unix(), Issued: now.Unix(),
		ID: i.ID, Client: f.Client, Scope: i.Scope.String(), Level: f.Assurance.String(), Methods: f.Methods,
		AuthTime: f.AuthTime.Unix(), Session: f.Session, Family: f.ID, Consent: f.Consent, Purpose: i.Purpose,
		Confirm: access.Confirm(i.Key), Actor: access.Acting(f.Actors), Details: i.Details,
	}
	if f.Person != f.Principal {
		c.Person = string(f.Person)
	}
	return c
}

// bound returns the key that a token of the family is bound to: the family's, which the request must have proved, or
// for a family without one whatever key the request proved.
func (f Family) bound(by By) (string, error) {
	switch {
	case f.Key != "" && by.Key != f.Key:
		return "", fault("invalid_grant.key", "the approval is bound to a key that this request does not prove", "send a DPoP proof or a client certificate of that key")
	case by.Key == "" && by.Client.Bind:
		return "", fault("invalid_dpop_proof.missing", "the client must prove possession of a key", "send a DPoP proof")
	}
	return by.Key, nil
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
	if (len(scope) == 0 || w.OpenID) && !f.OpenID || !scope.Within(f.Scope) {
		return "", nil, fault("invalid_scope", "the scope asked for is wider than what was approved", "ask for less, or sign in again with the wider scope")
	}
	if w.Purpose != "" {
		if f.Purpose != "" && w.Purpose != f.Purpose {
			return "", nil, fault("invalid_request.purpose", "the approval is for another purpose", "ask for a new approval")
		}
		if sallyport.CheckName("token request", w.Purpose) != nil {
			return "", nil, fault("invalid_request.purpose", "the purpose is not a plain name", "write it like training")
		}
	}
	return audience, scope, nil
}

// identityType is the typ of ID tokens: nothing that asks for another accepts one.
const identityType = "JWT"

// identityClaims are those of OpenID Connect Core, section 2, with sid of Back-Channel Logout.
type identityClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	AuthTime int64    `json:"auth_time"`
	Nonce    string   `json:"nonce,omitempty"`
	Level    string   `json:"acr"`
	Methods  []string `json:"amr,omitempty"`
	Session  string   `json:"sid,omitempty"`
	Hash     string   `json:"at_hash"`
}

// identify signs the ID token that goes with an access token, where the family's client learns who the person is.
func (s *Issuer) identify(i Issued, nonce string) (secret.Text, error) {
	f, now := i.Family, s.Now()
	if !f.OpenID {
		return secret.Text{}, nil
	}
	sum := sha256.Sum256([]byte(i.Text()))
	return s.Keys.Sign(identityType, identityClaims{
		Issuer: s.URL, Subject: string(f.Principal), Audience: f.Client, Expires: i.Expires.Unix(), Issued: now.Unix(), AuthTime: f.AuthTime.Unix(),
		Nonce: nonce, Level: f.Assurance.String(), Methods: f.Methods, Session: f.Session, Hash: base64.RawURLEncoding.EncodeToString(sum[:16]),
	}, now)
}

// An Identity is what an ID token of ours says.
type Identity struct {
	Principal sallyport.PrincipalID
	Client    string
	Session   string
}

// ReadIdentity reads an ID token that we signed, to any client and however long ago: it is a hint about who is meant
// (OpenID Connect Core, section 3.1.2.1), and proves nothing. Errors are of kind Unknown.
func (s *Issuer) ReadIdentity(text string) (Identity, error) {
	one, err := jose.Verify(text, s.Keys.Current(), jose.Profile{Op: "id token", Types: []string{"jwt"}, Algorithms: jose.OwnAlgorithms()})
	if err != nil {
		return Identity{}, err
	}
	c := one.Claims
	if c.Issuer != s.URL || len(c.Audience) != 1 {
		return Identity{}, sallyport.E("id token", sallyport.Unknown, "the ID token is not one of ours", "").Because("jose.issuer")
	}
	session, _ := c.Text("sid")
	return Identity{Principal: sallyport.PrincipalID(c.Subject), Client: c.Audience[0], Session: session}, nil
}
