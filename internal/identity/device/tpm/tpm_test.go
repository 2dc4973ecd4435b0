package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/plumbing/tpmkey"
	"sallyport/internal/plumbing/tpmkey/tpmtest"
)

// A machine is a computer with a TPM.
type machine struct {
	*tpmkey.TPM
	*tpmkey.Candidate
	emulator tpmtest.Emulator
}

func newMachine(t *testing.T) machine {
	t.Helper()
	e := tpmtest.Start(t)
	m := machine{emulator: e}
	var err error
	if m.TPM, err = tpmkey.Open(e.Path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.TPM.Close() })
	if m.Candidate, err = m.TPM.Candidate(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m machine) evidence() tpm.Evidence {
	return tpm.Evidence{EK: bytes.Clone(m.EK), EKChain: slices.Clone(m.EKChain), AK: made(m.AK)}
}

func made(p tpmkey.Part) tpm.Made {
	return tpm.Made{Public: bytes.Clone(p.Public), CreateData: bytes.Clone(p.CreateData), Attestation: bytes.Clone(p.Attestation), Signature: bytes.Clone(p.Signature)}
}

func (m machine) verifier(t *testing.T) *tpm.Verifier {
	t.Helper()
	pem, err := os.ReadFile(m.emulator.Roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no root")
	}
	return &tpm.Verifier{Roots: roots, Random: rand.Reader, Now: time.Now}
}

var nonce = []byte("a nonce of thirty-two bytes, yes")

// TestEnrolment goes the whole way with a real TPM, once with a manufacturer that is trusted and once without.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for name, v := range map[string]*tpm.Verifier{"trusted": m.verifier(t), "unknown": {Random: rand.Reader, Now: time.Now}} {
		c, err := v.Challenge(m.evidence())
		if err != nil {
			t.Fatal(err)
		}
		if c.Trusted != (name == "trusted") || len(c.EK) != 64 {
			t.Errorf("%s manufacturer: trusted %v, EK %q", name, c.Trusted, c.EK)
		}
		answer, err := m.Answer(c.Credential, c.Encrypted)
		if err != nil || !tpm.Answered(answer, c.Secret) {
			t.Fatalf("the TPM's answer is wrong: %v", err)
		}
		if tpm.Answered(answer[1:], c.Secret) || tpm.Answered(nil, c.Secret) {
			t.Error("a wrong answer is right")
		}
		if allowed, err := (&tpm.Verifier{Allowed: []string{c.EK}, Random: rand.Reader, Now: time.Now}).Challenge(m.evidence()); err != nil || !allowed.Trusted {
			t.Errorf("an endorsement key that is allowed by itself: %v, %v", allowed.Trusted, err)
		}
	}
	key, part, err := m.NewKey(nonce)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm.Certified(m.AK.Public, made(part), nonce)
	if err != nil || !key.Public().(*ecdsa.PublicKey).Equal(public) {
		t.Fatalf("the TPM's own key: %v", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "laptop"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || !tpm.SameKey(csr.RawSubjectPublicKeyInfo, public) {
		t.Errorf("a request signed in the TPM: %v", err)
	}
	wrapped, err := key.Wrapped()
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := m.Load(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("text"))
	signature, err := again.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), sum[:], signature) {
		t.Errorf("a signature by the key that was loaded again: %v", err)
	}
}

// TestDEV1 has everything that is nearly right refused.
func TestDEV1(t *testing.T) {
	t.Parallel()
	m, other := newMachine(t), newMachine(t)
	v := m.verifier(t)
	c, err := v.Challenge(m.evidence())
	if err != nil {
		t.Fatal(err)
	}
	key, part, err := m.NewKey(nonce)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	otherKey, otherPart, err := other.NewKey(nonce)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("the challenge in another TPM", func(t *testing.T) {
		if answer, err := other.Answer(c.Credential, c.Encrypted); err == nil {
			t.Errorf("answered: %v", tpm.Answered(answer, c.Secret))
		}
	})
	t.Run("the AK of another TPM", func(t *testing.T) {
		e := m.evidence()
		e.AK = other.evidence().AK
		c, err := v.Challenge(e) // the pairing shows only in the answer
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []machine{m, other} {
			if answer, err := m.Answer(c.Credential, c.Encrypted); err == nil {
				t.Errorf("answered: %v", tpm.Answered(answer, c.Secret))
			}
		}
	})
	t.Run("a manufacturer's certificate for another EK", func(t *testing.T) {
		e := other.evidence()
		e.EKChain = m.evidence().EKChain
		if c, err := v.Challenge(e); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("trusted %v, %v", c.Trusted, err)
		}
	})
	t.Run("another manufacturer", func(t *testing.T) {
		if c, err := v.Challenge(other.evidence()); err != nil || c.Trusted {
			t.Errorf("trusted %v, %v", c.Trusted, err)
		}
	})
	t.Run("a manufacturer's certificate that has ended", func(t *testing.T) {
		late := *v
		late.Now = func() time.Time { return time.Now().AddDate(9000, 0, 0) }
		c, err := late.Challenge(m.evidence())
		if leaf, perr := x509.ParseCertificate(m.EKChain[0]); perr == nil && late.Now().Before(leaf.NotAfter) {
			t.Fatal("this TPM's certificate ends even later, so nothing was tried")
		}
		if err != nil || c.Trusted {
			t.Errorf("trusted %v, %v", c.Trusted, err)
		}
	})
	certified := func(name string, ak []byte, made tpm.Made, nonce []byte) {
		t.Run(name, func(t *testing.T) {
			if key, err := tpm.Certified(ak, made, nonce); sallyport.KindOf(err) != sallyport.Invalid || key != nil {
				t.Errorf("%v, %v; want it refused", key, err)
			}
		})
	}
	certified("a key that another AK certifies", m.AK.Public, made(otherPart), nonce)
	certified("a key that the AK did not certify", m.AK.Public, func() tpm.Made { x := made(part); x.Public = made(otherPart).Public; return x }(), nonce)
	certified("the AK as the key", m.AK.Public, made(m.AK), nonce)
	certified("another enrolment's nonce", m.AK.Public, made(part), []byte("another"))
	certified("no nonce", m.AK.Public, made(part), nil)
	certified("no AK", nil, made(part), nonce)
	certified("nothing", m.AK.Public, tpm.Made{}, nonce)

	t.Run("a key outside the TPM", func(t *testing.T) {
		public, err := tpm.Certified(m.AK.Public, made(part), nonce)
		if err != nil {
			t.Fatal(err)
		}
		outside, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []any{outside.Public(), otherKey.Public()} {
			spki, err := x509.MarshalPKIXPublicKey(k)
			if err != nil || tpm.SameKey(spki, public) {
				t.Errorf("taken for the TPM's key, %v", err)
			}
		}
	})
	t.Run("a wrapped key in another TPM", func(t *testing.T) {
		key, _, err := m.NewKey(nonce)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := key.Wrapped()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Load(wrapped); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("loaded: %v", err)
		}
	})
}

