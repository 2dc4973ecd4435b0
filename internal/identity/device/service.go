package device

import (
	"context"
	"crypto/x509"
	"io"
	"time"

	"sallyport"
)

// A Service keeps devices. All fields are needed; methods are safe for concurrent use.
type Service struct {
	Store  Store
	Now    func() time.Time
	Random io.Reader
}

// Dump returns every live device.
func (s *Service) Dump(ctx context.Context) ([]Device, error) {
	return s.Store.Devices(ctx, Query{All: true})
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

// ByKey returns the live device whose key has this JSON Web Key thumbprint (RFC 7638). Errors are those of ByCertificate.
func (s *Service) ByKey(ctx context.Context, jkt string) (Device, error) {
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

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func unknown(reason string) error {
	return sallyport.E("device", sallyport.Unknown, "the device is not enrolled, or not any more", "enrol it with 'sallyport device enroll'").Because(reason)
}
