package sidecar_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/client"
	"sallyport/client/sidecar"
	"sallyport/internal/plumbing/secret"
)

// tokens gives out t-1, t-2, … and moves on when one is refused.
type tokens struct {
	mu   sync.Mutex
	next int
}

func (s *tokens) Token(_ context.Context, audience string) (secret.Text, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return secret.NewText(fmt.Sprintf("t-%d for %s", s.next, audience[strings.LastIndex(audience, "/"):])), nil
}

func (s *tokens) Refused(context.Context, string, secret.Text) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
}

// upstream is a server that accepts one token and wants a nonce in every proof.
type upstream struct {
	*httptest.Server
	accept, nonce string
	seen          []*http.Request
	bodies        []int64
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{accept: "t-0", nonce: "n-1"}
	u.Server = httptest.NewTLSServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	u.seen = append(u.seen, r.Clone(context.Background()))
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "DPoP" {
		w.Header().Set("DPoP-Nonce", u.nonce)
		if claims(r.Header.Get("DPoP"))["nonce"] != u.nonce {
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	if !strings.HasPrefix(token, u.accept+" ") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	u.bodies = append(u.bodies, n)
	w.Header().Set("Link", "<"+u.URL+"/hf/api/models?cursor=2>; rel=\"next\"")
	w.Header().Set("Set-Cookie", "a=b")
	fmt.Fprintf(w, "%s %s", r.Method, r.URL.RequestURI())
}

func claims(proof string) map[string]any {
	var c map[string]any
	parts := strings.Split(proof, ".")
	if len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &c)
	}
	return c
}

func start(t *testing.T, u *upstream, key *client.Key) *sidecar.Sidecar {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: u.URL, CAFile: ca, Tokens: &tokens{}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Start(t.Context(), c, "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	return s
}

func ask(t *testing.T, s *sidecar.Sidecar, path string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+s.Key().Reveal())
	if change != nil {
		change(q)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func newKey(t *testing.T) *client.Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := client.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPassesOnWithTheLoginsToken(t *testing.T) {
	u := newUpstream(t)
	s := start(t, u, nil)
	answer, text := ask(t, s, "/hf/api/models?limit=3", func(r *http.Request) {
		r.Header.Set("Cookie", "theirs=1")
		r.Header.Set("DPoP", "theirs")
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
	})
	if answer.StatusCode != http.StatusOK || text != "GET /hf/api/models?limit=3" {
		t.Fatalf("%d %s", answer.StatusCode, text)
	}
	got := u.seen[0].Header
	if got.Get("Authorization") != "Bearer t-0 for /hf" || got.Get("Cookie")+got.Get("DPoP")+got.Get("X-Forwarded-For") != "" {
		t.Errorf("the server saw %v", got)
	}
	if link := answer.Header.Get("Link"); link != "<"+s.URL()+"/hf/api/models?cursor=2>; rel=\"next\"" {
		t.Errorf("the next page is at %s", link)
	}
	if answer.Header.Get("Set-Cookie") != "" {
		t.Error("a cookie of the server came through")
	}
	if _, text := ask(t, s, "/openai/v1/models", nil); text != "GET /openai/v1/models" || u.seen[1].Header.Get("Authorization") != "Bearer t-0 for /openai" {
		t.Errorf("another door: %s, %v", text, u.seen[1].Header)
	}
}

// TestProvesPossession: the first answer teaches the nonce, the second request has it, and every proof is new.
func TestProvesPossession(t *testing.T) {
	u := newUpstream(t)
	key := newKey(t)
	s := start(t, u, key)
	for range 2 {
		if answer, text := ask(t, s, "/vault/v1/acme/fraud?x=y", nil); answer.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", answer.StatusCode, text)
		}
	}
	if len(u.seen) != 3 {
		t.Fatalf("%d requests, want one more than asked, for the nonce", len(u.seen))
	}
	once := map[any]bool{}
	for _, r := range u.seen {
		c := claims(r.Header.Get("DPoP"))
		if c["htm"] != "GET" || c["htu"] != u.URL+"/vault/v1/acme/fraud" || c["ath"] == nil || once[c["jti"]] {
			t.Errorf("a proof of %v", c)
		}
		once[c["jti"]] = true
	}
	u.nonce = "n-2" // the server's next one
	if answer, _ := ask(t, s, "/hf/x", func(r *http.Request) { r.Method, r.Body = "PUT", io.NopCloser(strings.NewReader("body")) }); answer.StatusCode != http.StatusOK || u.bodies[len(u.bodies)-1] != 4 {
		t.Errorf("a short body with an old nonce: %d, %v", answer.StatusCode, u.bodies)
	}
}

// TestLongBodyWaits: a body that cannot be kept is not sent to a server that would refuse it.
func TestLongBodyWaits(t *testing.T) {
	u := newUpstream(t)
	s := start(t, u, newKey(t))
	const size = 5 << 20
	answer, text := ask(t, s, "/vault/upload", func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(bytes.NewReader(make([]byte, size))), size
	})
	if answer.StatusCode != http.StatusOK || len(u.bodies) != 1 || u.bodies[0] != size {
		t.Errorf("%d %s, bodies %v", answer.StatusCode, text, u.bodies)
	}
}

