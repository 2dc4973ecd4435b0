package token_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/plumbing/secret"
)

// TestOA20 uses a code twice: the second comer gets nothing, and what the first got dies.
func TestOA20(t *testing.T) {
	for _, after := range []time.Duration{0, 30 * time.Second, 5 * time.Minute} {
		w := newWorld(t)
		code := w.code()
		issued, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
		if err != nil || w.verify(issued.Access, api) != "" {
			t.Fatal(err)
		}
		w.wait(after)
		_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
		wantReason(t, "the second exchange", err, "invalid_grant.reused")
		if got := w.verify(issued.Access, api); got != "token.revoked" {
			t.Errorf("after %v, the first access token: reason %q", after, got)
		}
		_, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{})
		wantReason(t, "the first refresh token", err, "invalid_grant.dead")
		if w.count(sallyport.EventTokenReused) != 1 {
			t.Errorf("after %v: %d incidents, want 1", after, w.count(sallyport.EventTokenReused))
		}
	}
}

// TestOA20AtOnce lets many redeem one code: one at most wins, and even that one's tokens die.
func TestOA20AtOnce(t *testing.T) {
	w := newWorld(t)
	code := w.code()
	var wg sync.WaitGroup
	results := make([]token.Issued, 10)
	for i := range results {
		wg.Go(func() {
			results[i], _ = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
		})
	}
	wg.Wait()
	won := 0
	for _, issued := range results {
		if issued.Access.IsZero() {
			continue
		}
		won++
		if got := w.verify(issued.Access, api); got != "token.revoked" {
			t.Errorf("the winner's token: reason %q, want it dead: the code was shown more than once", got)
		}
	}
	if won > 1 {
		t.Errorf("%d exchanges won", won)
	}
}

// TestOA21 has another client come with the code and the refresh token: it gets nothing and breaks nothing.
func TestOA21(t *testing.T) {
	w := newWorld(t)
	code := w.code()
	_, err := w.codes.Exchange(t.Context(), w.by("other"), redeem(code), token.Want{})
	wantReason(t, "another client's code", err, "invalid_grant.unknown")
	issued, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
	if err != nil {
		t.Fatalf("the code was burned by another client: %v", err)
	}
	_, err = w.issuer.Refresh(t.Context(), w.by("other"), issued.Refresh, token.Want{})
	wantReason(t, "another client's refresh token", err, "invalid_grant.unknown")
	if err := w.issuer.GiveBack(t.Context(), w.by("other"), issued.Refresh, ""); err != nil {
		t.Error(err)
	}
	if err := w.issuer.GiveBack(t.Context(), w.by("other"), secret.Text{}, issued.Family.ID); err != nil {
		t.Error(err)
	}
	if _, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{}); err != nil {
		t.Errorf("the refresh token was burned by another client: %v", err)
	}
}

// TestOA22 comes with verifiers that do not belong to the challenge, or could not.
func TestOA22(t *testing.T) {
	for name, verifier := range map[string]string{
		"none": "", "short": strings.Repeat("a", 42), "long": strings.Repeat("a", 129), "letters": strings.Repeat("ä", 30), "the challenge itself": challenge(codeVerifier),
		"another": strings.Repeat("a", 43), "longer": codeVerifier + "x",
	} {
		w := newWorld(t)
		x := redeem(w.code())
		x.Verifier = secret.NewText(verifier)
		_, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), x, token.Want{})
		wantReason(t, name, err, "invalid_grant.verifier")
	}
	w := newWorld(t)
	for _, c := range []string{"", codeVerifier, strings.Repeat("a", 44), strings.Repeat("A", 42) + "B"} { // no challenge means no code
		_, err := w.codes.Authorize(t.Context(), w.ana(), codes.Ask{Client: w.by("sallyport-cli").Client, Scope: sallyport.Scope{"model.infer"}, RedirectURI: redirect, Challenge: c})
		wantReason(t, "challenge "+c, err, "invalid_request")
	}
}

