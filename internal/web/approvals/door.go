// Package approvals owns the pages on which people ask for a right, look at what others ask for, and say yes or no: one
// screen for each request, plain HTML that works without a script, except for the signature, of which browsers speak to
// scripts only (Web Authentication Level 3).
//
//	GET  /approvals               what waits for me, and what I asked for
//	GET  /approvals/R-…           one request: who, what, what it would change, what was like it
//	POST /approvals/R-…/vote      yes=yes|no, reason, hash: a vote by session
//	POST /approvals/R-…/statement JSON, for the script: what is to be signed
//	POST /approvals/R-…/sign      JSON, from the script: the signed vote
//	GET  /approvals/ask           from=D-… fills it in; POST: action, resource, for, why, task
//	GET  /approvals/keys          whose keys sign; POST: passkey, group: asks for one, or pins the first
//
// The pages decide nothing and keep nothing: each is drawn from answers of the management API, which is asked within the
// process with the browser's session for a proof, and so goes through the guard like any call.
package approvals

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
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

//go:embed pages static/sign.js
var files embed.FS

// maxBody bounds a form and a browser's signature, in bytes.
const maxBody = 32 << 10

// A Config says how the door is set up.
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

// A Door serves the pages. It is safe for concurrent use.
type Door struct {
	config Config
	pages  *page.Set
	cross  *http.CrossOriginProtection
	script page.Script
}

// New makes the door.
func New(c Config) (*Door, error) {
	if c.API == nil || c.Session == nil || c.Seal == nil || c.Open == nil || c.Bypassed == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("new approvals door: API, session, seal, record, clock and log are needed")
	}
	dir, err := fs.Sub(files, "pages")
	if err != nil {
		return nil, err
	}
	pages, err := page.New(dir)
	if err != nil {
		return nil, err
	}
	script, err := files.ReadFile("static/sign.js")
	return &Door{config: c, pages: pages, cross: http.NewCrossOriginProtection(), script: page.NewScript("sign", script)}, err
}

// A visit is one request of somebody who is signed in.
type visit struct {
	w    http.ResponseWriter
	r    *http.Request
	who  Visitor
	name string
}

// Routes adds the pages to mux.
func (d *Door) Routes(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(visit) error{
		"GET /approvals": d.list, "GET /approvals/{id}": d.show, "POST /approvals/{id}/vote": d.vote, "POST /approvals/{id}/withdraw": d.withdraw,
		"POST /approvals/{id}/statement": d.statement, "POST /approvals/{id}/sign": d.sign,
		"GET /approvals/ask": d.form, "POST /approvals/ask": d.ask,
		"GET /approvals/keys": d.keys, "POST /approvals/keys": d.enrol,
	} {
		mux.Handle(pattern, d.handler(serve))
	}
	d.script.Route(mux)
}

func (d *Door) handler(serve func(visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		if err := d.cross.Check(r); err != nil {
			d.config.Log.WarnContext(r.Context(), "a form from another site was refused", "path", r.URL.Path, "cause", err.Error())
			d.fail(visit{w: w, r: r}, sallyport.E("approvals", sallyport.Conflict, "this form came from another site, so nothing was done", "open the page yourself and try again"))
			return
		}
		back := "/approvals"
		if r.Method == http.MethodGet {
			back = r.URL.RequestURI()
		}
		who, ok := d.config.Session(w, r, back)
		if !ok {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v := visit{w: w, r: r, who: who, name: who.ID.Name()}
		if err := serve(v); err != nil {
			d.bypassed(v, err)
			d.fail(v, err)
		}
	})
}

// A refused is an answer of the API that is no success.
type refused struct{ answer api.Error }

func (e *refused) Error() string { return e.answer.Message }

// A question is one call of the API.
type question struct {
	method, path string
	query        url.Values
	in           any // nil: no body
}