// TestDEV2 damages every byte of real evidence in turn; DEV2's other half is the fuzzing below.
func TestDEV2(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := m.verifier(t)
	key, part, err := m.NewKey(nonce)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	e, k := m.evidence(), made(part)
	for name, p := range map[string]*[]byte{"EK": &e.EK, "EK certificate": &e.EKChain[0], "AK": &e.AK.Public, "AK data": &e.AK.CreateData, "AK word": &e.AK.Attestation,
		"AK signature": &e.AK.Signature, "key": &k.Public, "key word": &k.Attestation, "key signature": &k.Signature} {
		whole := *p
		for i := 0; i < len(whole); i += max(1, len(whole)/16) {
			for _, damaged := range [][]byte{whole[:i], slices.Concat(whole[:i], []byte{whole[i] ^ 0xff}, whole[i+1:])} {
				*p = damaged
				c, err := v.Challenge(e)
				if err != nil && sallyport.KindOf(err) != sallyport.Invalid {
					t.Fatalf("%s, byte %d: %v", name, i, err)
				}
				if _, cerr := tpm.Certified(e.AK.Public, k, nonce); err == nil && cerr == nil && c.Trusted && name != "AK data" {
					t.Errorf("%s, byte %d damaged: believed", name, i)
				}
			}
		}
		*p = whole
	}
	for name, change := range map[string]func(*tpm.Evidence){
		"an endless chain":   func(e *tpm.Evidence) { e.EKChain = slices.Repeat(e.EKChain, 9) },
		"a huge certificate": func(e *tpm.Evidence) { e.EKChain = [][]byte{make([]byte, 1<<20)} },
		"a huge EK":          func(e *tpm.Evidence) { e.EK = make([]byte, 1<<20) },
		"a huge AK":          func(e *tpm.Evidence) { e.AK.Public = make([]byte, 1<<20) },
	} {
		e := m.evidence()
		change(&e)
		if _, err := v.Challenge(e); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzEvidence wants an error and no panic of whatever a client sends.
func FuzzEvidence(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	ak := []byte{0, 1, 0, 0xb, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x14, 0, 0xb, 8, 0, 0, 0, 0, 0, 0, 0}
	f.Add(spki, cert, ak, []byte{0, 0, 0, 0}, []byte("\xffTCG\x80\x1a\x00\x00"), []byte{0, 0x14, 0, 0xb, 0, 1, 0, 9})
	f.Add(spki, []byte{0x10, 1, 0, 0xff, 0xff, 1}, []byte{0, 0x23, 0, 0xb, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0xb, 0, 3, 0, 0x10, 0, 0, 0, 0}, []byte{}, []byte("\xffTCG\x80\x17"), []byte{0, 0x18})
	f.Fuzz(func(t *testing.T, ek, chain, public, data, word, signature []byte) {
		v := tpm.Verifier{Roots: x509.NewCertPool(), Random: rand.Reader, Now: time.Now}
		m := tpm.Made{Public: public, CreateData: data, Attestation: word, Signature: signature}
		if c, err := v.Challenge(tpm.Evidence{EK: ek, EKChain: [][]byte{chain}, AK: m}); c.Trusted || err != nil && sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("trusted %v, %v", c.Trusted, err)
		}
		if _, err := tpm.Certified(public, m, nonce); err != nil && sallyport.KindOf(err) != sallyport.Invalid {
			t.Error(err)
		}
	})
}
