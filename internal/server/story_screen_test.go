package server_test

import (
	"context"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sallyport"
	"sallyport/internal/audit/trail"
)

// A screen is a real browser that somebody is signed in with, with a virtual authenticator.
type screen struct {
	*story
	ctx context.Context
	key webauthn.AuthenticatorID
}

// Screen opens a browser with the session of whoever acts, or skips the test where none is installed.
func (r *story) Screen() *screen {
	r.t.Helper()
	path := os.Getenv("SALLYPORT_CHROMIUM")
	if path == "" {
		path = "/usr/bin/chromium"
	}
	if _, err := os.Stat(path); err != nil {
		r.t.Skip("no Chromium: install chromium or set SALLYPORT_CHROMIUM")
	}
	all, cancel := chromedp.NewExecAllocator(r.t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("ignore-certificate-errors", true))...)
	r.t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(all)
	r.t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	r.t.Cleanup(cancel)
	s := &screen{story: r, ctx: ctx}
	s.do(chromedp.Navigate("about:blank"))
	if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		r.t.Fatal(err)
	}
	got, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
	if err != nil {
		r.t.Fatal(err)
	}
	s.key = got.AuthenticatorID
	s.cookies()
	return s
}

// cookies gives the browser the session of the person's own.
func (s *screen) cookies() {
	s.t.Helper()
	jar, ok := s.who.web.Jar.(*cookiejar.Jar)
	if !ok {
		s.t.Fatal("the person keeps no cookies")
	}
	at, err := url.Parse(s.server.External())
	if err != nil {
		s.t.Fatal(err)
	}
	yes := true
	for _, c := range jar.Cookies(at) {
		if _, err := chromedp.Call(s.ctx, network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: s.server.External(), Path: "/", Secure: &yes, HTTPOnly: &yes}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *screen) do(steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	if err := chromedp.Do(s.ctx, steps...); err != nil {
		s.t.Fatal(err)
	}
}

// open shows a page of the server that has an element.
func (s *screen) open(path, selector string) {
	s.t.Helper()
	s.do(chromedp.Navigate(s.server.External() + path))
	s.until(selector)
}

// script runs an expression on the page.
func (s *screen) script(js string) string {
	s.t.Helper()
	got, err := chromedp.Run(s.ctx, chromedp.Evaluate[string]("String("+js+")", chromedp.EvalAwaitPromise))
	if err != nil {
		s.t.Fatalf("%.200s: %v", js, err)
	}
	return got
}

// until waits until the page shows an element.
func (s *screen) until(selector string) {
	s.t.Helper()
	js := "document.readyState === 'complete' && document.querySelector(" + quoted(selector) + ") && !document.querySelector(" + quoted(selector) + ").hidden"
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got, err := chromedp.Run(s.ctx, chromedp.Evaluate[bool]("Boolean("+js+")"))
		if err == nil && got {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited for %s in vain, %v; at %s:\n%s", selector, err, s.script("location.href"), s.script("document.body.innerText"))
		}
	}
}

// click clicks an element and waits for what comes of it.
func (s *screen) click(selector, next string) {
	s.t.Helper()
	s.script("document.querySelector(" + quoted(selector) + ").click()")
	s.until(next)
}

// fill writes into a field.
func (s *screen) fill(selector, text string) {
	s.t.Helper()
	s.script("document.querySelector(" + quoted(selector) + ").value = " + quoted(text))
}

// text is what an element shows, "" where it is hidden or not there.
func (s *screen) text(selector string) string {
	s.t.Helper()
	return s.script("(e => e && !e.hidden ? e.innerText : '')(document.querySelector(" + quoted(selector) + "))")
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "\\'") + "'" }

// shoot keeps a picture for somebody who looks at it, at the width of a desk and of a phone, and finds what does not fit.
func (s *screen) shoot(name string) {
	s.t.Helper()
	for width, kind := range map[int64]string{1280: "-desk", 390: "-phone"} {
		s.do(chromedp.EmulateViewport(width, 900))
		if s.script("document.documentElement.scrollWidth > document.documentElement.clientWidth") == "true" {
			s.t.Errorf("%s does not fit a width of %d", name, width)
		}
		dir := os.Getenv("SALLYPORT_SCREENSHOTS")
		if dir == "" {
			continue
		}
		picture, err := chromedp.Run(s.ctx, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+kind+".png"), picture, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.do(chromedp.EmulateViewport(1280, 900))
}

// scheme has the browser prefer light or dark.
func (s *screen) scheme(name string) {
	s.t.Helper()
	if _, err := chromedp.Call(s.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}); err != nil {
		s.t.Fatal(err)
	}
}

// bogus has the authenticator sign something else, or not.
func (s *screen) bogus(on bool) {
	s.t.Helper()
	if _, err := chromedp.Call(s.ctx, webauthn.SetResponseOverrideBits, webauthn.SetResponseOverrideBitsParams{AuthenticatorID: s.key, IsBogusSignature: &on}); err != nil {
		s.t.Fatal(err)
	}
}

