package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/web/api"
)

// machine makes a service with a role and a client of its own key, and returns how
// it gets tokens: by client credentials.
func (r *story) machine(name, role, audience, scope string) func() string {
	r.t.Helper()
	adam, ctx := r.As("adam").who.client, r.t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	public, err := jose.NewKey("k", jose.ES256, key.Public())
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := jose.NewSet(public)
	if err != nil {
		r.t.Fatal(err)
	}
	id := sallyport.PrincipalID("service:" + name)
	if _, err := adam.DefineRole(ctx, api.Role{Name: role}); err != nil {
		r.t.Fatal(err)
	}
	m := api.Member{ID: id, Org: "acme", Person: "user:tess", Purpose: "for the story", Ends: r.clock.Now().Add(100 * 24 * time.Hour)}
	if _, err := adam.AddPerson(ctx, m); err != nil {
		r.t.Fatal(err)
	}
	if _, err := adam.Assign(ctx, api.Assignment{Subject: string(id), Role: role, Scope: "org:acme"}); err != nil {
		r.t.Fatal(err)
	}
	at := r.server.External()
	if _, err := adam.AddProgram(ctx, api.Program{ID: name, Name: name, Method: "private_key_jwt", Keys: set.Document(), Grants: []string{"client_credentials"},
		Scopes: strings.Fields(scope), Default: strings.Fields(scope), Audiences: []string{at + audience}, Principal: id}); err != nil {
		r.t.Fatal(err)
	}
	return func() string {
		now := r.clock.Now()
		signer := jose.Signer{Key: key, Algorithm: jose.ES256, KeyID: "k", Rand: rand.Reader}
		assertion, err := signer.Sign("JWT", map[string]any{"iss": name, "sub": name, "aud": at, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
		if err != nil {
			r.t.Fatal(err)
		}
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {name}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion": {assertion.Reveal()}}
		a, err := r.wire.PostForm(at+"/oauth/token", form)
		if err != nil {
			r.t.Fatal(err)
		}
		defer a.Body.Close()
		raw, err := io.ReadAll(a.Body)
		var out struct {
			Token string `json:"access_token"`
		}
		if err != nil || a.StatusCode != http.StatusOK || json.Unmarshal(raw, &out) != nil {
			r.t.Fatalf("client credentials: %d %s %v", a.StatusCode, raw, err)
		}
		return out.Token
	}
}

// A provider gets its own tokens by client credentials; and it works on without
// whoever answered for it until the grace is over.
func TestAProviderWithAKeyOfItsOwn(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	token := r.machine("okta", "provisioner", "/scim", "identity.read identity.administer")
	okta := provider{story: &story{scene: r.scene}, token: token()}
	okta.do("POST", "/Users", userBody("lea"), 201)
	adam := r.As("adam").who.client
	if _, err := adam.Leave(t.Context(), "user:tess", api.Leave{Why: "last day"}); err != nil {
		t.Fatal(err)
	}
	okta.do("GET", "/Users", "", 200)
	r.Later(6 * 24 * time.Hour)
	if err := r.As("adam").who.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	okta.token = token()
	okta.do("GET", "/Users", "", 200)
	r.clock.Add(25 * time.Hour)
	soon(func() bool { return okta.Send(request{path: "/scim/v2/Users", bearer: okta.token}).last.status == 401 })
	okta.do("GET", "/Users", "", 401) // at the end of the grace, whoever swept or not
}

// What happens to people is told to a partner that polls, signed, with its reason;
// and what it says back is taken. The scopes and the policy are real.
func TestSignalsToAPartner(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("lea", "reader", "project:acme/risk")
	r.As("lea")
	token := r.machine("partner", "signal-receiver", "/signals", "identity.read")()
	ask := func(method, path, body string, want int) map[string]any {
		t.Helper()
		r.Nobody().Send(request{method: method, path: path, body: body, bearer: token})
		r.WantStatus(want)
		var out map[string]any
		_ = json.Unmarshal(r.last.body, &out) // a list or nothing
		return out
	}
	var wanted []string
	for _, x := range secevent.Types() {
		wanted = append(wanted, fmt.Sprintf("%q", x))
	}
	stream := ask("POST", "/signals/streams", `{"delivery":{"method":"urn:ietf:rfc:8936"},"events_requested":[`+strings.Join(wanted, ",")+`]}`, 201)
	if _, err := r.As("adam").who.client.Leave(t.Context(), "user:lea", api.Leave{Why: "last day"}); err != nil {
		t.Fatal(err)
	}
	jwks, err := r.wire.Get(r.server.External() + "/signals/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer jwks.Body.Close()
	var doc bytes.Buffer
	if _, err := doc.ReadFrom(jwks.Body); err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseSet(doc.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	poll := strings.TrimPrefix(stream["delivery"].(map[string]any)["endpoint_url"].(string), r.server.External())
	var revoked *secevent.Token
	for end := time.Now().Add(patience); revoked == nil && time.Now().Before(end); {
		sets, _ := ask("POST", poll, `{"returnImmediately":true}`, 200)["sets"].(map[string]any)
		for _, text := range sets {
			x, err := secevent.Verify(text.(string), keys, secevent.Rules{Issuer: r.server.External(), Audience: stream["aud"].(string), Algorithms: []jose.Algorithm{jose.RS256},
				Now: r.clock.Now(), MaxAge: time.Hour, Leeway: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if user, _ := x.Event.Subject.Part("user"); x.Event.Type == secevent.SessionRevoked && user.Fields["sub"] == "user:lea" {
				revoked = &x
			}
		}
	}
	if revoked == nil || revoked.Event.Admin != "last day" {
		t.Errorf("the partner heard %+v", revoked)
	}
	all, err := r.As("adam").who.client.SignalStreams(t.Context())
	if err != nil || len(all) != 1 || all[0].Owner != "service:partner" || all[0].Waiting == 0 {
		t.Errorf("streams: %+v, %v", all, err)
	}
	ask("GET", "/scim/v2/Users", "", 401) // a token for one door
	r.As("ana")
	mine, err := r.As("ana").who.token(t.Context(), client.API)
	if err != nil {
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: "/signals/streams", bearer: mine})
	r.WantStatus(401)
}
