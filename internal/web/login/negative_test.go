package login_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport"
)

// PW5: somebody unknown, a service, a name that nobody can have: the status and the page of a wrong password.
func TestPW5SamePageForEverybody(t *testing.T) {
	s := newSite(t)
	s.browser().enrol("ana")
	value := regexp.MustCompile(`name="username" value="[^"]*"`) // what was typed is shown again
	pageOf := func(name string) (int, string, http.Header) {
		a := s.browser().post("/login", "username", name, "password", "a wrong password", "return", "/x")
		a.Header.Del("Date")
		return a.StatusCode, value.ReplaceAllString(a.text, ""), a.Header
	}
	status, text, header := pageOf("ana")
	if status != 401 || !strings.Contains(text, "user name or the password is wrong") {
		t.Fatalf("a wrong password: %d\n%s", status, text)
	}
	for _, name := range []string{"bo", "nobody", "service:trainer", "Ana María", "<script>", "a b c"} {
		st, tx, h := pageOf(name)
		if st != status || tx != text || len(h) != len(header) || h.Get("Content-Length") == "" && header.Get("Content-Length") != "" {
			t.Errorf("%q: %d, %v\n%s", name, st, h, tx)
		}
	}
	for range 5 {
		pageOf("ana")
		pageOf("nobody")
	}
	known, knownText, _ := pageOf("ana")
	unknown, unknownText, _ := pageOf("nobody")
	if known != 429 || unknown != 429 || knownText != unknownText {
		t.Errorf("after six guesses: %d and %d\n%s\n%s", known, unknown, knownText, unknownText)
	}
}

// OA12: a sign-in that one browser began cannot be ended by another, nor twice.
func TestOA12FlowIsBoundToTheBrowser(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	victim, thief := s.browser(), s.browser()
	s.pass(time.Minute)
	victim.wants(victim.post("/login", "username", "ana", "password", goodPassword, "return", ""), 303, "/login/code")
	handle := victim.cookie(flowCookie)
	thief.wants(thief.get("/login/code?flow="+handle), 303, "/login")
	a := thief.post("/login/code", "code", s.code(key), "flow", handle)
	if a.StatusCode != 401 || thief.cookie(sessionCookie) != "" {
		t.Errorf("from another browser: %d", a.StatusCode)
	}
	victim.wants(victim.post("/login/code", "code", s.code(key)), 303, "/account")
	s.pass(time.Minute)
	r := victim.request("/login/code", "code", s.code(key))
	r.Header.Set("Cookie", flowCookie+"="+handle)
	thief.Jar = nil
	if a := thief.do(r); a.StatusCode != 401 {
		t.Errorf("the handle a second time: %d", a.StatusCode)
	}
}

// A-10, SESS1: no session cookie from before a sign-in, a step-up or a sign-out is of use after it.
func TestA10SessionFixation(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	dead := func(value, when string) {
		t.Helper()
		bare := s.browser()
		bare.Jar = nil
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/account", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", sessionCookie+"="+value)
		if a := bare.do(r); a.StatusCode != 303 || a.Header.Get("Location") != "/login" {
			t.Errorf("the cookie from before %s: %d to %q, want the sign-in page", when, a.StatusCode, a.Header.Get("Location"))
		}
	}
	first := b.cookie(sessionCookie)
	b.wants(b.signIn("ana", key, ""), 303, "/account")
	dead(first, "another sign-in")
	second := b.cookie(sessionCookie)
	s.pass(30 * time.Second)
	b.wants(b.post("/stepup", "code", s.code(key), "return", ""), 303, "/account")
	dead(second, "the step-up")
	third := b.cookie(sessionCookie)
	b.wants(b.post("/logout"), 303, "/logout")
	dead(third, "signing out")
	if b.cookie(sessionCookie) != "" {
		t.Error("the cookie stays after signing out")
	}
	b.wants(b.signIn("ana", key, ""), 303, "/account")
	fourth := b.cookie(sessionCookie)
	s.browser().enrol("ana")
	dead(fourth, "a new enrolment")

	planted := strings.Repeat("A", 43)
	r := b.request("/login", "username", "ana", "password", goodPassword, "return", "")
	r.Header.Set("Cookie", sessionCookie+"="+planted)
	if a := b.do(r); a.StatusCode != 303 {
		t.Fatalf("%d", a.StatusCode)
	}
	dead(planted, "the sign-in, planted")
}

