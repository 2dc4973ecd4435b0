package signin

import (
	"context"
	"strconv"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

// StepUpNeeded is the cause of an error of kind Conflict: a fresh proof of a level comes first.
type StepUpNeeded struct{ Level sallyport.Assurance }

// Error says which.
func (e *StepUpNeeded) Error() string { return "a fresh proof of " + e.Level.String() + " is needed" }

// ReasonStale is the reason of such an error, for the record.
const ReasonStale = "proof.stale"

// Owner returns the client's session for a change of its own authenticators. The proof must be fresh, and by a passkey
// where there is one: whoever finds a password and a code cannot make themselves at home.
func (s *Service) Owner(ctx context.Context, c Client) (session.Session, directory.Member, error) {
	one, m, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return session.Session{}, directory.Member{}, err
	}
	level := sallyport.MultiFactor
	has, err := s.hasPasskey(ctx, m.ID)
	if err != nil {
		return session.Session{}, directory.Member{}, err
	}
	if has {
		level = sallyport.PhishingResistant
	}
	if !one.Fresh(level, s.Fresh, s.Now()) {
		e := sallyport.Wrap("change account", sallyport.Conflict, "this needs a fresh proof that it is you", &StepUpNeeded{level}).Because(ReasonStale)
		e.Hint = "confirm it and try again"
		return session.Session{}, directory.Member{}, e
	}
	return one, m, nil
}

// PasskeyAdd begins the registration of a passkey for the client.
func (s *Service) PasskeyAdd(ctx context.Context, c Client) (passkey.Options, error) {
	one, m, err := s.Owner(ctx, c)
	if err != nil {
		return passkey.Options{}, err
	}
	return s.Passkeys.BeginRegister(ctx, passkey.Person{ID: m.ID, Display: m.Display}, one.ID)
}

// AddPasskey takes the answer to PasskeyAdd. The Step carries the session's new bearer value.
func (s *Service) AddPasskey(ctx context.Context, c Client, handle secret.Text, label string, response []byte) (Step, error) {
	one, m, err := s.Owner(ctx, c)
	if err != nil {
		return Step{}, err
	}
	p, err := s.Passkeys.FinishRegister(ctx, handle, one.ID, label, response)
	if err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	if p.Member != m.ID {
		return Step{}, sallyport.E("add passkey", sallyport.Other, "the ceremony is another person's", "")
	}
	detail := about(p)
	detail["what"], detail["class"] = "passkey added", string(s.Passkeys.Class(p))
	return s.changed(ctx, c, one, detail, func() error { return s.Passkeys.Add(ctx, p) })
}

// RenamePasskey changes what the client calls one of its passkeys.
func (s *Service) RenamePasskey(ctx context.Context, c Client, id, label string) error {
	one, _, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return err
	}
	return s.Passkeys.Rename(ctx, one.Principal, id, label)
}

// RemovePasskey forgets a passkey of the client, unless nothing strong would be left. The Step carries the session's new
// bearer value.
func (s *Service) RemovePasskey(ctx context.Context, c Client, id string) (Step, error) {
	one, m, err := s.Owner(ctx, c)
	if err != nil {
		return Step{}, err
	}
	p, err := s.Passkeys.Get(ctx, m.ID, id)
	if err != nil {
		return Step{}, err
	}
	f, err := s.Credentials.Store.Factors(ctx, m.ID)
	if err != nil {
		return Step{}, err
	}
	usable, err := s.Passkeys.Usable(ctx, m.ID)
	if err != nil {
		return Step{}, err
	}
	if p.Locked.IsZero() && len(usable) <= 1 && (f.Password.Hash == "" || f.TOTP.Sealed == nil) {
		return Step{}, sallyport.E("remove passkey", sallyport.Conflict, "this is the last strong proof of your account", "add another passkey first")
	}
	detail := about(p)
	detail["what"] = "passkey removed"
	return s.changed(ctx, c, one, detail, func() error { return s.Passkeys.Remove(ctx, m.ID, id) })
}

// NewRecoveryCodes makes ten codes for the client, which are shown now and never again; those from before end.
func (s *Service) NewRecoveryCodes(ctx context.Context, c Client) ([]secret.Text, Step, error) {
	one, m, err := s.Owner(ctx, c)
	if err != nil {
		return nil, Step{}, err
	}
	var codes []secret.Text
	step, err := s.changed(ctx, c, one, map[string]string{"what": "recovery codes made"}, func() (err error) {
		codes, err = s.Recovery.NewCodes(ctx, m.ID)
		return err
	})
	return codes, step, err
}

