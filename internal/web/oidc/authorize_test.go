package oidc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
)

// wantPage checks that an error stays on our own page and leads nowhere.
func wantPage(t *testing.T, what string, a answer, status int) {
	t.Helper()
	if a.status != status || a.header.Get("Location") != "" || !strings.Contains(a.header.Get("Content-Type"), "text/html") || strings.Contains(a.body, "evil") {
		t.Errorf("%s: %d, Location %q, %s; want a page with %d", what, a.status, a.header.Get("Location"), a.body, status)
	}
}

// TestOA1 and A-08: redirect addresses that are nearly right. token.Client has the long list; these are those that
// travel through a query.
func TestOA1(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, bad := range []string{
		"http://evil127.0.0.1:4242/callback", "http://127.0.0.1.evil.example:4242/callback", "http://127.0.0.1:4242/callback/evil", "http://127.0.0.1:4242/Callback",
		"http://127.0.0.1:4242/callback?evil=1", "http://127.0.0.1:4242/callback#evil", "http://localhost:4242/callback", "https://127.0.0.1:4242/callback", "http://127.0.0.1:4242@evil.example/callback",
	} {
		wantPage(t, bad, w.authorize(query("redirect_uri", bad)), http.StatusBadRequest)
	}
	for _, bad := range []string{"https://evilclient.example/callback?x=1", "https://client.example/callback", "https://client.example:8443/callback?x=1", "https://client.example/callback?x=1&evil"} {
		wantPage(t, bad, w.authorize(query("client_id", "web", "redirect_uri", bad, "scope", "", "resource", "")), http.StatusBadRequest)
	}
	for _, good := range []string{"http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://[::1]:5000/callback"} {
		if a := w.authorize(query("redirect_uri", good)); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", good, a.status, a.body)
		}
	}
}

func TestA08(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"http://127.0.0.1:4242/callback/..", "http://127.0.0.1:4242/%63allback", "http://evil@127.0.0.1:4242/callback", "http://127.0.0.1.:4242/callback",
		"http://[::ffff:127.0.0.1]:4242/callback", "HTTP://127.0.0.1:4242/callback", "http://127.0.0.1:04242/callback", "http://127.0.0.1:4242/callback%00"} {
		wantPage(t, bad, w.authorize(query("redirect_uri", bad)), http.StatusBadRequest)
	}
}

// TestOA2 has errors about client and redirect address stay here, and others go to the client.
func TestOA2(t *testing.T) {
	w := newWorld(t)
	wantPage(t, "unknown client", w.authorize(query("client_id", "evil")), http.StatusBadRequest)
	wantPage(t, "no client", w.authorize(query("client_id", "")), http.StatusBadRequest)
	wantPage(t, "no redirect address", w.authorize(query("redirect_uri", "")), http.StatusBadRequest)
	wantPage(t, "unreadable query", w.get("/oauth/authorize?%zz;evil"), http.StatusBadRequest)
	wantPage(t, "long query", w.authorize(query("nonce", strings.Repeat("n", 4000))), http.StatusRequestEntityTooLarge)
	got := w.back(w.authorize(query("scope", "evil")))
	if got.Get("error") != "invalid_scope" || got.Get("state") != "s t&a=te" || got.Get("iss") != external || got.Get("code") != "" {
		t.Errorf("a bad scope: %v", got)
	}
}

// TestOA3 asks for other response types and grants.
func TestOA3(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, kind := range []string{"token", "id_token", "code id_token", "code token", "none", "Code", "code code"} {
		if got := w.back(w.authorize(query("response_type", kind))); got.Get("error") != "unsupported_response_type" {
			t.Errorf("response_type %q: %v", kind, got)
		}
	}
	for name, changes := range map[string][]string{"request": {"request", "ey"}, "request_uri": {"request_uri", "urn:x"}, "response_mode": {"response_mode", "fragment"}, "response_type": {"response_type", ""}} {
		if got := w.back(w.authorize(query(changes...))); !strings.HasSuffix(got.Get("error"), "_not_supported") && got.Get("error") != "invalid_request" {
			t.Errorf("%s: %v", name, got)
		}
	}
	for grant, code := range map[string]string{"password": "unsupported_grant_type", "implicit": "unsupported_grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer": "unsupported_grant_type", "": "invalid_request"} {
		a := w.post("/oauth/token", url.Values{"grant_type": {grant}, "client_id": {"sallyport-cli"}, "username": {"ana"}, "password": {"x"}})
		wantError(t, "grant "+grant, a, http.StatusBadRequest, code)
	}
}

