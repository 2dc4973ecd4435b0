// Package signin owns the ceremony that leads from a first proof to a session (the authentication process of NIST SP
// 800-63B-4): sign-in, enrolment and step-up, as one state machine.
//
//	sign-in    nothing --Password--> [flow: code] --Code--> session aal2
//	                   \--------- no code generator and none required --------> session aal1
//	enrolment  link --Enrol--> [flow: enrol] --Confirm--> session aal2
//	passkey    nothing --SignInPasskey--> session phr or aal3
//	           [flow: code] --SecondPasskey--> session phr or aal3; --RecoveryCode--> session aal2
//	renewal    [flow: renew] --Renew--> session: in the place of any session after a password that is known from a breach
//	step-up    session --StepUp--> the same session, aal2, under a new bearer value; --StepUpPasskey--> phr or aal3
//
// Each arrow checks one proof and is recorded before its result is handed out: what cannot be recorded did not happen.
// A state in brackets is a row on the server, found by a handle of 256 bits that only the browser's cookie holds. A
// handle works once: a wrong code gives a new one, five give none. Enrolment stores nothing before its last arrow, so
// that one that is left half-way changes nothing.
//
// Somebody unknown, suspended, or without a password gets the answer of a wrong password, after the same work.
//
// The package leaves HTTP and HTML to web/login, proofs to credential, limits to session.
package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

const (
	flowLife    = 10 * time.Minute
	mostCodes   = 5 // wrong codes in one flow
	maxReturn   = 4096
	maxUserName = 63
)

// A Stage is a state between two proofs.
type Stage string

// The stages.
const (
	Done       Stage = ""      // there is a session
	NeedsCode  Stage = "code"  // the password was right, the code is next
	Confirming Stage = "enrol" // the password is chosen, the generator's first code is next
	Renewing   Stage = "renew" // all proofs were right, another password comes before the session
)

// A Flow is what is kept between two proofs.
type Flow struct {
	Hash     session.Hash // of the handle
	Stage    Stage
	Member   sallyport.PrincipalID
	Return   string              // where the browser wanted to go, as web/login checked it
	Attempts int                 // wrong codes so far
	Chosen   credential.Password // enrolment: stored at the end
	Sealed   []byte              // enrolment: the generator's sealed secret
	Found    Assessment          // after the first proof
	Proved   Proved              // renewal: what the session will be worth
	Expires  time.Time
}

// A Proved is what all proofs of a sign-in came to.
type Proved struct {
	Assurance sallyport.Assurance
	Methods   []string // RFC 8176
}

// A Store keeps flows. Methods are safe for concurrent use.
type Store interface {
	// PutFlow keeps a flow and forgets those that have expired at a time.
	PutFlow(ctx context.Context, f Flow, now time.Time) error
	// Flow returns a flow, NotFound where there is none.
	Flow(ctx context.Context, h session.Hash) (Flow, error)
	// TakeFlow removes a flow and returns it, NotFound where there is none. Of parallel calls one wins.
	TakeFlow(ctx context.Context, h session.Hash) (Flow, error)
}

// A Service runs the ceremony. All fields but Federation and Assess are needed; methods are safe for concurrent use.
type Service struct {
	Directory   *directory.Service
	Credentials *credential.Service
	Passkeys    *passkey.Service
	Recovery    *recovery.Service
	Sessions    *session.Service
	Flows       Store
	Fresh       time.Duration       // how old a proof may be for changing one's own authenticators
	Federation  *federation.Service // other people's identity providers; nil where there are none
	Require     sallyport.Assurance // people with less cannot sign in; MultiFactor asks everybody for a code
	// Assess says what is thought of an attempt after its first good proof; nil thinks nothing of any. Its error is
	// Unavailable to whoever signs in, never a silent pass.
	Assess func(ctx context.Context, a Attempt) (Assessment, error)
	// Note writes an event down, durably. Its error ends the ceremony.
	Note   func(ctx context.Context, e sallyport.Event) error
	Now    func() time.Time
	Random io.Reader
}

