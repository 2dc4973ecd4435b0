package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"

	"sallyport"
	"sallyport/client"
)

func splitSeq(s string) iter.Seq[string] { return strings.FieldsSeq(s) }

// A person has a browser, an authenticator and the command line's logins.
type person struct {
	system   *system
	id       sallyport.PrincipalID
	web      *http.Client // with cookies
	password string
	secret   string // of the authenticator, base32
	step     uint64 // of the last code: none is good twice
	store    *client.Store
	client   *client.Client
	tokens   map[client.Door]string
}

// person returns somebody of the directory, enrolled and signed in.
func (s *system) person(ctx context.Context, name string) (*person, error) {
	s.mu.Lock()
	p, adam := s.people[name], s.people["adam"]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := s.newPerson(name)
	if err != nil {
		return nil, err
	}
	link, err := adam.client.Enrol(ctx, p.id)
	if err != nil {
		return nil, err
	}
	if err := p.enrol(ctx, link.Link); err != nil {
		return nil, err
	}
	if err := p.firstLogin(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[name] = p
	return p, nil
}

// newPerson gives somebody a machine of their own.
func (s *system) newPerson(name string) (*person, error) {
	p := &person{system: s, id: sallyport.PrincipalID("user:" + name), password: s.canaries.add("password of " + name), tokens: map[client.Door]string{},
		store: &client.Store{Dir: filepath.Join(s.dir, "people", name)}}
	web, err := s.wire()
	if err != nil {
		return nil, err
	}
	if web.Jar, err = cookiejar.New(nil); err != nil {
		return nil, err
	}
	p.web = web
	command, err := s.wire()
	if err != nil {
		return nil, err
	}
	p.client, err = client.New(client.Config{Server: s.server.External(), HTTP: command, Store: p.store})
	return p, err
}

// wire is a client that trusts the server's own CA, follows nothing, and takes in
// little that it does not read.
func (s *system) wire() (*http.Client, error) {
	pem, err := os.ReadFile(s.server.CA())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in the CA file")
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = errors.Join(err, tcp.SetReadBuffer(64<<10))
		}
		return conn, err
	}
	return &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &tapped{canaries: s.canaries, Transport: &http.Transport{DialContext: dial, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13, Time: s.clock.Now}}}}, nil
}

// A page is what a browser shows: where it is, its forms' fields and its text.
type page struct {
	status int
	path   string
	text   string
	away   *url.URL // where it leads when that is another server
}

var (
	inputs   = regexp.MustCompile(`<input[^>]*>`)
	tagNames = regexp.MustCompile(`\bname="([^"]*)"`)
	values   = regexp.MustCompile(`\bvalue="([^"]*)"`)
	secrets  = regexp.MustCompile(`id="secret">([^<]*)<`)
)

// fields are what the form that goes to action already holds.
func (p page) fields(action string) url.Values {
	_, rest, ok := strings.Cut(p.text, `action="`+action+`"`)
	if !ok {
		return nil
	}
	form, _, _ := strings.Cut(rest, "</form>")
	all := url.Values{}
	for _, input := range inputs.FindAllString(form, -1) {
		if name := tagNames.FindStringSubmatch(input); name != nil {
			all.Set(html.UnescapeString(name[1]), "")
			if value := values.FindStringSubmatch(input); value != nil {
				all.Set(html.UnescapeString(name[1]), html.UnescapeString(value[1]))
			}
		}
	}
	return all
}

// open goes to an address and follows redirects, as long as they stay on the server.
func (p *person) open(ctx context.Context, address string) (page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return page{}, err
	}
	return p.browse(r)
}

func (p *person) browse(r *http.Request) (page, error) {
	for range 10 {
		a, err := p.web.Do(r)
		if err != nil {
			return page{}, err
		}
		body, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
		a.Body.Close()
		if err != nil {
			return page{}, err
		}
		next, err := a.Location()
		if err != nil {
			return page{status: a.StatusCode, path: a.Request.URL.Path, text: string(body)}, nil
		}
		if next.Host != a.Request.URL.Host {
			return page{status: a.StatusCode, path: a.Request.URL.Path, text: string(body), away: next}, nil
		}
		if r, err = http.NewRequestWithContext(r.Context(), http.MethodGet, next.String(), nil); err != nil {
			return page{}, err
		}
	}
	return page{}, errors.New("the pages lead in a circle")
}

