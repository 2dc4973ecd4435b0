// Package guard owns the one way through: the phases that no door may skip
// (policy enforcement point, PEP; NIST SP 800-207), the Permit that opens what is
// guarded, and the cut that ends it.
//
// A call goes through Check: who is asking, what is asked for, enter, what is
// known, may they, write it down. Only then is there a Permit. A call is entered
// before its facts are gathered, so that no revocation falls between the two:
// Sweep, which runs whenever the facts change and every second, decides every
// entered call again and cuts those that would not be permitted now.
//
// The guard leaves protocols, HTTP and bytes to the doors, decisions to
// authz/decision, facts to authz/facts and durability to audit/trail.
package guard

import (
	"context"
	"encoding/base32"
	"errors"
	"io"
	"log/slog"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/facts"
	"sallyport/internal/plumbing/secret"
)

// A Proof is what a caller presented to say who they are.
type Proof struct {
	Bearer   secret.Text // an access token, without the scheme
	Audience string      // the door's own name, which the token must be for

	Scheme string   // the authorization scheme it came with: "Bearer", "DPoP" or "Basic"; "" counts as Bearer
	DPoP   []string // every DPoP header of the request (RFC 9449, section 4.1)
	Method string   // of the HTTP request
	URL    string   // of the HTTP request, below Origin, without a query
	Origin string   // SCHEME://HOST[:PORT] that the client called; "" is the configured external URL
	// Certificate is the peer's certificate of the connection (DER), verified by the listener against the device
	// authority, nil where it showed none.
	Certificate []byte
	// Machine is the service that a device's certificate proves by itself, where no token is shown: "" at every door but
	// those of enforcement points.
	Machine sallyport.PrincipalID
	// Session is the session cookie of our own pages, which only their door puts here; Bearer is empty then.
	Session secret.Text
	IP      string // textual address of the peer
}

// A Call is one canonical question, as a door has read it.
type Call struct {
	Door   string // name of the door, for the record
	Action sallyport.Action
	Target sallyport.Ref
	File   string // path inside a version, "" for the whole
	// Environment is where the target has to stand: what stands elsewhere is not there. "" = anywhere.
	Environment sallyport.Environment
	// To is where an action that Enters an environment brings the target; Here = where it stands. Without it such an
	// action is refused.
	To       sallyport.Environment
	Proof    Proof
	IP       string                     // textual address of the peer
	CarryOut []sallyport.ObligationKind // what the door is able to carry out

	who *sallyport.Principal // whom Identify has proved
}

// Here is Call.To of what moves nothing to another environment, such as another name for a version.
const Here sallyport.Environment = "here"

// An Answer is what Check found. A refusal is an answer, not an error.
type Answer struct {
	sallyport.Decision
	ID       string // decision id, "D-…"
	Seq      uint64 // its place in the trail
	Hidden   bool   // with a refusal: the caller may not know that the target exists
	Page     string // with a refusal that a request may turn: where to ask in a browser, filled in
	Resource sallyport.Resource
	Permit   *Permit // nil unless the outcome is Allow
}

// A Recorder appends events to the trail and returns when they are durable. It
// must not give up because the caller did.
type Recorder func(ctx context.Context, bodies ...[]byte) (first uint64, err error)

// A Guard makes permits. Its fields are set once, before the first call; its
// methods may be called from many goroutines.
type Guard struct {
	Who    func(ctx context.Context, p Proof, now time.Time) (sallyport.Principal, error)
	Facts  *facts.Keeper
	Record Recorder
	Clock  func() time.Time
	Rand   io.Reader
	Logger *slog.Logger
	// Opinions asks the decision points elsewhere that have a say in a question which is permitted here; nil = there are
	// none. They narrow. An error is of kind Unavailable: then nothing is permitted.
	Opinions func(ctx context.Context, f decision.Facts) ([]decision.Opinion, error)
	// Swept is told of the first sweep on each snapshot that has one, when it is over. It is called by one goroutine at a
	// time and must not wait; nil = nobody asks.
	Swept func(Swept)
	// External is the URL under which people find the pages, without a slash at its end; "" names none.
	External string

	open  openCalls
	known knownBases
}

