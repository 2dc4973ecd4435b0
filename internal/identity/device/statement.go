package device

import (
	"context"
	"crypto/x509"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

// StatementType is the typ of a signed report (RFC 7515, section 4.1.9).
const StatementType = "posture+jwt"

// The limits of a statement.
const (
	statementLife   = 5 * time.Minute
	statementLeeway = time.Minute // by how much a device's clock may be ahead or behind
)

// ReasonReplayed is the reason of the error of kind Unknown about a report that was taken in before, or is older than one
// that was.
const ReasonReplayed = "posture.replayed"

// A statement is what a device signs: iss is the device's id, aud the server's URL. At orders the statements of a device:
// none counts that is not later than the last, on whichever node that came in.
type statement struct {
	At      int64 `json:"at"` // microseconds since 1970
	Posture struct {
		Family    string    `json:"family"`
		Version   string    `json:"version"`
		Updated   time.Time `json:"updated"`
		Encrypted bool      `json:"encrypted"`
		Locked    bool      `json:"locked"`
	} `json:"posture"`
}

// stated verifies a report that is signed by the key of a device's certificate, and returns it with the time at which the
// device made it.
func (s *Service) stated(d Device, der []byte, text string) (Report, time.Time, error) {
	const op = "posture report"
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Report{}, time.Time{}, unknown(ReasonUnknown)
	}
	key, err := jose.NewKey("", jose.AlgorithmOf(c.PublicKey), c.PublicKey)
	if err != nil {
		return Report{}, time.Time{}, err
	}
	keys, err := jose.NewSet(key)
	if err != nil {
		return Report{}, time.Time{}, err
	}
	token, err := jose.Verify(text, keys, jose.Profile{Op: op, Types: []string{StatementType}, Algorithms: jose.ProofAlgorithms()})
	if err != nil {
		return Report{}, time.Time{}, err
	}
	if err := token.Claims.Check(jose.Rules{Op: op, Issuer: d.ID, Audience: s.Server, Sole: true, Now: s.now(), MaxLife: statementLife, Leeway: statementLeeway, NeedID: true}); err != nil {
		return Report{}, time.Time{}, err
	}
	var x statement
	if err := token.Claims.Decode(op, &x); err != nil {
		return Report{}, time.Time{}, err
	}
	at := time.UnixMicro(x.At).UTC()
	if off := at.Sub(s.now()); off > statementLeeway || off < -statementLife-statementLeeway {
		return Report{}, time.Time{}, sallyport.E(op, sallyport.Unknown, "the report was not made now", "set the clock of the device").Because("jose.time")
	}
	p := x.Posture
	return Report{Family: p.Family, Version: p.Version, Updated: p.Updated, Encrypted: p.Encrypted, Locked: p.Locked}, at, nil
}

func replayed() error {
	return sallyport.E("posture report", sallyport.Unknown, "a report that is not older than this one was taken in before", "send a new one").Because(ReasonReplayed)
}

// Report takes in what a device says of itself, over its certificate (DER), which the listener has verified, and signed by
// the same key: what a proxy on the way passes on is the device's own word. What changed is recorded.
func (s *Service) Report(ctx context.Context, der []byte, signed string) (Device, error) {
	d, err := s.ByCertificate(ctx, der)
	if err != nil {
		return Device{}, err
	}
	p, at, err := s.stated(d, der, signed)
	if err != nil {
		return Device{}, err
	}
	if !at.After(d.Posture.Stated) {
		return Device{}, replayed()
	}
	next, err := s.judge(p, s.now())
	if err != nil {
		return Device{}, err
	}
	next.Stated = at
	return s.take(ctx, d, next)
}
