package token

import (
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/dpop"
)

// Proofs checks proofs of possession (DPoP, RFC 9449), at the token endpoint and at every door.
type Proofs = dpop.Proofs

// Verifier tells which principal an access token proves.
type Verifier = access.Verifier
