// Package gateway owns the door for model traffic (policy enforcement point,
// PEP): the order of work on each request, its limits, and the delivery of the
// answer under a permit. A Protocol (one room a dialect) reads a request into one
// canonical call, serves it, and says no in the words of its clients.
//
// It leaves decisions to the guard, listeners and TLS to the server, and never
// sees policy or sessions.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
	"sallyport/internal/identity/caller"
	"sallyport/internal/plumbing/httpsafe"
)

// A Protocol is one dialect of model traffic.
type Protocol interface {
	// Name is the door's name in records: "hfhub".
	Name() string
	// Routes is the dialect's table. What it does not cover is refused.
	Routes() Routes
	// Read reduces a request on a mapped route to one question. It reads the
	// body if the question is in it, once, and keeps what it parsed for serving.
	// It is called for a request with a body only after the caller was proved.
	Read(r *http.Request, m Match) (Asked, error)
	// Refuse answers in the dialect that the request is refused. The whole answer
	// is the refusal; nothing of the request has been served. How to prove oneself,
	// or more strongly (WWW-Authenticate), is said already.
	Refuse(w http.ResponseWriter, r *http.Request, f Refusal)
}

// A Carrier is a Protocol that carries out more obligations than those on bytes and
// their rate, which the door does by itself. What a permission obliges to and no one
// carries out is denied.
type Carrier interface {
	Carries() []sallyport.ObligationKind
}

// Asked is a request as a protocol has read it.
type Asked struct {
	Target sallyport.Ref
	Action sallyport.Action // "" means the route's own
	File   string
	// Inline is why only Serve can carry the question out, so that nobody else may do it on our word: an answer that is
	// filtered, a request that is changed. "" where there is no reason.
	Inline string
	// Serve answers under the permit. Whatever it writes is counted, limited and
	// cut by the permit. An error after the first byte ends the connection unless
	// Serve has told the client in its dialect (then it returns a Told error).
	Serve func(d *Delivery) error
}

// A Refusal is everything a protocol needs to say no.
type Refusal struct {
	Answer guard.Answer // the decision; with Err only its ID may be there
	Err    error        // what went wrong without or after a decision; nil for a decision
	Status int          // the HTTP status that fits
	Text   string       // one sentence with the decision id and the next step, printable ASCII, one line
	Header http.Header  // what Serve had prepared before it failed; nil without a permit
}

// A Door takes requests of one protocol through the guard. It is an
// http.Handler for the paths below Prefix. Make one with New.
type Door struct {
	Protocol Protocol
	Guard    *guard.Guard
	Prefix   string // "/hf", without a trailing slash
	Audience string // what a token must be for: the external URL and the prefix
	Help     string // where people read on, the external URL
	Logger   *slog.Logger
	Nonce    func() string     // of proofs of possession (RFC 9449, section 8); nil = none is given out
	Rates    *obligation.Rates // shared by doors, so that no door is a way around another's limit; nil = its own
	Name     string            // in records; "" = the protocol's
	Origin   string            // SCHEME://HOST[:PORT] of the requests; "" = the external URL
	// Pass, where it is set, takes a permitted request instead of the protocol's Serve: somebody else serves it, of whose
	// answer nothing is seen here. Then no obligation can be carried out, and what only Serve can do is refused.
	Pass func(w http.ResponseWriter, p *guard.Permit) error

	slots   chan struct{}
	buffers *sync.Pool // of *[]byte, copyBuffer long
}

// New returns a door that serves at most concurrent requests at once.
func New(d Door, concurrent int) *Door {
	d.slots, d.buffers = make(chan struct{}, concurrent), &sync.Pool{}
	if d.Rates == nil {
		d.Rates = &obligation.Rates{}
	}
	return &d
}

