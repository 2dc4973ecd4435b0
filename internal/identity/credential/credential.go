// Package credential owns a person's authenticators after NIST SP 800-63B-4: passwords (Argon2id, RFC 9106), one-time
// codes (TOTP, RFC 6238), the links that enrol them, and the throttle that bounds all guessing.
//
// It says "this proof is good" and never "you are signed in": who may sign in is for directory, the ceremony for signin,
// what follows for session. There is no composition rule, no expiry, no hint and no question: rules 3 to 5 of SP
// 800-63B-4 section 3.1.1.2 leave nothing to configure.
package credential

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// A Password is what is kept of a password.
type Password struct {
	Hash  string    // PHC string; "" where there is none
	Alone bool      // long enough to be the only factor
	Set   time.Time // when the person chose it
}

// A TOTP is what is kept of a one-time code generator.
type TOTP struct {
	Sealed   []byte    // the secret, sealed for its person; nil where there is none
	LastStep int64     // last 30-second step whose code was used
	Set      time.Time // when it was confirmed
}

// Factors are all authenticators of one person. The zero value has none.
type Factors struct {
	Password Password
	TOTP     TOTP
}

// A Link is what is kept of an enrolment link: the hash of its token, never the token.
type Link struct {
	Hash    [sha256.Size]byte
	For     sallyport.PrincipalID
	Expires time.Time
}

// A Store keeps authenticators and links. Every change is durable when the method returns. Methods are safe for
// concurrent use.
type Store interface {
	// Factors returns what a person has; somebody unknown has nothing, which is no error.
	Factors(ctx context.Context, id sallyport.PrincipalID) (Factors, error)
	// Enrol replaces the password and, unless its secret is nil, the TOTP, both or neither.
	Enrol(ctx context.Context, id sallyport.PrincipalID, f Factors) error
	// ReplaceHash replaces the hash old by new and nothing else; where the hash is no longer old it changes nothing.
	ReplaceHash(ctx context.Context, id sallyport.PrincipalID, old, new string) error
	// UseStep marks a step of the TOTP that was set at a time as used. It reports false, and changes nothing, where
	// that step or a later one was used, or another TOTP took its place. Of parallel calls with one step, one wins.
	UseStep(ctx context.Context, id sallyport.PrincipalID, set time.Time, step int64) (bool, error)
	// PutLink keeps a link and forgets every other link for the same person.
	PutLink(ctx context.Context, l Link) error
	// Link returns the link of a hash, NotFound where there is none.
	Link(ctx context.Context, hash [sha256.Size]byte) (Link, error)
	// TakeLink removes the link of a hash and returns it, NotFound where there is none. Of parallel calls one wins.
	TakeLink(ctx context.Context, hash [sha256.Size]byte) (Link, error)
}

// A Service checks and enrols authenticators. All fields but Breached are needed; methods are safe for concurrent use.
type Service struct {
	Store    Store
	Throttle *Throttle
	Hasher   *Hasher
	Policy   Policy
	Breached func(password []byte) (bool, error) // tells whether a password is known from a breach; nil where no list is at hand
	Issuer   string                              // shown by authenticator apps, for example "Sallyport"
	// Seal and Open encrypt a value at rest, bound to a context that must be the same for both.
	Seal   func(value []byte, context string) ([]byte, error)
	Open   func(sealed []byte, context string) ([]byte, error)
	Now    func() time.Time
	Random io.Reader
}

// Errors of this package carry these reasons for the record; they are not shown.
const (
	ReasonWrongPassword = "password.wrong"
	ReasonWrongCode     = "totp.wrong"
	ReasonReplayedCode  = "totp.replayed"
	ReasonThrottled     = "throttled"
	ReasonBadLink       = "link.unknown"
	ReasonBreached      = "password.breached"
)

