package passkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport"
	"sallyport/internal/plumbing/softkey"
)

// A publisher signs BLOBs under a root of its own.
type publisher struct {
	root *x509.Certificate
	leaf []byte
	key  *ecdsa.PrivateKey
}

func newPublisher(t testing.TB, now time.Time) *publisher {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		template.NotBefore, template.NotAfter, template.BasicConstraintsValid = now.Add(-time.Hour), now.Add(time.Hour), true
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "metadata root"}, IsCA: true}
	der, rootKey := make(root, root, nil)
	p := &publisher{}
	var err error
	if p.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.leaf, p.key = make(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "metadata signer"}}, p.root, rootKey)
	return p
}

// blob signs entries.
func (p *publisher) blob(t testing.TB, entries ...map[string]any) []byte {
	t.Helper()
	payload, err := json.Marshal(map[string]any{"legalHeader": "none", "no": 7, "nextUpdate": "2027-01-01", "entries": entries})
	if err != nil {
		t.Fatal(err)
	}
	chain := []string{base64.StdEncoding.EncodeToString(p.leaf)}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{}).WithHeader("x5c", chain))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

// entry describes a maker's model with a status.
func entry(m *softkey.Maker, status string) map[string]any {
	return map[string]any{"aaguid": m.AAGUID, "timeOfLastStatusChange": "2026-01-01", "statusReports": []map[string]any{{"status": status, "effectiveDate": "2026-01-01"}},
		"metadataStatement": map[string]any{"description": "Model of the metadata", "aaguid": m.AAGUID, "protocolFamily": "fido2", "schema": 3, "attestationTypes": []string{"basic_full"},
			"attestationRootCertificates": []string{base64.StdEncoding.EncodeToString(m.Root().Raw)}, "authenticationAlgorithms": []string{"secp256r1_ecdsa_sha256_raw"},
			"publicKeyAlgAndEncodings": []string{"cose"}, "authenticatorVersion": 1, "upv": []map[string]int{{"major": 1, "minor": 0}}}}
}

// A BLOB makes a listed model hardware, without roots in the configuration; one that is REVOKED registers nothing and signs
// nobody in (WA5); a model that is known and not listed stays what every passkey is.
func TestWA5Metadata(t *testing.T) {
	d := newDesk(t)
	p := newPublisher(t, d.at)
	load := func(status string) {
		t.Helper()
		m, err := ParseMetadata(p.blob(t, entry(d.maker, status), map[string]any{"aaguid": "broken"}), p.root, d.at)
		if err != nil {
			t.Fatal(err)
		}
		if read, broken := m.Models(); read != 1 || broken != 1 || m.Number != 7 || m.Next.Year() != 2027 {
			t.Fatalf("%d read, %d broken, number %d, next %v", read, broken, m.Number, m.Next)
		}
		d.config.Metadata = m
		d.again()
	}
	d.config.Models = nil
	load("FIDO_CERTIFIED")
	k := d.maker.Key()
	got := d.registered(ana, k)
	if got.Model != "Model of the metadata" || !got.Attested || d.Class(got) != Synced {
		t.Errorf("known, not listed: %+v", got)
	}
	d.config.Models = []Model{{AAGUID: d.maker.AAGUID}}
	load("FIDO_CERTIFIED")
	if in, err := d.signIn(k); err != nil || in.Class != Hardware {
		t.Errorf("listed: %v, %v", in.Class, err)
	}
	for _, status := range []string{"REVOKED", "ATTESTATION_KEY_COMPROMISE", "USER_KEY_REMOTE_COMPROMISE", "USER_VERIFICATION_BYPASS"} {
		load(status)
		_, err := d.signIn(k)
		wantReason(t, "a sign-in with a model that is "+status, err, sallyport.Unknown, ReasonWrong)
		_, err = d.register("user:bo", d.maker.Key())
		wantReason(t, "a registration of a model that is "+status, err, sallyport.Unknown, ReasonWrong)
	}
	load("FIDO_CERTIFIED")
	if _, err := d.signIn(k); err != nil {
		t.Errorf("good again: %v", err)
	}
}

func TestParseMetadataRefuses(t *testing.T) {
	now := time.Now()
	p, other := newPublisher(t, now), newPublisher(t, now)
	good := p.blob(t)
	if _, err := ParseMetadata(append(good, '\n'), p.root, now); err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(good), ".")
	payload, signature, _ := strings.Cut(rest, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	for name, c := range map[string]struct {
		blob string
		root *x509.Certificate
		at   time.Time
	}{
		"another root":         {string(good), other.root, now},
		"no root":              {string(good), nil, now},
		"expired certificates": {string(good), p.root, now.Add(2 * time.Hour)},
		"another payload":      {head + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"nextUpdate":"2027-01-01"}`)) + "." + signature, p.root, now},
		"no signature":         {none + "." + payload + ".", p.root, now},
		"no certificates":      {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + payload + "." + signature, p.root, now},
		"nothing":              {"", p.root, now},
		"no JWS":               {"{}", p.root, now},
	} {
		if _, err := ParseMetadata([]byte(c.blob), c.root, c.at); err == nil {
			t.Errorf("%s is accepted", name)
		} else if k := sallyport.KindOf(err); k != sallyport.Invalid && k != sallyport.TooLarge {
			t.Errorf("%s = %v", name, err)
		}
	}
	for _, payload := range []string{"", "[]", "{}", `{"nextUpdate":"soon"}`, `{"nextUpdate":"2027-01-01","entries":{}}`} {
		if _, err := parsePayload([]byte(payload)); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q = %v", payload, err)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	now := time.Now()
	p := newPublisher(f, now)
	maker, err := softkey.NewMaker("m", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.blob(f))
	f.Add(p.blob(f, entry(maker, "REVOKED")))
	f.Add([]byte("a.b.c"))
	f.Add([]byte(`{"no":1,"nextUpdate":"2027-01-01","entries":[{"aaguid":"x"}]}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if m, err := ParseMetadata(blob, p.root, now); err == nil && m.Number != 7 {
			t.Errorf("number %d was never signed", m.Number)
		}
		if m, err := parsePayload(blob); err == nil { // as if it had been signed
			if _, err := m.provider(nil, map[string]string{}); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a browser sends is parsed before anything about it is known: it proves nobody, and breaks nothing.
func FuzzAnswers(f *testing.F) {
	d := &desk{}
	maker, err := softkey.NewMaker("m", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	options := []byte(`{"publicKey":{"challenge":"AAAA","rpId":"sallyport.example","rp":{"id":"sallyport.example"},"user":{"id":"AAAA"}}}`)
	k := maker.Key()
	created, err := k.Create(options, site)
	if err != nil {
		f.Fatal(err)
	}
	proved, err := k.Get(options, site)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{created, proved, nil, []byte("{}"), []byte(`{"id":"","rawId":"","type":"public-key","response":{}}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		if d.Service == nil {
			d = newDesk(t)
			d.registered(ana, d.maker.Key())
		}
		o, err := d.BeginSignIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Finish(t.Context(), o.Handle, SignIn, "", response); sallyport.KindOf(err) != sallyport.Unknown || got.Passkey.ID != "" {
			t.Errorf("%+v, %v", got, err)
		}
		r, err := d.BeginRegister(t.Context(), Person{ID: ana}, "S-1")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := d.FinishRegister(t.Context(), r.Handle, "S-1", "", response); sallyport.KindOf(err) != sallyport.Unknown || p.ID != "" {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
