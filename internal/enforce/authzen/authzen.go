// Package authzen owns the door for enforcement points elsewhere: the OpenID AuthZEN Authorization API 1.0, served
// (evaluation, evaluations, the searches and the metadata), with obligations in the shape of the draft Obligations
// Profile 1.0.
//
// # Whom an answer trusts
//
// Three things have to hold before a question is decided. The enforcement point proves itself, with an access token for
// this door, bound to a key or a certificate where its registration asks for it. It is registered here (a Point), and the
// policies let it ask about the resource (sallyport.DecisionAsk); what it may not ask about looks like what is not there.
// And the subject is proved: by an access token of its own for this door in context.subject_token, or, only where the
// point is registered as one that is believed, by the point's word. A believed point's word is worth at most the
// assurance that it is registered with.
//
// Then the question takes the same way as at every door: the guard decides it on Sallyport's own facts, and it is in the
// log, under the subject and with the point, before the answer leaves. An answer is no capability: nothing here opens
// for it. Properties that a point sends choose what is meant (enforce/authzen/dictionary) and are facts of nothing.
//
// It leaves the form of messages to enforce/authzen/wire and deciding to the guard.
package authzen

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// Name is the door's name in the log, and Prefix where it is; Audience is the end of what its tokens are for.
const (
	Name     = "authzen"
	Prefix   = "/access"
	Audience = Prefix
)

// A Point is one registered enforcement point.
type Point struct {
	Principal sallyport.PrincipalID // its account, service:NAME
	// Believed says that who the point names is who asks, without a proof of theirs.
	Believed bool
	// Assurance is what the point's word about how a subject was proved is worth at most.
	Assurance sallyport.Assurance
	// Bound refuses the point's token without the key or certificate that it is bound to.
	Bound bool
	// Obligations are what the point carries out; a permission that obliges to anything else is denied.
	Obligations []sallyport.ObligationKind
	// Words are what it calls things by.
	Words *dictionary.Dictionary
}

// A Door answers enforcement points. Its fields are set once; make it with New. It is an http.Handler.
type Door struct {
	Guard    *guard.Guard
	Facts    *facts.Keeper
	External string // URL that clients use, without a path: the identifier of this decision point
	Points   []Point
	Key      []byte        // under which pages' tokens are sealed
	Nonce    func() string // of proofs of possession (RFC 9449, section 8); nil = none is given out
	Logger   *slog.Logger

	slots  chan struct{}
	points map[sallyport.PrincipalID]Point
}

// New returns a door that answers at most concurrent requests at once.
func New(d Door, concurrent int) *Door {
	d.slots, d.points = make(chan struct{}, concurrent), map[sallyport.PrincipalID]Point{}
	for _, p := range d.Points {
		d.points[p.Principal] = p
	}
	return &d
}

// Endpoints returns every route of the door, as METHOD PATH.
func Endpoints() []string {
	return []string{"POST " + wire.EvaluationPath, "POST " + wire.EvaluationsPath, "POST " + wire.SubjectsPath,
		"POST " + wire.ResourcesPath, "POST " + wire.ActionsPath, "GET " + wire.MetadataPath}
}

// An asking is one request of a point that was let in.
type asking struct {
	door    *Door
	ctx     context.Context
	point   Point
	call    guard.Call // of the point itself, identified
	permits map[sallyport.Ref]*guard.Permit
}

// ServeHTTP answers one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	if id := r.Header.Get(requestID); id != "" && len(id) <= maxRequestID {
		w.Header().Set(requestID, id)
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		d.fail(w, r, sallyport.E(Name, sallyport.Busy, "too many requests at once", "try again in a moment"))
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == wire.MetadataPath {
		d.answer(w, r, d.Metadata())
		return
	}
	serve := map[string]func(*asking, []byte) (any, error){
		wire.EvaluationPath: (*asking).evaluation, wire.EvaluationsPath: (*asking).evaluations,
		wire.SubjectsPath: (*asking).subjects, wire.ResourcesPath: (*asking).resources, wire.ActionsPath: (*asking).actions,
	}[r.URL.Path]
	if r.Method != http.MethodPost {
		serve = nil
	}
	d.serve(w, r, serve)
}

const (
	requestID    = "X-Request-ID"
	maxRequestID = 1024
)

