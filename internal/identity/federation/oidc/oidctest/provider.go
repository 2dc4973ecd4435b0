// Package oidctest owns a small OpenID Connect provider for tests: discovery, keys, a token endpoint that demands PKCE, and
// whatever faults a test asks for. It leaves the sign-in page out: a test says who signed in.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"sallyport/internal/identity/jose"
)

// Client is the client id that the provider knows.
const Client = "sallyport"

// A Provider is a running provider. Its fields may be changed between requests, under Lock.
type Provider struct {
	sync.Mutex
	URL      string // the issuer
	Key      *jose.Signer
	Now      func() time.Time
	Claims   map[string]any        // beside iss, aud, iat, exp and nonce; nil values take one of these away
	Type     string                // typ of tokens
	Discover func(map[string]any)  // changes the discovery document
	Break    http.HandlerFunc      // answers everything instead, where it is set
	Fetches  int                   // of the key set
	Requests map[string]url.Values // by code: what was asked for

	t      testing.TB
	keys   []jose.Key
	server *http.Server
}

// New starts a provider that lives as long as the test.
func New(t testing.TB, now func() time.Time) *Provider {
	t.Helper()
	p := &Provider{t: t, Now: now, Claims: map[string]any{"sub": "u-1"}, Type: "JWT", Requests: map[string]url.Values{}}
	p.Rotate()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.URL, p.server = "http://"+l.Addr().String(), &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(l) }() // ends with Close
	t.Cleanup(p.Close)
	return p
}

// Close ends the provider: from now on it cannot be reached.
func (p *Provider) Close() { _ = p.server.Close() }

// Rotate makes a new key and forgets the old one.
func (p *Provider) Rotate() {
	p.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	id := rand.Text()
	public, err := jose.NewKey(id, jose.ES256, private.Public())
	if err != nil {
		p.t.Fatal(err)
	}
	p.Lock()
	defer p.Unlock()
	p.Key, p.keys = &jose.Signer{Key: private, Algorithm: jose.ES256, KeyID: id, Rand: rand.Reader}, []jose.Key{public}
}

// Approve answers a request to the authorization endpoint as if somebody had signed in: with the query of the callback.
func (p *Provider) Approve(to string) url.Values {
	p.t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		p.t.Fatal(err)
	}
	q := u.Query()
	p.Lock()
	defer p.Unlock()
	if pushed := q.Get("request_uri"); pushed != "" {
		q = p.Requests[pushed]
	}
	if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("client_id") != Client || q.Get("nonce") == "" {
		p.t.Errorf("authorization request %v", q)
	}
	code := rand.Text()
	p.Requests[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	p.Lock()
	defer p.Unlock()
	if p.Break != nil {
		p.Break(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		d := map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/jwks",
			"userinfo_endpoint": p.URL + "/userinfo", "authorization_response_iss_parameter_supported": true, "backchannel_logout_supported": true,
			"response_types_supported": []string{"code"}, "id_token_signing_alg_values_supported": []string{"ES256"}}
		if p.Discover != nil {
			p.Discover(d)
		}
		p.write(w, http.StatusOK, d)
	case "/jwks":
		p.Fetches++
		set, err := jose.NewSet(p.keys...)
		if err != nil {
			p.t.Error(err)
			return
		}
		_, _ = w.Write(set.Document())
	case "/par":
		_ = r.ParseForm()
		name := "urn:ietf:params:oauth:request_uri:" + rand.Text()
		p.Requests[name] = r.PostForm
		p.write(w, http.StatusCreated, map[string]any{"request_uri": name, "expires_in": 60})
	case "/token":
		p.token(w, r)
	case "/userinfo":
		p.write(w, http.StatusOK, map[string]any{"sub": p.Claims["sub"], "department": "research"})
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	code := r.PostForm.Get("code")
	asked, ok := p.Requests[code]
	delete(p.Requests, code)
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		p.write(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	access := rand.Text()
	half := sha256.Sum256([]byte(access))
	claims := map[string]any{"nonce": asked.Get("nonce"), "at_hash": base64.RawURLEncoding.EncodeToString(half[:16])}
	maps.Copy(claims, p.Claims)
	p.write(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": p.sign(p.Type, claims)})
}

// Sign makes a token of the provider: iss, aud, iat and exp are set where claims do not say otherwise.
func (p *Provider) Sign(typ string, claims map[string]any) string {
	p.Lock()
	defer p.Unlock()
	return p.sign(typ, claims)
}

func (p *Provider) sign(typ string, claims map[string]any) string {
	all := map[string]any{"iss": p.URL, "aud": Client, "iat": p.Now().Unix(), "exp": p.Now().Add(5 * time.Minute).Unix()}
	maps.Copy(all, claims)
	for name, v := range all {
		if v == nil {
			delete(all, name)
		}
	}
	text, err := p.Key.Sign(typ, all)
	if err != nil {
		p.t.Error(err)
	}
	return text.Reveal()
}

func (p *Provider) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}
