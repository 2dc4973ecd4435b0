package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// A Signer signs tokens with one key, which may live in a TPM, an HSM or in memory. It is safe for concurrent use when
// Key and Rand are.
type Signer struct {
	Key       crypto.Signer
	Algorithm Algorithm // must fit the key: see AlgorithmOf
	KeyID     string    // kid; "" leaves it out
	Rand      io.Reader
}

// AlgorithmOf returns the algorithm to sign with by a key, "" for a key of a type or size unknown here: ES256, ES384,
// ES512, EdDSA, or PS256 for RSA.
func AlgorithmOf(public crypto.PublicKey) Algorithm {
	for _, a := range []Algorithm{ES256, ES384, ES512, EdDSA, PS256} {
		if a.fits(public) && weakness(public) == "" {
			return a
		}
	}
	return ""
}

// protected is the header that is written; its members stand in this order.
type protected struct {
	Algorithm Algorithm       `json:"alg"`
	KeyID     string          `json:"kid,omitempty"`
	Type      string          `json:"typ"`
	Key       json.RawMessage `json:"jwk,omitempty"`
}

// Sign returns claims, written as JSON, as a token of a type (typ) in compact form.
func (s Signer) Sign(typ string, claims any) (secret.Text, error) {
	return s.sign(protected{Algorithm: s.Algorithm, KeyID: s.KeyID, Type: typ}, claims)
}

func (s Signer) sign(h protected, claims any) (secret.Text, error) {
	const op = "sign token"
	if s.Key == nil || s.Rand == nil || h.Type == "" || !s.Algorithm.fits(s.Key.Public()) {
		return secret.Text{}, unusable(op, "a key, an algorithm that fits it, a type and randomness are needed")
	}
	head, err := json.Marshal(h)
	if err != nil {
		return secret.Text{}, sallyport.Wrap(op, sallyport.Other, "", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return secret.Text{}, sallyport.Wrap(op, sallyport.Other, "", err)
	}
	text := append(base64.RawURLEncoding.AppendEncode(nil, head), '.')
	text = base64.RawURLEncoding.AppendEncode(text, body)
	signature, err := s.signature(text)
	if err != nil {
		return secret.Text{}, sallyport.Wrap(op, sallyport.Unavailable, "the key cannot be used", err)
	}
	return secret.NewText(string(base64.RawURLEncoding.AppendEncode(append(text, '.'), signature))), nil
}

func (s Signer) signature(message []byte) ([]byte, error) {
	digest := s.Algorithm.digest(message)
	switch public := s.Key.Public().(type) {
	case ed25519.PublicKey:
		return s.Key.Sign(s.Rand, message, crypto.Hash(0))
	case *rsa.PublicKey:
		if s.Algorithm[0] == 'P' {
			return s.Key.Sign(s.Rand, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.Algorithm.hash()})
		}
		return s.Key.Sign(s.Rand, digest, s.Algorithm.hash())
	case *ecdsa.PublicKey:
		der, err := s.Key.Sign(s.Rand, digest, s.Algorithm.hash())
		if err != nil {
			return nil, err
		}
		return fixed(der, public.Curve)
	}
	return nil, fmt.Errorf("no signature by a %T", s.Key.Public())
}

// fixed turns an ASN.1 signature into two numbers of the curve's size, RFC 7518 section 3.4.
func fixed(der []byte, curve elliptic.Curve) ([]byte, error) {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("not an ECDSA signature: %w", err)
	}
	size := coordinate(curve)
	if numbers.R.Sign() < 0 || numbers.S.Sign() < 0 || numbers.R.BitLen() > 8*size || numbers.S.BitLen() > 8*size {
		return nil, fmt.Errorf("not a signature on %s", curve.Params().Name)
	}
	signature := make([]byte, 2*size)
	numbers.R.FillBytes(signature[:size])
	numbers.S.FillBytes(signature[size:])
	return signature, nil
}

// A ProofFor is the request that a DPoP proof is made for.
type ProofFor struct {
	Method string
	URL    string      // query and fragment are left out
	Token  secret.Text // the access token beside it; empty where there is none
	Nonce  string      // the server's last nonce; "" where it gave none
	Now    time.Time
}

// SignProof makes a DPoP proof (RFC 9449 section 4.2) with a new jti.
func (s Signer) SignProof(r ProofFor) (secret.Text, error) {
	const op = "sign dpop proof"
	address, err := plainURL(r.URL)
	if err != nil {
		return secret.Text{}, err
	}
	if s.Key == nil || s.Rand == nil || r.Method == "" || r.Now.IsZero() {
		return secret.Text{}, unusable(op, "key, randomness, method and time are needed")
	}
	var id [16]byte
	if _, err := io.ReadFull(s.Rand, id[:]); err != nil {
		return secret.Text{}, sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	key, err := NewKey("", "", s.Key.Public())
	if err != nil {
		return secret.Text{}, err
	}
	jwk, err := key.bare()
	if err != nil {
		return secret.Text{}, err
	}
	claims := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Hash   string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{base64.RawURLEncoding.EncodeToString(id[:]), r.Method, address, r.Now.Unix(), "", r.Nonce}
	if !r.Token.IsZero() {
		claims.Hash = tokenHash(r.Token)
	}
	return s.sign(protected{Algorithm: s.Algorithm, Type: proofType, Key: jwk}, claims)
}