func (d *Door) serve(w http.ResponseWriter, r *http.Request, serve func(*asking, []byte) (any, error)) {
	proof := caller.Proof(r, d.External+Audience)
	if proof.Scheme == "Basic" {
		proof.Bearer = secret.Text{}
	}
	if d.Nonce != nil && len(proof.DPoP) > 0 {
		w.Header().Set("DPoP-Nonce", d.Nonce())
	}
	call := guard.Call{Door: Name, IP: proof.IP, Proof: proof, Action: sallyport.DecisionAsk}
	if serve == nil {
		if _, err := d.Guard.Unmapped(r.Context(), call, r.Method, r.URL.EscapedPath()); err != nil {
			d.fail(w, r, err)
			return
		}
		http.Error(w, "there is no such endpoint", http.StatusNotFound)
		return
	}
	a := &asking{door: d, ctx: r.Context(), call: call, permits: map[sallyport.Ref]*guard.Permit{}}
	if err := a.enter(); err != nil {
		d.fail(w, r, err)
		return
	}
	body, err := read(w, r)
	var result any
	if err == nil {
		result, err = serve(a, body)
	}
	if derr := a.done(err); derr != nil {
		err = derr
	}
	if err != nil {
		d.fail(w, r, err)
		return
	}
	d.answer(w, r, result)
}

// enter proves who the point is and finds its registration. What is refused is recorded.
func (a *asking) enter() error {
	who, err := a.door.Guard.Identify(a.ctx, &a.call)
	if err != nil {
		return err
	}
	point, ok := a.door.points[who.ID]
	if !ok || who.ID.Kind() != sallyport.Service || len(who.Actors) > 0 {
		return a.refused(sallyport.E("ask", sallyport.NotFound, "this account is no enforcement point that is registered here",
			"an operator registers it under authzen.points in the configuration").Because("point.unregistered"))
	}
	if point.Bound && !who.Bound() {
		return a.refused(sallyport.E("ask", sallyport.NotFound, "this enforcement point asks only with a token that is bound to its key or certificate", "").Because("point.unbound"))
	}
	a.point = point
	return nil
}

// refused records why a point is not answered, and returns cause.
func (a *asking) refused(cause error) error {
	if err := a.note(sallyport.ReasonOf(cause), nil); err != nil {
		return err
	}
	return cause
}

// note records what was asked and not decided.
func (a *asking) note(reason string, detail map[string]string) error {
	who, err := a.door.Guard.Identify(a.ctx, &a.call)
	if err != nil {
		return err
	}
	_, err = a.door.Guard.Note(a.ctx, sallyport.Event{Type: sallyport.EventRefused, Who: who.ID, Action: sallyport.DecisionAsk,
		Asked: &sallyport.Asked{Door: Name, IP: a.call.IP}, Reasons: []string{reason}, Detail: detail})
	return err
}

// may is the permit to ask about a resource, nil where the point may not. It is taken once a request.
func (a *asking) may(action sallyport.Action, ref sallyport.Ref) (*guard.Permit, string, error) {
	if p := a.permits[ref]; p != nil && p.Allows(action) {
		return p, p.ID(), nil
	}
	c := a.call
	c.Action, c.Target = action, ref
	answer, err := a.door.Guard.Check(a.ctx, c)
	if err != nil || answer.Permit == nil {
		return nil, answer.ID, err
	}
	a.permits[ref] = answer.Permit
	return answer.Permit, answer.ID, nil
}

// done ends the permits. It returns when that is durable.
func (a *asking) done(cause error) error {
	status := http.StatusOK
	if cause != nil {
		status = statusOf(cause)
	}
	for _, p := range a.permits {
		if err := p.Done(sallyport.Delivered{Status: status}); err != nil {
			return err
		}
	}
	return nil
}

// read reads a body whole; the listener bounds how long it is waited for.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, sallyport.E("read request", sallyport.Invalid, "the Content-Type is not application/json", "")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxBody))
	if err != nil {
		return nil, sallyport.Wrap("read request", sallyport.TooLarge, fmt.Sprintf("the body broke off or is over %d bytes", wire.MaxBody), err)
	}
	return body, nil
}

// statusOf is the status of an error: a point that is not registered is forbidden (section 10.1.2).
func statusOf(err error) int {
	if status := httpsafe.Status(err); status != http.StatusNotFound {
		return status
	}
	return http.StatusForbidden
}

func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	switch {
	case status == http.StatusUnauthorized:
		caller.Challenge(w.Header(), err)
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case status == http.StatusInternalServerError:
		d.Logger.ErrorContext(r.Context(), "request failed", "door", Name, "path", r.URL.Path, "err", err)
	}
	http.Error(w, "Sallyport: "+sallyport.PublicText(err), status)
}

func (d *Door) answer(w http.ResponseWriter, r *http.Request, v any) {
	body, err := strict.Marshal(v)
	if err != nil {
		d.fail(w, r, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the point is gone: nothing is left to tell
}

// Metadata is what this decision point says of itself (section 9).
func (d *Door) Metadata() wire.Metadata {
	return wire.Metadata{PDP: d.External, Evaluation: d.External + wire.EvaluationPath, Evaluations: d.External + wire.EvaluationsPath,
		Subjects: d.External + wire.SubjectsPath, Resources: d.External + wire.ResourcesPath, Actions: d.External + wire.ActionsPath,
		Obligations: []string{custom}}
}
