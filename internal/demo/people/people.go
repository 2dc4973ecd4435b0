// Package people owns people in software: each has a browser, an authenticator app (TOTP, RFC 6238), a passkey (W3C Web
// Authentication) and a command line, and uses a server through its pages as somebody at a desk would.
//
// What they do, and what must come of it, is left to the demo and the bench. It is no part of the product.
package people

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/plumbing/softkey"
)

// A House is the server that people use, and where on this machine their files lie.
type House struct {
	Server    string // external URL; passkeys want one with a name
	CAFile    string // of its authority, "" = the system's
	Plaintext bool   // http:// to a loopback address
	Dir       string // everybody has a directory of their name below it
}

// A Person has a browser, an authenticator app, a passkey, and the command line with its logins. The methods are for one
// goroutine at a time.
type Person struct {
	ID       sallyport.PrincipalID
	House    House
	Browser  *Browser
	App      App
	Key      *softkey.Key // nil until AddPasskey
	Password secret.Text
	Store    *client.Store
	Client   *client.Client
	Proved   time.Time // when the person last showed a code of the enrolment

	tokens map[client.Door]secret.Text // of the stock clients
}

// New gives somebody their machine.
func New(name string, h House) (*Person, error) {
	b, err := NewBrowser(h.CAFile)
	if err != nil {
		return nil, err
	}
	p := &Person{ID: sallyport.PrincipalID("user:" + name), House: h, Browser: b, Password: secret.NewText("quay " + rand.Text()),
		Store: &client.Store{Dir: filepath.Join(h.Dir, name, "sallyport")}, tokens: map[client.Door]secret.Text{}}
	p.Client, err = client.New(p.Config())
	return p, err
}

// Config is what the person's command line is made of.
func (p *Person) Config() client.Config {
	return client.Config{Server: p.House.Server, CAFile: p.House.CAFile, Plaintext: p.House.Plaintext, Store: p.Store}
}

// Other is the same person at another machine of theirs: another browser and command line, the same app and password.
// Codes of the two are to be taken in turns: none is good twice.
func (p *Person) Other(name string) (*Person, error) {
	o, err := New(p.ID.Name(), House{Server: p.House.Server, CAFile: p.House.CAFile, Plaintext: p.House.Plaintext, Dir: filepath.Join(p.House.Dir, name)})
	if err == nil {
		o.App, o.Key, o.Password = p.App, p.Key, p.Password
	}
	return o, err
}

// Enrol opens the one-time link and follows its pages: a password, the app, its first code.
func (p *Person) Enrol(ctx context.Context, link string) error {
	at, err := p.Browser.Open(ctx, link)
	if err != nil {
		return err
	}
	if at, err = p.Browser.Send(ctx, at, "/enrol", map[string]string{"password": p.Password.Reveal(), "again": p.Password.Reveal()}); err != nil {
		return err
	}
	p.App = App{Key: strings.ReplaceAll(at.Texts["secret"], " ", "")}
	code, err := p.App.Code(ctx)
	if err != nil {
		return err
	}
	if at, err = p.Browser.Send(ctx, at, "/enrol/code", map[string]string{"code": code}); err != nil {
		return err
	}
	if at.Texts["who"] != p.ID.Name() {
		return fmt.Errorf("enrolment ended on %s, which says: %s", at.At.Path, at.Main)
	}
	p.Proved = time.Now()
	return nil
}

// passkey is the part of the browser that speaks to the passkey.
func (p *Person) passkey() *softkey.Browser {
	return &softkey.Browser{HTTP: p.Browser.http, URL: p.House.Server, Key: p.Key}
}

// AddPasskey registers a passkey, such as a phone or a computer has. The browser is signed in.
func (p *Person) AddPasskey(ctx context.Context, label string) error {
	if p.Key == nil {
		p.Key = &softkey.Key{}
	}
	return p.passkey().Register(ctx, label)
}

// Login signs the command line in: it opens the browser, where the person proves what is asked for and consents. With a
// level it is proved anew.
func (p *Person) Login(ctx context.Context, level sallyport.Assurance) error {
	clear(p.tokens)
	return p.Client.Login(ctx, client.LoginOptions{Assurance: level, Open: p.Consent})
}

