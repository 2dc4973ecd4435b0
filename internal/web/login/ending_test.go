package login_test

import (
	"strings"
	"testing"
	"time"
)

// TK-6: two minutes before a session ends its person is asked to renew it; the question itself is no use of it.
func TestTK6RenewalPrompt(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.enrol("ana")
	a := b.get("/account")
	if got := a.Header.Get("Refresh"); got != "3480; url=/account/ending" { // an hour without use, less two minutes
		t.Errorf("the account page leads on by %q", got)
	}
	s.pass(58*time.Minute + 10*time.Second)
	for range 2 { // looking twice makes no difference
		a = b.get("/account/ending")
		if !strings.Contains(a.text, "ends soon") || !strings.Contains(a.text, "10:00 UTC unless") || a.Header.Get("Refresh") != "111; url=/login" {
			t.Errorf("%q\n%s", a.Header.Get("Refresh"), a.text)
		}
	}
	if !strings.Contains(a.text, `href="/account"`) {
		t.Error("nothing leads to staying signed in")
	}
	b.wants(b.get("/account"), 200, "") // stays
	if a = b.get("/account/ending"); strings.Contains(a.text, "ends soon") || a.Header.Get("Refresh") != "3480; url=/account/ending" {
		t.Errorf("after it was used: %q\n%s", a.Header.Get("Refresh"), a.text)
	}
	s.pass(time.Hour)
	b.wants(b.get("/account/ending"), 303, "/login")
}

// The end that no use puts off is said on every page in its last two minutes, and leads to a new sign-in.
func TestTK6AbsoluteEnd(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.enrol("ana")
	for range 23 { // twelve hours, used every half hour
		s.pass(30 * time.Minute)
		b.wants(b.get("/account"), 200, "")
	}
	if strings.Contains(b.get("/account").text, `id="ends"`) {
		t.Error("the end is announced half an hour ahead")
	}
	s.pass(28*time.Minute + 30*time.Second)
	for _, path := range []string{"/account", "/account/ending"} {
		a := b.get(path)
		if !strings.Contains(a.text, "You are signed out at 21:00 UTC") && !strings.Contains(a.text, "You will be signed out at 21:00 UTC") || !strings.Contains(a.text, `href="/login?again=1"`) {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	s.pass(2 * time.Minute)
	b.wants(b.get("/account"), 303, "/login")
}
