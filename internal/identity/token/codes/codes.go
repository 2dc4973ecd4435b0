// Package codes owns what stands between a person's approval and the first token: authorization codes (RFC 6749, section
// 4.1, with PKCE, RFC 7636), device codes (RFC 8628), authorization requests that were pushed (RFC 9126), and what people
// have allowed for good.
//
// All are opaque, 256 bits of chance, kept as their SHA-256 and good for one use by one client. It leaves to others what
// a request may say (web/oidc) and the tokens that a code leads to (identity/token).
package codes

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
)

// The lifetimes.
const (
	CodeLifetime   = time.Minute      // of an authorization code (RFC 6749, section 4.1.2 asks for at most 10 minutes)
	DeviceLifetime = 10 * time.Minute // of a device code and its user code
	PushLifetime   = time.Minute      // of a pushed request, until it is first used (RFC 9126, section 2.2)
	FlowLifetime   = 15 * time.Minute // of a pushed request that was used, while its person signs in and decides
)

// A Code is the row of one authorization code.
type Code struct {
	Hash        token.Hash
	Family      string
	Client      string
	RedirectURI string // exactly as at the authorization request
	Challenge   string // PKCE S256, 43 characters
	Expires     time.Time
	Key         string // that must redeem it, "" for any (RFC 9449, section 10)
	Nonce       string // for the ID token (OpenID Connect Core, section 3.1.2.1)
}

// A State is where a device code stands.
type State string

// The states of a device code.
const (
	Pending  State = "pending"
	Approved State = "approved"
	Denied   State = "denied"
	Done     State = "done" // exchanged; never again
)

// A Device is the row of one device authorization request.
type Device struct {
	Hash      token.Hash // of the device code
	UserHash  token.Hash // of the user code, eight letters without the hyphen
	Client    string
	Scope     sallyport.Scope
	Audiences []string
	From      string // IP address that asked, for the person to compare; may be empty
	State     State
	Family    string // set by approval
	Created   time.Time
	Expires   time.Time
	Interval  time.Duration // between polls; grows when the client hurries
	Slow      bool          // in the answer of PollDevice: this poll came too early
	OpenID    bool
	Detailed  bool
	Purpose   string
}

// A Pushed is the row of one pushed authorization request.
type Pushed struct {
	Hash    token.Hash
	Client  string
	Request string // the parameters, as a query
	Key     string // that the push has proved, "" for none
	Created time.Time
	Expires time.Time
	Used    time.Time // zero until an authorization request named it
}

// A Consent is what a principal has allowed a client until they take it back.
type Consent struct {
	Principal sallyport.PrincipalID
	Client    string
	Scope     sallyport.Scope
	Audiences []string
	OpenID    bool
	Given     time.Time
}

// A Store keeps codes and device codes. Every method is safe for concurrent use, durable when it returns, and answers
// Unavailable when the store cannot be used. Times are kept to the microsecond.
type Store interface {
	CodeStore
	DeviceStore
}

// A CodeStore is the part of a Store for authorization codes.
type CodeStore interface {
	// AddCode adds an authorization code.
	AddCode(ctx context.Context, c Code) error
	// FindCode returns a code of this client and leaves it as it is. It answers NotFound for an unknown code and for that
	// of another client; Conflict together with the code when it was burned before.
	FindCode(ctx context.Context, h token.Hash, client string) (Code, error)
	// TakeCode burns a code of this client, in one statement: of any number of callers one succeeds. It answers as FindCode.
	TakeCode(ctx context.Context, h token.Hash, client string, at time.Time) (Code, error)
}

// A DeviceStore is the part of a Store for device codes.
type DeviceStore interface {
	// AddDevice adds a request; Conflict when the user code is in use.
	AddDevice(ctx context.Context, d Device) error
	// FindDevice returns the pending, unexpired request with this user code, or NotFound.
	FindDevice(ctx context.Context, user token.Hash, at time.Time) (Device, error)
	// DecideDevice moves a pending, unexpired request to approved, with its family, or to denied; else Conflict.
	DecideDevice(ctx context.Context, user token.Hash, to State, family string, at time.Time) error
	// PollDevice notes a poll by this client and returns the request, or NotFound. A poll before the interval is over is
	// marked Slow and makes the interval five seconds longer.
	PollDevice(ctx context.Context, h token.Hash, client string, at time.Time) (Device, error)
	// TakeDevice moves an approved request to done: of any number of callers one succeeds, the others get Conflict.
	TakeDevice(ctx context.Context, h token.Hash) error
}

// A FlowStore keeps pushed requests and consents, under the same conditions as a Store.
type FlowStore interface {
	// AddPushed adds a request.
	AddPushed(ctx context.Context, p Pushed) error
	// UsePushed marks a request of this client used and returns it, in one statement: of any number of callers one
	// succeeds. NotFound for one that is unknown, used, expired or another client's.
	UsePushed(ctx context.Context, h token.Hash, client string, at time.Time) (Pushed, error)
	// FindPushed returns a request of this client that was used at since or later, or NotFound.
	FindPushed(ctx context.Context, h token.Hash, client string, since time.Time) (Pushed, error)
	// DropPushed removes a request; NotFound when it is gone already.
	DropPushed(ctx context.Context, h token.Hash) error
	// KeepConsent replaces what a principal has allowed a client.
	KeepConsent(ctx context.Context, c Consent) error
	// Consents returns what a principal has allowed, sorted by client.
	Consents(ctx context.Context, id sallyport.PrincipalID) ([]Consent, error)
	// DropConsent takes back what a principal has allowed a client; NotFound when there is nothing.
	DropConsent(ctx context.Context, id sallyport.PrincipalID, client string) error
}

// A Service leads from approvals to tokens. All fields are needed. Methods are safe for concurrent use; errors are those
// of [token.Issuer].
type Service struct {
	Issuer *token.Issuer
	Store  Store
	Flows  FlowStore
}

func (s *Service) now() time.Time { return s.Issuer.Now().UTC().Truncate(time.Microsecond) }

// fault makes an error for an OAuth client. The reason is the error code of RFC 6749, 8628 or 8707, followed where
// it helps the record by a dot and more detail, which the client does not see.
func fault(reason, message, hint string) error {
	return sallyport.E("token request", sallyport.Invalid, message, hint).Because(reason)
}
