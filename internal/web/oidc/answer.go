package oidc

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

// json turns a handler that returns an error into an endpoint for programs. This is the one place where errors
// become answers of RFC 6749, section 5.2.
func (s *Server) json(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Pragma", "no-cache")
		header.Set("X-Content-Type-Options", "nosniff")
		err := h(w, r)
		if err == nil {
			return
		}
		code, status := codeOf(err)
		switch status {
		case http.StatusUnauthorized:
			if code == "invalid_token" {
				header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			header.Set("Retry-After", strconv.Itoa(waitOf(err)))
		}
		if status >= 500 {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
		}
		writeJSON(w, status, map[string]string{"error": code, "error_description": describe(err)})
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client hung up: nobody to tell
}

// codeOf gives the error code of RFC 6749, 6750, 8628 or 8707 and the HTTP status.
func codeOf(err error) (string, int) {
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
		return "invalid_token", http.StatusUnauthorized
	case sallyport.Busy:
		return "temporarily_unavailable", http.StatusTooManyRequests
	case sallyport.Unavailable:
		return "temporarily_unavailable", http.StatusServiceUnavailable
	}
	return "server_error", http.StatusInternalServerError
}

// waitOf is how many seconds a client should wait.
func waitOf(err error) int {
	if wait, ok := errors.AsType[*credential.Wait](err); ok {
		return int(wait.For.Seconds()) + 1
	}
	return 2
}

// describe keeps what RFC 6749 allows in an error_description.
func describe(err error) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, sallyport.PublicText(err))
}

// readForm reads the body of a form, and nothing but the body: parameters in the query of a POST are not looked at.
func readForm(w http.ResponseWriter, r *http.Request, repeatable ...string) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fault("invalid_request", "the body is not application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, sallyport.E("request", sallyport.TooLarge, "the form has more than 16 KiB", "")
	}
	if err != nil {
		return nil, fault("invalid_request", "the body cannot be read")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault("invalid_request", "the form cannot be read")
	}
	return form, single(form, repeatable...)
}