// A-11, SESS2: the table of cross-site requests, against every route that changes something.
func TestA11CrossSiteForms(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.enrol("ana")
	fields := map[string][]string{
		"/login": {"username", "ana", "password", "x", "return", ""}, "/login/code": {"code", "123456"}, "/enrol": {"password", "x", "again", "x"},
		"/enrol/code": {"code", "123456"}, "/stepup": {"code", "123456", "return", ""}, "/logout": {}, "/account/revoke": {"id", "S-X"}, "/account/revoke-all": {},
	}
	for path, form := range fields {
		for name, headers := range map[string]map[string]string{
			"same-site":      {"Sec-Fetch-Site": "same-site"},
			"cross-site":     {"Sec-Fetch-Site": "cross-site"},
			"null origin":    {"Origin": "null"},
			"foreign origin": {"Origin": "https://evil.example"},
			"other port":     {"Origin": "https://127.0.0.1:1"},
		} {
			r := b.request(path, form...)
			r.Header.Del("Sec-Fetch-Site")
			for k, v := range headers {
				r.Header.Set(k, v)
			}
			if a := b.do(r); a.StatusCode != 403 || len(a.Cookies()) != 0 {
				t.Errorf("POST %s, %s: %d, want 403", path, name, a.StatusCode)
			}
		}
		a := b.get(path) // no GET changes anything
		if a.StatusCode != 200 && a.StatusCode != 303 && a.StatusCode != 401 && a.StatusCode != 405 {
			t.Errorf("GET %s: %d", path, a.StatusCode)
		}
	}
	for _, kind := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", ""} {
		r := b.request("/account/revoke-all")
		r.Header.Set("Content-Type", kind)
		b.wants(b.do(r), 400, "")
	}
	if b.get("/account").StatusCode != 200 || s.noted(sallyport.EventSessionRevoked) != 0 || s.noted(sallyport.EventSignInFailed) != 0 {
		t.Errorf("something happened: %+v", s.events)
	}
	for name, headers := range map[string]map[string]string{"same-origin": {"Sec-Fetch-Site": "same-origin"}, "typed": {"Sec-Fetch-Site": "none"}, "no browser": {}, "own origin": {"Origin": s.url}} {
		r := b.request("/login", "username", "nobody-"+strings.ReplaceAll(name, " ", ""), "password", "x", "return", "")
		r.Header.Del("Sec-Fetch-Site")
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		if a := b.do(r); a.StatusCode != 401 {
			t.Errorf("%s: %d, want to be let through to a wrong password", name, a.StatusCode)
		}
	}
}

// six digits are not guessed: not from many browsers, not in many spellings, not by starting again.
func TestA12CodesAreNotGuessed(t *testing.T) {
	s := newSite(t)
	key := s.browser().enrol("ana")
	s.pass(time.Minute)
	wrong := "000000"
	if s.code(key) == wrong {
		wrong = "000001"
	}
	var flows []browser
	for _, name := range []string{"ana", "ANA", " Ana ", "aNa", "ana ", "ANa", "anA"} {
		b := s.browser()
		b.wants(b.post("/login", "username", name, "password", goodPassword, "return", ""), 303, "/login/code")
		flows = append(flows, b)
	}
	for i, b := range flows {
		a := b.post("/login/code", "code", wrong)
		if want := map[bool]int{true: 401, false: 429}[i < 5]; a.StatusCode != want {
			t.Errorf("guess %d: %d, want %d", i+1, a.StatusCode, want)
		}
	}
	last := flows[6]
	a := last.post("/login/code", "code", s.code(key))
	if a.StatusCode != 429 || a.Header.Get("Retry-After") != "900" || !strings.Contains(a.text, "Wait 900 seconds") {
		t.Errorf("the right code in the wait: %d, retry after %q", a.StatusCode, a.Header.Get("Retry-After"))
	}
	s.pass(16 * time.Minute)
	again := s.browser()
	again.wants(again.signIn("ana", key, ""), 303, "/account")
	before := s.code(key)
	b := s.browser()
	b.wants(b.post("/login", "username", "ana", "password", goodPassword, "return", ""), 303, "/login/code")
	if a := b.post("/login/code", "code", before); a.StatusCode != 401 { // the code of the sign-in just now
		t.Errorf("a used code: %d", a.StatusCode)
	}
	if n := s.noted(sallyport.EventSignInFailed); n != 9 {
		t.Errorf("%d failures recorded, want 9", n)
	}
}

// OA8: what follows a form with a credential is 303, and the password is not in any address.
func TestOA8SeeOther(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	link := b.link("user:ana")
	for range 2 { // looking does not use the link up
		a := b.get("/enrol/" + link)
		b.wants(a, 303, "/enrol")
	}
	if b.cookie(linkCookie) != link {
		t.Error("the link's token is not in the cookie")
	}
	page := b.get("/enrol")
	if strings.Contains(page.text, link) {
		t.Error("the page shows the link's token")
	}
	b.wants(b.post("/enrol", "password", goodPassword, "again", goodPassword+"!"), 400, "")
	b.wants(b.post("/enrol", "password", "short", "again", "short"), 400, "")
	b.wants(b.post("/enrol", "password", goodPassword, "again", goodPassword), 303, "/enrol/code")
	other := s.browser()
	other.wants(other.get("/enrol/"+link), 401, "")
	if b.cookie(linkCookie) != "" {
		t.Error("the used token stays in the cookie")
	}
}

// A store that cannot be read is 503, never the sign-in page.
func TestOutageIsNotSignedOut(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.enrol("ana")
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/account", "/login", "/logout", "/stepup", "/enrol/" + strings.Repeat("A", 43)} {
		if a := b.get(path); a.StatusCode != 503 || strings.Contains(a.text, "closed") {
			t.Errorf("GET %s: %d\n%s", path, a.StatusCode, a.text)
		}
	}
}
