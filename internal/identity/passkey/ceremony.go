package passkey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// Options are what a browser needs for a ceremony, and the handle that finds it again.
type Options struct {
	JSON   json.RawMessage // for parseCreationOptionsFromJSON or parseRequestOptionsFromJSON, as the member publicKey
	Handle secret.Text
}

// A Person is for whom a passkey is registered.
type Person struct {
	ID      sallyport.PrincipalID
	Display string
}

// BeginRegister begins the registration of a passkey within a session.
func (s *Service) BeginRegister(ctx context.Context, p Person, session string) (Options, error) {
	if s.off != nil {
		return Options{}, s.off
	}
	u, err := s.user(ctx, p)
	if err != nil {
		return Options{}, err
	}
	if len(u.credentials) >= most {
		return Options{}, sallyport.E("add passkey", sallyport.Conflict, fmt.Sprintf("there are %d passkeys already", most), "remove one first")
	}
	var exclude []protocol.CredentialDescriptor
	for _, c := range u.credentials {
		exclude = append(exclude, c.Descriptor())
	}
	creation, data, err := s.party.BeginRegistration(u, webauthn.WithExclusions(exclude))
	if err != nil {
		return Options{}, sallyport.Wrap("add passkey", sallyport.Other, "", err)
	}
	return s.begin(ctx, Ceremony{Kind: Register, Member: p.ID, Session: session}, data, creation)
}

// FinishRegister verifies a browser's answer to BeginRegister and returns the passkey, which Add keeps. session is the one
// in which it was begun.
func (s *Service) FinishRegister(ctx context.Context, handle secret.Text, session, label string, response []byte) (Passkey, error) {
	c, data, err := s.take(ctx, handle, Register, session)
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(bounded(response))
	if err != nil {
		return Passkey{}, wrong(err)
	}
	u, err := s.user(ctx, Person{ID: c.Member})
	if err != nil {
		return Passkey{}, err
	}
	made, err := s.party.CreateCredential(u, data, parsed)
	if err != nil {
		return Passkey{}, wrong(err)
	}
	if !parsed.Response.AttestationObject.AuthData.Flags.HasUserVerified() || len(made.ID) > maxID {
		return Passkey{}, wrong(errors.New("no user verification, or an id that is too long"))
	}
	p := Passkey{Hash: sha256.Sum256(made.ID), Member: c.Member, AAGUID: aaguid(made.Authenticator.AAGUID), Backup: made.Flags.BackupEligible,
		Attested: s.attested(made), Created: s.now(), Version: 1}
	p.ID, p.Model = publicID(p.Hash), s.model(p.AAGUID)
	if p.Label = clipLabel(label); p.Label == "" {
		p.Label = p.Model
	}
	if err := s.acceptable(p); err != nil {
		return Passkey{}, err
	}
	p.Sealed, err = s.seal(p, made)
	return p, err
}

// acceptable refuses what may not be registered.
func (s *Service) acceptable(p Passkey) error {
	refuse := func(text string) error {
		return sallyport.E("add passkey", sallyport.Conflict, text, "use another authenticator; an administrator knows which").Because(ReasonModel)
	}
	if s.config.Accept != Any && p.Backup {
		return refuse("passkeys that are copied to other devices are not accepted here")
	}
	if s.config.Accept == Listed && s.Class(p) != Hardware {
		return refuse("this model of authenticator is not accepted here")
	}
	return nil
}

// BeginSignIn begins a sign-in by whoever has a passkey.
func (s *Service) BeginSignIn(ctx context.Context) (Options, error) {
	if s.off != nil {
		return Options{}, s.off
	}
	assertion, data, err := s.party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return Options{}, sallyport.Wrap("sign in", sallyport.Other, "", err)
	}
	return s.begin(ctx, Ceremony{Kind: SignIn}, data, assertion)
}

// BeginProof begins a proof by somebody who is known already: after a password (Second, without a session) or within a
// session (StepUp).
func (s *Service) BeginProof(ctx context.Context, kind Kind, id sallyport.PrincipalID, session string) (Options, error) {
	if s.off != nil {
		return Options{}, s.off
	}
	u, err := s.user(ctx, Person{ID: id})
	if err != nil {
		return Options{}, err
	}
	if len(u.credentials) == 0 {
		return Options{}, sallyport.E("use passkey", sallyport.Conflict, "there is no passkey that can be used", "add one on your account page").Because(ReasonUnknown)
	}
	assertion, data, err := s.party.BeginLogin(u, webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return Options{}, sallyport.Wrap("use passkey", sallyport.Other, "", err)
	}
	return s.begin(ctx, Ceremony{Kind: kind, Member: id, Session: session}, data, assertion)
}

