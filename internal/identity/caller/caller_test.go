package caller_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

func TestABearerTokenProvesItsPrincipal(t *testing.T) {
	w := newWorld(t)
	access := w.issue("t", "")
	for _, scheme := range []string{"", "Bearer", "Basic"} {
		if p, reason := w.who(guard.Proof{Bearer: access, Scheme: scheme}); reason != "" || p.ID != "user:ana" || p.Bound() || p.Device != "" {
			t.Errorf("%q: %+v, %s", scheme, p, reason)
		}
	}
	w.refuses("nothing", guard.Proof{}, "token.missing")
	w.refuses("another token", guard.Proof{Bearer: secret.NewText("u")}, "token.signature")
	w.refuses("another door", guard.Proof{Bearer: access, Audience: external + "/openai"}, "token.signature")
	w.refuses("shown as bound", w.shown(newKey(t), access), "token.unbound")
	if len(w.noted) != 0 {
		t.Errorf("recorded %v", w.noted)
	}
}

func TestABoundTokenNeedsItsKey(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	if p, reason := w.who(w.shown(k, access)); reason != "" || !p.Bound() || p.Device != "" {
		t.Fatalf("%+v, %s", p, reason)
	}
	w.tokens["odd"] = sallyport.Principal{ID: "user:ana", Audience: door, Key: "kid:7"}
	w.refuses("a binding that nobody knows", guard.Proof{Bearer: secret.NewText("odd")}, "token.binding")
}

// TestDPOP2 wants the proof to be for this method and this address below the configured URL.
func TestDPOP2(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	for name, change := range map[string]func(*jose.ProofFor){
		"method": func(p *jose.ProofFor) { p.Method = "POST" },
		"path":   func(p *jose.ProofFor) { p.URL += "x" },
		"host":   func(p *jose.ProofFor) { p.URL = "https://other.test" + file },
		"scheme": func(p *jose.ProofFor) { p.URL = "http://sallyport.test" + file },
	} {
		if _, reason := w.who(w.shown(k, access, change)); reason == "" {
			t.Errorf("another %s is accepted", name)
		}
	}
	if _, reason := w.who(w.shown(k, access, func(p *jose.ProofFor) { p.URL += "?x=1#y" })); reason != "" {
		t.Errorf("with query and fragment: %s", reason)
	}
}

// TestDPOP2Elsewhere: behind a proxy a proof is for the proxy's address, and for no other.
func TestDPOP2Elsewhere(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	for origin, want := range map[string]bool{"https://models.acme.test": true, "https://other.test": false} {
		shown := w.shown(k, access, func(p *jose.ProofFor) { p.URL = origin + file })
		shown.Origin = "https://models.acme.test"
		if _, reason := w.who(shown); (reason == "") != want {
			t.Errorf("a proof for %s: %q", origin, reason)
		}
	}
	ours := w.shown(k, access)
	ours.Origin = "https://models.acme.test"
	if _, reason := w.who(ours); reason == "" {
		t.Error("a proof for our own address counts at the proxy's")
	}
}

// TestDPOP4 uses one proof twice.
func TestDPOP4(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	shown := w.shown(k, access)
	if _, reason := w.who(shown); reason != "" {
		t.Fatal(reason)
	}
	shown.IP = "198.51.100.9"
	for range 3 {
		w.refuses("again", shown, "invalid_dpop_proof.replay")
	}
	if len(w.noted) != 1 {
		t.Fatalf("recorded %v", w.noted)
	}
	if e := w.noted[0]; e.Type != sallyport.EventProofReplayed || e.Who != "user:ana" || e.On != "family:F-t" || e.Detail["from.ip"] != shown.IP || e.Detail["last.ip"] != "192.0.2.7" {
		t.Errorf("recorded %+v", e)
	}
	w.refuses("without its key, from there", guard.Proof{Bearer: access, IP: shown.IP}, "token.unproved")
	if len(w.noted) != 2 || w.noted[1].Type != sallyport.EventTokenTheft {
		t.Errorf("a theft is not recorded, because a replay was: %v", w.noted)
	}
	w.broken = sallyport.E("record", sallyport.Unavailable, "no space", "")
	shown.Audience, shown.IP = door, "203.0.113.5"
	if _, err := w.Who(t.Context(), shown, w.Clock.Now()); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a replay that cannot be recorded: %v", err)
	}
}

// TestDPOP5 shows a bound token with a proof for another token, without one, and with one of another key.
func TestDPOP5(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	if _, reason := w.who(w.shown(k, access, func(p *jose.ProofFor) { p.Token = secret.NewText("other") })); reason == "" {
		t.Error("a proof for another token is accepted")
	}
	if _, reason := w.who(w.shown(k, access, func(p *jose.ProofFor) { p.Token = secret.Text{} })); reason == "" {
		t.Error("a proof for no token is accepted")
	}
	w.refuses("another key", w.shown(newKey(t), access), "token.other-key")
	w.refuses("no proof", guard.Proof{Bearer: access, Scheme: "DPoP", Method: "GET", URL: file}, "invalid_dpop_proof.missing")
	two := w.shown(k, access)
	two.DPoP = append(two.DPoP, w.shown(k, access).DPoP...)
	if _, reason := w.who(two); reason == "" {
		t.Error("two proofs are accepted")
	}
}

