// Package page owns the look that all pages share: the layout in HTML, the style sheet, and the security headers that go
// with every page (Content Security Policy Level 3, RFC 9700 section 4.16).
//
// A page is plain HTML without a script: the policy permits none, neither inline nor loaded. The one exception is a page
// that names a script of our own, a file: browsers speak of passkeys to scripts only. What stands on a page, and
// who may see it, is for the door that writes it.
package page

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
)

//go:embed layout.html static/style.css static/icon.svg
var files embed.FS

var formSource = regexp.MustCompile(`^https?://[a-z0-9.-]+(:([0-9]+|\*))?$`)

// A Set holds the pages of one door. It is safe for concurrent use.
type Set struct {
	pages  map[string]*template.Template
	policy string
}

// A View is what one page shows.
type View struct {
	Who  string // the name of who is signed in; "" leaves the account link out
	Wide bool   // for lists: a wider column
	Ends string // when the session ends whatever is done, where that is soon: "15:04 UTC"
	// Leads are origins, beside those of the set, to which a form of this page may lead by way of redirects.
	Leads []string
	Data  any // for the page's own template
	// Script is a file of our own that the page loads; nil permits none.
	Script *Script
}

// A Script is a file of our own, served under a name that changes with its content.
type Script struct {
	Path string
	Sum  string // subresource integrity
	body []byte
}

// NewScript names a script by its content.
func NewScript(name string, body []byte) Script {
	short, long := sha256.Sum256(body), sha512.Sum384(body)
	return Script{Path: "/static/" + name + "-" + hex.EncodeToString(short[:8]) + ".js", Sum: "sha384-" + base64.StdEncoding.EncodeToString(long[:]), body: body}
}

// Route adds the script to mux.
func (s Script) Route(mux *http.ServeMux) {
	serveFile(mux, s.Path, "text/javascript; charset=utf-8", s.body)
}

// New reads the pages of a door: every pages/NAME.html in it defines "title" and "main". formAction lists origins, beside our
// own, to which a form may lead by way of redirects, as sources of a Content Security Policy: browsers hold every hop
// after a form to it, which matters where a sign-in ends at a client's redirect address.
func New(door fs.FS, formAction ...string) (*Set, error) {
	layout, err := template.New("layout.html").Option("missingkey=error").ParseFS(files, "layout.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(door, "pages/*.html")
	if err != nil || len(names) == 0 {
		return nil, errors.Join(errors.New("pages: there is no pages/NAME.html"), err)
	}
	s := &Set{pages: map[string]*template.Template{}}
	for _, name := range names {
		one, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if _, err := one.ParseFS(door, name); err != nil {
			return nil, err
		}
		s.pages[strings.TrimSuffix(path.Base(name), ".html")] = one
	}
	for _, source := range formAction {
		if !formSource.MatchString(source) {
			return nil, fmt.Errorf("pages: %.80q is not an origin to which a form may lead; write SCHEME://HOST or SCHEME://HOST:PORT", source)
		}
	}
	s.policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action " +
		strings.Join(append([]string{"'self'"}, formAction...), " ")
	return s, nil
}

// Write writes one page with its headers. A page that cannot be filled is an error before anything was sent.
func (s *Set) Write(w http.ResponseWriter, r *http.Request, status int, name string, v View) error {
	one, ok := s.pages[name]
	if !ok {
		return fmt.Errorf("page %.40q: there is none of this name", name)
	}
	var b bytes.Buffer
	err := one.Execute(&b, struct {
		View
		Style, StyleSum, Icon string
	}{v, stylePath(), styleSum(), iconPath()})
	if err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	Headers(w, r)
	h := w.Header()
	policy := s.leading(v.Leads)
	if v.Script != nil {
		policy += "; script-src 'self'; connect-src 'self'"
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a reader who left is nobody's error
	return nil
}

// leading adds origins to the policy, whose last directive is form-action. What cannot stand there is left out.
func (s *Set) leading(origins []string) string {
	policy := s.policy
	for _, source := range origins {
		if formSource.MatchString(source) {
			policy += " " + source
		}
	}
	return policy
}

// Headers sets what every answer to a browser carries, a redirect too. Pages get a policy of their own on top.
func Headers(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), publickey-credentials-create=(self), publickey-credentials-get=(self)")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// Routes adds the style sheet and the icon, under names that change with their content.
func Routes(mux *http.ServeMux) {
	serveFile(mux, stylePath(), "text/css; charset=utf-8", read("static/style.css"))
	serveFile(mux, iconPath(), "image/svg+xml", read("static/icon.svg"))
}

func serveFile(mux *http.ServeMux, at, kind string, body []byte) {
	mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) {
		Headers(w, r)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(body)
	})
}

var (
	stylePath = sync.OnceValue(func() string { return hashed("static/style.css") })
	iconPath  = sync.OnceValue(func() string { return hashed("static/icon.svg") })
	styleSum  = sync.OnceValue(func() string {
		sum := sha512.Sum384(read("static/style.css"))
		return "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
	})
)

// hashed is the address of a file: "/static/style-1a2b3c4d5e6f7a8b.css".
func hashed(file string) string {
	sum := sha256.Sum256(read(file))
	kind := path.Ext(file)
	return "/" + strings.TrimSuffix(file, kind) + "-" + hex.EncodeToString(sum[:8]) + kind
}

func read(file string) []byte {
	b, err := files.ReadFile(file)
	if err != nil {
		panic(err) // cannot happen: the file is embedded
	}
	return b
}