// TestOA23 names another redirect address than the request did. The code is burned.
func TestOA23(t *testing.T) {
	for _, other := range []string{"", "http://127.0.0.1:4243/callback", redirect + "/", redirect + "?a=b", "http://[::1]:4242/callback"} {
		w := newWorld(t)
		x := redeem(w.code())
		x.RedirectURI = other
		_, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), x, token.Want{})
		wantReason(t, other, err, "invalid_grant.redirect")
		x.RedirectURI = redirect
		_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), x, token.Want{})
		wantReason(t, "the right one afterwards", err, "invalid_grant.reused")
	}
}

// TestA07 is what an attacker with a stolen code tries, in order; the rows OA20 to OA23 look at each in detail.
func TestA07(t *testing.T) {
	w := newWorld(t)
	x := redeem(w.code())
	_, err := w.codes.Exchange(t.Context(), w.by("other"), x, token.Want{})
	wantReason(t, "by another client", err, "invalid_grant.unknown")
	dropped := x
	dropped.Verifier = secret.Text{}
	_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), dropped, token.Want{})
	wantReason(t, "without PKCE", err, "invalid_grant.verifier")
	issued, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), x, token.Want{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), x, token.Want{})
	wantReason(t, "again", err, "invalid_grant.reused")
	if got := w.verify(issued.Access, api); got != "token.revoked" {
		t.Errorf("tokens of the first use: reason %q", got)
	}
}

// TestOA24 refreshes fifty times at once with one token. One wins; the others are theft, so the family dies whole.
func TestOA24(t *testing.T) {
	w := newWorld(t)
	first := w.login()
	var wg sync.WaitGroup
	results, errs := make([]token.Issued, 50), make([]error, 50)
	for i := range results {
		wg.Go(func() {
			results[i], errs[i] = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{})
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			_, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), results[i].Refresh, token.Want{})
			wantReason(t, "the winner's next refresh", err, "invalid_grant.dead")
		} else if r := sallyport.ReasonOf(err); r != "invalid_grant.reused" && r != "invalid_grant.dead" {
			t.Errorf("refresh %d: %v", i, err)
		}
	}
	if won != 1 {
		t.Errorf("%d refreshes won, want 1", won)
	}
	all, err := w.store.Families(t.Context(), token.Selector{Person: "user:ana"})
	if err != nil || len(all) != 1 || all[0].Revoked.IsZero() {
		t.Errorf("families = %+v, %v, want one, dead", all, err)
	}
}

// TestOA25 replays a rotated refresh token.
func TestOA25(t *testing.T) {
	w := newWorld(t)
	first := w.login()
	w.wait(time.Minute)
	second, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{})
	if err != nil || w.verify(second.Access, api) != "" {
		t.Fatal(err)
	}
	_, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{})
	wantReason(t, "replay", err, "invalid_grant.reused")
	for name, raw := range map[string]secret.Text{"first": first.Access, "second": second.Access} {
		if got := w.verify(raw, api); got != "token.revoked" {
			t.Errorf("the %s access token: reason %q", name, got)
		}
	}
	_, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), second.Refresh, token.Want{})
	wantReason(t, "the new refresh token", err, "invalid_grant.dead")
	if _, live, err := w.issuer.Find(t.Context(), second.Refresh); live || err != nil {
		t.Errorf("Find = %v, %v, want it dead", live, err)
	}
	if w.count(sallyport.EventTokenReused) != 1 {
		t.Errorf("%d incidents, want 1", w.count(sallyport.EventTokenReused))
	}
	revoked, err := w.issuer.Revoked(t.Context())
	if err != nil || len(revoked) != 1 || revoked[0].Family != first.Family.ID {
		t.Errorf("Revoked = %v, %v", revoked, err)
	}
}

