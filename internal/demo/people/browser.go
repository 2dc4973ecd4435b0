package people

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxPage bounds what is read of a page.
const maxPage = 1 << 20

// A Browser opens pages and sends their forms, as people do: with cookies, without scripts.
type Browser struct{ http *http.Client }

// NewBrowser makes a browser that trusts the authority of a file, or with "" those of the system.
func NewBrowser(caFile string) (*Browser, error) {
	transport, err := Trusting(caFile)
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	return &Browser{http: &http.Client{Transport: transport, Jar: jar, Timeout: time.Minute}}, err
}

// Trusting makes a transport that trusts the authority of a file and no other, or with "" those of the system.
func Trusting(caFile string) (*http.Transport, error) {
	if caFile == "" {
		return new(http.Transport), nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: false}, nil
}

// A Page is what a person sees: forms, and the texts of elements with an id.
type Page struct {
	At    *url.URL
	Texts map[string]string // by id
	Main  string            // all its text
	forms []form
}

// A form is where it goes and what it holds.
type form struct {
	action string
	fields url.Values
}

// Open follows a link.
func (b *Browser) Open(ctx context.Context, address string) (*Page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return b.read(r)
}

// Send fills in a form of a page and sends it.
func (b *Browser) Send(ctx context.Context, p *Page, action string, fill map[string]string) (*Page, error) {
	for _, f := range p.forms {
		if f.action != action {
			continue
		}
		for name, value := range fill {
			f.fields.Set(name, value)
		}
		to, err := p.At.Parse(action)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(f.fields.Encode()))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", p.At.Scheme+"://"+p.At.Host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		return b.read(r)
	}
	return nil, fmt.Errorf("the page %s has no form for %s, it says: %s", p.At.Path, action, p.Main)
}

// read sends a request, follows where it leads, and reads the page.
func (b *Browser) read(r *http.Request) (*Page, error) {
	answer, err := b.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	p := &Page{At: answer.Request.URL, Texts: map[string]string{}}
	if kind := answer.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/html") {
		if err := p.parse(io.LimitReader(answer.Body, maxPage)); err != nil {
			return nil, fmt.Errorf("the page %s cannot be read: %w", p.At.Path, err)
		}
	}
	if answer.StatusCode != http.StatusOK {
		return p, fmt.Errorf("the page %s answers %s: %s", p.At.Path, answer.Status, p.Main)
	}
	return p, nil
}

// parse reads forms and texts. Our pages are HTML 5 of the plain kind, which a lenient XML decoder reads.
func (p *Page) parse(from io.Reader) error {
	dec := xml.NewDecoder(from)
	dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var ids []string // of the open elements
	var words []string
	within := 0 // open elements below main
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			p.Main = strings.Join(words, " ")
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			p.element(t)
			ids = append(ids, attribute(t, "id"))
			if within > 0 || t.Name.Local == "main" {
				within++
			}
		case xml.EndElement:
			ids = ids[:max(len(ids)-1, 0)]
			within = max(within-1, 0)
		case xml.CharData:
			text := strings.Join(strings.Fields(string(t)), " ")
			if within > 0 && text != "" {
				words = append(words, text)
			}
			if len(ids) > 0 && ids[len(ids)-1] != "" {
				p.Texts[ids[len(ids)-1]] += text
			}
		}
	}
}

// element notes a form, or a field of the last one.
func (p *Page) element(t xml.StartElement) {
	switch t.Name.Local {
	case "form":
		p.forms = append(p.forms, form{action: attribute(t, "action"), fields: url.Values{}})
	case "input":
		if name := attribute(t, "name"); name != "" && len(p.forms) > 0 {
			p.forms[len(p.forms)-1].fields.Set(name, attribute(t, "value"))
		}
	}
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
