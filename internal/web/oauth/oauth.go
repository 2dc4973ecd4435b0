// Package oauth owns the authorization server's doors for programs: the token endpoint (RFC 6749, as RFC 9700 leaves it)
// with its grants and client authentication (RFC 7523, RFC 8705), proofs of possession (RFC 9449), pushed authorization
// requests (RFC 9126), device authorization (RFC 8628), token exchange (RFC 8693), revocation (RFC 7009), introspection
// (RFC 7662), user info (OpenID Connect Core), and the metadata of them all (RFC 8414).
//
// No cookie is read here. It leaves tokens and their life to identity/token, pages and what people decide to web/oidc.
// Every address it tells, and every address that a proof is held against, is made from the configured external URL;
// nothing in a request can change one.
package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/dpop"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/plumbing/httpsafe"
)

// Limits on what is read before anything is checked.
const (
	MaxQuery = 3584     // bytes of an authorization request: the sign-in page leads back to no longer address than 4 KiB
	MaxForm  = 16 << 10 // bytes of a form
	maxState = 1 << 10
)

// The paths of the endpoints, below the external URL.
const (
	PathAuthorize  = "/oauth/authorize"
	PathActivate   = "/activate"
	PathEndSession = "/oauth/logout"
	pathToken      = "/oauth/token"
	pathPush       = "/oauth/par"
	pathDevice     = "/oauth/device"
	pathRevoke     = "/oauth/revoke"
	pathIntrospect = "/oauth/introspect"
	pathUserInfo   = "/oauth/userinfo"
	pathKeys       = "/jwks"
	pathHubToken   = "/hf/oauth/token"  // stock Hugging Face clients look for these two below their own door
	pathHubDevice  = "/hf/oauth/device" //
)

// Config is what the doors need. Fields are needed unless they say otherwise.
type Config struct {
	URL      string // external, without a path: https://HOST[:PORT], or http://127.0.0.1:PORT for trials
	Issuer   *token.Issuer
	Codes    *codes.Service
	Exchange *exchange.Service
	Verifier *access.Verifier
	Proofs   *token.Proofs
	// Record writes refusals down; may be nil. What is issued and revoked is recorded by Issuer.
	Record func(ctx context.Context, e sallyport.Event) error
	Now    func() time.Time
	Log    *slog.Logger
}

// A Server answers the endpoints.
type Server struct {
	cfg   Config
	rates *rates
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	bad := func(what, hint string) (*Server, error) {
		return nil, sallyport.E("set up authorization server", sallyport.Invalid, what, hint)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || cfg.URL != u.Scheme+"://"+u.Host {
		return bad("the external URL is not https://HOST or https://HOST:PORT", "write it without a path and without a slash at its end")
	}
	local := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return bad("the external URL does not begin with https://", "http:// is for 127.0.0.1 only")
	}
	if cfg.Issuer == nil || cfg.Codes == nil || cfg.Exchange == nil || cfg.Verifier == nil || cfg.Proofs == nil || cfg.Now == nil || cfg.Log == nil {
		return bad("a field of the configuration is not set", "")
	}
	if cfg.Issuer.URL != cfg.URL {
		return bad("the issuer of tokens is not the external URL", "")
	}
	return &Server{cfg: cfg, rates: newRates(cfg.Now)}, nil
}

// Register adds the endpoints to a mux.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.discovery)
	mux.HandleFunc("GET "+pathKeys, s.keys)
	for pattern, serve := range map[string]handler{
		"POST " + pathToken: s.token, "POST " + pathHubToken: s.hubToken, "POST " + pathDevice: s.device, "POST " + pathHubDevice: s.device,
		"POST " + pathPush: s.push, "POST " + pathRevoke: s.revoke, "POST " + pathIntrospect: s.introspect,
		"GET " + pathUserInfo: s.userInfo, "POST " + pathUserInfo: s.userInfo,
	} {
		mux.HandleFunc(pattern, s.json(serve))
	}
}

// Refused writes a refusal down. It is refused in any case: an error goes to the log only.
func (s *Server) Refused(r *http.Request, who sallyport.PrincipalID, client string, cause error) {
	if s.cfg.Record == nil {
		return
	}
	e := sallyport.Event{
		Type: sallyport.EventRefused, At: s.cfg.Now().UnixMicro(), Who: who, Action: sallyport.TokenIssue,
		Reasons: []string{sallyport.ReasonOf(cause)}, Asked: &sallyport.Asked{Door: "oidc", IP: httpsafe.PeerIP(r)},
		Detail: map[string]string{"path": r.URL.Path, "client": sallyport.OneLine(client)},
	}
	if sallyport.ReasonOf(cause) == dpop.ReasonReplay {
		e.Type = sallyport.EventProofReplayed
	}
	if err := s.cfg.Record(context.WithoutCancel(r.Context()), e); err != nil {
		s.cfg.Log.Error("record refusal", "path", r.URL.Path, "err", err)
	}
}

// Single refuses a parameter that is given twice, except those named. Empty ones count as absent (RFC 6749, section 3.1).
func Single(values url.Values, except ...string) error {
	for name, all := range values {
		all = slices.DeleteFunc(slices.Clone(all), func(v string) bool { return v == "" })
		if len(all) > 1 && !slices.Contains(except, name) {
			return Fault("invalid_request", "the parameter "+name+" is given twice")
		}
		if len(all) == 0 {
			delete(values, name)
			continue
		}
		values[name] = all
	}
	return nil
}

// Fault makes an error that an OAuth client gets under this code.
func Fault(code, message string) error {
	return sallyport.E("request", sallyport.Invalid, message, "").Because(code)
}
