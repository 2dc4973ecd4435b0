package login_test

import (
	"context"
	"crypto/rand"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"sallyport/internal/web/login"
)

const goodPassword = "correct horse battery staple"

// A site is the whole of sign-in on a database of its own, behind a TLS server on loopback.
type site struct {
	t    *testing.T
	url  string
	door *login.Door
	in   *signin.Service
	db   *sqldb.DB

	transport http.RoundTripper // trusts the server

	mu     sync.Mutex
	at     time.Time
	events []sallyport.Event
	broken error // of the record
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOn(t, false)
}

// newSiteOn is a site on TLS and an address, or with local on plain HTTP and the name localhost, which passkeys need.
func newSiteOn(t *testing.T, local bool, change ...func(*passkey.Config)) *site {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	if local {
		server.Start()
	} else {
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	s := &site{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s.db = db
	hasher, err := credential.NewHasher(secret.NewBytes([]byte("a pepper for the tests")), nil, 16, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, context string) ([]byte, error) { // stands for the keyring; it binds nothing
		b = slices.Clone(b)
		for i := range b {
			b[i] ^= 0x5a
		}
		return b, nil
	}
	s.url, s.transport = server.URL, server.Client().Transport
	if local {
		s.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	}
	throttle := &credential.Throttle{Store: db.Throttle(), Now: s.now, Limits: credential.DefaultLimits()}
	keys := passkey.Config{URL: s.url, Name: "Sallyport", Store: db.Passkey(), Seal: flip, Open: flip, Now: s.now, Random: rand.Reader}
	for _, c := range change {
		c(&keys)
	}
	passkeys, err := passkey.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	s.in = &signin.Service{
		Passkeys: passkeys, Fresh: 15 * time.Minute,
		Recovery: &recovery.Service{Store: db.Recovery(), Delay: 24 * time.Hour, Throttle: throttle.Try, Right: throttle.Reset, Now: s.now, Random: rand.Reader,
			Person: func(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) { return id, nil }},
		Directory: &directory.Service{Store: db.Directory(), Now: s.now},
		Credentials: &credential.Service{Store: db.Credential(), Throttle: throttle,
			Hasher: hasher, Policy: credential.DefaultPolicy(), Issuer: "Sallyport", Seal: flip, Open: flip, Now: s.now, Random: rand.Reader},
		Sessions: &session.Service{Store: db.Session(), Limits: session.DefaultLimits(), Now: s.now, Random: rand.Reader},
		Flows:    db.SignIn(), Note: s.note, Now: s.now, Random: rand.Reader,
	}
	s.door, err = login.New(login.Config{SignIn: s.in, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: s.now, Plain: local})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.in.Directory.DefineGroup(t.Context(), directory.Group{Name: "acme/risk-team"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ana", "bo"} {
		_, err := s.in.Directory.Create(t.Context(), directory.Member{ID: sallyport.PrincipalID("user:" + name), Org: "acme", Display: name + " <Núñez>", Groups: []string{"acme/risk-team"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.door.Routes(mux)
	return s
}

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

func (s *site) note(_ context.Context, e sallyport.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.events = append(s.events, e)
	}
	return s.broken
}

// noted returns how often an event was recorded.
func (s *site) noted(what sallyport.EventType) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.events {
		if e.Type == what {
			n++
		}
	}
	return n
}

// A browser keeps cookies and follows no redirect by itself.
type browser struct {
	*site
	*http.Client
}

func (s *site) browser() browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return browser{s, c}
}

// An answer is a response with its body read.
type answer struct {
	*http.Response
	text string
}

func (b browser) do(r *http.Request) answer {
	b.t.Helper()
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (b browser) get(path string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b browser) post(path string, fields ...string) answer {
	b.t.Helper()
	return b.do(b.request(path, fields...))
}

func (b browser) request(path string, fields ...string) *http.Request {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// wants holds an answer to a status and, for redirects, an address.
func (b browser) wants(a answer, status int, to string) {
	b.t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != to {
		b.t.Fatalf("%s %s: %d to %q, want %d to %q\n%s", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.Header.Get("Location"), status, to, a.text)
	}
}

func (b browser) link(id sallyport.PrincipalID) string {
	b.t.Helper()
	token, _, err := b.in.Credentials.IssueLink(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return token.Reveal()
}

// enrol walks an enrolment to its end and returns the secret of the code generator.
func (b browser) enrol(name string) string {
	b.t.Helper()
	b.wants(b.get("/enrol/"+b.link(sallyport.PrincipalID("user:"+name))), 303, "/enrol")
	b.wants(b.post("/enrol", "password", goodPassword, "again", goodPassword), 303, "/enrol/code")
	key := generatorKey(b.t, b.get("/enrol/code").text)
	b.wants(b.post("/enrol/code", "code", b.code(key)), 303, "/account")
	return key
}

var secretText = regexp.MustCompile(`id="secret">([A-Z2-7 ]+)<`)

func generatorKey(t *testing.T, text string) string {
	t.Helper()
	m := secretText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no key on the page:\n%s", text)
	}
	return strings.ReplaceAll(m[1], " ", "")
}

// code is what an authenticator app shows now; pquerna's own totp package computes it.
func (s *site) code(key string) string {
	s.t.Helper()
	code, err := totp.GenerateCode(key, s.now())
	if err != nil {
		s.t.Fatal(err)
	}
	return code
}

// signIn walks a sign-in to its end, a step of the generator later.
func (b browser) signIn(name, key, back string) answer {
	b.t.Helper()
	b.pass(30 * time.Second)
	b.wants(b.post("/login", "username", name, "password", goodPassword, "return", back), 303, "/login/code")
	return b.post("/login/code", "code", b.code(key))
}

func (b browser) cookie(name string) string {
	at, _ := url.Parse(b.url)
	for _, c := range b.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

const sessionCookie, flowCookie, linkCookie = "__Host-sallyport", "__Host-sallyport-flow", "__Host-sallyport-enrol"

func TestEnrolSignInStepUpSignOut(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	account := b.get("/account")
	b.wants(account, 200, "")
	for _, want := range []string{"ana &lt;Núñez&gt;", "password and one-time code (aal2)", "Firefox on Linux", "127.0.0.0/24", "acme/risk-team", "this browser"} {
		if !strings.Contains(account.text, want) {
			t.Errorf("the account page lacks %q:\n%s", want, account.text)
		}
	}
	b.wants(b.get("/login?return=/authorize%3Fa%3Db"), 303, "/authorize?a=b") // signed in already
	b.wants(b.get("/login?again=1&return=/x"), 200, "")
	b.wants(b.get("/stepup?return=/x"), 200, "")
	s.pass(30 * time.Second)
	before := b.cookie(sessionCookie)
	b.wants(b.post("/stepup", "code", b.code(key), "return", "/x?y=z"), 303, "/x?y=z")
	if b.cookie(sessionCookie) == before {
		t.Error("step-up left the cookie as it was")
	}
	b.wants(b.get("/logout"), 200, "")
	b.wants(b.post("/logout"), 303, "/logout")
	if got := b.get("/logout"); !strings.Contains(got.text, "You are signed out") {
		t.Errorf("after signing out:\n%s", got.text)
	}
	b.wants(b.get("/account"), 303, "/login")
	b.wants(b.get("/stepup?return=/x"), 303, "/login?return=%2Fstepup%3Fneeds%3Daal2%26return%3D%252Fx")

	again := s.browser()
	again.wants(again.signIn(" ANA ", key, "/authorize?client_id=x&state=a%2Bb"), 303, "/authorize?client_id=x&state=a%2Bb")
	again.wants(again.get("/account"), 200, "")
	if s.noted(sallyport.EventEnrolled) != 1 || s.noted(sallyport.EventSignedIn) != 2 || s.noted(sallyport.EventSteppedUp) != 1 || s.noted(sallyport.EventSignInFailed) != 0 || s.noted(sallyport.EventSessionRevoked) != 1 {
		t.Errorf("recorded: %+v", s.events)
	}
}

func TestAccountEndsSessions(t *testing.T) {
	s := newSite(t)
	one, two, stranger := s.browser(), s.browser(), s.browser()
	key := one.enrol("ana")
	two.wants(two.signIn("ana", key, ""), 303, "/account")
	stranger.enrol("bo")
	list, err := s.in.Sessions.List(t.Context(), "user:ana")
	if err != nil || len(list) != 2 {
		t.Fatalf("sessions: %v, %v", list, err)
	}
	stranger.wants(stranger.post("/account/revoke", "id", list[0].ID), 404, "")
	two.wants(two.get("/account"), 200, "")
	one.wants(one.post("/account/revoke", "id", list[0].ID), 303, "/account")
	two.wants(two.get("/account"), 303, "/login")
	one.wants(one.post("/account/revoke", "id", list[0].ID), 404, "")
	two.wants(two.signIn("ana", key, ""), 303, "/account")
	one.wants(one.post("/account/revoke-all"), 303, "/logout")
	for _, b := range []browser{one, two} {
		b.wants(b.get("/account"), 303, "/login")
	}
	stranger.wants(stranger.get("/account"), 200, "")
}

func TestEveryAnswerCarriesTheHeaders(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	answers := []answer{b.get("/login"), b.get("/account"), b.get("/enrol/nothing"), b.get("/login/code"), b.post("/login"), b.post("/login", "username", "ana", "password", "x", "return", "")}
	for _, a := range answers {
		h := a.Header
		if h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cross-Origin-Opener-Policy") != "same-origin" || h.Get("Strict-Transport-Security") == "" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %v", a.Request.Method, a.Request.URL.Path, h)
		}
		if strings.Contains(a.text, "<script") || strings.Contains(a.text, " style=") || strings.Contains(a.text, " onclick") {
			t.Errorf("%s holds what the policy forbids", a.Request.URL.Path)
		}
	}
	style := regexp.MustCompile(`href="(/static/style-[0-9a-f]{16}\.css)" integrity="sha384-[^"]{64}"`).FindStringSubmatch(html.UnescapeString(answers[0].text))
	if style == nil {
		t.Fatal("no style sheet on the page")
	}
	if a := b.get(style[1]); a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/css") {
		t.Errorf("style sheet: %d %v", a.StatusCode, a.Header)
	}
}

func TestCookies(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.get("/enrol/" + b.link("user:ana"))
	b.post("/enrol", "password", goodPassword, "again", goodPassword)
	a := b.post("/enrol/code", "code", b.code(generatorKey(t, b.get("/enrol/code").text)))
	var names []string
	for _, c := range a.Cookies() {
		names = append(names, c.Name)
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
	if !slices.Equal(names, []string{flowCookie, sessionCookie}) {
		t.Errorf("cookies %v", names)
	}
	// Two cookies of one name are none.
	r := b.request("/account/revoke-all")
	r.Header.Set("Cookie", sessionCookie+"="+b.cookie(sessionCookie)+"; "+sessionCookie+"=x")
	bare := s.browser()
	bare.Jar = nil
	bare.wants(bare.do(r), 303, "/login")
	b.wants(b.get("/account"), 200, "")
}

func TestReturnPathsStayHere(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	for _, evil := range []string{"https://evil.example/", "//evil.example/", "//", "/\\evil.example", "\\\\evil.example", "/a//b", "/\t/evil.example", "javascript:alert(1)", "/%5Cevil", "/x\r\nSet-Cookie: a=b", "evil", "/" + strings.Repeat("x", 4097)} {
		b.wants(b.get("/login?return="+url.QueryEscape(evil)), 303, "/account")
		s.pass(30 * time.Second)
		b.wants(b.post("/stepup", "code", b.code(key), "return", evil), 303, "/account")
	}
	b.wants(b.signIn("ana", key, "//evil.example"), 303, "/account")
}

func TestFormsAreReadStrictly(t *testing.T) {
	b := newSite(t).browser()
	b.wants(b.post("/login", "username", "ana", "username", "bo", "password", "x", "return", ""), 400, "")
	b.wants(b.post("/login", "username", "ana", "return", ""), 400, "")
	b.wants(b.post("/login?return=/x", "username", "ana", "password", "x", "return", ""), 400, "")
	b.wants(b.post("/login", "username", "ana", "password", strings.Repeat("x", 20_000), "return", ""), 413, "")
	r := b.request("/login", "username", "ana", "password", "x", "return", "")
	r.Header.Set("Content-Type", "text/plain")
	b.wants(b.do(r), 400, "")
	b.wants(b.post("/account"), 405, "")
}

// What cannot be recorded did not happen: the answer is 503, and no session is left.
func TestWithoutARecordNothingHappens(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	fresh := s.browser()
	s.broken = errors.New("disk full")
	a := fresh.signIn("ana", key, "")
	fresh.wants(a, 503, "")
	if fresh.cookie(sessionCookie) != "" || strings.Contains(a.text, "disk") {
		t.Errorf("cookie %q, page:\n%s", fresh.cookie(sessionCookie), a.text)
	}
	fresh.wants(fresh.post("/login", "username", "ana", "password", "wrong", "return", ""), 503, "")
	if list, _ := s.in.Sessions.List(t.Context(), "user:ana"); len(list) != 1 {
		t.Errorf("%d sessions, want the one from before", len(list))
	}
}

// On plain HTTP, where a test or a laptop asked for it, the cookies have neither prefix nor Secure; nowhere else.
func TestPlainCookies(t *testing.T) {
	s := newSite(t)
	door, err := login.New(login.Config{SignIn: s.in, Log: slog.New(slog.DiscardHandler), Now: s.now, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	door.Routes(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/enrol/"+s.browser().link("user:ana"), nil))
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != "sallyport-enrol" || cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		t.Errorf("cookies %v", cookies)
	}
	for name, c := range map[string]login.Config{"nothing": {}, "a client anywhere": {SignIn: s.in, Log: slog.New(slog.DiscardHandler), Now: s.now, FormAction: []string{"https:"}}} {
		if _, err := login.New(c); err == nil {
			t.Errorf("a door with %s was made", name)
		}
	}
}
