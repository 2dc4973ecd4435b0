package signin

import (
	"context"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

// PasskeySignIn begins a sign-in by a passkey alone, by whoever has one.
func (s *Service) PasskeySignIn(ctx context.Context) (passkey.Options, error) {
	return s.Passkeys.BeginSignIn(ctx)
}

// SignInPasskey takes the answer to PasskeySignIn: a passkey is the first proof and the only one that is needed.
func (s *Service) SignInPasskey(ctx context.Context, c Client, handle secret.Text, response []byte, back string) (Step, error) {
	got, m, err := s.proved(ctx, c, answer{handle, passkey.SignIn, "", response})
	if err != nil {
		return Step{}, s.failed(ctx, c, got.Member, err)
	}
	return s.begin(ctx, Attempt{Member: m, Client: c, Ceremony: "passkey"}, passkeyProof(m, got), back)
}

// PasskeySecond begins the second proof of a sign-in that waits for one, without using its handle up.
func (s *Service) PasskeySecond(ctx context.Context, flow secret.Text) (passkey.Options, error) {
	f, err := s.peek(ctx, flow, NeedsCode)
	if err != nil {
		return passkey.Options{}, err
	}
	return s.Passkeys.BeginProof(ctx, passkey.Second, f.Member, "")
}

// SecondPasskey takes the answer to PasskeySecond. With a wrong one comes the Step for the next attempt, while there is
// one.
func (s *Service) SecondPasskey(ctx context.Context, c Client, flow, handle secret.Text, response []byte) (Step, error) {
	return s.goOn(ctx, flow, NeedsCode, func(f Flow) (Step, error) { return s.second(ctx, c, f, handle, response) })
}

func (s *Service) second(ctx context.Context, c Client, f Flow, handle secret.Text, response []byte) (Step, error) {
	got, m, err := s.proved(ctx, c, answer{handle, passkey.Second, "", response})
	if err != nil {
		return s.again(ctx, c, f, err)
	}
	if got.Member != f.Member {
		return Step{}, s.failed(ctx, c, f.Member, flowEnded())
	}
	p := passkeyProof(m, got)
	p.Methods = append([]string{"pwd"}, p.Methods...)
	return s.start(ctx, c, m, p, f)
}

// PasskeyStepUp begins the raising of the client's session by a passkey.
func (s *Service) PasskeyStepUp(ctx context.Context, c Client) (passkey.Options, error) {
	one, m, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return passkey.Options{}, err
	}
	return s.Passkeys.BeginProof(ctx, passkey.StepUp, m.ID, one.ID)
}

// StepUpPasskey takes the answer to PasskeyStepUp, in the session that began it.
func (s *Service) StepUpPasskey(ctx context.Context, c Client, handle secret.Text, response []byte) (Step, error) {
	one, _, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return Step{}, err
	}
	got, m, err := s.proved(ctx, c, answer{handle, passkey.StepUp, one.ID, response})
	if err != nil {
		return Step{}, s.failed(ctx, c, one.Principal, err)
	}
	return s.raise(ctx, c, one, m, passkeyProof(m, got))
}

// An answer is what a browser sends to finish a ceremony.
type answer struct {
	handle   secret.Text
	kind     passkey.Kind
	session  string // in which it was begun
	response []byte
}

// proved verifies an answer, and records a passkey that was found out as a copy.
func (s *Service) proved(ctx context.Context, c Client, a answer) (passkey.Proved, directory.Member, error) {
	got, err := s.Passkeys.Finish(ctx, a.handle, a.kind, a.session, a.response)
	if err != nil && sallyport.ReasonOf(err) == passkey.ReasonCloned {
		e := s.event(c, sallyport.EventCloned, got.Member, a.session, about(got.Passkey))
		if noted := s.Note(ctx, e); noted != nil {
			err = unrecorded(noted)
		}
	}
	if err != nil {
		return got, directory.Member{}, err
	}
	m, err := s.active(ctx, got.Member)
	return got, m, err
}

func passkeyProof(m directory.Member, got passkey.Proved) session.Proof {
	return session.Proof{Principal: m.ID, Person: m.Person, Assurance: got.Class.Assurance(), Methods: got.Class.Methods()}
}

// raise raises the client's session by a further proof, once it is assessed and written down.
func (s *Service) raise(ctx context.Context, c Client, one session.Session, m directory.Member, p session.Proof) (Step, error) {
	found, err := s.assess(ctx, Attempt{Member: m, Client: c, Ceremony: "step-up", Methods: p.Methods, Has: p.Assurance, Session: one.ID})
	if err == nil {
		err = found.strong(p.Assurance)
	}
	if err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	raised, err := s.Sessions.Raised(one, p)
	if err != nil {
		return Step{}, err
	}
	if err := s.note(ctx, c, sallyport.EventSteppedUp, raised, map[string]string{"ceremony": "step-up"}); err != nil {
		return Step{}, err
	}
	bearer, raised, err := s.Sessions.Raise(ctx, c.Bearer, p)
	return Step{Bearer: bearer, Session: raised}, err
}

// Ways are what a person can give as second proof.
type Ways struct{ Code, Passkey, Recovery bool }

// Ways tells what the sign-in of a handle can go on with, without using it up.
func (s *Service) Ways(ctx context.Context, flow secret.Text) (Ways, error) {
	f, err := s.peek(ctx, flow, NeedsCode)
	if err != nil {
		return Ways{}, err
	}
	return s.WaysOf(ctx, f.Member)
}

// WaysOf tells what a person has beside the password.
func (s *Service) WaysOf(ctx context.Context, id sallyport.PrincipalID) (Ways, error) {
	f, err := s.Credentials.Store.Factors(ctx, id)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound { // who signs in elsewhere may have none here
		return Ways{}, err
	}
	w := Ways{Code: f.TOTP.Sealed != nil}
	if w.Passkey, err = s.hasPasskey(ctx, id); err != nil {
		return Ways{}, err
	}
	left, err := s.Recovery.CodesLeft(ctx, id)
	w.Recovery = left > 0
	return w, err
}

// hasPasskey tells whether a person has a passkey that can be used on this server.
func (s *Service) hasPasskey(ctx context.Context, id sallyport.PrincipalID) (bool, error) {
	if s.Passkeys.Off() != nil {
		return false, nil
	}
	usable, err := s.Passkeys.Usable(ctx, id)
	return len(usable) > 0, err
}