// ServeHTTP is the order of work on one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		d.refuse(w, r, sallyport.E(d.Protocol.Name(), sallyport.Busy, "too many requests at once", "try again in a moment"), nil)
		return
	}
	proof := caller.Proof(r, d.Audience)
	proof.Origin = d.Origin
	if d.Nonce != nil && len(proof.DPoP) > 0 {
		w.Header().Set("DPoP-Nonce", d.Nonce())
	}
	call := guard.Call{Door: cmp.Or(d.Name, d.Protocol.Name()), IP: proof.IP, CarryOut: d.carryOut(), Proof: proof}
	path, below := strings.CutPrefix(r.URL.EscapedPath(), d.Prefix)
	match, ok := d.Protocol.Routes().Match(r.Method, path)
	if !below || !ok || match.Deny {
		d.unmapped(w, r, call, match)
		return
	}
	call.Action = match.Action
	asked, err := d.read(r, match, &call)
	if err != nil {
		d.refuse(w, r, err, nil)
		return
	}
	if d.Pass != nil && asked.Inline != "" {
		match.Note = "ask inline, " + asked.Inline
		d.unmapped(w, r, call, match)
		return
	}
	call.Target, call.File = asked.Target, asked.File
	if asked.Action != "" {
		call.Action = asked.Action
	}
	answer, err := d.Guard.Check(r.Context(), call)
	switch {
	case err != nil:
		d.refuse(w, r, err, nil)
	case answer.Permit == nil:
		if answer.Outcome == sallyport.StepUp && !answer.Hidden {
			caller.StepUp(w.Header(), answer.Decision, proof.Scheme)
		}
		d.deny(w, r, denied(answer, call))
	case d.Pass != nil:
		if err := d.Pass(w, answer.Permit); err != nil {
			d.refuse(w, r, err, nil)
		}
	default:
		d.serve(w, r, asked, answer.Permit)
	}
}

// carryOut are the obligations that this door can carry out.
func (d *Door) carryOut() []sallyport.ObligationKind {
	if d.Pass != nil {
		return nil
	}
	kinds := obligation.Kinds()
	if c, ok := d.Protocol.(Carrier); ok {
		kinds = append(kinds, c.Carries()...)
	}
	return kinds
}

// read lets the protocol read the request. Nobody unknown makes us read a body,
// which the listener has arrive in time, and a known caller's unreadable request is
// recorded: it may be an attempt at two readings.
func (d *Door) read(r *http.Request, m Match, c *guard.Call) (Asked, error) {
	if r.ContentLength == 0 {
		asked, err := d.Protocol.Read(r, m)
		if err == nil {
			return asked, nil
		}
		return asked, d.unreadable(r.Context(), c, err)
	}
	if _, err := d.Guard.Identify(r.Context(), c); err != nil {
		return Asked{}, err
	}
	asked, err := d.Protocol.Read(r, m)
	if body, ok := r.Body.(*NotSent); ok && body.wanted {
		return Asked{Inline: "because the question is in the body, which was not sent along whole"}, nil
	}
	if err != nil {
		return asked, d.unreadable(r.Context(), c, err)
	}
	return asked, nil
}

// unreadable records a request that could not be read, and returns why: that the
// caller is unknown, that it cannot be recorded, or else cause.
func (d *Door) unreadable(ctx context.Context, c *guard.Call, cause error) error {
	who, err := d.Guard.Identify(ctx, c)
	if err != nil {
		return err
	}
	if _, err := d.Guard.Note(ctx, sallyport.Event{Type: sallyport.EventRefused, Who: who.ID, Action: c.Action,
		Asked: &sallyport.Asked{Door: c.Door, IP: c.IP}, Reasons: []string{sallyport.ReasonOf(cause)}}); err != nil {
		return err
	}
	return cause
}

// NotSent is the body of a request of which somebody else holds the body. Reading it fails, and makes the question one
// that only who has the body can be asked.
type NotSent struct{ wanted bool }

// Read implements io.Reader.
func (b *NotSent) Read([]byte) (int, error) {
	b.wanted = true
	return 0, sallyport.E("read request", sallyport.Invalid, "the body was not sent along whole", "ask inline")
}

