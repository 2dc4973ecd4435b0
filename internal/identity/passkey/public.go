package passkey

import (
	"context"
	"encoding/pem"

	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"sallyport"
)

// A Public is the public half of a passkey: enough to verify by, on any machine, what its owner signs.
type Public struct {
	Credential []byte // id of the credential
	Algorithm  int64  // of COSE (RFC 9053)
	Key        []byte // SubjectPublicKeyInfo, DER
	Party      string // relying party's id
	Origin     string // of the pages on which it may be used
}

// Public returns the public half of a person's passkey. NotFound where there is none of this id; Conflict where it is
// locked, or of an algorithm that has no common form.
func (s *Service) Public(ctx context.Context, member sallyport.PrincipalID, id string) (Public, error) {
	const op = "read passkey"
	if s.off != nil {
		return Public{}, s.off
	}
	p, err := s.Get(ctx, member, id)
	if err != nil {
		return Public{}, err
	}
	if !p.Locked.IsZero() {
		return Public{}, sallyport.E(op, sallyport.Conflict, "this passkey is locked: "+p.Why, "use another one").Because(ReasonLocked)
	}
	c, err := s.open(p)
	if err != nil {
		return Public{}, err
	}
	algorithm, ok := algorithmOf(c.PublicKey)
	block, _ := pem.Decode([]byte(webauthncose.DisplayPublicKey(c.PublicKey)))
	if !ok || block == nil || block.Type != "PUBLIC KEY" {
		return Public{}, sallyport.E(op, sallyport.Conflict, "the key of this passkey has no common form", "use another authenticator")
	}
	return Public{Credential: c.ID, Algorithm: algorithm, Key: block.Bytes, Party: s.party.Config.RPID, Origin: s.party.Config.RPOrigins[0]}, nil
}

// algorithmOf reads the algorithm of a COSE key.
func algorithmOf(cose []byte) (int64, bool) {
	parsed, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return 0, false
	}
	switch k := parsed.(type) {
	case webauthncose.EC2PublicKeyData:
		return k.Algorithm, true
	case webauthncose.OKPPublicKeyData:
		return k.Algorithm, true
	case webauthncose.RSAPublicKeyData:
		return k.Algorithm, true
	}
	return 0, false
}