// Check takes one call through every phase. An error means that no decision could
// be made: sallyport.Unknown when nobody was proved, sallyport.Unavailable when
// facts or record cannot be had. In both cases nothing was permitted.
func (g *Guard) Check(ctx context.Context, c Call) (Answer, error) {
	now := g.now()
	who, err := g.identify(ctx, c, now)
	if err != nil {
		return Answer{}, err
	}
	p := &Permit{guard: g, call: c, who: who, began: now}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	g.open.enter(p)

	snap := g.Facts.Snapshot() // after entering: a change from here on finds the call in Sweep
	a, err := g.decide(ctx, p, snap)
	if err != nil || a.Outcome != sallyport.Allow {
		g.open.leave(p)
		p.cancel(nil)
		return a, err
	}
	if g.Facts.Snapshot() != snap {
		g.Sweep(ctx, 0) // the facts changed while it was being decided, perhaps before Sweep could judge it
	}
	a.Permit = p
	return a, nil
}

// Identify proves who is asking and nothing more, for doors that want to know before
// they read on. The call remembers it: a proof of possession counts once, and Check
// of the same call does not ask for it again.
func (g *Guard) Identify(ctx context.Context, c *Call) (sallyport.Principal, error) {
	who, err := g.identify(ctx, *c, g.now())
	if err == nil {
		c.who = &who
	}
	return who, err
}

func (g *Guard) identify(ctx context.Context, c Call, now time.Time) (who sallyport.Principal, err error) {
	if c.who != nil && now.Before(c.who.Expires) {
		who = *c.who
	} else {
		who, err = g.Who(ctx, c.Proof, now)
	}
	if err == nil {
		err = g.Facts.Snapshot().Live(who, now)
	}
	if err == nil || sallyport.KindOf(err) != sallyport.Unknown {
		return who, err
	}
	e := g.event(sallyport.EventRefused, c, whose(who, err))
	e.Reasons = []string{sallyport.ReasonOf(err)}
	if _, rerr := g.write(ctx, e); rerr != nil {
		return who, rerr
	}
	return who, err
}

// whose is whom a refusal is written down of: who was proved, or who the error says that the proof was of.
func whose(who sallyport.Principal, err error) sallyport.PrincipalID {
	type known interface {
		error
		Whose() sallyport.PrincipalID
	}
	if of, ok := errors.AsType[known](err); ok && who.ID == "" {
		return of.Whose()
	}
	return who.ID
}

// decide runs the phases after entering: resolve, gather, decide, write down. The
// caller has entered p.
func (g *Guard) decide(ctx context.Context, p *Permit, snap *facts.Snapshot) (Answer, error) {
	id, err := g.newID()
	if err != nil {
		return Answer{}, err
	}
	if err := snap.Live(p.who, g.now()); err != nil {
		return Answer{}, err
	}
	f, err := g.gather(p, snap)
	if err != nil {
		return Answer{}, err
	}
	d, err := g.judge(ctx, p, snap, &f)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Decision: decision.Shown(snap.Engine(), d), ID: id, Resource: f.Resource}
	if d.Outcome != sallyport.Allow {
		// What one may not know of gets no way out, and no search for one.
		if a.Hidden = !g.mayKnow(p, snap, f); !a.Hidden && !carried(d) {
			a.Remedies, a.Otherwise = decision.Remedies(snap.Engine(), f, d)
			a.Page = g.page(a)
		}
	}
	p.id, p.resource, p.obligations = id, f.Resource, d.Obligations
	p.basis.Store(f.Basis)
	if a.Seq, err = g.writeDecision(ctx, p, f, d); err != nil {
		return Answer{}, err
	}
	if stale(d) {
		return a, sallyport.E("check", sallyport.Unavailable, "what is known about this is too old to decide on", "try again shortly")
	}
	return a, nil
}

// page is where to ask for what a refusal says can be asked for.
func (g *Guard) page(a Answer) string {
	for _, way := range append([][]sallyport.Remedy{a.Remedies}, a.Otherwise...) {
		for _, r := range way {
			if r.Kind == sallyport.RemedyRequest && g.External != "" {
				return g.External + "/approvals/ask?from=" + a.ID
			}
		}
	}
	return ""
}