// ChangePassword replaces the client's password, knowing the old one and after a fresh proof of both factors. Its other
// sessions end.
func (s *Service) ChangePassword(ctx context.Context, c Client, old, fresh secret.Text) (Step, error) {
	one, m, err := s.Owner(ctx, c)
	if err != nil {
		return Step{}, err
	}
	f, err := s.Credentials.VerifyPassword(ctx, m.ID, old)
	if err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	chosen, err := s.Credentials.HashPassword(ctx, fresh, f.TOTP.Sealed != nil, aboutMember(m))
	if err != nil {
		return Step{}, err
	}
	return s.changed(ctx, c, one, map[string]string{"what": "password changed"}, func() error {
		if err := s.Credentials.Enrol(ctx, m.ID, credential.Factors{Password: chosen}); err != nil {
			return err
		}
		return s.endOthers(ctx, one, "the password was changed")
	})
}

// endOthers ends the other sessions of a session's principal.
func (s *Service) endOthers(ctx context.Context, one session.Session, why string) error {
	all, err := s.Sessions.List(ctx, one.Principal)
	for _, other := range all {
		if err == nil && other.ID != one.ID {
			err = s.Sessions.Revoke(ctx, other.ID, why)
		}
	}
	return err
}

// changed writes a change of authenticators down, makes it, and gives the session a new bearer value.
func (s *Service) changed(ctx context.Context, c Client, one session.Session, detail map[string]string, change func() error) (Step, error) {
	if err := s.note(ctx, c, sallyport.EventFactorChanged, one, detail); err != nil {
		return Step{}, err
	}
	if err := change(); err != nil {
		return Step{}, err
	}
	bearer, rotated, err := s.Sessions.Rotate(ctx, c.Bearer)
	return Step{Bearer: bearer, Session: rotated}, err
}

// RecoveryCode takes a saved code as second proof of a sign-in.
func (s *Service) RecoveryCode(ctx context.Context, c Client, handle secret.Text, code secret.Text) (Step, error) {
	return s.goOn(ctx, handle, NeedsCode, func(f Flow) (Step, error) { return s.recovered(ctx, c, f, code) })
}

func (s *Service) recovered(ctx context.Context, c Client, f Flow, code secret.Text) (Step, error) {
	m, err := s.active(ctx, f.Member)
	if err != nil {
		return Step{}, s.failed(ctx, c, f.Member, err)
	}
	if err := s.Recovery.UseCode(ctx, f.Member, code, func(left int) error {
		e := s.event(c, sallyport.EventRecovery, m.ID, "", map[string]string{"what": "code used", "left": strconv.Itoa(left)})
		if err := s.Note(ctx, e); err != nil {
			return unrecorded(err)
		}
		return nil
	}); err != nil {
		return s.again(ctx, c, f, err)
	}
	return s.start(ctx, c, m, proof(m, "pwd", "otp", "mfa"), f)
}

// AskRecovery asks for a way back for the person of a typed name, who cannot sign in. Whether there is such a person is not
// told: the answer is the same.
func (s *Service) AskRecovery(ctx context.Context, c Client, name, why string) error {
	id := memberID(name)
	if err := s.Credentials.Throttle.Try(ctx, "ask:"+string(id)); err != nil {
		return err
	}
	m, err := s.active(ctx, id)
	if err != nil {
		if sallyport.KindOf(err) == sallyport.Unknown {
			return nil
		}
		return err
	}
	return s.recoveryAsked(ctx, c, m.ID, m.ID, why)
}

func (s *Service) recoveryAsked(ctx context.Context, c Client, member, asker sallyport.PrincipalID, why string) error {
	_, _, err := s.Recovery.Ask(ctx, member, asker, why, func(r recovery.Request) error {
		e := s.event(c, sallyport.EventRecovery, member, "", map[string]string{"what": "asked", "request": r.ID, "by": string(asker), "why": r.Why})
		if err := s.Note(ctx, e); err != nil {
			return unrecorded(err)
		}
		return nil
	})
	return err
}

// CancelRecovery ends a request for the client's own account: "that was not me".
func (s *Service) CancelRecovery(ctx context.Context, c Client, id string) error {
	one, _, err := s.Session(ctx, c.Bearer)
	if err != nil {
		return err
	}
	r, err := s.Recovery.Get(ctx, id)
	if err != nil || r.Member != one.Principal {
		return sallyport.E("cancel recovery", sallyport.NotFound, "there is no such request for your account", "")
	}
	_, err = s.Recovery.Cancel(ctx, id, one.Principal, func(recovery.Request) error {
		return s.note(ctx, c, sallyport.EventRecovery, one, map[string]string{"what": "cancelled", "request": id})
	})
	return err
}

// event is what is recorded of somebody outside the beginning of a session.
func (s *Service) event(c Client, what sallyport.EventType, who sallyport.PrincipalID, in string, detail map[string]string) sallyport.Event {
	detail["agent"] = sallyport.OneLine(c.Agent)
	return sallyport.Event{Type: what, At: s.Now().UnixMicro(), Who: who, Detail: detail, Asked: &sallyport.Asked{Door: "login", IP: c.Source, Session: in}}
}

// about names a passkey in the record.
func about(p passkey.Passkey) map[string]string {
	return map[string]string{"passkey": p.ID, "label": p.Label, "model": p.Model, "aaguid": p.AAGUID}
}
