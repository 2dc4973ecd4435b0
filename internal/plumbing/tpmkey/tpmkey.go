// Package tpmkey owns signing keys that never leave a TPM 2.0 (TCG TPM 2.0 Library): making one with the evidence that it
// is the TPM's own, loading it again from its wrapped form, and signing with it.
//
// It leaves what the evidence is worth to whoever verifies it.
package tpmkey

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-attestation/attest"

	"sallyport"
)

// A TPM is an open TPM. Its methods are safe for concurrent use; they take turns.
type TPM struct {
	mu  sync.Mutex
	tpm *attest.TPM
}

// A Part is one public structure of a TPM, with the TPM's word about it, as tpm2 encodes them.
type Part struct{ Public, CreateData, Attestation, Signature []byte }

// Evidence is what a TPM shows before it is challenged.
type Evidence struct {
	EK      []byte   // SubjectPublicKeyInfo, DER
	EKChain [][]byte // its certificate, where the TPM has one
	AK      Part
}

// A Candidate is a TPM that asks to be believed: an attestation key that lives until Close.
type Candidate struct {
	Evidence
	t  *TPM
	ak *attest.AK
	ek attest.EK
}

// A Key is a signing key in a TPM: a crypto.Signer.
type Key struct {
	t      *TPM
	key    *attest.Key
	signer crypto.Signer
}

// Open opens the TPM at a path: a device such as /dev/tpmrm0, or the Unix socket of an emulator. "" is the machine's own.
func Open(path string) (*TPM, error) {
	config := &attest.OpenConfig{}
	if path != "" {
		rwc, err := openPath(path)
		if err != nil {
			return nil, sallyport.Wrap("open TPM", sallyport.Unavailable, "there is no TPM at "+path+" that this program may use", err)
		}
		config.CommandChannel = channel{rwc}
	}
	t, err := attest.OpenTPM(config)
	if err != nil {
		return nil, sallyport.Wrap("open TPM", sallyport.Unavailable, "this machine has no TPM 2.0 that this program may use", err)
	}
	return &TPM{tpm: t}, nil
}

// channel is a TPM without a measurement log.
type channel struct{ io.ReadWriteCloser }

// MeasurementLog implements [attest.CommandChannelTPM20].
func (channel) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

// Close closes the TPM. Keys of it are of no use afterwards.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tpm.Close()
}

// Candidate makes an attestation key and collects what is known of the TPM. It takes a second or more.
func (t *TPM) Candidate() (*Candidate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &Candidate{t: t}
	var err error
	if c.ek, err = endorsement(t.tpm); err != nil {
		return nil, fault("read its endorsement key", err)
	}
	if c.EK, err = x509.MarshalPKIXPublicKey(c.ek.Public); err != nil {
		return nil, fault("read its endorsement key", err)
	}
	if c.ek.Certificate != nil {
		c.EKChain = [][]byte{c.ek.Certificate.Raw}
	}
	if c.ak, err = t.tpm.NewAK(nil); err != nil {
		return nil, fault("make an attestation key", err)
	}
	p := c.ak.AttestationParameters()
	c.AK = Part{Public: p.Public, CreateData: p.CreateData, Attestation: p.CreateAttestation, Signature: p.CreateSignature}
	return c, nil
}

// endorsement prefers a key that the manufacturer has signed.
func endorsement(t *attest.TPM) (attest.EK, error) {
	if signed, err := t.EKCertificates(); err == nil && len(signed) > 0 {
		return signed[0], nil
	}
	all, err := t.EKs()
	if err == nil && len(all) == 0 {
		err = errors.New("none")
	}
	if err != nil {
		return attest.EK{}, err
	}
	return all[0], nil
}

// Answer opens a challenge: proof that the attestation key lives beside the endorsement key.
func (c *Candidate) Answer(credential, encrypted []byte) ([]byte, error) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	answer, err := c.ak.ActivateCredentialWithEK(c.t.tpm, attest.EncryptedCredential{Credential: credential, Secret: encrypted}, c.ek)
	if err != nil {
		return nil, fault("answer the challenge", err)
	}
	return answer, nil
}

// NewKey makes a signing key (ECDSA on P-256), and the attestation key's word that it is new as of nonce.
func (c *Candidate) NewKey(nonce []byte) (*Key, Part, error) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	k, err := c.t.tpm.NewKey(c.ak, &attest.KeyConfig{Algorithm: attest.ECDSA, Size: 256, QualifyingData: nonce})
	if err != nil {
		return nil, Part{}, fault("make a key", err)
	}
	p := k.CertificationParameters()
	key, err := c.t.wrap(k)
	return key, Part{Public: p.Public, CreateData: p.CreateData, Attestation: p.CreateAttestation, Signature: p.CreateSignature}, err
}

// Close forgets the attestation key.
func (c *Candidate) Close() error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.ak.Close(c.t.tpm)
}

// Load loads a key from its wrapped form. One that another TPM made is refused by the TPM.
func (t *TPM) Load(wrapped []byte) (*Key, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, err := t.tpm.LoadKey(wrapped)
	if err != nil {
		return nil, fault("load the device's key; a key of another machine's TPM does not load", err)
	}
	return t.wrap(k)
}

// wrap is under mu.
func (t *TPM) wrap(k *attest.Key) (*Key, error) {
	private, err := k.Private(k.Public())
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return nil, fault("use the key", errors.Join(err, k.Close()))
	}
	return &Key{t, k, signer}, nil
}

// Wrapped is the form in which only the same TPM can load the key again. It is no secret.
func (k *Key) Wrapped() ([]byte, error) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	b, err := k.key.Marshal()
	if err != nil {
		return nil, fault("keep the key", err)
	}
	return b, nil
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.signer.Public() }

// Sign implements [crypto.Signer]. It takes a tenth of a second on many TPMs.
func (k *Key) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	return k.signer.Sign(random, digest, opts)
}

// Close unloads the key and leaves the TPM open.
func (k *Key) Close() error {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	return k.key.Close()
}

func fault(what string, err error) error {
	return sallyport.Wrap("TPM", sallyport.Unavailable, fmt.Sprintf("the TPM did not %s", what), err)
}
