package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// bind gives a person's command line a key that its logins are bound to, and signs it in anew.
func (r *story) bind(p *person) *ecdsa.PrivateKey {
	r.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := client.NewKey(own)
	if err != nil {
		r.t.Fatal(err)
	}
	wire, err := p.system.wire()
	if err != nil {
		r.t.Fatal(err)
	}
	p.store = &client.Store{Dir: filepath.Join(r.t.TempDir(), "bound")}
	if p.client, err = client.New(client.Config{Server: p.system.server.External(), HTTP: wire, Store: p.store, Key: key}); err != nil {
		r.t.Fatal(err)
	}
	if err := p.login(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return own
}

// shown sends a request to the hub with a bound token and a proof of a key.
func (r *story) shown(token string, key *ecdsa.PrivateKey, nonce string) (*http.Response, error) {
	address := r.server.External() + own()[client.Hub]
	proof, err := jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}.SignProof(jose.ProofFor{Method: "GET", URL: address,
		Token: secret.NewText(token), Nonce: nonce, Now: time.Now()})
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "DPoP "+token)
	q.Header.Set("DPoP", proof.Reveal())
	a, err := r.wire.Do(q)
	if err == nil {
		a.Body.Close()
	}
	return a, err
}

// TestTK4ATokenIsOfNoUseElsewhere: theo's command line is bound to a key. It works; what somebody copies from it does
// not, as a bearer token or with a key of their own, and the log tells of the theft.
func TestTK4ATokenIsOfNoUseElsewhere(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "", "")
	theo := r.As("theo").who
	key := r.bind(theo)
	who, err := theo.client.Who(t.Context())
	if err != nil || who.ID != "user:theo" {
		t.Fatalf("%+v, %v", who, err)
	}
	stolen, err := theo.token(t.Context(), client.Hub)
	if err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: own()[client.Hub], bearer: stolen})
	r.WantStatus(401)
	thief, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.shown(stolen, thief, "")
	if err != nil || a.StatusCode != 401 || !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="use_dpop_nonce"`) || a.Header.Get("DPoP-Nonce") == "" {
		t.Fatalf("without a nonce: %v, %v", a, err)
	}
	nonce := a.Header.Get("DPoP-Nonce")
	if a, err = r.shown(stolen, thief, nonce); err != nil || a.StatusCode != 401 || !strings.Contains(a.Header.Get("WWW-Authenticate"), `DPoP realm="sallyport", error="invalid_token"`) {
		t.Fatalf("with another key: %v, %v", a, err)
	}
	if a, err = r.shown(stolen, key, nonce); err != nil || a.StatusCode != 200 {
		t.Fatalf("with its own key: %v, %v", a, err)
	}
	var found []api.Found
	for range 100 { // the index follows the log
		if found, err = r.As("alba").who.client.Search(t.Context(), client.Search{Types: []string{string(sallyport.EventTokenTheft)}, Who: "user:theo"}); err != nil || len(found) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil || len(found) != 1 {
		t.Errorf("the log tells of %d thefts, error %v", len(found), err)
	}
}
