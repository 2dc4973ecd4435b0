package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/federation/oidc/oidctest"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// I-16, SESS4: every way in and everything that is bound, shared or delegated, once well and once badly, with a secret in each
// place where one can be. None lies anywhere afterwards.
func TestI16SecretsOfIdentity(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	corp := oidctest.New(t, r.clock.Now)
	r.restartWith(func() { r.secretive(corp) })
	leakProofs(t, r)
	leakPrograms(t, r)
	leakBound(t, r)
	leakAgents(t, r)
	leakStrays(t, r)
	leakFederation(t, r, corp)
	r.wantNoSecrets()
	kinds := map[string]bool{}
	for _, name := range r.canaries.all() {
		kinds[strings.TrimPrefix(name, "signature of ")] = true
	}
	for _, want := range []string{"cookie __Host-sallyport-passkey", "cookie __Host-sallyport-away", "recovery code", "client_assertion at /oauth/token", "proof at " + own()[client.Hub],
		"proof of an agent", "actor_token at /oauth/token", "authorization_header at /signals/streams", "credential at /scim/v2/Users", "client secret at a provider", "key of the webhook", "password of the mail server",
		"state of a sign-in elsewhere", "access_token at /oauth/token", "refresh_token at /oauth/token"} {
		if !kinds[want] {
			t.Errorf("there was no %s to look for", want)
		}
	}
}

// secretive configures everything that takes a secret of an operator's.
func (r *story) secretive(corp *oidctest.Provider) {
	r.t.Helper()
	file := func(name string) string {
		path := filepath.Join(r.dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(r.canaries.add(name)+"-of-thirty-two-bytes-or-more\n"), 0o600); err != nil {
			r.t.Fatal(err)
		}
		return path
	}
	r.config.Federation = []server.IdentityProvider{{Name: "corp", Title: "Corp", Kind: "oidc", ACR: map[string]string{"gold": "aal2"},
		OIDC:   server.OIDCProvider{Issuer: corp.URL, Client: oidctest.Client, SecretFile: file("client secret at a provider")},
		Claims: server.ClaimNames{Name: "preferred_username"}, Join: &server.JoinSetting{Organisation: "acme"}}}
	r.config.Notify.Webhook = server.WebhookConfig{URL: "https://127.0.0.1:1/hook", KeyFile: file("key of the webhook"), Private: true}
	r.config.Notify.Mail = server.MailConfig{Server: "127.0.0.1:1", Security: "starttls", From: "sallyport@acme.example", User: "sallyport", PasswordFile: file("password of the mail server")}
}