// TestOA25WithoutLog has the family die although nothing can be written down.
func TestOA25WithoutLog(t *testing.T) {
	w := newWorld(t)
	first := w.login()
	second, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{})
	if err != nil {
		t.Fatal(err)
	}
	w.logDown = true
	_, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{})
	if sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("replay = %v, want unavailable", err)
	}
	if got := w.verify(second.Access, api); got != "token.revoked" {
		t.Errorf("the stolen family's token: reason %q", got)
	}
}

// TestNothingIsIssuedWithoutARecord keeps the refresh token good while the log is down.
func TestNothingIsIssuedWithoutARecord(t *testing.T) {
	w := newWorld(t)
	first := w.login()
	w.logDown = true
	if got, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{}); sallyport.KindOf(err) != sallyport.Unavailable || !got.Access.IsZero() {
		t.Errorf("Refresh = %v, %v, want unavailable and nothing", got, err)
	}
	code := w.code()
	if got, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{}); sallyport.KindOf(err) != sallyport.Unavailable || !got.Access.IsZero() {
		t.Errorf("Exchange = %v, %v, want unavailable and nothing", got, err)
	}
	device, err := w.codes.StartDevice(t.Context(), w.by("sallyport-cli"), codes.Ask{Scope: sallyport.Scope{"model.infer"}})
	if err == nil {
		err = w.codes.ApproveDevice(t.Context(), w.ana(), device.UserCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.codes.PollDevice(t.Context(), w.by("sallyport-cli"), device.Code, token.Want{}); sallyport.KindOf(err) != sallyport.Unavailable || !got.Access.IsZero() {
		t.Errorf("PollDevice = %v, %v, want unavailable and nothing", got, err)
	}
	w.wait(codes.PollInterval)
	w.logDown = false
	if got, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{}); err != nil || w.verify(got.Access, api) != "" {
		t.Errorf("Exchange when the log is back: %v", err)
	}
	if got, err := w.codes.PollDevice(t.Context(), w.by("sallyport-cli"), device.Code, token.Want{}); err != nil || w.verify(got.Access, api) != "" {
		t.Errorf("PollDevice when the log is back: %v", err)
	}
	if n := w.count(sallyport.EventTokenReused); n != 0 {
		t.Errorf("%d thefts were found where there was none", n)
	}
	if _, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), first.Refresh, token.Want{}); err != nil {
		t.Errorf("Refresh when the log is back: %v", err)
	}
}

// TestOA27 asks a refresh for more than was approved: refused, and nothing is used up. Less is granted, once.
func TestOA27(t *testing.T) {
	w := newWorld(t)
	code, err := w.codes.Authorize(t.Context(), w.ana(), codes.Ask{Client: w.by("sallyport-cli").Client, Scope: sallyport.Scope{"model.infer@acme/fraud", "model.read"},
		Audiences: []string{hub, api}, RedirectURI: redirect, Challenge: challenge(codeVerifier)})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{Audience: hub})
	if err != nil || issued.Audience != hub || w.verify(issued.Access, hub) != "" {
		t.Fatalf("a token for the hub: %v", err)
	}
	for _, test := range []struct {
		want   token.Want
		reason string
	}{
		{token.Want{Scope: sallyport.Scope{"*"}}, "invalid_scope"}, {token.Want{Scope: sallyport.Scope{"model.infer"}}, "invalid_scope"},
		{token.Want{Scope: sallyport.Scope{"model.read", "model.pull"}}, "invalid_scope"}, {token.Want{Scope: sallyport.Scope{}}, "invalid_scope"},
		{token.Want{Audience: external + "/openai"}, "invalid_target"}, {token.Want{Audience: api + "/"}, "invalid_target"}, {token.Want{Audience: "https://evil.example"}, "invalid_target"},
	} {
		_, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, test.want)
		wantReason(t, test.want.Audience+test.want.Scope.String(), err, test.reason)
	}
	less, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{Scope: sallyport.Scope{"model.read"}})
	if err != nil || less.Scope.String() != "model.read" || less.Audience != api {
		t.Fatalf("less: %+v, %v", less, err)
	}
	all, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), less.Refresh, token.Want{})
	if err != nil || all.Scope.String() != "model.infer@acme/fraud model.read" {
		t.Errorf("afterwards: %v, %v, want what was approved", all.Scope, err)
	}
}