// TestOA4 leaves PKCE out, or weakens it.
func TestOA4(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for name, changes := range map[string][]string{
		"no challenge": {"code_challenge", ""}, "no method": {"code_challenge_method", ""}, "plain": {"code_challenge_method", "plain", "code_challenge", verifier[:43]},
		"lower case": {"code_challenge_method", "s256"}, "42": {"code_challenge", strings.Repeat("A", 42)}, "44": {"code_challenge", strings.Repeat("A", 44)},
		"padded": {"code_challenge", strings.Repeat("A", 43) + "="}, "alphabet": {"code_challenge", strings.Repeat("+", 43)},
	} {
		if got := w.back(w.authorize(query(changes...))); got.Get("error") != "invalid_request" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestOA5 repeats parameters, and sends some that nobody knows.
func TestOA5(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, name := range []string{"client_id", "redirect_uri"} {
		q := query()
		q.Add(name, q.Get(name))
		wantPage(t, name+" twice", w.authorize(q), http.StatusBadRequest)
	}
	for _, name := range []string{"scope", "response_type", "code_challenge", "state", "prompt", "unknown"} {
		q := query()
		q[name] = []string{"a", "b"}
		got := w.back(w.authorize(q))
		if got.Get("error") != "invalid_request" || name == "state" && got.Has("state") {
			t.Errorf("%s twice: %v", name, got)
		}
	}
	q := query("unknown", "x", "nonce", "n", "display", "page", "ui_locales", "de")
	q["resource"] = []string{api, hub}
	if w.code(q) == "" {
		t.Error("unknown parameters are not ignored")
	}
	for _, form := range []url.Values{codeForm("x"), refreshForm("x")} {
		form.Add("client_id", "sallyport-cli")
		wantError(t, "client_id twice", w.post("/oauth/token", form), http.StatusBadRequest, "invalid_request")
	}
}

// TestOA7 looks for iss in every answer that reaches a client.
func TestOA7(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for name, a := range map[string]answer{
		"error": w.authorize(query("scope", "evil")), "silent": w.authorize(query("prompt", "none")),
		"refused": w.press(w.authorize(query()), "/oauth/consent", "deny"), "approved": w.press(w.authorize(query()), "/oauth/consent", "approve"),
	} {
		if got := w.back(a); got.Get("iss") != external || len(got["iss"]) != 1 || got.Get("state") != "s t&a=te" {
			t.Errorf("%s: %v", name, got)
		}
	}
	six := w.press(w.authorize(query("redirect_uri", "http://[::1]:5000/callback")), "/oauth/consent", "approve")
	if six.status != http.StatusOK || !strings.Contains(six.body, `href="http://[::1]:5000/callback?code=`) || !strings.Contains(six.body, "iss=https") {
		t.Errorf("to [::1]: %d %s", six.status, six.body)
	}
	a := w.press(w.authorize(query("client_id", "web", "redirect_uri", "https://client.example/callback?x=1", "scope", "", "state", "")), "/oauth/consent", "approve")
	if to := a.header.Get("Location"); !strings.HasPrefix(to, "https://client.example/callback?x=1&code=") || strings.Contains(to, "state") {
		t.Errorf("an address with a query: %q", to)
	}
}

// TestOA8 posts where credentials or cookies are at work: every redirect is a 303. Besides, world.do refuses any other.
func TestOA8(t *testing.T) {
	w := newWorld(t)
	if a := w.authorize(query()); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/login?return=%2Foauth%2Fauthorize%3F") {
		t.Errorf("to the sign-in page: %d %q", a.status, a.header.Get("Location"))
	}
	w.signIn("ana", sallyport.MultiFactor)
	if a := w.press(w.authorize(query()), "/oauth/consent", "approve"); a.status != http.StatusSeeOther {
		t.Errorf("after consent: %d", a.status)
	}
	if a := w.post("/oauth/authorize", query()); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), external+"/oauth/authorize?") {
		t.Errorf("a posted request: %d %q", a.status, a.header.Get("Location"))
	}
}

// TestOA9 looks at the headers of every page and redirect.
func TestOA9(t *testing.T) {
	w := newWorld(t)
	answers := map[string]answer{"sign in": w.authorize(query()), "error page": w.authorize(query("client_id", "evil")), "device, not signed in": w.get("/activate")}
	w.signIn("ana", sallyport.MultiFactor)
	answers["consent"] = w.authorize(query())
	answers["redirect"] = w.press(answers["consent"], "/oauth/consent", "approve")
	answers["device"] = w.get("/activate")
	for name, a := range answers {
		policy := a.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			a.header.Get("Referrer-Policy") != "no-referrer" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", name, a.header)
		}
	}
	if policy := answers["consent"].header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://127.0.0.1:*") {
		t.Errorf("the consent form cannot lead to the client: %q", policy)
	}
}

