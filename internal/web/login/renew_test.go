package login_test

import (
	"strings"
	"testing"
	"time"
)

// A password that is known from a breach leads to the choice of another, and nowhere else, with and without a code; the
// way back is kept.
func TestBreachedPasswordPage(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	key := b.enrol("ana")
	b.get("/account")
	s.pass(time.Minute)
	s.in.Credentials.Breached = func(p []byte) (bool, error) { return string(p) == goodPassword, nil }
	again := s.browser()
	again.wants(again.signIn("ana", key, "/account?x=1"), 303, "/login/renew")
	if again.cookie(sessionCookie) != "" {
		t.Error("a session came before the other password")
	}
	again.wants(again.get("/account"), 303, "/login")
	page := again.get("/login/renew")
	again.wants(page, 200, "")
	if !strings.Contains(page.text, "known from") || strings.Contains(page.text, "Not now") {
		t.Errorf("the page: %s", page.text)
	}
	const fresh = "another horse battery staple"
	for name, f := range map[string][2]string{"the known one": {goodPassword, goodPassword}, "two different": {fresh, fresh + "x"}, "a short one": {"short", "short"}} {
		if a := again.post("/login/renew", "password", f[0], "again", f[1]); a.StatusCode != 400 || !strings.Contains(a.text, `role="alert"`) {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	again.wants(again.post("/login/renew", "password", fresh, "again", fresh), 303, "/account?x=1")
	again.wants(again.get("/account"), 200, "")
	b.wants(b.get("/account"), 303, "/login")
	stranger := s.browser()
	stranger.wants(stranger.get("/login/renew"), 303, "/login")
	stranger.wants(stranger.post("/login/renew", "password", fresh, "again", fresh), 303, "/login")
}