// A Client is the browser on the other side.
type Client struct {
	Source string      // shortened network address
	Agent  string      // for people to recognise
	Bearer secret.Text // of the session that it has, if any; a new sign-in makes it worthless: see start
	// For the assessment; only Device is kept.
	Address   netip.Addr // whole; the zero value where unknown
	UserAgent string     // the header, clipped to 512 bytes
	Device    string     // id of the enrolled device that the connection proved, or the mark of a browser seen before; "" otherwise
}

// A Step is where a proof has led.
type Step struct {
	Next    Stage
	Flow    secret.Text     // handle for the next proof; empty when done
	Bearer  secret.Text     // of the session; empty before
	Session session.Session // when done
	Return  string          // where the browser wanted to go
}

// Password takes the first proof of a sign-in. name is what was typed.
func (s *Service) Password(ctx context.Context, c Client, name string, password secret.Text, back string) (Step, error) {
	id := memberID(name)
	factors, err := s.Credentials.VerifyPassword(ctx, id, password)
	if err != nil {
		return Step{}, s.failed(ctx, c, id, err)
	}
	m, err := s.active(ctx, id)
	if err != nil {
		return Step{}, s.failed(ctx, c, id, err)
	}
	breached, err := s.Credentials.Known(password)
	if err != nil {
		return Step{}, err
	}
	found, err := s.assess(ctx, Attempt{Member: m, Client: c, Ceremony: "password", Methods: []string{"pwd"}, Has: sallyport.SingleFactor, Breached: breached})
	if err != nil {
		return Step{}, s.failed(ctx, c, id, err)
	}
	passkeys, err := s.hasPasskey(ctx, id)
	if err != nil {
		return Step{}, err
	}
	if factors.TOTP.Sealed != nil || passkeys {
		return s.next(ctx, Flow{Stage: NeedsCode, Member: id, Return: back, Found: found})
	}
	if s.Require > sallyport.SingleFactor || !factors.Password.Alone {
		err := sallyport.E("sign in", sallyport.Unknown, "this account needs a second factor and has none", "ask an administrator for an enrolment link").Because("factor.missing")
		return Step{}, s.failed(ctx, c, id, err)
	}
	return s.start(ctx, c, m, proof(m, "pwd"), Flow{Return: back, Found: found})
}

// Code takes the second proof of a sign-in. With a wrong code comes the Step for the next attempt, while there is one.
func (s *Service) Code(ctx context.Context, c Client, handle secret.Text, code string) (Step, error) {
	return s.goOn(ctx, handle, NeedsCode, func(f Flow) (Step, error) {
		if err := s.Credentials.VerifyTOTP(ctx, f.Member, code); err != nil {
			return s.again(ctx, c, f, err)
		}
		m, err := s.active(ctx, f.Member)
		if err != nil {
			return Step{}, s.failed(ctx, c, f.Member, err)
		}
		return s.start(ctx, c, m, proof(m, "pwd", "otp", "mfa"), f)
	})
}

// StepUp raises the client's session by a code.
func (s *Service) StepUp(ctx context.Context, c Client, code string) (Step, error) {
	one, m, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return Step{}, err
	}
	if one.Assurance > sallyport.MultiFactor {
		return Step{}, sallyport.E("step up", sallyport.Conflict, "this session was proved by a passkey, and a code would not renew that", "use your passkey")
	}
	if err := s.Credentials.VerifyTOTP(ctx, m.ID, code); err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	p := proof(m, "otp", "mfa")
	if !contains(one.Methods, "pwd") && !contains(one.Methods, "fed") {
		return Step{}, s.failed(ctx, c, m.ID, sallyport.E("step up", sallyport.Unknown, "this session did not begin with a password", "sign in again").Because("factor.missing"))
	}
	return s.raise(ctx, c, one, m, p)
}

