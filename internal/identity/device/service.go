package device

import (
	"context"
	"crypto/x509"
	"encoding/base32"
	"io"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/identity/device/tpm"
)

// Limits of what one owner can have.
const (
	maxDevices    = 20              // live ones
	maxOpen       = 5               // enrolments that have begun
	enrolFor      = 5 * time.Minute // from the first step to the second
	renewedAtMost = time.Minute     // how often a certificate is renewed
	maxText       = 200             // bytes of a reason
	maxRequest    = 8 << 10         // bytes of a certificate request
)

// A Service keeps devices. All fields are needed; methods are safe for concurrent use.
type Service struct {
	Store  Store
	CA     *ca.Authority
	TPM    *tpm.Verifier
	Server string // external URL: what an enrolment's proof is for
	Rule   Rule
	Admin  Level // that a device of class Admin must have
	// Person is who answers for a principal.
	Person func(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error)
	Note   func(ctx context.Context, e sallyport.Event) error // makes an event durable, or nothing happens
	Now    func() time.Time
	Random io.Reader
}

// Dump returns every live device.
func (s *Service) Dump(ctx context.Context) ([]Device, error) {
	return s.Store.Devices(ctx, Query{All: true})
}

// List returns the devices of an owner, removed ones too, the newest first.
func (s *Service) List(ctx context.Context, owner sallyport.PrincipalID) ([]Device, error) {
	if owner == "" {
		return nil, sallyport.E("list devices", sallyport.Invalid, "no owner", "name one: user:NAME")
	}
	return s.Store.Devices(ctx, Query{Owner: owner})
}

// Get returns a device by its id, NotFound where there is none. With an owner it is NotFound too where it is somebody
// else's.
func (s *Service) Get(ctx context.Context, id string, owner sallyport.PrincipalID) (Device, error) {
	if id == "" {
		return Device{}, missing()
	}
	found, err := s.Store.Devices(ctx, Query{ID: id})
	if err == nil && (len(found) != 1 || owner != "" && found[0].Owner != owner) {
		err = missing()
	}
	if err != nil {
		return Device{}, err
	}
	return found[0], nil
}

func missing() error {
	return sallyport.E("device", sallyport.NotFound, "there is no such device", "list them with 'sallyport device ls'")
}

// The reasons of errors of kind Unknown, for the record.
const (
	ReasonUnknown = "device.unknown" // no enrolled device has this key, or it was removed
	ReasonExpired = "device.expired" // its certificate has ended
)

// ByCertificate returns the live device of a certificate (DER) that the listener has verified. A certificate that belongs
// to none is of kind Unknown; a store that cannot be read is Unavailable, never that.
func (s *Service) ByCertificate(ctx context.Context, der []byte) (Device, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Device{}, unknown(ReasonUnknown)
	}
	if now := s.now(); now.After(c.NotAfter) || now.Before(c.NotBefore) {
		return Device{}, unknown(ReasonExpired)
	}
	d, err := s.one(ctx, Query{SPKI: ThumbprintSPKI(c.RawSubjectPublicKeyInfo)})
	if err == nil && !names(c, d.ID) {
		return Device{}, unknown(ReasonUnknown)
	}
	return d, err
}

// ByKey returns the live device whose key has this JSON Web Key thumbprint (RFC 7638), with or without "jkt:" before it.
// Errors are those of ByCertificate.
func (s *Service) ByKey(ctx context.Context, jkt string) (Device, error) {
	jkt = strings.TrimPrefix(jkt, "jkt:")
	if jkt == "" {
		return Device{}, unknown(ReasonUnknown)
	}
	return s.one(ctx, Query{JKT: jkt})
}

func (s *Service) one(ctx context.Context, q Query) (Device, error) {
	found, err := s.Store.Devices(ctx, q)
	switch {
	case err != nil:
		return Device{}, err
	case len(found) != 1 || !found[0].Live():
		return Device{}, unknown(ReasonUnknown)
	}
	return found[0], nil
}

// Remove ends a device for good: its certificates are revoked. Removing it twice is no error; the first reason stays.
func (s *Service) Remove(ctx context.Context, id string, by sallyport.PrincipalID, why string) (Device, error) {
	if d, err := s.Get(ctx, id, ""); err != nil || !d.Live() {
		return d, err
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDeviceRemoved, Who: by, On: on(id), Detail: map[string]string{"why": clip(why)}}); err != nil {
		return Device{}, err
	}
	return s.Store.Update(ctx, id, func(d *Device) error {
		if d.Live() {
			d.State, d.Ended, d.Why = Removed, s.now(), clip(why)
		}
		return nil
	})
}

