// Package session owns sign-in sessions: who stands behind a proof, how strongly it was given and when, until when it
// counts (the reauthentication limits of NIST SP 800-63B-4), and that it can be ended everywhere at once.
//
// A session is a server-side record. The bearer value that finds it is 256 random bits, kept only as their SHA-256; lists
// and tokens name it by a public id that opens nothing.
//
// It leaves to others how the bearer value travels (cookies: web/login), how a proof is checked (credential) and what a
// session may do (policy).
package session

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"io"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	touchEvery = time.Minute
	keptFor    = 30 * 24 * time.Hour // after the end, for whoever asks what became of a session
	maxText    = 128                 // bytes of source, agent and reason
)

// A Session is one record. It holds nothing that opens the session.
type Session struct {
	ID        string                // public: "S-" and 26 characters
	Principal sallyport.PrincipalID // who signed in
	Person    sallyport.PrincipalID // who answers for it
	Assurance sallyport.Assurance
	Methods   []string  // RFC 8176 names, in the order of the proofs
	AuthTime  time.Time // of the last proof
	Created   time.Time
	Seen      time.Time // last use, to the minute
	IdleEnd   time.Time // it ends here unless it is used
	End       time.Time // it ends here
	Source    string    // where it came from, shortened: "192.0.2.0/24"
	Agent     string    // what it came with, for people: "Firefox on Linux"
	Revoked   time.Time // zero while it was not
	Why       string    // of the revocation
	Rating              // what was known about where it came from, when it was last looked at
	Upstream  Upstream  // of a sign-in at another provider; zero otherwise
}

// Live tells whether a session still counts at a time.
func (s Session) Live(at time.Time) bool {
	return s.Revoked.IsZero() && at.Before(s.IdleEnd) && at.Before(s.End)
}

// A Rating is how risky a session looks, and what that was made from.
type Rating struct {
	Risk        int      // 0 to 100
	RiskReasons []string // names without spaces, the heaviest first
	Device      string   // id of the enrolled device, or the mark of the browser that was used; "" where unknown
	Network     string   // an autonomous system or another name of the network: "AS64496"
	Country     string   // ISO 3166-1, two letters
}

// An Upstream names a session at another identity provider, as its logout tokens do (OpenID Connect Back-Channel Logout 1.0
// section 2.4).
type Upstream struct {
	IdP     string // its issuer
	Session string // its sid; "" where it gave none
	Subject string // its sub
}

// A Hash is how a bearer value is kept.
type Hash = [sha256.Size]byte

// A Query selects sessions by exactly one of its fields; one without any is an error.
type Query struct {
	Hash      *Hash
	ID        string
	Principal sallyport.PrincipalID // those that are not revoked and whose End is to come
	Since     time.Time             // those revoked at this time or later
	Upstream  *Upstream             // those that are not revoked, of an issuer and of its sid, its sub or both
	Risky     bool                  // those that are not revoked, whose End is to come and whose risk is above 0
}

// A Store keeps sessions. Every change is durable when the method returns; Revoke is announced to followers of sessions
// in the same transaction. Methods are safe for concurrent use.
type Store interface {
	// Insert adds a session under the hash of its bearer value.
	Insert(ctx context.Context, h Hash, s Session) error
	// Sessions returns what a query selects, the newest first, nothing where it selects nothing. now is for queries that
	// ask for an End to come.
	Sessions(ctx context.Context, q Query, now time.Time) ([]Session, error)
	// Touch moves Seen and IdleEnd of a session forward, never backward.
	Touch(ctx context.Context, id string, seen, idleEnd time.Time) error
	// Raise replaces hash, assurance, methods, proof time and limits of the session that has the hash old and is not
	// revoked, NotFound where there is none. Of parallel calls with one old hash, one wins.
	Raise(ctx context.Context, old, new Hash, s Session) error
	// Rate replaces what is kept of a session's risk, NotFound where there is none. It is announced like Revoke.
	Rate(ctx context.Context, id string, r Rating) error
	// Revoke ends the sessions that a query by id, principal or upstream selects and that are not revoked, and returns their
	// ids. The token families that were approved in them end in the same transaction: a session's end is remembered for
	// hours only, and a family that went on being refreshed would outlive that.
	Revoke(ctx context.Context, q Query, at time.Time, why string) ([]string, error)
	// Prune forgets sessions whose End was before a time.
	Prune(ctx context.Context, before time.Time) error
}

// A Service keeps sessions within their limits. All fields are needed; methods are safe for concurrent use.
type Service struct {
	Store  Store
	Limits map[sallyport.Assurance]Limits // a level without an entry gets no session
	Now    func() time.Time
	Random io.Reader
}

// A Proof is what a session begins with or is raised by.
type Proof struct {
	Principal sallyport.PrincipalID
	Person    sallyport.PrincipalID
	Assurance sallyport.Assurance
	Methods   []string
	Source    string // clipped to 128 bytes, like Agent
	Agent     string
	AuthTime  time.Time // when it was given; the zero time and times to come mean now
	Rating    Rating
	Upstream  Upstream
	Until     time.Time // when whoever gave it wants sessions to end; zero where it was not said
}

