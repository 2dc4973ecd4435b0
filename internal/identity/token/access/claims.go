// Package access owns the access token (a JWT, RFC 9068): what stands in it, and what one that is shown proves.
//
// A verifier remembers what it verified for a minute, and knows which token families were revoked. It trusts no token for
// longer than its own signature and clock say.
//
// It leaves to others who gets a token (identity/token), whether the key that a token is bound to was proved
// (identity/caller), and what its scope permits (policy).
package access

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

// Type is the typ of access tokens (RFC 9068, section 2.1).
const Type = "at+jwt"

// Lifetime is the longest life of an access token: short enough that a leak is over soon, long enough to be used.
const Lifetime = 10 * time.Minute

// MaxLeeway is the most by which clocks may differ.
const MaxLeeway = 30 * time.Second

// MaxActors is how many may act for one another in a row (RFC 8693, section 4.1).
const MaxActors = 4

// MaxRaw is the longest token, in bytes.
const MaxRaw = 8 << 10

const (
	maxHeader  = 512     // characters of a token's first part
	maxScope   = 4 << 10 // bytes of the scope's text
	maxMethods = 16
	maxClaim   = 256 // bytes of any other claim
)

// HubPrefix stands before a token that goes to stock Hugging Face clients, which refuse others before they send them.
const HubPrefix = "hf_"

// Claims are those of RFC 9068, section 2.2, with cnf (RFC 7800), act (RFC 8693), authorization_details (RFC 9396), sid,
// and four of our own: fam names the family, consent the families by which a person let others act for them, person who
// answers for a service, purpose what the token is for. The types are narrow on purpose: an audience in an array or an
// expiry with a fraction is not ours.
type Claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience string          `json:"aud"`
	Expires  int64           `json:"exp"`
	Issued   int64           `json:"iat"`
	Before   int64           `json:"nbf,omitempty"`
	ID       string          `json:"jti"`
	Client   string          `json:"client_id"`
	Scope    string          `json:"scope"`
	Level    string          `json:"acr"`
	Methods  []string        `json:"amr,omitempty"`
	AuthTime int64           `json:"auth_time"`
	Session  string          `json:"sid,omitempty"`
	Family   string          `json:"fam"`
	Consent  string          `json:"consent,omitempty"`
	Person   string          `json:"person,omitempty"`
	Purpose  string          `json:"purpose,omitempty"`
	Confirm  *Confirmation   `json:"cnf,omitempty"`
	Actor    *Actor          `json:"act,omitempty"`
	Details  json.RawMessage `json:"authorization_details,omitempty"`
}

// A Confirmation names the key that a token is of no use without: one of its fields is set.
type Confirmation struct {
	JKT string `json:"jkt,omitempty"`      // RFC 9449, section 6.1
	X5T string `json:"x5t#S256,omitempty"` // RFC 8705, section 3.1
}

// Confirm returns the confirmation of a key as in sallyport.Principal.Key, nil for none.
func Confirm(key string) *Confirmation {
	kind, value, _ := strings.Cut(key, ":")
	switch kind {
	case "jkt":
		return &Confirmation{JKT: value}
	case "x5t":
		return &Confirmation{X5T: value}
	}
	return nil
}

// key is the reverse of Confirm. What is there must be one thumbprint: a confirmation that says nothing we understand
// makes the token worthless, never free.
func (c *Confirmation) key() (string, bool) {
	if c == nil {
		return "", true
	}
	kind, value := "jkt:", c.JKT
	if value == "" {
		kind, value = "x5t:", c.X5T
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(value)
	return kind + value, err == nil && len(b) == 32 && (c.JKT == "") != (c.X5T == "")
}

// An Actor is who acts for the subject, and on whose behalf that one does in turn.
type Actor struct {
	Subject string `json:"sub"`
	Actor   *Actor `json:"act,omitempty"`
}

// Acting makes the act claim of a list of actors, the present one first.
func Acting(actors []sallyport.PrincipalID) *Actor {
	var act *Actor
	for _, id := range slices.Backward(actors) {
		act = &Actor{Subject: string(id), Actor: act}
	}
	return act
}

func (a *Actor) list() ([]sallyport.PrincipalID, bool) {
	var all []sallyport.PrincipalID
	for ; a != nil; a = a.Actor {
		id, err := parseFull(a.Subject)
		if err != nil || len(all) == MaxActors {
			return nil, false
		}
		all = append(all, id)
	}
	return all, true
}

// A refusal is why a token proves nothing here. The caller learns only that it does not.
func refusal(reason string) error {
	return sallyport.E("access token", sallyport.Unknown, "the token is not valid here", "sign in again with 'sallyport login'").Because("token." + reason)
}

// translated gives an error of jose the reasons of this package.
func translated(err error) error {
	if sallyport.KindOf(err) != sallyport.Unknown {
		return err
	}
	return refusal(strings.TrimPrefix(sallyport.ReasonOf(err), "jose."))
}

// principal reads who is meant. Every name is parsed again: a signature says who wrote them, not that they are right.
func (c *Claims) principal() (sallyport.Principal, error) {
	for _, s := range append([]string{c.ID, c.Client, c.Session, c.Family, c.Consent, c.Audience, c.Purpose}, c.Methods...) {
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
	key, okKey := c.Confirm.key()
	actors, okActors := c.Actor.list()
	if errID != nil || errOwner != nil || errScope != nil || errLevel != nil || !okKey || !okActors {
		return sallyport.Principal{}, refusal("claims")
	}
	return sallyport.Principal{
		ID: id, Person: owner, Session: c.Session, Family: c.Family, Token: c.ID, Audience: c.Audience, Scope: scope,
		Assurance: level, Methods: c.Methods, AuthTime: time.Unix(c.AuthTime, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
		Client: c.Client, Actors: actors, Consents: strings.Fields(c.Consent), Key: key, Purpose: c.Purpose,
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

// read verifies form, header, signature and claims. Whatever is refused is refused by the cheapest check first: the
// signature costs some 60 microseconds, all that stands before it less than five.
func read(text string, keys *jose.Set, rules jose.Rules) (*Claims, error) {
	if len(text) > MaxRaw || strings.IndexByte(text, '.') > maxHeader {
		return nil, refusal("size")
	}
	if keys == nil {
		return nil, refusal("key")
	}
	one, err := jose.Verify(text, keys, jose.Profile{Op: "access token", Types: []string{Type}, Algorithms: jose.OwnAlgorithms()})
	if err != nil {
		return nil, translated(err)
	}
	if one.Header.KeyID == "" {
		return nil, refusal("key")
	}
	if err := one.Claims.Check(rules); err != nil {
		return nil, translated(err)
	}
	c := new(Claims)
	if err := one.Claims.Decode("access token", c); err != nil {
		return nil, refusal("claims")
	}
	return c, nil
}
