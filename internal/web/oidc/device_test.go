package oidc_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
)

func (w *world) startDevice(client string) (device, user string) {
	w.t.Helper()
	a := w.post("/oauth/device", url.Values{"client_id": {client}, "scope": {"model.infer"}})
	device, _ = a.json["device_code"].(string)
	user, _ = a.json["user_code"].(string)
	if a.status != http.StatusOK || len(device) != 43 || len(user) != 9 || a.json["interval"] != 5.0 || a.json["expires_in"] != 600.0 ||
		a.json["verification_uri_complete"] != external+"/activate?user_code="+user {
		w.t.Fatalf("device: %d %s", a.status, a.body)
	}
	return device, user
}

func (w *world) poll(client, device string) answer {
	w.t.Helper()
	return w.post("/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {client}, "device_code": {device}})
}

// TestDeviceFlow connects a device: a person types its code, sees what it asks for, and allows it.
func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	device, user := w.startDevice("sallyport-cli")
	if a := w.get("/activate?user_code=" + user); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login?return="+url.QueryEscape("/activate?user_code="+user) {
		t.Errorf("nobody signed in: %d %q", a.status, a.header.Get("Location"))
	}
	w.signIn("ana", sallyport.MultiFactor)
	if a := w.get("/activate?user_code=" + strings.ToLower(user)); !strings.Contains(a.body, `value="`+user+`"`) || strings.Contains(a.body, "approve") {
		t.Errorf("the form: %s", a.body)
	}
	wantError(t, "pending", w.poll("sallyport-cli", device), http.StatusBadRequest, "authorization_pending")
	page := w.post("/activate", url.Values{"user_code": {strings.ToLower(strings.ReplaceAll(user, "-", " "))}})
	if !strings.Contains(page.body, "Sallyport command line") || !strings.Contains(page.body, "<code>model.infer</code>") || !strings.Contains(page.body, "127.0.0.1") || !strings.Contains(page.body, user) {
		t.Errorf("the question: %d %s", page.status, page.body)
	}
	if a := w.press(page, "/activate/decide", "approve"); a.status != http.StatusOK || !strings.Contains(a.body, `id="message"`) {
		t.Errorf("approval: %d %s", a.status, a.body)
	}
	w.wait(5 * time.Second)
	tokens := w.poll("sallyport-cli", device)
	if tokens.status != http.StatusOK || !w.accepted(tokens.json["access_token"], api) || tokens.json["refresh_token"] == nil {
		t.Fatalf("tokens: %d %s", tokens.status, tokens.body)
	}
	w.wait(5 * time.Second)
	wantError(t, "once more", w.poll("sallyport-cli", device), http.StatusBadRequest, "invalid_grant")
	if a := w.press(page, "/activate/decide", "approve"); a.status != http.StatusBadRequest {
		t.Errorf("the same page again: %d", a.status)
	}
}

// TestOA32 polls too fast, too late, as somebody else, and guesses user codes.
func TestOA32(t *testing.T) {
	w := newWorld(t)
	device, _ := w.startDevice("device")
	wantError(t, "first", w.poll("device", device), http.StatusBadRequest, "authorization_pending")
	wantError(t, "at once", w.poll("device", device), http.StatusBadRequest, "slow_down")
	w.wait(6 * time.Second)
	wantError(t, "as before: ten seconds now", w.poll("device", device), http.StatusBadRequest, "slow_down")
	w.wait(15 * time.Second)
	wantError(t, "slowly", w.poll("device", device), http.StatusBadRequest, "authorization_pending")
	wantError(t, "another client", w.poll("sallyport-cli", device), http.StatusBadRequest, "invalid_grant")
	w.wait(10 * time.Minute)
	wantError(t, "late", w.poll("device", device), http.StatusBadRequest, "expired_token")

	device, user := w.startDevice("device")
	w.signIn("ana", sallyport.MultiFactor)
	if a := w.press(w.post("/activate", url.Values{"user_code": {user}}), "/activate/decide", "deny"); a.status != http.StatusOK {
		t.Errorf("refusal: %d", a.status)
	}
	wantError(t, "refused", w.poll("device", device), http.StatusBadRequest, "access_denied")

	_, user = w.startDevice("device")
	w.signIn("guesser", sallyport.MultiFactor)
	throttled := 0
	for i := range 20 {
		a := w.post("/activate", url.Values{"user_code": {fmt.Sprintf("BCDFGH%c%c", "BCDFGHJKLM"[i%10], "NPQRSTVWXZ"[i/10])}})
		if a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" {
			throttled++
		} else if a.status != http.StatusBadRequest {
			t.Errorf("guess %d: %d", i, a.status)
		}
	}
	if throttled < 14 {
		t.Errorf("%d of 20 guesses throttled", throttled)
	}
	if a := w.post("/activate", url.Values{"user_code": {user}}); a.status != http.StatusTooManyRequests {
		t.Errorf("a right code while throttled: %d, want it not even looked up", a.status)
	}
}

// TestOA33 mixes right codes among the guesses, signs in again, and guesses in parallel: the count goes on.
func TestOA33(t *testing.T) {
	w := newWorld(t)
	w.signIn("guesser", sallyport.MultiFactor)
	wrong := 0
	for range 6 {
		if a := w.post("/activate", url.Values{"user_code": {"BCDFGHJK"}}); a.status == http.StatusBadRequest {
			wrong++
		}
		_, own := w.startDevice("device")
		w.post("/activate", url.Values{"user_code": {own}})
		w.signIn("guesser", sallyport.MultiFactor) // a new proof, a new session
	}
	if wrong > 5 {
		t.Errorf("%d wrong guesses were answered, with right ones in between", wrong)
	}
	w = newWorld(t)
	w.signIn("guesser", sallyport.MultiFactor)
	var wg sync.WaitGroup
	answers := make([]answer, 30)
	for i := range answers {
		wg.Go(func() { answers[i] = w.post("/activate", url.Values{"user_code": {"BCDFGHJK"}}) })
	}
	wg.Wait()
	answered := 0
	for _, a := range answers {
		if a.status != http.StatusTooManyRequests {
			answered++
		}
	}
	if answered > 5 {
		t.Errorf("%d of 30 parallel guesses were answered", answered)
	}
}

// TestDeviceFormsAreBound decides with a page of somebody else, and without any.
func TestDeviceFormsAreBound(t *testing.T) {
	w := newWorld(t)
	_, user := w.startDevice("device")
	w.signIn("ana", sallyport.MultiFactor)
	page := w.post("/activate", url.Values{"user_code": {user}})
	w.signIn("bo", sallyport.MultiFactor)
	if a := w.press(page, "/activate/decide", "approve"); a.status != http.StatusForbidden {
		t.Errorf("Ana's page in Bo's session: %d", a.status)
	}
	if a := w.post("/activate/decide", url.Values{"request": {user}, "decision": {"approve"}}); a.status != http.StatusForbidden {
		t.Errorf("no mark: %d: a guess that no throttle sees", a.status)
	}
	w.mu.Lock()
	w.who = sallyport.Principal{}
	w.mu.Unlock()
	for _, path := range []string{"/activate", "/activate/decide"} {
		if a := w.post(path, url.Values{"user_code": {user}}); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/login?") {
			t.Errorf("%s without a session: %d", path, a.status)
		}
	}
}
