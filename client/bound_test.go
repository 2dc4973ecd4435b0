package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// bound is an authorization server and a door in one: it binds what it issues to the key of the proof, wants a nonce of
// the present minute, and refuses tokens after their five minutes. Time is its own.
type bound struct {
	*httptest.Server
	mu      sync.Mutex
	now     time.Time
	key     string // thumbprint that everything is bound to
	issued  int
	ends    map[string]time.Time
	refresh string
	refused []string // why, each time that a door said no for another reason than a nonce
}

const fiveMinutes = 5 * time.Minute

func newBound(t *testing.T) *bound {
	b := &bound{now: time.Now(), ends: map[string]time.Time{}}
	mux := http.NewServeMux()
	b.Server = httptest.NewServer(mux)
	t.Cleanup(b.Close)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]string{"issuer": b.URL, "authorization_endpoint": b.URL + "/a", "token_endpoint": b.URL + "/token",
			"device_authorization_endpoint": b.URL + "/d", "revocation_endpoint": b.URL + "/r"})
	})
	mux.HandleFunc("GET /a", func(w http.ResponseWriter, r *http.Request) {
		answer := url.Values{"code": {"c"}, "state": {r.URL.Query().Get("state")}, "iss": {b.URL}}
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+answer.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", b.token)
	mux.HandleFunc("/hf/", b.door)
	mux.HandleFunc("/api/", b.door)
	return b
}

// proof verifies the request's proof and reports the key, or answers.
func (b *bound) proof(w http.ResponseWriter, r *http.Request, status int, token secret.Text) (string, bool) {
	nonce := fmt.Sprint("n-", b.now.Unix()/60)
	w.Header().Set("DPoP-Nonce", nonce)
	// The client's clock is the machine's; the server's moves on, and only nonces tell it.
	p, err := jose.VerifyProof(r.Header.Values("DPoP"), jose.Request{Method: r.Method, URL: b.URL + r.URL.Path, Token: token, NoToken: token.IsZero(), Now: time.Now()})
	switch {
	case err != nil:
		b.refused = append(b.refused, err.Error())
		reply(w, status, map[string]string{"error": "invalid_dpop_proof"})
	case p.Nonce != nonce:
		reply(w, status, map[string]string{"error": "use_dpop_nonce"})
	default:
		return p.Thumbprint, true
	}
	return "", false
}

func (b *bound) token(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, ok := b.proof(w, r, http.StatusBadRequest, secret.Text{})
	if !ok {
		return
	}
	_ = r.ParseForm()
	if got := r.PostForm.Get("refresh_token"); b.refresh != "" && (got != b.refresh || key != b.key) {
		b.refused = append(b.refused, "refresh with another key or an old token")
		oauthFail(w, "invalid_grant")
		return
	}
	b.issued++
	b.key, b.refresh = key, fmt.Sprint("r-", b.issued)
	access := fmt.Sprint("t-", b.issued)
	b.ends[access] = b.now.Add(fiveMinutes)
	reply(w, 200, map[string]any{"access_token": access, "token_type": "DPoP", "expires_in": 300, "refresh_token": b.refresh})
}

func (b *bound) door(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	access, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	if !ok {
		b.refused = append(b.refused, "no DPoP token")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	key, ok := b.proof(w, r, http.StatusUnauthorized, secret.NewText(access))
	if !ok {
		return
	}
	if key != b.key || !b.now.Before(b.ends[access]) {
		b.refused = append(b.refused, "a token of another key, or an expired one")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	reply(w, 200, map[string]any{"id": "user:ana", "read": n})
}

func (b *bound) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bound) config(t *testing.T, dir string) client.Config {
	t.Helper()
	cfg := client.Config{Server: b.URL, Plaintext: true, Store: &client.Store{Dir: dir, Clock: b.clock}}
	var err error
	if cfg.Key, err = cfg.Store.Key(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (b *bound) signIn(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login(t.Context(), client.LoginOptions{Open: (&fake{Server: b.Server}).browse}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestThreeHours: a job of three hours over tokens of five minutes, with a request a minute, never meets an expired
// token, and its proofs follow the nonces.
func TestThreeHours(t *testing.T) {
	b := newBound(t)
	cfg := b.config(t, t.TempDir())
	c := b.signIn(t, cfg)
	if l, err := cfg.Store.Current(); err != nil || l.Bound != cfg.Key.Thumbprint() {
		t.Fatalf("the login is bound to %q, %v", l.Bound, err)
	}
	job := &http.Client{Transport: c.Transport(client.Hub)}
	for minute := range 180 {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+"/hf/x?minute="+fmt.Sprint(minute), strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := job.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("minute %d: %d, %v", minute, answer.StatusCode, b.refused)
		}
		b.mu.Lock()
		b.now = b.now.Add(time.Minute)
		b.mu.Unlock()
	}
	if b.issued < 30 || len(b.refused) != 0 {
		t.Errorf("%d tokens in three hours, refusals %v", b.issued, b.refused)
	}
}

// TestACopiedDirectoryIsOfNoUse: with the credentials but another key nothing is given out and nothing opens.
func TestACopiedDirectoryIsOfNoUse(t *testing.T) {
	b := newBound(t)
	cfg := b.config(t, t.TempDir())
	b.signIn(t, cfg)
	stolen := t.TempDir()
	text, err := os.ReadFile(filepath.Join(cfg.Store.Dir, "credentials.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(stolen, "credentials.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	thief, err := client.New(b.config(t, stolen))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Who(t.Context()); err == nil {
		t.Error("another key opens the door")
	}
	if len(b.refused) == 0 {
		t.Error("the server did not see the theft")
	}
	bearer, err := client.New(client.Config{Server: b.URL, Plaintext: true, Store: &client.Store{Dir: stolen, Clock: b.clock}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bearer.Who(t.Context()); err == nil {
		t.Error("without a key the door opens")
	}
}

func TestBindingKey(t *testing.T) {
	s := &client.Store{Dir: filepath.Join(t.TempDir(), "new")}
	if _, err := s.Key(t.Context(), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
	prints := map[string]bool{}
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 8 { // side by side: one key
		all.Go(func() {
			k, err := s.Key(context.WithoutCancel(t.Context()), true)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			prints[k.Thumbprint()] = true
		})
	}
	all.Wait()
	if len(prints) != 1 {
		t.Errorf("%d keys, want one", len(prints))
	}
	file := filepath.Join(s.Dir, "binding.key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for name, spoil := range map[string]func() error{
		"others may read it": func() error { return os.Chmod(file, 0o644) },
		"no PEM":             func() error { return errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("x"), 0o600)) },
		"no key in it": func() error {
			return os.WriteFile(file, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Key(t.Context(), true); err == nil {
			t.Errorf("%s: it is used", name)
		}
		_ = os.Chmod(file, 0o600)
	}
	big, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.NewKey(big); err == nil {
		t.Error("a key on another curve is taken")
	}
}
