package credential

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// LinkLife is how long an enrolment link lives.
const LinkLife = 15 * time.Minute

// IssueLink makes an enrolment token for a person: 256 bits, good once, until the time returned. Earlier links for the
// same person end. It is handed over outside the system, by somebody who knows the person.
func (s *Service) IssueLink(ctx context.Context, id sallyport.PrincipalID) (secret.Text, time.Time, error) {
	if _, err := sallyport.ParsePrincipalID(string(id)); err != nil || id.Kind() != sallyport.User {
		return secret.Text{}, time.Time{}, sallyport.E("issue link", sallyport.Invalid, "only people enrol", "name a user")
	}
	token, hash, err := newToken(s.Random)
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	l := Link{Hash: hash, For: id, Expires: s.now().Add(LinkLife)}
	return token, l.Expires, s.Store.PutLink(ctx, l)
}

// PeekLink tells for whom a link is, without using it up.
func (s *Service) PeekLink(ctx context.Context, token secret.Text) (sallyport.PrincipalID, error) {
	hash, ok := hashToken(token)
	if !ok {
		return "", badLink(nil)
	}
	l, err := s.Store.Link(ctx, hash)
	return s.checkLink(l, err)
}

// RedeemLink uses a link up and tells for whom it was. Of two calls with one token, at most one succeeds.
func (s *Service) RedeemLink(ctx context.Context, token secret.Text) (sallyport.PrincipalID, error) {
	hash, ok := hashToken(token)
	if !ok {
		return "", badLink(nil)
	}
	l, err := s.Store.TakeLink(ctx, hash)
	return s.checkLink(l, err)
}

func (s *Service) checkLink(l Link, err error) (sallyport.PrincipalID, error) {
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return "", err
	}
	if err != nil || !s.Now().Before(l.Expires) {
		return "", badLink(err)
	}
	return l.For, nil
}

// badLink is one answer for links that never were, were used and are too old: which it was is nobody's business.
func badLink(cause error) error {
	return sallyport.Wrap("enrol", sallyport.Unknown, "this link is not valid: it may have been used, replaced or be older than 15 minutes; ask an administrator for a new one", cause).Because(ReasonBadLink)
}
