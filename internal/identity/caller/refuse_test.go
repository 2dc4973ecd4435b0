package caller_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/jose"
)

func TestProof(t *testing.T) {
	for _, test := range []struct{ headers, scheme, bearer string }{
		{"", "", ""}, {"Bearer abc", "Bearer", "abc"}, {"bearer abc", "Bearer", "abc"}, {"DPoP abc", "DPoP", "abc"}, {"dpop abc", "DPoP", "abc"},
		{"Basic YW55dGhpbmc6YWJj", "Basic", "abc"}, {"Basic OmFiYw==", "Basic", "abc"}, {"Basic abc", "Basic", ""}, {"Basic YW55", "Basic", ""},
		{"Bearer a b", "Bearer", ""}, {"Bearer a,b", "Bearer", ""}, {"Bearer", "Bearer", ""}, {"Digest abc", "", ""},
		{"Bearer abc|Bearer abc", "", ""}, {"Bearer abc|DPoP def", "", ""},
	} {
		r := httptest.NewRequest("GET", external+file+"?access_token=abc", nil)
		for h := range strings.SplitSeq(test.headers, "|") {
			if h != "" {
				r.Header.Add("Authorization", h)
			}
		}
		r.Header["Dpop"] = []string{"one", "two"}
		p := caller.Proof(r, door)
		if p.Scheme != test.scheme || p.Bearer.Reveal() != test.bearer || p.Audience != door || p.Method != "GET" || p.URL != file || len(p.DPoP) != 2 ||
			p.IP != "192.0.2.1" || p.Certificate != nil {
			t.Errorf("%q: %+v, token %q", test.headers, p, p.Bearer.Reveal())
		}
	}
	r := httptest.NewRequest("GET", external, nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("leaf")}, {Raw: []byte("issuer")}}}
	if p := caller.Proof(r, door); string(p.Certificate) != "leaf" {
		t.Errorf("the certificate is %q", p.Certificate)
	}
}

// TestJOSE10 passes over a token in the address.
func TestJOSE10(t *testing.T) {
	w := newWorld(t)
	w.issue("t", "")
	r := httptest.NewRequest("POST", external+file+"?access_token=t", strings.NewReader("access_token=t"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w.refuses("in query and body", caller.Proof(r, door), "token.missing")
}

// TestDPOP3 is what a resource answers to a proof without the nonce of now: RFC 9449, section 9.
func TestDPOP3(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	for _, nonce := range []string{"", "stale"} {
		p := w.shown(k, access, func(p *jose.ProofFor) { p.Nonce = nonce })
		w.refuses("nonce "+nonce, p, "use_dpop_nonce")
		p = w.shown(k, access, func(p *jose.ProofFor) { p.Nonce = nonce })
		wantChallenge(t, w, p, `DPoP realm="sallyport", error="use_dpop_nonce"`, `algs="ES256 EdDSA"`)
	}
}

func wantChallenge(t *testing.T, w *world, p guard.Proof, parts ...string) {
	t.Helper()
	p.Audience = door
	_, err := w.Who(t.Context(), p, w.Clock.Now())
	h := http.Header{"Www-Authenticate": {"old"}}
	caller.Challenge(h, err)
	all := strings.Join(h.Values("WWW-Authenticate"), "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) || strings.Contains(all, "old") {
			t.Errorf("%q does not say %s", all, part)
		}
	}
}

// TestChallenge is RFC 6750, section 3.1: no code where nothing was presented, the right one elsewhere.
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	bound := w.issue("t", "jkt:"+thumbprint(t, k))
	wantChallenge(t, w, guard.Proof{}, `Bearer realm="sallyport"`+"\n"+`DPoP realm="sallyport", algs="ES256 EdDSA"`)
	wantChallenge(t, w, guard.Proof{Bearer: bound, Audience: door}, `DPoP realm="sallyport", error="invalid_token"`, "was shown without it")
	wantChallenge(t, w, w.shown(newKey(t), bound), `DPoP realm="sallyport", error="invalid_token"`)
	wantChallenge(t, w, w.shown(k, bound, func(p *jose.ProofFor) { p.Method = "PUT" }), `DPoP realm="sallyport", error="invalid_dpop_proof"`)
	h := http.Header{}
	caller.Challenge(h, sallyport.E("sign in", sallyport.Unknown, `suspended "now" \`, "wait\u2026").Because("principal.suspended"))
	if got := h.Get("WWW-Authenticate"); got != `Bearer realm="sallyport", error="invalid_token", error_description="sign in: suspended 'now' ?; wait?"` {
		t.Error(got)
	}
}

// TestStepUp is RFC 9470, section 3.
func TestStepUp(t *testing.T) {
	for _, test := range []struct {
		scheme string
		maxAge int64
		want   string
	}{
		{"Basic", 0, `Bearer realm="sallyport", error="insufficient_user_authentication", error_description="prove yourself again: sallyport login --assurance phr", acr_values="phr"`},
		{"DPoP", 900, `DPoP realm="sallyport", error="insufficient_user_authentication", error_description="prove yourself again: sallyport login --assurance phr", acr_values="phr", max_age=900`},
	} {
		h := http.Header{}
		caller.StepUp(h, sallyport.Decision{Outcome: sallyport.StepUp, Needs: sallyport.PhishingResistant, MaxAge: test.maxAge}, test.scheme)
		if got := h.Get("WWW-Authenticate"); got != test.want {
			t.Errorf("%s: %s", test.scheme, got)
		}
	}
}

// FuzzProof: whatever a header says, a challenge is one line of printable ASCII, and nobody is proved.
func FuzzProof(f *testing.F) {
	for _, seed := range []string{"Bearer t", "DPoP t", "Basic OnQ=", "", "Bearer \"\\\r\n", "Basic \xff"} {
		f.Add(seed, "e30.e30.AA")
	}
	w := newWorld(f)
	w.issue("t", "jkt:x")
	f.Fuzz(func(t *testing.T, authorization, proof string) {
		r := httptest.NewRequest("GET", external+file, nil)
		r.Header["Authorization"], r.Header["Dpop"] = []string{authorization}, []string{proof}
		_, err := w.Who(t.Context(), caller.Proof(r, door), w.Clock.Now())
		if sallyport.KindOf(err) != sallyport.Unknown {
			t.Fatalf("%q with %q: %v", authorization, proof, err)
		}
		h := http.Header{}
		caller.Challenge(h, err)
		for _, line := range h.Values("WWW-Authenticate") {
			if strings.ContainsFunc(line, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
				t.Errorf("%q", line)
			}
		}
	})
}
