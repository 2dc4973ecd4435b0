package login_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/web/login"
)

// soft is a browser whose passkeys are in software.
func (b browser) soft(k *softkey.Key) *softkey.Browser {
	return &softkey.Browser{HTTP: b.Client, URL: b.url, Key: k}
}

// newKeyed is a site with passkeys and a maker whose model counts as hardware.
func newKeyed(t *testing.T) (*site, *softkey.Maker) {
	t.Helper()
	maker, err := softkey.NewMaker("Test Key 5", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return newSiteOn(t, true, func(c *passkey.Config) {
		c.Models = []passkey.Model{{AAGUID: maker.AAGUID, Name: "Test Key 5", Roots: []*x509.Certificate{maker.Root()}}}
	}), maker
}

// level is the assurance of the browser's session.
func (b browser) level() sallyport.Assurance {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+"/account", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	one, ok := b.door.Current(r)
	if !ok {
		return sallyport.NoAssurance
	}
	return one.Assurance
}

// A passkey is added after enrolment, signs in alone, is a second proof and steps up; each at its own level.
func TestPasskeys(t *testing.T) {
	s, maker := newKeyed(t)
	b := s.browser()
	key := b.enrol("ana")
	if page := b.get("/account").text; !strings.Contains(page, `data-passkey="register"`) || !strings.Contains(page, "A passkey signs you in") {
		t.Error("the account page offers no passkey")
	}
	soft := &softkey.Key{}
	before := b.cookie("sallyport")
	if err := b.soft(soft).Register(t.Context(), "my laptop"); err != nil {
		t.Fatal(err)
	}
	if after := b.cookie("sallyport"); after == before {
		t.Error("SESS1: a new passkey leaves the bearer value as it was")
	}
	if page := b.get("/account").text; !strings.Contains(page, "my laptop") || !strings.Contains(page, "synced") {
		t.Errorf("the passkey is not listed:\n%s", page)
	}
	fresh := s.browser()
	if next, err := fresh.soft(soft).SignIn(t.Context(), "/oauth/authorize?x=1"); err != nil || next != "/oauth/authorize?x=1" || fresh.level() != sallyport.PhishingResistant {
		t.Errorf("sign-in leads to %s at %v, %v", next, fresh.level(), err)
	}
	if next, err := s.browser().soft(soft).SignIn(t.Context(), "https://evil.example/"); err != nil || next != "/account" {
		t.Errorf("a foreign return leads to %s, %v", next, err)
	}
	hard := maker.Key()
	if err := fresh.soft(hard).Register(t.Context(), "blue key"); err != nil {
		t.Fatal(err)
	}
	second := s.browser()
	second.wants(second.post("/login", "username", "ana", "password", goodPassword, "return", "/x"), 303, "/login/code")
	if page := second.get("/login/code").text; !strings.Contains(page, `data-passkey="second"`) || !strings.Contains(page, `action="/login/code"`) {
		t.Errorf("the second page offers:\n%s", page)
	}
	if next, err := second.soft(hard).Second(t.Context()); err != nil || next != "/x" || second.level() != sallyport.Hardware {
		t.Errorf("the second proof leads to %s at %v, %v", next, second.level(), err)
	}
	third := s.browser()
	third.wants(third.signIn("ana", key, ""), 303, "/account")
	if third.level() != sallyport.MultiFactor {
		t.Fatalf("a code proves %v", third.level())
	}
	page := third.get("/stepup?needs=phr&return=%2Fx").text
	if !strings.Contains(page, `data-passkey="stepup"`) || strings.Contains(page, `name="code"`) {
		t.Errorf("the step-up to phr offers:\n%s", page)
	}
	old := third.cookie("sallyport")
	if next, err := third.soft(soft).StepUp(t.Context(), "/x"); err != nil || next != "/x" || third.level() != sallyport.PhishingResistant || third.cookie("sallyport") == old {
		t.Errorf("the step-up leads to %s at %v, %v", next, third.level(), err)
	}
	if _, err := third.soft(hard).StepUp(t.Context(), ""); err != nil || third.level() != sallyport.Hardware {
		t.Errorf("the second step-up at %v, %v", third.level(), err)
	}
	s.pass(30 * time.Second)
	if a := third.post("/stepup", "code", s.code(key), "return", ""); a.StatusCode != http.StatusConflict || !strings.Contains(a.text, "use your passkey") && !strings.Contains(a.text, "Use your passkey") {
		t.Errorf("a code renews a hardware proof: %d", a.StatusCode)
	}
	if s.noted(sallyport.EventFactorChanged) != 2 || s.noted(sallyport.EventSteppedUp) != 2 {
		t.Errorf("recorded %d changes and %d step-ups", s.noted(sallyport.EventFactorChanged), s.noted(sallyport.EventSteppedUp))
	}
}

// WA6: what one browser began another cannot finish, and nothing counts twice; a form of another site begins nothing.
func TestWA6OverHTTP(t *testing.T) {
	s, maker := newKeyed(t)
	b := s.browser()
	b.enrol("ana")
	k := maker.Key()
	if err := b.soft(k).Register(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	send := func(b browser, path string, body any, site, kind string) answer {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Sec-Fetch-Site", site)
		return b.do(r)
	}
	one, other := s.browser(), s.browser()
	begun := send(one, "/passkey/signin/begin", struct{}{}, "same-origin", "application/json")
	response, err := k.Get([]byte(begun.text), s.url)
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"response": json.RawMessage(response)}
	if a := send(other, "/passkey/signin/finish", body, "same-origin", "application/json"); a.StatusCode != http.StatusUnauthorized || other.level() != 0 {
		t.Errorf("another browser: %d %s", a.StatusCode, a.text)
	}
	for name, c := range map[string]struct {
		site, kind string
		body       any
		want       int
	}{
		"another site": {"cross-site", "application/json", body, http.StatusForbidden}, "a sibling": {"same-site", "application/json", body, http.StatusForbidden},
		"a form":          {"same-origin", "application/x-www-form-urlencoded", body, http.StatusBadRequest},
		"an unknown word": {"same-origin", "application/json", map[string]any{"response": json.RawMessage(response), "user": "bo"}, http.StatusBadRequest},
		"nothing":         {"same-origin", "application/json", map[string]any{}, http.StatusBadRequest},
		"too much":        {"same-origin", "application/json", map[string]any{"response": strings.Repeat("x", 200<<10)}, http.StatusRequestEntityTooLarge},
	} {
		fresh := s.browser()
		send(fresh, "/passkey/signin/begin", struct{}{}, "same-origin", "application/json")
		if a := send(fresh, "/passkey/signin/finish", c.body, c.site, c.kind); a.StatusCode != c.want || fresh.level() != 0 {
			t.Errorf("%s: %d, want %d: %.200s", name, a.StatusCode, c.want, a.text)
		}
	}
	if a := send(one, "/passkey/signin/finish", body, "same-origin", "application/json"); a.StatusCode != http.StatusOK || one.level() != sallyport.Hardware {
		t.Errorf("its own browser: %d %s", a.StatusCode, a.text)
	}
	if a := send(one, "/passkey/signin/finish", body, "same-origin", "application/json"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("twice: %d", a.StatusCode)
	}
}

// Changing authenticators needs a fresh proof, by a passkey where there is one, and never leaves the account without one.
func TestFactorsNeedAFreshProof(t *testing.T) {
	s, _ := newKeyed(t)
	b := s.browser()
	key := b.enrol("ana")
	s.pass(16 * time.Minute)
	k := &softkey.Key{}
	if err := b.soft(k).Register(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "/stepup?needs=aal2") {
		t.Errorf("a stale session adds a passkey: %v", err)
	}
	for _, path := range []string{"/account/codes", "/account/passkeys/remove"} {
		if a := b.post(path, "id", "K-X"); a.StatusCode != 303 || !strings.HasPrefix(a.Header.Get("Location"), "/stepup?needs=aal2") {
			t.Errorf("%s: %d to %s", path, a.StatusCode, a.Header.Get("Location"))
		}
	}
	b.wants(b.get("/account/password"), 303, "/stepup?needs=aal2&return=%2Faccount%2Fpassword")
	b.wants(b.post("/stepup", "code", s.code(key), "return", "/account/password"), 303, "/account/password")
	if err := b.soft(k).Register(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	// From now on it is a passkey that is asked for.
	if a := b.post("/account/codes"); !strings.HasPrefix(a.Header.Get("Location"), "/stepup?needs=phr") {
		t.Errorf("a code is enough to make recovery codes: %d", a.StatusCode)
	}
	if _, err := b.soft(k).StepUp(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`id="remove-(K-[A-Z2-7]+)"`).FindStringSubmatch(b.get("/account").text)
	if id == nil {
		t.Fatal("no passkey on the page")
	}
	b.wants(b.post("/account/passkeys/rename", "id", id[1], "label", "green <b>key</b>"), 303, "/account")
	if page := b.get("/account").text; !strings.Contains(page, "green &lt;b&gt;key") {
		t.Error("the new name is not there, or not escaped")
	}
	b.wants(b.post("/account/passkeys/remove", "id", id[1]), 303, "/account")
	if page := b.get("/account").text; strings.Contains(page, id[1]) {
		t.Error("it is still there")
	}
	// Without password and code, the last passkey stays.
	if err := s.browser().soft(k).Register(t.Context(), ""); err == nil {
		t.Error("nobody adds a passkey")
	}
}

// Ten codes, shown once; each is a second proof, once.
func TestRecoveryCodes(t *testing.T) {
	s, _ := newKeyed(t)
	b := s.browser()
	b.enrol("ana")
	shown := b.post("/account/codes")
	codes := regexp.MustCompile(`<code>([A-Z2-7]{4}(?:-[A-Z2-7]{4}){3})</code>`).FindAllStringSubmatch(shown.text, -1)
	if shown.StatusCode != 200 || len(codes) != recovery.Codes || shown.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d, %d codes", shown.StatusCode, len(codes))
	}
	if page := b.get("/account").text; strings.Contains(page, codes[0][1]) || !strings.Contains(page, "10 left") {
		t.Error("the account page shows a code, or not how many are left")
	}
	other := s.browser()
	other.wants(other.post("/login", "username", "ana", "password", goodPassword, "return", "/x"), 303, "/login/code")
	if !strings.Contains(other.get("/login/code").text, "/login/recovery") {
		t.Error("the code page does not name the way")
	}
	other.wants(other.get("/login/recovery"), 200, "")
	other.wants(other.post("/login/recovery", "code", "AAAA-AAAA-AAAA-AAAA"), 401, "")
	other.wants(other.post("/login/recovery", "code", strings.ToLower(codes[3][1])), 303, "/x")
	if other.level() != sallyport.MultiFactor || s.noted(sallyport.EventRecovery) != 1 {
		t.Errorf("at %v, %d records", other.level(), s.noted(sallyport.EventRecovery))
	}
	again := s.browser()
	again.wants(again.post("/login", "username", "ana", "password", goodPassword, "return", ""), 303, "/login/code")
	again.wants(again.post("/login/recovery", "code", codes[3][1]), 401, "")
	// Whoever enrols again may have lost them to somebody.
	b.enrol("ana")
	if page := b.get("/account").text; !strings.Contains(page, "None. They help") {
		t.Error("codes outlive a new enrolment")
	}
}

func TestChangePassword(t *testing.T) {
	s := newSite(t)
	b, elsewhere := s.browser(), s.browser()
	key := b.enrol("ana")
	elsewhere.wants(elsewhere.signIn("ana", key, ""), 303, "/account")
	b.wants(b.get("/account/password"), 200, "")
	const next = "another horse battery staple"
	for name, f := range map[string][3]string{"a wrong old one": {"wrong", next, next}, "two different": {goodPassword, next, next + "x"}, "a short one": {goodPassword, "short", "short"}} {
		if a := b.post("/account/password", "old", f[0], "password", f[1], "again", f[2]); a.StatusCode == 303 {
			t.Errorf("%s is taken", name)
		}
	}
	before := b.cookie(sessionCookie)
	b.wants(b.post("/account/password", "old", goodPassword, "password", next, "again", next), 303, "/account")
	if b.cookie(sessionCookie) == before {
		t.Error("SESS1: the bearer value is the same")
	}
	b.wants(b.get("/account"), 200, "")
	elsewhere.wants(elsewhere.get("/account"), 303, "/login")
	fresh := s.browser()
	fresh.wants(fresh.post("/login", "username", "ana", "password", goodPassword, "return", ""), 401, "")
	fresh.wants(fresh.post("/login", "username", "ana", "password", next, "return", ""), 303, "/login/code")
	const short = "quay-7-fox" // beside a code, eight characters are enough
	b.wants(b.post("/account/password", "old", next, "password", short, "again", short), 303, "/account")
	fresh.wants(fresh.post("/login", "username", "ana", "password", short, "return", ""), 303, "/login/code")
}

// A request for a way back is answered alike for everybody; its owner sees and stops it.
func TestRecoverPage(t *testing.T) {
	s := newSite(t)
	b, stranger := s.browser(), s.browser()
	b.enrol("ana")
	known := stranger.post("/recover", "username", "ana", "why", "my phone broke")
	nobody := stranger.post("/recover", "username", "nobody", "why", "my phone broke")
	if known.StatusCode != 200 || known.text != nobody.text {
		t.Errorf("%d and %d, or another text", known.StatusCode, nobody.StatusCode)
	}
	if s.noted(sallyport.EventRecovery) != 1 {
		t.Errorf("recorded %d", s.noted(sallyport.EventRecovery))
	}
	page := b.get("/account").text
	id := regexp.MustCompile(`id="cancel-(R-[A-Z2-7]+)"`).FindStringSubmatch(page)
	if id == nil || !strings.Contains(page, "0 of 2 approvals") {
		t.Fatalf("the account page does not warn:\n%s", page)
	}
	bo := s.browser()
	bo.enrol("bo")
	bo.wants(bo.post("/account/recovery/cancel", "id", id[1]), 404, "")
	b.wants(b.post("/account/recovery/cancel", "id", id[1]), 303, "/account")
	if strings.Contains(b.get("/account").text, id[1]) {
		t.Error("it is still there")
	}
	for range 3 {
		known = stranger.post("/recover", "username", "ana", "why", "again")
	}
	if known.StatusCode != http.StatusTooManyRequests {
		t.Errorf("asking again and again: %d", known.StatusCode)
	}
}

// Pages with a passkey button permit our script and nothing else; all others permit none. On an address instead of a name
// the page says why there are no passkeys.
func TestScriptPolicy(t *testing.T) {
	s, _ := newKeyed(t)
	b := s.browser()
	b.enrol("ana")
	for path, script := range map[string]bool{"/login?again=1": true, "/account": true, "/stepup": true, "/logout": false, "/recover": false} {
		a := b.get(path)
		policy := a.Header.Get("Content-Security-Policy")
		if strings.Contains(policy, "script-src 'self'") != script || strings.Contains(policy, "unsafe") || strings.Contains(a.text, "<script") != script || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: %s", path, policy)
		}
		if strings.Contains(a.text, "onclick") || strings.Contains(a.text, "javascript:") {
			t.Errorf("%s holds inline script", path)
		}
	}
	src := regexp.MustCompile(`<script src="([^"]+)" integrity="sha384-`).FindStringSubmatch(b.get("/login?again=1").text)
	if src == nil {
		t.Fatal("no script")
	}
	if a := b.get(src[1]); a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/javascript") || !strings.Contains(a.text, "parseRequestOptionsFromJSON") {
		t.Errorf("%s: %d", src[1], a.StatusCode)
	}
	off := newSite(t).browser()
	if a := off.get("/login"); strings.Contains(a.text, "<script") || !strings.Contains(a.text, "Passkeys are off") || !strings.Contains(a.text, "external") {
		t.Errorf("on an address the page says:\n%s", a.text)
	}
	off.wants(off.do(off.request("/passkey/signin/begin")), 409, "")
}

// Every page and a JSON answer tell how long the session lasts.
func TestSessionEnds(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.enrol("ana")
	s.pass(58 * time.Minute)
	if a := b.get("/logout"); a.Header.Get(login.EndsHeader) != strconv.Itoa(60*60) { // the look was a use
		t.Errorf("ends in %s", a.Header.Get(login.EndsHeader))
	}
	var told struct {
		Assurance string `json:"assurance"`
		EndsIn    int    `json:"ends_in"`
		Until     int64  `json:"lasts_until"`
	}
	if a := b.get("/account/session"); json.Unmarshal([]byte(a.text), &told) != nil || told.Assurance != "aal2" || told.EndsIn != 3600 || told.Until != s.now().Add(12*time.Hour-58*time.Minute).Unix() {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	if a := s.browser().get("/login"); a.Header.Get(login.EndsHeader) != "" {
		t.Error("somebody who is not signed in has a session")
	}
}
