package api

import (
	"encoding/json"
	"time"

	"sallyport"
)

// A Provider is somebody else's identity provider that people sign in by.
type Provider struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Kind    string   `json:"kind"` // "oidc", "saml" or "ldap"
	Issuer  string   `json:"issuer"`
	Groups  []string `json:"groups"`            // those that its rules fill and empty
	Domains []string `json:"domains,omitempty"` // e-mail domains that it speaks for
	Joins   string   `json:"joins,omitempty"`   // organisation that new people join; "" where none can
	People  int      `json:"people"`            // members with an identity of it
}

// A ProviderTest is what a provider presents right now.
type ProviderTest struct {
	Name  string   `json:"name"`
	Lines []string `json:"lines"`
}

// A ProviderMap asks what the rules of a provider make of claims: those of an ID token's payload, or attributes.
type ProviderMap struct {
	Claims json.RawMessage `json:"claims"`
}

// A ProviderLink makes an identity of a provider a member's.
type ProviderLink struct {
	Who     sallyport.PrincipalID `json:"who"`
	Subject string                `json:"subject"` // as the provider writes it
}

// A Mapped is what the rules make of claims.
type Mapped struct {
	Provider string                `json:"provider"`
	Subject  string                `json:"subject"`
	Member   sallyport.PrincipalID `json:"member,omitempty"` // whom the identity belongs to today
	Name     string                `json:"name,omitempty"`   // the user name of somebody who joins
	Display  string                `json:"display,omitempty"`
	Email    string                `json:"email,omitempty"`
	Trusted  bool                  `json:"trusted,omitempty"` // the address may find a member
	Groups   []string              `json:"groups"`
	Level    string                `json:"assurance"`
	Methods  []string              `json:"methods"`
	AuthTime time.Time             `json:"authTime,omitzero"`
}
