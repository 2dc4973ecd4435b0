// Package signals owns the doors by which this server and its partners tell each
// other of what happens to people: the transmitter of the OpenID Shared Signals
// Framework 1.0 (stream management, push of RFC 8935, poll of RFC 8936) and the
// receiver of partners' events, in the profile for CAEP interoperability.
//
// Stream management is decided by the guard on the receiver's organisation, and a
// receiver sees its own streams only. What partners send is proved by its signature
// and recorded whatever it does.
//
// The package leaves streams to identity/signals, tokens to identity/secevent and
// what partners' events do to identity/heed.
package signals

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/heed"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/signals"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// Prefix is the path of the doors, ConfigurationPath where what is offered stands.
const (
	Prefix            = "/signals"
	ConfigurationPath = "/.well-known/ssf-configuration"
)

const maxBody = 1 << 20

// A Config is what the doors need; all but Partners is needed.
type Config struct {
	Guard    *guard.Guard
	Audience string // what a receiver's token must be for
	External string // external URL: our name as issuer
	Streams  *signals.Service
	Heed     *heed.Service
	Partners []Partner
	// Org returns the organisation of a principal.
	Org func(sallyport.PrincipalID) string
	// Send reaches receivers, and partners that are polled.
	Send   *http.Client
	Now    func() time.Time
	Logger *slog.Logger
}

// Doors serve both sides.
type Doors struct {
	Config
	partners map[string]*partner
}

// New makes the doors. An error is about a partner that cannot be meant.
func New(c Config) (*Doors, error) {
	d := &Doors{Config: c, partners: map[string]*partner{}}
	for _, p := range c.Partners {
		one, err := p.open(c)
		if err != nil {
			return nil, err
		}
		if d.partners[p.Name] != nil {
			return nil, sallyport.E("partner", sallyport.Invalid, "the partner "+p.Name+" is there twice", "give each a name of its own")
		}
		d.partners[p.Name] = one
	}
	return d, nil
}

// Register adds the routes.
func (d *Doors) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+ConfigurationPath, d.public(d.configuration))
	mux.HandleFunc("GET "+Prefix+"/jwks.json", d.public(func(ctx context.Context) (any, error) { return d.Streams.Keys.Document(ctx) }))
	for pattern, serve := range map[string]func(*Doors, *call) (int, any, error){
		"POST /streams": (*Doors).createStream, "GET /streams": (*Doors).getStreams, "PATCH /streams": (*Doors).changeStream,
		"PUT /streams": (*Doors).changeStream, "DELETE /streams": (*Doors).deleteStream,
		"GET /status": (*Doors).getStatus, "POST /status": (*Doors).setStatus, "POST /verify": (*Doors).verifyStream,
		"POST /subjects/add": (*Doors).addSubject, "POST /subjects/remove": (*Doors).removeSubject, "POST /poll/{id}": (*Doors).poll,
	} {
		method, path := split(pattern)
		mux.HandleFunc(method+" "+Prefix+path, d.managed(serve))
	}
	mux.HandleFunc("POST "+Prefix+"/receive/{partner}", d.receive)
	mux.HandleFunc(Prefix+"/", d.unmapped)
}

func split(pattern string) (method, path string) {
	for i := range len(pattern) {
		if pattern[i] == ' ' {
			return pattern[:i], pattern[i+1:]
		}
	}
	return "", pattern
}

// A call is a permitted request of a receiver.
type call struct {
	*http.Request
	who  sallyport.PrincipalID
	org  string
	body []byte
}

func (d *Doors) guardCall(r *http.Request) guard.Call {
	p := caller.Proof(r, d.Audience)
	if p.Scheme == "Basic" {
		p.Bearer = secret.Text{}
	}
	return guard.Call{Door: "signals", IP: p.IP, Proof: p, Action: sallyport.IdentityRead, Target: sallyport.Ref{Kind: sallyport.SystemKind}}
}

// public answers anybody.
func (d *Doors) public(get func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := get(r.Context())
		if err != nil {
			d.fail(w, r, err)
			return
		}
		d.answer(w, r, http.StatusOK, v)
	}
}