// TestDPOP6 shows a bound token as one that is not, beside a good proof and without.
func TestDPOP6(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	for _, scheme := range []string{"", "Bearer", "bearer", "Basic"} {
		w.refuses("as "+scheme, guard.Proof{Bearer: access, Scheme: scheme}, "token.unproved")
		beside := w.shown(k, access)
		beside.Scheme = scheme
		w.refuses("beside a proof as "+scheme, beside, "token.unproved")
	}
}

// TestMTLS4 shows a token that is bound to a certificate over another one, and over none.
func TestMTLS4(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	own := w.enrol("DV-1", "user:ana", k)
	access := w.issue("t", x5t(own))
	if p, reason := w.who(guard.Proof{Bearer: access, Certificate: own}); reason != "" || !p.Bound() || p.Device != "DV-1" {
		t.Fatalf("%+v, %s", p, reason)
	}
	w.refuses("none", guard.Proof{Bearer: access, IP: "198.51.100.9"}, "token.unproved")
	w.refuses("another device's", guard.Proof{Bearer: access, Certificate: w.enrol("DV-2", "user:ana", newKey(t))}, "token.other-key")
	w.refuses("a later one over the same key", guard.Proof{Bearer: access, Certificate: certify(t, "DV-1", k, w.Clock.Now().Add(time.Second))}, "token.other-key")
	w.refuses("none that can be read", guard.Proof{Bearer: access, Certificate: []byte("x")}, "device.unknown")
	alone := certify(t, "client", newKey(t), w.Clock.Now())
	if p, reason := w.who(guard.Proof{Bearer: w.issue("u", x5t(alone)), Certificate: alone}); reason != "" || p.Device != "" {
		t.Errorf("a client's own certificate, of no device: %+v, %s", p, reason)
	}
}

// TestMTLS2 removes a device while its connection is open, and lets a certificate end on one.
func TestMTLS2(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	own := w.enrol("DV-1", "user:ana", k)
	open := guard.Proof{Bearer: w.issue("t", ""), Certificate: own}
	if p, reason := w.who(open); reason != "" || p.Device != "DV-1" {
		t.Fatalf("%+v, %s", p, reason)
	}
	w.remove("DV-1")
	w.refuses("removed", open, device.ReasonUnknown)
	w.enrol("DV-1", "user:ana", k)
	w.Clock.Add(25 * time.Hour)
	w.refuses("ended", open, device.ReasonExpired)
}

func TestAKeyLeadsToItsDevice(t *testing.T) {
	w := newWorld(t)
	k, other := newKey(t), newKey(t)
	own := w.enrol("DV-1", "user:ana", k)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	if p, reason := w.who(w.shown(k, access)); reason != "" || p.Device != "DV-1" {
		t.Errorf("%+v, %s", p, reason)
	}
	both := w.shown(k, access)
	both.Certificate = own
	if p, reason := w.who(both); reason != "" || p.Device != "DV-1" {
		t.Errorf("with the certificate too: %+v, %s", p, reason)
	}
	two := w.shown(k, access)
	two.Certificate = w.enrol("DV-2", "user:ana", other)
	w.refuses("of two devices", two, "device.two")
}

// TestTheDeviceIsOfSomebodyWhoActs has an agent call from the machine of its owner, and a stranger's machine refused.
func TestTheDeviceIsOfSomebodyWhoActs(t *testing.T) {
	w := newWorld(t)
	w.Join(directory.Member{ID: "agent:helper", Person: "user:rita", State: directory.Active})
	own := w.enrol("DV-1", "user:rita", newKey(t))
	p := w.tokens[w.issue("t", "").Reveal()]
	w.refuses("rita's device for ana's token", guard.Proof{Bearer: secret.NewText("t"), Certificate: own}, "device.other")
	p.Actors = []sallyport.PrincipalID{"agent:helper"}
	w.tokens["t"] = p
	if p, reason := w.who(guard.Proof{Bearer: secret.NewText("t"), Certificate: own}); reason != "" || p.Device != "DV-1" {
		t.Errorf("%+v, %s", p, reason)
	}
}

