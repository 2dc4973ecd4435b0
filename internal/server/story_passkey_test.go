package server_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/server"
)

// makeKeys makes the maker of the model of authenticators that counts as hardware here.
func (s *system) makeKeys(dir string) error {
	var err error
	if s.maker, err = softkey.NewMaker("Story Key", time.Now()); err != nil {
		return err
	}
	roots := filepath.Join(dir, "maker.pem")
	s.config.Passkeys.Models = []server.PasskeyModel{{AAGUID: s.maker.AAGUID, Name: "Story Key", Roots: roots}}
	return os.WriteFile(roots, s.maker.RootPEM(), 0o600)
}

// passkey is the person's browser with a passkey in it; they register it when it is their first.
func (p *person) passkey(ctx context.Context, hardware bool) (*softkey.Browser, error) {
	follow := *p.web
	b := &softkey.Browser{HTTP: &follow, URL: p.system.server.External(), Key: &softkey.Key{}}
	if hardware {
		b.Key = p.system.maker.Key()
	}
	at, err := p.open(ctx, b.URL+"/login")
	if err == nil && at.path == "/login" {
		_, err = p.signIn(ctx, at)
	}
	if err == nil {
		err = b.Register(ctx, "story")
	}
	return b, err
}

// loginBy signs the command line in, by a passkey that raises the browser's session first.
func (p *person) loginBy(ctx context.Context, b *softkey.Browser) error {
	if _, err := b.StepUp(ctx, ""); err != nil {
		return err
	}
	p.noteCookies()
	return p.login(ctx)
}

// firstLogin signs the command line in for the first time. Those who take restricted weights register a passkey for it.
func (p *person) firstLogin(ctx context.Context) error {
	if p.id != "user:ana" && p.id != "user:eva" {
		return p.login(ctx)
	}
	b, err := p.passkey(ctx, false)
	if err != nil {
		return err
	}
	return p.loginBy(ctx, b)
}

// ID-3: the passkey that somebody proved themselves with is what every decision about them says, over the real server.
func TestPasskeyIsInEveryDecision(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	for name, want := range map[bool]sallyport.Assurance{false: sallyport.PhishingResistant, true: sallyport.Hardware} {
		who := map[bool]string{false: "nora", true: "rita"}[name]
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			p := r.As(who).who
			if me, err := p.client.Who(t.Context()); err != nil || me.Assurance != "aal2" {
				t.Fatalf("before: %s, %v", me.Assurance, err)
			}
			b, err := p.passkey(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.loginBy(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			me, err := p.client.Who(t.Context())
			if err != nil || me.Assurance != want.String() {
				t.Errorf("the command line is at %s, %v; want %s", me.Assurance, err, want)
			}
		})
	}
}

// ID-4: two other people and a day let somebody back in, once; until then the person can stop it.
func TestRecoveryTakesTwoAndADay(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	adam, ana, rita := r.As("adam").who.client, r.As("ana").who, r.As("rita").who.client
	asked, err := rita.AskRecovery(ctx, "user:ana", "her bag was stolen")
	if err != nil || asked.State != "asked" {
		t.Fatalf("%+v, %v", asked, err)
	}
	if _, err := rita.ApproveRecovery(ctx, asked.ID); err == nil {
		t.Error("somebody without the right approves")
	}
	if r, err := adam.ApproveRecovery(ctx, asked.ID); err != nil || len(r.Approved) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := adam.ApproveRecovery(ctx, asked.ID); err == nil {
		t.Error("one person approves twice")
	}
	if _, err := adam.ClaimRecovery(ctx, asked.ID); err == nil {
		t.Error("one approval makes a link")
	}
	// ana has a browser left, sees it and stops it.
	at, err := ana.open(ctx, r.server.External()+"/account")
	if err == nil && at.path == "/login" {
		if at, err = ana.signIn(ctx, at); err == nil {
			at, err = ana.open(ctx, r.server.External()+"/account")
		}
	}
	if err != nil || !strings.Contains(at.text, asked.ID) {
		t.Fatalf("the account page does not warn, %v", err)
	}
	if at, err = ana.send(ctx, at, "/account/recovery/cancel", map[string]string{"id": asked.ID}); err != nil || at.status != http.StatusOK {
		t.Fatalf("cancel: %d, %v", at.status, err)
	}
	if _, err := adam.ApproveRecovery(ctx, asked.ID); err == nil {
		t.Error("what was stopped is approved")
	}
	if open, err := adam.Recoveries(ctx); err != nil || len(open) != 0 {
		t.Errorf("open: %v, %v", open, err)
	}
}

// ID-3: restricted weights are asked for with password and code: the answer is no refusal but how to go on. With a passkey
// they are there.
func TestRestrictedWeightsWantAPasskey(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.As("rita").Approve(r.As("tess").Request(sallyport.ModelPull, keel, "5m"))
	r.WantStatus(200)
	for _, ask := range []func(*story, string) *story{(*story).Pull, (*story).PullVault} {
		ask(r.As("tess"), keel).Want(stepUp, "proof.restricted-weights")
		if said := r.last.header.Get("WWW-Authenticate"); !strings.Contains(said, `error="insufficient_user_authentication"`) || !strings.Contains(said, `acr_values="phr"`) {
			t.Errorf("the client is told %q", said)
		}
		if _, why := r.decided(r.last.decision); len(why.Remedies) != 1 || why.Remedies[0].Command != "sallyport login --assurance phr" {
			t.Errorf("the ways out are %+v", why.Remedies)
		}
	}
	tess := r.As("tess").who
	b, err := tess.passkey(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	r.As("tess").Pull(keel)
	r.Want(stepUp, "proof.restricted-weights") // having one is not showing it
	if err := tess.loginBy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r.As("tess").Pull(keel)
	r.Want(allowed, "weights.granted")
	r.As("tess").PullVault(keel)
	r.Want(allowed, "weights.granted")
}