// managed is the order of work on every route of stream management: a stream is
// read access to the people of the receiver's organisation.
func (d *Doors) managed(serve func(*Doors, *call) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := d.guardCall(r)
		who, err := d.Guard.Identify(r.Context(), &c)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		org := d.Org(who.ID)
		if org != "" {
			c.Target = sallyport.Ref{Kind: sallyport.OrganisationKind, Org: org}
		}
		x, err := d.Guard.Check(r.Context(), c)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		if x.Permit == nil {
			d.answer(w, r, http.StatusForbidden, refusal{"access_denied", guard.Sentence(x, c)})
			return
		}
		one := &call{Request: r.WithContext(x.Permit.Context()), who: x.Permit.Who().ID, org: org}
		var status int
		var v any
		if one.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			err = sallyport.Wrap("read request", sallyport.TooLarge, "the body broke off or is over 1 MiB", err)
		} else {
			status, v, err = serve(d, one)
		}
		d.finish(w, r, x.Permit, outcome{status, v, err})
	}
}

// An outcome is what a call came to.
type outcome struct {
	status int
	body   any
	err    error
}

// finish records the end of a call before its answer leaves.
func (d *Doors) finish(w http.ResponseWriter, r *http.Request, p *guard.Permit, o outcome) {
	w.Header().Set("Sallyport-Decision", p.ID())
	if o.err != nil {
		o.status = httpsafe.Status(o.err)
	}
	if err := p.Done(sallyport.Delivered{Status: o.status}); err != nil {
		o.err = err
	}
	if o.err != nil {
		d.fail(w, r, o.err)
		return
	}
	d.answer(w, r, o.status, o.body)
}

// A refusal is the body of an answer that is none (RFC 8935, section 2.3).
type refusal struct {
	Err         string `json:"err"`
	Description string `json:"description"`
}

func (d *Doors) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := httpsafe.Status(err)
	code := "invalid_request"
	switch {
	case status == http.StatusUnauthorized:
		code = "authentication_failed"
		caller.Challenge(w.Header(), err)
	case status >= http.StatusInternalServerError:
		d.Logger.ErrorContext(r.Context(), "request failed", "door", "signals", "path", r.URL.Path, "err", err)
	}
	d.answer(w, r, status, refusal{code, sallyport.PublicText(err)})
}

func (d *Doors) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	httpsafe.SecurityHeaders(w.Header())
	if v == nil {
		w.WriteHeader(status)
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		d.Logger.ErrorContext(r.Context(), "encode answer", "door", "signals", "err", err)
		status, body = http.StatusInternalServerError, []byte(`{"err":"invalid_request"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nothing is left to tell
}

func (d *Doors) unmapped(w http.ResponseWriter, r *http.Request) {
	if _, err := d.Guard.Unmapped(r.Context(), d.guardCall(r), r.Method, r.URL.EscapedPath()); err != nil {
		d.fail(w, r, err)
		return
	}
	d.answer(w, r, http.StatusNotFound, refusal{"invalid_request", "there is no such endpoint, or it does not take this method"})
}

// decode reads a body. Members that are not known are passed over, as the framework
// is extended by them; a member twice is an error.
func (c *call) decode(v any) error {
	if t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return sallyport.E("read request", sallyport.Invalid, "the body is no application/json", "")
	}
	if err := strict.Unmarshal(c.body, v); err != nil {
		return sallyport.Wrap("read request", sallyport.Invalid, "the body is not what this endpoint takes", err)
	}
	return nil
}

// configuration is what is offered (SSF 1.0, section 7.1).
func (d *Doors) configuration(context.Context) (any, error) {
	at := d.External + Prefix
	return map[string]any{
		"spec_version": "1_0", "issuer": d.External, "jwks_uri": at + "/jwks.json",
		"delivery_methods_supported": []string{signals.Push, signals.Poll},
		"configuration_endpoint":     at + "/streams", "status_endpoint": at + "/status", "verification_endpoint": at + "/verify",
		"add_subject_endpoint": at + "/subjects/add", "remove_subject_endpoint": at + "/subjects/remove",
		"authorization_schemes": []any{map[string]string{"spec_urn": "urn:ietf:rfc:6749"}},
		"default_subjects":      "ALL", "critical_subject_members": []string{"user"},
	}, nil
}

// supported are the events that streams can ask for.
func supported() []string {
	var all []string
	for _, t := range secevent.Types() {
		all = append(all, string(t))
	}
	return all
}
