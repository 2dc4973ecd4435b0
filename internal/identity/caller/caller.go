// Package caller owns who makes a call: what a request presents (an access token; a proof of possession, RFC 9449; a
// client certificate, RFC 8705) is held against each other, and becomes one principal with the key and the device that it
// has proved.
//
// A token that is bound to a key is of no use without it: shown as a bearer token, or beside another key, it is refused,
// and what looks like a theft is recorded with both origins.
//
// It leaves tokens to identity/token, what makes a proof of possession a good one to its subpackage dpop, devices to
// identity/device, certificates' chains to the listener, and what the caller may do to the guard.
package caller

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/plumbing/secret"
)

// The forms of sallyport.Principal.Key.
const (
	jkt = "jkt:" // DPoP: an RFC 7638 thumbprint
	x5t = "x5t:" // mutual TLS: the SHA-256 of a certificate
)

// A Service tells callers. Its fields are set once, before the first call; its methods are safe for concurrent use.
type Service struct {
	// Verify returns the principal of an access token for an audience, with the key that the token is bound to in Key.
	Verify func(ctx context.Context, raw secret.Text, audience string, now time.Time) (sallyport.Principal, error)
	// Prove checks the DPoP headers of a request beside an access token, once, and returns the key, "jkt:…"; errors of
	// kind Unknown have reasons that begin with the codes of RFC 9449.
	Prove func(headers []string, method, address string, access secret.Text) (key string, err error)
	// Facts are what is known of devices, and of who answers for whom.
	Facts *facts.Keeper
	// External is the URL that clients use, without a path: what the addresses in proofs begin with.
	External string
	// Pages returns the principal behind the session of a browser on our own pages; nil: they are no callers.
	Pages func(ctx context.Context, session secret.Text) (sallyport.Principal, error)
	// Record makes an event durable.
	Record func(context.Context, sallyport.Event) error

	certificates recent[[sha256.Size]byte, certificate]
	origins      recent[string, origin]
}

// A certificate is one that was parsed before.
type certificate struct {
	parsed     *x509.Certificate
	thumbprint string // "x5t:…"
}

// A presented is what a call has shown to possess.
type presented struct {
	proof guard.Proof
	cert  certificate // zero where there is none
	key   string      // proved by DPoP, "jkt:…"
}

// Who returns the principal that a proof proves, with the key and the device that the call has proved to have. An error
// of kind Unknown says, with Challenge, what the answer must ask for; of any other kind, that nobody could tell.
func (s *Service) Who(ctx context.Context, proof guard.Proof, now time.Time) (sallyport.Principal, error) {
	if proof.Bearer.IsZero() && !proof.Session.IsZero() && s.Pages != nil {
		return s.Pages(ctx, proof.Session)
	}
	if proof.Bearer.IsZero() && proof.Machine != "" && len(proof.Certificate) > 0 {
		return s.machine(proof, now)
	}
	if proof.Bearer.IsZero() {
		return sallyport.Principal{}, &Refused{Err: sallyport.E("sign in", sallyport.Unknown, "no access token was sent",
			"sign in with 'sallyport login' and run 'eval \"$(sallyport env)\"'").Because("token.missing")}
	}
	p, err := s.Verify(ctx, proof.Bearer, proof.Audience, now)
	if err != nil {
		return sallyport.Principal{}, s.unverified(err, now)
	}
	with := presented{proof: proof}
	if with.cert, err = s.certificate(proof.Certificate); err != nil {
		return sallyport.Principal{}, err
	}
	if err := s.possesses(&p, &with); err != nil {
		return sallyport.Principal{}, s.refused(ctx, p, with, now, err)
	}
	if p.Device, err = s.device(p, with, now); err != nil {
		return sallyport.Principal{}, s.refused(ctx, p, with, now, err)
	}
	s.origins.put(p.Family, origin{ip: proof.IP, device: p.Device, key: p.Key, at: now})
	return p, nil
}

// unverified is the refusal of a token that proves nobody. Where it was revoked because its account, or that of whoever
// acts, is not active, that is the cause: that somebody goes on using the account is worth knowing.
func (s *Service) unverified(err error, now time.Time) error {
	if dead, ok := errors.AsType[*access.Dead](err); ok {
		p := sallyport.Principal{ID: dead.Whose.ID, Actors: dead.Whose.Actors}
		if cause := s.Facts.Snapshot().Live(p, now); cause != nil {
			return &Refused{Err: cause, Scheme: bearerScheme, Code: invalidToken, Of: p.ID}
		}
	}
	return challenged(err, bearerScheme, invalidToken)
}