// TestOA28 shows parts of opaque tokens, and more than them.
func TestOA28(t *testing.T) {
	w := newWorld(t)
	refresh, code := w.login().Refresh.Reveal(), w.code().Reveal()
	if len(refresh) != 43 || len(code) != 43 {
		t.Errorf("%d and %d characters, want 43 each: 256 bits", len(refresh), len(code))
	}
	for _, change := range []func(string) string{
		func(s string) string { return s[:42] }, func(s string) string { return s[1:] }, func(s string) string { return s + "A" }, func(s string) string { return s + "\n" },
		func(s string) string { return s[:42] + "=" }, strings.ToLower, func(string) string { return "" }, func(string) string { return strings.Repeat("A", 10000) },
	} {
		_, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), secret.NewText(change(refresh)), token.Want{})
		wantReason(t, "refresh", err, "invalid_grant.unknown")
		_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(secret.NewText(change(code))), token.Want{})
		wantReason(t, "code", err, "invalid_grant.unknown")
		_, err = w.codes.PollDevice(t.Context(), w.by("sallyport-cli"), secret.NewText(change(code)), token.Want{})
		wantReason(t, "device code", err, "invalid_grant.unknown")
	}
	if _, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(secret.NewText(code)), token.Want{}); err != nil {
		t.Errorf("the code itself: %v", err)
	}
}

// TestOA32 waits for a device code, too fast and too long.
func TestOA32(t *testing.T) {
	w := newWorld(t)
	cli := w.by("sallyport-cli")
	start := func() codes.Started {
		t.Helper()
		started, err := w.codes.StartDevice(t.Context(), cli, codes.Ask{Scope: sallyport.Scope{"model.infer"}})
		if err != nil {
			t.Fatal(err)
		}
		return started
	}
	poll := func(s codes.Started, want string) {
		t.Helper()
		_, err := w.codes.PollDevice(t.Context(), cli, s.Code, token.Want{})
		wantReason(t, "poll", err, want)
	}
	s := start()
	poll(s, "authorization_pending")
	w.wait(time.Second)
	poll(s, "slow_down")
	w.wait(6 * time.Second)
	poll(s, "slow_down") // ten seconds now
	w.wait(15 * time.Second)
	poll(s, "authorization_pending")
	_, err := w.codes.PollDevice(t.Context(), w.by("other"), s.Code, token.Want{})
	wantReason(t, "another client's device code", err, "invalid_grant.unknown")

	if err := w.codes.ApproveDevice(t.Context(), w.ana(), strings.ToLower(s.UserCode)); err != nil {
		t.Fatal(err)
	}
	w.wait(20 * time.Second)
	issued, err := w.codes.PollDevice(t.Context(), cli, s.Code, token.Want{})
	if err != nil || w.verify(issued.Access, api) != "" || issued.Refresh.IsZero() {
		t.Fatalf("after approval: %v", err)
	}
	w.wait(20 * time.Second)
	poll(s, "invalid_grant.used")
	if err := w.codes.ApproveDevice(t.Context(), w.ana(), s.UserCode); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("a second approval = %v, want not found", err)
	}

	s = start()
	if err := w.codes.DenyDevice(t.Context(), s.UserCode); err != nil {
		t.Fatal(err)
	}
	poll(s, "access_denied")

	s = start()
	w.wait(codes.DeviceLifetime)
	poll(s, "expired_token")
	if err := w.codes.ApproveDevice(t.Context(), w.ana(), s.UserCode); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("approval when it has expired = %v, want not found", err)
	}
}

