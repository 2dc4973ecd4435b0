package passkey

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/plumbing/softkey"
)

// Hardware on the list is AAL3, everything else is phishing-resistant; and the class follows the list.
func TestClasses(t *testing.T) {
	d := newDesk(t)
	hard, soft := d.maker.Key(), &softkey.Key{}
	h, s := d.registered(ana, hard), d.registered("user:bo", soft)
	if !h.Attested || h.Backup || h.Model != "Test Key 5" || h.Label != "Test Key 5" || h.AAGUID != d.maker.AAGUID || !strings.HasPrefix(h.ID, "K-") {
		t.Errorf("hardware: %+v", h)
	}
	if s.Attested || !s.Backup || s.AAGUID != "" || s.Model != "Passkey" {
		t.Errorf("software: %+v", s)
	}
	for name, c := range map[string]struct {
		key     *softkey.Key
		who     sallyport.PrincipalID
		class   Class
		level   sallyport.Assurance
		methods []string
	}{
		"hardware": {hard, ana, Hardware, sallyport.Hardware, []string{"hwk", "user", "mfa"}},
		"synced":   {soft, "user:bo", Synced, sallyport.PhishingResistant, []string{"swk", "user", "mfa"}},
	} {
		got, err := d.signIn(c.key)
		if err != nil || got.Member != c.who || got.Class != c.class || got.Class.Assurance() != c.level || !slices.Equal(got.Class.Methods(), c.methods) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if p, err := d.Get(t.Context(), c.who, got.Passkey.ID); err != nil || !p.Used.Equal(d.now()) || p.Version != 2 {
			t.Errorf("%s: kept %+v, %v", name, p, err)
		}
	}
	d.config.Models = nil // taken off the list
	d.again()
	if got, err := d.signIn(hard); err != nil || got.Class != Synced {
		t.Errorf("off the list: %v, %v", got.Class, err)
	}
}

// A model on the list whose keys do not prove that they are of it is nothing special; one that claims it falsely is
// refused.
func TestWA5Models(t *testing.T) {
	d := newDesk(t)
	forger, err := softkey.NewMaker("Forger", d.at)
	if err != nil {
		t.Fatal(err)
	}
	d.config.Models = append(d.config.Models, Model{AAGUID: forger.AAGUID, Name: "no roots known"})
	d.again()
	if p := d.registered(ana, forger.Key()); p.Attested || d.Class(p) != Synced {
		t.Errorf("a model without roots: %+v", p)
	}
	d.config.Models[1].Roots = d.config.Models[0].Roots // another maker's
	d.again()
	_, err = d.register(ana, forger.Key())
	wantReason(t, "a forged attestation", err, sallyport.Unknown, ReasonWrong)

	d.config.Accept = DeviceBound
	d.again()
	_, err = d.register(ana, &softkey.Key{})
	wantReason(t, "a synced passkey where only device-bound ones are accepted", err, sallyport.Conflict, ReasonModel)
	d.config.Accept, d.config.Models = Listed, d.config.Models[:1]
	d.again()
	_, err = d.register(ana, forger.Key())
	wantReason(t, "an AAGUID outside the list", err, sallyport.Conflict, ReasonModel)
	if _, err := d.register(ana, d.maker.Key()); err != nil {
		t.Errorf("a listed one: %v", err)
	}
	if kept, _ := d.List(t.Context(), ana); len(kept) != 2 {
		t.Errorf("%d passkeys are kept, want 2", len(kept))
	}
}

// WA1: the library takes the same answer twice; a ceremony is gone before it is verified.
func TestWA1Replay(t *testing.T) {
	d := newDesk(t)
	k := d.maker.Key()
	o, err := d.BeginRegister(t.Context(), Person{ID: ana}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	response, err := k.Create(o.JSON, site)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.FinishRegister(t.Context(), o.Handle, "S-1", "blue", response)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.FinishRegister(t.Context(), o.Handle, "S-1", "blue", response)
	wantReason(t, "a registration twice", err, sallyport.Unknown, ReasonCeremony)
	if err := d.Add(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "one passkey twice", d.Add(t.Context(), p), sallyport.Conflict, "conflict")

	o, err = d.BeginSignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := k.Get(o.JSON, site)
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := d.Finish(t.Context(), o.Handle, SignIn, "", proof); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("one answer counted %d times", won.Load())
	}
	other, err := d.BeginSignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Finish(t.Context(), other.Handle, SignIn, "", proof)
	wantReason(t, "an old answer in a new ceremony", err, sallyport.Unknown, ReasonWrong)
}

