package oidc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/plumbing/secret"
)

// A party is a client's side: a key, and what it remembers of the server's nonces.
type party struct {
	w      *world
	key    *ecdsa.PrivateKey
	signer jose.Signer
}

func (w *world) party() *party {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return &party{w: w, key: key, signer: jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}}
}

func (p *party) jkt() string { return jose.Thumbprint(p.key.Public()) }

// jwks is the party's public key as a key set.
func (p *party) jwks() json.RawMessage {
	key, err := jose.NewKey("k1", jose.ES256, p.key.Public())
	if err != nil {
		p.w.t.Fatal(err)
	}
	set, err := jose.NewSet(key)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return set.Document()
}

// proof makes a DPoP proof for an endpoint, with the nonce of now.
func (p *party) proof(method, path, access string) string {
	p.w.t.Helper()
	return p.proofWith(jose.ProofFor{Method: method, URL: external + path, Token: secret.NewText(access), Nonce: p.w.proofs.Nonce(), Now: p.w.now()})
}

func (p *party) proofWith(f jose.ProofFor) string {
	p.w.t.Helper()
	raw, err := p.signer.SignProof(f)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return raw.Reveal()
}

// post posts a form with a proof.
func (p *party) post(path string, form url.Values) answer {
	p.w.t.Helper()
	return p.w.postWith(path, form, p.proof("POST", path, ""))
}

func (w *world) postWith(path string, form url.Values, proofs ...string) answer {
	w.t.Helper()
	r := w.request("POST", path, form.Encode())
	for _, one := range proofs {
		r.Header.Add("DPoP", one)
	}
	return w.do(r)
}

// assertion makes a client assertion with changes to its claims; a nil value removes one.
func (p *party) assertion(client string, changes map[string]any) string {
	p.w.t.Helper()
	claims := map[string]any{"iss": client, "sub": client, "aud": external, "jti": rand.Text(), "iat": p.w.now().Unix(), "exp": p.w.now().Add(time.Minute).Unix()}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	signer := p.signer
	signer.KeyID = "k1"
	raw, err := signer.Sign("JWT", claims)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return raw.Reveal()
}

func (p *party) authenticated(client string, form url.Values) url.Values {
	form.Set("client_assertion_type", clients.AssertionType)
	form.Set("client_assertion", p.assertion(client, nil))
	return form
}

