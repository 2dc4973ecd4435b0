// Package within owns how our own pages ask the management API: within the process, with the browser's session for a proof,
// so that a page goes through the guard like any call and cannot do what the guard would refuse. It owns too what a page says
// that it offered, by which a form that no page offered is told from one whose right ended meanwhile.
//
// What stands on a page is for the doors that draw them: web/home, web/approvals.
package within

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/web/api"
	"sallyport/internal/web/page"
)

//go:embed pages
var files embed.FS

// maxBody bounds a form and a browser's signature, in bytes.
const maxBody = 32 << 10

// A Config says how pages come to the API.
type Config struct {
	// API is the management API, which proves a call by the browser's session.
	API http.Handler
	// Session returns who is signed in; false: it has answered, by the sign-in page, which leads back.
	Session func(w http.ResponseWriter, r *http.Request, back string) (who Visitor, ok bool)
	// Seal and Open keep what a page offered from being invented.
	Seal func(plain []byte) []byte
	Open func(sealed []byte) ([]byte, error)
	// Bypassed records a form that no page offered and a decision refused.
	Bypassed func(r *http.Request, b Bypass) error
	Now      func() time.Time
	Log      *slog.Logger
}

// A Desk is where pages ask. It is safe for concurrent use.
type Desk struct {
	config Config
	pages  *page.Set
	cross  *http.CrossOriginProtection
}

// New makes the desk.
func New(c Config) (*Desk, error) {
	if c.API == nil || c.Session == nil || c.Seal == nil || c.Open == nil || c.Bypassed == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("new desk: API, session, seal, record, clock and log are needed")
	}
	pages, err := page.New(files)
	return &Desk{config: c, pages: pages, cross: http.NewCrossOriginProtection()}, err
}

// Now is the time by the desk's clock.
func (d *Desk) Now() time.Time { return d.config.Now() }

// A Visitor is who is signed in.
type Visitor struct {
	ID      sallyport.PrincipalID
	Session string
	Org     string // "" where they are in none
}

// A Visit is one request of somebody who is signed in.
type Visit struct {
	W   http.ResponseWriter
	R   *http.Request
	Who Visitor
}

// View is a page for the visitor.
func (v Visit) View(data any) page.View {
	return page.View{Who: v.Who.ID.Name(), Wide: true, Data: data}
}

// Handler is the order of work on every page: the headers, where a form comes from, who is signed in, the page or form
// itself, and the one place for errors, which serve returns before it has written.
func (d *Desk) Handler(serve func(Visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		if err := d.cross.Check(r); err != nil {
			d.config.Log.WarnContext(r.Context(), "a form from another site was refused", "path", r.URL.Path, "cause", err.Error())
			d.fail(Visit{W: w, R: r}, sallyport.E("page", sallyport.Conflict, "this form came from another site, so nothing was done", "open the page yourself and try again"))
			return
		}
		who, ok := d.config.Session(w, r, Here(r))
		if !ok {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v := Visit{W: w, R: r, Who: who}
		if err := serve(v); err != nil {
			d.bypassed(v, err)
			d.fail(v, err)
		}
	})
}

// A Refused is an answer of the API that is no success.
type Refused struct{ Answer api.Error }

// Error is the sentence for people.
func (e *Refused) Error() string { return e.Answer.Message }

// A Question is one call of the API.
type Question struct {
	Method, Path string // below api.Version
	Query        url.Values
	In           any // nil: no body
}

