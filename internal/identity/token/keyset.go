package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"sallyport"
)

// The algorithms that are accepted. Ed25519 is the name RFC 9864 gives to what RFC 8037 calls EdDSA; both verify.
const (
	es256      = jose.ES256
	edDSA      = jose.EdDSA
	edDSAFully = jose.SignatureAlgorithm("Ed25519")
)

func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{es256, edDSA, edDSAFully}
}

const (
	maxKeySetBytes = 64 << 10
	maxKeys        = 64
)

// A KeySet is public keys by their ids. It never changes: another set is another pointer.
type KeySet struct {
	keys     map[string]any // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	document []byte         // JWKS
}

// newKeySet makes a set of keys that all have ids.
func newKeySet(keys []jose.JSONWebKey) (*KeySet, error) {
	s := &KeySet{keys: make(map[string]any, len(keys))}
	public := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		k = k.Public()
		if !usable(k.Key) || k.KeyID == "" {
			continue
		}
		if _, twice := s.keys[k.KeyID]; twice {
			return nil, sallyport.E("read key set", sallyport.Invalid, fmt.Sprintf("two keys are called %q", k.KeyID), "give each its own kid")
		}
		s.keys[k.KeyID] = k.Key
		public.Keys = append(public.Keys, k)
	}
	var err error
	if s.document, err = json.Marshal(public); err != nil {
		return nil, sallyport.Wrap("write key set", sallyport.Other, "", err)
	}
	return s, nil
}

func usable(key any) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize
	}
	return false
}

// ParseKeySet reads a JWKS document (RFC 7517, section 5), at most 64 KiB and 64 keys. As the RFC asks, keys of a
// type, curve or use that is not known here are passed over: the others still work.
func ParseKeySet(document []byte) (*KeySet, error) {
	const op = "read key set"
	if len(document) > maxKeySetBytes {
		return nil, sallyport.E(op, sallyport.TooLarge, "more than 64 KiB", "")
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "not a JWKS document", err)
	}
	if len(raw.Keys) > maxKeys {
		return nil, sallyport.E(op, sallyport.TooLarge, "more than 64 keys", "")
	}
	var keys []jose.JSONWebKey
	for _, one := range raw.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(one) == nil && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	return newKeySet(keys)
}

// Document returns the set as a JWKS document of public keys. The caller must not change it.
func (s *KeySet) Document() []byte { return s.document }

// verifier returns what checks a signature of this algorithm by this key, or nil when the two do not belong together.
func (s *KeySet) verifier(id, algorithm string) any {
	switch key := s.keys[id].(type) {
	case *ecdsa.PublicKey:
		if algorithm == string(es256) {
			return key
		}
	case ed25519.PublicKey:
		if algorithm == string(edDSA) || algorithm == string(edDSAFully) {
			return edVerifier{key}
		}
	}
	return nil
}

// edVerifier accepts both names of the algorithm, which the library does not.
type edVerifier struct{ key ed25519.PublicKey }

// VerifyPayload implements [jose.OpaqueVerifier].
func (v edVerifier) VerifyPayload(payload, signature []byte, _ jose.SignatureAlgorithm) error {
	if !ed25519.Verify(v.key, payload, signature) {
		return errors.New("signature does not verify")
	}
	return nil
}