// gather resolves the target and collects the facts from one snapshot.
func (g *Guard) gather(p *Permit, snap *facts.Snapshot) (decision.Facts, error) {
	now := g.now()
	resource, _ := snap.Resolve(p.call.Target)
	if at := p.call.Environment; at != "" && resource.Environment != at {
		resource = sallyport.Resource{} // as for a name that stands for nothing
	}
	f, err := snap.Facts(p.who, resource, now, p.call.IP)
	if err != nil {
		return decision.Facts{}, sallyport.Wrap("gather facts", sallyport.Unavailable, "the facts for this decision cannot be had", err)
	}
	f.Action, f.Door, f.File, f.To = p.call.Action, p.call.Door, p.call.File, into(p.call.To, f.Resource)
	return f, nil
}

// into is where a call goes; what is no environment is recorded as nothing that was said.
func into(to sallyport.Environment, x sallyport.Resource) sallyport.Environment {
	if to == Here {
		return x.Environment
	}
	env, err := sallyport.ParseEnvironment(string(to))
	if err != nil {
		return ""
	}
	return env
}

// mayKnow asks whether the caller could read about the target, so that a door can
// withhold that it exists. Of a revision that is not there, whoever may read the
// model may know. A name that stands for nothing costs the same two evaluations as
// one that the caller may not know of.
func (g *Guard) mayKnow(p *Permit, snap *facts.Snapshot, f decision.Facts) bool {
	if f.Resource.Kind != "" {
		return decision.Knowable(snap.Engine(), f)
	}
	bare := p.call.Target
	bare.Revision = ""
	x, ok := snap.Resolve(bare)
	ok = ok && p.call.Target.Revision != ""
	if !ok {
		x = snap.Nothing(p.who.ID, p.call.Target.Kind)
	}
	about, err := snap.Facts(p.who, x, f.At, f.IP)
	if err != nil {
		return false
	}
	f.Basis, f.Acting = about.Basis, about.Acting
	if !ok {
		_ = decision.Judge(snap.Engine(), f)
	}
	return decision.Knowable(snap.Engine(), f) && ok
}

// carry denies a permission that obliges to what the door cannot carry out, and keeps in f what it can: a replay says the same.
func carry(f *decision.Facts, d sallyport.Decision, can []sallyport.ObligationKind) sallyport.Decision {
	if d.Outcome == sallyport.Allow && len(d.Obligations) > 0 {
		f.Carries = decision.Carries(can)
	}
	return f.Carried(d)
}

// carried reports whether d is a permission that the door cannot carry out.
func carried(d sallyport.Decision) bool {
	return len(d.Reasons) == 1 && d.Reasons[0].ID == decision.ObligationUnsupported
}

// stale reports whether the only reason is the age of the facts, which is our
// failure and not the caller's.
func stale(d sallyport.Decision) bool {
	return len(d.Reasons) == 1 && d.Reasons[0].ID == "facts.stale"
}

// Visible returns those of refs, resolved, on which the permit's holder may do a.
// It is for filtering the answer to a permitted question; nothing is recorded.
func (g *Guard) Visible(p *Permit, a sallyport.Action, refs []sallyport.Ref) []sallyport.Resource {
	snap := g.Facts.Snapshot()
	var visible []sallyport.Resource
	for _, r := range refs {
		x, ok := snap.Resolve(r)
		if !ok {
			continue
		}
		asked := &Permit{call: p.call, who: p.who}
		asked.call.Target, asked.call.Action = r, a
		f, err := g.gather(asked, snap)
		if err == nil && decision.Judge(snap.Engine(), f).Outcome == sallyport.Allow {
			visible = append(visible, x)
		}
	}
	return visible
}

// now is the clock cut to what the trail keeps, so that a replay sees the same.
func (g *Guard) now() time.Time { return g.Clock().UTC().Truncate(time.Microsecond) }

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID draws 60 random bits: enough that two decisions of one log do not meet,
// short enough to be read out.
func (g *Guard) newID() (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(g.Rand, b[:]); err != nil {
		return "", sallyport.Wrap("check", sallyport.Unavailable, "no randomness for a decision id", err)
	}
	return "D-" + idEncoding.EncodeToString(b[:])[:12], nil
}
