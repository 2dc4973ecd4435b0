package workload_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const (
	ours = "https://sally.example"
	hub  = "https://sally.example/hf"
)

// db is the one database of the tests: making one takes longer than any of them.
var db *sqldb.DB

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "workload")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if db, err = sqldbtest.Open(context.Background(), filepath.Join(dir, "store.db")); err != nil {
			panic(err)
		}
		defer db.Close()
		return m.Run()
	}())
}

// forget removes the rules that a test made.
func forget(t *testing.T) {
	rules, err := db.Workload().Rules(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, r := range rules {
		if err := db.Workload().RemoveRule(context.Background(), r.Name); err != nil {
			t.Error(err)
		}
	}
}

// A world is a service with issuers that live on this machine.
type world struct {
	*workload.Service
	t  *testing.T
	at time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Cleanup(func() { forget(t) })
	w := &world{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	w.Service = &workload.Service{Store: db.Workload(), Issuer: ours, Audiences: []string{hub}, Now: func() time.Time { return w.at },
		Client: httpsafe.Client(func(a netip.AddrPort) bool { return a.Addr().IsLoopback() }, 1)}
	return w
}

// An issuer signs proofs with one key and publishes it.
type issuer struct {
	*httptest.Server
	signer  jose.Signer
	fetches atomic.Int64
	down    atomic.Bool
	answer  atomic.Value // string: instead of the keys
}

func (w *world) issuer() *issuer {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	i := &issuer{signer: jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(rw http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		if i.down.Load() {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		if text, ok := i.answer.Load().(string); ok {
			_, _ = rw.Write([]byte(text))
			return
		}
		_, _ = rw.Write(i.keys(w.t))
	})
	i.Server = httptest.NewTLSServer(mux)
	w.t.Cleanup(i.Close)
	w.trust(i.Server)
	return i
}

// trust makes the client accept a test server's certificate.
func (w *world) trust(s *httptest.Server) {
	transport, ok := w.Client.Transport.(*http.Transport)
	if !ok {
		w.t.Fatal("no transport")
	}
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	}
	transport.TLSClientConfig.RootCAs.AddCert(s.Certificate())
}

// keys is the issuer's JWKS document.
func (i *issuer) keys(t *testing.T) json.RawMessage {
	t.Helper()
	key, err := jose.NewKey(i.signer.KeyID, jose.ES256, i.signer.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	return set.Document()
}

type claims map[string]any

func (c claims) with(name string, value any) claims {
	d := claims{}
	for k, v := range c {
		d[k] = v
	}
	if d[name] = value; value == nil {
		delete(d, name)
	}
	return d
}

// github are the claims of a job of GitHub Actions, as far as they matter.
func (w *world) github(i *issuer) claims {
	return claims{
		"iss": i.URL, "aud": ours, "sub": "repo:acme/fraud:environment:prod", "jti": "j1", "iat": w.at.Unix(), "exp": w.at.Add(5 * time.Minute).Unix(),
		"repository": "acme/fraud", "repository_id": "42", "repository_owner": "acme", "repository_owner_id": "7", "environment": "prod",
		"ref": "refs/heads/main", "job_workflow_ref": "acme/fraud/.github/workflows/train.yml@refs/heads/main",
	}
}

func githubRule(i *issuer) workload.Rule {
	return workload.Rule{
		Name: "trainer", Kind: workload.GitHub, Issuer: i.URL, Principal: "service:trainer", Scope: sallyport.Scope{"model.push@acme/fraud"},
		Match: map[string]string{"repository_id": "42", "repository_owner_id": "7", "environment": "prod"},
		Life:  15 * time.Minute, Clients: []string{"ci"}, By: "user:adam",
	}
}

func (i *issuer) sign(t *testing.T, c claims) secret.Text {
	t.Helper()
	token, err := i.signer.Sign("JWT", c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) add(r workload.Rule) {
	w.t.Helper()
	if _, err := w.Add(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) verify(i *issuer, c claims) (workload.Proven, error) {
	w.t.Helper()
	return w.Verify(context.Background(), i.sign(w.t, c), "ci")
}

// want fails unless the error is of kind Unknown for this reason.
func want(t *testing.T, err error, reason string) {
	t.Helper()
	if sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != "workload."+reason {
		t.Errorf("error %v (%s), want one because of workload.%s", err, sallyport.ReasonOf(err), reason)
	}
}
