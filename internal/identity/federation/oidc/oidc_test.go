package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/federation/oidc"
	"sallyport/internal/identity/federation/oidc/oidctest"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A desk is a provider and a client of it, at one time.
type desk struct {
	*oidctest.Provider
	t      *testing.T
	at     time.Time
	client *oidc.Client
}

func newDesk(t *testing.T, change ...func(*oidc.Config)) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	d.Provider = oidctest.New(t, func() time.Time { return d.at })
	c := oidc.Config{Title: "Corp", Issuer: d.URL, Client: oidctest.Client, Secret: secret.NewText("s e+c/ret"), Redirect: "https://sallyport.example/login/oidc/corp/callback",
		Scopes: []string{"email"}, HTTP: httpsafe.Bounded(&http.Client{Transport: http.DefaultTransport}, 1<<20, 5*time.Second), Now: func() time.Time { return d.at }, Random: rand.Reader}
	for _, f := range change {
		f(&c)
	}
	var err error
	if d.client, err = oidc.New(c); err != nil {
		t.Fatal(err)
	}
	return d
}

func attempt() federation.Attempt {
	return federation.Attempt{State: "state", Nonce: "nonce-of-this-attempt", Verifier: oauth2.GenerateVerifier()}
}

// sign walks one attempt to its end; change may spoil the answer on its way.
func (d *desk) sign(a federation.Attempt, change func(url.Values)) (federation.Assertion, error) {
	d.t.Helper()
	to, err := d.client.Begin(d.t.Context(), a)
	if err != nil {
		return federation.Assertion{}, err
	}
	answer := d.Approve(to)
	if change != nil {
		change(answer)
	}
	return d.client.Read(d.t.Context(), a, answer)
}

func (d *desk) says(claims map[string]any) {
	d.Lock()
	defer d.Unlock()
	d.Claims = claims
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != federation.ReasonAnswer {
		t.Errorf("%s: %v, want it refused", what, err)
	}
}