// The reasons of errors of kind Unknown, for the record.
const (
	ReasonUnknown = "session.unknown"
	ReasonExpired = "session.expired"
	ReasonRevoked = "session.revoked"
)

// Start begins a session and returns its bearer value, which exists nowhere else.
func (s *Service) Start(ctx context.Context, p Proof) (secret.Text, Session, error) {
	limits, ok := s.Limits[p.Assurance]
	if !ok || p.Principal == "" || p.Person == "" || len(p.Methods) == 0 {
		return secret.Text{}, Session{}, sallyport.E("start session", sallyport.Invalid, "the proof names no principal, no method or no level that has sessions", "")
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(s.Random, id); err != nil {
		return secret.Text{}, Session{}, sallyport.Wrap("start session", sallyport.Unavailable, "no randomness", err)
	}
	bearer, hash, err := NewToken(s.Random)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	now := s.now()
	one := Session{
		ID: "S-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id), Principal: p.Principal, Person: p.Person,
		Assurance: p.Assurance, Methods: slices.Clone(p.Methods), AuthTime: p.provedAt(now), Created: now, Seen: now,
		IdleEnd: now.Add(limits.Idle), End: now.Add(limits.Absolute), Source: clip(p.Source), Agent: clip(p.Agent),
		Rating: p.Rating.clipped(), Upstream: p.Upstream,
	}
	if !p.Until.IsZero() && p.Until.Before(one.End) {
		one.End = p.Until.UTC().Truncate(time.Microsecond)
	}
	if err := s.Store.Insert(ctx, hash, one); err != nil {
		return secret.Text{}, Session{}, err
	}
	return bearer, one, nil
}

// Lookup finds the live session of a bearer value and notes that it was used, at most once a minute. A value that finds
// nothing, or what has ended, is of kind Unknown; a store that cannot be read is Unavailable, never that.
func (s *Service) Lookup(ctx context.Context, bearer secret.Text) (Session, error) {
	_, one, err := s.find(ctx, bearer)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	if now.Sub(one.Seen) < touchEvery {
		return one, nil
	}
	one.Seen, one.IdleEnd = now, now.Add(s.Limits[one.Assurance].Idle)
	return one, s.Store.Touch(ctx, one.ID, one.Seen, one.IdleEnd)
}

// Peek returns the live session of a bearer value; it is not a use of it. Errors are those of Lookup.
func (s *Service) Peek(ctx context.Context, bearer secret.Text) (Session, error) {
	_, one, err := s.find(ctx, bearer)
	return one, err
}

// Get returns the live session of a public id; it is not a use of it. Errors are those of Lookup.
func (s *Service) Get(ctx context.Context, id string) (Session, error) {
	if id == "" {
		return Session{}, ended(ReasonUnknown)
	}
	return s.live(s.Store.Sessions(ctx, Query{ID: id}, s.now()))
}

// Raise replaces the bearer value of a session after a further proof by the same principal: the old one is dead at once.
// The level never falls, the end of the session stays where it was, or comes nearer.
func (s *Service) Raise(ctx context.Context, bearer secret.Text, p Proof) (secret.Text, Session, error) {
	old, one, err := s.find(ctx, bearer)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	if one, err = s.Raised(one, p); err != nil {
		return secret.Text{}, Session{}, err
	}
	fresh, hash, err := NewToken(s.Random)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	if err := s.replace(ctx, old, hash, one); err != nil {
		return secret.Text{}, Session{}, err
	}
	return fresh, one, nil
}

// Raised is what Raise would make of a session now. It changes nothing.
func (s *Service) Raised(one Session, p Proof) (Session, error) {
	limits, ok := s.Limits[max(p.Assurance, one.Assurance)]
	if !ok || p.Principal != one.Principal || len(p.Methods) == 0 {
		return Session{}, sallyport.E("raise session", sallyport.Invalid, "the proof is another principal's, names no method or no level that has sessions", "")
	}
	now := s.now()
	one.Methods = slices.Clone(one.Methods)
	if one.Seen = now; p.Assurance >= one.Assurance {
		one.Assurance, one.AuthTime = p.Assurance, p.provedAt(now) // a weaker proof does not make a stronger one fresh
	}
	for _, m := range p.Methods {
		if !slices.Contains(one.Methods, m) {
			one.Methods = append(one.Methods, m)
		}
	}
	one.IdleEnd = now.Add(limits.Idle)
	if end := one.Created.Add(limits.Absolute); end.Before(one.End) {
		one.End = end
	}
	return one, nil
}

// Rotate replaces the bearer value of a session and nothing else: the old one is dead at once.
func (s *Service) Rotate(ctx context.Context, bearer secret.Text) (secret.Text, Session, error) {
	old, one, err := s.find(ctx, bearer)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	fresh, hash, err := NewToken(s.Random)
	if err != nil {
		return secret.Text{}, Session{}, err
	}
	if err := s.replace(ctx, old, hash, one); err != nil {
		return secret.Text{}, Session{}, err
	}
	return fresh, one, nil
}

// Retire ends the session of a bearer value as if it had run out now: nobody can use it any more, and what was given out by
// it lives on to its own end.
func (s *Service) Retire(ctx context.Context, bearer secret.Text) error {
	old, one, err := s.find(ctx, bearer)
	if err != nil {
		return err
	}
	_, hash, err := NewToken(s.Random) // a value that nobody has
	if err != nil {
		return err
	}
	one.IdleEnd = s.now()
	return s.replace(ctx, old, hash, one)
}

// replace keeps a session under a new hash.
func (s *Service) replace(ctx context.Context, old, hash Hash, one Session) error {
	err := s.Store.Raise(ctx, old, hash, one)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = ended(ReasonRevoked)
	}
	return err
}

