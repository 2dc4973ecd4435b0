package api

import (
	"crypto/sha256"
	"strconv"
	"time"

	"sallyport"
)

// A TPMPart is a key that a TPM made, with the TPM's own word about it (TPM 2.0 structures).
type TPMPart struct {
	Public      []byte `json:"public"`
	CreateData  []byte `json:"createData,omitempty"`
	Attestation []byte `json:"attestation"`
	Signature   []byte `json:"signature"`
}

// A TPMEvidence is what a TPM shows at the beginning of an enrolment.
type TPMEvidence struct {
	EK      []byte   `json:"ek"` // SubjectPublicKeyInfo, DER
	EKChain [][]byte `json:"ekChain,omitempty"`
	AK      TPMPart  `json:"ak"`
}

// A DeviceStart begins an enrolment, or the renewal of a certificate that has ended.
type DeviceStart struct {
	Name   string       `json:"name,omitempty"`
	Device string       `json:"device,omitempty"` // that renews its certificate
	TPM    *TPMEvidence `json:"tpm,omitempty"`
}

// A DeviceChallenge is what the client works on.
type DeviceChallenge struct {
	ID         string    `json:"id"`
	Nonce      []byte    `json:"nonce"`
	Credential []byte    `json:"credential,omitempty"`
	Encrypted  []byte    `json:"encrypted,omitempty"`
	Expires    time.Time `json:"expires"`
}

// A DeviceProof ends an enrolment.
type DeviceProof struct {
	ID      string         `json:"id"`
	Request []byte         `json:"request"` // PKCS #10, DER
	Signed  []byte         `json:"signed"`
	Answer  []byte         `json:"answer,omitempty"`
	Key     *TPMPart       `json:"key,omitempty"`
	Report  *PostureReport `json:"report,omitempty"`
}

// A PostureReport is what a device says of itself.
type PostureReport struct {
	Family    string    `json:"family"` // "linux", "macos", "windows"
	Version   string    `json:"version"`
	Updated   time.Time `json:"updated,omitzero"` // when the system was last brought up to date
	Encrypted bool      `json:"encrypted"`
	Locked    bool      `json:"locked"`
}

// A SignedPosture is a report as a device sends it: a token of the type posture+jwt (RFC 7519), signed by the device's key,
// whose claim posture is a PostureReport. iss is the device's id, aud the server, at the microseconds since 1970 when it was
// made.
type SignedPosture struct {
	Signed string `json:"signed"`
}

// A Posture is what was reported, and what it is worth.
type Posture struct {
	At        time.Time `json:"at"`
	Age       int64     `json:"age"` // seconds
	OS        string    `json:"os"`
	Updated   time.Time `json:"updated,omitzero"`
	Patched   bool      `json:"patched"`
	Encrypted bool      `json:"encrypted"`
	Locked    bool      `json:"locked"`
}

// A Device is an enrolled device. Chain is there where a certificate was issued.
type Device struct {
	ID      string                `json:"id"`
	Owner   sallyport.PrincipalID `json:"owner"`
	Name    string                `json:"name"`
	Class   string                `json:"class"` // "standard" or "admin"
	Level   int                   `json:"level"` // 1 bound key, 2 certificate over a key in software, 3 over a key attested to be in hardware
	Key     string                `json:"key"`   // RFC 7638 thumbprint
	TPM     string                `json:"tpm,omitempty"`
	Serial  string                `json:"serial"`
	Expires time.Time             `json:"expires"` // its certificate does
	Against string                `json:"against,omitempty"`
	State   string                `json:"state"` // "active" or "removed"
	Created time.Time             `json:"created"`
	Seen    time.Time             `json:"seen"`
	Ended   time.Time             `json:"ended,omitzero"`
	Why     string                `json:"why,omitempty"`
	Current bool                  `json:"current,omitempty"` // the call came from it
	Posture *Posture              `json:"posture,omitempty"` // nil: it never reported
	Chain   [][]byte              `json:"chain,omitempty"`   // DER, the leaf first
}

// A DeviceChange says what becomes of a device.
type DeviceChange struct {
	Class     string `json:"class,omitempty"`
	Compliant *bool  `json:"compliant,omitempty"`
	Why       string `json:"why,omitempty"`
}

// An AuthorityKey is one key of the authority that signs device certificates.
type AuthorityKey struct {
	ID      string    `json:"id"`
	Root    bool      `json:"root"`
	Made    time.Time `json:"made"`
	Ends    time.Time `json:"ends"`
	Retired time.Time `json:"retired,omitzero"`
}

// An AuthorityRotation says what is made anew: the intermediate, and with Root the root as well.
type AuthorityRotation struct {
	Root bool `json:"root"`
}

// ToSign is what a device's key signs in an enrolment: the SHA-256 of a text that says what for, to which server, and over
// which certificate request. A signature of it is good in one enrolment at one server.
func ToSign(server string, nonce, request []byte) []byte {
	sum := sha256.Sum256(request)
	h := sha256.New()
	for _, part := range [][]byte{[]byte("sallyport device enrolment v1"), []byte(server), nonce, sum[:]} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":"))
		h.Write(part)
	}
	return h.Sum(nil)
}
