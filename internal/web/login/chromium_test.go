package login_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"sallyport"
)

// A chromium is a real browser with a virtual authenticator, on a site with passkeys.
type chromium struct {
	*site
	ctx context.Context
	key webauthn.AuthenticatorID
}

// newChromium starts the browser, or skips the test where none is installed.
func newChromium(t *testing.T, s *site) *chromium {
	t.Helper()
	path := os.Getenv("SALLYPORT_CHROMIUM")
	if path == "" {
		path = "/usr/bin/chromium"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no Chromium: install chromium or set SALLYPORT_CHROMIUM")
	}
	all, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(all)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	c := &chromium{site: s, ctx: ctx}
	c.do(chromedp.Navigate("about:blank"))
	if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	c.plug()
	return c
}

// plug connects a new authenticator that verifies its user.
func (c *chromium) plug() {
	c.t.Helper()
	got, err := chromedp.Call(c.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true, HasCmtgKey: true}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.key = got.AuthenticatorID
}

// unplug takes the authenticator away, with all that it holds.
func (c *chromium) unplug() {
	c.t.Helper()
	if _, err := chromedp.Call(c.ctx, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: c.key}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chromium) bits(bits webauthn.SetResponseOverrideBitsParams) {
	c.t.Helper()
	bits.AuthenticatorID = c.key
	if _, err := chromedp.Call(c.ctx, webauthn.SetResponseOverrideBits, bits); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, steps...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chromium) open(path string) {
	c.t.Helper()
	c.do(chromedp.Navigate(c.url + path))
}

// script runs an expression on the page and waits for what it promises.
func (c *chromium) script(js string) string {
	c.t.Helper()
	got, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
	if err != nil {
		c.t.Fatalf("%.200s: %v", js, err)
	}
	return got
}

// until waits for an expression to hold.
func (c *chromium) until(js string) {
	c.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool]("Boolean("+js+")"))
		if err == nil && got {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("waited for %s in vain, %v; at %s:\n%s", js, err, c.at(), c.script("document.body.innerText"))
		}
	}
}

func (c *chromium) at() string { c.t.Helper(); return c.script("location.pathname + location.search") }

// press clicks the passkey button and waits until the page has changed, or says what went wrong, which it returns.
func (c *chromium) press() string {
	c.t.Helper()
	c.script(`(() => { window.stays = true; document.querySelector("#passkey").click(); return "" })()`)
	c.until(`!window.stays || !document.getElementById("passkey-problem").hidden`)
	return c.script(`window.stays ? document.getElementById("passkey-problem").textContent : ""`)
}

// send fills in the form of an address and sends it.
func (c *chromium) send(action string, fill map[string]string) {
	c.t.Helper()
	if fill == nil {
		fill = map[string]string{}
	}
	raw, err := json.Marshal(fill)
	if err != nil {
		c.t.Fatal(err)
	}
	c.script(fmt.Sprintf(`(() => { window.stays = true; const f = document.querySelector('form[action=%q]'); for (const [k, v] of Object.entries(%s)) { f.elements[k].value = v } HTMLFormElement.prototype.submit.call(f); return "" })()`, action, raw))
	c.until(`!window.stays && document.readyState === "complete"`)
}

// enrol goes through the pages of an enrolment link and returns the code generator's key.
func (c *chromium) enrol(name string) string {
	c.t.Helper()
	c.open("/enrol/" + c.browser().link(sallyport.PrincipalID("user:"+name)))
	c.send("/enrol", map[string]string{"password": goodPassword, "again": goodPassword})
	key := strings.ReplaceAll(c.script(`document.getElementById("secret").textContent`), " ", "")
	c.send("/enrol/code", map[string]string{"code": c.code(key)})
	if c.at() != "/account" {
		c.t.Fatalf("enrolment ended at %s", c.at())
	}
	return key
}

func (c *chromium) leave() {
	c.t.Helper()
	c.open("/logout")
	c.send("/logout", nil)
}

func (c *chromium) wantLevel(what, level string) {
	c.t.Helper()
	c.until(`document.readyState === "complete"`)
	if got := c.script(`fetch("/account/session").then(r => r.json()).then(j => j.assurance).catch(() => "nobody")`); got != level {
		c.t.Errorf("%s: the session is %s, want %s", what, got, level)
	}
}