// A Proved is a good proof.
type Proved struct {
	Member  sallyport.PrincipalID
	Passkey Passkey
	Class   Class
}

// Finish verifies a browser's answer to BeginSignIn or BeginProof, once. The response must verify the user itself,
// whatever was verified before. A counter that went back locks the passkey: the error's reason is ReasonCloned then, and
// Proved names the passkey. Everything that is wrong with a response is of kind Unknown.
func (s *Service) Finish(ctx context.Context, handle secret.Text, kind Kind, session string, response []byte) (Proved, error) {
	c, data, err := s.take(ctx, handle, kind, session)
	if err != nil {
		return Proved{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(bounded(response))
	if err != nil {
		return Proved{}, wrong(err)
	}
	p, u, err := s.owner(ctx, parsed.RawID, c.Member)
	if err != nil {
		return Proved{}, err
	}
	got := Proved{Member: p.Member, Passkey: p, Class: s.Class(p)}
	if !p.Locked.IsZero() {
		return got, sallyport.E("use passkey", sallyport.Unknown, "this passkey is locked: "+p.Why, "use another one, or ask an administrator").Because(ReasonLocked)
	}
	var used *webauthn.Credential
	if kind == SignIn {
		_, used, err = s.party.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) { return u, nil }, data, parsed)
	} else {
		used, err = s.party.ValidateLogin(u, data, parsed)
	}
	if err != nil {
		return Proved{Member: p.Member}, wrong(err)
	}
	if !parsed.Response.AuthenticatorData.Flags.HasUserVerified() {
		return Proved{Member: p.Member}, wrong(errors.New("the user was not verified in this ceremony"))
	}
	got.Passkey, err = s.used(ctx, p, used)
	return got, err
}

// used keeps what a proof has changed, or locks a passkey whose counter went back (section 6.1.1).
func (s *Service) used(ctx context.Context, p Passkey, now *webauthn.Credential) (Passkey, error) {
	cloned := now.Authenticator.CloneWarning
	if cloned {
		p.Locked, p.Why = s.now(), "its counter went back, so there may be a copy of it"
	} else {
		p.Used = s.now()
	}
	var err error
	if p.Sealed, err = s.seal(p, now); err != nil {
		return p, err
	}
	p.Version++
	if err := s.config.Store.Update(ctx, p); err != nil {
		if sallyport.KindOf(err) == sallyport.Conflict {
			err = sallyport.Wrap("use passkey", sallyport.Unknown, "this passkey was used elsewhere at the same moment; try again", err).Because(ReasonWrong)
		}
		return p, err
	}
	if cloned {
		return p, sallyport.E("use passkey", sallyport.Unknown, "this passkey may have been copied and is locked now", "use another one, and tell an administrator").Because(ReasonCloned)
	}
	return p, nil
}

// owner finds the passkey of a response. Where somebody is known already, it must be theirs.
func (s *Service) owner(ctx context.Context, id []byte, known sallyport.PrincipalID) (Passkey, *user, error) {
	hash := sha256.Sum256(id)
	found, err := s.config.Store.Passkeys(ctx, Query{Hash: &hash})
	if err != nil {
		return Passkey{}, nil, err
	}
	if len(found) != 1 || known != "" && found[0].Member != known {
		return Passkey{}, nil, sallyport.E("use passkey", sallyport.Unknown, "this passkey is not known here", "use another one, or your password").Because(ReasonUnknown)
	}
	u, err := s.user(ctx, Person{ID: found[0].Member})
	return found[0], u, err
}

