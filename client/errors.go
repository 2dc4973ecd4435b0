package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"sallyport"
	"sallyport/internal/web/api"
)

// An Error is a call that did not give what was asked for: refused by the server, or never answered by it.
type Error struct {
	Op  string    // what was wanted, for example "pull"
	API api.Error // what the server answered; its Status is 0 where there was no answer
	Err error     // the cause on this side; nil for a refusal
}

// Exit codes of a command whose answer was an Error, beside those of sallyport.Outcome.
const (
	ExitError       = 1
	ExitDenied      = 2
	ExitStepUp      = 3 // sign in, or more strongly
	ExitPending     = 4
	ExitUnreachable = 5
)

// Error is one line: operation, sentence and decision.
func (e *Error) Error() string {
	s := e.API.Message
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.API.Decision != "" {
		s += " (decision " + e.API.Decision + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause on this side.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is what a command ends with: by the outcome of the decision where there was one, else by the status.
func (e *Error) ExitCode() int {
	if o, err := sallyport.ParseOutcome(e.API.Outcome); err == nil && o != sallyport.Allow {
		return o.ExitCode()
	}
	switch e.API.Status {
	case 0, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ExitUnreachable
	case http.StatusUnauthorized:
		return ExitStepUp
	case http.StatusForbidden:
		return ExitDenied
	}
	if e.API.Decision != "" { // refused without saying what is there
		return ExitDenied
	}
	return ExitError
}

// passing reports whether the same call may succeed a little later.
func (e *Error) passing() bool {
	switch e.API.Status {
	case 0:
		return !errors.Is(e.Err, context.Canceled) && !certificate(e.Err)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func certificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// unreachable makes the Error for a server that did not answer.
func unreachable(op, server string, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	e := &Error{Op: op, Err: cause}
	_, dns := errors.AsType[*net.DNSError](cause)
	switch {
	case certificate(cause):
		e.API.Message = "the certificate of " + server + " is not trusted; name the server's own authority with --ca FILE"
	case dns:
		e.API.Message = "no such host: " + server + "; check the address, or the network"
	default:
		e.API.Message = server + " cannot be reached; check that the server is running and the address is right"
	}
	e.API.Kind = "unreachable"
	return e
}

// notSignedIn is the Error for a call that needs a login and has none. It looks like the server's own answer.
func notSignedIn(server, why string) error {
	return &Error{Op: "sign in", API: api.Error{Status: http.StatusUnauthorized, Kind: sallyport.Unknown.String(),
		Message: why + "; run 'sallyport login --server " + server + "'"}}
}

func unreachableMessage(text string) api.Error { return api.Error{Message: text, Kind: "unreachable"} }
