package sallyport

import (
	"errors"
	"strings"
)

// A Kind says how an error is answered, whatever its text. Every door maps kinds
// to the statuses of its protocol in one place.
type Kind uint8

// The kinds of errors.
const (
	Other       Kind = iota // a defect of ours; answered as 500 without its text
	Invalid                 // the caller's input is wrong; answered as 400
	Unknown                 // no credential, or one that proves nothing; answered as 401
	NotFound                // absent, or the caller may not know that it is there; answered as 404
	Conflict                // the state forbids it now; answered as 409
	TooLarge                // over a limit; answered as 413
	Busy                    // over a rate or a queue; answered as 429
	Unavailable             // store, log or keys cannot be used; nothing was done; answered as 503
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"internal", "invalid", "unauthenticated", "not found", "conflict", "too large", "busy", "unavailable"}
	if int(k) < len(names) {
		return names[k]
	}
	return "internal"
}

// An Error has two faces: Op, Message and Hint are written for whoever asked and
// never hold secrets or what the caller may not know; Err is for the log only.
type Error struct {
	Op      string // the operation, lower case, for example "push"
	Kind    Kind   // how it is answered
	Message string // what is wrong, naming the argument
	Hint    string // what to do next; may be empty
	Err     error  // the private cause; may be nil
	Reason  string // machine-readable cause for the record; may be empty
}

// E makes an Error without a private cause.
func E(op string, kind Kind, message, hint string) *Error {
	return &Error{Op: op, Kind: kind, Message: message, Hint: hint}
}

// Wrap makes an Error whose cause stays private.
func Wrap(op string, kind Kind, message string, cause error) *Error {
	return &Error{Op: op, Kind: kind, Message: message, Err: cause}
}

// Error is the private face, for logs: it includes the cause.
func (e *Error) Error() string {
	s := e.Public()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Public is the face for the caller: operation, message and hint.
func (e *Error) Public() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	if e.Message != "" {
		b.WriteString(e.Message)
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the private cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first Error in err's chain, Other if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}

// PublicText returns what the caller of err may read. An error that was not made
// for callers is answered as "internal error": its text stays in the log.
func PublicText(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Other {
		return e.Public()
	}
	return "internal error; the operator finds the cause in the server's log"
}

// Because returns a copy of the error whose machine-readable reason is r, such as
// "token.expired". Reasons are recorded; they are not shown.
func (e *Error) Because(r string) *Error {
	c := *e
	c.Reason = r
	return &c
}

// ReasonOf returns the reason of the first Error in err's chain, or its kind's name.
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Reason != "" {
		return e.Reason
	}
	return KindOf(err).String()
}