// Session returns the live session of a bearer value and its member, who must be active.
func (s *Service) Session(ctx context.Context, bearer secret.Text) (session.Session, directory.Member, error) {
	one, err := s.Sessions.Lookup(ctx, bearer)
	if err != nil {
		return session.Session{}, directory.Member{}, err
	}
	m, err := s.active(ctx, one.Principal)
	if err != nil {
		return session.Session{}, directory.Member{}, err
	}
	return one, m, nil
}

// Revoke ends one session of the client's own principal, the present one included.
func (s *Service) Revoke(ctx context.Context, c Client, id, why string) error {
	one, err := s.Sessions.Lookup(ctx, c.Bearer)
	if err != nil {
		return err
	}
	target, err := s.Sessions.Get(ctx, id)
	if err != nil && sallyport.KindOf(err) != sallyport.Unknown {
		return err
	}
	if err != nil || target.Principal != one.Principal {
		return sallyport.E("revoke session", sallyport.NotFound, "you have no such session", "")
	}
	ordered := s.ordered()
	if err := s.Sessions.Revoke(ctx, id, why); err != nil {
		return err
	}
	return s.note(ctx, c, sallyport.EventSessionRevoked, target, map[string]string{"why": why, sallyport.Ordered: ordered})
}

// RevokeAll ends all sessions of the client's own principal.
func (s *Service) RevokeAll(ctx context.Context, c Client, why string) error {
	one, err := s.Sessions.Lookup(ctx, c.Bearer)
	if err != nil {
		return err
	}
	ordered := s.ordered()
	ids, err := s.Sessions.RevokeAll(ctx, one.Principal, why)
	if err != nil {
		return err
	}
	return s.note(ctx, c, sallyport.EventSessionRevoked, one, map[string]string{"why": why, "sessions": strings.Join(ids, " "),
		"everywhere": "true", sallyport.Ordered: ordered})
}

// ordered is when an order is given, as records have it.
func (s *Service) ordered() string { return strconv.FormatInt(s.Now().UnixMicro(), 10) }

// start ends a ceremony: the new session is written down, the one that the browser had is over, the new one is handed out.
// f is the ceremony's: where the browser wanted to go, and the assessment, which the proof must be strong enough for.
//
// What the same person has given out by the old session lives on, as it does where a session runs out: to sign in anew is
// not to sign out. Where somebody else signs in, the old session is revoked with all that came of it.
func (s *Service) start(ctx context.Context, c Client, m directory.Member, p session.Proof, f Flow) (Step, error) {
	if err := f.Found.strong(p.Assurance); err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	if f.Found.Renew {
		return s.next(ctx, Flow{Stage: Renewing, Member: m.ID, Return: f.Return, Found: f.Found, Proved: Proved{p.Assurance, p.Methods}})
	}
	p.Principal, p.Person, p.Source, p.Agent, p.Rating = m.ID, m.Person, c.Source, c.Agent, f.Found.Rating()
	old, err := s.Sessions.Peek(ctx, c.Bearer)
	if err != nil && sallyport.KindOf(err) != sallyport.Unknown {
		return Step{}, err
	}
	bearer, one, err := s.Sessions.Start(ctx, p)
	if err != nil {
		return Step{}, err
	}
	if err := s.note(ctx, c, sallyport.EventSignedIn, one, f.Found.Detail); err != nil {
		return Step{}, s.undo(ctx, one, err)
	}
	if err := s.replaced(ctx, c, old, m); err != nil {
		return Step{}, s.undo(ctx, one, err)
	}
	return Step{Bearer: bearer, Session: one, Return: f.Return}, nil
}

// replaced takes the browser's old session away, if it had one: m has signed in.
func (s *Service) replaced(ctx context.Context, c Client, old session.Session, m directory.Member) error {
	const why = "somebody else signed in with this browser"
	switch old.Principal {
	case "":
		return nil
	case m.ID:
		return s.Sessions.Retire(ctx, c.Bearer)
	}
	if err := s.note(ctx, c, sallyport.EventSessionRevoked, old, map[string]string{"why": why}); err != nil {
		return err
	}
	return s.Sessions.Revoke(ctx, old.ID, why)
}

