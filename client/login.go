package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
)

// loginTime is how long a person has to sign in.
const loginTime = 10 * time.Minute

// LoginOptions say what a login shall be good for.
type LoginOptions struct {
	Assurance sallyport.Assurance // at least, and proved anew; zero: whatever the server demands
	Scope     sallyport.Scope     // nil: everything that policy gives the person
	// Open shows the person the address at which they sign in, for example in a browser. Needed by Login.
	Open func(ctx context.Context, address string) error
	// Show tells the person where to type which code. Needed by LoginDevice.
	Show func(DeviceCode)
}

// A DeviceCode is what a person types on another machine.
type DeviceCode struct {
	Address  string        // where
	Code     string        // what
	Complete string        // the address with the code in it
	Life     time.Duration // how long the code is good
}

func (o LoginOptions) form() url.Values {
	form := url.Values{"client_id": {clientID}, "scope": {"*"}}
	if len(o.Scope) > 0 {
		form.Set("scope", o.Scope.String())
	}
	return form
}

// Login signs a person in with their browser on this machine: authorization code with PKCE (S256), answered to a
// loopback address. State and issuer of the answer are checked. The login is kept in the Store, if there is one.
func (c *Client) Login(ctx context.Context, o LoginOptions) error {
	const op = "sign in"
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	m, err := c.discover(ctx)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, "no port for the answer; use --no-browser", err)
	}
	verifier, state := random(), random()
	sum := sha256.Sum256([]byte(verifier))
	redirect := "http://" + l.Addr().String() + "/callback"
	form := o.form()
	for name, value := range map[string]string{
		"response_type": "code", "redirect_uri": redirect, "state": state,
		"code_challenge_method": "S256", "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]),
	} {
		form.Set(name, value)
	}
	if o.Assurance != sallyport.NoAssurance {
		form.Set("acr_values", o.Assurance.String())
		form.Set("max_age", "0") // proved now: a policy may ask for a fresh proof of a level that the session has
	}
	back := callback{host: l.Addr().String(), state: state, issuer: m.Issuer, answer: make(chan answer, 1)}
	server := httpsafe.Server(&back, nil, slog.New(slog.DiscardHandler))
	go server.Serve(l)
	defer server.Close()
	if err := o.Open(ctx, m.Authorize+"?"+form.Encode()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return sallyport.Wrap(op, sallyport.Invalid, "nobody signed in within "+loginTime.String(), ctx.Err())
	case a := <-back.answer:
		defer server.Shutdown(context.WithoutCancel(ctx)) // the browser gets its page
		if a.err != nil {
			return a.err
		}
		return c.exchange(ctx, m, url.Values{"grant_type": {"authorization_code"}, "code": {a.code}, "redirect_uri": {redirect}, "code_verifier": {verifier}})
	}
}

// exchange gets the first tokens and keeps them.
func (c *Client) exchange(ctx context.Context, m metadata, form url.Values) error {
	form.Set("resource", c.Audience(API))
	t, err := c.grant(ctx, m.Token, form)
	if err != nil || c.cfg.Store == nil {
		return err
	}
	login := Login{Server: c.server, CAFile: c.cfg.CAFile, Plaintext: c.cfg.Plaintext}
	if c.cfg.Key != nil {
		login.Bound = c.cfg.Key.Thumbprint()
	}
	return c.cfg.Store.keep(ctx, login, t, c.Audience(API))
}

// random is 256 bits, 43 characters.
func random() string {
	var b [32]byte
	_, _ = io.ReadFull(rand.Reader, b[:]) // never fails: the runtime ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// answer is what came back over the browser.
type answer struct {
	code string
	err  error
}

// callback is the page to which the server sends the browser back.
type callback struct {
	host, state, issuer string
	answer              chan answer
}

// ServeHTTP takes the first answer to our own question. What carries another state is not ours: it is refused, and the
// wait goes on, so that no other page can end the login.
func (b *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close")
	q := r.URL.Query()
	if r.Host != b.host || r.Method != http.MethodGet || r.URL.Path != "/callback" || len(q["state"]) != 1 || q.Get("state") != b.state {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "This is not the answer that was waited for.\n")
		return
	}
	a := b.read(q)
	text := "You are signed in. Close this page and go back to your terminal.\n"
	if a.err != nil {
		w.WriteHeader(http.StatusBadRequest)
		text = "Signing in did not work. Your terminal says why.\n"
	}
	_, _ = io.WriteString(w, text)
	select {
	case b.answer <- a:
	default: // answered already
	}
}

func (b *callback) read(q url.Values) answer {
	const op = "sign in"
	switch {
	case len(q["iss"]) != 1 || q.Get("iss") != b.issuer:
		return answer{err: sallyport.E(op, sallyport.Invalid, "the answer came from another server than asked", "sign in again; if it happens again, tell your operator")}
	case q.Get("error") == "access_denied":
		return answer{err: sallyport.E(op, sallyport.Invalid, "it was refused in the browser", "sign in again to change your mind")}
	case q.Get("error") != "":
		return answer{err: oauthRefusal(q)}
	case len(q["code"]) != 1 || q.Get("code") == "":
		return answer{err: sallyport.E(op, sallyport.Invalid, "the answer holds no code", "sign in again")}
	}
	return answer{code: q.Get("code")}
}

func oauthRefusal(q url.Values) error {
	text := q.Get("error_description")
	if text == "" {
		text = q.Get("error")
	}
	return sallyport.E("sign in", sallyport.Invalid, sallyport.OneLine(text), "")
}

// LoginDevice signs a person in with a browser on another machine (RFC 8628).
func (c *Client) LoginDevice(ctx context.Context, o LoginOptions) error {
	m, err := c.discover(ctx)
	if err != nil {
		return err
	}
	var d struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
		Address  string `json:"verification_uri"`
		Complete string `json:"verification_uri_complete"`
		Expires  int64  `json:"expires_in"`
		Interval int64  `json:"interval"`
	}
	if err := c.form(ctx, "sign in", m.Device, o.form(), &d); err != nil {
		return err
	}
	life := time.Duration(min(max(d.Expires, 1), 3600)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	o.Show(DeviceCode{Address: sallyport.OneLine(d.Address), Code: sallyport.OneLine(d.UserCode), Complete: sallyport.OneLine(d.Complete), Life: life})
	wait := time.Duration(min(max(d.Interval, 1), 60)) * time.Second
	for {
		if err := c.pause(ctx, wait); err != nil {
			return sallyport.Wrap("sign in", sallyport.Invalid, "the code was not used in time; sign in again", err)
		}
		err := c.exchange(ctx, m, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.Code}})
		e, _ := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return nil
		case e == nil:
			return err
		case e.API.Kind == "authorization_pending" || e.API.Status == 0 && e.passing():
		case e.API.Kind == "slow_down":
			wait += 5 * time.Second
		case e.API.Kind == "access_denied":
			return sallyport.E("sign in", sallyport.Invalid, "it was refused in the browser", "sign in again to change your mind")
		default:
			return err
		}
	}
}
