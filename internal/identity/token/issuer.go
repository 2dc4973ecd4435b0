package token

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/plumbing/secret"
)

// An Issuer starts families, issues their tokens and ends them. Methods are safe for concurrent use. What a client did
// wrong is an error of kind Invalid whose reason begins, up to the first dot, with the error code of the RFC that the
// client's door answers with; Unavailable means that nothing was issued.
type Issuer struct {
	URL      string // external URL, the iss of every token
	Clients  *clients.Registry
	Keys     *keys.Keys
	Families FamilyStore
	Now      func() time.Time
	Rand     io.Reader
	// Record writes an event down, durably, before its effect: token.issued, token.reused, token.revoked. An error
	// keeps a token from being issued; revocations and the end of a stolen family happen all the same. May be nil.
	Record func(ctx context.Context, e sallyport.Event) error
	// Forget is Verifier.Forget of this node, so that a revocation holds here before the feed tells it; may be nil.
	Forget func(revoked ...Revoked)
}

// An Approval is what a principal lets a client have.
type Approval struct {
	Client    clients.Client
	Scope     sallyport.Scope
	Audiences []string
	Key       string // that tokens are bound to, "" when it is not known yet
	Purpose   string
	OpenID    bool
	Detailed  bool
	Life      time.Duration // 0 = FamilyLifetime
}

// Start adds the family of one approval by the principal who, as the current session or proof has proved them.
func (s *Issuer) Start(ctx context.Context, who sallyport.Principal, a Approval) (Family, error) {
	f, err := s.NewFamily(who, a)
	if err != nil {
		return Family{}, err
	}
	return f, s.Families.StartFamily(ctx, f)
}

// NewFamily makes the family that Start adds, and adds nothing.
func (s *Issuer) NewFamily(who sallyport.Principal, a Approval) (Family, error) {
	const op = "start token family"
	if id, err := sallyport.ParsePrincipalID(string(who.ID)); err != nil || id != who.ID || who.Assurance == sallyport.NoAssurance {
		return Family{}, sallyport.E(op, sallyport.Unknown, "nobody is signed in", "sign in first")
	}
	if a.Purpose != "" && sallyport.CheckName(op, a.Purpose) != nil {
		return Family{}, fault("invalid_request.purpose", "the purpose is not a plain name", "write it like training")
	}
	id, err := newID(s.Rand)
	if err != nil {
		return Family{}, err
	}
	now := s.now()
	if a.Life <= 0 {
		a.Life = FamilyLifetime
	}
	f := Family{
		ID: id, Principal: who.ID, Person: who.Person, Client: a.Client.ID, Session: who.Session, Scope: a.Scope, Audiences: a.Audiences,
		Assurance: who.Assurance, Methods: who.Methods, AuthTime: who.AuthTime.UTC().Truncate(time.Second),
		Created: now, Expires: now.Add(a.Life), Key: a.Key, Actors: who.Actors, Purpose: a.Purpose, OpenID: a.OpenID, Detailed: a.Detailed,
	}.clone()
	if f.Person == "" {
		f.Person = f.Principal
	}
	return f, nil
}

func (s *Issuer) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Family returns a family by its id. One that is gone is an error whose reason begins with invalid_grant.
func (s *Issuer) Family(ctx context.Context, id string) (Family, error) {
	all, err := s.Families.Families(ctx, Selector{Family: id})
	if err != nil {
		return Family{}, err
	}
	if len(all) != 1 {
		return Family{}, dead()
	}
	return all[0], nil
}

func dead() error { return fault("invalid_grant.dead", "the approval has ended", "sign in again") }

