// Package passkey owns people's passkeys (W3C Web Authentication Level 3): their registration, the ceremonies in which
// they prove somebody, what class each is of, and the metadata of authenticator models (FIDO MDS 3).
//
// A ceremony is a row of its own, found by a handle that only the browser's cookie holds, and deleted before anything is
// verified: the protocol library does not notice a response that comes twice. User verification is required in every
// ceremony and read from that ceremony. A counter that goes back locks the passkey.
//
// Like credential it says "this proof is good", never "you are signed in": that is signin. What must be proved for what
// is for policy.
package passkey

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport"
)

const (
	// CeremonyLife is how long a ceremony may take, from options to response.
	CeremonyLife = 5 * time.Minute
	maxResponse  = 64 << 10 // bytes of a browser's answer
	maxID        = 1023     // bytes of a credential id, Web Authentication section 4
	maxLabel     = 64       // bytes of the name that a person gives
	most         = 20       // passkeys of one person
)

// A Class says where a passkey's private key can be.
type Class string

// The classes.
const (
	Synced   Class = "synced"   // in several places, or nobody knows: phishing-resistant
	Hardware Class = "hardware" // in one authenticator of a model that the operator trusts, as its maker attests: AAL3
)

// A Passkey is one registered credential of a person.
type Passkey struct {
	ID       string            // public: "K-" and 26 characters
	Hash     [sha256.Size]byte // of the credential id
	Member   sallyport.PrincipalID
	Label    string // as the person calls it
	Model    string // name of the authenticator's model, its AAGUID where the name is unknown
	AAGUID   string
	Attested bool      // its maker's attestation was verified up to a trusted root when it was registered
	Backup   bool      // it may be copied to other devices (BE, section 6.1.3)
	Created  time.Time // registration
	Used     time.Time // last good proof
	Locked   time.Time // zero while it may be used
	Why      string    // it is locked
	Sealed   []byte    // the whole credential record as JSON, sealed for the person and the id
	Version  int64     // counts changes
}

// A Kind is what a ceremony is for.
type Kind string

// The kinds of ceremonies.
const (
	Register Kind = "register"
	SignIn   Kind = "signin" // whoever it is: discoverable
	Second   Kind = "second" // after somebody's password
	StepUp   Kind = "stepup" // within a session
)

// A Ceremony is what is kept between options and response.
type Ceremony struct {
	Hash    [sha256.Size]byte // of the handle
	Kind    Kind
	Member  sallyport.PrincipalID // "" where anybody may answer
	Session string                // id of the session in which it takes place, "" before there is one
	Data    []byte                // the library's session data as JSON
	Expires time.Time
}

// A Query selects passkeys by exactly one field.
type Query struct {
	Hash   *[sha256.Size]byte
	Member sallyport.PrincipalID
}

// A Store keeps passkeys and ceremonies. Every change is durable when the method returns. Methods are safe for concurrent
// use.
type Store interface {
	// Handle returns the user handle of a person, by which authenticators know the account; fresh becomes it where there
	// is none yet.
	Handle(ctx context.Context, id sallyport.PrincipalID, fresh []byte) ([]byte, error)
	// Passkeys returns what a query selects, the oldest first.
	Passkeys(ctx context.Context, q Query) ([]Passkey, error)
	// Insert adds a passkey, Conflict where its credential id is registered already, for whomever.
	Insert(ctx context.Context, p Passkey) error
	// Update replaces a passkey whose version is one less, Conflict where it is not.
	Update(ctx context.Context, p Passkey) error
	// Remove removes a person's passkey, NotFound where there is none. Of parallel calls one succeeds.
	Remove(ctx context.Context, member sallyport.PrincipalID, id string) error
	// PutCeremony keeps a ceremony and forgets those that have expired at a time.
	PutCeremony(ctx context.Context, c Ceremony, now time.Time) error
	// TakeCeremony removes the ceremony of a hash and returns it, NotFound where there is none. Of parallel calls one wins.
	TakeCeremony(ctx context.Context, hash [sha256.Size]byte) (Ceremony, error)
}

// An Acceptance says which passkeys may be registered at all.
type Acceptance string

// The acceptances.
const (
	Any         Acceptance = "any"
	DeviceBound Acceptance = "device-bound" // none that can be copied to other devices
	Listed      Acceptance = "listed"       // attested ones of listed models only
)

// A Config says how passkeys are set up.
type Config struct {
	URL      string // the server's external URL; its host is the relying party's id
	Name     string // shown by authenticators, for example "Sallyport"
	Accept   Acceptance
	Models   []Model // hardware that may count as AAL3
	Metadata *Metadata
	Store    Store
	// Seal and Open encrypt a value at rest, bound to a context that must be the same for both.
	Seal   func(value []byte, context string) ([]byte, error)
	Open   func(sealed []byte, context string) ([]byte, error)
	Now    func() time.Time
	Random io.Reader
}

// A Service runs ceremonies. Make one with New; methods are safe for concurrent use.
type Service struct {
	config Config
	party  *webauthn.WebAuthn
	models map[string]string // AAGUID to name
	off    error
}