// Revoke ends a session everywhere, NotFound where there is none of this id. Ending it twice is no error; the first
// reason stays.
func (s *Service) Revoke(ctx context.Context, id, why string) error {
	if id == "" {
		return sallyport.E("revoke session", sallyport.Invalid, "no id of a session", "name one: S-…")
	}
	if found, err := s.Store.Sessions(ctx, Query{ID: id}, s.now()); err != nil || len(found) == 0 {
		if err == nil {
			err = sallyport.E("revoke session", sallyport.NotFound, "there is no such session", "list the sessions")
		}
		return err
	}
	_, err := s.Store.Revoke(ctx, Query{ID: id}, s.now(), clip(why))
	return err
}

// RevokeAll ends all sessions of a principal and returns their ids.
func (s *Service) RevokeAll(ctx context.Context, who sallyport.PrincipalID, why string) ([]string, error) {
	if who == "" {
		return nil, sallyport.E("revoke sessions", sallyport.Invalid, "no principal", "name one: user:NAME")
	}
	return s.Store.Revoke(ctx, Query{Principal: who}, s.now(), clip(why))
}

// List returns the live sessions of a principal, the newest first.
func (s *Service) List(ctx context.Context, who sallyport.PrincipalID) ([]Session, error) {
	if who == "" {
		return nil, sallyport.E("list sessions", sallyport.Invalid, "no principal", "name one: user:NAME")
	}
	now := s.now()
	all, err := s.Store.Sessions(ctx, Query{Principal: who}, now)
	return slices.DeleteFunc(all, func(one Session) bool { return !one.Live(now) }), err
}

// Revoked returns the sessions that were revoked at a time or later. Nodes' clocks differ and transactions take their
// time: whoever follows passes a time well before the last answer. Entries older than the longest life of a token that
// names a session are of no use.
func (s *Service) Revoked(ctx context.Context, since time.Time) ([]Session, error) {
	if since.IsZero() {
		since = time.UnixMicro(1)
	}
	return s.Store.Sessions(ctx, Query{Since: since}, s.now())
}

// Prune forgets sessions that ended thirty days ago. Call it now and then.
func (s *Service) Prune(ctx context.Context) error {
	return s.Store.Prune(ctx, s.now().Add(-keptFor))
}

func (s *Service) find(ctx context.Context, bearer secret.Text) (Hash, Session, error) {
	hash, ok := HashToken(bearer)
	if !ok {
		return Hash{}, Session{}, ended(ReasonUnknown)
	}
	one, err := s.live(s.Store.Sessions(ctx, Query{Hash: &hash}, s.now()))
	return hash, one, err
}

func (s *Service) live(found []Session, err error) (Session, error) {
	switch {
	case err != nil:
		return Session{}, err
	case len(found) != 1:
		return Session{}, ended(ReasonUnknown)
	case !found[0].Revoked.IsZero():
		return Session{}, ended(ReasonRevoked)
	case !found[0].Live(s.now()):
		return Session{}, ended(ReasonExpired)
	}
	return found[0], nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func ended(reason string) error {
	return sallyport.E("session", sallyport.Unknown, "you are not signed in, or the session has ended", "sign in again").Because(reason)
}

func clip(s string) string {
	s = sallyport.OneLine(s)
	return s[:min(len(s), maxText)]
}

// NewToken makes a bearer value of 256 random bits and the hash under which to keep it.
func NewToken(random io.Reader) (secret.Text, Hash, error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(random, raw); err != nil {
		return secret.Text{}, Hash{}, sallyport.Wrap("make token", sallyport.Unavailable, "no randomness", err)
	}
	return secret.NewText(base64.RawURLEncoding.EncodeToString(raw)), sha256.Sum256(raw), nil
}

// HashToken is the hash of a bearer value; false for text that none can be.
func HashToken(bearer secret.Text) (Hash, bool) {
	if bearer.Len() != 43 {
		return Hash{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(bearer.Reveal())
	return sha256.Sum256(raw), err == nil && len(raw) == 32
}