// RemoveAll ends every device of an owner, and returns how many.
func (s *Service) RemoveAll(ctx context.Context, owner, by sallyport.PrincipalID, why string) (int, error) {
	all, err := s.List(ctx, owner)
	n := 0
	for _, d := range all {
		if err != nil || !d.Live() {
			continue
		}
		if _, err = s.Remove(ctx, d.ID, by, why); err == nil {
			n++
		}
	}
	return n, err
}

// Classify makes a device one of a class. Whoever answers for its owner cannot make it one of class Admin, and its key must
// be bound well enough.
func (s *Service) Classify(ctx context.Context, id string, class Class, by sallyport.PrincipalID) (Device, error) {
	const op = "promote device"
	d, err := s.Get(ctx, id, "")
	if err != nil {
		return Device{}, err
	}
	if class != Standard && class != Admin {
		return Device{}, sallyport.E(op, sallyport.Invalid, "there is no such class", "use standard or admin")
	}
	if class == Admin {
		owner, err := s.Person(ctx, d.Owner)
		if err != nil {
			return Device{}, err
		}
		person, err := s.Person(ctx, by)
		if err != nil {
			return Device{}, err
		}
		if owner == person || by == d.Owner {
			return Device{}, sallyport.E(op, sallyport.Conflict, "nobody makes their own device one for administration", "ask another administrator").Because("device.own")
		}
	}
	fit := func(d Device) error {
		switch {
		case !d.Live():
			return missing()
		case class == Admin && d.Level < s.Admin:
			return sallyport.E(op, sallyport.Conflict, "the key of this device is not bound to its hardware as the operator asks for administration",
				"enrol it anew with its TPM: sallyport device enroll --tpm")
		}
		return nil
	}
	if err := fit(d); err != nil {
		return Device{}, err
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventChanged, Who: by, On: on(id), Detail: map[string]string{"what": "device class", "class": string(class)}}); err != nil {
		return Device{}, err
	}
	return s.Store.Update(ctx, id, func(d *Device) error {
		if err := fit(*d); err != nil {
			return err
		}
		d.Class = class
		return nil
	})
}

// Comply records what the operator's device management says of a device (an MDM's webhook, or device-compliance-change of
// OpenID CAEP 1.0): while it does not comply, nothing good that it reports is believed.
func (s *Service) Comply(ctx context.Context, id string, good bool, why string) (Device, error) {
	against := ""
	if !good {
		if against = clip(why); against == "" {
			against = "not compliant"
		}
	}
	d, err := s.Get(ctx, id, "")
	if err != nil || d.Against == against {
		return d, err
	}
	detail := map[string]string{"what": "compliance", "compliant": "true"}
	if !good {
		detail["compliant"], detail["why"] = "false", against
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDevicePosture, Who: d.Owner, On: on(id), Detail: detail}); err != nil {
		return Device{}, err
	}
	return s.Store.Update(ctx, id, func(d *Device) error { d.Against = against; return nil })
}

// Revoked returns the certificates that ended before their time, for a revocation list.
func (s *Service) Revoked(ctx context.Context) ([]byte, error) {
	all, err := s.Store.Revoked(ctx, s.now())
	if err != nil {
		return nil, err
	}
	list := make([]ca.Revocation, len(all))
	for i, r := range all {
		list[i] = ca.Revocation{Serial: r.Serial, At: r.At, Expires: r.Expires}
	}
	return s.CA.List(list)
}

// Tend forgets what has ended and rotates the authority's keys in time. Call it now and then.
func (s *Service) Tend(ctx context.Context) error {
	if err := s.Store.Prune(ctx, s.now()); err != nil {
		return err
	}
	return s.CA.Tend(ctx)
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// newID makes n random bytes as text.
func (s *Service) newID(n int) (string, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(s.Random, raw); err != nil {
		return "", sallyport.Wrap("enrol device", sallyport.Unavailable, "no randomness", err)
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw), nil
}

// on names a device in the record.
func on(id string) string { return "device:" + id }

func clip(s string) string {
	s = sallyport.OneLine(s)
	return s[:min(len(s), maxText)]
}

func unknown(reason string) error {
	return sallyport.E("device", sallyport.Unknown, "the device is not enrolled, or not any more", "enrol it with 'sallyport device enroll'").Because(reason)
}
