// Package jose owns what a JSON Web Signature proves (RFC 7515, RFC 7517, RFC 7519): public keys and sets of them,
// signed tokens and their claims, DPoP proofs (RFC 9449) and client assertions (RFC 7523). It verifies and signs the
// compact form only, with asymmetric keys only, and never decrypts: a JWE is not a token here.
//
// It is stricter than the RFCs where leniency has cost others dearly: algorithm, use and key_ops are bound to the key,
// base64url has one spelling, no member stands twice, no key comes from inside a token, and every token must say who
// issued it, for whom, and until when (RFC 8725). Nothing is checked less because a field was left empty.
//
// It leaves to others where keys come from (token, workload, federation), what was seen before (nonces, replays) and
// what a verified name may do. It reads no clock: the time is an argument.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"

	"sallyport"
)

// An Algorithm is the name of a signature algorithm, as in the header parameter alg.
type Algorithm string

// The algorithms that are understood (RFC 7518 section 3.1; RFC 8037 and RFC 9864 for the last two, which are two
// names of one algorithm). There is no none and no MAC: whoever can verify a MAC can also make one.
const (
	ES256   Algorithm = "ES256"
	ES384   Algorithm = "ES384"
	ES512   Algorithm = "ES512"
	PS256   Algorithm = "PS256"
	PS384   Algorithm = "PS384"
	PS512   Algorithm = "PS512"
	RS256   Algorithm = "RS256"
	RS384   Algorithm = "RS384"
	RS512   Algorithm = "RS512"
	EdDSA   Algorithm = "EdDSA"
	Ed25519 Algorithm = "Ed25519"
)

// OwnAlgorithms are those of tokens that Sallyport signs itself.
func OwnAlgorithms() []Algorithm { return []Algorithm{ES256, EdDSA, Ed25519} }

// ProofAlgorithms are those of DPoP proofs and client assertions: as in FAPI 2.0 without PKCS #1 v1.5.
func ProofAlgorithms() []Algorithm {
	return []Algorithm{ES256, ES384, ES512, PS256, PS384, PS512, EdDSA, Ed25519}
}

// ForeignAlgorithms are those of tokens that identity providers and workload issuers sign; many only know RS256.
func ForeignAlgorithms() []Algorithm { return append(ProofAlgorithms(), RS256, RS384, RS512) }

// known tells whether a is an algorithm at all.
func (a Algorithm) known() bool { return a == EdDSA || a == Ed25519 || a.hash() != 0 }

// hash is what is signed: a hash, or 0 for the message itself.
func (a Algorithm) hash() crypto.Hash {
	switch a {
	case ES256, PS256, RS256:
		return crypto.SHA256
	case ES384, PS384, RS384:
		return crypto.SHA384
	case ES512, PS512, RS512:
		return crypto.SHA512
	}
	return 0
}

// same tells whether two names mean one algorithm.
func (a Algorithm) same(b Algorithm) bool {
	return a == b || (a == EdDSA || a == Ed25519) && (b == EdDSA || b == Ed25519)
}

// fits tells whether the algorithm is made for keys of this type and curve.
func (a Algorithm) fits(public crypto.PublicKey) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return a == ES256 && key.Curve == elliptic.P256() || a == ES384 && key.Curve == elliptic.P384() ||
			a == ES512 && key.Curve == elliptic.P521()
	case *rsa.PublicKey:
		return a.hash() != 0 && (a[0] == 'P' || a[0] == 'R')
	case ed25519.PublicKey:
		return a == EdDSA || a == Ed25519
	}
	return false
}

// verify checks a signature over a message by a key that the algorithm fits.
func (a Algorithm) verify(public crypto.PublicKey, message, signature []byte) bool {
	digest := a.digest(message)
	switch key := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	case *ecdsa.PublicKey: // two numbers of the curve's size, RFC 7518 section 3.4
		size := coordinate(key.Curve)
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(key, digest, r, s)
	case *rsa.PublicKey:
		if a[0] == 'P' { // the salt is as long as the hash, RFC 7518 section 3.5
			return rsa.VerifyPSS(key, a.hash(), digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash(), digest, signature) == nil
	}
	return false
}

func (a Algorithm) digest(message []byte) []byte {
	switch a.hash() {
	case crypto.SHA256:
		sum := sha256.Sum256(message)
		return sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		return sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(message)
		return sum[:]
	}
	return nil
}

func coordinate(curve elliptic.Curve) int { return (curve.Params().BitSize + 7) / 8 }

// refusal is why something proves nothing. The caller learns only that it does not; the reason is for the record.
func refusal(op, reason string) error {
	return sallyport.E(op, sallyport.Unknown, "it is not valid here", "").Because("jose." + reason)
}
