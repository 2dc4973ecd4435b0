package client_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
)

func TestLoginKeepsTokensForTheOwnerOnly(t *testing.T) {
	f := newFake(t)
	c, cfg := f.signedIn(t)
	who, err := c.Who(t.Context())
	if err != nil || who.ID != "user:ana" {
		t.Fatalf("Who = %v, %v", who.ID, err)
	}
	if f.refreshes != 0 {
		t.Error("the first token was not used")
	}
	for path, want := range map[string]fs.FileMode{cfg.Store.Dir: 0o700 | fs.ModeDir, filepath.Join(cfg.Store.Dir, "credentials.json"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	l, err := cfg.Store.Current()
	if err != nil || l.Server != f.URL || l.CAFile != f.ca {
		t.Errorf("Current = %+v, %v", l, err)
	}
}

func TestLoginRefusesAnswersOfOthers(t *testing.T) {
	f := newFake(t)
	tests := []struct {
		name   string
		change func(q url.Values)
		want   string
	}{
		{"another issuer", func(q url.Values) { q.Set("iss", "https://evil.example") }, "another server"},
		{"no issuer", func(q url.Values) { q.Del("iss") }, "another server"},
		{"two issuers", func(q url.Values) { q.Add("iss", "https://evil.example") }, "another server"},
		{"no code", func(q url.Values) { q.Del("code") }, "no code"},
		{"refused", func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, "refused in the browser"},
		{"another's code", func(q url.Values) { q.Set("code", "stolen") }, "invalid_grant"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := client.New(f.config(t))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Login(t.Context(), client.LoginOptions{Open: f.tampering(test.change)})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Login = %v, want %q", err, test.want)
			}
		})
	}
}

