// Package login owns the pages on which people prove who they are: sign-in, enrolment, step-up, sign-out and the account
// page, as forms in HTML 5 that need no script, except for passkeys.
//
//	GET  /login            the form; return=/path says where to go afterwards, again=1 asks even who is signed in
//	POST /login            username, password, return
//	GET  /login/code       POST: code
//	GET  /login/renew      another password before anything else; POST: password, again
//	GET  /enrol/TOKEN      an enrolment link; its token moves into a cookie, so that it leaves the address
//	GET  /enrol            POST: password, again
//	GET  /enrol/code       the code generator; POST: code
//	GET  /login/recovery   POST: code, one of the saved ones
//	GET  /stepup           needs=LEVEL; POST: code, return, needs
//	GET  /recover          POST: username, why: asks for a way back in
//	GET  /logout           POST: ends the session
//	     /login/with/IDP   sign-in by other people's identity providers: see federated.go
//	GET  /account          authenticators and sessions; POST /account/revoke: id; POST /account/revoke-all
//	GET  /account/password POST: old, password, again
//	POST /account/passkeys/rename: id, label; /account/passkeys/remove: id; /account/codes; /account/recovery/cancel: id
//	GET  /account/ending   that the session ends soon, where the account page leads two minutes before
//	GET  /account/session  how long the session lasts, as JSON
//	POST /passkey/KIND/begin and /finish, of signin, second, stepup, register: JSON, for the one script of these pages
//
// Nothing but a POST changes anything, except that a provider's answer arrives by GET. Every POST of a page of ours is held
// against [http.CrossOriginProtection] and answered with 303 See
// Other where it succeeds (RFC 9700 section 4.12). The session travels in one __Host- cookie.
//
// The package leaves the ceremony to identity/signin, the look to web/page, authorization requests to web/oidc.
package login

import (
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

//go:embed pages
var pageFiles embed.FS

const (
	maxBody  = 16 << 10 // bytes of a form
	maxAgent = 512      // bytes of a User-Agent
	flowLife = 10 * time.Minute
	linkLife = credential.LinkLife
)

// A Config says how the door is set up.
type Config struct {
	SignIn *signin.Service
	Log    *slog.Logger
	// Plain leaves Secure and the __Host- prefix off the cookies. It is for plain HTTP on loopback only.
	Plain bool
	// FormAction lists origins of clients to whose redirect addresses a sign-in may lead, beside loopback.
	FormAction []string
	Now        func() time.Time // for "last used 5 minutes ago"
	Notices    Notices          // what happened to people's accounts
	// Home is where a sign-in leads that was for nothing in particular; "" = the account page.
	Home string
	// Device returns the id of the enrolled device whose certificate a request came with, "" where there is none; nil knows
	// of none.
	Device func(r *http.Request) string
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
	if c.SignIn == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("new login door: sign-in, log and clock are needed")
	}
	pages, err := page.New(pageFiles, append([]string{"http://127.0.0.1:*", "http://localhost:*"}, c.FormAction...)...)
	if err != nil {
		return nil, err
	}
	return &Door{config: c, pages: pages, cross: http.NewCrossOriginProtection(), script: page.NewScript("passkey", script)}, nil
}

// Routes adds the pages, the style sheet and the icon to mux.
func (d *Door) Routes(mux *http.ServeMux) {
	for pattern, serve := range map[string]handler{
		"GET /login": d.showLogin, "POST /login": d.takePassword,
		"GET /login/code": d.showCode, "POST /login/code": d.takeCode,
		"GET " + renewPage: d.showRenew, "POST " + renewPage: d.takeRenewed,
		"GET /enrol/{token}": d.openLink, "GET /enrol": d.showEnrol, "POST /enrol": d.takeChosen,
		"GET /enrol/code": d.showGenerator, "POST /enrol/code": d.takeFirstCode,
		"GET /stepup": d.showStepUp, "POST /stepup": d.takeStepUp,
		"GET " + endingPage: d.showEnding,
		"GET /logout":       d.showLogout, "POST /logout": d.logout,
		"GET /account": d.account, "POST /account/revoke": d.revoke, "POST /account/revoke-all": d.revokeAll, "POST /account/notices": d.readNotices,
	} {
		mux.Handle(pattern, d.protect(serve))
	}
	d.federatedRoutes(mux)
	for pattern, serve := range d.ownRoutes() {
		mux.Handle(pattern, d.protect(serve))
	}
	for pattern, serve := range d.ceremonies() {
		mux.Handle(pattern, d.protectUpTo(maxCeremony, serve))
	}
	d.script.Route(mux)
	page.Routes(mux)
}

