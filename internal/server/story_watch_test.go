package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// at has a wire begin at another address of this computer, which stands for another network.
func (r *story) at(address string, wire *http.Client) *http.Client {
	r.t.Helper()
	if runtime.GOOS != "linux" {
		r.t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	transport, ok := wire.Transport.(*tapped)
	if !ok {
		r.t.Fatalf("the transport is %T", wire.Transport)
	}
	transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	return wire
}

// proves makes a request with a proof of a key that is good for it; form is the body of a POST.
func (r *story) proves(path, token string, key *ecdsa.PrivateKey, nonce string, form url.Values) func() *http.Request {
	r.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	of := jose.ProofFor{Method: method, URL: r.server.External() + path, Token: secret.NewText(token), Nonce: nonce, Now: r.clock.Now()}
	proof, err := jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}.SignProof(of)
	if err != nil {
		r.t.Fatal(err)
	}
	return func() *http.Request {
		q, err := http.NewRequestWithContext(r.t.Context(), method, of.URL, strings.NewReader(form.Encode()))
		if err != nil {
			r.t.Fatal(err)
		}
		q.Header.Set("DPoP", proof.Reveal())
		if form != nil {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			q.Header.Set("Authorization", "DPoP "+token)
		}
		return q
	}
}

// over sends a request over a wire.
func (r *story) over(wire *http.Client, q *http.Request) *http.Response {
	r.t.Helper()
	a, err := wire.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	a.Body.Close()
	return a
}

// DPOP4: a proof counts once. Whoever copies a whole request and sends it again gets nothing; it stands in the log, it is found,
// and from another network it counts against the person's sessions. At the token endpoint it stands in the log too.
func TestDPOP4AReplayedProofIsFound(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "", "")
	theo := r.As("theo").who
	key := r.bind(theo)
	token, err := theo.token(t.Context(), client.Hub)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := r.system.wire()
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.CloseIdleConnections()
	r.at("127.0.2.1", elsewhere)
	path := own()[client.Hub]
	nonce := r.over(r.wire, r.proves(path, token, key, "", nil)()).Header.Get("DPoP-Nonce")
	once := r.proves(path, token, key, nonce, nil)
	if a := r.over(r.wire, once()); a.StatusCode != http.StatusOK {
		t.Fatalf("the first time: %s", a.Status)
	}
	for name, wire := range map[string]*http.Client{"proof-repeated": r.wire, "proof-replayed": elsewhere} {
		if a := r.over(wire, once()); a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_dpop_proof"`) {
			t.Fatalf("again, %s: %s %v", name, a.Status, a.Header)
		}
		r.eventually(name, func() bool {
			f := r.findings("user:theo", name)
			return len(f) == 1 && f[0].State == "answered" && strings.HasPrefix(f[0].Subject, "family:")
		})
	}
	e, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventProofReplayed && e.Detail["from.ip"] == "127.0.2.1"
	})
	if !ok || e.Who != "user:theo" || e.Detail["last.ip"] != "127.0.0.1" || e.Asked == nil || e.Asked.Session == "" {
		t.Errorf("in the log: %v, %+v", ok, e)
	}
	risk, err := theo.client.MyRisk(t.Context())
	if err != nil || len(risk.Raised) != 1 || risk.Raised[0].Points != 60 || !strings.HasPrefix(risk.Raised[0].Why, "proof-replayed") {
		t.Errorf("his risk: %+v, %v", risk, err)
	}
	if got := r.notices("adam", "alert.proof-replayed"); len(got) != 1 {
		t.Errorf("who runs the system was told %+v", got)
	}
	if got := r.notices("theo", "finding.proof-replayed"); len(got) != 1 {
		t.Errorf("theo was told %+v", got)
	}

	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"sallyport-cli"}, "refresh_token": {"no such"}}
	asked := r.proves("/oauth/token", "", key, nonce, form)
	for range 2 {
		if a := r.over(r.wire, asked()); a.StatusCode == http.StatusOK {
			t.Fatal("a token for nothing")
		}
	}
	if e, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventProofReplayed && e.Detail["path"] == "/oauth/token"
	}); !ok || e.Reasons[0] != "invalid_dpop_proof.replay" {
		t.Errorf("at the token endpoint: %v, %+v", ok, e)
	}
}

