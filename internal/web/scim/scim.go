// Package scim owns the door through which upstream providers keep people and
// groups here: SCIM 2.0 (RFC 7643 and RFC 7644). Its effect that matters is the
// end of an account: "active": false or a DELETE ends everything that somebody
// holds, at once (identity/leaver).
//
// Every request is decided by the guard on the organisation of the source whose
// account asks, and a source sees and changes its own records only: those of
// another are not there. Not offered, and announced as such: sorting, bulk
// operations, passwords, groups in groups, and /Me.
//
// The package leaves what records do to people and groups to identity/intake, their
// form to web/scim/resource and PATCH to web/scim/patch.
package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/intake"
	"sallyport/internal/identity/provision"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/scim/resource"
)

// Prefix is the path of the door.
const Prefix = "/scim/v2"

const (
	contentType = "application/scim+json"
	errorURN    = "urn:ietf:params:scim:api:messages:2.0:Error"
	maxBody     = 2 << 20
)

// A Config is what the door needs; every field is.
type Config struct {
	Guard    *guard.Guard
	Audience string // what a token must be for
	// Source returns the source whose account a principal is; false for anybody else.
	Source func(sallyport.PrincipalID) (provision.Source, bool)

	Intake *intake.Service
	// Enforce brings changes of the directory into force and cuts what runs and is no longer permitted.
	Enforce func(ctx context.Context) error
	Logger  *slog.Logger
}

// A Door serves the protocol. It is an http.Handler.
type Door struct {
	Config
	mux *http.ServeMux
}

// New returns the door.
func New(c Config) *Door {
	d := &Door{Config: c, mux: http.NewServeMux()}
	known := map[string]bool{}
	for _, r := range routes() {
		d.mux.Handle(r.method+" "+Prefix+r.pattern, d.handler(r))
	}
	for _, r := range routes() { // what no method of a known path takes
		if path := Prefix + r.pattern; !known[path] && !strings.HasSuffix(path, "s/.search") { // an id, to every other method
			known[path] = true
			d.mux.HandleFunc(path, d.unmapped(http.StatusMethodNotAllowed, "this endpoint does not take this method"))
		}
	}
	d.mux.HandleFunc("/", d.unmapped(http.StatusNotFound, "there is no such endpoint"))
	return d
}

// ServeHTTP serves one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	d.mux.ServeHTTP(w, r)
}

// A route is one thing the door does.
type route struct {
	method, pattern string
	action          sallyport.Action
	serve           func(*Door, *call) (answer, error)
}

func routes() []route {
	read, change := sallyport.IdentityRead, sallyport.IdentityAdminister
	all := append(kind{resource.Users()}.routes(), kind{resource.Groups()}.routes()...)
	return append(all, []route{
		{"GET", "/ServiceProviderConfig", read, (*Door).capabilities},
		{"GET", "/ResourceTypes", read, (*Door).types},
		{"GET", "/ResourceTypes/{id}", read, (*Door).types},
		{"GET", "/Schemas", read, (*Door).schemas},
		{"GET", "/Schemas/{id}", read, (*Door).schemas},

		{"POST", "/.search", read, (*Door).searchAll},
		{"GET", "/Me", read, (*Door).absent},
		{"POST", "/Bulk", change, (*Door).absent},
	}...)
}

// A call is a permitted request of a source.
type call struct {
	*http.Request
	permit *guard.Permit
	source provision.Source
	body   []byte
}

// An answer is what a route answers with.
type answer struct {
	status   int
	body     map[string]any // nil = none
	version  string         // the entity tag, "" = none
	location string         // of what was made
}

func (d *Door) guardCall(r *http.Request) guard.Call {
	p := caller.Proof(r, d.Audience)
	if p.Scheme == "Basic" {
		p.Bearer = secret.Text{}
	}
	return guard.Call{Door: "scim", IP: p.IP, Proof: p}
}

// handler is the order of work on every route. Who asks is known first, because
// the source decides on whose organisation the question is.
func (d *Door) handler(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := d.guardCall(r)
		who, err := d.Guard.Identify(r.Context(), &c)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		source, bound := d.Source(who.ID)
		c.Action, c.Target = route.action, sallyport.Ref{Kind: sallyport.SystemKind}
		if bound {
			c.Target = sallyport.Ref{Kind: sallyport.OrganisationKind, Org: source.Organisation}
		}
		x, err := d.Guard.Check(r.Context(), c)
		switch {
		case err != nil:
			d.fail(w, r, err)
		case x.Permit == nil:
			d.writeError(w, r, http.StatusForbidden, "", guard.Sentence(x, c))
		case !bound || x.Permit.Who().ID != who.ID:
			d.finish(w, r, x.Permit, answer{}, forbidden("this account is not that of a source; the operator binds one under \"scim\""))
		default:
			d.serve(w, r, route, x.Permit, source)
		}
	})
}

