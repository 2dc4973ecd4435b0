package device_test

import (
	"crypto/rand"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/plumbing/tpmkey"
	"sallyport/internal/plumbing/tpmkey/tpmtest"
	"sallyport/internal/web/api"
)

// TestDEV1WholeEnrolment enrols with a real TPM, and refuses each part that is another's.
func TestDEV1WholeEnrolment(t *testing.T) {
	e := tpmtest.Start(t)
	w := newWorld(t)
	pem, err := os.ReadFile(e.Roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	trusting := &tpm.Verifier{Roots: roots, Random: rand.Reader, Now: time.Now}
	chip, err := tpmkey.Open(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer chip.Close()
	candidate, err := chip.Candidate()
	if err != nil {
		t.Fatal(err)
	}
	evidence := &tpm.Evidence{EK: candidate.EK, EKChain: candidate.EKChain, AK: tpm.Made(candidate.AK)}

	// attempt enrols, with one thing changed.
	attempt := func(change func(c device.Challenge, p *device.Proof)) (device.Enrolled, error) {
		t.Helper()
		c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop", TPM: evidence})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := candidate.Answer(c.Credential, c.Encrypted)
		if err != nil {
			t.Fatal(err)
		}
		key, part, err := candidate.NewKey(c.Nonce)
		if err != nil {
			t.Fatal(err)
		}
		request, made := requestOf(t, key), tpm.Made(part)
		p := device.Proof{Owner: "user:ana", ID: c.ID, Request: request, Signed: signed(t, key, api.ToSign(server, c.Nonce, request)), Answer: answer, Key: &made}
		if err := key.Close(); err != nil { // a TPM without a resource manager has three places
			t.Fatal(err)
		}
		change(c, &p)
		return w.Finish(t.Context(), p)
	}
	for name, change := range map[string]func(c device.Challenge, p *device.Proof){
		"the wrong secret":      func(_ device.Challenge, p *device.Proof) { p.Answer[0] ^= 1 },
		"no secret":             func(_ device.Challenge, p *device.Proof) { p.Answer = nil },
		"no word about the key": func(_ device.Challenge, p *device.Proof) { p.Key = nil },
		"a key outside the TPM": func(c device.Challenge, p *device.Proof) {
			l := newLaptop(t)
			p.Request, p.Signed = l.request, signed(t, l.key, api.ToSign(server, c.Nonce, l.request))
		},
		"a key that the AK certified for another enrolment": func(_ device.Challenge, p *device.Proof) {
			key, part, err := candidate.NewKey([]byte("another"))
			if err != nil {
				t.Fatal(err)
			}
			key.Close()
			made := tpm.Made(part)
			p.Key = &made
		},
	} {
		x, err := attempt(change)
		wantKind(t, name, err, sallyport.Invalid)
		if x.Chain != nil {
			t.Errorf("%s: a certificate", name)
		}
	}
	for _, v := range []struct {
		verifier *tpm.Verifier
		level    device.Level
	}{{w.TPM, device.Software}, {trusting, device.Attested}} {
		w.TPM = v.verifier
		x, err := attempt(func(device.Challenge, *device.Proof) {})
		if err != nil || x.Device.Level != v.level || len(x.Device.Hardware) != 64 {
			t.Errorf("%+v, %v; want level %d", x.Device, err, v.level)
		}
	}
}