func TestRenewsARefusedToken(t *testing.T) {
	u := newUpstream(t)
	u.accept = "t-1"
	s := start(t, u, nil)
	if answer, text := ask(t, s, "/hf/x", nil); answer.StatusCode != http.StatusOK {
		t.Errorf("%d %s", answer.StatusCode, text)
	}
	u.accept = "t-9"
	if answer, _ := ask(t, s, "/hf/x", nil); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token that is never accepted: %d", answer.StatusCode)
	}
}

// TestRefusesOthers: who has not the key, comes by another name or from a page gets nothing, and the server hears nothing.
func TestRefusesOthers(t *testing.T) {
	u := newUpstream(t)
	s := start(t, u, nil)
	for name, test := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
	}{
		"no key":         {"/hf/x", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		"another key":    {"/hf/x", func(r *http.Request) { r.Header.Set("Authorization", "Bearer hf_other") }, 401},
		"a longer key":   {"/hf/x", func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+"x") }, 401},
		"another host":   {"/hf/x", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"localhost":      {"/hf/x", func(r *http.Request) { r.Host = "localhost" }, 403},
		"a page":         {"/hf/x", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		"a page's image": {"/hf/x", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"no door":        {"/oauth/token", nil, 404},
		"out of a door":  {"/hf/../oauth/token", nil, 400},
		"the login page": {"/login", nil, 404},
	} {
		if answer, text := ask(t, s, test.path, test.change); answer.StatusCode != test.status || !strings.Contains(text, "sallyport") {
			t.Errorf("%s: %d %s, want %d", name, answer.StatusCode, text, test.status)
		}
	}
	if len(u.seen) != 0 {
		t.Errorf("the server saw %d requests", len(u.seen))
	}
	for name, change := range map[string]func(*http.Request){
		"basic": func(r *http.Request) { r.SetBasicAuth("anybody", s.Key().Reveal()) },
		"x-api-key": func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("X-Api-Key", s.Key().Reveal())
		},
	} {
		if answer, text := ask(t, s, "/hf/x", change); answer.StatusCode != http.StatusOK {
			t.Errorf("the key by %s: %d %s", name, answer.StatusCode, text)
		}
	}
	if u.seen[1].Header.Get("X-Api-Key") != "" {
		t.Error("the sidecar's key went to the server")
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:80", "127.0.0.1"} {
		if s, err := sidecar.Start(t.Context(), nil, address, slog.Default()); err == nil {
			s.Close(t.Context())
			t.Errorf("it listens on %s", address)
		}
	}
}

// TestServerIsGone: the tool hears that it is the network and not a refusal.
func TestServerIsGone(t *testing.T) {
	u := newUpstream(t)
	s := start(t, u, nil)
	u.Close()
	if answer, text := ask(t, s, "/hf/x", nil); answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "sallyport") {
		t.Errorf("%d %s", answer.StatusCode, text)
	}
}

func TestEnvironmentHoldsNoToken(t *testing.T) {
	s := start(t, newUpstream(t), nil)
	for _, e := range s.Environment() {
		if strings.Contains(e.Value, "t-0") {
			t.Errorf("%s is a token", e.Name)
		}
	}
}
