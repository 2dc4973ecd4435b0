package login_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/federation/oidc"
	"sallyport/internal/identity/federation/oidc/oidctest"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// A federated site has an OpenID Connect provider, "corp", a directory, "people", and one that is down, "gone".
type federatedSite struct {
	*site
	corp *oidctest.Provider
	fed  *federation.Service
}

func newFederated(t *testing.T, change ...func(*federation.Rules)) *federatedSite {
	t.Helper()
	s := &federatedSite{site: newSite(t)}
	s.corp = oidctest.New(t, s.now)
	rules := federation.Rules{
		Fields: federation.Fields{Name: "preferred_username", Display: "name", Email: "email", Verified: "email_verified"},
		Groups: []federation.GroupRule{{Condition: federation.Condition{Claim: "groups", Is: "ml"}, Groups: []string{"acme/risk-team"}},
			{Condition: federation.Condition{Claim: "groups", Is: "lost"}, Groups: []string{"acme/nowhere"}}},
		ACR: map[string]sallyport.Assurance{"gold": sallyport.PhishingResistant, "silver": sallyport.MultiFactor},
	}
	for _, f := range change {
		f(&rules)
	}
	client := func(issuer string) *oidc.Client {
		c, err := oidc.New(oidc.Config{Title: "Corp", Issuer: issuer, Client: oidctest.Client, Redirect: s.url + "/login/oidc/corp/callback",
			HTTP: &http.Client{Transport: http.DefaultTransport}, Now: s.now, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	corp := client(s.corp.URL)
	check := func(_ context.Context, name string, password secret.Text) (federation.Assertion, error) {
		if name != "dora" || password.Reveal() != "dora's" {
			return federation.Assertion{}, sallyport.E("sign in", sallyport.Unknown, "the user name or the password is wrong", "try again").Because(federation.ReasonRefused)
		}
		return federation.Assertion{Issuer: "ldap:people", Subject: "uuid-1", Claims: federation.Claims{"preferred_username": {"dora"}}}, nil
	}
	s.fed = &federation.Service{Store: s.db.Federation(), Now: s.now, Random: rand.Reader, Providers: []federation.Provider{
		{Name: "corp", Title: "Corp", Kind: federation.OIDC, Issuer: s.corp.URL, Rules: rules, Upstream: corp, Logout: corp.Logout},
		{Name: "people", Title: "People", Kind: federation.LDAP, Issuer: "ldap:people", Rules: rules, Check: check},
		{Name: "gone", Title: "Gone", Kind: federation.OIDC, Issuer: "http://127.0.0.1:1", Rules: rules, Upstream: client("http://127.0.0.1:1")},
	}}
	s.in.Federation, s.in.Require = s.fed, sallyport.MultiFactor
	return s
}

func joining(r *federation.Rules) { r.Join = &federation.Join{Organisation: "acme"} }

// as says who signs in at the provider next.
func (s *federatedSite) as(claims map[string]any) {
	s.corp.Lock()
	defer s.corp.Unlock()
	s.corp.Claims = claims
}

func (s *federatedSite) link(id sallyport.PrincipalID, subject string) {
	s.t.Helper()
	if err := s.in.Directory.Link(s.t.Context(), id, directory.Identity{Issuer: s.corp.URL, Subject: subject}); err != nil {
		s.t.Fatal(err)
	}
}

// away leaves for the provider and returns the path of the answer.
func (s *federatedSite) away(b browser, fields ...string) string {
	s.t.Helper()
	a := b.post("/login/with/corp", append([]string{"return", "/back"}, fields...)...)
	to, ok := strings.CutPrefix(a.Header.Get("Refresh"), "0; url=")
	if a.StatusCode != 200 || !ok {
		s.t.Fatalf("%d %v\n%s", a.StatusCode, a.Header, a.text)
	}
	return "/login/oidc/corp/callback?" + s.corp.Approve(to).Encode()
}

func (s *federatedSite) signs(b browser) answer {
	s.t.Helper()
	return b.get(s.away(b, "again", ""))
}

func TestFederatedSignIn(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	b := s.browser()
	if page := b.get("/login").text; !strings.Contains(page, `action="/login/with/corp"`) || !strings.Contains(page, `href="/login/with/people?return="`) {
		t.Errorf("the page offers:\n%s", page)
	}
	s.as(map[string]any{"sub": "u-1", "acr": "gold", "sid": "s-1", "auth_time": s.now().Add(-time.Hour).Unix(), "groups": []string{"ml"}})
	b.wants(s.signs(b), 303, "/back")
	if account := b.get("/account").text; !strings.Contains(account, "identity provider (phr)") || !strings.Contains(account, "acme/risk-team") {
		t.Errorf("%s", account)
	}
	list, err := s.in.Sessions.List(t.Context(), "user:ana")
	if err != nil || len(list) != 1 || !list[0].AuthTime.Equal(s.now().Add(-time.Hour)) || list[0].Assurance != sallyport.PhishingResistant || list[0].Upstream.Session != "s-1" {
		t.Errorf("%+v, %v", list, err)
	}
	if step := b.get("/stepup?return=/x"); step.StatusCode != 200 || !strings.Contains(step.text, "Prove yourself with Corp") {
		t.Errorf("a fresh proof: %d\n%s", step.StatusCode, step.text)
	}
	// She moves: the group that a rule gave goes when its claim is gone, others stay.
	if err := s.in.Directory.DefineGroup(t.Context(), directory.Group{Name: "acme/by-hand"}); err != nil {
		t.Fatal(err)
	}
	if err := s.in.Directory.AddGroup(t.Context(), "user:ana", "acme/by-hand"); err != nil {
		t.Fatal(err)
	}
	s.as(map[string]any{"sub": "u-1", "acr": "silver", "groups": []string{"lost"}})
	b.wants(s.signs(b), 303, "/back")
	if m, err := s.in.Directory.Get(t.Context(), "user:ana"); err != nil || !slices.Equal(m.Groups, []string{"acme/by-hand"}) {
		t.Errorf("%v, %v", m.Groups, err)
	}
	if s.noted(sallyport.EventMoved) != 1 || s.noted(sallyport.EventSignedIn) != 2 {
		t.Errorf("recorded %+v", s.events)
	}
	if live, _ := s.in.Sessions.List(t.Context(), "user:ana"); len(live) != 1 {
		t.Errorf("%d sessions, want the last", len(live))
	}
	// Suspended here is suspended, whatever the provider says.
	if err := s.in.Directory.SetState(t.Context(), "user:ana", directory.Suspended); err != nil {
		t.Fatal(err)
	}
	b.wants(s.signs(b), 401, "")
}

// FED3: an address finds a member only where the provider is authoritative for it, says it is verified, and nobody of that
// provider is the member already. An address never makes somebody another's account.
func TestFED3NoLinkByAddress(t *testing.T) {
	for name, c := range map[string]struct {
		domains []string
		claims  map[string]any
		status  int
	}{
		"authoritative":     {[]string{"acme.example"}, map[string]any{"email": "ana@acme.example", "email_verified": true}, 303},
		"not authoritative": {nil, map[string]any{"email": "ana@acme.example", "email_verified": true}, 401},
		"not verified":      {[]string{"acme.example"}, map[string]any{"email": "ana@acme.example", "email_verified": false}, 401},
		"nobody's":          {[]string{"acme.example"}, map[string]any{"email": "cy@acme.example", "email_verified": true}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFederated(t, func(r *federation.Rules) { r.Domains = c.domains })
			if err := s.db.Directory().UpdateMember(t.Context(), "user:ana", func(m *directory.Member, _ []directory.Group) error { m.Email = "Ana@acme.example"; return nil }); err != nil {
				t.Fatal(err)
			}
			c.claims["sub"], c.claims["acr"] = "u-1", "gold"
			s.as(c.claims)
			b := s.browser()
			if a := s.signs(b); a.StatusCode != c.status {
				t.Fatalf("%d, want %d\n%s", a.StatusCode, c.status, a.text)
			}
			m, err := s.in.Directory.Get(t.Context(), "user:ana")
			if err != nil || (len(m.Identities) == 1) != (c.status == 303) || s.noted(sallyport.EventIdentityLinked) != len(m.Identities) {
				t.Errorf("%+v, %v", m.Identities, err)
			}
			if c.status != 303 {
				return
			}
			c.claims["sub"] = "u-2" // the address was given to somebody else there
			other := s.browser()
			if a := s.signs(other); a.StatusCode != 401 {
				t.Errorf("a second person of the same address: %d", a.StatusCode)
			}
		})
	}
}

// Who is unknown is refused, unless the rules let people join; a name that somebody has is not taken over.
func TestJoining(t *testing.T) {
	s := newFederated(t)
	s.as(map[string]any{"sub": "u-9", "acr": "gold", "preferred_username": "cy"})
	b := s.browser()
	a := s.signs(b)
	if b.wants(a, 401, ""); !strings.Contains(a.text, "Nobody here goes with this account") {
		t.Errorf("%s", a.text)
	}
	s = newFederated(t, joining)
	b = s.browser()
	s.as(map[string]any{"sub": "u-9", "acr": "gold", "preferred_username": "Cy@corp.example", "name": "Cy", "groups": []string{"ml"}})
	b.wants(s.signs(b), 303, "/back")
	m, err := s.in.Directory.Get(t.Context(), "user:cy")
	if err != nil || m.Org != "acme" || m.Display != "Cy" || !slices.Equal(m.Groups, []string{"acme/risk-team"}) || s.noted(sallyport.EventJoined) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	for sub, want := range map[string]sallyport.PrincipalID{"u-10": "user:ana.corp"} {
		s.as(map[string]any{"sub": sub, "acr": "gold", "preferred_username": "ana"}) // not our ana
		b.wants(s.signs(s.browser()), 303, "/back")
		if m, err := s.in.Directory.ByIdentity(t.Context(), s.corp.URL, sub); err != nil || m.ID != want {
			t.Errorf("%s became %s, %v", sub, m.ID, err)
		}
	}
	for sub, name := range map[string]any{"u-11": "ana", "u-12": "Ünlü", "u-13": nil} {
		s.as(map[string]any{"sub": sub, "acr": "gold", "preferred_username": name})
		b.wants(s.signs(s.browser()), 401, "")
	}
}

// A weak proof needs a code of ours on top, or is refused; either way it is not more than it is.
func TestWeakProofs(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	s.link("user:bo", "u-2")
	key := s.browser().enrol("ana")
	s.pass(time.Minute)
	s.as(map[string]any{"sub": "u-1", "acr": "platinum", "amr": []string{"mfa", "hwk"}}) // nothing that a rule names
	b := s.browser()
	b.wants(s.signs(b), 303, "/login/with/corp/code")
	b.wants(b.get("/login/with/corp/code"), 200, "")
	if a := b.post("/login/with/corp/code", "code", "000000"); a.StatusCode != 401 || !strings.Contains(a.text, `name="code"`) {
		t.Fatalf("%d\n%s", a.StatusCode, a.text)
	}
	b.wants(b.post("/login/with/corp/code", "code", s.code(key)), 303, "/back")
	list, err := s.in.Sessions.List(t.Context(), "user:ana")
	if err != nil || list[0].Assurance != sallyport.MultiFactor || strings.Join(list[0].Methods, " ") != "fed otp mfa" {
		t.Errorf("%+v, %v", list, err)
	}
	b.wants(b.post("/login/with/corp/code", "code", s.code(key)), 401, "") // the handle is used up
	s.as(map[string]any{"sub": "u-2"})
	if a := s.signs(s.browser()); a.StatusCode != 401 || !strings.Contains(a.text, "is not enough here (aal1, needed: aal2)") {
		t.Errorf("%d\n%s", a.StatusCode, a.text)
	}
}

// FED6, at the door: a good answer in another browser, or without the cookie, signs nobody in; an error tells the provider's word
// to nobody; posted answers find their way.
func TestFED6AnswersAtTheDoor(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	s.as(map[string]any{"sub": "u-1", "acr": "gold"})
	mine, theirs := s.browser(), s.browser()
	path := s.away(mine, "again", "")
	s.away(theirs, "again", "")
	theirs.wants(theirs.get(path), 401, "")
	if theirs.cookie(sessionCookie) != "" {
		t.Error("signed in as somebody else")
	}
	mine.wants(mine.get(path), 303, "/back")
	mine.wants(mine.get(path), 401, "")

	posted := s.browser()
	path = s.away(posted, "again", "")
	answer, err := url.ParseQuery(path[strings.Index(path, "?")+1:])
	if err != nil {
		t.Fatal(err)
	}
	r := posted.request("/login/oidc/corp/callback", "code", answer.Get("code"), "state", answer.Get("state"), "iss", answer.Get("iss"), "session_state", "x")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	a := posted.do(r)
	to, ok := strings.CutPrefix(a.Header.Get("Refresh"), "0; url=")
	if a.StatusCode != 200 || !ok || len(a.Cookies()) != 0 {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	posted.wants(posted.get(to), 303, "/back")
	declined := s.browser()
	path = s.away(declined, "again", "")
	if a := declined.get(path + "&error=access_denied&error_description=%3Cscript%3Eplanted"); a.StatusCode != 401 || strings.Contains(a.text, "planted") || !strings.Contains(a.text, "Corp did not sign you in") {
		t.Errorf("%d\n%s", a.StatusCode, a.text)
	}
}

// A fresh proof is asked for where somebody who is signed in is asked once more.
func TestFreshFederatedProof(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	b := s.browser()
	s.as(map[string]any{"sub": "u-1", "acr": "gold", "auth_time": s.now().Add(-time.Hour).Unix()})
	b.wants(b.get(s.away(b, "again", "1")), 401, "")
	s.as(map[string]any{"sub": "u-1", "acr": "gold", "auth_time": s.now().Unix()})
	b.wants(b.get(s.away(b, "again", "1")), 303, "/back")
}

// FED4, at the door: a logout token ends the sessions that it names, once, whatever browser they are in.
func TestFED4BackChannelLogout(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	one, two := s.browser(), s.browser()
	for sid, b := range map[string]browser{"s-1": one, "s-2": two} {
		s.as(map[string]any{"sub": "u-1", "acr": "gold", "sid": sid})
		b.wants(s.signs(b), 303, "/back")
	}
	send := func(claims map[string]any) answer {
		t.Helper()
		r := s.browser().request("/logout/backchannel/corp", "logout_token", s.corp.Sign("logout+jwt", claims))
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Cookie", sessionCookie+"="+two.cookie(sessionCookie)) // is not looked at
		return s.browser().do(r)
	}
	event := map[string]any{logoutEvent: map[string]any{}}
	one.wants(send(map[string]any{"jti": "j-1", "sid": "s-1", "events": event}), 200, "")
	one.wants(one.get("/account"), 303, "/login")
	two.wants(two.get("/account"), 200, "")
	one.wants(send(map[string]any{"jti": "j-1", "sid": "s-1", "events": event}), 400, "")
	one.wants(send(map[string]any{"jti": "j-2", "sid": "s-2", "events": event, "nonce": "x"}), 400, "")
	one.wants(send(map[string]any{"jti": "j-3", "sid": "s-2", "aud": "another", "events": event}), 400, "")
	two.wants(two.get("/account"), 200, "")
	one.wants(send(map[string]any{"jti": "j-4", "sub": "u-1", "events": event}), 200, "")
	two.wants(two.get("/account"), 303, "/login")
	if s.noted(sallyport.EventSessionRevoked) != 2 {
		t.Errorf("recorded %+v", s.events)
	}
	one.wants(s.browser().post("/logout/backchannel/people", "logout_token", "x"), 404, "")
	one.wants(s.browser().post("/logout/backchannel/corp"), 400, "")
}

// A logout token that could not do its work is no used one: its provider sends it again, and then it does.
func TestALogoutTokenThatFailedComesAgain(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	b := s.browser()
	s.as(map[string]any{"sub": "u-1", "acr": "gold", "sid": "s-1"})
	b.wants(s.signs(b), 303, "/back")
	send := func() answer {
		token := s.corp.Sign("logout+jwt", map[string]any{"jti": "j-1", "sid": "s-1", "events": map[string]any{logoutEvent: map[string]any{}}})
		return s.browser().do(s.browser().request("/logout/backchannel/corp", "logout_token", token))
	}
	s.broken = errors.New("disk full")
	b.wants(send(), 503, "")
	b.wants(b.get("/account"), 200, "") // without a record nothing ends
	s.broken = nil
	b.wants(send(), 200, "")
	b.wants(b.get("/account"), 303, "/login")
	b.wants(send(), 400, "") // now it is used
}

// A directory's account: its password is one factor, and guesses at it are throttled like any.
func TestDirectoryAccount(t *testing.T) {
	s := newFederated(t, joining)
	s.in.Require = sallyport.SingleFactor
	b := s.browser()
	b.wants(b.get("/login/with/people?return=/x"), 200, "")
	if a := b.post("/login/with/people", "username", "dora", "password", "wrong", "return", "/x"); a.StatusCode != 401 || !strings.Contains(a.text, `value="dora"`) {
		t.Errorf("%d\n%s", a.StatusCode, a.text)
	}
	b.wants(b.post("/login/with/people", "username", "dora", "password", "dora's", "return", "/x"), 303, "/x")
	if list, err := s.in.Sessions.List(t.Context(), "user:dora"); err != nil || len(list) != 1 || list[0].Assurance != sallyport.SingleFactor {
		t.Errorf("%+v, %v", list, err)
	}
	for range 6 {
		b.post("/login/with/people", "username", "dora", "password", "wrong", "return", "/x")
	}
	b.wants(b.post("/login/with/people", "username", "dora", "password", "dora's", "return", "/x"), 429, "")
	b.wants(b.post("/login/with/people", "username", "dora", "password", "x"), 400, "")
}

// A directory takes many spellings for one name: together they have as many guesses as one.
func TestLDAPGuessesCountWhateverTheSpelling(t *testing.T) {
	s := newFederated(t, joining)
	b := s.browser()
	last := 0
	for _, name := range []string{"dora", "DORA", " dora ", "d ora", "\uff44\uff4f\uff52\uff41", "do\u00adra", "d\u00f3ra", "dora\u200b"} {
		last = b.post("/login/with/people", "username", name, "password", "wrong", "return", "/x").StatusCode
	}
	if last != 429 {
		t.Errorf("the last guess: %d", last)
	}
	if a := b.post("/login/with/people", "username", "dara", "password", "wrong", "return", "/x"); a.StatusCode != 401 {
		t.Errorf("another name: %d", a.StatusCode)
	}
}

// RS-2: a provider that is down says so; sessions live on, and every other way stays open.
func TestProviderDown(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	s.as(map[string]any{"sub": "u-1", "acr": "gold"})
	b := s.browser()
	b.wants(s.signs(b), 303, "/back")
	s.corp.Close()
	a := b.post("/login/with/gone", "return", "", "again", "")
	if a.StatusCode != 503 || !strings.Contains(a.text, "cannot be reached at this moment") {
		t.Errorf("%d\n%s", a.StatusCode, a.text)
	}
	b.wants(b.get("/account"), 200, "")
	s.browser().enrol("bo")
	b.wants(b.get("/login/with/nobody"), 404, "")
	b.wants(b.post("/login/with/nobody", "return", "", "again", ""), 404, "")
	b.wants(b.get("/saml/corp/metadata"), 404, "")
}

// SESS2, SESS3: of the routes here, three are open to other sites, and none of them acts on a cookie.
func TestSESS3OpenRoutes(t *testing.T) {
	s := newFederated(t)
	s.link("user:ana", "u-1")
	s.as(map[string]any{"sub": "u-1", "acr": "gold"})
	b := s.browser()
	b.wants(s.signs(b), 303, "/back")
	for path, status := range map[string]int{"/login/with/corp": 403, "/login/with/people": 403, "/login/with/corp/code": 403,
		"/saml/corp/acs": 401, "/logout/backchannel/corp": 400, "/login/oidc/corp/callback": 200} {
		r := b.request(path, "return", "", "again", "", "SAMLResponse", "x")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if a := b.do(r); a.StatusCode != status || len(a.Cookies()) != 0 {
			t.Errorf("%s from another site: %d %v, want %d", path, a.StatusCode, a.Cookies(), status)
		}
	}
	b.wants(b.get("/account"), 200, "")
	big := b.request("/saml/corp/acs", "SAMLResponse", strings.Repeat("x", 600<<10))
	b.wants(b.do(big), 413, "")
}

// LDAP's leavers: who is gone leaves, who moved moves, and a mass of leavers is an alarm and leaves nobody.
func TestSweep(t *testing.T) {
	s := newFederated(t, joining)
	there := map[string]federation.Assertion{}
	for i := range 12 {
		id, subject := sallyport.PrincipalID("user:p"+string(rune('a'+i))), "u-"+string(rune('a'+i))
		if _, err := s.in.Directory.Create(t.Context(), directory.Member{ID: id, Org: "acme", Identities: []directory.Identity{{Issuer: "ldap:people", Subject: subject}}}); err != nil {
			t.Fatal(err)
		}
		there[subject] = federation.Assertion{Issuer: "ldap:people", Subject: subject, Claims: federation.Claims{"groups": {"ml"}}}
	}
	var left []sallyport.PrincipalID
	leave := func(_ context.Context, id sallyport.PrincipalID, _ string) error {
		left = append(left, id)
		return s.in.Directory.SetState(t.Context(), id, directory.Suspended)
	}
	var look signin.Lookup = func(_ context.Context, asked []string) (map[string]federation.Assertion, error) { return there, nil }
	delete(there, "u-a")
	gone, err := s.in.Sweep(t.Context(), "people", look, leave)
	if err != nil || !slices.Equal(gone, []sallyport.PrincipalID{"user:pa"}) || !slices.Equal(left, gone) {
		t.Fatalf("%v %v, %v", gone, left, err)
	}
	if m, err := s.in.Directory.Get(t.Context(), "user:pb"); err != nil || !slices.Equal(m.Groups, []string{"acme/risk-team"}) {
		t.Errorf("%v, %v", m.Groups, err)
	}
	down := func(context.Context, []string) (map[string]federation.Assertion, error) {
		return nil, sallyport.E("x", sallyport.Unavailable, "down", "")
	}
	if gone, err := s.in.Sweep(t.Context(), "people", down, leave); err == nil || len(gone) != 0 || len(left) != 1 {
		t.Errorf("a directory that is down: %v, %v", gone, err)
	}
	clear(there)
	if gone, err := s.in.Sweep(t.Context(), "people", look, leave); sallyport.KindOf(err) != sallyport.Conflict || len(gone) != 0 || len(left) != 1 || s.noted(sallyport.EventAlarm) != 1 {
		t.Errorf("everybody gone at once: %v, %v", gone, err)
	}
}