// AZ-16, UX-4: an approver sees on one screen what a yes would change, and signs it with a passkey, by keyboard alone. A
// signature with a changed byte, and somebody who may not approve, come to nothing.
func TestApprovalOnScreen(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	browsers := r.approvers("ana")
	rita := r.As("rita")
	b, err := rita.who.passkey(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := rita.who.loginBy(ctx, b); err != nil { // a fresh proof
		t.Fatal(err)
	}
	s := rita.Screen()
	s.open("/account", "#passkey")
	s.fill("#label", "blue key")
	s.script(`document.querySelector("#passkey").click()`)
	r.eventually("the page comes again with the key on it", func() bool { return strings.Contains(s.text("#passkeys"), "blue key") })
	s.open("/approvals/keys", "#enrol")
	s.shoot("keys")
	s.script(`[...document.querySelectorAll("label.choice")].find(l => l.innerText.includes("blue key")).querySelector("input").click()`)
	s.click("#enrol", "#sentence")
	s.shoot("own-key")
	asked, err := rita.who.client.Asked(ctx)
	if err != nil || len(asked) != 1 {
		t.Fatalf("%+v, %v", asked, err)
	}
	for _, name := range []string{"adam", "ana"}[:asked[0].Need] {
		if err := browsers[name].Approve(ctx, asked[0].ID, asked[0].Hash, ""); err != nil {
			t.Fatal(err)
		}
	}
	earlier := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	s.open("/approvals/"+earlier.ID, "#deny")
	s.fill("#reason", "use the retrained one")
	s.click("#deny", "#votes")
	if got := s.text("#state"); got != "denied" {
		t.Errorf("after a no it is %q", got)
	}
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	s.open("/approvals", "#inbox")
	s.shoot("inbox")
	s.open("/approvals/"+x.ID, "#sign")
	s.shoot("request")
	s.scheme("dark")
	if _, err := chromedp.Call(s.ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	s.do(chromedp.KeyEvent(kb.Tab)) // from now on the focus is shown
	s.script(`document.querySelector("details").open = true`)
	s.script(`document.querySelector("#reason").focus()`)
	s.shoot("request-dark")
	if got := strings.ReplaceAll(s.text("#hash"), "\u200b", ""); got != x.Hash {
		t.Errorf("what is signed is shown as %q, not %s", got, x.Hash)
	}
	for _, selector := range []string{"#sign", "#deny", "#reason", ".after a", "summary"} { // big enough for a finger (WCAG 2.2, 2.5.8), and seen where the focus is
		if got := s.script("document.querySelector(" + quoted(selector) + ").getBoundingClientRect().height >= 24"); got != "true" {
			t.Errorf("%s is too small to be touched", selector)
		}
		if got := s.script("(e => { e.focus(); return getComputedStyle(e).outlineStyle })(document.querySelector(" + quoted(selector) + "))"); got != "solid" {
			t.Errorf("%s shows no focus: %q", selector, got)
		}
	}
	s.scheme("light")
	for selector, want := range map[string]string{"#sentence": "ana wants to download the weights of acme/fraud", "#changes": "download the weights of acme/fraud@v1 (model.pull): refused without a grant → allowed", "#risk": "0", "#history": "1 denied",
		"#similar": "denied", "#need": "0 of 1", "#state": "pending"} {
		if got := s.text(selector); !strings.Contains(got, want) {
			t.Errorf("%s shows %q, want %q", selector, got, want)
		}
	}
	s.bogus(true) // a changed byte
	s.click("#sign", "#problem")
	if got := s.text("#problem"); !strings.Contains(got, "does not verify") {
		t.Errorf("a bogus signature: %q", got)
	}
	s.shoot("refused")
	s.bogus(false)
	// The right one, by keyboard: from the reason on, one Tab leads to the button.
	s.open("/approvals/"+x.ID, "#sign")
	s.script(`document.querySelector("#reason").focus()`)
	s.do(chromedp.KeyEvent("agreed with risk"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	s.until("#votes")
	if got := s.text("#votes"); !strings.Contains(got, "user:rita says yes") || !strings.Contains(got, "signed") || !strings.Contains(got, "agreed with risk") {
		t.Errorf("the votes are %q", got)
	}
	if got := s.text("#state"); got != "approved" {
		t.Errorf("the state is %q", got)
	}
	s.shoot("approved")
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	// The wrong person: somebody else's request does not exist for those who may not approve it.
	eva := r.As("eva").Screen()
	eva.open("/approvals/"+x.ID, "#message")
	if got := eva.text("#message"); !strings.Contains(got, "no such request") {
		t.Errorf("eva sees %q", got)
	}
	eva.open("/approvals/ask?from="+r.As("eva").refusal(fraud), "#from")
	eva.shoot("ask")
	eva.fill("#for", "10m")
	eva.fill("#why", "to compare")
	eva.click("#submit", "#withdraw")
	if got := eva.text("#sentence"); !strings.Contains(got, "eva wants to download the weights of acme/fraud") {
		t.Errorf("asked from the refusal: %q", got)
	}
	eva.shoot("mine")
	eva.click("#withdraw", "#state")
	if !soon(func() bool { return eva.text("#state") == "withdrawn" }) {
		t.Errorf("taken back it is %q", eva.text("#state"))
	}
}

// refusal has whoever acts be refused a model, and returns the decision.
func (r *story) refusal(model string) string {
	r.t.Helper()
	return r.Pull(model).last.decision
}
