// Package federation owns what other people's identity providers are taken for here: the rules from their claims to members,
// groups and levels (NIST SP 800-63C-4), and the one-time records that tie an answer to the browser which asked for it.
//
// A person is known by issuer and subject, never by an e-mail address. What no rule names counts for nothing: no group, and no
// level above aal1.
//
//	browser --Begin--> [row: state] --> provider --> answer --Answer--> Person            (OpenID Connect)
//	browser --Begin--> [row: state] --> provider --> answer --Receive--> [row] --Finish--> Person    (SAML: a POST of another site)
//
// The browser keeps one random handle in a cookie. State, nonce and code verifier are derived from it, the rows hold nothing
// that finishes a sign-in. A row is used up by the first answer, right or wrong; not by one that could not be checked because the
// provider, or the store, was down.
//
// The protocols are in federation/oidc, federation/saml and federation/ldap. Members, groups and sessions are left to
// directory, session and signin, which composes them.
package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// flowLife is how long a person may take at the provider.
const flowLife = 10 * time.Minute

// The reasons of errors of kind Unknown, for the record.
const (
	ReasonUnknown = "federation.unknown"  // nobody here goes with who signed in there
	ReasonAnswer  = "federation.answer"   // the provider's answer proves nothing
	ReasonReplay  = "federation.replay"   // it was used before
	ReasonFlow    = "federation.flow"     // no sign-in of this browser waits for it
	ReasonStale   = "federation.stale"    // the person proved themselves too long ago
	ReasonWeak    = "federation.weak"     // the proof is weaker than people need here
	ReasonOutside = "federation.outside"  // the rules do not let them in
	ReasonDown    = "federation.down"     // the provider cannot be reached
	ReasonRefused = "federation.declined" // the provider, or the person at it, said no
)

// A Kind is how a provider is spoken to.
type Kind string

// The kinds.
const (
	OIDC Kind = "oidc"
	SAML Kind = "saml"
	LDAP Kind = "ldap"
)

// A Provider is one upstream and what is taken from it.
type Provider struct {
	Name   string // short name, part of addresses: "corp"
	Title  string // what people call it
	Kind   Kind
	Issuer string // the first half of every identity: issuer, entity id or, for LDAP, "ldap:" and the name
	Rules  Rules
	// Upstream speaks OpenID Connect or SAML; nil for LDAP.
	Upstream Upstream
	// Check proves a name and a password at an LDAP server; nil for others.
	Check func(ctx context.Context, name string, password secret.Text) (Assertion, error)
	// Logout reads a back-channel logout token; nil where there is none.
	Logout func(ctx context.Context, token string) (Ended, error)
	// Test reports whether the provider can be reached and what it presents.
	Test func(ctx context.Context) ([]string, error)
}

// An Upstream is a provider to which the browser is sent. Its methods are safe for concurrent use. A provider that cannot be
// reached is Unavailable with ReasonDown; an answer that proves nothing is Unknown.
type Upstream interface {
	// Begin returns the address at the provider where the browser goes.
	Begin(ctx context.Context, a Attempt) (string, error)
	// Read verifies an answer to an attempt, down to signature, time, audience and replay protection of the message.
	Read(ctx context.Context, a Attempt, answer url.Values) (Assertion, error)
}

// An Attempt is one journey to a provider.
type Attempt struct {
	State    string // comes back with the answer
	Nonce    string // OpenID Connect: comes back inside the token
	Verifier string // OpenID Connect: RFC 7636 code verifier
	Request  string // SAML: id of the request
	Fresh    bool   // the person must prove themselves anew
	MaxAge   time.Duration
	Begun    time.Time
}

// An Ended says which sessions of a provider are over: one where Session is set, otherwise all of a subject.
type Ended struct {
	Subject string
	Session string
	ID      string    // of the message, unique at the provider
	Until   time.Time // after this the message is refused for its age
}

// A Flow is the row behind one attempt, or behind a verified answer that waits for its browser.
type Flow struct {
	Key      Hash // of state, or of the browser's finishing value
	Provider string
	Request  string // SAML: id of the request
	Finish   Hash   // where a verified answer waits for its browser
	Return   string // where the browser wanted to go
	Fresh    bool
	Proved   *Person // a verified answer
	Member   sallyport.PrincipalID
	Attempts int // wrong codes so far, where a code of ours is needed on top
	Begun    time.Time
	Expires  time.Time
}