// TestTK4 steals tokens in the ways there are. Each theft is recorded with both origins, once a minute an address.
func TestTK4(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	w.enrol("DV-1", "user:ana", k)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	if _, reason := w.who(w.shown(k, access)); reason != "" {
		t.Fatal(reason)
	}
	w.refuses("where it is used anyhow, without its key", guard.Proof{Bearer: access}, "token.unproved")
	if len(w.noted) != 0 {
		t.Errorf("a client that is set up wrongly is recorded as a thief: %v", w.noted)
	}
	const there = "198.51.100.9"
	for range 3 {
		w.refuses("elsewhere, without its key", guard.Proof{Bearer: access, IP: there}, "token.unproved")
	}
	stolen := w.shown(newKey(t), access)
	stolen.IP = "203.0.113.5"
	w.refuses("elsewhere, with another key", stolen, "token.other-key")
	if len(w.noted) != 2 {
		t.Fatalf("recorded %v", w.noted)
	}
	e := w.noted[0]
	if e.Type != sallyport.EventTokenTheft || e.Who != "user:ana" || e.On != "family:F-t" || !slices.Equal(e.Reasons, []string{"token.unproved"}) ||
		e.Detail["from.ip"] != there || e.Detail["last.ip"] != "192.0.2.7" || e.Detail["last.device"] != "DV-1" || e.Asked.Session != "S-ana" {
		t.Errorf("recorded %+v", e)
	}
	if d := w.noted[1].Detail; d["from.ip"] != "203.0.113.5" || d["from.key"] == "" || d["bound"] != "jkt:"+thumbprint(t, k) {
		t.Errorf("recorded %v", d)
	}
	w.Clock.Add(2 * time.Minute)
	w.refuses("later", guard.Proof{Bearer: access, IP: "203.0.113.5"}, "token.unproved")
	if len(w.noted) != 3 {
		t.Errorf("the same theft is not recorded again: %d", len(w.noted))
	}
	if _, reason := w.who(w.shown(k, access)); reason != "" {
		t.Errorf("its owner is refused: %s", reason)
	}
}

func TestAStolenDeviceKey(t *testing.T) {
	w := newWorld(t)
	bobs := w.enrol("DV-9", "user:rob", newKey(t))
	w.refuses("ana's token on rob's device", guard.Proof{Bearer: w.issue("t", ""), Certificate: bobs}, "device.other")
	if len(w.noted) != 1 || w.noted[0].Detail["from.device"] != "DV-9" || w.noted[0].Detail["from.owner"] != "user:rob" {
		t.Errorf("recorded %v", w.noted)
	}
}

// TestATheftThatCannotBeRecorded is no answer at all.
func TestATheftThatCannotBeRecorded(t *testing.T) {
	w := newWorld(t)
	w.broken = sallyport.E("record", sallyport.Unavailable, "no space", "")
	p := w.shown(newKey(t), w.issue("t", "jkt:x"))
	p.Audience = door
	if _, err := w.Who(t.Context(), p, w.Clock.Now()); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("error %v", err)
	}
}

// TestWhoPassesOtherErrors: a store that is down is not a caller who is unknown.
func TestWhoPassesOtherErrors(t *testing.T) {
	w := newWorld(t)
	k := newKey(t)
	access := w.issue("t", "jkt:"+thumbprint(t, k))
	down := sallyport.E("x", sallyport.Busy, "too many", "")
	w.Prove = func([]string, string, string, secret.Text) (string, error) { return "", down }
	p := w.shown(k, access)
	p.Audience = door
	if _, err := w.Who(t.Context(), p, w.Clock.Now()); !errors.Is(err, down) || sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("error %v", err)
	}
}

func BenchmarkWho(b *testing.B) {
	w := newWorld(b)
	k := newKey(b)
	own := w.enrol("DV-1", "user:ana", k)
	now := w.Clock.Now()
	for name, p := range map[string]guard.Proof{
		"bearer":      {Bearer: w.issue("t", ""), Audience: door, IP: "192.0.2.7"},
		"certificate": {Bearer: w.issue("u", x5t(own)), Audience: door, IP: "192.0.2.7", Certificate: own},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Who(b.Context(), p, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTheTokenOfADisabledAccount is refused because of the account, and told of by whose it was; that of one that is active is
// refused because it was revoked, and of nobody.
func TestTheTokenOfADisabledAccount(t *testing.T) {
	for _, state := range []directory.State{directory.Active, directory.Suspended, directory.Removed} {
		w := newWorld(t)
		w.Join(directory.Member{ID: "user:dora", Person: "user:dora", State: state})
		w.dead = map[string]sallyport.Principal{"t": {ID: "user:dora", Audience: door}}
		_, err := w.Who(t.Context(), guard.Proof{Bearer: secret.NewText("t"), Audience: door}, w.Clock.Now())
		want := map[directory.State]string{directory.Active: "token.revoked", directory.Suspended: "principal.suspended", directory.Removed: "principal.unknown"}[state]
		refused, ok := errors.AsType[*caller.Refused](err)
		if !ok || sallyport.ReasonOf(err) != want || sallyport.KindOf(err) != sallyport.Unknown || refused.Scheme != "Bearer" || refused.Code != "invalid_token" {
			t.Errorf("%v: %v", state, err)
		} else if of := refused.Whose(); (of == "user:dora") == (state == directory.Active) {
			t.Errorf("%v: of %q", state, of)
		}
	}
}