// Session returns the live session of the browser's cookie. Without one the error is of kind Unknown; a store that
// cannot be read is Unavailable, which is not the same as nobody.
func (d *Door) Session(r *http.Request) (session.Session, error) {
	one, _, err := d.config.SignIn.Session(r.Context(), d.bearer(r))
	return one, err
}

// Current returns the live session of the browser's cookie, false where there is none or it cannot be looked up.
func (d *Door) Current(r *http.Request) (session.Session, bool) {
	one, err := d.Session(r)
	return one, err == nil
}

// RequireSession returns the session of the browser's cookie, or answers the request: by the sign-in page, which leads to
// back afterwards, or by an error where sessions cannot be read. It reports false when it has answered. back is a local
// path with its query.
func (d *Door) RequireSession(w http.ResponseWriter, r *http.Request, back string) (session.Session, bool) {
	one, err := d.Session(r)
	switch {
	case err == nil:
		return one, true
	case sallyport.KindOf(err) == sallyport.Unknown:
		seeOther(w, r, withReturn("/login", back))
	default:
		d.fail(w, r, err)
	}
	return session.Session{}, false
}

// A handler answers a request or returns why it did not; then nothing has been written.
type handler func(w http.ResponseWriter, r *http.Request) error

// protect is what every route goes through: the limit on the body, the check of the origin, the one place for errors.
func (d *Door) protect(serve handler) http.Handler { return d.protectUpTo(maxBody, serve) }

// protectUpTo is protect with another limit, in bytes.
func (d *Door) protectUpTo(limit int64, serve handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		if err := d.cross.Check(r); err != nil {
			d.config.Log.WarnContext(r.Context(), "a form from another site was refused", "path", r.URL.Path, "cause", err.Error())
			d.show(w, r, http.StatusForbidden, "message", page.View{Data: message{
				Title: "Not from here", Text: "This form came from another site, so nothing was done. Open the page yourself and try again.", Bad: true}})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		if err := serve(w, r); err != nil {
			d.fail(w, r, err)
		}
	})
}

// message is the page for everything that is not a form.
type message struct {
	Title, Text    string
	Bad            bool
	Link, LinkText string
}

// fail answers an error that no form shows.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	if d.stale(w, r, err) {
		return
	}
	kind := sallyport.KindOf(err)
	if kind == sallyport.Unknown {
		seeOther(w, r, "/login") // nobody is signed in: not an error to read about
		return
	}
	if kind == sallyport.Other || kind == sallyport.Unavailable {
		d.config.Log.ErrorContext(r.Context(), "page", "path", r.URL.Path, "error", err)
	}
	status := setStatus(w, err)
	d.show(w, r, status, "message", page.View{Data: message{Title: http.StatusText(status), Text: sentence(err), Bad: true, Link: "/account", LinkText: "Your account"}})
}

// EndsHeader tells a browser's programs in how many seconds its session ends unless it is used.
const EndsHeader = "Sallyport-Session-Ends"

func (d *Door) show(w http.ResponseWriter, r *http.Request, status int, name string, v page.View) {
	if e, ok := v.Data.(entry); ok && name == "login" { // whatever led to the page, it offers all ways
		e.Others, e.Off = d.choices(e.Return, e.Again), d.passkeysOff()
		v.Data = e
		v = d.withScript(v)
	}
	if v.Who != "" {
		if one, ok := d.Current(r); ok {
			d.ending(w, one, &v)
		}
	}
	if err := d.pages.Write(w, r, status, name, v); err != nil {
		d.config.Log.ErrorContext(r.Context(), "page", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error; the operator finds the cause in the server's log", http.StatusInternalServerError)
	}
}

// client is the browser as the ceremony sees it.
func (d *Door) client(r *http.Request) signin.Client {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero value where it is none
	ua := r.UserAgent()
	return signin.Client{Source: source(r.RemoteAddr), Agent: agent(ua), Bearer: d.bearer(r),
		Address: at.Addr().Unmap().WithZone(""), UserAgent: ua[:min(len(ua), maxAgent)], Device: d.device(r)}
}

func (d *Door) bearer(r *http.Request) secret.Text { return d.cookie(r, sessionCookie) }

// Bearer is the value of the browser's session cookie, for the doors of our own pages.
func (d *Door) Bearer(r *http.Request) secret.Text { return d.bearer(r) }
