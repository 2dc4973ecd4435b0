package token

import (
	"context"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// Revoke ends the families that sel names. Their tokens are refused on every node as soon as the feed has told it.
func (s *Issuer) Revoke(ctx context.Context, sel Selector, reason string) ([]Revoked, error) {
	gone, err := s.revoke(ctx, sel, reason)
	if err != nil {
		return nil, err
	}
	for _, r := range gone {
		e := sallyport.Event{Type: sallyport.EventTokenRevoked, Asked: &sallyport.Asked{Door: "oidc", Family: r.Family}, Reasons: []string{reason}}
		if err := s.Note(ctx, e); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

func (s *Issuer) revoke(ctx context.Context, sel Selector, reason string) ([]Revoked, error) {
	gone, err := s.Families.RevokeFamilies(ctx, sel, s.now(), reason)
	if err == nil && s.Forget != nil {
		s.Forget(gone...)
	}
	return gone, err
}

// RevokeBySession ends the families that a browser session approved.
func (s *Issuer) RevokeBySession(ctx context.Context, session, reason string) ([]Revoked, error) {
	return s.Revoke(ctx, Selector{Session: session}, reason)
}

// RevokeByPrincipal ends all families of a principal.
func (s *Issuer) RevokeByPrincipal(ctx context.Context, id sallyport.PrincipalID, reason string) ([]Revoked, error) {
	return s.Revoke(ctx, Selector{Principal: id}, reason)
}

// GiveBack ends the family that a client no longer wants, by its refresh token or by the family's id that an access
// token named (RFC 7009). What is unknown or belongs to another client is no error and changes nothing.
func (s *Issuer) GiveBack(ctx context.Context, by By, refresh secret.Text, family string) error {
	var f Family
	var err error
	if family != "" {
		f, err = s.Family(ctx, family)
	} else {
		f, _, err = s.Find(ctx, refresh)
	}
	switch sallyport.KindOf(err) {
	case sallyport.NotFound, sallyport.Invalid:
		return nil
	}
	if err != nil || f.Client != by.Client.ID {
		return err
	}
	_, err = s.Revoke(ctx, Selector{Family: f.ID}, "the client gave the token back")
	return err
}

// Revoked returns the families whose tokens may still be alive although they were revoked, for Verifier.Forget.
func (s *Issuer) Revoked(ctx context.Context) ([]Revoked, error) {
	return s.Families.Revoked(ctx, s.now().Add(-2*AccessLifetime))
}
