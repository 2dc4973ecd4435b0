// Package tpm owns what is believed of a TPM 2.0 (TCG TPM 2.0 Library, part 1, sections 24 and 27) that says a key is its
// own: its endorsement key is a manufacturer's whom the operator trusts, its attestation key lives beside it (credential
// activation), and the attestation key certifies that the new key was made there, cannot leave, and is fresh.
//
// It leaves the ceremony and its records to device, and talking to a TPM to plumbing/tpmkey. Everything it reads comes from
// the client: sizes are bounded, and a defect in a parser is an error and not the end of the process.
package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-tpm/legacy/tpm2"

	"sallyport"
)

// maxPart bounds each part of the evidence, in bytes; a real one has some hundred.
const maxPart = 8 << 10

// maxChain bounds the certificates that come with an endorsement key's.
const maxChain = 4

// Evidence is what a client shows first.
type Evidence struct {
	EK      []byte   // public endorsement key (SubjectPublicKeyInfo, DER)
	EKChain [][]byte // its certificate (DER) and those above it, may be empty
	AK      Made     // attestation key
}

// Made is a key that a TPM made, with the TPM's own word about it.
type Made struct {
	Public      []byte // TPMT_PUBLIC
	CreateData  []byte // TPMS_CREATION_DATA; of an attestation key only
	Attestation []byte // TPMS_ATTEST
	Signature   []byte // TPMT_SIGNATURE
}

// A Challenge is what only the TPM that holds both keys can answer.
type Challenge struct {
	Credential, Encrypted []byte   // for TPM2_ActivateCredential
	Secret                [32]byte // SHA-256 of the answer; it stays here
	EK                    string   // SHA-256 of the endorsement key, hexadecimal
	Trusted               bool     // the endorsement key is one that the operator trusts
}

// A Verifier judges evidence. It is safe for concurrent use.
type Verifier struct {
	Roots   *x509.CertPool // of TPM manufacturers; nil trusts none
	Allowed []string       // SHA-256 of endorsement keys that are trusted by themselves, hexadecimal
	Random  io.Reader
	Now     func() time.Time
}

// Challenge checks an attestation key and makes the challenge for its TPM. An endorsement key that nobody vouches for is
// challenged too: whoever answers has a TPM, or a program that acts as one, and Trusted is false.
func (v *Verifier) Challenge(e Evidence) (c Challenge, err error) {
	defer parserDefect("begin enrolment", &err)
	if err := e.bounded(); err != nil {
		return Challenge{}, err
	}
	ek, err := x509.ParsePKIXPublicKey(e.EK)
	if err != nil {
		return Challenge{}, bad("the endorsement key cannot be read", err)
	}
	if err := checkEK(ek); err != nil {
		return Challenge{}, err
	}
	sum := sha256.Sum256(e.EK)
	c.EK = hex.EncodeToString(sum[:])
	if c.Trusted, err = v.trusts(ek, c.EK, e.EKChain); err != nil {
		return Challenge{}, err
	}
	if _, err := attest.ParseAKPublic(e.AK.Public); err != nil {
		return Challenge{}, bad("the attestation key cannot be read", err)
	}
	p := attest.ActivationParameters{EK: ek, Rand: v.Random,
		AK: attest.AttestationParameters{Public: e.AK.Public, CreateData: e.AK.CreateData, CreateAttestation: e.AK.Attestation, CreateSignature: e.AK.Signature}}
	answer, encrypted, err := p.Generate()
	if err != nil {
		return Challenge{}, bad("the attestation key is not one that a TPM keeps", err)
	}
	c.Secret, c.Credential, c.Encrypted = sha256.Sum256(answer), encrypted.Credential, encrypted.Secret
	return c, nil
}

// Answered reports in constant time whether the answer to a challenge is right.
func Answered(answer []byte, secret [32]byte) bool {
	sum := sha256.Sum256(answer)
	return subtle.ConstantTimeCompare(sum[:], secret[:]) == 1
}

