package oauth

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/identity/credential"
)

// A handler answers a request or returns why it did not; then nothing has been written.
type handler func(w http.ResponseWriter, r *http.Request) error

// json turns a handler that returns an error into an endpoint for programs. This is the one place where errors
// become answers of RFC 6749, section 5.2.
func (s *Server) json(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Pragma", "no-cache")
		header.Set("X-Content-Type-Options", "nosniff")
		if len(r.Header.Values("DPoP")) > 0 {
			header.Set("DPoP-Nonce", s.cfg.Proofs.Nonce())
		}
		err := h(w, r)
		if err == nil {
			return
		}
		code, status := CodeOf(err)
		switch status {
		case http.StatusUnauthorized:
			challenge(header, r, code)
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			header.Set("Retry-After", strconv.Itoa(WaitOf(err)))
		}
		if status >= 500 {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
		}
		writeJSON(w, status, map[string]string{"error": code, "error_description": Describe(err)})
	}
}

// challenge names the scheme that would do, or that the client tried (RFC 6749, section 5.2; RFC 6750, section 3).
func challenge(header http.Header, r *http.Request, code string) {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case code == "invalid_token":
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case strings.EqualFold(scheme, "Basic"):
		header.Set("WWW-Authenticate", `Basic realm="sallyport"`)
	case scheme != "":
		header.Set("WWW-Authenticate", `Bearer realm="sallyport"`)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client hung up: nobody to tell
}

// CodeOf gives the error code of RFC 6749, 6750, 8628, 8707, 9126, 9396 or 9449 and the HTTP status.
func CodeOf(err error) (string, int) {
	code, _, _ := strings.Cut(sallyport.ReasonOf(err), ".")
	switch sallyport.KindOf(err) {
	case sallyport.Invalid, sallyport.Conflict, sallyport.NotFound:
		if code == "invalid_client" {
			return code, http.StatusUnauthorized
		}
		if strings.Contains(code, "_") { // every code has one, no kind's name has
			return code, http.StatusBadRequest
		}
		return "invalid_request", http.StatusBadRequest
	case sallyport.TooLarge:
		return "invalid_request", http.StatusRequestEntityTooLarge
	case sallyport.Unknown:
		if strings.HasPrefix(code, "use_dpop") || strings.HasPrefix(code, "invalid_dpop") {
			return code, http.StatusBadRequest // RFC 9449, section 8: at this server, not 401
		}
		return "invalid_token", http.StatusUnauthorized
	case sallyport.Busy:
		return "temporarily_unavailable", http.StatusTooManyRequests
	case sallyport.Unavailable:
		return "temporarily_unavailable", http.StatusServiceUnavailable
	}
	return "server_error", http.StatusInternalServerError
}

// WaitOf is how many seconds a client should wait.
func WaitOf(err error) int {
	if wait, ok := errors.AsType[*credential.Wait](err); ok {
		return int(wait.For.Seconds()) + 1
	}
	return 2
}

// Describe keeps what RFC 6749 allows in an error_description.
func Describe(err error) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, sallyport.PublicText(err))
}

// ReadForm reads the body of a form, and nothing but the body: parameters in the query of a POST are not looked at.
func ReadForm(w http.ResponseWriter, r *http.Request, repeatable ...string) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, Fault("invalid_request", "the body is not application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxForm))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, sallyport.E("request", sallyport.TooLarge, "the form has more than 16 KiB", "")
	}
	if err != nil {
		return nil, Fault("invalid_request", "the body cannot be read")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, Fault("invalid_request", "the form cannot be read")
	}
	return form, Single(form, repeatable...)
}