// TestOA10 asks from another origin. world.do looks for CORS headers in every answer of every test.
func TestOA10(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/oauth/authorize?" + query().Encode(), "/activate", "/jwks"} {
		r := w.request("GET", path, "")
		r.Header.Set("Origin", "https://evil.example")
		w.do(r)
		r = w.request("OPTIONS", path, "")
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		if a := w.do(r); a.status != http.StatusMethodNotAllowed {
			t.Errorf("OPTIONS %s: %d", path, a.status)
		}
	}
}

// TestOA11 lies about the host. Nothing that is told changes.
func TestOA11(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/oauth/authorize?" + query("prompt", "none").Encode(), "/oauth/authorize?" + query().Encode()} {
		plain := w.get(path)
		r := w.request("GET", path, "")
		r.Host = "evil.example"
		for name, value := range map[string]string{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "X-Forwarded-Prefix": "/evil", "X-Original-Url": "/evil", "Forwarded": "host=evil.example;proto=http"} {
			r.Header.Set(name, value)
		}
		lied := w.do(r)
		if lied.body != plain.body || lied.status != plain.status || lied.header.Get("Location") != plain.header.Get("Location") || strings.Contains(lied.body, "evil") {
			t.Errorf("%s: %d %q %s", path, lied.status, lied.header.Get("Location"), lied.body)
		}
	}
	form := url.Values{"client_id": {"sallyport-cli"}, "scope": {"model.infer"}}
	r := w.request("POST", "/oauth/device", form.Encode())
	r.Host = "evil.example"
	if a := w.do(r); a.json["verification_uri"] != external+"/activate" {
		t.Errorf("device: %s", a.body)
	}
}

// TestOA13 asks for a fresh proof, or for no page at all.
func TestOA13(t *testing.T) {
	w := newWorld(t)
	if got := w.back(w.authorize(query("prompt", "none"))); got.Get("error") != "login_required" {
		t.Errorf("prompt=none, nobody signed in: %v", got)
	}
	w.signIn("ana", sallyport.MultiFactor)
	if got := w.back(w.authorize(query("prompt", "none"))); got.Get("error") != "consent_required" {
		t.Errorf("prompt=none, signed in: %v", got)
	}
	if got := w.back(w.authorize(query("prompt", "none login"))); got.Get("error") != "invalid_request" {
		t.Errorf("prompt=none login: %v", got)
	}
	for _, changes := range [][]string{{"prompt", "login"}, {"max_age", "0"}, {"max_age", "30"}, {"prompt", "login", "max_age", "3600"}} {
		w.signIn("ana", sallyport.MultiFactor)
		w.wait(time.Minute)
		again := w.authorize(query(changes...))
		to := again.header.Get("Location")
		back, ok := strings.CutPrefix(to, "/stepup?return=")
		if again.status != http.StatusSeeOther || !ok {
			t.Errorf("%v: %d %q, want a fresh proof", changes, again.status, to)
			continue
		}
		path, err := url.QueryUnescape(back)
		if err != nil || !strings.HasPrefix(path, "/oauth/authorize?") {
			t.Fatalf("%v: %q", changes, to)
		}
		if a := w.get(path); a.status != http.StatusSeeOther {
			t.Errorf("%v: who comes back without a proof gets %d", changes, a.status)
		}
		w.wait(time.Second)
		w.signIn("ana", sallyport.MultiFactor)
		w.wait(5 * time.Second)
		if a := w.get(path); a.status != http.StatusOK {
			t.Errorf("%v: who proved themselves gets %d %q", changes, a.status, a.header.Get("Location"))
		}
		w.wait(time.Hour)
		if a := w.get(path); a.status != http.StatusSeeOther {
			t.Errorf("%v: the address is good an hour later: %d", changes, a.status)
		}
	}
	w.signIn("ana", sallyport.MultiFactor)
	forged := query("prompt", "login", "proved_after", fmt.Sprint(w.now().Add(-time.Minute).UnixMicro())+".AAAA")
	if a := w.authorize(forged); a.status != http.StatusSeeOther {
		t.Errorf("a forged mark: %d", a.status)
	}
	if got := w.back(w.authorize(query("max_age", "soon"))); got.Get("error") != "invalid_request" {
		t.Errorf("max_age=soon: %v", got)
	}
	if a := w.authorize(query("max_age", "60")); a.status != http.StatusOK {
		t.Errorf("fresh enough: %d", a.status)
	}
}