// tampering is a browser under somebody else's influence: it changes what the server sends back.
func (f *fake) tampering(change func(url.Values)) func(context.Context, string) error {
	return func(ctx context.Context, address string) error {
		h := f.Client()
		h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		answer, err := h.Get(address)
		if err != nil {
			return err
		}
		answer.Body.Close()
		back, err := answer.Location()
		if err != nil {
			return err
		}
		q := back.Query()
		change(q)
		back.RawQuery = q.Encode()
		answer, err = h.Get(back.String())
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
}

func TestLoginWaitsThroughWhatIsNotItsOwn(t *testing.T) {
	f := newFake(t)
	c, err := client.New(f.config(t))
	if err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context, address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		back := u.Query().Get("redirect_uri")
		for _, noise := range []string{"?state=guess&code=x&iss=" + url.QueryEscape(f.URL), "", "/../other"} {
			answer, err := f.Client().Get(back + noise)
			if err != nil {
				return err
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusBadRequest {
				t.Errorf("%q was answered with %d", noise, answer.StatusCode)
			}
		}
		return f.browse(ctx, address)
	}
	if err := c.Login(t.Context(), client.LoginOptions{Open: open}); err != nil {
		t.Fatal(err)
	}
}

func TestLoginAsksForTheLevel(t *testing.T) {
	f := newFake(t)
	c, err := client.New(f.config(t))
	if err != nil {
		t.Fatal(err)
	}
	open := func(ctx context.Context, address string) error {
		u, _ := url.Parse(address)
		if q := u.Query(); q.Get("acr_values") != "aal2" || q.Get("max_age") != "0" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "model.read" {
			t.Errorf("asked %v", q)
		}
		return f.browse(ctx, address)
	}
	if err := c.Login(t.Context(), client.LoginOptions{Open: open, Assurance: sallyport.MultiFactor, Scope: sallyport.Scope{"model.read"}}); err != nil {
		t.Fatal(err)
	}
}

func TestServerThatNamesItselfOtherwiseIsRefused(t *testing.T) {
	f := newFake(t)
	f.issuer = "https://evil.example"
	c, err := client.New(f.config(t))
	if err != nil {
		t.Fatal(err)
	}
	open := func(context.Context, string) error { t.Error("the browser was opened"); return nil }
	if err := c.Login(t.Context(), client.LoginOptions{Open: open}); err == nil || !strings.Contains(err.Error(), "calls itself") {
		t.Errorf("Login = %v", err)
	}
}

func TestDeviceLoginWaitsAndSlowsDown(t *testing.T) {
	f := newFake(t)
	c, err := client.New(f.config(t))
	if err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	c.SetPause(func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil })
	var shown client.DeviceCode
	if err := c.LoginDevice(t.Context(), client.LoginOptions{Show: func(d client.DeviceCode) { shown = d }}); err != nil {
		t.Fatal(err)
	}
	if shown.Code != "BCDF-GHJK" || len(waits) != 3 || waits[1] != 5*time.Second || waits[2] != 10*time.Second {
		t.Errorf("shown %+v, waited %v", shown, waits)
	}
	if _, err := c.Who(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestParallelCallsSpendOneRefreshToken runs many clients on one directory, as many processes would.
func TestParallelCallsSpendOneRefreshToken(t *testing.T) {
	f := newFake(t)
	_, cfg := f.signedIn(t)
	f.mu.Lock()
	clear(f.access) // the server forgot the access tokens: everybody needs a new one now
	f.mu.Unlock()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			own := cfg
			own.Store = &client.Store{Dir: cfg.Store.Dir}
			c, err := client.New(own)
			if err == nil {
				_, err = c.Who(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.dead || f.refreshes != 1 {
		t.Errorf("%d refreshes, family dead %v, want 1 and false", f.refreshes, f.dead)
	}
}

func TestTokensEndEarlyAndPerDoor(t *testing.T) {
	f := newFake(t)
	now := time.Now()
	cfg := f.config(t)
	cfg.Store.Clock = func() time.Time { return now }
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Login(t.Context(), client.LoginOptions{Open: f.browse}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(575 * time.Second) // of 600: too near to its end to begin with
	if _, err := c.Who(t.Context()); err != nil || f.refreshes != 1 {
		t.Errorf("%v, %d refreshes, want 1", err, f.refreshes)
	}
	hub, until, err := c.Token(t.Context(), client.Hub, sallyport.Scope{"model.infer@acme/fraud"})
	if err != nil || f.access[hub.Reveal()] != f.URL+"/hf" || until.Sub(now) > 600*time.Second {
		t.Errorf("Token = %v, %v", until, err)
	}
	if _, err := c.Who(t.Context()); err != nil || f.refreshes != 2 {
		t.Errorf("%v, %d refreshes: the API's own token was thrown away", err, f.refreshes)
	}
}

func TestAnEndedLoginSaysSo(t *testing.T) {
	f := newFake(t)
	c, cfg := f.signedIn(t)
	f.mu.Lock()
	clear(f.access)
	f.dead = true
	f.mu.Unlock()
	_, err := c.Who(t.Context())
	wantExit(t, err, client.ExitStepUp, "sallyport login")
	if _, err := cfg.Store.Current(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead login is still there: %v", err)
	}
}

func TestLogoutGivesTheLoginBack(t *testing.T) {
	f := newFake(t)
	c, cfg := f.signedIn(t)
	if err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !f.dead {
		t.Error("the server still holds the family")
	}
	if logins, err := cfg.Store.Logins(); err != nil || len(logins) != 0 {
		t.Errorf("Logins = %v, %v", logins, err)
	}
	_, err := c.Who(t.Context())
	wantExit(t, err, client.ExitStepUp, "not signed in")
}

func TestCredentialsThatOthersMayReadAreRefused(t *testing.T) {
	f := newFake(t)
	c, cfg := f.signedIn(t)
	if err := os.Chmod(filepath.Join(cfg.Store.Dir, "credentials.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Who(t.Context()); err == nil || !strings.Contains(err.Error(), "read by others") {
		t.Errorf("Who = %v", err)
	}
}

// wantExit checks the exit code of an Error, and a part of its text.
func wantExit(t *testing.T, err error, code int, part string) {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.ExitCode() != code || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want exit code %d and %q", err, code, part)
	}
}