// send fills in a form of a page.
func (p *person) send(ctx context.Context, on page, action string, fill map[string]string) (page, error) {
	form := on.fields(action)
	if form == nil {
		return on, fmt.Errorf("the page %s (%d) has no form for %s: %.300s", on.path, on.status, action, on.text)
	}
	for name, value := range fill {
		form.Set(name, value)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.system.server.External()+action, strings.NewReader(form.Encode()))
	if err != nil {
		return on, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", p.system.server.External())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.browse(r)
}

// code is a code of the authenticator that was not used yet. When the present step
// and the next are used, the clock goes on.
func (p *person) code(ctx context.Context) (string, error) {
	now := uint64(p.system.clock.Now().Unix()) / 30
	if p.step > now {
		if err := p.system.pass(ctx, 30*time.Second); err != nil {
			return "", err
		}
	}
	p.step = max(now, p.step+1)
	code, err := hotp.GenerateCode(p.secret, p.step)
	return code, err
}

// landing is where a sign-in ends that was for nothing in particular.
const landing = "/home"

// enrol goes through the pages behind a one-time link.
func (p *person) enrol(ctx context.Context, link string) error {
	p.system.canaries.note("enrolment link of "+p.id.Name(), filepath.Base(link))
	at, err := p.open(ctx, link)
	if err != nil {
		return err
	}
	if at, err = p.send(ctx, at, "/enrol", map[string]string{"password": p.password, "again": p.password}); err != nil {
		return err
	}
	found := secrets.FindStringSubmatch(at.text)
	if found == nil {
		return fmt.Errorf("no authenticator secret on the page %s: %.300s", at.path, at.text)
	}
	p.secret = strings.ReplaceAll(found[1], " ", "")
	p.system.canaries.note("authenticator of "+p.id.Name(), p.secret)
	if raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(p.secret); err == nil {
		p.system.canaries.note("authenticator of "+p.id.Name()+", raw", string(raw))
	}
	code, err := p.code(ctx)
	if err != nil {
		return err
	}
	if at, err = p.send(ctx, at, "/enrol/code", map[string]string{"code": code}); err == nil && at.path != landing {
		err = fmt.Errorf("enrolment of %s ended on %s: %.300s", p.id, at.path, at.text)
	}
	p.noteCookies()
	return err
}

// noteCookies keeps the secrets of the browser, to look for them where they must
// not be.
func (p *person) noteCookies() {
	if u, err := url.Parse(p.system.server.External()); err == nil {
		for _, c := range p.web.Jar.Cookies(u) {
			p.system.canaries.note("cookie of "+p.id.Name(), c.Value)
		}
	}
}

// signIn signs the browser in with password and code.
func (p *person) signIn(ctx context.Context, at page) (page, error) {
	at, err := p.send(ctx, at, "/login", map[string]string{"username": p.id.Name(), "password": p.password})
	if err != nil {
		return at, err
	}
	code, err := p.code(ctx)
	if err != nil {
		return at, err
	}
	at, err = p.send(ctx, at, "/login/code", map[string]string{"code": code})
	p.noteCookies()
	return at, err
}

// login signs the command line in: the authorization code flow with PKCE, and the
// person's consent in the browser.
func (p *person) login(ctx context.Context) error {
	clear(p.tokens)
	err := p.client.Login(ctx, client.LoginOptions{Open: func(ctx context.Context, address string) error {
		at, err := p.open(ctx, address)
		if err == nil && at.path == "/login" {
			at, err = p.signIn(ctx, at)
		}
		if err == nil {
			at, err = p.send(ctx, at, "/oauth/consent", map[string]string{"decision": "approve"})
		}
		if err == nil && at.away == nil {
			err = fmt.Errorf("consent of %s ended on %s (%d): %.300s", p.id, at.path, at.status, at.text)
		}
		if err == nil {
			_, err = p.open(ctx, at.away.String())
		}
		return err
	}})
	p.system.canaries.note("refresh token of "+p.id.Name(), p.refreshToken())
	return err
}

// refreshToken is what lies in the command line's store.
func (p *person) refreshToken() string {
	text, err := os.ReadFile(filepath.Join(p.store.Dir, "credentials.json"))
	if err != nil {
		return ""
	}
	var kept struct {
		Logins map[string]struct {
			Refresh string `json:"refresh"`
		} `json:"logins"`
	}
	if json.Unmarshal(text, &kept) != nil {
		return ""
	}
	return kept.Logins[p.system.server.External()].Refresh
}

// token is an access token for a door.
func (p *person) token(ctx context.Context, d client.Door) (string, error) {
	if t := p.tokens[d]; t != "" {
		return t, nil
	}
	t, _, err := p.client.Token(ctx, d, nil)
	if err != nil {
		return "", err
	}
	p.system.canaries.note("access token of "+p.id.Name(), t.Reveal())
	p.system.canaries.note("refresh token of "+p.id.Name(), p.refreshToken())
	p.tokens[d] = t.Reveal()
	return p.tokens[d], nil
}
