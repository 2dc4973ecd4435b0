package token

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// An Issuer starts families, issues their tokens and ends them. All fields but Record and Forget are needed. Methods are safe
// for concurrent use. What a client did wrong is an error of kind Invalid whose reason begins, up to the first dot,
// with the error code of the RFC that the client's door answers with; Unavailable means that nothing was issued.
type Issuer struct {
	URL      string // external URL, the iss of every token
	Clients  *Registry
	Keys     *Keys
	Families FamilyStore
	Codes    CodeStore
	Now      func() time.Time
	Rand     io.Reader
	// Record writes an event down, durably, before its effect: token.issued, token.reused, token.revoked. An error
	// keeps a token from being issued; revocations and the end of a stolen family happen all the same.
	Record func(ctx context.Context, e sallyport.Event) error
	// Forget is Verifier.Forget of this node, so that a revocation holds here before the feed tells it; may be nil.
	Forget func(revoked ...Revoked)
}

// start adds the family of one approval by the principal who, as the current session proved them.
func (s *Issuer) start(ctx context.Context, who sallyport.Principal, c Client, scope sallyport.Scope, audiences []string) (Family, error) {
	if _, err := parseFull(string(who.ID)); err != nil || who.Assurance == sallyport.NoAssurance {
		return Family{}, sallyport.E("start token family", sallyport.Unknown, "nobody is signed in", "sign in first")
	}
	id, err := newID(s.Rand)
	if err != nil {
		return Family{}, err
	}
	now := s.now()
	f := Family{
		ID: id, Principal: who.ID, Person: who.Person, Client: c.ID, Session: who.Session, Scope: scope, Audiences: audiences,
		Assurance: who.Assurance, Methods: who.Methods, AuthTime: who.AuthTime.UTC().Truncate(time.Second),
		Created: now, Expires: now.Add(FamilyLifetime),
	}.clone()
	if f.Person == "" {
		f.Person = f.Principal
	}
	return f, s.Families.StartFamily(ctx, f)
}

func (s *Issuer) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// first issues the first tokens of a family.
func (s *Issuer) first(ctx context.Context, f Family, want Want, by By) (Issued, error) {
	issued, err := s.mint(f, want)
	if err != nil {
		return Issued{}, err
	}
	if err := s.record(ctx, issuedEvent(issued, by)); err != nil {
		return Issued{}, err
	}
	if !by.Client.Allows(GrantRefresh) {
		return issued, nil
	}
	raw, row, err := s.newRefresh(f)
	if err != nil {
		return Issued{}, err
	}
	if err := s.Families.AddRefresh(ctx, row); err != nil {
		return Issued{}, deadIfConflict(err)
	}
	issued.Refresh = raw
	return issued, nil
}

func deadIfConflict(err error) error {
	if sallyport.KindOf(err) == sallyport.Conflict {
		return fault("invalid_grant.dead", "the approval has ended", "sign in again")
	}
	return err
}

func (s *Issuer) newRefresh(f Family) (secret.Text, Refresh, error) {
	raw, hash, err := newSecret(s.Rand)
	if err != nil {
		return secret.Text{}, Refresh{}, err
	}
	now := s.now()
	expires := now.Add(RefreshIdle)
	if f.Expires.Before(expires) {
		expires = f.Expires
	}
	return raw, Refresh{Hash: hash, Family: f.ID, Created: now, Expires: expires}, nil
}

// By says who asks for tokens and from where.
type By struct {
	Client Client
	IP     string // for the record; may be empty
}

// Refresh exchanges a refresh token for a new one and an access token. A token that was used before is theft, by
// whoever showed it the second time or the first: the whole family dies, and the event says so. Of many callers at
// once exactly one wins, and the others count as thieves: a client refreshes once at a time.
func (s *Issuer) Refresh(ctx context.Context, by By, raw secret.Text, want Want) (Issued, error) {
	if !by.Client.Allows(GrantRefresh) {
		return Issued{}, fault("unauthorized_client", "the client may not use refresh tokens", "")
	}
	row, f, err := s.Families.FindRefresh(ctx, HashOf(raw.Reveal()))
	if sallyport.KindOf(err) == sallyport.NotFound || err == nil && f.Client != by.Client.ID {
		return Issued{}, fault("invalid_grant.unknown", "the refresh token is not valid", "sign in again")
	}
	if err != nil {
		return Issued{}, err
	}
	if !row.Used.IsZero() {
		return Issued{}, s.stolen(ctx, f, by, "a refresh token was used twice")
	}
	if !s.now().Before(row.Expires) {
		return Issued{}, fault("invalid_grant.expired", "the refresh token has expired", "sign in again")
	}
	issued, err := s.mint(f, want) // refuses what is too wide before anything is used up
	if err != nil {
		return Issued{}, err
	}
	if err := s.record(ctx, issuedEvent(issued, by)); err != nil {
		return Issued{}, err
	}
	next, nextRow, err := s.newRefresh(f)
	if err != nil {
		return Issued{}, err
	}
	err = s.Families.RotateRefresh(ctx, row.Hash, nextRow)
	if sallyport.KindOf(err) == sallyport.Conflict {
		return Issued{}, s.lostRotation(ctx, f, row.Hash, by)
	}
	if err != nil {
		return Issued{}, err
	}
	issued.Refresh = next
	return issued, nil
}