// serve runs a route. What began is carried through when the client goes away.
func (d *Door) serve(w http.ResponseWriter, r *http.Request, route route, p *guard.Permit, source provision.Source) {
	ctx := p.Context()
	if route.action == sallyport.IdentityAdminister {
		ctx = context.WithoutCancel(ctx)
	}
	c := &call{Request: r.WithContext(ctx), permit: p, source: source}
	a, err := d.run(w, route, c)
	if err == nil && route.action == sallyport.IdentityAdminister {
		err = d.Enforce(ctx)
	}
	d.finish(w, r, p, a, err)
}

// run reads the body and runs the handler, and makes an error of a panic.
func (d *Door) run(w http.ResponseWriter, route route, c *call) (a answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			d.Logger.Error("serving panicked", "door", "scim", "path", c.URL.Path, "decision", c.permit.ID(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("serve %s: panic: %v", c.permit.ID(), v)
		}
	}()
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, c.Body, maxBody)); err != nil {
		return answer{}, sallyport.Wrap("read request", sallyport.TooLarge, "the body broke off or is over 2 MiB", err)
	}
	if t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); len(c.body) > 0 && (err != nil || t != contentType && t != "application/json") {
		return answer{}, sallyport.E("read request", sallyport.Invalid, "the body is neither application/scim+json nor application/json", "").Because("invalidSyntax")
	}
	return route.serve(d, c)
}

// finish records the end of a call before its answer leaves.
func (d *Door) finish(w http.ResponseWriter, r *http.Request, p *guard.Permit, a answer, err error) {
	w.Header().Set("Sallyport-Decision", p.ID())
	status := a.status
	if err != nil {
		status, _ = judged(err)
	}
	if derr := p.Done(sallyport.Delivered{Status: status}); derr != nil {
		err = derr
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	if a.version != "" {
		w.Header().Set("ETag", a.version)
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	d.write(w, r, a.status, a.body)
}

// judged is the status and the scimType (RFC 7644, section 3.12) of an error.
func judged(err error) (int, string) {
	status, reason := httpsafe.Status(err), sallyport.ReasonOf(err)
	switch {
	case reason == "version":
		return http.StatusPreconditionFailed, ""
	case reason == "forbidden":
		return http.StatusForbidden, ""
	case reason == "absent":
		return http.StatusNotImplemented, ""
	case status == http.StatusBadRequest && strings.Contains(" invalidFilter tooMany mutability invalidSyntax invalidPath noTarget invalidValue ", " "+reason+" "):
		return status, reason
	case status == http.StatusBadRequest:
		return status, "invalidValue"
	case status == http.StatusConflict && reason == "uniqueness":
		return status, reason
	}
	return status, ""
}

func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, scimType := judged(err)
	if status == http.StatusUnauthorized {
		caller.Challenge(w.Header(), err)
	}
	if status >= http.StatusInternalServerError && status != http.StatusNotImplemented {
		d.Logger.ErrorContext(r.Context(), "request failed", "door", "scim", "path", r.URL.Path, "err", err)
	}
	d.writeError(w, r, status, scimType, sallyport.PublicText(err))
}

func (d *Door) writeError(w http.ResponseWriter, r *http.Request, status int, scimType, detail string) {
	body := map[string]any{"schemas": []string{errorURN}, "status": strconv.Itoa(status), "detail": detail}
	if scimType != "" {
		body["scimType"] = scimType
	}
	d.write(w, r, status, body)
}

func (d *Door) write(w http.ResponseWriter, r *http.Request, status int, body map[string]any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		d.Logger.ErrorContext(r.Context(), "encode answer", "door", "scim", "err", err)
		status, text = http.StatusInternalServerError, []byte(`{"schemas":["`+errorURN+`"],"status":"500"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone: nothing is left to tell
}

// unmapped refuses and records what no route takes.
func (d *Door) unmapped(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.Guard.Unmapped(r.Context(), d.guardCall(r), r.Method, r.URL.EscapedPath()); err != nil {
			d.fail(w, r, err)
			return
		}
		d.writeError(w, r, status, "", text)
	}
}

func (d *Door) absent(c *call) (answer, error) {
	return answer{}, sallyport.E("scim", sallyport.Invalid, "this part of SCIM is not offered here", "see /scim/v2/ServiceProviderConfig").Because("absent")
}

// forbidden is what is answered with 403.
func forbidden(text string) error {
	return sallyport.E("scim", sallyport.Invalid, text, "").Because("forbidden")
}

// order says by whom and by which permit a change is made.
func (c *call) order() intake.Order {
	return intake.Order{Source: c.source, By: c.permit.Who().ID, Decision: c.permit.ID()}
}
