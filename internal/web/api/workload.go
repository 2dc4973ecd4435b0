package api

import (
	"encoding/json"
	"time"

	"sallyport"
)

// A TrustRule says which proof of another issuer proves which service or agent.
type TrustRule struct {
	Name       string                `json:"name"`
	Kind       string                `json:"kind"`               // "github", "gitlab", "kubernetes", "spiffe", "oidc"
	Issuer     string                `json:"issuer"`             // iss, or of SPIFFE the trust domain
	Audience   string                `json:"audience,omitempty"` // "" = our issuer
	Match      map[string]string     `json:"match"`              // claims with the value that each must have
	AnySubject bool                  `json:"anySubject,omitempty"`
	Keys       json.RawMessage       `json:"keys,omitempty"` // JWKS; instead of an address
	KeysURL    string                `json:"keysUrl,omitempty"`
	Principal  sallyport.PrincipalID `json:"principal"`
	Scope      string                `json:"scope"`
	Life       string                `json:"life"` // duration, "15m"; at most an hour
	Clients    []string              `json:"clients"`
	By         sallyport.PrincipalID `json:"by,omitempty"`
	Created    time.Time             `json:"created,omitzero"`
}

// A TrustTest asks what a proof would prove to a client. Nothing is given for it.
type TrustTest struct {
	Proof  string `json:"proof"`
	Client string `json:"client"`
}

// A TrustTrial says whether one rule accepts a proof, and why not.
type TrustTrial struct {
	Rule      string                `json:"rule"`
	Accepted  bool                  `json:"accepted"`
	Why       string                `json:"why,omitempty"`
	Principal sallyport.PrincipalID `json:"principal,omitempty"`
	Scope     string                `json:"scope,omitempty"`
	Expires   time.Time             `json:"expires,omitzero"` // of what would be given
}
