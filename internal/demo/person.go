package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/plumbing/secret"
)

// A person has a browser, an authenticator app, and the command line with its logins.
type person struct {
	id       sallyport.PrincipalID
	server   string
	browser  *browser
	app      authenticator
	password secret.Text
	store    *client.Store
	client   *client.Client
	tokens   map[client.Door]secret.Text // of the stock clients
	proved   time.Time                   // when the person last showed a code
}

// newPerson gives somebody their machine.
func newPerson(name string, st *stage) (*person, error) {
	b, err := newBrowser(st.server.CA())
	if err != nil {
		return nil, err
	}
	p := &person{id: sallyport.PrincipalID("user:" + name), server: st.server.External(), browser: b,
		password: secret.NewText("quay " + rand.Text()), store: &client.Store{Dir: st.path("people", name, "sallyport")}, tokens: map[client.Door]secret.Text{}}
	p.client, err = client.New(client.Config{Server: p.server, CAFile: st.server.CA(), Store: p.store})
	return p, err
}

// enrol opens the one-time link and follows its pages: a password, the app, its first code.
func (p *person) enrol(ctx context.Context, link string) error {
	at, err := p.browser.open(ctx, link)
	if err != nil {
		return err
	}
	if at, err = p.browser.send(ctx, at, "/enrol", map[string]string{"password": p.password.Reveal(), "again": p.password.Reveal()}); err != nil {
		return err
	}
	p.app = authenticator{key: strings.ReplaceAll(at.texts["secret"], " ", "")}
	code, err := p.app.code(ctx)
	if err != nil {
		return err
	}
	if at, err = p.browser.send(ctx, at, "/enrol/code", map[string]string{"code": code}); err != nil {
		return err
	}
	if at.texts["account"] != p.id.Name() {
		return fmt.Errorf("enrolment ended on %s, which says: %s", at.at.Path, at.main)
	}
	p.proved = time.Now()
	return nil
}

// login signs the command line in: it opens the browser, where the person proves what is asked for and consents. With a
// level it is proved anew.
func (p *person) login(ctx context.Context, level sallyport.Assurance) error {
	clear(p.tokens)
	return p.client.Login(ctx, client.LoginOptions{Assurance: level, Open: p.consent})
}

// consent goes through the pages between an authorization request and its answer.
func (p *person) consent(ctx context.Context, address string) error {
	at, err := p.browser.open(ctx, address)
	if err != nil {
		return err
	}
	switch at.at.Path {
	case "/login":
		at, err = p.proveOn(ctx, at)
	case "/stepup":
		at, err = p.stepUpOn(ctx, at)
	}
	if err != nil {
		return err
	}
	if at.texts["principal"] != string(p.id) {
		return fmt.Errorf("the consent page is for %q", at.texts["principal"])
	}
	_, err = p.browser.send(ctx, at, "/oauth/consent", map[string]string{"decision": "approve"})
	return err
}

// proveOn fills in the sign-in pages.
func (p *person) proveOn(ctx context.Context, at *page) (*page, error) {
	at, err := p.browser.send(ctx, at, "/login", map[string]string{"username": p.id.Name(), "password": p.password.Reveal()})
	if err != nil {
		return nil, err
	}
	code, err := p.app.code(ctx)
	if err != nil {
		return nil, err
	}
	return p.browser.send(ctx, at, "/login/code", map[string]string{"code": code})
}

// stepUpOn proves the person again in the session that the browser has.
func (p *person) stepUpOn(ctx context.Context, at *page) (*page, error) {
	code, err := p.app.code(ctx)
	if err != nil {
		return nil, err
	}
	return p.browser.send(ctx, at, "/stepup", map[string]string{"code": code})
}

// token returns a token for one door, as 'sallyport env' puts it into the environment of stock clients.
func (p *person) token(ctx context.Context, d client.Door) (secret.Text, error) {
	if t, ok := p.tokens[d]; ok {
		return t, nil
	}
	t, _, err := p.client.Token(ctx, d, nil)
	if err == nil {
		p.tokens[d] = t
	}
	return t, err
}

// refreshToken is what a thief finds who copies the person's files.
func (p *person) refreshToken() (secret.Text, error) {
	text, err := os.ReadFile(filepath.Join(p.store.Dir, "credentials.json"))
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
	if kept.Logins[p.server].Refresh == "" {
		return secret.Text{}, errors.New("no refresh token is kept")
	}
	return secret.NewText(kept.Logins[p.server].Refresh), nil
}

// An authenticator is the person's app: TOTP (RFC 6238) of SHA-1, six digits, thirty seconds.
type authenticator struct {
	key  string // base32
	last uint64 // the time step of the last code: no code is good twice
}

const period = 30 * time.Second

// code returns a code that was not used before. It may be the one of the next step, for clocks differ; when that is used
// too, it waits for time to pass.
func (a *authenticator) code(ctx context.Context) (string, error) {
	if a.key == "" {
		return "", errors.New("the authenticator app is not set up")
	}
	now := func() uint64 { return uint64(time.Now().Unix()) / uint64(period/time.Second) }
	step := max(now(), a.last+1)
	for step > now()+1 {
		if err := pause(ctx, time.Second); err != nil {
			return "", err
		}
	}
	a.last = step
	return hotp.GenerateCode(a.key, step)
}
