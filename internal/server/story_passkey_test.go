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

// ID-3: the passkey that somebody proved themselves with is what every decision about them says, over the real server.
func TestPasskeyIsInEveryDecision(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	for name, want := range map[bool]sallyport.Assurance{false: sallyport.PhishingResistant, true: sallyport.Hardware} {
		who := map[bool]string{false: "ana", true: "rita"}[name]
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