// WA2: whatever is wrong with an answer, nobody is proved, and one text says so.
func TestWA2WrongAnswers(t *testing.T) {
	d := newDesk(t)
	k := d.maker.Key()
	d.registered(ana, k)
	flip := func(name string, at int) func(map[string]any) {
		return func(r map[string]any) {
			raw, err := base64.RawURLEncoding.DecodeString(r[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			raw[at] ^= 1
			r[name] = base64.RawURLEncoding.EncodeToString(raw)
		}
	}
	for name, c := range map[string]struct {
		origin string
		change func(r map[string]any)
		off    bool
	}{
		"a bogus signature":      {site, flip("signature", 20), false},
		"another relying party":  {site, flip("authenticatorData", 0), false},
		"another origin":         {"https://sallyport.example.attacker.example", nil, false},
		"another port":           {site + ":8443", nil, false},
		"plain http":             {"http://sallyport.example", nil, false},
		"user not verified":      {site, nil, true},
		"the flag set by hand":   {site, flip("authenticatorData", 32), false},
		"another person's":       {site, func(r map[string]any) { r["userHandle"] = base64.RawURLEncoding.EncodeToString([]byte("bo")) }, false},
		"no handle":              {site, func(r map[string]any) { delete(r, "userHandle") }, false},
		"a signature of nothing": {site, func(r map[string]any) { r["signature"] = "" }, false},
	} {
		o, err := d.BeginSignIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k.Unverified = c.off
		response, err := k.Get(o.JSON, c.origin)
		if err != nil {
			t.Fatal(err)
		}
		if k.Unverified = false; c.change != nil {
			response = edit(t, response, c.change)
		}
		got, err := d.Finish(t.Context(), o.Handle, SignIn, "", response)
		wantReason(t, name, err, sallyport.Unknown, ReasonWrong)
		if got.Passkey.ID != "" {
			t.Errorf("%s proves %+v", name, got)
		}
		if text := sallyport.PublicText(err); !strings.Contains(text, "did not prove you") {
			t.Errorf("%s says %s", name, text)
		}
	}
	o, err := d.BeginRegister(t.Context(), Person{ID: ana}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&softkey.Key{Unverified: true}).Create(o.JSON, site)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.FinishRegister(t.Context(), o.Handle, "S-1", "", response)
	wantReason(t, "a registration without verification", err, sallyport.Unknown, ReasonWrong)
	for _, raw := range [][]byte{nil, []byte("{}"), []byte("null"), bytes.Repeat([]byte(" "), maxResponse+1)} {
		o, err := d.BeginSignIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Finish(t.Context(), o.Handle, SignIn, "", raw)
		wantReason(t, "no answer", err, sallyport.Unknown, ReasonWrong)
	}
}

// WA3: a counter that goes back locks the passkey, for good.
func TestWA3Cloned(t *testing.T) {
	d := newDesk(t)
	k := d.maker.Key()
	d.registered(ana, k)
	if _, err := d.signIn(k); err != nil {
		t.Fatal(err)
	}
	k.Still = true
	got, err := d.signIn(k)
	wantReason(t, "a counter that stands still", err, sallyport.Unknown, ReasonCloned)
	if got.Member != ana || got.Passkey.Locked.IsZero() {
		t.Errorf("cloned: %+v", got)
	}
	k.Still = false
	_, err = d.signIn(k)
	wantReason(t, "a locked passkey", err, sallyport.Unknown, ReasonLocked)
	if usable, err := d.Usable(t.Context(), ana); err != nil || len(usable) != 0 {
		t.Errorf("usable: %v, %v", usable, err)
	}
	_, err = d.BeginProof(t.Context(), StepUp, ana, "S-1")
	wantReason(t, "a step-up without a usable passkey", err, sallyport.Conflict, ReasonUnknown)
	if _, err := d.register(ana, d.maker.Key()); err != nil {
		t.Errorf("another one: %v", err)
	}
}

// WA4: what was verified in another ceremony does not count in this one.
func TestWA4StepUpVerifiesItself(t *testing.T) {
	d := newDesk(t)
	k := d.maker.Key()
	d.registered(ana, k)
	if _, err := d.signIn(k); err != nil {
		t.Fatal(err)
	}
	for _, off := range []bool{true, false} {
		o, err := d.BeginProof(t.Context(), StepUp, ana, "S-1")
		if err != nil {
			t.Fatal(err)
		}
		k.Unverified = off
		response, err := k.Get(o.JSON, site)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Finish(t.Context(), o.Handle, StepUp, "S-1", response)
		if off {
			wantReason(t, "a step-up without verification", err, sallyport.Unknown, ReasonWrong)
		} else if err != nil {
			t.Errorf("with it: %v", err)
		}
	}
}

// WA6: a ceremony belongs to the browser session that began it, to its person and to its purpose, for five minutes.
func TestWA6CeremoniesStayWhereTheyBegan(t *testing.T) {
	d := newDesk(t)
	k, bo := d.maker.Key(), &softkey.Key{}
	d.registered(ana, k)
	d.registered("user:bo", bo)
	begin := func() (Options, []byte) {
		t.Helper()
		o, err := d.BeginProof(t.Context(), StepUp, ana, "S-1")
		if err != nil {
			t.Fatal(err)
		}
		response, err := k.Get(o.JSON, site)
		if err != nil {
			t.Fatal(err)
		}
		return o, response
	}
	o, response := begin()
	_, err := d.Finish(t.Context(), o.Handle, StepUp, "S-2", response)
	wantReason(t, "finished in another session", err, sallyport.Unknown, ReasonCeremony)
	_, err = d.Finish(t.Context(), o.Handle, StepUp, "S-1", response)
	wantReason(t, "and then in its own", err, sallyport.Unknown, ReasonCeremony)
	o, response = begin()
	_, err = d.Finish(t.Context(), o.Handle, SignIn, "", response)
	wantReason(t, "finished as a sign-in", err, sallyport.Unknown, ReasonCeremony)
	o, response = begin()
	d.at = d.at.Add(CeremonyLife)
	_, err = d.Finish(t.Context(), o.Handle, StepUp, "S-1", response)
	wantReason(t, "finished too late", err, sallyport.Unknown, ReasonCeremony)
	for _, handle := range []string{"", "x", strings.Repeat("A", 43)} {
		_, err = d.Finish(t.Context(), secret.NewText(handle), StepUp, "S-1", response)
		wantReason(t, "no handle", err, sallyport.Unknown, ReasonCeremony)
	}
	// Bo's passkey answers ana's challenge.
	o, _ = begin()
	signIn, err := d.BeginSignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	response, err = bo.Get(bytes.Replace(signIn.JSON, challenge(signIn.JSON), challenge(o.JSON), 1), site)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Finish(t.Context(), o.Handle, StepUp, "S-1", response)
	wantReason(t, "another person's passkey", err, sallyport.Unknown, ReasonUnknown)
}

func challenge(options []byte) []byte {
	_, rest, _ := bytes.Cut(options, []byte(`"challenge":"`))
	c, _, _ := bytes.Cut(rest, []byte(`"`))
	return c
}

func TestListRenameRemove(t *testing.T) {
	d := newDesk(t)
	p := d.registered(ana, &softkey.Key{})
	if err := d.Rename(t.Context(), ana, p.ID, "  my \n laptop "); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "bo renames it", d.Rename(t.Context(), "user:bo", p.ID, "mine"), sallyport.NotFound, "not found")
	wantReason(t, "no name", d.Rename(t.Context(), ana, p.ID, " \t"), sallyport.Invalid, "invalid")
	if got, err := d.Get(t.Context(), ana, p.ID); err != nil || strings.ContainsAny(got.Label, "\n") || !strings.HasPrefix(got.Label, "my") {
		t.Errorf("%+v, %v", got, err)
	}
	if err := d.Rename(t.Context(), ana, p.ID, strings.Repeat("ü", 500)); err != nil {
		t.Fatal(err)
	}
	if got, _ := d.Get(t.Context(), ana, p.ID); len(got.Label) > maxLabel {
		t.Errorf("a name of %d bytes", len(got.Label))
	}
	wantReason(t, "bo removes it", d.Remove(t.Context(), "user:bo", p.ID), sallyport.NotFound, "not found")
	if err := d.Remove(t.Context(), ana, p.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := d.List(t.Context(), ana); err != nil || len(all) != 0 {
		t.Errorf("left %v, %v", all, err)
	}
	for i := range most {
		if _, err := d.register(ana, &softkey.Key{}); err != nil {
			t.Fatalf("passkey %d: %v", i+1, err)
		}
	}
	_, err := d.register(ana, &softkey.Key{})
	wantReason(t, "one too many", err, sallyport.Conflict, "conflict")
}

// An address instead of a name: passkeys are off, and everything says why. localhost is a name.
func TestOff(t *testing.T) {
	for url, on := range map[string]bool{"https://127.0.0.1:7443": false, "https://[::1]": false, "http://sallyport.example": false,
		"https://sallyport.example": true, "http://localhost:7443": true, "https://localhost": true} {
		d := newDesk(t, func(c *Config) { c.URL = url })
		_, err := d.BeginSignIn(t.Context())
		if on && (err != nil || d.Off() != nil) {
			t.Errorf("%s: %v", url, err)
		} else if !on {
			wantReason(t, url, err, sallyport.Conflict, ReasonOff)
			_, err = d.BeginRegister(t.Context(), Person{ID: ana}, "S-1")
			wantReason(t, url, err, sallyport.Conflict, ReasonOff)
			_, err = d.Finish(t.Context(), secret.Text{}, SignIn, "", nil)
			wantReason(t, url, err, sallyport.Conflict, ReasonOff)
		}
	}
	for _, bad := range []Config{{URL: "::"}, {URL: site, Accept: "all"}, {URL: site, Models: []Model{{AAGUID: "x"}}},
		{URL: site, Models: []Model{{AAGUID: "00000000-0000-0000-0000-000000000000"}}}} {
		if _, err := New(bad); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("New(%+v) = %v", bad, err)
		}
	}
}

// A store that cannot be used is never a wrong passkey, and a record that was moved to somebody else opens nothing.
func TestStoreFails(t *testing.T) {
	d := newDesk(t)
	k := d.maker.Key()
	d.registered(ana, k)
	store := d.config.Store.(*shelf)
	o, err := d.BeginSignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	response, err := k.Get(o.JSON, site)
	if err != nil {
		t.Fatal(err)
	}
	store.broken = sallyport.Wrap("store", sallyport.Unavailable, "", errors.New("gone"))
	_, err = d.Finish(t.Context(), o.Handle, SignIn, "", response)
	wantReason(t, "Finish", err, sallyport.Unavailable, "unavailable")
	_, err = d.BeginSignIn(t.Context())
	wantReason(t, "BeginSignIn", err, sallyport.Unavailable, "unavailable")
	store.broken = nil
	store.passkeys[0].Member = "user:bo"
	_, err = d.signIn(k)
	wantReason(t, "a record under another name", err, sallyport.Unavailable, "unavailable")
}

// SESS4 for this room: what lies in the store opens nothing.
func TestSESS4NoHandleAtRest(t *testing.T) {
	d := newDesk(t)
	o, err := d.BeginSignIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bits, err := base64.RawURLEncoding.DecodeString(o.Handle.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for hash, c := range d.config.Store.(*shelf).ceremonies {
		if bytes.Equal(hash[:], bits) || bytes.Contains(c.Data, bits) || bytes.Contains(c.Data, []byte(o.Handle.Reveal())) {
			t.Error("the store holds the handle")
		}
		if c.Expires.Sub(d.at) > CeremonyLife+time.Second {
			t.Errorf("lives until %v", c.Expires)
		}
	}
}