// TestUserCodes draws codes: letters of the alphabet only, each about as often as any other.
func TestUserCodes(t *testing.T) {
	w := newWorld(t)
	const draws = 150
	seen := map[rune]int{}
	for range draws {
		s, err := w.codes.StartDevice(t.Context(), w.by("sallyport-cli"), codes.Ask{Scope: sallyport.Scope{"model.infer"}})
		if err != nil {
			t.Fatal(err)
		}
		code, ok := codes.NormalUserCode(" " + strings.ToLower(s.UserCode))
		if !ok || codes.ShowUserCode(code) != s.UserCode || len(s.UserCode) != 9 {
			t.Fatalf("user code %q", s.UserCode)
		}
		for _, c := range code {
			seen[c]++
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d letters in use, want 20", len(seen))
	}
	for c, n := range seen { // 60 of each on average; 20 and 120 are many standard deviations away
		if n < 20 || n > 120 {
			t.Errorf("%c came %d times", c, n)
		}
	}
	for _, bad := range []string{"", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDFGHJ1", strings.Repeat("-", 40)} {
		if _, ok := codes.NormalUserCode(bad); ok {
			t.Errorf("NormalUserCode(%q) accepts", bad)
		}
	}
}

func TestLifetimes(t *testing.T) {
	w := newWorld(t)
	code := w.code()
	w.wait(codes.CodeLifetime)
	_, err := w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
	wantReason(t, "an old code", err, "invalid_grant.expired")

	issued := w.login()
	w.wait(token.RefreshIdle)
	_, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{})
	wantReason(t, "a refresh token nobody used", err, "invalid_grant.expired")

	issued = w.login()
	began := w.now()
	for w.now().Add(token.RefreshIdle - time.Hour).Before(began.Add(token.FamilyLifetime)) { // kept alive until the family's end
		w.wait(token.RefreshIdle - time.Hour)
		if issued, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{}); err != nil {
			t.Fatal(err)
		}
	}
	w.mu.Lock()
	w.at = began.Add(token.FamilyLifetime - time.Minute)
	w.mu.Unlock()
	if issued, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{}); err != nil || !issued.Expires.Equal(began.Add(token.FamilyLifetime)) {
		t.Errorf("the last minute: token until %v, %v, want the family's end", issued.Expires, err)
	}
	w.wait(time.Minute)
	if _, err = w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{}); err == nil {
		t.Error("refreshed after the family's end")
	}
}

// TestRevoke ends families by family, session, principal and client; each at once, and on the next start of a node.
func TestRevoke(t *testing.T) {
	for name, revoke := range map[string]func(w *world, i token.Issued) error{
		"family": func(w *world, i token.Issued) error {
			_, err := w.issuer.Revoke(t.Context(), token.Selector{Family: i.Family.ID}, "test")
			return err
		},
		"session": func(w *world, _ token.Issued) error {
			_, err := w.issuer.RevokeBySession(t.Context(), "S-1", "test")
			return err
		},
		"principal": func(w *world, _ token.Issued) error {
			_, err := w.issuer.RevokeByPrincipal(t.Context(), "user:ana", "test")
			return err
		},
		"client": func(w *world, i token.Issued) error {
			return w.issuer.GiveBack(t.Context(), w.by("sallyport-cli"), i.Refresh, "")
		},
		"client, by access token": func(w *world, i token.Issued) error {
			return w.issuer.GiveBack(t.Context(), w.by("sallyport-cli"), secret.Text{}, i.Family.ID)
		},
	} {
		w := newWorld(t)
		issued := w.login()
		if w.verify(issued.Access, api) != "" {
			t.Fatal("a good token is refused")
		}
		if err := revoke(w, issued); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.verify(issued.Access, api); got != "token.revoked" {
			t.Errorf("%s: reason %q", name, got)
		}
		_, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{})
		wantReason(t, name, err, "invalid_grant.dead")
		if w.count(sallyport.EventTokenRevoked) != 1 {
			t.Errorf("%s: %d events", name, w.count(sallyport.EventTokenRevoked))
		}
		fresh, err := access.NewVerifier(access.VerifierConfig{Issuer: external, Keys: w.keys.Current})
		if err != nil {
			t.Fatal(err)
		}
		revoked, err := w.issuer.Revoked(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fresh.Forget(revoked...)
		_, err = fresh.Verify(t.Context(), issued.Access, api, w.now())
		wantReason(t, name+", on another node", err, "token.revoked")
	}
	w := newWorld(t)
	if err := w.issuer.GiveBack(t.Context(), w.by("sallyport-cli"), secret.NewText("unknown"), ""); err != nil {
		t.Errorf("an unknown token: %v, want nothing", err)
	}
	if _, err := w.issuer.Revoke(t.Context(), token.Selector{}, "test"); err == nil {
		t.Error("an empty selector revokes")
	}
}

