package sallyport

import (
	"fmt"
	"strings"
	"time"
)

// A PrincipalID names who acts: "user:ana", "service:trainer" or "agent:helper".
// Names are never recycled: whoever is removed keeps the name.
type PrincipalID string

// A PrincipalKind is the kind of who acts.
type PrincipalKind string

// The kinds of principals.
const (
	User    PrincipalKind = "user"
	Service PrincipalKind = "service"
	Agent   PrincipalKind = "agent" // software that acts only on behalf of somebody else
)

// NewPrincipalID makes an id from a kind and a name, checking both.
func NewPrincipalID(kind PrincipalKind, name string) (PrincipalID, error) {
	if kind != User && kind != Service && kind != Agent {
		return "", E("principal", Invalid, fmt.Sprintf("no kind of principal is called %q", clip(string(kind))), "use user, service or agent")
	}
	if err := CheckName("principal", name); err != nil {
		return "", err
	}
	return PrincipalID(string(kind) + ":" + name), nil
}

// ParsePrincipalID reads "user:ana"; a bare name is a user.
func ParsePrincipalID(s string) (PrincipalID, error) {
	kind, name, ok := strings.Cut(s, ":")
	if !ok {
		kind, name = string(User), s
	}
	return NewPrincipalID(PrincipalKind(kind), name)
}

// Kind returns the part before the colon.
func (id PrincipalID) Kind() PrincipalKind {
	k, _, _ := strings.Cut(string(id), ":")
	return PrincipalKind(k)
}

// Name returns the part after the colon.
func (id PrincipalID) Name() string {
	_, n, _ := strings.Cut(string(id), ":")
	return n
}

// Assurance is how strongly a principal was proved, after the authenticator
// assurance levels of NIST SP 800-63B-4, with one step between AAL2 and AAL3.
// Higher is stronger; zero proves nothing.
type Assurance int

// The levels of assurance.
const (
	NoAssurance       Assurance = 0
	SingleFactor      Assurance = 1 // AAL1
	MultiFactor       Assurance = 2 // AAL2
	PhishingResistant Assurance = 3 // AAL2 by an authenticator that no other site can use, such as a synced passkey
	Hardware          Assurance = 4 // AAL3: phishing-resistant, by a key that does not leave its hardware
)

// String returns the level as an acr value: "none", "aal1", "aal2", "phr" (as in
// OpenID Connect Extended Authentication Profile ACR Values 1.0) or "aal3".
func (a Assurance) String() string {
	switch a {
	case SingleFactor:
		return "aal1"
	case MultiFactor:
		return "aal2"
	case PhishingResistant:
		return "phr"
	case Hardware:
		return "aal3"
	}
	return "none"
}

// ParseAssurance reads what String writes.
func ParseAssurance(s string) (Assurance, error) {
	for a := NoAssurance; a <= Hardware; a++ {
		if a.String() == s {
			return a, nil
		}
	}
	return NoAssurance, E("parse assurance", Invalid, fmt.Sprintf("no level is called %q", clip(s)), "use aal1, aal2, phr or aal3")
}

// A Principal is who stands behind one call, as proved: the identity, the person
// responsible for it, and by which session and token the proof came.
type Principal struct {
	ID        PrincipalID // who acts
	Person    PrincipalID // the person behind it: itself for a user, the owner for a service
	Session   string      // id of the session, "" where there is none
	Family    string      // id of the token family (OAuth grant), the unit of revocation
	Token     string      // id (jti) of the access token
	Audience  string      // the door that the token is for
	Scope     Scope       // what the token may be used for; policy intersects it
	Assurance Assurance   // how strongly the session was proved
	Methods   []string    // authentication methods used, RFC 8176 names
	AuthTime  time.Time   // when the person last proved themselves
	Expires   time.Time   // when this proof ends

	// Client is the OAuth client that the token was issued to.
	Client string
	// Actors are who acts on behalf of ID, the present one first (RFC 8693, section 4.1); empty when ID acts itself.
	// What they may do is what ID, each of them and Scope all permit.
	Actors []PrincipalID
	// Consents are the token families by which ID let the Actors act: with the end of any of them the proof ends.
	Consents []string
	// Key is the key that the token is bound to and that the call has proved: "jkt:" and an RFC 7638 thumbprint
	// (DPoP, RFC 9449), or "x5t:" and a certificate's SHA-256 (RFC 8705), both base64url; "" for a bearer token.
	Key string
	// Device is the id of the enrolled device whose key or certificate the call has proved, "" where there is none.
	Device string
	// Purpose is what the token was asked for, for example "training"; "" when it was not said.
	Purpose string
}

// Bound reports whether the token is of no use without the key that the call has proved.
func (p Principal) Bound() bool { return p.Key != "" }

// CheckName refuses a name that is not 1 to 63 characters of a-z, 0-9, ".", "_"
// and "-", beginning with a letter or a digit. One spelling a name: no upper
// case, no Unicode, so that no two names look the same.
func CheckName(op, name string) error {
	ok := len(name) >= 1 && len(name) <= 63 && name[0] != '.' && name[0] != '_' && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok || strings.Contains(name, "..") {
		return E(op, Invalid, fmt.Sprintf("the name %q is not allowed", clip(name)),
			"use 1 to 63 characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit")
	}
	return nil
}