// Close implements io.Closer.
func (b *NotSent) Close() error { return nil }

// serve delivers under the permit and records the end. The last bytes of an
// answer whose length is known leave only after the record of the end is
// durable: a client never holds a whole answer that the log does not know.
func (d *Door) serve(w http.ResponseWriter, r *http.Request, asked Asked, p *guard.Permit) {
	dl := newDelivery(w, r, p, d)
	err := dl.finish(d.run(dl, asked))
	if err == nil {
		return
	}
	d.Logger.DebugContext(r.Context(), "delivery ended", "door", d.Protocol.Name(), "decision", p.ID(), "err", err)
	if dl.started {
		// It cannot happen in another way: net/http tells a client that its answer is not whole only when the handler panics so.
		panic(http.ErrAbortHandler)
	}
	d.refuse(w, r, err, dl)
}

// run serves, and makes an error of a panic, so that the permit ends in any case.
func (d *Door) run(dl *Delivery, asked Asked) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("serve %s: panic: %v", dl.Permit.ID(), v)
			d.Logger.Error("serving panicked", "door", d.Protocol.Name(), "decision", dl.Permit.ID(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	return asked.Serve(dl)
}

func (d *Door) unmapped(w http.ResponseWriter, r *http.Request, c guard.Call, m Match) {
	id, err := d.Guard.Unmapped(r.Context(), c, r.Method, r.URL.EscapedPath())
	if err != nil {
		d.refuse(w, r, err, nil)
		return
	}
	why := "this route is not offered here"
	if m.Note != "" {
		why += ": " + m.Note
	}
	a := guard.Answer{ID: id, Decision: sallyport.Decision{Reasons: []sallyport.Reason{{ID: "route.unmapped", Text: why}}}}
	d.deny(w, r, Refusal{Answer: a, Status: http.StatusForbidden, Text: ascii(fmt.Sprintf("Sallyport %s: %s.", id, why))})
}

// denied is the refusal of a decision. What is not there for anybody is not
// found, for those who may know about it.
func denied(a guard.Answer, c guard.Call) Refusal {
	f := Refusal{Answer: a, Status: http.StatusForbidden, Text: guard.Sentence(a, c)}
	switch {
	case a.Hidden:
		f.Status = http.StatusNotFound
	case a.Resource.Kind == "":
		f.Status, f.Text = http.StatusNotFound, ascii(fmt.Sprintf("Sallyport %s: there is no %s.", a.ID, c.Target))
	}
	return f
}

func (d *Door) deny(w http.ResponseWriter, r *http.Request, f Refusal) {
	w.Header().Set(decisionHeader, f.Answer.ID)
	d.Protocol.Refuse(w, r, f)
}

// refuse answers an error: before a decision, or with dl when serving failed
// before its first byte.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, err error, dl *Delivery) {
	f := Refusal{Err: err, Status: httpsafe.Status(err), Text: ascii("Sallyport: " + sallyport.PublicText(err) + ".")}
	if cut, ok := errors.AsType[*guard.Cut](err); ok {
		f.Status, f.Text = http.StatusForbidden, ascii(cut.Error()+".")
	}
	if dl != nil {
		f.Answer.ID, f.Header = dl.Permit.ID(), dl.header
		w.Header().Set(decisionHeader, dl.Permit.ID())
	}
	switch f.Status {
	case http.StatusUnauthorized:
		caller.Challenge(w.Header(), err)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	case http.StatusInternalServerError:
		d.Logger.ErrorContext(r.Context(), "request failed", "door", d.Protocol.Name(), "err", err)
	}
	d.Protocol.Refuse(w, r, f)
}

// decisionHeader carries the decision id on every answer that has one.
const decisionHeader = "Sallyport-Decision"

// ascii keeps a sentence fit for a header value: one line of printable ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
