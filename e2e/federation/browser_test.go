//go:build e2e

package federation

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// A browser keeps cookies, follows redirects and Refresh, fills in forms, and posts forms that post themselves.
type browser struct {
	t       *testing.T
	client  *http.Client
	posting func(to string, form url.Values) // sees what is posted
	holds   string                           // end of an address to which nothing is posted; it is kept in held
	held    url.Values
}

// A page is what a browser stands on.
type page struct {
	url    *url.URL
	status int
	text   string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, client: &http.Client{Jar: loopbackJar{jar}}}
}

// A loopbackJar takes Secure cookies on plain loopback too, as browsers do.
type loopbackJar struct{ *cookiejar.Jar }

// SetCookies implements http.CookieJar.
func (j loopbackJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Secure = false
	}
	j.Jar.SetCookies(u, cookies)
}

func (b *browser) get(to string) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, to, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

// post posts a form, as another site would.
func (b *browser) post(to string, form url.Values) page {
	b.t.Helper()
	if b.posting != nil {
		b.posting(to, form)
	}
	if b.holds != "" && strings.HasSuffix(to, b.holds) {
		b.held = form
		u, err := url.Parse(to)
		if err != nil {
			b.t.Fatal(err)
		}
		return page{url: u}
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

func (b *browser) do(r *http.Request) page {
	b.t.Helper()
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		b.t.Fatal(err)
	}
	at := page{answer.Request.URL, answer.StatusCode, string(raw)}
	if to, ok := strings.CutPrefix(answer.Header.Get("Refresh"), "0; url="); ok {
		next, err := at.url.Parse(to)
		if err != nil {
			b.t.Fatal(err)
		}
		return b.get(next.String())
	}
	if strings.Contains(at.text, "submit()") { // a form that posts itself
		return b.submit(at, "")
	}
	return at
}

var (
	formTag  = regexp.MustCompile(`(?is)<form([^>]*)>(.*?)</form>`)
	inputTag = regexp.MustCompile(`(?is)<input([^>]*)>`)
	attrs    = regexp.MustCompile(`(?is)([a-z-]+)\s*=\s*["']([^"']*)["']`)
)

func attributes(tag string) map[string]string {
	all := map[string]string{}
	for _, m := range attrs.FindAllStringSubmatch(tag, -1) {
		all[strings.ToLower(m[1])] = html.UnescapeString(m[2])
	}
	return all
}

// submit fills in the form whose address contains action, and posts it.
func (b *browser) submit(at page, action string, fields ...string) page {
	b.t.Helper()
	for _, m := range formTag.FindAllStringSubmatch(at.text, -1) {
		form := attributes(m[1])
		if !strings.Contains(form["action"], action) {
			continue
		}
		to, err := at.url.Parse(form["action"])
		if err != nil {
			b.t.Fatal(err)
		}
		values := url.Values{}
		for _, in := range inputTag.FindAllStringSubmatch(m[2], -1) {
			if a := attributes(in[1]); a["name"] != "" && a["type"] != "submit" && a["type"] != "checkbox" {
				values.Set(a["name"], a["value"])
			}
		}
		for i := 0; i < len(fields); i += 2 {
			values.Set(fields[i], fields[i+1])
		}
		return b.post(to.String(), values)
	}
	b.t.Fatalf("%s (%d) has no form to %q\n%s", at.url, at.status, action, at.text)
	return page{}
}

// submitted posts the form to action where the page still shows it; a page beyond it is returned as it is.
func (b *browser) submitted(at page, action string) page {
	b.t.Helper()
	if strings.Contains(at.text, action) {
		return b.submit(at, action)
	}
	return at
}