// MO-3: the key of a device is used in two networks by turns. The finding names the device, its owner is told,
// and more proof is asked of its sessions. Who moved once and stayed there is not found.
func TestMO3OneDeviceKeyInTwoNetworks(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	l := ana.Laptop("laptop", "")
	here := ana.From(l)
	away := *l
	away.wire = r.at("127.0.2.1", r.showing(l.Certificate))
	there := ana.From(&away)
	for range 3 { // a laptop that goes to another network and stays there
		here.Infer(base).Want(allowed)
	}
	for range 3 {
		there.Infer(base).Want(allowed)
	}
	here.Infer(base).Want(allowed)
	there.Infer(base).Want(allowed)
	r.eventually("the finding, answered", func() bool {
		f := r.findings("user:ana", "shared-credential")
		return len(f) >= 1 && f[0].State == "answered" && slices.ContainsFunc(f[0].Did, func(d string) bool { return strings.HasPrefix(d, "raise=60/4h0m0s: K-") })
	})
	if f := r.findings("user:ana", "shared-credential")[0]; f.Subject != "device:"+l.ID() || f.Detail["networks"] != "127.0.0.0/24 127.0.2.0/24" || len(f.Evidence) != 4 {
		t.Errorf("found %+v", f)
	}
	if got := r.notices("ana", "finding.shared-credential"); len(got) == 0 {
		t.Error("ana was not told")
	}
	risk, err := ana.who.client.MyRisk(t.Context())
	if err != nil || len(risk.Raised) == 0 || risk.Raised[0].Points != 60 {
		t.Errorf("her risk: %+v, %v", risk, err)
	}
}

// MO-3: an account that was disabled is used, by its password or by a token that it still has: refused, found once, and those
// who run the system are told. Wrong passwords of one that is active are not such a finding.
func TestMO3ADisabledAccountIsUsed(t *testing.T) {
	for _, way := range []string{"a token", "a password"} {
		t.Run(way, func(t *testing.T) {
			r := tellAnew(t, trail.Files{})
			r.Join("dora", "evaluator", "org:acme")
			dora := r.As("dora").who
			r.As("dora").Infer(base).Want(allowed)
			token, err := dora.token(t.Context(), client.Hub)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.As("adam").who.client.SetState(t.Context(), "user:dora", "suspended"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if way == "a token" {
					r.Nobody().Send(request{path: own()[client.Hub], bearer: token})
					r.WantStatus(http.StatusUnauthorized)
				} else if err := dora.login(t.Context()); err == nil {
					t.Fatal("she signs in")
				}
			}
			r.eventually("the finding, answered", func() bool {
				f := r.findings("user:dora", "disabled-account")
				return len(f) == 1 && f[0].State == "answered" && f[0].Severity == "medium"
			})
			r.eventually("the alert", func() bool { return len(r.notices("adam", "alert.disabled-account")) == 1 })
		})
	}
}

// ID-8: a refresh token of theo's was copied. Until it fades that counts against the session that he had, and against one with a
// password and a code; not against the one that he begins with his passkey.
func TestID8APasskeySettlesATheft(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "evaluator", "org:acme")
	theo := r.As("theo").who
	key, err := theo.passkey(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	stolen := theo.refreshToken()
	r.refresh(stolen)
	r.refresh(stolen)
	r.eventually("the finding, answered", func() bool {
		f := r.findings("user:theo", "token-reused")
		return len(f) == 1 && f[0].State == "answered"
	})
	r.Later(time.Second)
	against := func() (raised bool) {
		t.Helper()
		if err := theo.login(t.Context()); err != nil {
			t.Fatal(err)
		}
		risk, err := theo.client.MyRisk(t.Context())
		if err != nil || len(risk.Raised) != 1 {
			t.Fatalf("%+v, %v", risk, err)
		}
		who, err := theo.client.Who(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range risk.Sessions {
			for _, f := range s.Factors {
				raised = raised || s.Session == who.Session && f.Kind == "raised"
			}
		}
		return raised
	}
	if _, err := key.StepUp(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	theo.noteCookies()
	if !against() {
		t.Error("the session that was there before is settled by a proof in it")
	}
	if _, err := key.SignIn(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	theo.noteCookies()
	if against() {
		t.Error("it counts against a session that began afterwards with a passkey")
	}
}

// ID-9: one key of a service is used on hosts in two networks. The finding names the key, and who answers for the service is told. The
// record of each token says by which credential it was got.
func TestID9OneKeyOfAServiceInTwoNetworks(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	token := r.machine("batch", "signal-receiver", "/signals", "identity.read")
	here := r.wire
	wire, err := r.system.wire()
	if err != nil {
		t.Fatal(err)
	}
	away := r.at("127.0.2.1", wire)
	for n := range 6 {
		if r.wire = here; n%2 == 1 {
			r.wire = away
		}
		token()
		r.wire = here
		r.Later(5 * time.Minute)
	}
	r.eventually("the finding, answered", func() bool {
		f := r.findings("service:batch", "shared-credential")
		return len(f) == 1 && f[0].State == "answered"
	})
	f := r.findings("service:batch", "shared-credential")[0]
	if !strings.HasPrefix(f.Subject, "credential:jwk:") || f.Detail["networks"] != "127.0.0.0/24 127.0.2.0/24" {
		t.Errorf("found %+v", f)
	}
	if got := r.notices("tess", "finding.shared-credential"); len(got) != 1 || !strings.Contains(got[0].Text, "service:batch, which you answer for") {
		t.Errorf("tess was told %+v", got)
	}
	e, ok := r.found(func(e sallyport.Logged) bool { return e.Type == sallyport.EventTokenIssued && e.Who == "service:batch" })
	if !ok || "credential:"+e.Detail["credential"] != f.Subject {
		t.Errorf("the token's record: %+v", e)
	}
}
