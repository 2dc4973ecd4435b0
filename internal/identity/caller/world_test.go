package caller_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/dpop"
	"sallyport/internal/plumbing/secret"
)

const (
	external = "https://sallyport.test"
	door     = external + "/hf"
	file     = "/hf/acme/open/resolve/main/model.safetensors"
)

// A world is a caller over real facts and a real memory of proofs. Its tokens are names in a table: what a token says is
// another room's.
type world struct {
	*guardtest.World
	*caller.Service
	t      testing.TB
	proofs *dpop.Proofs
	tokens map[string]sallyport.Principal
	dead   map[string]sallyport.Principal // those that were revoked

	mu     sync.Mutex
	noted  []sallyport.Event
	broken error
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: guardtest.New(t), t: t, tokens: map[string]sallyport.Principal{}}
	var err error
	if w.proofs, err = dpop.New(secret.NewBytes(bytes.Repeat([]byte{7}, 32)), w.Clock.Now); err != nil {
		t.Fatal(err)
	}
	w.Service = &caller.Service{Verify: w.verify, Prove: w.proofs.Check, Facts: w.World.Facts, External: external, Record: w.note}
	return w
}

func (w *world) verify(_ context.Context, raw secret.Text, audience string, _ time.Time) (sallyport.Principal, error) {
	if p, ok := w.dead[raw.Reveal()]; ok {
		return sallyport.Principal{}, &access.Dead{Whose: p, Err: sallyport.E("access token", sallyport.Unknown, "the token is not valid here", "").Because("token.revoked")}
	}
	p, ok := w.tokens[raw.Reveal()]
	if !ok || p.Audience != audience {
		return sallyport.Principal{}, sallyport.E("access token", sallyport.Unknown, "the token is not valid here", "sign in again").Because("token.signature")
	}
	return p, nil
}

func (w *world) note(_ context.Context, e sallyport.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.noted = append(w.noted, e)
	}
	return w.broken
}

// issue makes a token of ana's that is bound to a key, "" for none.
func (w *world) issue(name, key string) secret.Text {
	w.tokens[name] = sallyport.Principal{ID: "user:ana", Person: "user:ana", Session: "S-ana", Family: "F-" + name, Audience: door, Key: key,
		Client: "cli", Assurance: sallyport.MultiFactor, Expires: w.Clock.Now().Add(time.Hour)}
	return secret.NewText(name)
}

// who tells whom a proof proves, and the reason for which it proves nobody.
func (w *world) who(p guard.Proof) (sallyport.Principal, string) {
	w.t.Helper()
	if p.Audience == "" {
		p.Audience = door
	}
	if p.IP == "" {
		p.IP = "192.0.2.7"
	}
	who, err := w.Who(w.t.Context(), p, w.Clock.Now())
	if err == nil {
		return who, ""
	}
	if sallyport.KindOf(err) != sallyport.Unknown || who.ID != "" {
		w.t.Fatalf("%v proves %q", err, who.ID)
	}
	return who, sallyport.ReasonOf(err)
}

// refuses checks that a proof proves nobody, for a reason.
func (w *world) refuses(name string, p guard.Proof, reason string) {
	w.t.Helper()
	if who, got := w.who(p); got != reason {
		w.t.Errorf("%s: reason %q, principal %q; want %q", name, got, who.ID, reason)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func thumbprint(t testing.TB, k crypto.Signer) string {
	t.Helper()
	key, err := jose.NewKey("", "", k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key.Thumbprint()
}

// shown is a call with a proof of a key, made for it with the nonce of now; change spoils it.
func (w *world) shown(k crypto.Signer, access secret.Text, change ...func(*jose.ProofFor)) guard.Proof {
	w.t.Helper()
	of := jose.ProofFor{Method: "GET", URL: external + file, Token: access, Nonce: w.proofs.Nonce(), Now: w.Clock.Now()}
	for _, c := range change {
		c(&of)
	}
	text, err := jose.Signer{Key: k, Algorithm: jose.ES256, Rand: rand.Reader}.SignProof(of)
	if err != nil {
		w.t.Fatal(err)
	}
	return guard.Proof{Bearer: access, Scheme: "DPoP", DPoP: []string{text.Reveal()}, Method: "GET", URL: file}
}

// enrol makes a device of somebody's, and a certificate that names it.
func (w *world) enrol(id string, owner sallyport.PrincipalID, k *ecdsa.PrivateKey) []byte {
	w.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Device(device.Device{ID: id, Owner: owner, Class: device.Standard, Level: device.Software, State: device.Active,
		Keys: device.Keys{SPKI: device.ThumbprintSPKI(spki), JKT: thumbprint(w.t, k)}})
	return certify(w.t, id, k, w.Clock.Now())
}

// remove takes a device away.
func (w *world) remove(id string) { w.Device(device.Device{ID: id, State: device.Removed}) }

// certify makes a certificate of a day over a key, by itself: chains are the listener's.
func certify(t testing.TB, id string, k *ecdsa.PrivateKey, now time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: id}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "sallyport.test", Path: "/device/" + id}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func x5t(der []byte) string {
	sum := sha256.Sum256(der)
	return "x5t:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
