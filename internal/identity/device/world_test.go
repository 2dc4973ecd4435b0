package device_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/identity/jose"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"sallyport/internal/web/api"
)

const server = "https://sally.acme.example"

// A world is a service on a real store, with a clock and a record of its own.
type world struct {
	*device.Service
	db  *sqldb.DB
	now time.Time

	mu     sync.Mutex
	events []sallyport.Event
	broken error // what recording ends with

	keys map[string]*ecdsa.PrivateKey // by device
	said int64                        // statements so far
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	var err error
	if w.db, err = sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "d.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	clock := func() time.Time { return w.now }
	same := func(b, _ []byte) ([]byte, error) { return append([]byte{}, b...), nil }
	authority, err := ca.Open(t.Context(), ca.Config{Store: w.db.DeviceAuthority(), Domain: "sally.acme.example", Seal: same, Open: same, Now: clock, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	w.Service = &device.Service{Store: w.db.Device(), CA: authority, TPM: &tpm.Verifier{Random: rand.Reader, Now: time.Now}, Server: server, Now: clock, Random: rand.Reader,
		Rule: device.Rule{MaxAge: 30 * 24 * time.Hour, Minimum: map[string]string{"linux": "6.1"}}, Admin: device.Software,
		Person: func(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
			if id == "service:trainer" {
				return "user:ana", nil
			}
			return id, nil
		},
		Note: func(_ context.Context, e sallyport.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.broken == nil {
				w.events = append(w.events, e)
			}
			return w.broken
		}}
	return w
}

// noted counts the events of a type.
func (w *world) noted(t sallyport.EventType) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Type == t {
			n++
		}
	}
	return n
}

// A laptop is a client with a key in software.
type laptop struct {
	key     *ecdsa.PrivateKey
	request []byte
}

func newLaptop(t testing.TB) laptop {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return laptop{key, requestOf(t, key)}
}

func requestOf(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// proof is what the laptop answers a challenge with.
func (l laptop) proof(t *testing.T, owner sallyport.PrincipalID, c device.Challenge) device.Proof {
	t.Helper()
	return device.Proof{Owner: owner, ID: c.ID, Request: l.request, Signed: signed(t, l.key, api.ToSign(server, c.Nonce, l.request)), Report: good()}
}

func signed(t testing.TB, key crypto.Signer, digest []byte) []byte {
	t.Helper()
	s, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func good() *device.Report {
	return &device.Report{Family: "linux", Version: "6.1.0-28-amd64", Updated: time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC), Encrypted: true, Locked: true}
}

// enrol goes the whole way.
func (w *world) enrol(t *testing.T, owner sallyport.PrincipalID) (laptop, device.Enrolled) {
	t.Helper()
	l := newLaptop(t)
	c, err := w.Begin(t.Context(), device.Start{Owner: owner, Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	x, err := w.Finish(t.Context(), l.proof(t, owner, c))
	if err != nil {
		t.Fatal(err)
	}
	if w.keys == nil {
		w.keys = map[string]*ecdsa.PrivateKey{}
	}
	w.keys[x.Device.ID] = l.key
	return l, x
}

// Report has the device of a certificate sign a report and send it.
func (w *world) Report(ctx context.Context, der []byte, r device.Report) (device.Device, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return device.Device{}, err
	}
	id := path.Base(c.URIs[0].Path)
	signed, err := w.statement(w.keys[id], id, r, nil)
	if err != nil {
		return device.Device{}, err
	}
	return w.Service.Report(ctx, der, signed)
}

// statement signs a report; change alters its claims.
func (w *world) statement(key *ecdsa.PrivateKey, id string, r device.Report, change func(map[string]any)) (string, error) {
	w.said++
	claims := map[string]any{"iss": id, "aud": server, "iat": w.now.Unix(), "exp": w.now.Add(time.Minute).Unix(), "jti": rand.Text(), "at": w.now.UnixMicro() + w.said,
		"posture": api.PostureReport(r)}
	if change != nil {
		change(claims)
	}
	signed, err := jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}.Sign(device.StatementType, claims)
	return signed.Reveal(), err
}

// wantKind checks an error's kind.
func wantKind(t *testing.T, what string, err error, kind sallyport.Kind) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

var errDisk = errors.New("disk")
