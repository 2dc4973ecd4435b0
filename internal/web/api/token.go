package api

import (
	"encoding/json"
	"time"

	"sallyport"
)

// A Program is an OAuth client: a program that may ask for tokens.
type Program struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Method       string   `json:"method,omitempty"` // none, private_key_jwt, tls_client_auth or self_signed_tls_client_auth
	Grants       []string `json:"grants"`
	Scopes       []string `json:"scopes"`            // the most it may ask for
	Default      []string `json:"default,omitempty"` // when it asks for none
	Audiences    []string `json:"audiences"`         // what its tokens may be for, the default first
	RedirectURIs []string `json:"redirectUris,omitempty"`
	Loopback     string   `json:"loopback,omitempty"` // path on a loopback address

	Keys        json.RawMessage `json:"keys,omitempty"`        // private_key_jwt: JWKS
	Thumbprint  string          `json:"thumbprint,omitempty"`  // self_signed_tls_client_auth
	Authority   string          `json:"authority,omitempty"`   // tls_client_auth: PEM
	Certificate string          `json:"certificate,omitempty"` // tls_client_auth: name of the certificate
	// TokenEndpointAudience accepts assertions for the token endpoint beside those for the issuer.
	TokenEndpointAudience bool `json:"tokenEndpointAudience,omitempty"`

	Principal  sallyport.PrincipalID `json:"principal,omitempty"` // service or agent that it is by itself
	Serves     []string              `json:"serves,omitempty"`    // audiences whose tokens it may introspect
	Push       bool                  `json:"push,omitempty"`      // it must push its authorization requests
	Bind       bool                  `json:"bind,omitempty"`      // its tokens must be bound to a key
	Overlap    string                `json:"overlap,omitempty"`   // duration, up to 30s
	PostLogout []string              `json:"postLogout,omitempty"`
	LogoutURI  string                `json:"logoutUri,omitempty"`

	Created time.Time `json:"created,omitzero"`
	Builtin bool      `json:"builtin,omitempty"`
}

// A Delegation is a person's permission that an agent acts for them.
type Delegation struct {
	ID    string                `json:"id,omitempty"`
	Agent sallyport.PrincipalID `json:"agent"`
	Scope string                `json:"scope"`
	For   string                `json:"for,omitempty"` // duration, in a request
	Until time.Time             `json:"until,omitzero"`
}

// A KeyEntry is one key of the inventory. It holds no key.
type KeyEntry struct {
	Kind      string    `json:"kind"` // signing, kek, ca, log, tls or secret
	ID        string    `json:"id"`
	Algorithm string    `json:"algorithm"`
	Use       string    `json:"use"`
	State     string    `json:"state"` // in use, next, or kept for what it made before
	From      time.Time `json:"from,omitzero"`
	Next      time.Time `json:"next,omitzero"` // when it is replaced by itself, zero where nothing does that
	Note      string    `json:"note,omitempty"`
}

// A KeyRotation says which key of tokens is made anew.
type KeyRotation struct {
	Kind string `json:"kind"` // signing or log
	// Now forgets the old signing keys at once: everything that they signed ends. It is for a key that may be known.
	Now bool `json:"now,omitempty"`
}