// register registers a client.
func (w *world) register(c clients.Client) {
	w.t.Helper()
	if c.Name == "" {
		c.Name = "Client " + c.ID
	}
	if _, err := w.issuer.Clients.Add(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// confidential registers a client with a key of its own: a service, and a web program.
func (w *world) confidential(id string) *party {
	w.t.Helper()
	p := w.party()
	w.register(clients.Client{
		ID: id, Grants: clients.Grants(), Scopes: sallyport.Scope{"model.*"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{api, hub},
		RedirectURIs: []string{"https://" + id + ".example/callback"}, Method: clients.PrivateKey, Keys: p.jwks(), Principal: "service:trainer",
		PostLogout: []string{"https://" + id + ".example/bye"}, LogoutURI: "https://" + id + ".example/logout",
	})
	return p
}

func (w *world) redirectOf(id string) string { return "https://" + id + ".example/callback" }

// codeOf reads the code that a redirect to any client brings.
func codeOf(t testing.TB, a answer) string {
	t.Helper()
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusSeeOther || to.Query().Get("code") == "" {
		t.Fatalf("no code: %d %q %.300s", a.status, a.header.Get("Location"), a.body)
	}
	return to.Query().Get("code")
}

// claimsOf reads the claims of a token without verifying it.
func claimsOf(t testing.TB, raw any) map[string]any {
	t.Helper()
	text, _ := raw.(string)
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %v", raw)
	}
	var claims map[string]any
	if err := json.NewDecoder(bytes.NewReader(decode(t, parts[1]))).Decode(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestDPOP1 shows proofs that are none.
func TestDPOP1(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	good := func() string { return p.proof("POST", "/oauth/token", "") }
	sign := func(typ string) string {
		raw, err := p.signer.Sign(typ, map[string]any{"jti": "x", "htm": "POST", "htu": external + "/oauth/token", "iat": w.now().Unix(), "nonce": w.proofs.Nonce()})
		if err != nil {
			t.Fatal(err)
		}
		return raw.Reveal()
	}
	for name, proofs := range map[string][]string{
		"two proofs": {good(), good()}, "no key in it": {sign("dpop+jwt")}, "another type": {sign("JWT")}, "nonsense": {"x.y.z"}, "empty": {""},
		"not signed": {strings.Join(append(strings.Split(good(), ".")[:2], ""), ".")}, "an access token": {w.login()["access_token"].(string)},
	} {
		wantError(t, name, w.postWith("/oauth/token", refreshForm("x"), proofs...), http.StatusBadRequest, "invalid_dpop_proof")
	}
}

// TestDPOP2 shows proofs of other requests. Query and fragment do not count.
func TestDPOP2(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	for at, good := range map[string]bool{external + "/oauth/token": true, external + "/oauth/token?x=1#y": true, "HTTPS://SALLYPORT.example:443/oauth/token": true,
		external + "/oauth/Token": false, external + "/oauth/token/": false, external + "/hf/oauth/token": false, "https://evil.example/oauth/token": false,
		"http://sallyport.example/oauth/token": false, w.server.URL + "/oauth/token": false} {
		proof := p.proofWith(jose.ProofFor{Method: "POST", URL: at, Nonce: w.proofs.Nonce(), Now: w.now()})
		want := "invalid_grant" // the refresh token is not one
		if !good {
			want = "invalid_dpop_proof"
		}
		wantError(t, at, w.postWith("/oauth/token", refreshForm("x"), proof), http.StatusBadRequest, want)
	}
	wantError(t, "GET", w.postWith("/oauth/token", refreshForm("x"), p.proof("GET", "/oauth/token", "")), http.StatusBadRequest, "invalid_dpop_proof")
}

// TestDPOP3 shows proofs at the wrong time, and without the nonce of now.
func TestDPOP3(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	at := func(d time.Duration, nonce string) answer {
		return w.postWith("/oauth/token", refreshForm("x"), p.proofWith(jose.ProofFor{Method: "POST", URL: external + "/oauth/token", Nonce: nonce, Now: w.now().Add(d)}))
	}
	for d, want := range map[time.Duration]string{-61 * time.Second: "invalid_dpop_proof", 11 * time.Second: "invalid_dpop_proof", -59 * time.Second: "invalid_grant", 9 * time.Second: "invalid_grant"} {
		wantError(t, d.String(), at(d, w.proofs.Nonce()), http.StatusBadRequest, want)
	}
	a := at(0, "")
	wantError(t, "no nonce", a, http.StatusBadRequest, "use_dpop_nonce")
	nonce := a.header.Get("DPoP-Nonce")
	wantError(t, "the nonce of the answer", at(0, nonce), http.StatusBadRequest, "invalid_grant")
	wantError(t, "made up", at(0, nonce[1:]+nonce[:1]), http.StatusBadRequest, "use_dpop_nonce")
	w.wait(2 * time.Minute)
	wantError(t, "of two minutes ago", at(0, nonce), http.StatusBadRequest, "invalid_grant")
	w.wait(time.Minute)
	if a := at(0, nonce); a.json["error"] != "use_dpop_nonce" || a.header.Get("DPoP-Nonce") == nonce {
		t.Errorf("of three minutes ago: %s", a.body)
	}
}

// TestDPOP4 shows a proof twice, and the id of a proof under another key.
func TestDPOP4(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	one := p.proof("POST", "/oauth/token", "")
	wantError(t, "once", w.postWith("/oauth/token", refreshForm("x"), one), http.StatusBadRequest, "invalid_grant")
	wantError(t, "twice", w.postWith("/oauth/token", refreshForm("x"), one), http.StatusBadRequest, "invalid_dpop_proof")
	w.wait(3 * time.Minute)
	wantError(t, "much later", w.postWith("/oauth/token", refreshForm("x"), one), http.StatusBadRequest, "invalid_dpop_proof")
}

// bound signs ana in with a party's key.
func (p *party) login() map[string]any {
	p.w.t.Helper()
	p.w.signIn("ana", sallyport.MultiFactor)
	a := p.post("/oauth/token", codeForm(p.w.code(query("scope", "openid model.infer"))))
	if a.status != http.StatusOK || a.json["token_type"] != "DPoP" {
		p.w.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return a.json
}

func (p *party) userInfo(scheme, access string, proofs ...string) answer {
	p.w.t.Helper()
	r := p.w.request("GET", "/oauth/userinfo", "")
	r.Header.Set("Authorization", scheme+" "+access)
	for _, one := range proofs {
		r.Header.Add("DPoP", one)
	}
	return p.w.do(r)
}

// TestDPOP5 shows a bound token to a resource without the right proof.
func TestDPOP5(t *testing.T) {
	w := newWorld(t)
	p, thief := w.party(), w.party()
	access := p.login()["access_token"].(string)
	if a := p.userInfo("DPoP", access, p.proof("GET", "/oauth/userinfo", access)); a.status != http.StatusOK || a.json["sub"] != "user:ana" {
		t.Fatalf("with the right proof: %d %s", a.status, a.body)
	}
	for name, proofs := range map[string][]string{
		"no proof": nil, "no ath": {p.proof("GET", "/oauth/userinfo", "")}, "the ath of another token": {p.proof("GET", "/oauth/userinfo", access+"x")},
		"another key": {thief.proof("GET", "/oauth/userinfo", access)}, "two proofs": {p.proof("GET", "/oauth/userinfo", access), p.proof("GET", "/oauth/userinfo", access)},
	} {
		a := p.userInfo("DPoP", access, proofs...)
		if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "DPoP error=") {
			t.Errorf("%s: %d %q", name, a.status, a.header.Get("WWW-Authenticate"))
		}
	}
	stale := p.proofWith(jose.ProofFor{Method: "GET", URL: external + "/oauth/userinfo", Token: secret.NewText(access), Now: w.now()})
	a := p.userInfo("DPoP", access, stale)
	if a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) || a.header.Get("DPoP-Nonce") == "" {
		t.Errorf("without a nonce: %d %v", a.status, a.header)
	}
}

// TestDPOP6 shows a bound token as a bearer token, and a bearer token as a bound one.
func TestDPOP6(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	access := p.login()["access_token"].(string)
	for _, proofs := range [][]string{nil, {p.proof("GET", "/oauth/userinfo", access)}} {
		if a := p.userInfo("Bearer", access, proofs...); a.status != http.StatusUnauthorized {
			t.Errorf("bound as Bearer with %d proofs: %d", len(proofs), a.status)
		}
	}
	bearer := w.post("/oauth/token", codeForm(w.code(query("scope", "openid")))).json["access_token"].(string)
	if a := p.userInfo("Bearer", bearer); a.status != http.StatusOK {
		t.Errorf("a bearer token: %d %s", a.status, a.body)
	}
	if a := p.userInfo("DPoP", bearer, p.proof("GET", "/oauth/userinfo", bearer)); a.status != http.StatusUnauthorized {
		t.Errorf("a bearer token as DPoP: %d", a.status)
	}
}

// TestDPOP7 redeems a bound code and a bound refresh token with another key.
func TestDPOP7(t *testing.T) {
	w := newWorld(t)
	p, thief := w.party(), w.party()
	w.signIn("ana", sallyport.MultiFactor)
	code := w.code(query("dpop_jkt", p.jkt()))
	wantError(t, "another key", thief.post("/oauth/token", codeForm(code)), http.StatusBadRequest, "invalid_grant")
	code = w.code(query("dpop_jkt", p.jkt()))
	wantError(t, "no key", w.post("/oauth/token", codeForm(code)), http.StatusBadRequest, "invalid_grant")
	a := p.post("/oauth/token", codeForm(w.code(query("dpop_jkt", p.jkt()))))
	if a.status != http.StatusOK || claimsOf(t, a.json["access_token"])["cnf"].(map[string]any)["jkt"] != p.jkt() {
		t.Fatalf("the right key: %d %s", a.status, a.body)
	}
	wantError(t, "refresh with another key", thief.post("/oauth/token", refreshForm(a.json["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	wantError(t, "refresh without a key", w.post("/oauth/token", refreshForm(a.json["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	if a := p.post("/oauth/token", refreshForm(a.json["refresh_token"])); a.status != http.StatusOK || a.json["token_type"] != "DPoP" {
		t.Errorf("refresh with the key, after the others tried: %d %s", a.status, a.body)
	}
	if got := w.back(w.authorize(query("dpop_jkt", "short"))); got.Get("error") != "invalid_request" {
		t.Errorf("a dpop_jkt that is none: %v", got)
	}
}

// TestDPOP8 pushes a request whose proof and dpop_jkt are two keys.
func TestDPOP8(t *testing.T) {
	w := newWorld(t)
	p, other := w.party(), w.party()
	wantError(t, "two keys", p.post("/oauth/par", query("dpop_jkt", other.jkt())), http.StatusBadRequest, "invalid_dpop_proof")
	w.signIn("ana", sallyport.MultiFactor)
	for name, q := range map[string]url.Values{"the proof's key": query(), "one key": query("dpop_jkt", p.jkt())} {
		a := p.post("/oauth/par", q)
		if a.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		page := w.authorize(url.Values{"client_id": {"sallyport-cli"}, "request_uri": {a.json["request_uri"].(string)}})
		code := w.back(w.press(page, "/oauth/consent", "approve")).Get("code")
		wantError(t, name, other.post("/oauth/token", codeForm(code)), http.StatusBadRequest, "invalid_grant")
	}
}

// TestOA6 uses a pushed request twice, as another client, too late, and not at all where it must be.
func TestOA6(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	push := func(q url.Values) string {
		t.Helper()
		a := w.post("/oauth/par", q)
		if a.status != http.StatusCreated || a.json["expires_in"] != float64(60) || !strings.HasPrefix(a.json["request_uri"].(string), "urn:ietf:params:oauth:request_uri:") {
			t.Fatalf("push: %d %s", a.status, a.body)
		}
		return a.json["request_uri"].(string)
	}
	use := func(client, uri string) answer {
		return w.authorize(url.Values{"client_id": {client}, "request_uri": {uri}})
	}
	uri := push(query())
	if a := use("other", uri); a.status != http.StatusBadRequest {
		t.Errorf("by another client: %d", a.status)
	}
	page := use("sallyport-cli", uri)
	if page.status != http.StatusOK {
		t.Fatalf("the first use: %d %s", page.status, page.body)
	}
	if a := use("sallyport-cli", uri); a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
		t.Errorf("the second use: %d %v", a.status, a.header)
	}
	if got := w.back(w.press(page, "/oauth/consent", "approve")); got.Get("code") == "" || got.Get("state") != "s t&a=te" {
		t.Errorf("after the second use failed: %v", got)
	}
	if a := w.press(page, "/oauth/consent", "approve"); a.status != http.StatusBadRequest || a.header.Get("Location") != "" {
		t.Errorf("a second decision on one pushed request: %d %v", a.status, a.header)
	}
	late := push(query())
	w.wait(61 * time.Second)
	if a := use("sallyport-cli", late); a.status != http.StatusBadRequest {
		t.Errorf("after a minute: %d", a.status)
	}
	for name, bad := range map[string]string{"made up": "urn:ietf:params:oauth:request_uri:" + rand.Text(), "prefix": uri[:len(uri)-1], "elsewhere": "https://client.example/request"} {
		if a := use("sallyport-cli", bad); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	p := w.party()
	w.register(clients.Client{ID: "pushing", Grants: []clients.Grant{clients.Code}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{api}, LoopbackRedirect: "/callback",
		Method: clients.PrivateKey, Keys: p.jwks(), Push: true})
	q := query("client_id", "pushing", "scope", "model.infer")
	if got := w.back(w.authorize(q)); got.Get("error") != "invalid_request" {
		t.Errorf("not pushed: %v", got)
	}
	wantError(t, "pushed without proof", w.post("/oauth/par", q), http.StatusUnauthorized, "invalid_client")
	if a := use("pushing", push(p.authenticated("pushing", q))); a.status != http.StatusOK {
		t.Errorf("pushed: %d %s", a.status, a.body)
	}
	for name, q := range map[string]url.Values{"request_uri": query("request_uri", uri), "redirect": query("redirect_uri", "https://evil.example/"), "plain": query("code_challenge_method", "plain")} {
		if a := w.post("/oauth/par", q); a.status != http.StatusBadRequest {
			t.Errorf("pushed with a bad %s: %d %s", name, a.status, a.body)
		}
	}
}

// TestPushedFlowIsTheBrowsersOwn signs in between push and consent: the request goes on, in the browser that began it.
func TestPushedFlowIsTheBrowsersOwn(t *testing.T) {
	w := newWorld(t)
	a := w.post("/oauth/par", query("login_hint", "ana"))
	away := w.authorize(url.Values{"client_id": {"sallyport-cli"}, "request_uri": {a.json["request_uri"].(string)}})
	to, err := url.Parse(away.header.Get("Location"))
	if err != nil || to.Path != "/login" || to.Query().Get("name") != "ana" {
		t.Fatalf("%d %q", away.status, away.header.Get("Location"))
	}
	next := to.Query().Get("return")
	if strings.Contains(next, "scope") || strings.Contains(next, "code_challenge") {
		t.Errorf("what was pushed stands in the address: %s", next)
	}
	w.signIn("ana", sallyport.MultiFactor)
	page := w.get(next)
	if got := w.back(w.press(page, "/oauth/consent", "approve")); got.Get("code") == "" {
		t.Errorf("%v", got)
	}
	forged := strings.Replace(next, "taken=", "taken=x", 1)
	if a := w.get(forged); a.status != http.StatusBadRequest {
		t.Errorf("with a mark that is not ours: %d", a.status)
	}
}

// TestOA29 shows client assertions that are not for us, not of now, or not by the client.
func TestOA29(t *testing.T) {
	w := newWorld(t)
	p, other := w.confidential("job"), w.party()
	now := w.now()
	ask := func(assertion string) answer {
		return w.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {clients.AssertionType}, "client_assertion": {assertion}})
	}
	if a := ask(p.assertion("job", nil)); a.status != http.StatusOK || a.json["refresh_token"] != nil {
		t.Fatalf("the good one: %d %s", a.status, a.body)
	}
	for name, changes := range map[string]map[string]any{
		"for the token endpoint": {"aud": external + "/oauth/token"}, "for two": {"aud": []string{external, "https://other.example"}}, "for another": {"aud": "https://other.example"},
		"for nobody": {"aud": nil}, "another issuer": {"iss": "other"}, "another subject": {"sub": "other"}, "no subject": {"sub": nil}, "no id": {"jti": nil}, "no end": {"exp": nil},
		"for an hour": {"exp": now.Add(time.Hour).Unix()}, "over": {"exp": now.Add(-time.Minute).Unix(), "iat": now.Add(-2 * time.Minute).Unix()}, "from tomorrow": {"iat": now.Add(24 * time.Hour).Unix(), "exp": now.Add(24*time.Hour + time.Minute).Unix()},
	} {
		wantError(t, name, ask(p.assertion("job", changes)), http.StatusUnauthorized, "invalid_client")
	}
	parts := strings.Split(p.assertion("job", nil), ".")
	for name, bad := range map[string]string{"another key": other.assertion("job", nil), "nonsense": "x", "alg none": encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"HS256 with the public key": hs256(string(p.jwks()), parts[1]), "not signed": parts[0] + "." + parts[1] + "."} {
		wantError(t, name, ask(bad), http.StatusUnauthorized, "invalid_client")
	}
	old := w.party()
	w.register(clients.Client{ID: "old", Grants: []clients.Grant{clients.Credentials}, Scopes: sallyport.Scope{"model.infer"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{api},
		Method: clients.PrivateKey, Keys: old.jwks(), Principal: "service:trainer", TokenEndpointAudience: true})
	if a := ask(old.assertion("old", map[string]any{"aud": external + "/oauth/token"})); a.status != http.StatusOK {
		t.Errorf("a client with the switch: %d %s", a.status, a.body)
	}
}

// TestOA30 burns no id of an assertion that was not good, and only the client's own.
func TestOA30(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("job")
	other := w.confidential("other-job")
	ask := func(p *party, id string, changes map[string]any) answer {
		changes["jti"] = "one"
		return w.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {clients.AssertionType}, "client_assertion": {p.assertion(id, changes)}})
	}
	wantError(t, "wrong audience", ask(p, "job", map[string]any{"aud": "https://other.example"}), http.StatusUnauthorized, "invalid_client")
	if a := ask(p, "job", map[string]any{}); a.status != http.StatusOK {
		t.Errorf("the right one, with the same id: %d %s", a.status, a.body)
	}
	if a := ask(other, "other-job", map[string]any{}); a.status != http.StatusOK {
		t.Errorf("the same id of another client: %d %s", a.status, a.body)
	}
	wantError(t, "once more", ask(p, "job", map[string]any{}), http.StatusUnauthorized, "invalid_client")
}

// TestOA31 proves a client by another way than its own.
func TestOA31(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("job")
	form := func() url.Values { return url.Values{"grant_type": {"client_credentials"}, "client_id": {"job"}} }
	secretForm := form()
	secretForm.Set("client_secret", "x")
	both := p.authenticated("job", form())
	both.Set("client_secret", "x")
	unknown := p.authenticated("job", form())
	unknown.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
	for name, f := range map[string]url.Values{"nothing": form(), "a secret": secretForm, "both": both, "another type": unknown} {
		wantError(t, name, w.post("/oauth/token", f), http.StatusUnauthorized, "invalid_client")
	}
	basic := w.request("POST", "/oauth/token", form().Encode())
	basic.SetBasicAuth("job", "x")
	a := w.do(basic)
	wantError(t, "basic", a, http.StatusUnauthorized, "invalid_client")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic") {
		t.Errorf("the answer to Basic names %q", a.header.Get("WWW-Authenticate"))
	}
	public := p.authenticated("sallyport-cli", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}})
	wantError(t, "a public client with an assertion", w.post("/oauth/token", public), http.StatusUnauthorized, "invalid_client")
}

// TestOA15 registers clients that could be taken for somebody.
func TestOA15(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	good := clients.Client{ID: "fine", Name: "Fine", Grants: []clients.Grant{clients.Credentials}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{api}, Method: clients.PrivateKey, Keys: p.jwks(), Principal: "service:trainer"}
	for name, change := range map[string]func(*clients.Client){
		"the id of a person": func(c *clients.Client) { c.ID = "user:ana" }, "the id of a service": func(c *clients.Client) { c.ID = "service:trainer" },
		"a person as itself": func(c *clients.Client) { c.Principal = "user:ana" }, "nobody as itself": func(c *clients.Client) { c.Principal = "" },
		"an agent by itself": func(c *clients.Client) { c.Principal = "agent:helper" }, "upper case": func(c *clients.Client) { c.ID = "Fine" },
		"public": func(c *clients.Client) { c.Method, c.Keys = clients.None, nil },
		"keys without the method": func(c *clients.Client) {
			c.Method, c.Thumbprint = clients.SelfSignedTLS, "x"
		},
		"a private key": func(c *clients.Client) { c.Keys = json.RawMessage(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`) },
	} {
		c := good
		change(&c)
		if _, err := w.issuer.Clients.Add(t.Context(), c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.register(good)
	if _, err := w.issuer.Clients.Add(t.Context(), good); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("an id that is taken: %v", err)
	}
	if err := w.issuer.Clients.Remove(t.Context(), "fine"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.issuer.Clients.Add(t.Context(), good); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("an id that was taken once: %v", err)
	}
	if err := w.issuer.Clients.Remove(t.Context(), "sallyport-cli"); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("removing what is built in: %v", err)
	}
}

// TestOA34Services asks for a token of its own as clients that are nobody.
func TestOA34Services(t *testing.T) {
	w := newWorld(t)
	p := w.party()
	w.register(clients.Client{ID: "web-only", Grants: []clients.Grant{clients.Code}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{api}, RedirectURIs: []string{"https://x.example/"}, Method: clients.PrivateKey, Keys: p.jwks()})
	wantError(t, "without the grant", w.post("/oauth/token", p.authenticated("web-only", url.Values{"grant_type": {"client_credentials"}})), http.StatusBadRequest, "unauthorized_client")
	wantError(t, "public", w.post("/oauth/token", url.Values{"client_id": {"sallyport-cli"}, "grant_type": {"client_credentials"}}), http.StatusBadRequest, "unauthorized_client")
	j := w.confidential("job")
	wantError(t, "wider", w.post("/oauth/token", j.authenticated("job", url.Values{"grant_type": {"client_credentials"}, "scope": {"policy.activate"}})), http.StatusBadRequest, "invalid_scope")
	a := w.post("/oauth/token", j.authenticated("job", url.Values{"grant_type": {"client_credentials"}, "resource": {hub}}))
	claims := claimsOf(t, strings.TrimPrefix(fmt.Sprint(a.json["access_token"]), "hf_"))
	if a.status != http.StatusOK || claims["sub"] != "service:trainer" || claims["person"] != "user:ana" || claims["aud"] != hub || claims["sid"] != nil {
		t.Errorf("%d %s: %v", a.status, a.body, claims)
	}
}

// TestJOSE8ResourceServers introspects as a resource server: only what is for it.
func TestJOSE8ResourceServers(t *testing.T) {
	w := newWorld(t)
	const mlflow = "https://mlflow.example/api"
	p, rs, other := w.confidential("job"), w.party(), w.party()
	for id, one := range map[string]*party{"mlflow": rs, "elsewhere": other} {
		serves := map[string]string{"mlflow": mlflow, "elsewhere": "https://elsewhere.example"}[id]
		w.register(clients.Client{ID: id, Grants: []clients.Grant{clients.Exchange}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{serves}, Method: clients.PrivateKey, Keys: one.jwks(), Serves: []string{serves}})
	}
	w.register(clients.Client{ID: "user-of-mlflow", Grants: []clients.Grant{clients.Credentials}, Scopes: sallyport.Scope{"model.infer"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{mlflow}, Method: clients.PrivateKey, Keys: p.jwks(), Principal: "service:trainer"})
	access := w.post("/oauth/token", p.authenticated("user-of-mlflow", url.Values{"grant_type": {"client_credentials"}})).json["access_token"].(string)
	inspect := func(form url.Values) answer { return w.post("/oauth/introspect", form) }
	a := inspect(rs.authenticated("mlflow", url.Values{"token": {access}}))
	if a.status != http.StatusOK || a.json["active"] != true || a.json["aud"] != mlflow || a.json["sub"] != "service:trainer" || a.json["client_id"] != "user-of-mlflow" {
		t.Errorf("the resource server it is for: %d %s", a.status, a.body)
	}
	if details, _ := json.Marshal(a.json["authorization_details"]); string(details) != `[{"actions":["model.infer"],"type":"sallyport"}]` {
		t.Errorf("details %s", details)
	}
	if a := inspect(other.authenticated("elsewhere", url.Values{"token": {access}})); a.status != http.StatusOK || a.body != "{\"active\":false}\n" {
		t.Errorf("another resource server: %d %s", a.status, a.body)
	}
	if a := inspect(p.authenticated("user-of-mlflow", url.Values{"token": {access}})); a.body != "{\"active\":false}\n" {
		t.Errorf("the client itself: %d %s", a.status, a.body)
	}
	wantError(t, "nobody", inspect(url.Values{"token": {access}}), http.StatusUnauthorized, "invalid_client")
	wantError(t, "a public client", inspect(url.Values{"token": {access}, "client_id": {"sallyport-cli"}}), http.StatusUnauthorized, "invalid_client")
	if a := inspect(rs.authenticated("mlflow", url.Values{"token": {"x"}})); a.body != "{\"active\":false}\n" {
		t.Errorf("nonsense: %s", a.body)
	}
}

// TestJOSE1IDTokens uses ID tokens as what they are not.
func TestJOSE1IDTokens(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("web-app")
	w.signIn("ana", sallyport.MultiFactor)
	q := query("client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", "openid model.infer", "nonce", "n-1")
	code := codeOf(t, w.press(w.authorize(q), "/oauth/consent", "approve"))
	a := w.post("/oauth/token", p.authenticated("web-app", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {w.redirectOf("web-app")}, "code_verifier": {verifier}}))
	if a.status != http.StatusOK || a.json["scope"] != "openid model.infer" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	id := a.json["id_token"].(string)
	claims := claimsOf(t, id)
	if claims["iss"] != external || claims["sub"] != "user:ana" || claims["aud"] != "web-app" || claims["nonce"] != "n-1" || claims["acr"] != "aal2" || claims["sid"] == nil || claims["at_hash"] == nil || claims["auth_time"] != float64(w.now().Unix()) {
		t.Errorf("claims %v", claims)
	}
	sum := sha256.Sum256([]byte(a.json["access_token"].(string)))
	if claims["at_hash"] != encode(sum[:16]) {
		t.Errorf("at_hash %v is not of the access token", claims["at_hash"])
	}
	posted := w.request("POST", "/oauth/userinfo", "")
	posted.Header.Set("Authorization", "Bearer "+a.json["access_token"].(string))
	if info := w.do(posted); info.status != http.StatusOK || info.json["sub"] != "user:ana" {
		t.Errorf("userinfo by POST: %d %s", info.status, info.body)
	}
	if w.accepted(id, api) || w.accepted(id, "web-app") {
		t.Error("an ID token passes as an access token")
	}
	if a := p.userInfo("Bearer", id); a.status != http.StatusUnauthorized {
		t.Errorf("userinfo with an ID token: %d", a.status)
	}
	wantError(t, "as a client assertion", w.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {clients.AssertionType}, "client_assertion": {id}}), http.StatusUnauthorized, "invalid_client")
	wantError(t, "as a subject token of ours", w.post("/oauth/token", p.authenticated("web-app", url.Values{"grant_type": {string(clients.Exchange)}, "subject_token": {id}, "subject_token_type": {exchange.TypeAccess}})), http.StatusBadRequest, "invalid_grant")
	if a := w.authorize(query("id_token_hint", a.json["access_token"].(string), "client_id", "web-app", "redirect_uri", w.redirectOf("web-app"))); !strings.Contains(a.header.Get("Location"), "error=invalid_request") {
		t.Errorf("an access token as id_token_hint: %d %q", a.status, a.header.Get("Location"))
	}
	if a := p.userInfo("Bearer", w.login()["access_token"].(string)); a.status != http.StatusForbidden || !strings.Contains(a.header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("userinfo without openid: %d", a.status)
	}
}