// A Store keeps flows and what was seen. Every change is durable when the method returns. Methods are safe for
// concurrent use.
type Store interface {
	// PutFlow keeps a flow and forgets those that have expired at a time.
	PutFlow(ctx context.Context, f Flow, now time.Time) error
	// TakeFlow removes a flow and returns it, NotFound where there is none. Of parallel calls one wins.
	TakeFlow(ctx context.Context, key Hash) (Flow, error)
	// Once notes that a provider's message was used, until a time; Conflict where it was before. Of parallel calls one wins.
	Once(ctx context.Context, provider, message string, until, now time.Time) error
	// Used reports whether a provider's message was used, as of a time.
	Used(ctx context.Context, provider, message string, now time.Time) (bool, error)
}

// A Service runs journeys to providers. All fields are needed; methods are safe for concurrent use.
type Service struct {
	Providers []Provider
	Store     Store
	Now       func() time.Time
	Random    io.Reader
}

// Provider returns a provider by its short name, NotFound where there is none. A nil service has none.
func (s *Service) Provider(name string) (Provider, error) {
	if s != nil {
		for _, p := range s.Providers {
			if p.Name == name {
				return p, nil
			}
		}
	}
	return Provider{}, sallyport.E("sign in", sallyport.NotFound, fmt.Sprintf("no identity provider is called %.63q", name), "choose one on the sign-in page")
}

// A Departure sends a browser to a provider.
type Departure struct {
	URL    string
	Handle secret.Text // for the browser's cookie; its bearer finishes the sign-in
}

// Begin starts a journey. fresh asks for a new proof even of somebody whom the provider knows; back is where the browser goes
// in the end.
func (s *Service) Begin(ctx context.Context, provider string, fresh bool, back string) (Departure, error) {
	p, err := s.Provider(provider)
	if err != nil {
		return Departure{}, err
	}
	if p.Upstream == nil {
		return Departure{}, sallyport.E("sign in", sallyport.Invalid, p.Title+" asks for name and password here", "use its form")
	}
	handle, err := newHandle(s.Random)
	if err != nil {
		return Departure{}, err
	}
	now := s.now()
	a := p.attempt(handle, Flow{Fresh: fresh, Begun: now})
	to, err := p.Upstream.Begin(ctx, a)
	if err != nil {
		return Departure{}, err
	}
	f := Flow{Key: hashText(a.State), Provider: p.Name, Request: a.Request, Finish: hashText(handle.derive("finish")),
		Return: back, Fresh: fresh, Begun: now, Expires: now.Add(flowLife)}
	if err := s.Store.PutFlow(ctx, f, now); err != nil {
		return Departure{}, err
	}
	return Departure{URL: to, Handle: handle.text()}, nil
}

// attempt derives what travels from a browser's handle.
func (p Provider) attempt(h handle, f Flow) Attempt {
	return Attempt{State: h.derive("state"), Nonce: h.derive("nonce"), Verifier: h.derive("verifier"), Request: "id-" + h.derive("request"),
		Fresh: f.Fresh, MaxAge: p.Rules.MaxAge, Begun: f.Begun}
}