// TestNobodyGetsNothing has no family start without a proven principal.
func TestNobodyGetsNothing(t *testing.T) {
	w := newWorld(t)
	for _, who := range []sallyport.Principal{{}, {ID: "user:ana"}, {ID: "ana", Assurance: sallyport.SingleFactor}, {Assurance: sallyport.Hardware}} {
		_, err := w.codes.Authorize(t.Context(), who, codes.Ask{Client: w.by("sallyport-cli").Client, Scope: sallyport.Scope{"model.infer"}, RedirectURI: redirect, Challenge: challenge(codeVerifier)})
		if sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("Authorize(%+v) = %v, want unknown", who, err)
		}
	}
	_, err := w.codes.StartDevice(t.Context(), w.by("narrow"), codes.Ask{})
	wantReason(t, "a client without the grant", err, "unauthorized_client")
	_, err = w.issuer.Refresh(t.Context(), w.by("narrow"), secret.NewText("x"), token.Want{})
	wantReason(t, "a client without the grant", err, "unauthorized_client")
	_, err = w.codes.PollDevice(t.Context(), w.by("narrow"), secret.NewText("x"), token.Want{})
	wantReason(t, "a client without the grant", err, "unauthorized_client")
}

// TestSecretsAreKeptAsHashes looks for handed-out values in the raw database.
func TestSecretsAreKeptAsHashes(t *testing.T) {
	w := newWorld(t)
	issued, code := w.login(), w.code()
	row, family, err := w.store.FindRefresh(t.Context(), token.HashOf(issued.Refresh.Reveal()))
	if err != nil || family.ID != issued.Family.ID || strings.Contains(string(row.Hash[:]), issued.Refresh.Reveal()) {
		t.Errorf("FindRefresh = %+v, %v", row, err)
	}
	for _, e := range w.events {
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []secret.Text{issued.Access, issued.Refresh, code} {
			if strings.Contains(string(b), s.Reveal()) {
				t.Errorf("an event holds a secret: %s", b)
			}
		}
	}
}

// TestRevokedWhileIssuing revokes a family between the decision to issue and the issue: nothing comes out of it.
func TestRevokedWhileIssuing(t *testing.T) {
	w := newWorld(t)
	issued, code := w.login(), w.code()
	w.issuer.Record = func(ctx context.Context, e sallyport.Event) error {
		if e.Type == sallyport.EventTokenIssued {
			if _, err := w.store.RevokeFamilies(ctx, token.Selector{Family: e.Asked.Family}, w.now(), "test"); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := w.issuer.Refresh(t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{})
	wantReason(t, "refresh", err, "invalid_grant.dead")
	_, err = w.codes.Exchange(t.Context(), w.by("sallyport-cli"), redeem(code), token.Want{})
	wantReason(t, "exchange", err, "invalid_grant.dead")
	if got := len(registered(w)); got != 4 {
		t.Errorf("%d clients, want 4", got)
	}
}