// New makes a Service. A URL whose host cannot be a relying party (an IP address) is no error: passkeys are off then, and
// every ceremony says why.
func New(c Config) (*Service, error) {
	const op = "configure passkeys"
	if c.Accept == "" {
		c.Accept = Any
	}
	if c.Accept != Any && c.Accept != DeviceBound && c.Accept != Listed {
		return nil, sallyport.E(op, sallyport.Invalid, "accept is none of any, device-bound, listed", "")
	}
	s := &Service{config: c, models: map[string]string{}}
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the external URL has no host", err)
	}
	provider, err := c.Metadata.provider(c.Models, s.models)
	if err != nil {
		return nil, err
	}
	if s.off = unfit(u); s.off != nil {
		return s, nil
	}
	s.party, err = webauthn.New(&webauthn.Config{RPID: u.Hostname(), RPDisplayName: c.Name, RPOrigins: []string{u.Scheme + "://" + u.Host},
		AttestationPreference: protocol.PreferDirectAttestation, MDS: provider,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired}})
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the host "+u.Hostname()+" cannot be a relying party", err)
	}
	return s, nil
}

// unfit says why browsers would refuse passkeys for an address (section 5.1.2: the id is a domain, and the context secure).
func unfit(u *url.URL) error {
	host := u.Hostname()
	_, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		return sallyport.E("passkeys", sallyport.Conflict, "passkeys are off: browsers bind them to a name, and this server is reached by the address "+host,
			"the operator sets \"external\" to a host name; http://localhost:PORT will do on one machine").Because(ReasonOff)
	case u.Scheme != "https" && host != "localhost" && !strings.HasSuffix(host, ".localhost"):
		return sallyport.E("passkeys", sallyport.Conflict, "passkeys are off: browsers offer them over TLS only", "the operator serves https").Because(ReasonOff)
	}
	return nil
}

// Off is why there are no passkeys on this server, nil where there are.
func (s *Service) Off() error { return s.off }

// The reasons of errors, for the record.
const (
	ReasonOff      = "passkey.off"
	ReasonCeremony = "passkey.ceremony" // there is none of this handle, of this kind, in this session
	ReasonWrong    = "passkey.wrong"    // the response does not verify
	ReasonUnknown  = "passkey.unknown"
	ReasonLocked   = "passkey.locked"
	ReasonCloned   = "passkey.cloned"
	ReasonModel    = "passkey.model" // its model is not accepted, or was found to be broken
)

// List returns the passkeys of a person, the oldest first.
func (s *Service) List(ctx context.Context, id sallyport.PrincipalID) ([]Passkey, error) {
	if id == "" {
		return nil, sallyport.E("list passkeys", sallyport.Invalid, "no principal", "name one: user:NAME")
	}
	return s.config.Store.Passkeys(ctx, Query{Member: id})
}

// Usable returns the passkeys of a person that are not locked.
func (s *Service) Usable(ctx context.Context, id sallyport.PrincipalID) ([]Passkey, error) {
	all, err := s.List(ctx, id)
	var usable []Passkey
	for _, p := range all {
		if p.Locked.IsZero() {
			usable = append(usable, p)
		}
	}
	return usable, err
}

// Add keeps a passkey that FinishRegister has verified. Conflict where it is registered already.
func (s *Service) Add(ctx context.Context, p Passkey) error {
	if err := s.config.Store.Insert(ctx, p); err != nil {
		if sallyport.KindOf(err) == sallyport.Conflict {
			err = sallyport.Wrap("add passkey", sallyport.Conflict, "this passkey is registered already", err)
		}
		return err
	}
	return nil
}

// Rename changes what a person calls a passkey.
func (s *Service) Rename(ctx context.Context, member sallyport.PrincipalID, id, label string) error {
	p, err := s.Get(ctx, member, id)
	if err != nil {
		return err
	}
	if p.Label = clipLabel(label); p.Label == "" {
		return sallyport.E("rename passkey", sallyport.Invalid, "the name is empty", "write one")
	}
	p.Version++
	return s.config.Store.Update(ctx, p)
}

// Remove forgets a person's passkey. Whether it is their last one is the caller's question.
func (s *Service) Remove(ctx context.Context, member sallyport.PrincipalID, id string) error {
	err := s.config.Store.Remove(ctx, member, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return noPasskey()
	}
	return err
}

// Get returns one passkey of a person, NotFound where there is none of this id.
func (s *Service) Get(ctx context.Context, member sallyport.PrincipalID, id string) (Passkey, error) {
	all, err := s.List(ctx, member)
	if err != nil {
		return Passkey{}, err
	}
	for _, p := range all {
		if p.ID == id {
			return p, nil
		}
	}
	return Passkey{}, noPasskey()
}

func noPasskey() error {
	return sallyport.E("passkey", sallyport.NotFound, "you have no such passkey", "see your account page")
}

// Class says where a passkey's key can be, after today's list of models: one that is taken off the list is hardware no
// more.
func (s *Service) Class(p Passkey) Class {
	if _, listed := s.models[p.AAGUID]; listed && p.Attested && !p.Backup {
		return Hardware
	}
	return Synced
}

// Assurance is what a proof by a class of passkey is worth.
func (c Class) Assurance() sallyport.Assurance {
	if c == Hardware {
		return sallyport.Hardware
	}
	return sallyport.PhishingResistant
}

// Methods are the RFC 8176 names of such a proof. Where the key lies is claimed only where it is attested; that the user
// was verified is in "mfa".
func (c Class) Methods() []string {
	if c == Hardware {
		return []string{"hwk", "user", "mfa"}
	}
	return []string{"swk", "user", "mfa"}
}

func publicID(hash [sha256.Size]byte) string {
	return "K-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:16])
}

func clipLabel(s string) string {
	s = strings.TrimSpace(sallyport.OneLine(s))
	for len(s) > maxLabel {
		s = strings.ToValidUTF8(s[:maxLabel], "")
	}
	return s
}

func (s *Service) now() time.Time { return s.config.Now().UTC().Truncate(time.Microsecond) }