// begin keeps a ceremony under a new handle.
func (s *Service) begin(ctx context.Context, c Ceremony, data *webauthn.SessionData, options any) (Options, error) {
	const op = "begin ceremony"
	raw, err := json.Marshal(options)
	if err == nil {
		c.Data, err = json.Marshal(data)
	}
	if err != nil {
		return Options{}, sallyport.Wrap(op, sallyport.Other, "", err)
	}
	bits := make([]byte, 32)
	if _, err := io.ReadFull(s.config.Random, bits); err != nil {
		return Options{}, sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	now := s.now()
	c.Hash, c.Expires = sha256.Sum256(bits), now.Add(CeremonyLife)
	if err := s.config.Store.PutCeremony(ctx, c, now); err != nil {
		return Options{}, err
	}
	return Options{JSON: raw, Handle: secret.NewText(base64.RawURLEncoding.EncodeToString(bits))}, nil
}

// take uses a ceremony up, before anything is verified. One of another kind or session is used up too.
func (s *Service) take(ctx context.Context, handle secret.Text, kind Kind, session string) (Ceremony, webauthn.SessionData, error) {
	ended := sallyport.E("use passkey", sallyport.Unknown, "this was begun elsewhere, took too long or was answered already", "try again").Because(ReasonCeremony)
	none := webauthn.SessionData{}
	if s.off != nil {
		return Ceremony{}, none, s.off
	}
	bits, err := base64.RawURLEncoding.Strict().DecodeString(handle.Reveal())
	if err != nil || len(bits) != 32 {
		return Ceremony{}, none, ended
	}
	c, err := s.config.Store.TakeCeremony(ctx, sha256.Sum256(bits))
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Ceremony{}, none, err
	}
	if err != nil || c.Kind != kind || c.Session != session || !s.now().Before(c.Expires) {
		return Ceremony{}, none, ended
	}
	var data webauthn.SessionData
	if err := json.Unmarshal(c.Data, &data); err != nil {
		return Ceremony{}, none, sallyport.Wrap("use passkey", sallyport.Other, "", err)
	}
	return c, data, nil
}

// user is a person as the library sees one, with the passkeys that may be used.
type user struct {
	Person
	handle      []byte
	credentials []webauthn.Credential
}

func (u *user) WebAuthnID() []byte                         { return u.handle }
func (u *user) WebAuthnName() string                       { return u.ID.Name() }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.credentials }
func (u *user) WebAuthnDisplayName() string {
	if u.Display == "" {
		return u.ID.Name()
	}
	return u.Display
}

func (s *Service) user(ctx context.Context, p Person) (*user, error) {
	fresh := make([]byte, 32)
	if _, err := io.ReadFull(s.config.Random, fresh); err != nil {
		return nil, sallyport.Wrap("user handle", sallyport.Unavailable, "no randomness", err)
	}
	u := &user{Person: p}
	var err error
	if u.handle, err = s.config.Store.Handle(ctx, p.ID, fresh); err != nil {
		return nil, err
	}
	all, err := s.Usable(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		c, err := s.open(k)
		if err != nil {
			return nil, err
		}
		u.credentials = append(u.credentials, *c)
	}
	return u, nil
}

func (s *Service) seal(p Passkey, c *webauthn.Credential) ([]byte, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, sallyport.Wrap("seal passkey", sallyport.Other, "", err)
	}
	return s.config.Seal(raw, sealContext(p))
}

func (s *Service) open(p Passkey) (*webauthn.Credential, error) {
	raw, err := s.config.Open(p.Sealed, sealContext(p))
	if err != nil {
		return nil, sallyport.Wrap("open passkey", sallyport.Unavailable, "the key that seals it cannot be used", err)
	}
	c := new(webauthn.Credential)
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, sallyport.Wrap("open passkey", sallyport.Other, "", err)
	}
	if hash := sha256.Sum256(c.ID); !bytes.Equal(hash[:], p.Hash[:]) {
		return nil, sallyport.E("open passkey", sallyport.Other, "the record is another credential's", "")
	}
	return c, nil
}

func sealContext(p Passkey) string { return "passkey:" + string(p.Member) + ":" + p.ID }

// bounded is a response that may be parsed; a longer one becomes none.
func bounded(response []byte) []byte {
	if len(response) > maxResponse {
		return nil
	}
	return response
}

// wrong is one answer for everything that is wrong with a response; what it was stays in the log.
func wrong(cause error) error {
	detail := cause
	var e *protocol.Error
	if errors.As(cause, &e) {
		detail = fmt.Errorf("%s: %s: %s: %w", e.Type, e.Details, e.DevInfo, cause)
	}
	return sallyport.Wrap("use passkey", sallyport.Unknown, "this passkey did not prove you; try again, or use another way", detail).Because(ReasonWrong)
}
