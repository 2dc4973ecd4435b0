package device

import (
	"context"
	"time"

	"sallyport"
)

// A Query selects devices by exactly one of its fields; one without any is an error.
type Query struct {
	ID    string
	Owner sallyport.PrincipalID
	SPKI  string // the live device with this key
	JKT   string // likewise
	All   bool   // the live ones
}

// An Enrolment is a ceremony that has begun, under the hash of its id. Nothing in it opens anything.
type Enrolment struct {
	Hash    [32]byte // SHA-256 of the id that the client was given
	Owner   sallyport.PrincipalID
	Name    string
	Device  string // the device that renews its certificate, "" for a new one
	Nonce   []byte
	AK      []byte   // TPM: the attestation key that was challenged (TPMT_PUBLIC)
	Secret  [32]byte // TPM: SHA-256 of the secret that only the right TPM can open
	EK      string   // TPM: SHA-256 of the endorsement key, hexadecimal
	Trusted bool     // TPM: the endorsement key is one of a manufacturer whom the operator trusts
	Expires time.Time
}

// A Store keeps devices. Every change is durable when the method returns, and announced to followers of devices in the
// same transaction, except those of enrolments. Methods are safe for concurrent use.
type Store interface {
	// Begin keeps an enrolment; Busy where its owner has most of them open.
	Begin(ctx context.Context, e Enrolment, most int, now time.Time) error
	// Take returns an enrolment and forgets it, NotFound where there is none. Of parallel calls one wins.
	Take(ctx context.Context, hash [32]byte) (Enrolment, error)
	// Insert adds a device and its certificate: Conflict where a live device has the key, Busy where its owner has most
	// live devices.
	Insert(ctx context.Context, d Device, most int) error
	// Devices returns what a query selects, the newest first.
	Devices(ctx context.Context, q Query) ([]Device, error)
	// Update changes a device in one transaction, NotFound where there is none; a certificate that change gives it is
	// remembered beside the ones before. An error of change is returned, and nothing is written.
	Update(ctx context.Context, id string, change func(*Device) error) (Device, error)
	// Revoked returns the certificates of removed devices that end after now.
	Revoked(ctx context.Context, now time.Time) ([]Revocation, error)
	// Prune forgets enrolments and certificates that ended before now.
	Prune(ctx context.Context, now time.Time) error
}

// A Revocation is a certificate that ends before its time.
type Revocation struct {
	Certificate
	At time.Time
}