// TestStepUp asks for a level that the session does not have.
func TestStepUp(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.SingleFactor)
	for values, want := range map[string]int{"aal1": http.StatusOK, "aal2": http.StatusSeeOther, "aal3 aal2": http.StatusSeeOther, "unknown": http.StatusOK, "aal3 aal1": http.StatusOK} {
		a := w.authorize(query("acr_values", values))
		if a.status != want || want == http.StatusSeeOther && !strings.HasPrefix(a.header.Get("Location"), "/stepup?needs=aal2&return=") {
			t.Errorf("acr_values=%s: %d %q, want %d", values, a.status, a.header.Get("Location"), want)
		}
	}
	page := w.authorize(query())
	w.signIn("ana", sallyport.MultiFactor)
	if a := w.authorize(query("acr_values", "aal2")); a.status != http.StatusOK {
		t.Errorf("after the step up: %d", a.status)
	}
	w.signIn("bo", sallyport.MultiFactor)
	if a := w.press(page, "/oauth/consent", "approve"); a.status != http.StatusForbidden { // Ana's page, Bo's session
		t.Errorf("another session's form: %d %q", a.status, a.header.Get("Location"))
	}
}

// TestOA14 asks for more than the client is registered for.
func TestOA14(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	web := func(changes ...string) answer {
		return w.authorize(query(append([]string{"client_id", "web", "redirect_uri", "https://client.example/callback?x=1", "scope", ""}, changes...)...))
	}
	for name, test := range map[string]struct {
		a    answer
		want string
	}{
		"scope": {web("scope", "model.pull"), "invalid_scope"}, "wider scope": {web("scope", "*"), "invalid_scope"}, "one of two": {web("scope", "model.infer model.pull"), "invalid_scope"},
		"resource": {web("resource", api), "invalid_target"}, "foreign resource": {web("resource", "https://evil.example"), "invalid_target"}, "an action that is none": {web("scope", "openid nothing"), "invalid_scope"},
	} {
		to, err := url.Parse(test.a.header.Get("Location"))
		if err != nil || test.a.status != http.StatusSeeOther || to.Query().Get("error") != test.want {
			t.Errorf("%s: %d %v, want %s", name, test.a.status, to, test.want)
		}
	}
	if a := web(); a.status != http.StatusOK || !strings.Contains(a.body, "<code>model.infer</code>") || !strings.Contains(a.body, hub) || !strings.Contains(a.body, "client.example") {
		t.Errorf("the default: %d %s", a.status, a.body)
	}
	if got := w.back(w.authorize(query("scope", ""))); got.Get("error") != "invalid_scope" {
		t.Errorf("no scope and no default: %v", got)
	}
	a := w.post("/oauth/device", url.Values{"client_id": {"device"}, "scope": {"model.pull"}})
	wantError(t, "device", a, http.StatusBadRequest, "invalid_scope")
}

// TestConsentIsBound changes what was shown, or sends it from elsewhere.
func TestConsentIsBound(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	page := w.authorize(query("scope", "model.read"))
	if !strings.Contains(page.body, "port 4242") || !strings.Contains(page.body, "user:ana") || !strings.Contains(page.body, "<code>model.read</code>") {
		t.Errorf("the page does not say what it asks: %s", page.body)
	}
	mark := hidden.FindAllStringSubmatch(page.body, -1)[1][2]
	for name, request := range map[string]string{"wider": query("scope", "*").Encode(), "other client": query("scope", "model.read", "client_id", "other").Encode(), "other port": query("scope", "model.read", "redirect_uri", "http://127.0.0.1:1/callback").Encode()} {
		if a := w.post("/oauth/consent", url.Values{"request": {request}, "mark": {mark}, "decision": {"approve"}}); a.status != http.StatusForbidden {
			t.Errorf("%s: %d %q", name, a.status, a.header.Get("Location"))
		}
	}
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example", "Origin: null"} {
		name, value, _ := strings.Cut(header, ": ")
		for _, path := range []string{"/oauth/consent", "/activate", "/activate/decide"} {
			r := w.request("POST", path, url.Values{"request": {query("scope", "model.read").Encode()}, "mark": {mark}, "decision": {"approve"}}.Encode())
			r.Header.Set(name, value)
			if a := w.do(r); a.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", path, header, a.status)
			}
		}
	}
	if got := w.back(w.press(page, "/oauth/consent", "deny")); got.Get("error") != "access_denied" || got.Has("code") {
		t.Errorf("refused: %v", got)
	}
	if got := w.back(w.press(page, "/oauth/consent", "")); got.Get("error") != "access_denied" {
		t.Errorf("no decision: %v", got)
	}
	w.mu.Lock()
	w.who = sallyport.Principal{}
	w.mu.Unlock()
	if a := w.press(page, "/oauth/consent", "approve"); !strings.HasPrefix(a.header.Get("Location"), "/login?") {
		t.Errorf("signed out meanwhile: %d %q", a.status, a.header.Get("Location"))
	}
}

// TestSessionsThatCannotBeRead are no sign-out: 503, and nobody is sent to sign in.
func TestSessionsThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.whoErr = sallyport.Wrap("store", sallyport.Unavailable, "", context.DeadlineExceeded)
	for _, path := range []string{"/oauth/authorize?" + query().Encode(), "/activate"} {
		if a := w.get(path); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
