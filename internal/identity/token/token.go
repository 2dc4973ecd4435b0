// Package token owns what a client shows in place of a person: families of tokens, and how their access tokens, refresh
// tokens (RFC 6749, section 6, rotated as RFC 9700 asks) and ID tokens (OpenID Connect Core) are issued, exchanged for
// narrower ones (RFC 8693) and ended.
//
// The unit of revocation is the family: one row for one approval by one person for one client. Every code, refresh
// token and access token belongs to a family and dies with it. What is handed out is 256 bits of chance and kept
// as its SHA-256 only.
//
// It leaves to others who may have a token (the session and the doors decide before they ask), what a token
// permits (policy intersects its scope), what an access token looks like and proves (token/access), codes that lead to
// the first token (token/codes), and every word of HTTP.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/plumbing/secret"
)

// The lifetimes that are no matter of taste: short enough that a leak is over soon, long enough to be used.
const (
	AccessLifetime = access.Lifetime
	RefreshIdle    = 7 * 24 * time.Hour
	FamilyLifetime = 30 * 24 * time.Hour
)

// A Hash is the SHA-256 of an opaque code or token: all that is kept of it.
type Hash [sha256.Size]byte

// HashOf returns the hash of a whole opaque value. A prefix, a truncation or an extension has another hash.
func HashOf(s string) Hash { return sha256.Sum256([]byte(s)) }

// A Family is one approval: this person, for this client, by this session, for at most this scope and these doors.
type Family struct {
	ID         string // 26 characters, random; stands in tokens as the claim fam
	Principal  sallyport.PrincipalID
	Person     sallyport.PrincipalID
	Client     string // id of a registered client
	Session    string // id of the browser session that approved; never its cookie
	Scope      sallyport.Scope
	Audiences  []string // what tokens may be asked for, the default first
	Assurance  sallyport.Assurance
	Methods    []string // RFC 8176 names
	AuthTime   time.Time
	Created    time.Time
	Expires    time.Time // absolute: no refresh goes past it
	LastIssued time.Time // zero until the first token
	Revoked    time.Time // zero while it lives
	Reason     string    // of the revocation

	Key      string                  // what its tokens are bound to, as in sallyport.Principal.Key; "" = bearer tokens
	Actors   []sallyport.PrincipalID // who acts on the principal's behalf, the present one first (RFC 8693)
	Purpose  string                  // what the tokens are for, "" when it was not said
	OpenID   bool                    // the client learns who the person is (OpenID Connect, scope openid)
	Detailed bool                    // the client asked by authorization_details (RFC 9396), and is answered so
	Consent  string                  // never stored: in an exchange, the families by which the person let the actors act, separated by one space
}

// Live reports whether tokens of the family may be issued and used at now.
func (f Family) Live(now time.Time) bool { return f.Revoked.IsZero() && now.Before(f.Expires) }

// Delegates reports whether a family is a person's permission that an agent acts for them. Such a family has no client:
// no code and no refresh token leads to it.
func (f Family) Delegates(agent sallyport.PrincipalID) bool {
	return f.Client == "" && len(f.Actors) == 1 && (agent == "" || f.Actors[0] == agent)
}

// A Refresh is the row of one refresh token.
type Refresh struct {
	Hash    Hash
	Family  string
	Created time.Time
	Expires time.Time
	Used    time.Time // zero until it was rotated
	Key     string    // in AddRefresh: what the family is bound to from now on; "" leaves it as it is
}

// A Selector names families: exactly one of its fields is set.
type Selector struct {
	Family    string
	Session   string
	Principal sallyport.PrincipalID
	Person    sallyport.PrincipalID
	Client    string
}

// A Revoked is a family that died before its time.
type Revoked = access.Revoked

// A FamilyStore keeps families and their refresh tokens. Every method is safe for concurrent use, durable when it
// returns, and answers Unavailable when the store cannot be used. Times are kept to the microsecond.
type FamilyStore interface {
	// StartFamily adds a family.
	StartFamily(ctx context.Context, f Family) error
	// Families returns the families that a selector names, newest first, the dead ones too, at most 1,000.
	Families(ctx context.Context, sel Selector) ([]Family, error)
	// AddRefresh adds the first refresh token of a family, notes the time of issue, and binds the family to a key. It
	// answers Conflict when the family is not live, or bound to another key.
	AddRefresh(ctx context.Context, r Refresh) error
	// FindRefresh returns a refresh token, used or not, and its family, or NotFound. It changes nothing.
	FindRefresh(ctx context.Context, h Hash) (Refresh, Family, error)
	// RotateRefresh marks the token used and adds next, in one transaction whose first statement decides: of any
	// number of callers at once, on any number of nodes, exactly one succeeds. The others get Conflict, as does
	// who comes for a family that is not live or with a token that has expired.
	RotateRefresh(ctx context.Context, used Hash, next Refresh) error
	// RevokeFamilies marks live families dead, tells all nodes through the outbox, and returns those it marked.
	RevokeFamilies(ctx context.Context, sel Selector, at time.Time, reason string) ([]Revoked, error)
	// Revoked returns the families that were revoked at or after since.
	Revoked(ctx context.Context, since time.Time) ([]Revoked, error)
}

// NewSecret draws 256 bits and spells them as 43 characters of base64url.
func NewSecret(random io.Reader) (secret.Text, Hash, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return secret.Text{}, Hash{}, sallyport.Wrap("draw a secret", sallyport.Unavailable, "no randomness", err)
	}
	s := base64.RawURLEncoding.EncodeToString(b[:])
	return secret.NewText(s), HashOf(s), nil
}

// newID draws 130 bits and spells them as 26 letters and digits.
func newID(random io.Reader) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	var b [26]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", sallyport.Wrap("draw an id", sallyport.Unavailable, "no randomness", err)
	}
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b[:]), nil
}

// fault makes an error for an OAuth client. The reason is the error code of RFC 6749, 8628 or 8707, followed where
// it helps the record by a dot and more detail, which the client does not see.
func fault(reason, message, hint string) error {
	return sallyport.E("token request", sallyport.Invalid, message, hint).Because(reason)
}

// clone copies the slices of a family, so that no two holders share memory.
func (f Family) clone() Family {
	f.Scope, f.Audiences, f.Methods, f.Actors = slices.Clone(f.Scope), slices.Clone(f.Audiences), slices.Clone(f.Methods), slices.Clone(f.Actors)
	return f
}