// Bind lets later logins be bound to a key of this machine, so that their tokens are of no use elsewhere.
func (p *Person) Bind(ctx context.Context) error {
	key, err := p.Store.Key(ctx, true)
	if err != nil {
		return err
	}
	c := p.Config()
	c.Key = key
	clear(p.tokens)
	p.Client, err = client.New(c)
	return err
}

// Consent goes through the pages between an authorization request and its answer.
func (p *Person) Consent(ctx context.Context, address string) error {
	at, err := p.Browser.Open(ctx, address)
	if err == nil && at.At.Path == "/login" {
		at, err = p.proveOn(ctx, at)
	}
	if err == nil && at.At.Path == "/stepup" {
		at, err = p.stepUpOn(ctx, at)
	}
	if err != nil {
		return err
	}
	if at.Texts["principal"] != string(p.ID) {
		return fmt.Errorf("the consent page is for %q: %s says %s", at.Texts["principal"], at.At.Path, at.Main)
	}
	_, err = p.Browser.Send(ctx, at, "/oauth/consent", map[string]string{"decision": "approve"})
	return err
}

// SignIn signs the browser in.
func (p *Person) SignIn(ctx context.Context) error {
	at, err := p.Browser.Open(ctx, p.House.Server+"/login")
	if err == nil && at.At.Path == "/login" {
		_, err = p.proveOn(ctx, at)
	}
	return err
}

// proveOn fills in the sign-in pages: by the passkey alone, or with password and code where there is none.
func (p *Person) proveOn(ctx context.Context, at *Page) (*Page, error) {
	if p.Key != nil {
		return p.follow(ctx, at, p.passkey().SignIn)
	}
	at, err := p.Browser.Send(ctx, at, "/login", map[string]string{"username": p.ID.Name(), "password": p.Password.Reveal()})
	if err != nil {
		return nil, err
	}
	code, err := p.App.Code(ctx)
	if err != nil {
		return nil, err
	}
	return p.Browser.Send(ctx, at, "/login/code", map[string]string{"code": code})
}

// stepUpOn proves the person again in the session that the browser has: by the passkey, or by a code where there is none.
func (p *Person) stepUpOn(ctx context.Context, at *Page) (*Page, error) {
	if p.Key == nil {
		code, err := p.App.Code(ctx)
		if err != nil {
			return nil, err
		}
		return p.Browser.Send(ctx, at, "/stepup", map[string]string{"code": code})
	}
	return p.follow(ctx, at, p.passkey().StepUp)
}

// follow proves the person by a ceremony of the page and goes where that leads.
func (p *Person) follow(ctx context.Context, at *Page, ceremony func(context.Context, string) (string, error)) (*Page, error) {
	next, err := ceremony(ctx, at.At.Query().Get("return"))
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(next)
	if err != nil {
		return nil, err
	}
	return p.Browser.Open(ctx, at.At.ResolveReference(to).String())
}

// Token returns a token for one door, as 'sallyport env' puts it into the environment of stock clients. It is the same
// until the next Login, Bind or Forget.
func (p *Person) Token(ctx context.Context, d client.Door) (secret.Text, error) {
	if t, ok := p.tokens[d]; ok {
		return t, nil
	}
	t, _, err := p.Client.Token(ctx, d, nil)
	if err == nil {
		p.tokens[d] = t
	}
	return t, err
}

// Forget lets Token get new ones.
func (p *Person) Forget() { clear(p.tokens) }

// RefreshToken is what a thief finds who copies the person's files.
func (p *Person) RefreshToken() (secret.Text, error) {
	text, err := os.ReadFile(filepath.Join(p.Store.Dir, "credentials.json"))
	if err != nil {
		return secret.Text{}, err
	}
	var kept struct {
		Logins map[string]struct {
			Refresh string `json:"refresh"`
		} `json:"logins"`
	}
	if err := json.Unmarshal(text, &kept); err != nil {
		return secret.Text{}, err
	}
	if kept.Logins[p.House.Server].Refresh == "" {
		return secret.Text{}, errors.New("no refresh token is kept")
	}
	return secret.NewText(kept.Logins[p.House.Server].Refresh), nil
}
