package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/oidc"
)

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	a, b := w.get("/.well-known/openid-configuration"), w.get("/.well-known/oauth-authorization-server")
	if a.body != b.body || a.json["issuer"] != external {
		t.Errorf("the two documents differ, or name another issuer: %s", a.body)
	}
	for name, path := range map[string]string{"authorization_endpoint": "/oauth/authorize", "token_endpoint": "/oauth/token", "jwks_uri": "/jwks", "device_authorization_endpoint": "/oauth/device",
		"revocation_endpoint": "/oauth/revoke", "introspection_endpoint": "/oauth/introspect"} {
		if a.json[name] != external+path {
			t.Errorf("%s = %v", name, a.json[name])
		}
	}
	if !strings.Contains(a.body, `"code_challenge_methods_supported":["S256"]`) || !strings.Contains(a.body, `"response_types_supported":["code"]`) || a.json["authorization_response_iss_parameter_supported"] != true {
		t.Errorf("metadata: %s", a.body)
	}
	keys := w.get("/jwks")
	if _, err := jose.ParseSet([]byte(keys.body)); err != nil || strings.Contains(keys.body, `"d"`) || keys.header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("jwks: %v %s", err, keys.body)
	}
}

// TestCodeFlow is the main way, from the browser to a token that a door accepts.
func TestCodeFlow(t *testing.T) {
	w := newWorld(t)
	tokens := w.login()
	if tokens["token_type"] != "Bearer" || tokens["expires_in"] != 600.0 || tokens["scope"] != "model.infer model.read" || !w.accepted(tokens["access_token"], api) {
		t.Errorf("tokens: %v", tokens)
	}
	next := w.post("/oauth/token", refreshForm(tokens["refresh_token"]))
	if next.status != http.StatusOK || next.json["refresh_token"] == tokens["refresh_token"] || !w.accepted(next.json["access_token"], api) {
		t.Errorf("refresh: %d %s", next.status, next.body)
	}
	form := refreshForm(next.json["refresh_token"])
	form.Set("resource", hub)
	form.Set("scope", "model.infer")
	narrow := w.post("/oauth/token", form)
	if access, _ := narrow.json["access_token"].(string); !strings.HasPrefix(access, "hf_") || !w.accepted(access, hub) || w.accepted(access, api) || narrow.json["scope"] != "model.infer" {
		t.Errorf("a token for the hub: %d %s", narrow.status, narrow.body)
	}
	if n := w.count(sallyport.EventTokenIssued); n != 3 {
		t.Errorf("%d issues recorded, want 3", n)
	}
}

