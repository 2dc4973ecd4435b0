package server_test

import (
	"strings"
	"testing"
	"time"

	"sallyport/internal/audit/trail"
)

// Signing in again in a browser does not sign the command line out that was signed in by it; somebody else's sign-in there
// does, as on a computer that people share.
func TestSigningInAgainIsNoSignOut(t *testing.T) {
	r := tell(t)
	for _, name := range []string{"gwendolin", "gustav"} {
		r.Join(name, "evaluator", "org:acme")
	}
	gwendolin, gustav := r.As("gwendolin").who, r.As("gustav").who
	again := func(p *person) {
		t.Helper()
		before := gwendolin.cookie()
		at, err := p.open(t.Context(), r.server.External()+"/login?again=1&return=%2Faccount")
		if err == nil {
			at, err = p.signIn(t.Context(), at)
		}
		if err != nil || at.path != "/account" {
			t.Fatalf("signing in ends on %s (%d): %v", at.path, at.status, err)
		}
		if gwendolin.cookie() == before || r.accountWith(before) == 200 {
			t.Error("the cookie from before is the same, or opens something")
		}
	}
	again(gwendolin)
	r.As("gwendolin").Infer(base).Want(allowed)
	if status, body := r.refresh(gwendolin.refreshToken()); status != 200 {
		t.Errorf("a refresh by the old login: %d %s", status, body)
	}
	if err := gwendolin.login(t.Context()); err != nil { // that refresh was not the command line's: it begins anew
		t.Fatal(err)
	}
	r.As("gwendolin").Infer(base).Want(allowed)
	kept := gustav.web
	gustav.web = gwendolin.web // gustav sits down at gwendolin's computer
	again(gustav)
	gustav.web = kept
	r.signedOut("gwendolin")
	r.As("gustav").Infer(base).Want(allowed)
}

// signedOut wants that somebody's login is over: the token of before is refused, and the login gives no other.
func (r *story) signedOut(name string) {
	r.t.Helper()
	r.eventually("the token of before is refused", func() bool { r.As(name).Infer(base); return r.last.status == 401 || r.last.status == 403 })
	if status, body := r.refresh(r.As(name).who.refreshToken()); status != 400 || !strings.Contains(body, "invalid_grant") {
		r.t.Errorf("a refresh by %s, who is signed out, answers %d", name, status)
	}
}

// TK-5: signing the browser out ends the logins that it has given out for good, not only for as long as the end of the
// session is remembered.
func TestTK5SignedOutForGood(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("gwendolin", "evaluator", "org:acme")
	gwendolin := r.As("gwendolin").who
	r.As("gwendolin").Infer(base).Want(allowed)
	at, err := gwendolin.open(t.Context(), r.server.External()+"/logout")
	if err == nil {
		_, err = gwendolin.send(t.Context(), at, "/logout", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.signedOut("gwendolin")
	r.Later(3 * time.Hour)
	if status, _ := r.refresh(gwendolin.refreshToken()); status != 400 {
		t.Errorf("three hours later a refresh answers %d", status)
	}
}