// Once issues an access token of a family and nothing to renew it.
func (s *Issuer) Once(ctx context.Context, f Family, want Want, by By) (Issued, error) {
	issued, err := s.mint(f, want, by)
	if err != nil {
		return Issued{}, err
	}
	if err := s.Note(ctx, issuedEvent(issued, by)); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// A Ticket is what the first tokens of a family are issued for: a code of either kind.
type Ticket struct {
	Nonce string // for the ID token
	// Use uses the ticket up, once, when its tokens are made and written down; an error keeps them back. nil = nothing to use.
	Use func(ctx context.Context) error
}

// First issues the first tokens of a family.
func (s *Issuer) First(ctx context.Context, f Family, want Want, by By, ticket Ticket) (Issued, error) {
	issued, err := s.mint(f, want, by)
	if err != nil {
		return Issued{}, err
	}
	if err := s.Note(ctx, issuedEvent(issued, by)); err != nil {
		return Issued{}, err
	}
	if issued.Identity, err = s.identify(issued, ticket.Nonce); err != nil {
		return Issued{}, err
	}
	raw, row, err := s.newRefresh(f, by)
	if err != nil {
		return Issued{}, err
	}
	if ticket.Use != nil {
		if err := ticket.Use(ctx); err != nil {
			return Issued{}, err
		}
	}
	if !by.Client.Allows(clients.Refresh) {
		return issued, nil
	}
	row.Key = by.Key
	if err := s.Families.AddRefresh(ctx, row); err != nil {
		return Issued{}, deadIfConflict(err)
	}
	issued.Refresh = raw
	return issued, nil
}

func deadIfConflict(err error) error {
	if sallyport.KindOf(err) == sallyport.Conflict {
		return dead()
	}
	return err
}

// steady reports whether a family's refresh token stays the same. It does where showing it is not enough: the client
// proves itself and a key each time, and a rotation would only lose tokens on the way (FAPI 2.0, section 5.3.2.1).
func steady(f Family, by By) bool { return !by.Client.Public() && (f.Key != "" || by.Key != "") }

func (s *Issuer) newRefresh(f Family, by By) (secret.Text, Refresh, error) {
	raw, hash, err := NewSecret(s.Rand)
	if err != nil {
		return secret.Text{}, Refresh{}, err
	}
	now := s.now()
	expires := now.Add(RefreshIdle)
	if f.Expires.Before(expires) || steady(f, by) {
		expires = f.Expires
	}
	return raw, Refresh{Hash: hash, Family: f.ID, Created: now, Expires: expires}, nil
}

// By says who asks for tokens, from where, and with which key.
type By struct {
	Client clients.Client
	IP     string // for the record; may be empty
	Key    string // that the request has proved, as in sallyport.Principal.Key; "" for none
	// Credential is what whoever asks has proved themselves by, for the record, as clients.Registry.Authenticate names it, or "proof:" and
	// the start of the SHA-256 of the proof of a workload; "" for none.
	Credential string
}

// Refresh exchanges a refresh token for a new one and an access token. A token that was used before is theft, by
// whoever showed it the second time or the first: the whole family dies, and the event says so. Of many callers at
// once exactly one wins, and the others count as thieves: a client refreshes once at a time, unless it is registered
// with an overlap and proves the family's key.
func (s *Issuer) Refresh(ctx context.Context, by By, raw secret.Text, want Want) (Issued, error) {
	if !by.Client.Allows(clients.Refresh) {
		return Issued{}, fault("unauthorized_client", "the client may not use refresh tokens", "")
	}
	row, f, err := s.Families.FindRefresh(ctx, HashOf(raw.Reveal()))
	if sallyport.KindOf(err) == sallyport.NotFound || err == nil && f.Client != by.Client.ID {
		return Issued{}, fault("invalid_grant.unknown", "the refresh token is not valid", "sign in again")
	}
	if err != nil {
		return Issued{}, err
	}
	again := !row.Used.IsZero()
	if again && !s.overlaps(row, f, by) {
		return Issued{}, s.Stolen(ctx, f, by, "a refresh token was used twice")
	}
	if !s.now().Before(row.Expires) {
		return Issued{}, fault("invalid_grant.expired", "the refresh token has expired", "sign in again")
	}
	issued, err := s.mint(f, want, by) // refuses what is too wide before anything is used up
	if err != nil {
		return Issued{}, err
	}
	if issued.Identity, err = s.identify(issued, ""); err != nil {
		return Issued{}, err
	}
	e := issuedEvent(issued, by)
	if again {
		e.Detail["overlap"] = s.now().Sub(row.Used).String()
	}
	if err := s.Note(ctx, e); err != nil {
		return Issued{}, err
	}
	if steady(f, by) {
		return issued, nil
	}
	return s.rotate(ctx, row, issued, by)
}

// overlaps reports whether a refresh token that was used may be used once more: shortly after, by whoever proves the key
// that the family is bound to.
func (s *Issuer) overlaps(row Refresh, f Family, by By) bool {
	return by.Client.Overlap > 0 && s.now().Sub(row.Used) <= by.Client.Overlap && strings.HasPrefix(f.Key, "jkt:") && by.Key == f.Key && f.Live(s.now())
}

// rotate puts a new refresh token in the place of one that is used up.
func (s *Issuer) rotate(ctx context.Context, row Refresh, issued Issued, by By) (Issued, error) {
	next, nextRow, err := s.newRefresh(issued.Family, by)
	if err != nil {
		return Issued{}, err
	}
	if row.Used.IsZero() {
		err = s.Families.RotateRefresh(ctx, row.Hash, nextRow)
	} else {
		err = deadIfConflict(s.Families.AddRefresh(ctx, nextRow))
	}
	if sallyport.KindOf(err) == sallyport.Conflict {
		return Issued{}, s.lostRotation(ctx, row.Hash, by)
	}
	if err != nil {
		return Issued{}, err
	}
	issued.Refresh = next
	return issued, nil
}

// lostRotation finds out why a rotation did not happen: somebody else did it, or the family ended meanwhile.
func (s *Issuer) lostRotation(ctx context.Context, used Hash, by By) error {
	row, f, err := s.Families.FindRefresh(ctx, used)
	if err != nil {
		return err
	}
	if row.Used.IsZero() || !f.Revoked.IsZero() {
		return dead()
	}
	if s.overlaps(row, f, by) {
		return sallyport.E("refresh", sallyport.Busy, "the token is being used by another request", "try again").Because("overlap")
	}
	return s.Stolen(ctx, f, by, "a refresh token was used twice at once")
}

// Stolen ends a family of which something came back that was used up, and raises the incident. It kills first and
// records then: that the record cannot be written is no reason to let a thief go on. It returns an error in any case.
func (s *Issuer) Stolen(ctx context.Context, f Family, by By, what string) error {
	gone, err := s.revoke(ctx, Selector{Family: f.ID}, what)
	if err != nil {
		return err
	}
	e := FamilyEvent(sallyport.EventTokenReused, f, by)
	e.Reasons = []string{what}
	e.Detail["revoked"] = fmt.Sprint(len(gone) > 0)
	if err := s.Note(ctx, e); err != nil {
		return err
	}
	return fault("invalid_grant.reused", "the token was used before", "sign in again; if that was not you, tell your administrator")
}

// Find returns the family of a refresh token that may still be used once, or of one that may not and false. A token
// that is unknown is an error of kind NotFound.
func (s *Issuer) Find(ctx context.Context, raw secret.Text) (Family, bool, error) {
	row, f, err := s.Families.FindRefresh(ctx, HashOf(raw.Reveal()))
	return f, err == nil && row.Used.IsZero() && s.now().Before(row.Expires) && f.Live(s.now()), err
}

// Note writes an event down, as Record does, at the time of now.
func (s *Issuer) Note(ctx context.Context, e sallyport.Event) error {
	if s.Record == nil {
		return nil
	}
	e.At = s.now().UnixMicro()
	if err := s.Record(ctx, e); err != nil {
		return sallyport.Wrap("issue token", sallyport.Unavailable, "it cannot be written down", err)
	}
	return nil
}

// FamilyEvent is an event about a family, with what the record tells of it.
func FamilyEvent(t sallyport.EventType, f Family, by By) sallyport.Event {
	var actors []string
	for _, id := range f.Actors {
		actors = append(actors, string(id))
	}
	return sallyport.Event{
		Type: t, Who: f.Principal, Action: sallyport.TokenIssue,
		Asked: &sallyport.Asked{
			Door: "oidc", IP: by.IP, Scope: f.Scope.String(), Assurance: int(f.Assurance), AuthTime: f.AuthTime.Unix(),
			Session: f.Session, Family: f.ID, Client: f.Client, Actors: strings.Join(actors, " "), Bound: f.Key != "" || by.Key != "", Purpose: f.Purpose,
		},
		Detail: map[string]string{"client": f.Client, "person": string(f.Person)},
	}
}

func issuedEvent(i Issued, by By) sallyport.Event {
	e := FamilyEvent(sallyport.EventTokenIssued, i.Family, by)
	e.On, e.Asked.Scope, e.Asked.Purpose = i.Audience, i.Scope.String(), i.Purpose
	e.Detail["jti"], e.Detail["expires"] = i.ID, i.Expires.Format(time.RFC3339)
	if by.Credential != "" {
		e.Detail["credential"] = by.Credential
	}
	return e
}