// The whole life of a passkey, in a real browser: what works, and each thing that must not.
func TestChromiumPasskeys(t *testing.T) {
	s := newSiteOn(t, true)
	c := newChromium(t, s)
	key := c.enrol("ana")
	c.wantLevel("after enrolment", "aal2")
	if problem := c.press(); problem != "" {
		t.Fatalf("registration: %s", problem)
	}
	if text := c.script(`document.getElementById("passkeys").innerText`); !strings.Contains(text, "synced") {
		t.Errorf("the list says %s", text) // attested by a maker whom nobody listed
	}
	c.wantLevel("a registration is no proof", "aal2")
	if problem := c.press(); problem != "" || !strings.HasPrefix(c.at(), "/stepup?needs=phr") {
		t.Errorf("a second passkey without a proof by the first: %q, at %s", problem, c.at())
	}
	if problem := c.press(); problem != "" || c.at() != "/account" {
		t.Errorf("step-up: %q, at %s", problem, c.at())
	}
	if problem := c.press(); !strings.Contains(problem, "already") {
		t.Errorf("the same authenticator twice: %q", problem)
	}

	c.leave()
	c.open("/login?return=%2Faccount%3Fx%3D1")
	if problem := c.press(); problem != "" || c.at() != "/account?x=1" {
		t.Fatalf("sign-in: %s, at %s", problem, c.at())
	}
	c.wantLevel("sign-in by passkey", "phr")

	signInAgain := func() {
		t.Helper()
		c.leave()
		c.pass(30 * time.Second)
		c.open("/login")
		c.send("/login", map[string]string{"username": "ana", "password": goodPassword})
	}
	signInAgain()
	if problem := c.press(); problem != "" {
		t.Errorf("second proof: %s", problem)
	}
	c.wantLevel("password and passkey", "phr")

	signInAgain()
	c.send("/login/code", map[string]string{"code": s.code(key)})
	c.wantLevel("password and code", "aal2")
	c.open("/stepup?needs=phr&return=%2Faccount%3Fstepped%3D1")
	if problem := c.press(); problem != "" || c.at() != "/account?stepped=1" {
		t.Errorf("step-up: %s, at %s", problem, c.at())
	}
	c.wantLevel("step-up", "phr")

	c.leave()
	yes := true
	for name, bad := range map[string]webauthn.SetResponseOverrideBitsParams{"a bogus signature": {IsBogusSignature: &yes}, "no user verification flag": {IsBadUV: &yes}, "no user presence flag": {IsBadUP: &yes}} {
		c.open("/login")
		c.bits(bad)
		if problem := c.press(); !strings.Contains(problem, "did not prove you") {
			t.Errorf("%s: %q", name, problem)
		}
		c.wantLevel(name, "nobody")
	}
	c.bits(webauthn.SetResponseOverrideBitsParams{})
	if _, err := chromedp.Call(c.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: c.key}); err != nil {
		t.Fatal(err)
	}
	c.open("/login")
	if problem := c.press(); !strings.Contains(problem, "not used") {
		t.Errorf("the user is not verified: %q", problem)
	}
	if _, err := chromedp.Call(c.ctx, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: c.key, IsUserVerified: true}); err != nil {
		t.Fatal(err)
	}

	c.relayed(t)
	c.replayed(t)
	c.cloned(t)
	c.lost(t, key)
}

// relayed: another site has the options from here and asks the browser to answer them. On another port of the same name
// the browser answers, and we refuse the origin; on another host it does not even answer.
func (c *chromium) relayed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<title>other</title>") }))
	defer other.Close()
	relay := c.browser()
	begin := func() string {
		t.Helper()
		a := relay.json("/passkey/signin/begin", "{}")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("begin: %d", a.StatusCode)
		}
		return a.text
	}
	const prove = `navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON((%s).publicKey)}).then(c => JSON.stringify(c.toJSON()), e => e.name)`
	c.do(chromedp.Navigate(strings.Replace(other.URL, "127.0.0.1", "localhost", 1)))
	response := c.script(fmt.Sprintf(prove, begin()))
	if !strings.HasPrefix(response, "{") {
		t.Fatalf("on another port the browser says %s", response)
	}
	if a := relay.json("/passkey/signin/finish", `{"response":`+response+`}`); a.StatusCode != http.StatusUnauthorized || relay.level() != 0 {
		t.Errorf("wrong origin: %d %s", a.StatusCode, a.text)
	}
	c.do(chromedp.Navigate(other.URL))
	if name := c.script(fmt.Sprintf(prove, begin())); name != "SecurityError" {
		t.Errorf("on another host the browser says %s", name)
	}
}

