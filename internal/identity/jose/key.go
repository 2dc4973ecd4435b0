package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	library "github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"sallyport"
)

const (
	maxKeyID  = 256  // bytes
	minRSA    = 2048 // bits, NIST SP 800-131A
	maxRSA    = 8192 // bits: more costs a verifier too much
	maxJWK    = 16 << 10
	sizeOfKey = 512 // a set's first guess at what a key takes in its document
)

// A Key is a public key with what its owner says about its use. The zero value verifies nothing.
type Key struct {
	id        string
	algorithm Algorithm // "" = any that fits
	public    crypto.PublicKey
}

// NewKey makes a key from an ECDSA key on P-256, P-384 or P-521, an Ed25519 key, or an RSA key of 2,048 to 8,192
// bits. The id may be empty; an empty algorithm stands for every one that fits the key.
func NewKey(id string, algorithm Algorithm, public crypto.PublicKey) (Key, error) {
	const op = "read key"
	if why := weakness(public); why != "" {
		return Key{}, sallyport.E(op, sallyport.Invalid, why, "use an EC key on P-256, or an Ed25519 key")
	}
	if algorithm != "" && !algorithm.fits(public) {
		return Key{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the algorithm %.20q does not belong to a key of this type", string(algorithm)), "")
	}
	if len(id) > maxKeyID {
		return Key{}, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("a kid of more than %d bytes", maxKeyID), "")
	}
	return Key{id: id, algorithm: algorithm, public: public}, nil
}

// ParseKey reads one public JWK (RFC 7517). A private or symmetric key, a key of a type or curve that is not known,
// a weak key, and a key whose alg, use or key_ops say that it is not for verifying signatures are Invalid.
func ParseKey(document []byte) (Key, error) {
	const op = "read key"
	if len(document) > maxJWK {
		return Key{}, sallyport.E(op, sallyport.TooLarge, "more than 16 KiB", "")
	}
	var about struct {
		ID        string    `json:"kid"`
		Algorithm Algorithm `json:"alg"`
		Use       *string   `json:"use"`
		Uses      *[]string `json:"key_ops"`
	}
	var key library.JSONWebKey
	if err := strict.Unmarshal(document, &about); err != nil {
		return Key{}, sallyport.Wrap(op, sallyport.Invalid, "not a JSON Web Key", err)
	}
	if err := key.UnmarshalJSON(document); err != nil {
		return Key{}, sallyport.Wrap(op, sallyport.Invalid, "not a JSON Web Key of a known type", err)
	}
	switch {
	case !key.IsPublic():
		return Key{}, sallyport.E(op, sallyport.Invalid, "not a public key", "publish the public half only, and replace this key: it is known now")
	case about.Use != nil && *about.Use != "sig", about.Uses != nil && !slices.Equal(*about.Uses, []string{"verify"}):
		return Key{}, sallyport.E(op, sallyport.Invalid, "the key is not for verifying signatures", `use "use":"sig" or "key_ops":["verify"]`)
	}
	return NewKey(about.ID, about.Algorithm, key.Key)
}

// ID returns the kid, "" where there is none.
func (k Key) ID() string { return k.id }

// Algorithm returns the one algorithm that the key is bound to, "" where its owner names none.
func (k Key) Algorithm() Algorithm { return k.algorithm }

// Public returns the key as a type of the standard library; it must not be changed.
func (k Key) Public() crypto.PublicKey { return k.public }

// Thumbprint returns the RFC 7638 SHA-256 thumbprint, base64url; "" for the zero key.
func (k Key) Thumbprint() string { return Thumbprint(k.public) }

// JWK returns the key as a public JWK with the members that it has and "use":"sig".
func (k Key) JWK() (json.RawMessage, error) {
	b, err := (library.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: string(k.algorithm), Use: "sig"}).MarshalJSON()
	if err != nil {
		return nil, sallyport.Wrap("write key", sallyport.Other, "", err)
	}
	return b, nil
}

// bare is the key alone, as a proof carries it.
func (k Key) bare() (json.RawMessage, error) {
	b, err := (library.JSONWebKey{Key: k.public}).MarshalJSON()
	if err != nil {
		return nil, sallyport.Wrap("write key", sallyport.Other, "", err)
	}
	return b, nil
}

// allows tells whether the key may verify signatures of this algorithm.
func (k Key) allows(a Algorithm) bool {
	return k.public != nil && a.fits(k.public) && (k.algorithm == "" || k.algorithm.same(a))
}

// Thumbprint returns the RFC 7638 SHA-256 thumbprint of a public key, base64url; "" for a key of a type unknown here.
func Thumbprint(public crypto.PublicKey) string {
	sum, err := (&library.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// CertificateThumbprint returns the SHA-256 of a DER certificate as x5t#S256 has it (RFC 8705 section 3.1), base64url.
func CertificateThumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// weakness says why a key must not be used, or "".
func weakness(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key == nil || key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return "the curve is not P-256, P-384 or P-521"
		}
		if _, err := key.ECDH(); err != nil {
			return "the point is not on the curve"
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "an Ed25519 key has 32 bytes"
		}
	case *rsa.PublicKey:
		return weakRSA(key)
	default:
		return "the type of the key is not known"
	}
	return ""
}

func weakRSA(key *rsa.PublicKey) string {
	switch {
	case key == nil || key.N == nil || key.N.BitLen() < minRSA || key.N.BitLen() > maxRSA:
		return fmt.Sprintf("the RSA modulus does not have %d to %d bits", minRSA, maxRSA)
	case key.E < 3 || key.E%2 == 0 || key.E > 1<<31-1:
		return "the RSA exponent is not an odd number of 3 to 2^31-1"
	case key.N.Bit(0) == 0:
		return "the RSA modulus is even"
	case isROCA(key.N):
		return "the RSA key has the pattern of CVE-2017-15361: its private half can be computed"
	}
	return ""
}

// isROCA tells whether a modulus looks like those of a library for smart cards and TPMs whose primes can be found
// (CVE-2017-15361): modulo each small prime it is a power of 65537. A random modulus is so with a chance below 2^-27.
func isROCA(n *big.Int) bool {
	residue := new(big.Int)
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		want, power := residue.Mod(n, big.NewInt(p)).Int64(), int64(1)
		for power != want {
			if power = power * 65537 % p; power == 1 {
				return false // once around without meeting it
			}
		}
	}
	return true
}
