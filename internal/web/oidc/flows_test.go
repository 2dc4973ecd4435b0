package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/exchange"
)

// TestConsentIsRemembered asks once a client, not again until it wants more or the person takes it back, and always where
// the answer goes to a program on the person's computer.
func TestConsentIsRemembered(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("web-app")
	ask := func(scope string, more ...string) answer {
		return w.authorize(query(append([]string{"client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", scope}, more...)...))
	}
	w.signIn("ana", sallyport.MultiFactor)
	first := ask("openid model.infer")
	if !strings.Contains(first.body, "know who you are") || !strings.Contains(first.body, "use models") || !strings.Contains(first.body, "not asked again") ||
		!strings.Contains(first.header.Get("Content-Security-Policy"), "https://web-app.example") {
		t.Errorf("the page: %s", first.body)
	}
	if got := ask("openid model.infer", "prompt", "none"); !strings.Contains(got.header.Get("Location"), "error=consent_required") {
		t.Errorf("prompt=none before: %q", got.header.Get("Location"))
	}
	codeOf(t, w.press(first, "/oauth/consent", "approve"))
	for _, scope := range []string{"openid model.infer", "model.infer", "openid"} {
		codeOf(t, ask(scope))
		codeOf(t, ask(scope, "prompt", "none"))
	}
	if a := ask("openid model.infer", "prompt", "consent"); a.status != http.StatusOK {
		t.Errorf("prompt=consent: %d", a.status)
	}
	if a := ask("openid model.infer model.read"); a.status != http.StatusOK {
		t.Errorf("more than was allowed: %d", a.status)
	}
	w.signIn("bo", sallyport.MultiFactor)
	if a := ask("openid model.infer"); a.status != http.StatusOK {
		t.Errorf("somebody else: %d", a.status)
	}
	w.signIn("ana", sallyport.MultiFactor)
	if a := w.authorize(query()); a.status != http.StatusOK {
		t.Fatalf("a loopback client: %d", a.status)
	}
	w.press(w.authorize(query()), "/oauth/consent", "approve")
	if a := w.authorize(query()); a.status != http.StatusOK {
		t.Errorf("a loopback client is remembered: %d", a.status)
	}

	tokens := w.post("/oauth/token", p.authenticated("web-app", url.Values{"grant_type": {"authorization_code"}, "code": {codeOf(t, ask("model.infer"))}, "redirect_uri": {w.redirectOf("web-app")}, "code_verifier": {verifier}}))
	page := w.get("/account/apps")
	if page.status != http.StatusOK || !strings.Contains(page.body, "Client web-app") || strings.Contains(page.body, "command line") {
		t.Fatalf("the list: %d %s", page.status, page.body)
	}
	_, rest, _ := strings.Cut(page.body, `name="mark" value="`)
	mark, _, _ := strings.Cut(rest, `"`)
	if a := w.post("/account/apps/forget", url.Values{"client": {"web-app"}, "mark": {"x"}}); a.status != http.StatusForbidden {
		t.Errorf("taking back without a mark: %d", a.status)
	}
	if a := w.post("/account/apps/forget", url.Values{"client": {"web-app"}, "mark": {mark}}); a.status != http.StatusSeeOther {
		t.Errorf("taking back: %d %s", a.status, a.body)
	}
	if a := ask("model.infer"); a.status != http.StatusOK {
		t.Errorf("after it was taken back: %d", a.status)
	}
	if tokens.status != http.StatusOK || w.accepted(tokens.json["access_token"], api) {
		t.Error("what the client had lives on")
	}
}

