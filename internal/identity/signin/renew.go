package signin

import (
	"context"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

// Renewal returns whose password a handle at the stage Renewing waits for, without using it up.
func (s *Service) Renewal(ctx context.Context, handle secret.Text) (directory.Member, error) {
	f, err := s.peek(ctx, handle, Renewing)
	if err != nil {
		return directory.Member{}, err
	}
	return s.active(ctx, f.Member)
}

// Renew takes another password in the place of one that is known from a breach (SP 800-63B-4 section 3.1.1.2), and ends
// the sign-in that waited for it. The person's other sessions end: they may have begun with the known one. It must be long
// enough to stand alone. One that is refused leaves the handle as it is.
func (s *Service) Renew(ctx context.Context, c Client, handle, fresh secret.Text) (Step, error) {
	m, err := s.Renewal(ctx, handle)
	if err != nil {
		return Step{}, err
	}
	chosen, err := s.Credentials.HashPassword(ctx, fresh, false, aboutMember(m))
	if err != nil {
		return Step{}, err
	}
	f, err := s.take(ctx, handle, Renewing)
	if err != nil {
		return Step{}, err
	}
	// An order that came since outweighs what was proved before it: a new link, or a password changed elsewhere.
	now, err := s.Credentials.Store.Factors(ctx, m.ID)
	if err != nil {
		return Step{}, err
	}
	if began := f.Expires.Add(-flowLife); now.Password.Hash == "" || now.Password.Set.After(began) {
		return Step{}, flowEnded()
	}
	e := s.event(c, sallyport.EventFactorChanged, m.ID, "", map[string]string{"what": "password changed", "why": credential.ReasonBreached})
	if err := s.Note(ctx, e); err != nil {
		return Step{}, unrecorded(err)
	}
	if err := s.Credentials.Enrol(ctx, m.ID, credential.Factors{Password: chosen}); err != nil {
		return Step{}, err
	}
	if _, err := s.Sessions.RevokeAll(ctx, m.ID, "the password was known from a breach"); err != nil {
		return Step{}, err
	}
	f.Found.Renew = false
	p := session.Proof{Principal: m.ID, Person: m.Person, Assurance: f.Proved.Assurance, Methods: f.Proved.Methods}
	return s.start(ctx, c, m, p, f)
}
