package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// A portal is a web program that is registered here, signs people in and wants to know when they are gone.
type portal struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	mu     sync.Mutex
	status int      // of its answers
	told   []string // logout tokens
}

const portalBack = "https://portal.example/callback"

// portal registers the program; logouts may go to it although it is next door.
func (r *story) portal() *portal {
	r.t.Helper()
	p := &portal{status: http.StatusOK}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, q.PostFormValue("logout_token"))
		w.WriteHeader(p.status)
	}))
	r.t.Cleanup(p.Close)
	r.restartWith(func() { r.config.LogoutHosts = []string{p.URL} })
	var document json.RawMessage
	p.key, document = issuerKey(r.t)
	at := r.server.External()
	if _, err := r.As("adam").who.client.AddProgram(r.t.Context(), api.Program{ID: "portal", Name: "Portal", Method: "private_key_jwt", Keys: document, LogoutURI: p.URL + "/out",
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"model.read"}, Audiences: []string{at + "/api"}, RedirectURIs: []string{portalBack}}); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// enter signs somebody in at the portal by the session of their browser, and returns the session's id as the ID token has it.
func (r *story) enter(p *portal) string {
	r.t.Helper()
	code := r.code(url.Values{"client_id": {"portal"}, "redirect_uri": {portalBack}, "scope": {"openid model.read"}})
	now := r.clock.Now()
	assertion := signed(r.t, jose.Signer{Key: p.key, Algorithm: jose.ES256, KeyID: "k1", Rand: rand.Reader}, map[string]any{"iss": "portal", "sub": "portal",
		"aud": r.server.External(), "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	status, body := r.tokenForm(exchange(code, url.Values{"client_id": {"portal"}, "redirect_uri": {portalBack}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}))
	var got struct {
		Identity string `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(body), &got); status != http.StatusOK || err != nil || got.Identity == "" {
		r.t.Fatalf("signing in at the portal: %d %s", status, body)
	}
	claims := r.read(got.Identity, "jwt")
	sid, _ := claims.Text("sid")
	return sid
}

// read verifies a token of ours as a program does: by the published keys.
func (r *story) read(raw, typ string) jose.Claims {
	r.t.Helper()
	r.Nobody().Send(request{path: "/jwks"})
	r.WantStatus(200)
	keys, err := jose.ParseSet(r.last.body)
	if err != nil {
		r.t.Fatal(err)
	}
	one, err := jose.Verify(raw, keys, jose.Profile{Op: "read", Types: []string{typ}, Algorithms: jose.OwnAlgorithms()})
	if err == nil {
		err = one.Claims.Check(jose.Rules{Op: "read", Issuer: r.server.External(), Audience: "portal", Sole: true, Now: r.clock.Now(), MaxLife: time.Hour, NeedID: typ == "logout+jwt", Leeway: time.Minute})
	}
	if err != nil {
		r.t.Fatalf("a token of type %s: %v", typ, err)
	}
	return one.Claims
}

// wantsLogout waits until the portal has been told n times, and holds the last token against who left.
func (r *story) wantsLogout(p *portal, n int, sid string, who sallyport.PrincipalID) {
	r.t.Helper()
	var told []string
	r.eventually("the portal is told", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		told = slices.Clone(p.told)
		return len(told) >= n
	})
	if len(told) != n {
		r.t.Fatalf("the portal was told %d times, want %d", len(told), n)
	}
	c := r.read(told[n-1], "logout+jwt")
	if got, _ := c.Text("sid"); got != sid || c.Subject != string(who) || !c.Has("events", "http://schemas.openid.net/event/backchannel-logout") || c.Has("nonce") {
		r.t.Errorf("the logout token says %+v, want sid %s and sub %s", c, sid, who)
	}
}

// tries are the records of what the portal was told about a session, the oldest first.
func (r *story) tries(sid string) []string {
	r.t.Helper()
	var all []string
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventSignalSent && l.Asked != nil && l.Asked.Session == sid {
			all = append(all, l.Detail["state"]+" "+strings.Join(l.Reasons, " "))
		}
	}
	return all
}

// Back-channel logout to a registered program: however a session ends, the program is told once, by a token that its sid
// names; of a session that it knows nothing of it hears nothing.
func TestAProgramIsToldOfLogouts(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	p := r.portal()
	adam := r.As("adam").who
	n := 0
	for _, end := range []struct {
		who string
		how func(who *story, sid string) error
	}{
		{"lea", func(who *story, _ string) error { // at the sign-out page
			at, err := who.who.open(t.Context(), r.server.External()+"/logout")
			if err == nil {
				_, err = who.who.send(t.Context(), at, "/logout", nil)
			}
			return err
		}},
		{"lou", func(who *story, _ string) error { // led there by the program itself
			at, err := who.who.open(t.Context(), r.server.External()+"/oauth/logout?client_id=portal")
			if err == nil {
				_, err = who.who.send(t.Context(), at, "/oauth/logout/confirm", map[string]string{"decision": "approve"})
			}
			return err
		}},
		{"lia", func(who *story, sid string) error { _, err := who.who.client.EndSession(t.Context(), sid); return err }},
		{"leo", func(who *story, _ string) error { _, err := who.who.client.LogoutEverywhere(t.Context()); return err }},
		{"lars", func(*story, string) error {
			_, err := adam.client.SetState(t.Context(), "user:lars", "suspended")
			return err
		}},
		{"lena", func(*story, string) error {
			_, err := adam.client.Leave(t.Context(), "user:lena", api.Leave{Why: "last day"})
			return err
		}},
	} {
		r.Join(end.who, "reader", "org:acme")
		who := r.As(end.who)
		sid := who.enter(p)
		if err := end.how(who, sid); err != nil {
			t.Fatalf("%s: %v", end.who, err)
		}
		n++
		r.wantsLogout(p, n, sid, who.who.id)
	}
}

// A program that is down is told when it is back, also after a restart in between; each try is in the log.
func TestAProgramThatIsDownIsToldLater(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	p := r.portal()
	r.Join("lea", "reader", "org:acme")
	sid := r.As("lea").enter(p)
	p.mu.Lock()
	p.status = http.StatusServiceUnavailable
	p.mu.Unlock()
	if _, err := r.As("adam").who.client.SetState(t.Context(), "user:lea", "suspended"); err != nil {
		t.Fatal(err)
	}
	r.wantsLogout(p, 1, sid, "user:lea")
	r.eventually("the try is recorded", func() bool { return slices.Contains(r.tries(sid), "waiting status 503") })
	r.restartWith(func() {})
	p.mu.Lock()
	p.status = http.StatusOK
	p.mu.Unlock()
	r.Later(6 * time.Second)
	r.wantsLogout(p, 2, sid, "user:lea")
	r.eventually("it is recorded that it was told", func() bool { return slices.Contains(r.tries(sid), "sent ") })
	r.Later(time.Hour)
	r.restartWith(func() {}) // looks for what ended while nobody was there
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) != 2 {
		t.Errorf("the portal was told %d times in the end", len(p.told))
	}
}
