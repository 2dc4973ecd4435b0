package caller

import (
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/device"
)

// machineLife is how long a certificate alone proves a machine before it is looked at again.
const machineLife = time.Minute

// machine returns the service that a certificate alone proves: the one that the door takes it for, where the certificate
// is of a device of its own, or of the person who answers for it. It proves nothing that could be used elsewhere: what it
// may do is ask what others may (sallyport.DecisionAsk).
func (s *Service) machine(proof guard.Proof, now time.Time) (sallyport.Principal, error) {
	cert, err := s.certificate(proof.Certificate)
	if err != nil {
		return sallyport.Principal{}, err
	}
	if now.Before(cert.parsed.NotBefore) || now.After(cert.parsed.NotAfter) {
		return sallyport.Principal{}, no(bearerScheme, invalidToken, device.ReasonExpired, "the device's certificate has ended")
	}
	snap := s.Facts.Snapshot()
	d, known := snap.Devices().ByCertificate(cert.parsed)
	if !known {
		return sallyport.Principal{}, no(bearerScheme, invalidToken, device.ReasonUnknown, "the certificate is of no device that is enrolled")
	}
	p := sallyport.Principal{ID: proof.Machine, Person: snap.Behind(proof.Machine), Audience: proof.Audience, Scope: sallyport.Scope{string(sallyport.DecisionAsk)},
		Device: d.ID, Key: cert.thumbprint, Expires: now.Add(machineLife)}
	if !answers(snap, p, d.Owner) {
		return sallyport.Principal{}, no(bearerScheme, invalidToken, reasonOtherDevice, "the device is somebody else's")
	}
	return p, nil
}