// TestAfterSignIn leads on from the sign-in page by a page, because that page's policy names no client.
func TestAfterSignIn(t *testing.T) {
	w := newWorld(t)
	w.confidential("web-app")
	q := query("client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", "openid")
	w.signIn("ana", sallyport.MultiFactor)
	codeOf(t, w.press(w.authorize(q), "/oauth/consent", "approve"))
	w.who = sallyport.Principal{}
	to, err := url.Parse(w.authorize(q).header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	w.signIn("ana", sallyport.MultiFactor)
	a := w.get(to.Query().Get("return"))
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Refresh"), "0; url=https://web-app.example/callback?code=") || !strings.Contains(a.body, "https://web-app.example/callback?code=") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

// TestHint means somebody: who is not them signs in.
func TestHint(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("web-app")
	w.signIn("ana", sallyport.MultiFactor)
	q := query("client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", "openid")
	code := codeOf(t, w.press(w.authorize(q), "/oauth/consent", "approve"))
	id := w.post("/oauth/token", p.authenticated("web-app", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {w.redirectOf("web-app")}, "code_verifier": {verifier}})).json["id_token"].(string)
	q.Set("id_token_hint", id)
	w.wait(time.Hour) // a hint may be old
	codeOf(t, w.authorize(q))
	w.signIn("bo", sallyport.MultiFactor)
	if a := w.authorize(q); !strings.HasPrefix(a.header.Get("Location"), "/login?") {
		t.Errorf("somebody else: %d %q", a.status, a.header.Get("Location"))
	}
	q.Set("prompt", "none")
	if a := w.authorize(q); !strings.Contains(a.header.Get("Location"), "error=login_required") {
		t.Errorf("somebody else, silently: %q", a.header.Get("Location"))
	}
}

// TestLogout signs out on behalf of a client: the person is asked, and only registered addresses are led to.
func TestLogout(t *testing.T) {
	w := newWorld(t)
	p := w.confidential("web-app")
	w.signIn("ana", sallyport.MultiFactor)
	q := query("client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", "openid model.infer")
	a := w.post("/oauth/token", p.authenticated("web-app", url.Values{"grant_type": {"authorization_code"}, "code": {codeOf(t, w.press(w.authorize(q), "/oauth/consent", "approve"))},
		"redirect_uri": {w.redirectOf("web-app")}, "code_verifier": {verifier}}))
	id, access := a.json["id_token"].(string), a.json["access_token"]
	at := func(changes ...string) answer {
		values := url.Values{"id_token_hint": {id}, "post_logout_redirect_uri": {"https://web-app.example/bye"}, "state": {"s 1"}}
		for i := 0; i < len(changes); i += 2 {
			values.Set(changes[i], changes[i+1])
		}
		return w.get("/oauth/logout?" + values.Encode())
	}
	for name, bad := range map[string]answer{"another address": at("post_logout_redirect_uri", "https://evil.example/"), "another client": at("client_id", "web"), "no ID token": at("id_token_hint", "x"),
		"an address without a client": at("id_token_hint", ""), "an access token": at("id_token_hint", access.(string))} {
		if bad.status != http.StatusBadRequest || bad.header.Get("Location") != "" {
			t.Errorf("%s: %d %v", name, bad.status, bad.header)
		}
	}
	page := at()
	if page.status != http.StatusOK || !strings.Contains(page.body, "Client web-app") || !w.accepted(access, api) {
		t.Fatalf("the question: %d %s", page.status, page.body)
	}
	if posted := w.post("/oauth/logout", url.Values{"id_token_hint": {id}}); posted.status != http.StatusSeeOther || !strings.HasPrefix(posted.header.Get("Location"), external+"/oauth/logout?") {
		t.Errorf("posted: %d %v", posted.status, posted.header)
	}
	if stay := w.press(page, "/oauth/logout/confirm", "deny"); stay.status != http.StatusSeeOther || !w.accepted(access, api) {
		t.Errorf("staying: %d", stay.status)
	}
	bye := w.press(page, "/oauth/logout/confirm", "approve")
	if bye.status != http.StatusSeeOther || bye.header.Get("Location") != "https://web-app.example/bye?state=s+1" {
		t.Errorf("leaving: %d %q", bye.status, bye.header.Get("Location"))
	}
	if w.accepted(access, api) || w.who.ID != "" {
		t.Error("the session or its tokens live on")
	}
	if a := w.get("/oauth/logout"); a.status != http.StatusOK || !strings.Contains(a.body, "Done") {
		t.Errorf("nobody signed in: %d %s", a.status, a.body)
	}
}

// TestHubDoor signs a stock Hugging Face client in as it asks: without a scope, under its own id, below its own door.
func TestHubDoor(t *testing.T) {
	w := newWorld(t)
	const theirs = "26be6b09-91c5-47da-9861-d2d2bb7a7e36"
	a := w.post("/hf/oauth/device", url.Values{"client_id": {theirs}})
	if a.status != http.StatusOK || a.json["verification_uri"] != external+"/activate" {
		t.Fatalf("device: %d %s", a.status, a.body)
	}
	w.signIn("ana", sallyport.MultiFactor)
	shown := w.post("/activate", url.Values{"user_code": {a.json["user_code"].(string)}})
	if b := w.press(shown, "/activate/decide", "approve"); b.status != http.StatusOK {
		t.Fatalf("approve: %d %s", b.status, b.body)
	}
	tokens := w.post("/hf/oauth/token", url.Values{"client_id": {theirs}, "grant_type": {string(clients.Device)}, "device_code": {a.json["device_code"].(string)}})
	if tokens.status != http.StatusOK || !strings.HasPrefix(tokens.json["access_token"].(string), "hf_") || !w.accepted(tokens.json["access_token"], hub) {
		t.Fatalf("token: %d %s", tokens.status, tokens.body)
	}
	again := w.post("/hf/oauth/token", url.Values{"client_id": {theirs}, "grant_type": {"refresh_token"}, "refresh_token": {tokens.json["refresh_token"].(string)}})
	if again.status != http.StatusOK || !w.accepted(again.json["access_token"], hub) {
		t.Errorf("refresh: %d %s", again.status, again.body)
	}
}

// TestKeylessJob exchanges a job's proof as stock Hugging Face clients do: JSON, no client, the name of a repository.
func TestKeylessJob(t *testing.T) {
	w := newWorld(t)
	post := func(body string) answer {
		r := w.request("POST", "/hf/oauth/token", body)
		r.Header.Set("Content-Type", "application/json")
		return w.do(r)
	}
	body := func(changes map[string]string) string {
		m := map[string]string{"grant_type": string(clients.Exchange), "subject_token_type": exchange.TypeID, "subject_token": "service:trainer 5m model.pull dataset.read", "resource": "acme/base"}
		for k, v := range changes {
			m[k] = v
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	a := post(body(nil))
	if a.status != http.StatusOK || a.json["scope"] != "model.pull@acme/base dataset.read@acme/base" || a.json["issued_token_type"] != exchange.TypeAccess || !w.accepted(a.json["access_token"], hub) || a.json["refresh_token"] != nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := post(body(map[string]string{"resource": "ana"})); a.json["scope"] != "model.pull dataset.read" {
		t.Errorf("for a user: %s", a.body)
	}
	if a := post(body(map[string]string{"resource": "datasets/acme/rows"})); a.json["scope"] != "model.pull@dataset:acme/rows dataset.read@dataset:acme/rows" {
		t.Errorf("for a dataset: %s", a.body)
	}
	for name, test := range map[string]struct{ body, want string }{
		"no proof": {body(map[string]string{"subject_token": "x"}), "invalid_grant"}, "an agent": {body(map[string]string{"subject_token": "agent:helper 5m *"}), "invalid_request"},
		"no JSON": {"{", "invalid_request"}, "a number": {`{"grant_type":1}`, "invalid_request"}, "a member twice": {`{"grant_type":"a","grant_type":"b"}`, "invalid_request"},
		"injection": {body(map[string]string{"resource": "acme/base model.push"}), "invalid_target"}, "another door": {body(map[string]string{"resource": api}), "invalid_target"},
		"another grant": {body(map[string]string{"grant_type": "client_credentials"}), "unauthorized_client"}, "another type": {body(map[string]string{"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}), "invalid_request"},
		"a refresh token wanted": {body(map[string]string{"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}), "invalid_request"},
	} {
		wantError(t, name, post(test.body), http.StatusBadRequest, test.want)
	}
	r := w.request("POST", "/oauth/token", body(nil))
	r.Header.Set("Content-Type", "application/json")
	wantError(t, "JSON at the general endpoint", w.do(r), http.StatusBadRequest, "invalid_request")
}

// TestDetails asks by authorization_details (RFC 9396): what is understood is shown, echoed and enforced, the rest refused.
func TestDetails(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	const details = `[{"type":"sallyport","actions":["model.infer","model.read"],"identifier":"acme/fraud","purpose":"training"},{"type":"sallyport","actions":["dataset.read"],"purpose":"training"}]`
	q := query("scope", "", "authorization_details", details)
	page := w.authorize(q)
	if !strings.Contains(page.body, "model.infer@acme/fraud") || !strings.Contains(page.body, `id="purpose">training`) {
		t.Errorf("the page: %s", page.body)
	}
	a := w.post("/oauth/token", codeForm(w.back(w.press(page, "/oauth/consent", "approve")).Get("code")))
	echo, _ := json.Marshal(a.json["authorization_details"])
	const want = `[{"actions":["model.infer","model.read"],"identifier":"acme/fraud","purpose":"training","type":"sallyport"},{"actions":["dataset.read"],"purpose":"training","type":"sallyport"}]`
	if string(echo) != want || a.json["scope"] != "model.infer@acme/fraud model.read@acme/fraud dataset.read" {
		t.Errorf("the answer: %s", a.body)
	}
	claims := claimsOf(t, a.json["access_token"])
	if inside, _ := json.Marshal(claims["authorization_details"]); string(inside) != want || claims["purpose"] != "training" {
		t.Errorf("the token: %v", claims)
	}
	r := w.request("POST", "/oauth/introspect", url.Values{"token": {a.json["access_token"].(string)}}.Encode())
	r.Header.Set("Authorization", "Bearer "+a.json["access_token"].(string))
	seen := w.do(r)
	if told, _ := json.Marshal(seen.json["authorization_details"]); string(told) != want {
		t.Errorf("introspection: %s", seen.body)
	}
	less := refreshForm(a.json["refresh_token"])
	less.Set("authorization_details", `[{"type":"sallyport","actions":["model.infer"],"identifier":"acme/fraud","purpose":"training"}]`)
	b := w.post("/oauth/token", less)
	if b.status != http.StatusOK || b.json["scope"] != "model.infer@acme/fraud" {
		t.Errorf("less: %s", b.body)
	}
	for name, bad := range map[string]string{
		"unknown type": `[{"type":"payment","actions":["model.infer"]}]`, "unknown member": `[{"type":"sallyport","actions":["model.infer"],"limit":1}]`, "unknown action": `[{"type":"sallyport","actions":["fly"]}]`,
		"no action": `[{"type":"sallyport"}]`, "no list": `{"type":"sallyport","actions":["model.infer"]}`, "empty": `[]`, "a member twice": `[{"type":"sallyport","type":"sallyport","actions":["model.infer"]}]`,
		"another case": `[{"Type":"sallyport","actions":["model.infer"]}]`, "two purposes": `[{"type":"sallyport","actions":["model.infer"],"purpose":"a"},{"type":"sallyport","actions":["model.read"]}]`,
		"injection": `[{"type":"sallyport","actions":["model.infer model.pull"]}]`, "a resource that is none": `[{"type":"sallyport","actions":["model.infer"],"identifier":"x"}]`, "no JSON": `x`,
	} {
		if got := w.back(w.authorize(query("authorization_details", bad))); got.Get("error") != "invalid_authorization_details" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := w.back(w.authorize(query("authorization_details", `[{"type":"sallyport","actions":["model.infer"],"locations":["https://evil.example"]}]`))); got.Get("error") != "invalid_target" {
		t.Errorf("foreign location: %v", got)
	}
}

// certificate makes a client certificate, signed by itself or by an authority.
func certificate(t *testing.T, name string, by *x509.Certificate, byKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	if by == nil {
		by, byKey, template.IsCA = template, key, true
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// over sends a request as if by a TLS connection with a client certificate.
func (w *world) over(r *http.Request, chain ...*x509.Certificate) answer {
	w.t.Helper()
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	_ = json.Unmarshal(rec.Body.Bytes(), &a.json)
	return a
}

// TestMTLSClients proves clients by certificates: a registered one, or one of a registered authority with the registered
// name, and no other.
func TestMTLSClients(t *testing.T) {
	w := newWorld(t)
	pinned, _ := certificate(t, "pinned.example", nil, nil)
	ca, caKey := certificate(t, "ca.example", nil, nil)
	good, _ := certificate(t, "job.example", ca, caKey)
	misnamed, _ := certificate(t, "other.example", ca, caKey)
	otherCA, otherKey := certificate(t, "ca.example", nil, nil)
	foreign, _ := certificate(t, "job.example", otherCA, otherKey)
	base := clients.Client{Grants: []clients.Grant{clients.Credentials}, Scopes: sallyport.Scope{"model.infer"}, Default: sallyport.Scope{"model.infer"}, Audiences: []string{api}, Principal: "service:trainer"}
	self, chain := base, base
	self.ID, self.Method, self.Thumbprint = "self", clients.SelfSignedTLS, jose.CertificateThumbprint(pinned.Raw)
	chain.ID, chain.Method, chain.Certificate = "chain", clients.TLS, "job.example"
	chain.Authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	w.register(self)
	w.register(chain)
	ask := func(id string, certs ...*x509.Certificate) answer {
		return w.over(w.request("POST", "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}}.Encode()), certs...)
	}
	for id, cert := range map[string]*x509.Certificate{"self": pinned, "chain": good} {
		a := ask(id, cert)
		if a.status != http.StatusOK || a.json["token_type"] != "Bearer" || claimsOf(t, a.json["access_token"])["cnf"].(map[string]any)["x5t#S256"] != jose.CertificateThumbprint(cert.Raw) {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
	for name, a := range map[string]answer{"self with none": ask("self"), "self with another": ask("self", good), "chain with none": ask("chain"), "chain with another name": ask("chain", misnamed),
		"chain of another authority": ask("chain", foreign, otherCA), "the authority itself": ask("chain", ca)} {
		wantError(t, name, a, http.StatusUnauthorized, "invalid_client")
	}
	w.wait(2 * time.Hour)
	wantError(t, "an expired certificate", ask("chain", good), http.StatusUnauthorized, "invalid_client")
}

// TestMTLS4 shows a token that is bound to a certificate over another one, and over none.
func TestMTLS4(t *testing.T) {
	w := newWorld(t)
	mine, _ := certificate(t, "mine.example", nil, nil)
	other, _ := certificate(t, "other.example", nil, nil)
	w.register(clients.Client{ID: "web-app", Grants: []clients.Grant{clients.Code}, Scopes: sallyport.Scope{"model.infer"}, Audiences: []string{api}, RedirectURIs: []string{w.redirectOf("web-app")},
		Method: clients.SelfSignedTLS, Thumbprint: jose.CertificateThumbprint(mine.Raw), Bind: true})
	w.signIn("ana", sallyport.MultiFactor)
	code := codeOf(t, w.press(w.authorize(query("client_id", "web-app", "redirect_uri", w.redirectOf("web-app"), "scope", "openid")), "/oauth/consent", "approve"))
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"web-app"}, "code": {code}, "redirect_uri": {w.redirectOf("web-app")}, "code_verifier": {verifier}}
	a := w.over(w.request("POST", "/oauth/token", form.Encode()), mine)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	info := func(certs ...*x509.Certificate) int {
		r := w.request("GET", "/oauth/userinfo", "")
		r.Header.Set("Authorization", "Bearer "+a.json["access_token"].(string))
		return w.over(r, certs...).status
	}
	if info(mine) != http.StatusOK || info(other) != http.StatusUnauthorized || info() != http.StatusUnauthorized || info(other, mine) != http.StatusUnauthorized {
		t.Errorf("mine %d, another %d, none %d, mine behind another %d", info(mine), info(other), info(), info(other, mine))
	}
}

// TestRates bounds what one address can start, and no other.
func TestRates(t *testing.T) {
	w := newWorld(t)
	from := func(address string) int {
		r := w.request("POST", "/oauth/device", url.Values{"client_id": {"sallyport-cli"}, "scope": {"model.infer"}}.Encode())
		r.RemoteAddr = address
		rec := httptest.NewRecorder()
		w.mux.ServeHTTP(rec, r)
		return rec.Code
	}
	statuses := map[int]int{}
	for range 70 {
		statuses[from("192.0.2.1:999")]++
	}
	if statuses[http.StatusOK] != 60 || statuses[http.StatusTooManyRequests] != 10 || from("192.0.2.2:999") != http.StatusOK {
		t.Errorf("answers %v", statuses)
	}
	w.wait(4 * time.Second)
	if from("192.0.2.1:1") != http.StatusOK || from("192.0.2.1:2") != http.StatusOK || from("192.0.2.1:3") != http.StatusTooManyRequests {
		t.Error("the budget does not come back at its rate")
	}
}

// TestStepUpChallenge follows RFC 9470: a resource asks for a level, the client asks for it here, the person proves it,
// and the new token carries it.
func TestStepUpChallenge(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	a := w.authorize(query("acr_values", "phr", "max_age", "300"))
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || to.Path != "/stepup" || to.Query().Get("needs") != "phr" {
		t.Fatalf("%d %q", a.status, a.header.Get("Location"))
	}
	if got := w.back(w.authorize(query("acr_values", "phr", "prompt", "none"))); got.Get("error") != "login_required" {
		t.Errorf("silently: %v", got)
	}
	w.wait(time.Second)
	w.signIn("ana", sallyport.PhishingResistant)
	code := w.back(w.press(w.get(to.Query().Get("return")), "/oauth/consent", "approve")).Get("code")
	claims := claimsOf(t, w.post("/oauth/token", codeForm(code)).json["access_token"])
	if claims["acr"] != "phr" || claims["auth_time"] != float64(w.now().Unix()) {
		t.Errorf("claims %v", claims)
	}
}

// TestForgiven lets right user codes not count against the person, and wrong ones stay counted.
func TestForgiven(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for i := range 8 {
		a := w.post("/oauth/device", url.Values{"client_id": {"sallyport-cli"}, "scope": {"model.infer"}})
		if got := w.post("/activate", url.Values{"user_code": {a.json["user_code"].(string)}}); got.status != http.StatusOK {
			t.Fatalf("right code %d: %d", i, got.status)
		}
	}
}
