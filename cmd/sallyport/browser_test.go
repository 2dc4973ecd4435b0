package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"sallyport/internal/plumbing/softkey"
)

// browser is a program of its own in the scripts: the person behind $PERSON with a browser and an authenticator app. It
// opens the address it is given, follows the pages to their end, and remembers cookies and the app in $PERSON.
func browser() {
	if err := browse(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

// memory is what the person's machine remembers.
type memory struct {
	Name, Password, Key string
	Step                uint64 // of the last code: none is good twice
	Cookies             map[string]string
}

func browse(address string) error {
	var m memory
	text, err := os.ReadFile(os.Getenv("PERSON"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
	}
	b, err := newVisit(address, &m)
	if err != nil {
		return err
	}
	if err := b.follow(address); err != nil {
		return err
	}
	for _, c := range b.http.Jar.Cookies(b.home) {
		m.Cookies[c.Name] = c.Value
	}
	text, err = json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("PERSON"), text, 0o600)
}

// visit is one use of the browser.
type visit struct {
	http *http.Client
	home *url.URL
	m    *memory
}

func newVisit(address string, m *memory) (*visit, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(os.Getenv("CA"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	home := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	var cookies []*http.Cookie
	for name, value := range m.Cookies {
		cookies = append(cookies, &http.Cookie{Name: name, Value: value, Path: "/", Secure: true})
	}
	jar.SetCookies(home, cookies)
	if m.Cookies == nil {
		m.Cookies = map[string]string{}
	}
	return &visit{home: home, m: m, http: &http.Client{Jar: jar, Timeout: 30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}, nil
}

// follow fills in page after page until one has no form that it knows.
func (v *visit) follow(address string) error {
	at, body, err := v.get(address)
	for err == nil {
		switch {
		case at.Path == "/stepup":
			at, body, err = v.passkey(at.Query().Get("return"))
		case strings.Contains(body, `action="/enrol"`):
			v.m.Name, v.m.Password = text(body, "account"), "the password of "+text(body, "account")+" is long"
			at, body, err = v.post(body, "/enrol", map[string]string{"password": v.m.Password, "again": v.m.Password})
		case strings.Contains(body, `action="/enrol/code"`):
			v.m.Key = strings.ReplaceAll(text(body, "secret"), " ", "")
			at, body, err = v.post(body, "/enrol/code", map[string]string{"code": v.code()})
		case strings.Contains(body, `action="/login"`):
			at, body, err = v.post(body, "/login", map[string]string{"username": v.m.Name, "password": v.m.Password})
		case strings.Contains(body, `action="/login/code"`):
			at, body, err = v.post(body, "/login/code", map[string]string{"code": v.code()})
		case strings.Contains(body, `action="/oauth/consent"`):
			at, body, err = v.post(body, "/oauth/consent", map[string]string{"decision": "approve"})
		case strings.Contains(body, `action="/activate"`):
			at, body, err = v.post(body, "/activate", nil)
		case strings.Contains(body, `action="/activate/decide"`):
			at, body, err = v.post(body, "/activate/decide", map[string]string{"decision": "approve"})
		default:
			return nil
		}
	}
	return err
}

func (v *visit) get(address string) (*url.URL, string, error) { return read(v.http.Get(address)) }

// passkey proves the person by a passkey, which is made for the purpose: none outlives this program.
func (v *visit) passkey(back string) (*url.URL, string, error) {
	b := softkey.Browser{HTTP: v.http, URL: v.home.Scheme + "://" + v.home.Host, Key: &softkey.Key{}}
	if err := b.Register(context.Background(), "a key"); err != nil {
		return nil, "", err
	}
	next, err := b.StepUp(context.Background(), back)
	if err != nil {
		return nil, "", err
	}
	to, err := v.home.Parse(next)
	if err != nil {
		return nil, "", err
	}
	return v.get(to.String())
}

var inputs = regexp.MustCompile(`<input [^>]*>`)

// post sends the form of a page with its fields and those that the person fills in.
func (v *visit) post(body, action string, fill map[string]string) (*url.URL, string, error) {
	at := strings.Index(body, `action="`+action+`"`)
	form, _, _ := strings.Cut(body[at:], "</form>")
	fields := url.Values{}
	for _, tag := range inputs.FindAllString(form, -1) {
		if name := attr(tag, "name"); name != "" {
			fields.Set(name, attr(tag, "value"))
		}
	}
	for name, value := range fill {
		fields.Set(name, value)
	}
	to, err := v.home.Parse(action)
	if err != nil {
		return nil, "", err
	}
	r, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", strings.TrimSuffix(v.home.String(), "/"))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return read(v.http.Do(r))
}

func read(answer *http.Response, err error) (*url.URL, string, error) {
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", answer.Request.URL.Path, answer.Status, body)
	}
	return answer.Request.URL, string(body), err
}

func attr(tag, name string) string {
	_, rest, ok := strings.Cut(tag, " "+name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return html.UnescapeString(value)
}

// text is what stands in the element with an id.
func text(body, id string) string {
	_, rest, _ := strings.Cut(body, `id="`+id+`"`)
	_, rest, _ = strings.Cut(rest, ">")
	value, _, _ := strings.Cut(rest, "<")
	return html.UnescapeString(strings.TrimSpace(value))
}

// code is the app's (RFC 6238): of this step of 30 seconds, or the next one where this one was used.
func (v *visit) code() string {
	step := max(uint64(time.Now().Unix())/30, v.m.Step+1)
	v.m.Step = step
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(v.m.Key)
	if err != nil {
		return "000000"
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&15:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}