// call asks the API with the browser's session, and reads the answer into out unless that is nil.
func (d *Door) call(v visit, ask question, out any) error {
	var body bytes.Buffer
	if ask.in != nil {
		if err := json.NewEncoder(&body).Encode(ask.in); err != nil {
			return err
		}
	}
	target, err := url.Parse(api.Version + ask.path)
	if err != nil {
		return err
	}
	target.RawQuery = ask.query.Encode()
	q, err := http.NewRequestWithContext(v.r.Context(), ask.method, target.String(), &body)
	if err != nil {
		return err
	}
	q.RemoteAddr, q.TLS, q.Host = v.r.RemoteAddr, v.r.TLS, v.r.Host
	for _, c := range v.r.Cookies() {
		q.AddCookie(c)
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	d.config.API.ServeHTTP(a, q)
	if a.status != http.StatusOK {
		e := &refused{}
		if err := json.Unmarshal(a.body.Bytes(), &e.answer); err != nil {
			return sallyport.Wrap("approvals", sallyport.Other, "the answer cannot be read", err)
		}
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.body.Bytes(), out)
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
func (d *Door) fail(v visit, err error) {
	var e api.Error
	if r, ok := errors.AsType[*refused](err); ok {
		e = r.answer
	} else {
		if k := sallyport.KindOf(err); k == sallyport.Other || k == sallyport.Unavailable {
			d.config.Log.ErrorContext(v.r.Context(), "approvals", "path", v.r.URL.Path, "error", err)
		}
		e = api.Error{Status: httpsafe.Status(err), Message: sallyport.PublicText(err)}
	}
	next := ""
	if e.Needs != "" {
		next = "/stepup?needs=" + url.QueryEscape(e.Needs) + "&return=" + url.QueryEscape(d.here(v.r))
	}
	if strings.HasPrefix(v.r.Header.Get("Content-Type"), "application/json") {
		writeJSON(v.w, e.Status, map[string]string{"error": capital(e.Message), "next": next})
		return
	}
	if next != "" {
		http.Redirect(v.w, v.r, next, http.StatusSeeOther)
		return
	}
	m := message{Title: "That did not work", Text: capital(e.Message), Link: "/approvals", LinkText: "Requests"}
	if werr := d.pages.Write(v.w, v.r, max(e.Status, http.StatusBadRequest), "message", page.View{Who: v.name, Data: m}); werr != nil {
		d.config.Log.ErrorContext(v.r.Context(), "approvals", "error", werr)
	}
}

// here is the page that a request belongs to.
func (d *Door) here(r *http.Request) string {
	if id := r.PathValue("id"); id != "" {
		return "/approvals/" + url.PathEscape(id)
	}
	return r.URL.Path
}

func (d *Door) write(v visit, name string, data any, script bool) error {
	view := page.View{Who: v.name, Wide: true, Data: data}
	if script {
		view.Script = &d.script
	}
	return d.pages.Write(v.w, v.r, http.StatusOK, name, view)
}

// fields reads a form of exactly these fields, each once.
func fields(r *http.Request, names ...string) (map[string]string, error) {
	bad := sallyport.E("read form", sallyport.Invalid, "the form is not one of ours", "reload the page and try again")
	if r.URL.RawQuery != "" || r.ParseForm() != nil {
		return nil, bad
	}
	out := map[string]string{}
	for name, values := range r.PostForm {
		known := false
		for _, n := range names {
			known = known || n == name
		}
		known = known || name == "offer"
		if !known || len(values) != 1 {
			return nil, bad
		}
		out[name] = strings.TrimSpace(values[0])
	}
	return out, nil
}

// body reads a script's JSON, strictly.
func body(r *http.Request, into any) error {
	raw, err := io.ReadAll(r.Body)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err != nil || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/json" || dec.Decode(into) != nil || dec.More() {
		return sallyport.E("read answer", sallyport.Invalid, "the body is not what this page sends", "reload the page and try again")
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
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
