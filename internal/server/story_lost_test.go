package server_test

import (
	"errors"
	"io"
	"net/http/cookiejar"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// RE-7: a laptop that was lost while it downloads. The report, made from elsewhere, ends the certificate, the sessions that
// began on it, the logins behind them and the download, before it is answered.
func TestRE7LostDevice(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	r.Big()
	ana := r.As("ana")
	safe := ana.who.client // the login that stays, made before there was a laptop
	l := ana.Laptop("lost", "")

	// The laptop's own browser and command line.
	theirs, err := r.newPerson("ana")
	if err != nil {
		t.Fatal(err)
	}
	theirs.password, theirs.secret, theirs.step = ana.who.password, ana.who.secret, ana.who.step
	theirs.store = &client.Store{Dir: t.TempDir()}
	theirs.web.Transport = l.wire.Transport
	if theirs.client, err = client.New(client.Config{Server: r.server.External(), HTTP: l.wire, Store: theirs.store}); err != nil {
		t.Fatal(err)
	}
	if err := theirs.login(ctx); err != nil {
		t.Fatal(err)
	}
	ana.who.step = theirs.step
	lost := &story{scene: r.From(l).scene, who: theirs}
	me, err := theirs.client.Who(ctx)
	if err != nil || me.Device != l.ID() {
		t.Fatalf("the laptop's login comes from %q, %v", me.Device, err)
	}
	kept := ana.Laptop("kept", "") // and one that she still has, signed in by its own browser
	theirs.web.Transport = kept.wire.Transport
	jar := theirs.web.Jar
	if theirs.web.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	r.Later(time.Minute)
	at, err := theirs.open(ctx, r.server.External()+"/login")
	if err == nil {
		at, err = theirs.signIn(ctx, at)
	}
	if err != nil || at.path != landing {
		t.Fatalf("the other laptop's sign-in ended on %s, %v", at.path, err)
	}
	other := *theirs.web
	theirs.web.Transport, theirs.web.Jar = l.wire.Transport, jar
	refresh := theirs.refreshToken()
	token, err := theirs.token(ctx, client.OpenAI)
	if err != nil {
		t.Fatal(err)
	}
	download := lost.Begin(request{door: client.Hub, path: hubFile(big, weights)}, true)

	done, err := safe.Report(ctx, api.Report{What: "lost-device", ID: l.ID(), About: "on the train"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(done.Cut, func(c api.Cut) bool { return c.Decision == download.decision }) || done.InForce == "" {
		t.Errorf("the report brought about %+v", done)
	}
	close(download.goOn)
	if r.End(download); download.whole() || errors.Is(download.err, io.EOF) {
		t.Error("the download went on to its end")
	}
	t.Logf("in force after %s", done.InForce)

	// At once, and for everything that the laptop has: certificate, browser, refresh token, access tokens.
	lost.wire.CloseIdleConnections()
	if _, err := l.Report(ctx, l.client); err == nil {
		t.Error("the certificate is good")
	}
	for _, wire := range []string{"with the certificate", "without it"} {
		if wire == "without it" {
			lost.wire, theirs.web.Transport = r.wire, r.wire.Transport
		}
		ask := chat(base, false, 1)
		ask.bearer = token
		lost.Send(ask)
		if lost.last.err == nil && lost.last.status != 401 {
			t.Errorf("its token, %s: %d", wire, lost.last.status)
		}
		if at, err := theirs.open(ctx, r.server.External()+"/account"); err == nil && at.path == "/account" {
			t.Errorf("its browser, %s: %s", wire, at.path)
		}
	}
	if status, _ := r.refresh(refresh); status < 400 || status >= 500 {
		t.Errorf("its refresh token: %d", status)
	}
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventDeviceRemoved && e.On == "device:"+l.ID() && e.Who == "user:ana"
	}); !ok {
		t.Error("the removal is not in the log")
	}
	// She goes on from where she reported, and on the other laptop.
	theirs.web = &other
	if at, err := theirs.open(ctx, r.server.External()+"/account"); err != nil || at.path != "/account" {
		t.Errorf("the other laptop's browser is on %s, %v", at.path, err)
	}
	if _, err := safe.Who(ctx); err != nil {
		t.Errorf("the login that reported: %v", err)
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
}
