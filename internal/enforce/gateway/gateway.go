// Package gateway owns the door for model traffic (policy enforcement point,
// PEP): the order of work on each request, its limits, and the delivery of the
// answer under a permit. A Protocol (one room a dialect) reads a request into one
// canonical call, serves it, and says no in the words of its clients.
//
// It leaves decisions to the guard, listeners and TLS to the server, and never
// sees policy or sessions.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A Protocol is one dialect of model traffic.
type Protocol interface {
	// Name is the door's name in records: "hfhub".
	Name() string
	// Routes is the dialect's table. What it does not cover is refused.
	Routes() Routes
	// Read reduces a request on a mapped route to one question. It reads the
	// body if the question is in it, once, and keeps what it parsed for serving.
	Read(r *http.Request, m Match) (Asked, error)
	// Refuse answers in the dialect that the request is refused. The whole answer
	// is the refusal; nothing of the request has been served.
	Refuse(w http.ResponseWriter, r *http.Request, f Refusal)
}

// Asked is a request as a protocol has read it.
type Asked struct {
	Target sallyport.Ref
	Action sallyport.Action // "" means the route's own
	File   string
	// Serve answers under the permit. Whatever it writes is counted, limited and
	// cut by the permit. An error after the first byte ends the connection unless
	// Serve has told the client in its dialect (then it returns a Told error).
	Serve func(d *Delivery) error
}

// A Refusal is everything a protocol needs to say no.
type Refusal struct {
	Answer guard.Answer // with Err nil: the decision
	Err    error        // no decision: bad request, no proof, unavailable
	Status int          // the HTTP status that fits
	Text   string       // one sentence with the decision id and the next step, printable ASCII, one line
}

// A Door takes requests of one protocol through the guard. It is an
// http.Handler for the paths below Prefix.
type Door struct {
	Protocol Protocol
	Guard    *guard.Guard
	Prefix   string // "/hf", without a trailing slash
	Audience string // what a token must be for: the external URL and the prefix
	Help     string // where people read on, the external URL
	Logger   *slog.Logger
	slots    chan struct{}
}

// New returns a door that serves at most concurrent requests at once.
func New(d Door, concurrent int) *Door {
	d.slots = make(chan struct{}, concurrent)
	return &d
}

// ServeHTTP is the order of work on one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		d.refuseErr(w, r, sallyport.E(d.Protocol.Name(), sallyport.Busy, "too many requests at once", "try again in a moment"))
		return
	}
	call := guard.Call{Door: d.Protocol.Name(), IP: httpsafe.PeerIP(r), CarryOut: obligation.Kinds(), Proof: d.proof(r)}
	match, ok := d.Protocol.Routes().Match(r.Method, strings.TrimPrefix(r.URL.EscapedPath(), d.Prefix))
	if !ok || match.Deny {
		d.unmapped(w, r, call, match)
		return
	}
	asked, err := d.Protocol.Read(r, match)
	if err != nil {
		d.refuseErr(w, r, err)
		return
	}
	call.Action, call.Target, call.File = match.Action, asked.Target, asked.File
	if asked.Action != "" {
		call.Action = asked.Action
	}
	answer, err := d.Guard.Check(r.Context(), call)
	if err != nil {
		d.refuseErr(w, r, err)
		return
	}
	if answer.Permit == nil {
		d.Protocol.Refuse(w, r, d.denied(answer, call))
		return
	}
	d.serve(w, r, asked, answer.Permit)
}

func (d *Door) proof(r *http.Request) guard.Proof {
	p := guard.Proof{Audience: d.Audience}
	if t, ok := httpsafe.Bearer(r); ok {
		p.Bearer = secret.NewText(t)
	}
	return p
}

// serve delivers under the permit and records the end. The last bytes of an
// answer whose length is known leave only after the record of the end is
// durable: a client never holds a whole answer that the log does not know.
func (d *Door) serve(w http.ResponseWriter, r *http.Request, asked Asked, p *guard.Permit) {
	dl := newDelivery(w, r, p)
	err := asked.Serve(dl)
	if err := dl.finish(err); err != nil {
		d.Logger.DebugContext(r.Context(), "delivery ended", "door", d.Protocol.Name(), "decision", p.ID(), "err", err)
		if !dl.started {
			d.refuseErr(w, r, err)
			return
		}
		panic(http.ErrAbortHandler) // the only way to tell an HTTP client that an answer is not whole
	}
}

func (d *Door) unmapped(w http.ResponseWriter, r *http.Request, c guard.Call, m Match) {
	id, err := d.Guard.Unmapped(r.Context(), c, r.Method, r.URL.EscapedPath())
	if err != nil {
		d.refuseErr(w, r, err)
		return
	}
	why := "this route is not offered here"
	if m.Note != "" {
		why += ": " + m.Note
	}
	a := guard.Answer{ID: id, Decision: sallyport.Decision{Reasons: []sallyport.Reason{{ID: "route.unmapped", Text: why}}}}
	d.Protocol.Refuse(w, r, Refusal{Answer: a, Status: http.StatusForbidden,
		Text: ascii(fmt.Sprintf("Sallyport %s: %s.", id, why))})
}

func (d *Door) denied(a guard.Answer, c guard.Call) Refusal {
	f := Refusal{Answer: a, Status: http.StatusForbidden, Text: Sentence(a, c)}
	switch {
	case a.Hidden:
		f.Status = http.StatusNotFound
	case a.Outcome == sallyport.StepUp:
		f.Status = http.StatusForbidden
	}
	return f
}

func (d *Door) refuseErr(w http.ResponseWriter, r *http.Request, err error) {
	f := Refusal{Err: err, Status: Status(err), Text: ascii("Sallyport: " + sallyport.PublicText(err) + ".")}
	if f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if f.Status == http.StatusInternalServerError {
		d.Logger.ErrorContext(r.Context(), "request failed", "door", d.Protocol.Name(), "err", err)
	}
	d.Protocol.Refuse(w, r, f)
}

// Status is the HTTP status for an error's kind.
func Status(err error) int {
	switch sallyport.KindOf(err) {
	case sallyport.Invalid:
		return http.StatusBadRequest
	case sallyport.Unknown:
		return http.StatusUnauthorized
	case sallyport.NotFound:
		return http.StatusNotFound
	case sallyport.Conflict:
		return http.StatusConflict
	case sallyport.TooLarge:
		return http.StatusRequestEntityTooLarge
	case sallyport.Busy:
		return http.StatusTooManyRequests
	case sallyport.Unavailable:
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, context.Canceled) {
		return 499
	}
	return http.StatusInternalServerError
}

// Sentence is what a refused person reads, whatever the client: the decision id,
// what was refused, why, and what to do next.
func Sentence(a guard.Answer, c guard.Call) string {
	if a.Hidden {
		return ascii(fmt.Sprintf("Sallyport %s: there is no %s that you may know of.", a.ID, c.Target))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Sallyport %s: %s on %s: %s", a.ID, c.Action, c.Target, a.Outcome)
	if len(a.Reasons) > 0 {
		text := a.Reasons[0].Text
		if text == "" {
			text = a.Reasons[0].ID
		}
		b.WriteString(" (" + strings.TrimSuffix(text, ".") + ")")
	}
	b.WriteString(".")
	for _, r := range a.Remedies {
		b.WriteString(" " + r.Text)
		if r.Command != "" {
			b.WriteString(": " + r.Command)
		}
	}
	return ascii(b.String())
}

// ascii keeps a sentence fit for a header value: one line of printable ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