func TestSignIn(t *testing.T) {
	d := newDesk(t)
	d.says(map[string]any{"sub": "u-1", "email": "ana@acme.example", "email_verified": true, "groups": []string{"a", "b"}, "acr": "gold", "amr": []string{"pwd", "otp"},
		"auth_time": d.at.Add(-time.Minute).Unix(), "sid": "s-1", "realm": map[string]any{"roles": []string{"x"}}, "azp": oidctest.Client})
	a, err := d.sign(attempt(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Issuer != d.URL || a.Subject != "u-1" || a.Session != "s-1" || a.ACR != "gold" || fmt.Sprint(a.AMR) != "[pwd otp]" || !a.AuthTime.Equal(d.at.Add(-time.Minute)) ||
		fmt.Sprint(a.Claims["groups"], a.Claims["email_verified"], a.Claims["realm.roles"]) != "[a b] [true] [x]" {
		t.Errorf("%+v", a)
	}
}

// What is asked for: PKCE and nonce always, a fresh proof or its age where they are wanted, and by a pushed request where the
// provider takes one.
func TestRequests(t *testing.T) {
	asked := func(d *desk, a federation.Attempt) url.Values {
		t.Helper()
		to, err := d.client.Begin(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	d := newDesk(t, func(c *oidc.Config) { c.ACR = []string{"gold", "silver"} })
	q := asked(d, attempt())
	if q.Get("scope") != "openid email" || q.Get("acr_values") != "gold silver" || q.Get("nonce") != "nonce-of-this-attempt" || q.Get("state") != "state" || q.Has("prompt") || q.Has("max_age") {
		t.Errorf("%v", q)
	}
	aged := attempt()
	if aged.MaxAge = time.Hour; asked(d, aged).Get("max_age") != "3600" {
		t.Error("the age is not asked for")
	}
	fresh := attempt()
	fresh.Fresh = true
	if q := asked(d, fresh); q.Get("max_age") != "0" || q.Get("prompt") != "login" {
		t.Errorf("%v", q)
	}
	pushing := newDesk(t)
	pushing.Discover = func(doc map[string]any) { doc["pushed_authorization_request_endpoint"] = pushing.URL + "/par" }
	q = asked(pushing, attempt())
	if len(q) != 2 || q.Get("client_id") != oidctest.Client || pushing.Requests[q.Get("request_uri")].Get("nonce") == "" {
		t.Errorf("pushed: %v", q)
	}
	if _, err := pushing.sign(attempt(), nil); err != nil {
		t.Errorf("by a pushed request: %v", err)
	}
}

// A client with a key proves itself by assertions for the issuer and nobody else, never by a secret.
func TestPrivateKeyJWT(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey("k", jose.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(public)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, func(c *oidc.Config) {
		c.Secret, c.Key = secret.Text{}, &jose.Signer{Key: private, Algorithm: jose.ES256, KeyID: "k", Rand: rand.Reader}
	})
	d.Discover = func(doc map[string]any) { doc["pushed_authorization_request_endpoint"] = d.URL + "/par" }
	to, err := d.client.Begin(t.Context(), attempt())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	pushed := d.Requests[u.Query().Get("request_uri")]
	if _, err := jose.VerifyAssertion(pushed.Get("client_assertion"), set, jose.AssertionWant{Client: oidctest.Client, Issuer: d.URL, Now: d.at}); err != nil {
		t.Errorf("%v: %v", pushed, err)
	}
	if _, err := d.sign(attempt(), nil); err != nil {
		t.Error(err)
	}
	if _, err := oidc.New(oidc.Config{Issuer: d.URL, Client: "x", Redirect: "x", HTTP: http.DefaultClient, Now: time.Now, Random: rand.Reader, Secret: secret.NewText("x"), Key: &jose.Signer{}}); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("a secret and a key: %v", err)
	}
}

// FED1: what the library leaves to its caller.
func TestFED1ClaimsThatNobodyElseChecks(t *testing.T) {
	d := newDesk(t)
	base := func(more ...any) map[string]any {
		c := map[string]any{"sub": "u-1", "auth_time": d.at.Unix()}
		for i := 0; i < len(more); i += 2 {
			c[more[i].(string)] = more[i+1]
		}
		return c
	}
	fresh, aged := attempt(), attempt()
	fresh.Fresh, fresh.Begun = true, d.at
	aged.MaxAge = time.Hour
	for name, c := range map[string]struct {
		claims map[string]any
		by     federation.Attempt
	}{
		"wrong nonce":          {base("nonce", "another"), attempt()},
		"no nonce":             {base("nonce", nil), attempt()},
		"azp":                  {base("azp", "another"), attempt()},
		"two audiences":        {base("aud", []string{oidctest.Client, "another"}), attempt()},
		"at_hash":              {base("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), attempt()},
		"no auth_time, fresh":  {base("auth_time", nil), fresh},
		"no auth_time, aged":   {base("auth_time", nil), aged},
		"auth_time no time":    {base("auth_time", -1), attempt()},
		"auth_time a fraction": {base("auth_time", 1.5), attempt()},
		"iat in the future":    {base("iat", d.at.Add(10*time.Minute).Unix()), attempt()},
		"no iat":               {base("iat", nil), attempt()},
		"issuer":               {base("iss", "https://evil.example"), attempt()},
		"audience":             {base("aud", "another"), attempt()},
		"expired":              {base("exp", d.at.Add(-time.Minute).Unix()), attempt()},
		"no exp":               {base("exp", nil), attempt()},
		"claims too deep":      {base("a", map[string]any{"b": map[string]any{"c": map[string]any{"d": map[string]any{"e": 1}}}}), attempt()},
	} {
		d.says(c.claims)
		_, err := d.sign(c.by, nil)
		refused(t, name, err)
	}
	d.says(base("aud", []string{oidctest.Client, "another"}, "azp", oidctest.Client))
	if _, err := d.sign(attempt(), nil); err != nil {
		t.Errorf("two audiences, and azp is ours: %v", err)
	}
	for _, typ := range []string{"at+jwt", "dpop+jwt", "logout+jwt"} {
		d.Type = typ
		_, err := d.sign(attempt(), nil)
		refused(t, "typ "+typ, err)
	}
}

// FED2: an answer says whose it is, and is believed only where it is this provider's.
func TestFED2AnswersOfOthers(t *testing.T) {
	d := newDesk(t)
	for name, change := range map[string]func(url.Values){
		"another issuer":           func(v url.Values) { v.Set("iss", "https://evil.example") },
		"no issuer":                func(v url.Values) { v.Del("iss") },
		"two issuers":              func(v url.Values) { v.Add("iss", d.URL) },
		"two codes":                func(v url.Values) { v.Add("code", "x") },
		"no code":                  func(v url.Values) { v.Del("code") },
		"unknown code":             func(v url.Values) { v.Set("code", "x") },
		"a foreign issuer's error": func(v url.Values) { v.Set("iss", "https://evil.example"); v.Set("error", "access_denied") },
	} {
		_, err := d.sign(attempt(), change)
		refused(t, name, err)
	}
	_, err := d.sign(attempt(), func(v url.Values) { v.Set("error", "access_denied"); v.Set("error_description", "<script>") })
	if sallyport.ReasonOf(err) != federation.ReasonRefused || strings.Contains(sallyport.PublicText(err), "script") {
		t.Errorf("the provider said no: %v", err)
	}
	to, err := d.client.Begin(t.Context(), attempt())
	if err != nil {
		t.Fatal(err)
	}
	other := attempt() // the code of another attempt: PKCE
	_, err = d.client.Read(t.Context(), other, d.Approve(to))
	refused(t, "a code that was injected", err)
	silent := newDesk(t)
	silent.Discover = func(doc map[string]any) { delete(doc, "authorization_response_iss_parameter_supported") }
	if _, err := silent.sign(attempt(), func(v url.Values) { v.Del("iss") }); err != nil {
		t.Errorf("a provider that does not name itself: %v", err)
	}
	_, err = silent.sign(attempt(), func(v url.Values) { v.Set("iss", "https://evil.example") })
	refused(t, "and does so wrongly", err)
}

// FED4, what one token shows: its type, its audience, its age, and that it is no ID token. That it counts once is tested with
// the door.
func TestFED4LogoutTokens(t *testing.T) {
	d := newDesk(t)
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	base := func(more ...any) map[string]any {
		c := map[string]any{"jti": "j-1", "events": event, "sid": "s-1"}
		for i := 0; i < len(more); i += 2 {
			c[more[i].(string)] = more[i+1]
		}
		return c
	}
	for _, typ := range []string{"logout+jwt", "JWT"} {
		e, err := d.client.Logout(t.Context(), d.Sign(typ, base("sub", "u-1")))
		if err != nil || e.Session != "s-1" || e.Subject != "u-1" || e.ID != "j-1" || !e.Until.Equal(d.at.Add(5*time.Minute)) {
			t.Errorf("typ %q: %+v, %v", typ, e, err)
		}
	}
	for name, c := range map[string]struct {
		typ    string
		claims map[string]any
	}{
		"wrong typ": {"at+jwt", base()}, "a proof": {"dpop+jwt", base()}, "nonce": {"logout+jwt", base("nonce", "x")}, "null nonce": {"logout+jwt", base("nonce", map[string]any{})},
		"audience": {"logout+jwt", base("aud", "another")}, "for others too": {"logout+jwt", base("aud", []string{oidctest.Client, "another"})},
		"issuer": {"logout+jwt", base("iss", "https://evil.example")}, "no event": {"logout+jwt", base("events", nil)}, "another event": {"logout+jwt", base("events", map[string]any{"x": 1})},
		"no jti": {"logout+jwt", base("jti", nil)}, "neither sid nor sub": {"logout+jwt", base("sid", nil)}, "expired": {"logout+jwt", base("exp", d.at.Add(-time.Minute).Unix())},
		"no exp": {"logout+jwt", base("exp", nil)}, "old": {"logout+jwt", base("iat", d.at.Add(-time.Hour).Unix())}, "future": {"logout+jwt", base("iat", d.at.Add(time.Hour).Unix())},
		"a long jti": {"logout+jwt", base("jti", strings.Repeat("x", 256))},
	} {
		_, err := d.client.Logout(t.Context(), d.Sign(c.typ, c.claims))
		refused(t, name, err)
	}
	stranger := oidctest.New(t, func() time.Time { return d.at })
	stranger.Key.KeyID = d.Key.KeyID
	_, err := d.client.Logout(t.Context(), stranger.Sign("logout+jwt", base("iss", d.URL)))
	refused(t, "another's key", err)
	_, err = d.client.Logout(t.Context(), "")
	refused(t, "nothing", err)
}

// TX7's rule for providers: unknown keys and bad signatures fetch the key set at most twice a minute; a new key is found; while
// the provider is down, old keys serve.
func TestKeysAreFetchedSeldom(t *testing.T) {
	d := newDesk(t)
	logout := func() error {
		_, err := d.client.Logout(t.Context(), d.Sign("logout+jwt", map[string]any{"jti": rand.Text(), "sid": "s", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}))
		return err
	}
	if err := logout(); err != nil {
		t.Fatal(err)
	}
	d.Rotate()
	for range 100 {
		refused(t, "too soon for another fetch", logout())
	}
	if d.Fetches != 1 {
		t.Errorf("%d fetches", d.Fetches)
	}
	d.at = d.at.Add(31 * time.Second)
	if err := logout(); err != nil || d.Fetches != 2 {
		t.Errorf("after the provider changed its key: %v, %d fetches", err, d.Fetches)
	}
	d.at = d.at.Add(2 * time.Hour)
	token := d.Sign("logout+jwt", map[string]any{"jti": "j", "sid": "s", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})
	d.Lock()
	d.Break = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	d.Unlock()
	if _, err := d.client.Logout(t.Context(), token); err != nil {
		t.Errorf("while the provider is down: %v", err)
	}
}

// FED5: a provider whose documents do not end, or send us elsewhere, is one that cannot be reached.
func TestFED5EndlessDocuments(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"issuer": "`)
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	down := func(t *testing.T, err error) {
		t.Helper()
		if sallyport.KindOf(err) != sallyport.Unavailable || sallyport.ReasonOf(err) != federation.ReasonDown {
			t.Errorf("%v, want the provider to be down", err)
		}
	}
	d := newDesk(t)
	d.Break = endless
	_, err := d.sign(attempt(), nil)
	down(t, err)
	keys := newDesk(t)
	to, err := keys.client.Begin(t.Context(), attempt())
	if err != nil {
		t.Fatal(err)
	}
	answer := keys.Approve(to)
	keys.Lock()
	keys.Break = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			endless(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"access_token": "x", "token_type": "Bearer", "id_token": "x"}`)
	}
	keys.Unlock()
	_, err = keys.client.Read(t.Context(), attempt(), answer)
	down(t, err)
	for name, change := range map[string]func(map[string]any){
		"another issuer":       func(m map[string]any) { m["issuer"] = "https://evil.example" },
		"script":               func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
		"no token endpoint":    func(m map[string]any) { m["token_endpoint"] = "" },
		"credentials in a url": func(m map[string]any) { m["jwks_uri"] = "http://u:p@127.0.0.1/" },
		"a file":               func(m map[string]any) { m["pushed_authorization_request_endpoint"] = "file:///etc/passwd" },
	} {
		d := newDesk(t)
		d.Discover = change
		_, err := d.sign(attempt(), nil)
		if down(t, err); err == nil {
			t.Errorf("%s was believed", name)
		}
		if _, err := d.client.Test(context.Background()); err == nil {
			t.Errorf("%s: the test found nothing", name)
		}
	}
	for _, issuer := range []string{"", "ftp://x", "https://x?y", "https://u@x", "x"} {
		if _, err := oidc.New(oidc.Config{Issuer: issuer, Client: "x", Redirect: "x", HTTP: http.DefaultClient, Now: time.Now, Random: rand.Reader}); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

// What discovery said before counts while the provider is down, and one that is down is not asked by everybody who waits.
func TestDownAndBack(t *testing.T) {
	d := newDesk(t)
	asked := 0
	d.Break = func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusBadGateway) }
	for range 10 {
		if _, err := d.client.Begin(t.Context(), attempt()); sallyport.ReasonOf(err) != federation.ReasonDown {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	d.Lock()
	d.Break = nil
	d.Unlock()
	d.at = d.at.Add(time.Minute)
	if _, err := d.sign(attempt(), nil); err != nil {
		t.Fatal(err)
	}
	d.Lock()
	d.Break = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	d.Unlock()
	d.at = d.at.Add(2 * time.Hour)
	if _, err := d.client.Begin(t.Context(), attempt()); err != nil {
		t.Errorf("what was known is forgotten: %v", err)
	}
	lines, err := newDesk(t).client.Test(t.Context())
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), "1 signing keys") {
		t.Errorf("%v, %v", lines, err)
	}
}

// Claims that the token lacks may come from the userinfo endpoint; what is signed stays.
func TestUserInfo(t *testing.T) {
	d := newDesk(t, func(c *oidc.Config) { c.UserInfo = true })
	a, err := d.sign(attempt(), nil)
	if err != nil || fmt.Sprint(a.Claims["department"]) != "[research]" {
		t.Errorf("%+v, %v", a, err)
	}
	d.says(map[string]any{"sub": "u-1", "department": "sales"})
	if a, err = d.sign(attempt(), nil); err != nil || fmt.Sprint(a.Claims["department"]) != "[sales]" {
		t.Errorf("%+v, %v", a, err)
	}
}
