// Package device owns enrolled devices: the key that each is bound to, the short-lived certificate over it (an X.509 SVID,
// RFC 5280 and SPIFFE), what it last reported of itself, and the ceremony by which a signed-in person enrols one.
//
// A device's key never leaves it, or is marked as one that may: Level says which. A device names its owner, and gives no
// right to anybody: what may be done from it is policy's, through the facts.
//
// It leaves certificates' form and the authority's keys to ca, the evidence of a TPM to tpm, TLS to the server, and people
// and their proofs to directory, credential and session.
package device

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"iter"
	"maps"
	"math/big"
	"time"

	"sallyport"
)

// A Class says what a device is meant for.
type Class string

// The classes of devices.
const (
	Standard Class = "standard"
	Admin    Class = "admin" // a workstation for privileged work, promoted by somebody else than its owner
)

// A Level says how well a device's key is bound to it. Zero is no device.
type Level int

// The levels of devices.
const (
	Bound    Level = 1 // a key that calls prove (DPoP), without a certificate
	Software Level = 2 // a certificate over a key in a file
	Attested Level = 3 // a certificate over a key that a trusted TPM has shown to be its own
)

// A State says whether a device counts.
type State string

// The states of devices.
const (
	Active  State = "active"
	Removed State = "removed" // for good: a device that comes back is enrolled anew
)

// Keys are the thumbprints of a device's public key, base64url without padding.
type Keys struct {
	SPKI string // SHA-256 of its SubjectPublicKeyInfo
	JKT  string // of its JSON Web Key (RFC 7638)
}

// A Certificate is what is kept of a device certificate.
type Certificate struct {
	Serial  string // hexadecimal, lower case
	Expires time.Time
}

// A Posture is what a device has reported of itself, in the light of the operator's rule. The zero Posture was never
// reported.
type Posture struct {
	At        time.Time // when it was received
	OS        string    // "linux 6.1.0": family and version
	Updated   time.Time // when the system was last brought up to date, zero where that is not known
	Patched   bool      // at the patch level that the operator asks for
	Encrypted bool      // its disk is encrypted
	Locked    bool      // its screen locks by itself
	Stated    time.Time // when the device made the report, by its own clock; zero of one that came with its enrolment
}

// A Device is one record.
type Device struct {
	ID          string // "DV-" and 16 characters; never used again
	Owner       sallyport.PrincipalID
	Name        string // by its owner, for people
	Class       Class
	Level       Level
	Keys        Keys
	Hardware    string // SHA-256 of the TPM's endorsement key, hexadecimal; "" for a key in software
	Certificate Certificate
	Posture     Posture
	Against     string // why the operator's device management holds it for non-compliant; "" when it does not
	State       State
	Created     time.Time
	Seen        time.Time // of its last renewal or report
	Ended       time.Time // when it was removed
	Why         string    // it was removed
}

// Live reports whether the device counts at all.
func (d Device) Live() bool { return d.State == Active }

// Reported returns what may be believed of the device's state, and the age of its report, below zero where there is none.
// Of a device that device management holds for non-compliant, nothing good is believed.
func (d Device) Reported(now time.Time) (Posture, time.Duration) {
	if d.Posture.At.IsZero() {
		return Posture{}, -1
	}
	p := d.Posture
	if d.Against != "" {
		p.Patched, p.Encrypted, p.Locked = false, false, false
	}
	return p, max(0, now.Sub(p.At).Truncate(time.Second))
}

// An Index finds devices in memory. It never changes; the zero Index is empty.
type Index struct{ byID, bySPKI, byJKT map[string]Device }

// NewIndex makes an index of the live devices among all.
func NewIndex(all []Device) Index {
	x := Index{map[string]Device{}, map[string]Device{}, map[string]Device{}}
	for _, d := range all {
		if d.Live() {
			x.byID[d.ID], x.bySPKI[d.Keys.SPKI], x.byJKT[d.Keys.JKT] = d, d, d
		}
	}
	return x
}

// IDs yields the ids of the live devices, in no order.
func (x Index) IDs() iter.Seq[string] { return maps.Keys(x.byID) }

// ByID returns the live device of an id.
func (x Index) ByID(id string) (Device, bool) { d, ok := x.byID[id]; return d, ok }

// ByKey returns the live device whose key has a JSON Web Key thumbprint (RFC 7638), with or without "jkt:" before it.
func (x Index) ByKey(jkt string) (Device, bool) {
	const prefix = "jkt:"
	if len(jkt) > len(prefix) && jkt[:len(prefix)] == prefix {
		jkt = jkt[len(prefix):]
	}
	d, ok := x.byJKT[jkt]
	return d, ok && jkt != ""
}

// ByCertificate returns the live device of a certificate that the listener has verified: the one that it names, if the
// certificate is over that device's key.
func (x Index) ByCertificate(c *x509.Certificate) (Device, bool) {
	d, ok := x.bySPKI[ThumbprintSPKI(c.RawSubjectPublicKeyInfo)]
	return d, ok && names(c, d.ID)
}

// names reports whether a certificate's only URI ends in the id of a device.
func names(c *x509.Certificate, id string) bool {
	return len(c.URIs) == 1 && c.URIs[0].Path == "/device/"+id
}

// ThumbprintSPKI is the SHA-256 of a DER-encoded SubjectPublicKeyInfo, in base64url.
func ThumbprintSPKI(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Serial writes a certificate's serial number.
func Serial(n *big.Int) string { return n.Text(16) }