// leakProofs registers a passkey, steps up by it, answers ceremonies wrongly, and has recovery codes made, used and guessed.
func leakProofs(t *testing.T, r *story) {
	rita, ctx := r.As("rita").who, t.Context()
	b, err := rita.passkey(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.StepUp(ctx, ""); err != nil {
		t.Fatal(err)
	}
	stranger := &softkey.Browser{HTTP: b.HTTP, URL: b.URL, Key: &softkey.Key{}}
	if _, err := stranger.StepUp(ctx, ""); err == nil {
		t.Error("a key without a passkey steps up")
	}
	at, err := rita.open(ctx, b.URL+"/account")
	if err == nil {
		_, err = rita.send(ctx, at, "/account/codes", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// leakPrograms has a program prove itself by an assertion, well and badly, and share signals by a push with a header.
func leakPrograms(t *testing.T, r *story) {
	okta := r.provider("okta")
	r.canaries.note("token of a source", okta.token)
	okta.do(http.MethodPost, "/Users", userBody("zoe"), http.StatusCreated)
	okta.do(http.MethodPost, "/Users", userBody("zoe"), http.StatusConflict)
	token := r.machine("partner", "signal-receiver", "/signals", "identity.read")()
	stranger, _ := issuerKey(t)
	forged := signed(t, jose.Signer{Key: stranger, Algorithm: jose.ES256, KeyID: "k", Rand: rand.Reader}, map[string]any{"iss": "partner", "sub": "partner",
		"aud": r.server.External(), "jti": "forged", "iat": r.clock.Now().Unix(), "exp": r.clock.Now().Add(time.Minute).Unix()})
	if status, body := r.tokenForm(url.Values{"grant_type": {"client_credentials"}, "client_assertion": {forged},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}); status != http.StatusUnauthorized {
		t.Errorf("an assertion by another key: %d %.200s", status, body)
	}
	for _, where := range []string{"https://127.0.0.1:1/events", "https://receiver.acme.example/events"} { // refused, and taken
		r.Nobody().Send(request{method: http.MethodPost, path: "/signals/streams", bearer: token, body: fmt.Sprintf(`{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":%q,"authorization_header":"Bearer %s"},"events_requested":[%q]}`,
			where, r.canaries.add("header of a push"), secevent.SessionRevoked)})
	}
	r.WantStatus(http.StatusCreated)
}

// leakBound signs in with a key, from an enrolled computer, and shows the token with a stranger's key and with none.
func leakBound(t *testing.T, r *story) {
	r.Join("theo", "", "")
	theo := r.As("theo")
	key := r.bind(theo.who)
	token, err := theo.who.token(t.Context(), client.Hub)
	if err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: own()[client.Hub], bearer: token})
	r.WantStatus(http.StatusUnauthorized)
	stranger, _ := issuerKey(t)
	for _, k := range []*ecdsa.PrivateKey{key, stranger} {
		a, err := r.shown(token, k, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.shown(token, k, a.Header.Get("DPoP-Nonce")); err != nil {
			t.Fatal(err)
		}
	}
	l := r.As("oto").Laptop("leaky", "")
	r.As("oto").From(l).Infer(base)
}

// leakAgents delegates, and takes the permission back.
func leakAgents(t *testing.T, r *story) {
	h := r.Helper(base)
	ana := r.As("ana")
	given, err := ana.who.client.Delegate(t.Context(), api.Delegation{Agent: "agent:helper", Scope: "model.infer@" + base, For: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	token, status, said := ana.Behalf(h, "helper-1", client.OpenAI)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	q := chat(base, false, 1)
	q.bearer = token
	r.Nobody().Send(q).Want(allowed)
	if _, err := ana.who.client.EndDelegation(t.Context(), given.ID); err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(q).WantStatus(http.StatusUnauthorized)
}

// leakStrays sends secrets where none belong: in addresses, names and headers.
func leakStrays(t *testing.T, r *story) {
	token, err := r.As("eva").who.token(t.Context(), client.Hub)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []request{{path: "/hf/api/whoami-v2?access_token=" + token}, {path: "/hf/acme/base/resolve/main/x?token=" + token}, {path: "/scim/v2/Users?access_token=" + token},
		{path: "/api/v1/whoami", bearer: token + "x"}, {path: "/api/v1/whoami", header: map[string]string{"Cookie": "__Host-sallyport=" + r.canaries.add("cookie that nobody gave")}},
		{path: "/login/oidc/corp/callback?code=" + r.canaries.add("code of nobody") + "&state=" + r.canaries.add("state of nobody")}} {
		r.Nobody().Send(q)
	}
	status, _ := r.tokenForm(url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {r.canaries.add("refresh token of nobody")}})
	if status != http.StatusBadRequest {
		t.Errorf("a made-up refresh token: %d", status)
	}
}

// leakFederation signs in at a provider and comes back twice: the second time is refused.
func leakFederation(t *testing.T, r *story, corp *oidctest.Provider) {
	corp.Lock()
	corp.Claims = map[string]any{"sub": "s-1", "preferred_username": "zack", "acr": "gold", "auth_time": r.clock.Now().Unix()}
	corp.Unlock()
	zack, err := r.newPerson("zack")
	if err != nil {
		t.Fatal(err)
	}
	back := r.throughCorp(zack, corp)
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		at, err := zack.open(t.Context(), back)
		if err != nil || at.status != want {
			t.Errorf("%d at %s, %v, want %d: %.300s", at.status, at.path, err, want, at.text)
		}
	}
}