// undo ends a session whose beginning could not be recorded. Its bearer value was not handed out, so that a store that
// fails now leaves nothing open.
func (s *Service) undo(ctx context.Context, one session.Session, cause error) error {
	_ = s.Sessions.Revoke(context.WithoutCancel(ctx), one.ID, "its beginning could not be recorded")
	return cause
}

// active returns a member who may sign in. Whoever may not is answered like a wrong password.
func (s *Service) active(ctx context.Context, id sallyport.PrincipalID) (directory.Member, error) {
	m, err := s.Directory.Get(ctx, id)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return directory.Member{}, err
	}
	if err != nil || m.State != directory.Active || m.ID.Kind() != sallyport.User {
		return directory.Member{}, sallyport.E("sign in", sallyport.Unknown, "the user name or the password is wrong", "try again, or ask an administrator for an enrolment link").Because("member.inactive")
	}
	return m, nil
}

// failed records a failure and returns its cause, or why it could not be recorded. A name is recorded only where a member
// has it: people type passwords into the wrong field.
func (s *Service) failed(ctx context.Context, c Client, id sallyport.PrincipalID, cause error) error {
	if k := sallyport.KindOf(cause); k != sallyport.Unknown && k != sallyport.Busy {
		return cause
	}
	if _, err := s.Directory.Get(ctx, id); err != nil {
		if sallyport.KindOf(err) != sallyport.NotFound {
			return err
		}
		id = ""
	}
	e := sallyport.Event{
		Type: sallyport.EventSignInFailed, At: s.Now().UnixMicro(), Who: id, Reasons: []string{sallyport.ReasonOf(cause)},
		Asked: &sallyport.Asked{Door: "login", IP: c.Source}, Detail: map[string]string{"agent": sallyport.OneLine(c.Agent)},
	}
	if err := s.Note(ctx, e); err != nil {
		return unrecorded(err)
	}
	return cause
}

func (s *Service) note(ctx context.Context, c Client, what sallyport.EventType, one session.Session, detail map[string]string) error {
	all := map[string]string{"agent": sallyport.OneLine(c.Agent), "amr": strings.Join(one.Methods, " "), "acr": one.Assurance.String()}
	for k, v := range detail {
		all[k] = v
	}
	e := sallyport.Event{
		Type: what, At: s.Now().UnixMicro(), Who: one.Principal, Detail: all,
		Asked: &sallyport.Asked{Door: "login", IP: c.Source, Session: one.ID, Assurance: int(one.Assurance), AuthTime: one.AuthTime.Unix()},
	}
	if err := s.Note(ctx, e); err != nil {
		return unrecorded(err)
	}
	return nil
}

func unrecorded(err error) error {
	return sallyport.Wrap("sign in", sallyport.Unavailable, "it cannot be written down at this moment; try again later", err)
}

// memberID is the id of the person of a typed name. A name that nobody can have becomes an id that nobody has, so that
// it costs and counts like any other; two such names are two ids, of bounded length.
func memberID(typed string) sallyport.PrincipalID {
	name := strings.ToLower(strings.TrimSpace(typed))
	if len(name) <= maxUserName {
		if id, err := sallyport.NewPrincipalID(sallyport.User, name); err == nil {
			return id
		}
	}
	sum := sha256.Sum256([]byte(name))
	return sallyport.PrincipalID("user:?" + hex.EncodeToString(sum[:8]))
}

func proof(m directory.Member, methods ...string) session.Proof {
	level := sallyport.SingleFactor
	if contains(methods, "mfa") {
		level = sallyport.MultiFactor
	}
	return session.Proof{Principal: m.ID, Person: m.Person, Assurance: level, Methods: methods}
}