// Certified returns the public key of a key that the attestation key ak certifies: made in the same TPM, not to be moved
// out of it, for signing, and after nonce was known.
func Certified(ak []byte, made Made, nonce []byte) (key crypto.PublicKey, err error) {
	defer parserDefect("enrol device", &err)
	if err := made.bounded(); err != nil {
		return nil, err
	}
	by, err := attest.ParseAKPublic(ak)
	if err != nil {
		return nil, bad("the attestation key cannot be read", err)
	}
	p := attest.CertificationParameters{Public: made.Public, CreateData: made.CreateData, CreateAttestation: made.Attestation, CreateSignature: made.Signature}
	if err := p.Verify(attest.VerifyOpts{Public: by.Public, Hash: by.Hash}); err != nil {
		return nil, bad("the key is not certified by this TPM", err)
	}
	said, err := tpm2.DecodeAttestationData(made.Attestation)
	if err != nil || len(nonce) == 0 || subtle.ConstantTimeCompare(said.ExtraData, nonce) != 1 {
		return nil, bad("the key was not certified for this enrolment", err)
	}
	public, err := tpm2.DecodePublic(made.Public)
	if err != nil {
		return nil, bad("the key cannot be read", err)
	}
	if public.Attributes&tpm2.FlagSign == 0 {
		return nil, bad("the key does not sign", nil)
	}
	if key, err = public.Key(); err != nil {
		return nil, bad("the key cannot be read", err)
	}
	return key, nil
}

func (e Evidence) bounded() error {
	if len(e.EKChain) > maxChain {
		return bad(fmt.Sprintf("more than %d certificates", maxChain), nil)
	}
	for _, part := range append(slices.Clone(e.EKChain), e.EK) {
		if len(part) > maxPart {
			return bad("a part of the evidence is too long", nil)
		}
	}
	return e.AK.bounded()
}

func (m Made) bounded() error {
	for _, part := range [][]byte{m.Public, m.Attestation, m.Signature} {
		if len(part) == 0 || len(part) > maxPart {
			return bad("a part of the evidence is missing or too long", nil)
		}
	}
	if len(m.CreateData) > maxPart {
		return bad("a part of the evidence is too long", nil)
	}
	return nil
}

// checkEK accepts the kinds of endorsement keys of the TCG EK Credential Profile.
func checkEK(ek crypto.PublicKey) error {
	switch k := ek.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= 2048 && n <= 4096 && k.E >= 3 {
			return nil
		}
	case *ecdsa.PublicKey:
		if n := k.Curve.Params().BitSize; n == 256 || n == 384 {
			return nil
		}
	}
	return bad("the endorsement key is of a kind that TPMs do not have", nil)
}

// trusts reports whether an endorsement key is one that the operator trusts. A certificate that is for another key is an
// error, one of a stranger is none.
func (v *Verifier) trusts(ek crypto.PublicKey, sum string, chain [][]byte) (bool, error) {
	if slices.Contains(v.Allowed, sum) {
		return true, nil
	}
	if len(chain) == 0 {
		return false, nil
	}
	leaf, err := attest.ParseEKCertificate(chain[0])
	if err != nil {
		return false, bad("the endorsement key's certificate cannot be read", err)
	}
	if k, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(ek) {
		return false, bad("the certificate is for another endorsement key", nil)
	}
	between := x509.NewCertPool()
	for _, der := range chain[1:] {
		c, err := attest.ParseEKCertificate(der)
		if err != nil {
			return false, bad("a certificate of the endorsement key's chain cannot be read", err)
		}
		between.AddCert(c)
	}
	if v.Roots == nil {
		return false, nil
	}
	// The name of an EK certificate is a directory name with the TPM's model, and critical (TCG EK Credential Profile,
	// section 3.2.9); crypto/x509 does not know the form.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
	})
	_, err = leaf.Verify(x509.VerifyOptions{Roots: v.Roots, Intermediates: between, CurrentTime: v.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil && !leaf.IsCA, nil
}

// parserDefect makes an error of a panic: the structures are an attacker's, and their parsers are not ours.
func parserDefect(op string, err *error) {
	if v := recover(); v != nil {
		*err = sallyport.Wrap(op, sallyport.Invalid, "the TPM's evidence is malformed", fmt.Errorf("panic: %v", v))
	}
}

func bad(why string, cause error) error {
	return sallyport.Wrap("enrol device", sallyport.Invalid, why, cause)
}

// SameKey reports whether a DER-encoded SubjectPublicKeyInfo is that of key.
func SameKey(spki []byte, key crypto.PublicKey) bool {
	der, err := x509.MarshalPKIXPublicKey(key)
	return err == nil && bytes.Equal(der, spki)
}