func TestOA20(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, after := range []time.Duration{0, 30 * time.Second} {
		code := w.code(query())
		first := w.post("/oauth/token", codeForm(code))
		if first.status != http.StatusOK || !w.accepted(first.json["access_token"], api) {
			t.Fatalf("first: %d %s", first.status, first.body)
		}
		w.wait(after)
		wantError(t, "second", w.post("/oauth/token", codeForm(code)), http.StatusBadRequest, "invalid_grant")
		if w.accepted(first.json["access_token"], api) {
			t.Errorf("after %v: the first token is alive", after)
		}
		wantError(t, "refresh", w.post("/oauth/token", refreshForm(first.json["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	}
}

func TestOA21(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	code := w.code(query())
	form := codeForm(code)
	form.Set("client_id", "other")
	wantError(t, "another client's code", w.post("/oauth/token", form), http.StatusBadRequest, "invalid_grant")
	tokens := w.post("/oauth/token", codeForm(code))
	if tokens.status != http.StatusOK {
		t.Fatalf("the code was burned: %s", tokens.body)
	}
	form = refreshForm(tokens.json["refresh_token"])
	form.Set("client_id", "other")
	wantError(t, "another client's refresh token", w.post("/oauth/token", form), http.StatusBadRequest, "invalid_grant")
	if a := w.post("/oauth/revoke", url.Values{"client_id": {"other"}, "token": {tokens.json["refresh_token"].(string)}}); a.status != http.StatusOK {
		t.Errorf("revocation by another client: %d", a.status)
	}
	if a := w.post("/oauth/token", refreshForm(tokens.json["refresh_token"])); a.status != http.StatusOK {
		t.Errorf("the refresh token was burned: %s", a.body)
	}
}

func TestOA22(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, bad := range []string{"", strings.Repeat("a", 42), strings.Repeat("a", 129), strings.Repeat("a", 43)} {
		form := codeForm(w.code(query()))
		form.Set("code_verifier", bad)
		wantError(t, "verifier "+bad, w.post("/oauth/token", form), http.StatusBadRequest, "invalid_grant")
	}
}

func TestOA23(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	for _, bad := range []string{"", "http://127.0.0.1:4243/callback", redirect + "/"} {
		form := codeForm(w.code(query()))
		form.Set("redirect_uri", bad)
		wantError(t, "redirect_uri "+bad, w.post("/oauth/token", form), http.StatusBadRequest, "invalid_grant")
	}
}

func TestA07(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	if got := w.back(w.authorize(query("code_challenge_method", "plain"))); got.Get("error") != "invalid_request" {
		t.Errorf("plain: %v", got)
	}
	code := w.code(query())
	form := codeForm(code)
	form.Set("client_id", "other")
	wantError(t, "by another client", w.post("/oauth/token", form), http.StatusBadRequest, "invalid_grant")
	first := w.post("/oauth/token", codeForm(code))
	wantError(t, "twice", w.post("/oauth/token", codeForm(code)), http.StatusBadRequest, "invalid_grant")
	if first.status != http.StatusOK || w.accepted(first.json["access_token"], api) {
		t.Error("the tokens of the first use are alive")
	}
}

func TestOA24(t *testing.T) {
	w := newWorld(t)
	tokens := w.login()
	var wg sync.WaitGroup
	answers := make([]answer, 50)
	for i := range answers {
		wg.Go(func() { answers[i] = w.post("/oauth/token", refreshForm(tokens["refresh_token"])) })
	}
	wg.Wait()
	won := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			won++
			wantError(t, "the winner's next", w.post("/oauth/token", refreshForm(a.json["refresh_token"])), http.StatusBadRequest, "invalid_grant")
		} else {
			wantError(t, "a loser", a, http.StatusBadRequest, "invalid_grant")
		}
	}
	if won != 1 {
		t.Errorf("%d won, want 1", won)
	}
}

func TestOA25(t *testing.T) {
	w := newWorld(t)
	observer, stolen := w.login(), w.login()
	next := w.post("/oauth/token", refreshForm(stolen["refresh_token"]))
	if !w.active(observer, next.json["access_token"]) || !w.active(observer, next.json["refresh_token"]) {
		t.Fatal("introspection does not see good tokens")
	}
	wantError(t, "replay", w.post("/oauth/token", refreshForm(stolen["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	for _, raw := range []any{stolen["access_token"], next.json["access_token"], next.json["refresh_token"], stolen["refresh_token"]} {
		if w.active(observer, raw) {
			t.Error("a token of the stolen family is active")
		}
	}
	if w.accepted(next.json["access_token"], api) || !w.active(observer, observer["access_token"]) {
		t.Error("the wrong family died")
	}
	wantError(t, "the new refresh token", w.post("/oauth/token", refreshForm(next.json["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	if n := w.count(sallyport.EventTokenReused); n != 1 {
		t.Errorf("%d incidents, want 1", n)
	}
}

// introspect asks about raw with a caller's access token.
func (w *world) introspect(caller, raw any) answer {
	w.t.Helper()
	r := w.request("POST", "/oauth/introspect", url.Values{"token": {raw.(string)}}.Encode())
	if text, _ := caller.(string); text != "" {
		r.Header.Set("Authorization", "Bearer "+text)
	}
	return w.do(r)
}

func (w *world) active(caller map[string]any, raw any) bool {
	w.t.Helper()
	a := w.introspect(caller["access_token"], raw)
	if a.status != http.StatusOK {
		w.t.Fatalf("introspection: %d %s", a.status, a.body)
	}
	return a.json["active"] == true
}

// TestJOSE8 introspects without authentication, with what is none, and about other people's tokens.
func TestJOSE8(t *testing.T) {
	w := newWorld(t)
	ana := w.login()
	w.signIn("bo", sallyport.MultiFactor)
	bo := w.login()
	for name, caller := range map[string]any{"nobody": "", "a refresh token": ana["refresh_token"], "nonsense": "x.y.z"} {
		if a := w.introspect(caller, ana["access_token"]); a.status != http.StatusUnauthorized || a.json["active"] != nil {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	form := refreshForm(ana["refresh_token"])
	form.Set("resource", hub)
	atHub := w.post("/oauth/token", form)
	if a := w.introspect(atHub.json["access_token"], ana["access_token"]); a.status != http.StatusUnauthorized {
		t.Errorf("with a token for another door: %d %s", a.status, a.body)
	}
	for _, raw := range []any{ana["access_token"], atHub.json["refresh_token"], atHub.json["access_token"], "unknown", ""} {
		if a := w.introspect(bo["access_token"], raw); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"active":false}` {
			t.Errorf("somebody else's token: %d %s", a.status, a.body)
		}
	}
	a := w.introspect(ana["access_token"], ana["access_token"])
	if a.json["active"] != true || a.json["sub"] != "user:ana" || a.json["aud"] != api || a.json["acr"] != "aal2" || a.json["iss"] != external {
		t.Errorf("one's own token: %s", a.body)
	}
}

// TestJOSE10 puts tokens where they do not belong: they are not seen.
func TestJOSE10(t *testing.T) {
	w := newWorld(t)
	tokens := w.login()
	access := tokens["access_token"].(string)
	r := w.request("POST", "/oauth/introspect?access_token="+access, url.Values{"token": {access}, "access_token": {access}}.Encode())
	if a := w.do(r); a.status != http.StatusUnauthorized {
		t.Errorf("access token in the query and the form: %d %s", a.status, a.body)
	}
	r = w.request("POST", "/oauth/token?"+refreshForm(tokens["refresh_token"]).Encode(), "x=y")
	wantError(t, "refresh token in the query", w.do(r), http.StatusUnauthorized, "invalid_client")
	if a := w.get("/oauth/token?" + refreshForm(tokens["refresh_token"]).Encode()); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", a.status)
	}
	if a := w.post("/oauth/token", refreshForm(tokens["refresh_token"])); a.status != http.StatusOK {
		t.Errorf("the refresh token was seen and used up: %s", a.body)
	}
}

func TestOA27(t *testing.T) {
	w := newWorld(t)
	w.signIn("ana", sallyport.MultiFactor)
	tokens := w.post("/oauth/token", codeForm(w.code(query("resource", api))))
	for name, change := range map[string][3]string{
		"wider": {"scope", "model.infer model.read model.pull", "invalid_scope"}, "all": {"scope", "*", "invalid_scope"}, "no words": {"scope", "openid", "invalid_scope"},
		"not approved": {"resource", hub, "invalid_target"}, "foreign": {"resource", "https://evil.example", "invalid_target"},
	} {
		form := refreshForm(tokens.json["refresh_token"])
		form.Set(change[0], change[1])
		wantError(t, name, w.post("/oauth/token", form), http.StatusBadRequest, change[2])
	}
	if a := w.post("/oauth/token", refreshForm(tokens.json["refresh_token"])); a.status != http.StatusOK {
		t.Errorf("the refresh token was used up by bad requests: %s", a.body)
	}
}

func TestOA28(t *testing.T) {
	w := newWorld(t)
	refresh := w.login()["refresh_token"].(string)
	for _, bad := range []string{refresh[:42], refresh[1:], refresh + "A", refresh + " ", strings.ToUpper(refresh)} {
		wantError(t, bad, w.post("/oauth/token", refreshForm(bad)), http.StatusBadRequest, "invalid_grant")
	}
}

// TestOA34 has a public client act for itself.
func TestOA34(t *testing.T) {
	w := newWorld(t)
	a := w.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"sallyport-cli"}})
	wantError(t, "client_credentials", a, http.StatusBadRequest, "unauthorized_client")
	a = w.post("/oauth/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"device"}, "refresh_token": {"x"}})
	wantError(t, "a grant the client does not have", a, http.StatusBadRequest, "unauthorized_client")
}

// TestClientsAreWhoTheyAre sends credentials that a public client cannot have, and forms that are none.
func TestClientsAreWhoTheyAre(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"client_secret", "client_assertion"} {
		form := refreshForm("x")
		form.Set(name, "x")
		for _, path := range []string{"/oauth/token", "/oauth/device", "/oauth/revoke"} {
			wantError(t, path+" with "+name, w.post(path, form), http.StatusUnauthorized, "invalid_client")
		}
	}
	r := w.request("POST", "/oauth/token", refreshForm("x").Encode())
	r.SetBasicAuth("sallyport-cli", "x")
	wantError(t, "Basic", w.do(r), http.StatusUnauthorized, "invalid_client")
	form := refreshForm("x")
	form.Set("client_id", "user:ana")
	wantError(t, "unknown client", w.post("/oauth/token", form), http.StatusUnauthorized, "invalid_client")

	for _, kind := range []string{"", "application/json", "multipart/form-data; boundary=x", "text/plain"} {
		r := w.request("POST", "/oauth/token", refreshForm("x").Encode())
		r.Header.Set("Content-Type", kind)
		wantError(t, "Content-Type "+kind, w.do(r), http.StatusBadRequest, "invalid_request")
	}
	form.Set("x", strings.Repeat("x", 20_000))
	wantError(t, "a long form", w.post("/oauth/token", form), http.StatusRequestEntityTooLarge, "invalid_request")
	wantError(t, "no form", w.do(w.request("POST", "/oauth/token", "%zz")), http.StatusBadRequest, "invalid_request")
	if w.count(sallyport.EventRefused) == 0 {
		t.Error("no refusal is recorded")
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"access_token", "refresh_token"} {
		tokens := w.login()
		form := url.Values{"client_id": {"sallyport-cli"}, "token": {tokens[name].(string)}, "token_type_hint": {"refresh_token"}}
		for range 2 { // a second time there is nothing to revoke
			if a := w.post("/oauth/revoke", form); a.status != http.StatusOK || a.body != "" {
				t.Errorf("revoke by %s: %d %s", name, a.status, a.body)
			}
		}
		if w.accepted(tokens["access_token"], api) {
			t.Errorf("revoked by %s: the access token is alive", name)
		}
		wantError(t, name, w.post("/oauth/token", refreshForm(tokens["refresh_token"])), http.StatusBadRequest, "invalid_grant")
	}
	if a := w.post("/oauth/revoke", url.Values{"client_id": {"sallyport-cli"}, "token": {"unknown"}}); a.status != http.StatusOK {
		t.Errorf("an unknown token: %d", a.status)
	}
	wantError(t, "no token", w.post("/oauth/revoke", url.Values{"client_id": {"sallyport-cli"}}), http.StatusBadRequest, "invalid_request")
}

func TestNewRefuses(t *testing.T) {
	for _, bad := range []string{"", "sallyport.example", "http://sallyport.example", "https://sallyport.example/", "https://sallyport.example/path", "https://u@sallyport.example", "https://sallyport.example?x", "ftp://127.0.0.1"} {
		if _, err := oidc.New(oidc.Config{Config: oauth.Config{URL: bad}}); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("external URL %q: %v", bad, err)
		}
	}
	if _, err := oidc.New(oidc.Config{Config: oauth.Config{URL: external}}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}

func FuzzForms(f *testing.F) {
	f.Add("POST", codeForm("x").Encode())
	f.Add("GET", query().Encode())
	f.Add("GET", "client_id=sallyport-cli&redirect_uri=http://127.0.0.1:1/callback&redirect_uri=http://evil.example/")
	w := newWorld(f)
	w.signIn("ana", sallyport.MultiFactor)
	f.Fuzz(func(t *testing.T, method, text string) {
		r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if method == "GET" {
			r = httptest.NewRequest("GET", "/oauth/authorize", nil)
			r.URL.RawQuery = text
		}
		a := httptest.NewRecorder()
		w.server.Config.Handler.ServeHTTP(a, r)
		if a.Code >= 500 || strings.Contains(a.Body.String(), "access_token") {
			t.Errorf("%s %q: %d %s", method, text, a.Code, a.Body)
		}
		to := a.Header().Get("Location")
		if to != "" && !strings.HasPrefix(to, "/stepup?") && !strings.HasPrefix(to, "http://127.0.0.1:") && !strings.HasPrefix(to, "http://[::1]:") && !strings.HasPrefix(to, "https://client.example/callback?x=1&") {
			t.Errorf("%q leads to %q", text, to)
		}
		if strings.ContainsAny(to, " \r\n") {
			t.Errorf("%q leads to %q: the header can be split", text, to)
		}
	})
}
