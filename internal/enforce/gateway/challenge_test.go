package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
)

// TestChallenges is what a stock client is told beside the dialect's own words: how to prove oneself (RFC 6750, RFC
// 9449), and how to do so more strongly (RFC 9470).
func TestChallenges(t *testing.T) {
	s := newSite(t, content(nil))
	s.Rules(guardtest.Policies + `@id("open.passkey") @owner("t") @requirement("ID-3") @text("This needs a passkey.") @outcome("step-up") @needs("phr")
forbid (principal, action == Action::"model.pull", resource) unless { context.assurance >= 3 && context.authAge < 900 };`)
	a, body, err := s.get(t, "rob", "/toy/files/x")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Header.Values("WWW-Authenticate"); a.StatusCode != http.StatusForbidden || len(got) != 1 ||
		!strings.HasPrefix(got[0], `Bearer realm="sallyport", error="insufficient_user_authentication"`) || !strings.HasSuffix(got[0], `acr_values="phr", max_age=900`) {
		t.Errorf("%d %q", a.StatusCode, got)
	}
	contains(t, body, "This needs a passkey", "sallyport login --assurance phr")
	a, _, err = s.get(t, "", "/toy/files/x")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Header.Values("WWW-Authenticate"); a.StatusCode != http.StatusUnauthorized || len(got) == 0 || !strings.HasPrefix(got[0], `Bearer realm="sallyport"`) {
		t.Errorf("%d %q", a.StatusCode, got)
	}
	a, _, err = s.get(t, "zoe", "/toy/files/x")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Header.Values("WWW-Authenticate"); a.StatusCode != http.StatusNotFound || len(got) != 0 {
		t.Errorf("what is hidden says how to see it: %d %q", a.StatusCode, got)
	}
}

// TestTheProofOfARequest: every door sees the whole of what is presented, once, whatever is read before the decision.
func TestTheProofOfARequest(t *testing.T) {
	s := newSite(t, content([]byte("x")))
	s.door.Nonce = func() string { return "n-1" }
	var seen []guard.Proof
	real := s.Guard.Who
	s.Guard.Who = func(ctx context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
		seen = append(seen, p)
		return real(ctx, p, now)
	}
	r := s.request(t, "ana", http.MethodPost, "/toy/ask?x=1", strings.NewReader("hello"))
	r.Header.Set("Authorization", "DPoP "+token("ana"))
	r.Header.Add("DPoP", "a.b.c")
	a, _, err := s.do(t, r)
	if err != nil {
		t.Fatal(err)
	}
	<-s.toy.body
	if a.StatusCode != http.StatusOK || a.Header.Get("DPoP-Nonce") != "n-1" || len(seen) != 1 {
		t.Fatalf("%d, nonce %q, %d proofs", a.StatusCode, a.Header.Get("DPoP-Nonce"), len(seen))
	}
	if p := seen[0]; p.Scheme != "DPoP" || len(p.DPoP) != 1 || p.Method != "POST" || p.URL != "/toy/ask" || p.Bearer.Reveal() != token("ana") || p.IP != "127.0.0.1" {
		t.Errorf("%+v", p)
	}
	plain, _, err := s.get(t, "ana", "/toy/stream")
	if err != nil || plain.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("a client that proves no key gets a nonce: %v", err)
	}
	basic := s.request(t, "", http.MethodGet, "/toy/stream", nil)
	basic.SetBasicAuth("anything", token("ana"))
	if a, _, err := s.do(t, basic); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("Basic: %v, %v", a, err)
	}
}