// Call asks the API with the browser's session, and reads the answer into out unless that is nil. What is no success is a
// *Refused.
func (d *Desk) Call(v Visit, ask Question, out any) error {
	var body bytes.Buffer
	if ask.In != nil {
		if err := json.NewEncoder(&body).Encode(ask.In); err != nil {
			return err
		}
	}
	target, err := url.Parse(api.Version + ask.Path)
	if err != nil {
		return err
	}
	target.RawQuery = ask.Query.Encode()
	q, err := http.NewRequestWithContext(v.R.Context(), ask.Method, target.String(), &body)
	if err != nil {
		return err
	}
	q.RemoteAddr, q.TLS, q.Host = v.R.RemoteAddr, v.R.TLS, v.R.Host
	for _, c := range v.R.Cookies() {
		q.AddCookie(c)
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	d.config.API.ServeHTTP(a, q)
	if a.status != http.StatusOK {
		e := &Refused{}
		if err := json.Unmarshal(a.body.Bytes(), &e.Answer); err != nil {
			return sallyport.Wrap("page", sallyport.Other, "the answer cannot be read", err)
		}
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.body.Bytes(), out)
}

// Can asks in one batch, of at most api.MostAsks questions, what the visitor may do: all answers are of the same facts.
func (d *Desk) Can(v Visit, all ...api.CanAsk) ([]api.Answer, error) {
	if len(all) == 0 {
		return nil, nil
	}
	var answers []api.Answer
	if err := d.Call(v, Question{Method: http.MethodPost, Path: "/can", In: all}, &answers); err != nil {
		return nil, err
	}
	if len(answers) != len(all) {
		return nil, sallyport.E("page", sallyport.Other, "the answer has another length than the question", "")
	}
	return answers, nil
}

// May is Can in yes and no; a step-up leads to a yes.
func (d *Desk) May(v Visit, all ...api.CanAsk) ([]bool, error) {
	answers, err := d.Can(v, all...)
	can := make([]bool, len(answers))
	for i, a := range answers {
		can[i] = a.Outcome == sallyport.Allow.String() || a.Outcome == sallyport.StepUp.String()
	}
	return can, err
}

// An answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// A message is the page for what went wrong.
type message struct{ Title, Text, Link, LinkText string }

// fail answers an error: by the page for a fresh proof where that lifts it, and otherwise by a sentence.
func (d *Desk) fail(v Visit, err error) {
	var e api.Error
	if r, ok := errors.AsType[*Refused](err); ok {
		e = r.Answer
	} else {
		if k := sallyport.KindOf(err); k == sallyport.Other || k == sallyport.Unavailable {
			d.config.Log.ErrorContext(v.R.Context(), "page", "path", v.R.URL.Path, "error", err)
		}
		e = api.Error{Status: httpsafe.Status(err), Message: sallyport.PublicText(err)}
	}
	next := ""
	if e.Needs != "" {
		next = StepUp(e.Needs, Here(v.R))
	}
	if strings.HasPrefix(v.R.Header.Get("Content-Type"), "application/json") {
		WriteJSON(v.W, e.Status, map[string]string{"error": capital(e.Message), "next": next})
		return
	}
	if next != "" {
		http.Redirect(v.W, v.R, next, http.StatusSeeOther)
		return
	}
	m := message{Title: "That did not work", Text: capital(e.Message), Link: "/home", LinkText: "Home"}
	switch {
	case e.Status >= http.StatusInternalServerError:
		m.Title = "Sallyport cannot answer now"
		v.W.Header().Set("Retry-After", "5")
		if v.R.Method == http.MethodGet {
			m.Text += " Nothing was decided, and nothing was changed. Try again in a minute."
			m.Link, m.LinkText = Here(v.R), "Try again"
		} else { // what fails behind the change leaves it kept
			m.Text += " What you sent may have been done all the same: look before you send it again."
			m.Link, m.LinkText = Here(v.R), "Look"
		}
	case strings.HasPrefix(v.R.URL.Path, "/approvals"):
		m.Link, m.LinkText = "/approvals", "Requests"
	case v.R.URL.Path == "/home":
		m.Link, m.LinkText = "/account", "Your account"
	}
	view := v.View(m)
	view.Wide = false
	if werr := d.pages.Write(v.W, v.R, max(e.Status, http.StatusBadRequest), "message", view); werr != nil {
		d.config.Log.ErrorContext(v.R.Context(), "page", "error", werr)
	}
}

// StepUp is the page for a proof of a level, which leads back.
func StepUp(needs, back string) string {
	return "/stepup?needs=" + url.QueryEscape(needs) + "&return=" + url.QueryEscape(back)
}

// Here is the page that a request belongs to: of a form about one thing, the thing's.
func Here(r *http.Request) string {
	if r.Method == http.MethodGet {
		return r.URL.RequestURI()
	}
	if id := r.PathValue("id"); id != "" {
		if before, _, ok := strings.Cut(r.URL.EscapedPath(), "/"+url.PathEscape(id)+"/"); ok {
			return before + "/" + url.PathEscape(id)
		}
	}
	return r.URL.EscapedPath()
}

// WriteJSON answers a script.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"internal error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // a reader who left is nobody's error
}

func capital(s string) string {
	if s == "" {
		return "Something went wrong."
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
