package caller

import (
	"fmt"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// The schemes of RFC 6750 and RFC 9449, and the codes of their errors.
const (
	bearerScheme = "Bearer"
	dpopScheme   = "DPoP"
	basicScheme  = "Basic"

	invalidToken = "invalid_token"
	invalidProof = "invalid_dpop_proof"
	useNonce     = "use_dpop_nonce"
)

// algorithms are those of proofs, as a challenge names them (RFC 9449, section 7.1).
const algorithms = "ES256 EdDSA"

// A Refused is why a call proves nobody. Its cause is for the caller to read; the scheme and the code are for the answer.
type Refused struct {
	Err    error
	Scheme string // "Bearer" or "DPoP"; "" where nothing was presented at all
	Code   string // of RFC 6750, section 3.1, or RFC 9449
	// Of is whose proof it was, where it was a good one of somebody who may not act; for the record only.
	Of sallyport.PrincipalID
}

// Whose is what guard.Guard writes down of a refusal.
func (r *Refused) Whose() sallyport.PrincipalID { return r.Of }

// Error is the private face of the cause.
func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *Refused) Unwrap() error { return r.Err }

func no(scheme, code, reason, message string) error {
	return &Refused{Scheme: scheme, Code: code,
		Err: sallyport.E("sign in", sallyport.Unknown, message, "use 'sallyport run -- COMMAND', or sign in again with 'sallyport login'").Because(reason)}
}

// challenged gives an error of kind Unknown its challenge; others pass.
func challenged(err error, scheme, code string) error {
	if sallyport.KindOf(err) != sallyport.Unknown {
		return err
	}
	return &Refused{Err: err, Scheme: scheme, Code: code}
}

// codeOf is the code of RFC 9449 with which a proof's error begins.
func codeOf(err error) string {
	if code, _, _ := strings.Cut(sallyport.ReasonOf(err), "."); code == useNonce {
		return useNonce
	}
	return invalidProof
}

// Proof reads what a request presents. Two Authorization headers present nothing: they have two readings. The password
// of the scheme Basic is a token, for clients that know no other way.
func Proof(r *http.Request, audience string) guard.Proof {
	p := guard.Proof{Audience: audience, DPoP: r.Header.Values("DPoP"), Method: r.Method, URL: r.URL.EscapedPath(),
		Certificate: httpsafe.PeerCertificate(r), IP: httpsafe.PeerIP(r)}
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return p
	}
	scheme, rest, _ := strings.Cut(all[0], " ")
	switch {
	case strings.EqualFold(scheme, bearerScheme):
		p.Scheme = bearerScheme
	case strings.EqualFold(scheme, dpopScheme):
		p.Scheme = dpopScheme
	case strings.EqualFold(scheme, basicScheme):
		p.Scheme = basicScheme
		_, rest, _ = r.BasicAuth()
	default:
		return p
	}
	if !strings.ContainsAny(rest, " ,") {
		p.Bearer = secret.NewText(rest)
	}
	return p
}

// Challenge sets what an answer of status 401 must say about how to prove oneself (RFC 6750, section 3; RFC 9449,
// section 7.1).
func Challenge(h http.Header, err error) {
	h.Del("WWW-Authenticate")
	scheme, code := bearerScheme, invalidToken
	if r, ok := asRefused(err); ok {
		scheme, code = r.Scheme, r.Code
	}
	if scheme == "" {
		h.Add("WWW-Authenticate", `Bearer realm="sallyport"`)
		h.Add("WWW-Authenticate", fmt.Sprintf(`DPoP realm="sallyport", algs=%q`, algorithms))
		return
	}
	text := fmt.Sprintf(`%s realm="sallyport", error="%s", error_description="%s"`, scheme, code, quotable(sallyport.PublicText(err)))
	if scheme == dpopScheme {
		text += fmt.Sprintf(`, algs="%s"`, algorithms)
	}
	h.Set("WWW-Authenticate", text)
}

// StepUp sets what an answer must say that asks for stronger or newer proof (RFC 9470, section 3), in the scheme that
// the call was made with.
func StepUp(h http.Header, d sallyport.Decision, scheme string) {
	if scheme != dpopScheme {
		scheme = bearerScheme
	}
	text := fmt.Sprintf(`%s realm="sallyport", error="insufficient_user_authentication", error_description="%s", acr_values="%s"`,
		scheme, quotable("prove yourself again: sallyport login --assurance "+d.Needs.String()), d.Needs)
	if d.MaxAge > 0 {
		text += fmt.Sprintf(`, max_age=%d`, d.MaxAge)
	}
	h.Set("WWW-Authenticate", text)
}

// quotable keeps what fits the error_description of RFC 6750, section 3: printable ASCII without quotes and backslashes.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c < 0x20 || c > 0x7e || c == '\\':
			return '?'
		}
		return c
	}, s)
}