// possesses holds the key that the token is bound to against those that the call has proved.
func (s *Service) possesses(p *sallyport.Principal, with *presented) error {
	proof := with.proof
	var err error
	if strings.EqualFold(proof.Scheme, dpopScheme) {
		if !strings.HasPrefix(p.Key, jkt) {
			return no(dpopScheme, invalidToken, "token.unbound", "the token is not bound to a key, and is not shown as one that is")
		}
		if len(proof.DPoP) == 0 {
			return no(dpopScheme, invalidProof, "invalid_dpop_proof.missing", "the proof of the token's key is missing")
		}
		if with.key, err = s.Prove(proof.DPoP, proof.Method, cmp.Or(proof.Origin, s.External)+proof.URL, proof.Bearer); err != nil {
			return challenged(err, dpopScheme, codeOf(err))
		}
	}
	switch {
	case p.Key == "":
		return nil
	case strings.HasPrefix(p.Key, jkt):
		if with.key == "" {
			return no(dpopScheme, invalidToken, reasonDowngrade, "the token is bound to a key, and was shown without it")
		}
		if with.key != p.Key {
			return no(dpopScheme, invalidToken, reasonOtherKey, "the token is bound to another key")
		}
	case strings.HasPrefix(p.Key, x5t):
		if with.cert.thumbprint == "" {
			return no(bearerScheme, invalidToken, reasonDowngrade, "the token is bound to a certificate, and was shown without it")
		}
		if with.cert.thumbprint != p.Key {
			return no(bearerScheme, invalidToken, reasonOtherKey, "the token is bound to another certificate")
		}
	default:
		return no(bearerScheme, invalidToken, "token.binding", "the token is bound in a way that is not known here")
	}
	return nil
}

// device returns the id of the device whose key or certificate the call has proved, "" where there is none. Another
// person's device is no proof for this person's token.
func (s *Service) device(p sallyport.Principal, with presented, now time.Time) (string, error) {
	var d device.Device
	snap := s.Facts.Snapshot()
	devices := snap.Devices()
	if c := with.cert.parsed; c != nil {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return "", no(bearerScheme, invalidToken, device.ReasonExpired, "the device's certificate has ended")
		}
		var known bool
		if d, known = devices.ByCertificate(c); !known && with.cert.thumbprint != p.Key {
			return "", no(bearerScheme, invalidToken, device.ReasonUnknown, "the certificate is of no device that is enrolled")
		}
	}
	if with.key != "" {
		byKey, known := devices.ByKey(with.key)
		if known && d.ID != "" && byKey.ID != d.ID {
			return "", no(dpopScheme, invalidToken, "device.two", "the certificate and the key are of two devices")
		}
		if known {
			d = byKey
		}
	}
	if d.ID != "" && !answers(snap, p, d.Owner) {
		return "", no(bearerScheme, invalidToken, reasonOtherDevice, "the device is somebody else's")
	}
	return d.ID, nil
}

// answers reports whether a device's owner is one of those who act, or answers for one of them.
func answers(snap *facts.Snapshot, p sallyport.Principal, owner sallyport.PrincipalID) bool {
	if owner == p.ID || owner == p.Person {
		return true
	}
	for _, actor := range p.Actors {
		if m, known := snap.Member(actor); known && (owner == m.ID || owner == m.Person) {
			return true
		}
	}
	return false
}

// certificate parses a certificate, or finds it again.
func (s *Service) certificate(der []byte) (certificate, error) {
	if len(der) == 0 {
		return certificate{}, nil
	}
	sum := sha256.Sum256(der)
	if c, known := s.certificates.get(sum); known {
		return c, nil
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return certificate{}, no(bearerScheme, invalidToken, device.ReasonUnknown, "the certificate cannot be read")
	}
	c := certificate{parsed: parsed, thumbprint: x5t + base64.RawURLEncoding.EncodeToString(sum[:])}
	s.certificates.put(sum, c)
	return c, nil
}