// Answer takes an answer that arrives with the browser's cookie, and returns who it proves and where the browser wanted to go.
// The answer's state must be the one that this browser left with: anything else is somebody else's sign-in.
func (s *Service) Answer(ctx context.Context, provider string, cookie secret.Text, answer url.Values) (Person, string, error) {
	h, ok := parseHandle(cookie)
	if !ok || !same(only(answer, "state"), h.derive("state")) {
		return Person{}, "", noFlow()
	}
	p, f, err := s.take(ctx, provider, hashText(h.derive("state")))
	if err != nil {
		return Person{}, "", err
	}
	got, err := s.read(ctx, p, p.attempt(h, f), answer)
	if sallyport.KindOf(err) == sallyport.Unavailable { // it proved nothing, neither way: the same answer may come again
		if kept := s.Store.PutFlow(context.WithoutCancel(ctx), f, s.now()); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	return got, f.Return, err
}

// Receive takes an answer that another site posts, without the browser's cookie. What it proves waits for Finish.
func (s *Service) Receive(ctx context.Context, provider string, answer url.Values) error {
	state := only(answer, "RelayState")
	if state == "" {
		return noFlow() // begun by the provider: nobody here asked
	}
	p, f, err := s.take(ctx, provider, hashText(state))
	if err != nil {
		return err
	}
	got, err := s.read(ctx, p, Attempt{Request: f.Request, Fresh: f.Fresh, MaxAge: p.Rules.MaxAge, Begun: f.Begun}, answer)
	if err != nil {
		return err
	}
	f.Key, f.Proved = f.Finish, &got
	return s.Store.PutFlow(ctx, f, s.now())
}

// Finish hands a received answer to the browser that had asked for it.
func (s *Service) Finish(ctx context.Context, provider string, cookie secret.Text) (Person, string, error) {
	h, ok := parseHandle(cookie)
	if !ok {
		return Person{}, "", noFlow()
	}
	_, f, err := s.take(ctx, provider, hashText(h.derive("finish")))
	if err != nil {
		return Person{}, "", err
	}
	if f.Proved == nil {
		return Person{}, "", noFlow()
	}
	return *f.Proved, f.Return, nil
}

// Keep keeps a proof that needs a second one of ours, and returns the handle that continues.
func (s *Service) Keep(ctx context.Context, f Flow) (secret.Text, error) {
	h, err := newHandle(s.Random)
	if err != nil {
		return secret.Text{}, err
	}
	now := s.now()
	if f.Key = hashText(h.derive("code")); f.Expires.IsZero() {
		f.Begun, f.Expires = now, now.Add(flowLife)
	}
	return h.text(), s.Store.PutFlow(ctx, f, now)
}

// Kept uses up what Keep kept.
func (s *Service) Kept(ctx context.Context, provider string, cookie secret.Text) (Flow, error) {
	h, ok := parseHandle(cookie)
	if !ok {
		return Flow{}, noFlow()
	}
	_, f, err := s.take(ctx, provider, hashText(h.derive("code")))
	if err == nil && (f.Proved == nil || f.Member == "") {
		err = noFlow()
	}
	return f, err
}

// Ended reads a back-channel logout token: whose sessions are over. One that was used before is refused. Whoever has ended
// them calls Over: a token counts as used when it has done its work, because its provider sends it again where it has not.
func (s *Service) Ended(ctx context.Context, provider, token string) (Provider, Ended, error) {
	p, err := s.Provider(provider)
	if err != nil {
		return p, Ended{}, err
	}
	if p.Logout == nil {
		return p, Ended{}, sallyport.E("log out", sallyport.NotFound, "this provider sends no logout tokens", "")
	}
	e, err := p.Logout(ctx, token)
	if err != nil {
		return p, e, err
	}
	used, err := s.Store.Used(ctx, p.Name, "logout:"+e.ID, s.now())
	if err == nil && used {
		err = replayed(nil)
	}
	return p, e, err
}

// Over notes that what a logout token ends has ended. Of two of the same at once, which end the same, both are told so.
func (s *Service) Over(ctx context.Context, p Provider, e Ended) error {
	err := s.once(ctx, p, "logout:"+e.ID, e.Until)
	if sallyport.ReasonOf(err) == ReasonReplay {
		return nil
	}
	return err
}

// Map shows what the rules of a provider make of an assertion, for whoever writes them.
func (p Provider) Map(a Assertion, now time.Time) (Person, error) {
	return p.Rules.Read(a, p.Name, now)
}

// Proved applies a provider's rules to what was proved without a journey: by LDAP.
func (s *Service) Proved(p Provider, a Assertion) (Person, error) {
	if a.Issuer != p.Issuer {
		return Person{}, badAnswer("the answer names another issuer")
	}
	return p.Rules.Read(a, p.Name, s.now())
}

func (s *Service) read(ctx context.Context, p Provider, a Attempt, answer url.Values) (Person, error) {
	got, err := p.Upstream.Read(ctx, a, answer)
	if err != nil {
		return Person{}, err
	}
	if got.ID != "" {
		if err := s.once(ctx, p, "answer:"+got.ID, got.Expires); err != nil {
			return Person{}, err
		}
	}
	if err := got.recent(a, s.now()); err != nil {
		return Person{}, err
	}
	return s.Proved(p, got)
}

func (s *Service) once(ctx context.Context, p Provider, message string, until time.Time) error {
	err := s.Store.Once(ctx, p.Name, message, until.Add(leeway), s.now())
	if sallyport.KindOf(err) == sallyport.Conflict {
		return replayed(err)
	}
	return err
}

func replayed(cause error) error {
	return sallyport.Wrap("sign in", sallyport.Unknown, "this answer was used before", cause).Because(ReasonReplay)
}

func (s *Service) take(ctx context.Context, provider string, key Hash) (Provider, Flow, error) {
	p, err := s.Provider(provider)
	if err != nil {
		return p, Flow{}, err
	}
	f, err := s.Store.TakeFlow(ctx, key)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return p, Flow{}, err
	}
	if err != nil || f.Provider != p.Name || !s.Now().Before(f.Expires) {
		return p, Flow{}, noFlow()
	}
	return p, f, nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// only returns the single value of a parameter; two are none.
func only(v url.Values, name string) string {
	if all := v[name]; len(all) == 1 {
		return all[0]
	}
	return ""
}

func noFlow() error {
	return sallyport.E("sign in", sallyport.Unknown, "no sign-in of this browser waits for that answer", "begin again on the sign-in page").Because(ReasonFlow)
}

func badAnswer(why string) error {
	return sallyport.Wrap("sign in", sallyport.Unknown, "the identity provider's answer proves nothing", fmt.Errorf("%s", why)).Because(ReasonAnswer)
}
