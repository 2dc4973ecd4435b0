package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	soon(func() bool { // the index follows the log
		found, err = r.As("alba").who.client.Search(t.Context(), client.Search{Types: []string{string(sallyport.EventTokenTheft)}, Who: "user:theo"})
		return err != nil || len(found) > 0
	})
	if err != nil || len(found) != 1 {
		t.Errorf("the log tells of %d thefts, error %v", len(found), err)
	}
}

// stale is a wire on which nonces grow old: what a client knows after answers that were aged is what one knows after minutes
// of rest.
type stale struct {
	http.RoundTripper
	aged    atomic.Int64 // answers to come whose nonce is an old one
	refused atomic.Int64
	tokens  atomic.Int64 // requests for one

	mu   sync.Mutex
	wait int // requests that go on together, when so many have come
	come chan struct{}
}

func newStale(wire http.RoundTripper) *stale {
	return &stale{RoundTripper: wire, come: make(chan struct{})}
}

// age ages the nonces of the next n answers.
func (w *stale) age(n int64) { w.aged.Store(n) }

func (w *stale) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	if w.wait > 0 {
		if w.wait--; w.wait == 0 {
			close(w.come)
		}
		w.mu.Unlock()
		<-w.come
	} else {
		w.mu.Unlock()
	}
	if r.URL.Path == "/oauth/token" {
		w.tokens.Add(1)
	}
	a, err := w.RoundTripper.RoundTrip(r)
	switch {
	case err != nil:
	case strings.Contains(a.Header.Get("WWW-Authenticate"), "use_dpop_nonce"):
		w.refused.Add(1)
	case a.Header.Get("DPoP-Nonce") != "" && w.aged.Add(-1) >= 0:
		a.Header.Set("DPoP-Nonce", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	}
	return a, err
}

// TestTK4AnOldNonceInParallel: after minutes of rest several calls go out with the same old nonce. Each is sent again with the
// new one, whichever call learned it, and no token is thrown away for it.
func TestTK4AnOldNonceInParallel(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "", "")
	theo := r.As("theo").who
	key, err := client.NewKey(r.bind(theo))
	if err != nil {
		t.Fatal(err)
	}
	wire, err := r.system.wire()
	if err != nil {
		t.Fatal(err)
	}
	old := newStale(wire.Transport)
	wire.Transport = old
	c, err := client.New(client.Config{Server: r.server.External(), HTTP: wire, Store: theo.store, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	get := func() error {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.External()+own()[client.Hub], nil)
		if err != nil {
			return err
		}
		a, err := c.Transport(client.Hub).RoundTrip(q)
		if err == nil && a.StatusCode != http.StatusOK {
			err = errors.New(a.Status)
		}
		if err == nil {
			err = a.Body.Close()
		}
		return err
	}
	if err := get(); err != nil { // the token is there
		t.Fatal(err)
	}
	for _, ask := range []func() error{get, func() error { _, err := c.Who(t.Context()); return err }} {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		old.age(1)
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		before, tokens := old.refused.Load(), old.tokens.Load()
		const callers = 8
		old.mu.Lock()
		old.wait, old.come = callers, make(chan struct{})
		old.mu.Unlock()
		errs := make(chan error, callers)
		for range callers {
			go func() { errs <- ask() }()
		}
		for range callers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if got := old.refused.Load() - before; got != callers {
			t.Errorf("%d calls were refused for their nonce, want all %d, once each", got, callers)
		}
		if got := old.tokens.Load() - tokens; got != 0 {
			t.Errorf("%d tokens were asked for, though the ones there were good", got)
		}
	}
}