// VerifyPassword checks a password and reports what the person has. A wrong password, a person without one and a person
// who does not exist are one error of kind Unknown, at the same cost. A hash made with older parameters or an older
// pepper is replaced on the way. Too many guesses, or too many people at once, are Busy.
func (s *Service) VerifyPassword(ctx context.Context, id sallyport.PrincipalID, password secret.Text) (Factors, error) {
	leave, err := s.Hasher.enter(ctx) // before the guess is counted: whoever finds no room did not guess
	if err != nil {
		return Factors{}, err
	}
	defer leave()
	key := "password:" + string(id)
	if err := s.Throttle.Try(ctx, key); err != nil {
		return Factors{}, err
	}
	f, err := s.Store.Factors(ctx, id)
	if err != nil {
		return Factors{}, err
	}
	clear, normalised := normalise(password)
	good, stale, err := s.Hasher.verify(f.Password.Hash, clear)
	if err != nil {
		return Factors{}, err
	}
	if !good || !normalised {
		return Factors{}, sallyport.E("sign in", sallyport.Unknown, "the user name or the password is wrong", "try again, or ask an administrator for an enrolment link").Because(ReasonWrongPassword)
	}
	if stale {
		fresh, err := s.Hasher.hash(clear)
		if err != nil {
			return Factors{}, err
		}
		if err := s.Store.ReplaceHash(ctx, id, f.Password.Hash, fresh); err != nil {
			return Factors{}, err
		}
	}
	return f, s.Throttle.Reset(ctx, key)
}

// HashPassword checks a new password against the policy and returns what to keep of it. about holds what is known of the
// person (names, e-mail, organisation), which may not be the password. withCode says that the person will have a second
// factor, for which a shorter one will do.
func (s *Service) HashPassword(ctx context.Context, password secret.Text, withCode bool, about []string) (Password, error) {
	if err := s.Policy.Check(password, withCode, about); err != nil {
		return Password{}, err
	}
	if err := s.unbreached(password); err != nil {
		return Password{}, err
	}
	leave, err := s.Hasher.enter(ctx)
	if err != nil {
		return Password{}, err
	}
	defer leave()
	clear, _ := normalise(password)
	hash, err := s.Hasher.hash(clear)
	if err != nil {
		return Password{}, err
	}
	return Password{Hash: hash, Alone: length(password) >= s.Policy.Single, Set: s.now()}, nil
}

// Known tells whether a password stands on the operator's list of breached ones, as it was typed or in the form that is
// hashed. Lists grow: one that was chosen well may stand on it later.
func (s *Service) Known(password secret.Text) (bool, error) {
	if s.Breached == nil {
		return false, nil
	}
	clear, _ := normalise(password)
	for _, form := range []string{password.Reveal(), clear} {
		if known, err := s.Breached([]byte(form)); known || err != nil {
			return known, err
		}
	}
	return false, nil
}

// unbreached refuses a password that is known.
func (s *Service) unbreached(password secret.Text) error {
	known, err := s.Known(password)
	if err == nil && known {
		err = sallyport.E("choose password", sallyport.Invalid, "the password is known from a breach", "use another, and change it wherever else you use it").Because(ReasonBreached)
	}
	return err
}

// Enrol replaces a person's authenticators and gives them a fresh count of guesses. A TOTP without a secret leaves the
// present one as it is. Ending sessions is the caller's next step.
func (s *Service) Enrol(ctx context.Context, id sallyport.PrincipalID, f Factors) error {
	second := f.TOTP.Sealed != nil
	if f.Password.Hash != "" && !second && !f.Password.Alone { // the one that stays counts
		have, err := s.Store.Factors(ctx, id)
		if err != nil {
			return err
		}
		second = have.TOTP.Sealed != nil
	}
	if f.Password.Hash == "" || !f.Password.Alone && !second {
		return sallyport.E("enrol", sallyport.Invalid, "a password of this length needs a second factor", "confirm a code, or choose a longer password")
	}
	if err := s.Store.Enrol(ctx, id, f); err != nil {
		return err
	}
	if err := s.Throttle.Reset(ctx, "password:"+string(id)); err != nil || f.TOTP.Sealed == nil {
		return err
	}
	return s.Throttle.Reset(ctx, "totp:"+string(id))
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// newToken makes 256 random bits as text, and the hash under which they are kept.
func newToken(random io.Reader) (secret.Text, [sha256.Size]byte, error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(random, raw); err != nil {
		return secret.Text{}, [sha256.Size]byte{}, sallyport.Wrap("make token", sallyport.Unavailable, "no randomness", err)
	}
	return secret.NewText(base64.RawURLEncoding.EncodeToString(raw)), sha256.Sum256(raw), nil
}

// hashToken is the hash of a token's bits; false for text that no token has.
func hashToken(token secret.Text) ([sha256.Size]byte, bool) {
	if token.Len() != 43 {
		return [sha256.Size]byte{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token.Reveal())
	return sha256.Sum256(raw), err == nil && len(raw) == 32
}