// json posts a body as the page's script does.
func (b browser) json(path, body string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// replayed: the answer of a good sign-in, sent again by the page itself.
func (c *chromium) replayed(t *testing.T) {
	c.open("/login")
	got := c.script(`(async () => {
		const post = (path, body) => fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
		const options = await (await post("/passkey/signin/begin", {})).json();
		const credential = await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey)});
		const body = {response: credential.toJSON()};
		const all = await Promise.all([1, 2, 3].map(() => post("/passkey/signin/finish", body)));
		return all.map(a => a.status).sort().join(" ");
	})()`)
	if got != "200 401 401" {
		t.Errorf("one answer three times: %s", got)
	}
	c.leave()
}

// cloned: a copy of the passkey whose counter is behind.
func (c *chromium) cloned(t *testing.T) {
	held, err := chromedp.Call(c.ctx, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: c.key})
	if err != nil || len(held.Credentials) != 1 {
		t.Fatalf("held %v, %v", held.Credentials, err)
	}
	copied := *held.Credentials[0]
	copied.SignCount, copied.CmtgKeys, copied.ActiveCmtgKeyIndex = 0, nil, nil
	c.unplug()
	c.plug()
	if _, err := chromedp.Call(c.ctx, webauthn.AddCredential, webauthn.AddCredentialParams{AuthenticatorID: c.key, Credential: &copied}); err != nil {
		t.Fatal(err)
	}
	c.open("/login")
	if problem := c.press(); !strings.Contains(problem, "may have been copied") {
		t.Errorf("a clone: %q", problem)
	}
	c.wantLevel("a clone", "nobody")
	if problem := c.press(); !strings.Contains(problem, "locked") {
		t.Errorf("a locked passkey: %q", problem)
	}
	if c.noted(sallyport.EventCloned) != 1 {
		t.Errorf("recorded %d clones", c.noted(sallyport.EventCloned))
	}
}

// lost: without the authenticator, password and code still sign in, and the account page lets its passkey be removed and
// another be added.
func (c *chromium) lost(t *testing.T, key string) {
	c.unplug()
	c.plug()
	c.pass(30 * time.Second)
	c.open("/login")
	if problem := c.press(); !strings.Contains(problem, "not used") {
		t.Errorf("an empty authenticator: %q", problem)
	}
	c.send("/login", map[string]string{"username": "ana", "password": goodPassword})
	c.send("/login/code", map[string]string{"code": c.code(key)})
	c.wantLevel("without the authenticator", "aal2")
	if text := c.script(`document.getElementById("passkeys").innerText`); !strings.Contains(text, "locked") {
		t.Errorf("the list says %s", text)
	}
	if problem := c.press(); problem != "" {
		t.Errorf("a new passkey: %s", problem)
	}
	if n := c.script(`String(document.querySelectorAll("#passkeys .tag").length)`); n != strconv.Itoa(2) {
		t.Errorf("%s passkeys are listed", n)
	}
}

// SALLYPORT_SCREENSHOTS=DIR keeps a picture of each page at the widths of a desk and of a phone, to be looked at.
func TestChromiumScreenshots(t *testing.T) {
	dir := os.Getenv("SALLYPORT_SCREENSHOTS")
	if dir == "" {
		t.Skip("pictures are taken for a directory only: set SALLYPORT_SCREENSHOTS")
	}
	s := newSiteOn(t, true)
	c := newChromium(t, s)
	take := func(name string) {
		for width, at := range map[int64]string{1280: "desk", 390: "phone"} {
			c.do(chromedp.EmulateViewport(width, 900))
			png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(dir+"/"+name+"-"+at+".png", png, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if wide := c.script(`String(document.documentElement.scrollWidth - document.documentElement.clientWidth)`); wide != "0" {
				t.Errorf("%s at %d is %s pixels too wide", name, width, wide)
			}
		}
	}
	c.open("/login")
	take("login")
	c.open("/recover")
	take("recover")
	c.open("/enrol/" + c.browser().link("user:ana"))
	take("enrol")
	c.send("/enrol", map[string]string{"password": goodPassword, "again": goodPassword})
	take("generator")
	key := strings.ReplaceAll(c.script(`document.getElementById("secret").textContent`), " ", "")
	c.send("/enrol/code", map[string]string{"code": s.code(key)})
	take("account-new")
	if problem := c.press(); problem != "" {
		t.Fatal(problem)
	}
	c.open("/stepup?needs=phr&return=%2Faccount")
	take("stepup-phr")
	c.press()
	c.send("/account/codes", nil)
	take("codes")
	c.browser().post("/recover", "username", "ana", "why", "lost")
	c.open("/account")
	c.script(`(() => { document.querySelector("details").open = true; return "" })()`)
	take("account")
	c.open("/account/password")
	take("password")
	c.leave()
	take("logout")
	c.pass(30 * time.Second)
	c.open("/login")
	c.send("/login", map[string]string{"username": "ana", "password": goodPassword})
	take("second")
	c.open("/login/recovery")
	take("recovery")
	c.open("/login/code")
	c.send("/login/code", map[string]string{"code": s.code(key)})
	c.open("/stepup?needs=aal2&return=%2Faccount")
	take("stepup-any")
}
