package signin

import (
	"context"
	"slices"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/plumbing/secret"
)

// Invited tells whom an enrolment link is for, without using it up.
func (s *Service) Invited(ctx context.Context, link secret.Text) (directory.Member, error) {
	id, err := s.Credentials.PeekLink(ctx, link)
	if err != nil {
		return directory.Member{}, err
	}
	return s.invited(ctx, id)
}

// Enrol takes the password that the holder of a link chooses. A password that the policy refuses leaves the link as it
// is; one that it accepts uses the link up.
func (s *Service) Enrol(ctx context.Context, c Client, link, password secret.Text) (Step, error) {
	m, err := s.Invited(ctx, link)
	if err != nil {
		return Step{}, s.failed(ctx, c, "", err)
	}
	chosen, err := s.Credentials.HashPassword(ctx, password, true, aboutMember(m))
	if err != nil {
		return Step{}, err
	}
	if _, err := s.Credentials.RedeemLink(ctx, link); err != nil {
		return Step{}, s.failed(ctx, c, m.ID, err)
	}
	_, sealed, err := s.Credentials.NewTOTP(m.ID)
	if err != nil {
		return Step{}, err
	}
	return s.next(ctx, Flow{Stage: Confirming, Member: m.ID, Chosen: chosen, Sealed: sealed})
}

// Generator shows the code generator of an enrolment that waits for its first code.
func (s *Service) Generator(ctx context.Context, handle secret.Text) (credential.Generator, error) {
	f, err := s.peek(ctx, handle, Confirming)
	if err != nil {
		return credential.Generator{}, err
	}
	return s.Credentials.ShowTOTP(f.Member, f.Sealed)
}

// Confirm takes the first code of the generator and ends an enrolment: the new password and generator replace what was
// there, passkeys and recovery codes end (whoever enrols again may have lost them to somebody), sessions that were
// open end, and a new one begins. With a wrong code comes the Step for the next attempt.
func (s *Service) Confirm(ctx context.Context, c Client, handle secret.Text, code string) (Step, error) {
	return s.goOn(ctx, handle, Confirming, func(f Flow) (Step, error) { return s.confirmed(ctx, c, f, code) })
}

func (s *Service) confirmed(ctx context.Context, c Client, f Flow, code string) (Step, error) {
	m, err := s.invited(ctx, f.Member)
	if err != nil {
		return Step{}, err
	}
	totp, err := s.Credentials.ConfirmTOTP(m.ID, f.Sealed, code)
	if err != nil {
		return s.again(ctx, c, f, err)
	}
	// Recorded first: an enrolment that nobody can see afterwards must not take effect.
	e := sallyport.Event{
		Type: sallyport.EventEnrolled, At: s.Now().UnixMicro(), Who: m.ID,
		Asked: &sallyport.Asked{Door: "login", IP: c.Source}, Detail: map[string]string{"factors": "pwd otp", "agent": sallyport.OneLine(c.Agent)},
	}
	if err := s.Note(ctx, e); err != nil {
		return Step{}, unrecorded(err)
	}
	if err := s.Credentials.Enrol(ctx, m.ID, credential.Factors{Password: f.Chosen, TOTP: totp}); err != nil {
		return Step{}, err
	}
	if err := s.forgetRest(ctx, m.ID); err != nil {
		return Step{}, err
	}
	if _, err := s.Sessions.RevokeAll(ctx, m.ID, "the account was enrolled again"); err != nil {
		return Step{}, err
	}
	return s.start(ctx, c, m, proof(m, "pwd", "otp", "mfa"), f)
}

func (s *Service) invited(ctx context.Context, id sallyport.PrincipalID) (directory.Member, error) {
	m, err := s.active(ctx, id)
	if err != nil && sallyport.KindOf(err) == sallyport.Unknown {
		err = sallyport.E("enrol", sallyport.Unknown, "this account cannot be enrolled now", "ask an administrator").Because("member.inactive")
	}
	return m, err
}

// aboutMember lists what must not be the person's password.
func aboutMember(m directory.Member) []string {
	return []string{m.ID.Name(), m.Display, m.Email, m.Org, string(m.ID)}
}

func contains(all []string, one string) bool { return slices.Contains(all, one) }

// forgetRest forgets the authenticators that an enrolment does not replace.
func (s *Service) forgetRest(ctx context.Context, id sallyport.PrincipalID) error {
	all, err := s.Passkeys.List(ctx, id)
	for _, p := range all {
		if err == nil {
			err = s.Passkeys.Remove(ctx, id, p.ID)
		}
	}
	if err != nil {
		return err
	}
	return s.Recovery.ForgetCodes(ctx, id)
}
