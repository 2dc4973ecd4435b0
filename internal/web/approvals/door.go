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
// The pages decide nothing and keep nothing: each is drawn from answers of the management API, which web/within asks.
package approvals

import (
	"bytes"
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sallyport"
	"sallyport/internal/web/page"
	"sallyport/internal/web/within"
)

//go:embed pages static/sign.js
var files embed.FS

// A Door serves the pages. It is safe for concurrent use.
type Door struct {
	*within.Desk
	pages  *page.Set
	script page.Script
}

// New makes the door.
func New(desk *within.Desk) (*Door, error) {
	pages, err := page.New(files)
	if err != nil {
		return nil, err
	}
	script, err := files.ReadFile("static/sign.js")
	return &Door{Desk: desk, pages: pages, script: page.NewScript("sign", script)}, err
}

// Routes adds the pages to mux.
func (d *Door) Routes(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(within.Visit) error{
		"GET /approvals": d.list, "GET /approvals/{id}": d.show, "POST /approvals/{id}/vote": d.vote, "POST /approvals/{id}/withdraw": d.withdraw,
		"POST /approvals/{id}/statement": d.statement, "POST /approvals/{id}/sign": d.sign,
		"GET /approvals/ask": d.form, "POST /approvals/ask": d.ask,
		"GET /approvals/keys": d.keys, "POST /approvals/keys": d.enrol,
	} {
		mux.Handle(pattern, d.Desk.Handler(serve))
	}
	d.script.Route(mux)
}

// votes is the form for a vote on a request.
func votes(id string) string { return "/approvals/" + url.PathEscape(id) + "/vote" }

func (d *Door) write(v within.Visit, name string, data any, script bool) error {
	view := v.View(data)
	if script {
		view.Script = &d.script
	}
	return d.pages.Write(v.W, v.R, http.StatusOK, name, view)
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