// lostRotation finds out why a rotation did not happen: somebody else did it, or the family ended meanwhile.
func (s *Issuer) lostRotation(ctx context.Context, f Family, used Hash, by By) error {
	row, f, err := s.Families.FindRefresh(ctx, used)
	if err != nil {
		return err
	}
	if row.Used.IsZero() || !f.Revoked.IsZero() {
		return fault("invalid_grant.dead", "the approval has ended", "sign in again")
	}
	return s.stolen(ctx, f, by, "a refresh token was used twice at once")
}

// stolen ends a family of which something came back that was used up, and raises the incident. It kills first and
// records then: that the record cannot be written is no reason to let a thief go on.
func (s *Issuer) stolen(ctx context.Context, f Family, by By, what string) error {
	dead, err := s.revoke(ctx, Selector{Family: f.ID}, what)
	if err != nil {
		return err
	}
	e := familyEvent(sallyport.EventTokenReused, f, by)
	e.Reasons = []string{what}
	e.Detail["revoked"] = fmt.Sprint(len(dead) > 0)
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return fault("invalid_grant.reused", "the token was used before", "sign in again; if that was not you, tell your administrator")
}

// Revoke ends the families that sel names. Their tokens are refused on every node as soon as the feed has told it.
func (s *Issuer) Revoke(ctx context.Context, sel Selector, reason string) ([]Revoked, error) {
	dead, err := s.revoke(ctx, sel, reason)
	if err != nil {
		return nil, err
	}
	for _, r := range dead {
		e := sallyport.Event{Type: sallyport.EventTokenRevoked, Asked: &sallyport.Asked{Door: "oidc", Family: r.Family}, Reasons: []string{reason}}
		if err := s.record(ctx, e); err != nil {
			return dead, err
		}
	}
	return dead, nil
}

func (s *Issuer) revoke(ctx context.Context, sel Selector, reason string) ([]Revoked, error) {
	dead, err := s.Families.RevokeFamilies(ctx, sel, s.now(), reason)
	if err == nil && s.Forget != nil {
		s.Forget(dead...)
	}
	return dead, err
}

// RevokeBySession ends the families that a browser session approved.
func (s *Issuer) RevokeBySession(ctx context.Context, session, reason string) ([]Revoked, error) {
	return s.Revoke(ctx, Selector{Session: session}, reason)
}

// RevokeByPrincipal ends all families of a principal.
func (s *Issuer) RevokeByPrincipal(ctx context.Context, id sallyport.PrincipalID, reason string) ([]Revoked, error) {
	return s.Revoke(ctx, Selector{Principal: id}, reason)
}

// Find returns the family of a refresh token that may still be used once, or of one that may not and false. A token
// that is unknown is an error of kind NotFound.
func (s *Issuer) Find(ctx context.Context, raw secret.Text) (Family, bool, error) {
	row, f, err := s.Families.FindRefresh(ctx, HashOf(raw.Reveal()))
	return f, err == nil && row.Used.IsZero() && s.now().Before(row.Expires) && f.Live(s.now()), err
}

// GiveBack ends the family that a client no longer wants, by its refresh token or by the family's id that an access
// token named (RFC 7009). What is unknown or belongs to another client is no error and changes nothing.
func (s *Issuer) GiveBack(ctx context.Context, by By, refresh secret.Text, family string) error {
	var f Family
	var err error
	if family != "" {
		f, err = s.family(ctx, family)
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

func (s *Issuer) record(ctx context.Context, e sallyport.Event) error {
	if s.Record == nil {
		return nil
	}
	e.At = s.now().UnixMicro()
	if err := s.Record(ctx, e); err != nil {
		return sallyport.Wrap("issue token", sallyport.Unavailable, "it cannot be written down", err)
	}
	return nil
}

func familyEvent(t sallyport.EventType, f Family, by By) sallyport.Event {
	return sallyport.Event{
		Type: t, Who: f.Principal, Action: sallyport.TokenIssue,
		Asked: &sallyport.Asked{
			Door: "oidc", IP: by.IP, Scope: f.Scope.String(), Assurance: int(f.Assurance), AuthTime: f.AuthTime.Unix(),
			Session: f.Session, Family: f.ID,
		},
		Detail: map[string]string{"client": f.Client, "person": string(f.Person)},
	}
}

func issuedEvent(i Issued, by By) sallyport.Event {
	e := familyEvent(sallyport.EventTokenIssued, i.Family, by)
	e.On, e.Asked.Scope = i.Audience, i.Scope.String()
	e.Detail["jti"], e.Detail["expires"] = i.ID, i.Expires.Format(time.RFC3339)
	return e
}
