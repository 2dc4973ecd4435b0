package bench

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"time"

	"github.com/pquerna/otp/totp"
)

// A browser fills in the forms of the server's pages, as a person would.
type browser struct{ http *http.Client }

func newBrowser(transport http.RoundTripper) (*browser, error) {
	jar, err := cookiejar.New(nil)
	return &browser{&http.Client{Transport: transport, Jar: jar, Timeout: patience}}, err
}

// maxPage bounds what is read of a page.
const maxPage = 1 << 20

// do sends a request, follows to the last page and returns its text.
func (b *browser) do(ctx context.Context, method, address string, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if form != nil {
		req, err = newForm(ctx, address, form)
	}
	if err != nil {
		return "", err
	}
	answer, err := b.http.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxPage))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, answer.Request.URL.Path, answer.Status)
	}
	return string(text), err
}

// enrol follows a one-time link and chooses a password and a code generator.
func (b *browser) enrol(ctx context.Context, link string) error {
	at, err := url.Parse(link)
	if err != nil {
		return err
	}
	if _, err := b.do(ctx, http.MethodGet, link, nil); err != nil {
		return err
	}
	const password = "measured twice, cut once, twice more"
	page, err := b.do(ctx, http.MethodPost, on(at, "/enrol"), url.Values{"password": {password}, "again": {password}})
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`secret=([A-Z2-7]+)`).FindStringSubmatch(html.UnescapeString(page))
	if found == nil {
		return errors.New("the page shows no code generator")
	}
	code, err := totp.GenerateCode(found[1], time.Now())
	if err != nil {
		return err
	}
	_, err = b.do(ctx, http.MethodPost, on(at, "/enrol/code"), url.Values{"code": {code}})
	return err
}

// consent opens the page that asks whether a program may act for the person, and
// allows it. The browser must be signed in.
func (b *browser) consent(ctx context.Context, address string) error {
	page, err := b.do(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	at, err := url.Parse(address)
	if err != nil {
		return err
	}
	form := url.Values{"decision": {"approve"}}
	for _, m := range regexp.MustCompile(`name="(request|mark)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	action := regexp.MustCompile(`<form method="post" action="([^"]+)">\s*<input type="hidden" name="request"`).FindStringSubmatch(page)
	if action == nil {
		return errors.New("the page asks for no consent")
	}
	_, err = b.do(ctx, http.MethodPost, on(at, html.UnescapeString(action[1])), form)
	return err
}

// on is a path on the server of an address.
func on(at *url.URL, path string) string { return at.Scheme + "://" + at.Host + path }
