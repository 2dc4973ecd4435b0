// Package oidc owns the authorization server's doors: OAuth 2.0 (RFC 6749) as RFC 9700 leaves it, which is codes with
// PKCE (RFC 7636), refresh and device codes (RFC 8628), with resource indicators (RFC 8707), the issuer in the response
// (RFC 9207), revocation (RFC 7009), introspection (RFC 7662), and its metadata (RFC 8414 and OpenID Connect Discovery).
//
// It leaves tokens and their life to identity/token, signing in to web/login, and what a token permits to policy.
// Every address it tells is made from the configured external URL; nothing in a request can change one.
package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/page"
)

// Limits on what is read before anything is checked.
const (
	maxQuery = 3584     // bytes of an authorization request: the sign-in page leads back to no longer address than 4 KiB
	maxForm  = 16 << 10 // bytes of a form
	maxState = 1 << 10
)

// The paths of the endpoints, below the external URL.
const (
	pathAuthorize  = "/oauth/authorize"
	pathConsent    = "/oauth/consent"
	pathToken      = "/oauth/token"
	pathDevice     = "/oauth/device"
	pathRevoke     = "/oauth/revoke"
	pathIntrospect = "/oauth/introspect"
	pathKeys       = "/jwks"
	pathActivate   = "/activate"
	pathDecide     = "/activate/decide"
)

// Config is what the doors need. Fields are needed unless they say otherwise.
type Config struct {
	URL      string // external, without a path: https://HOST[:PORT], or http://127.0.0.1:PORT for trials
	Issuer   *token.Issuer
	Verifier *token.Verifier

	// Current returns who stands behind the request's browser session, with the session's public id. Without one the
	// error is of kind Unknown; any other kind means that nobody can tell.
	Current func(r *http.Request) (sallyport.Principal, error)
	// SignIn returns the address of the page where a person signs in, or, when again is set, where who is signed in
	// proves themselves again or more strongly. It leads back to next, a path with a query on this server. nil is the
	// pages of web/login.
	SignIn func(next string, needs sallyport.Assurance, again bool) string
	// Guess counts a guess at the key "usercode:PRINCIPAL" before it is checked; Busy while nothing may be guessed.
	Guess func(ctx context.Context, key string) error
	// Forgive takes back the one guess that was right; it must not touch those that were wrong. May be nil.
	Forgive func(ctx context.Context, key string) error
	// Record writes refusals down; may be nil. What is issued and revoked is recorded by Issuer.
	Record func(ctx context.Context, e sallyport.Event) error

	Key secret.Bytes // at least 32 bytes, the same on all nodes: ties forms to what they show
	Now func() time.Time
	Log *slog.Logger
}

// A Server answers the endpoints.
type Server struct {
	cfg   Config
	pages *page.Set
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.SignIn == nil {
		cfg.SignIn = loginPage
	}
	pages, err := newPages(cfg.Issuer.Clients)
	if err != nil {
		return nil, sallyport.Wrap("set up authorization server", sallyport.Other, "the pages cannot be read", err)
	}
	return &Server{cfg: cfg, pages: pages}, nil
}

func (cfg *Config) check() error {
	bad := func(what, hint string) error {
		return sallyport.E("set up authorization server", sallyport.Invalid, what, hint)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || cfg.URL != u.Scheme+"://"+u.Host {
		return bad("the external URL is not https://HOST or https://HOST:PORT", "write it without a path and without a slash at its end")
	}
	local := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return bad("the external URL does not begin with https://", "http:// is for 127.0.0.1 only")
	}
	if cfg.Key.Len() < 32 {
		return bad("the key has less than 32 bytes", "")
	}
	if cfg.Issuer == nil || cfg.Verifier == nil || cfg.Current == nil || cfg.Guess == nil || cfg.Now == nil || cfg.Log == nil {
		return bad("a field of the configuration is not set", "")
	}
	if cfg.Issuer.URL != cfg.URL {
		return bad("the issuer of tokens is not the external URL", "")
	}
	return nil
}

// Register adds the endpoints to a mux. Those where a cookie decides refuse what other sites send; the others read
// no cookie.
func (s *Server) Register(mux *http.ServeMux) error {
	sameSite := http.NewCrossOriginProtection()
	if err := sameSite.AddTrustedOrigin(s.cfg.URL); err != nil {
		return sallyport.Wrap("set up authorization server", sallyport.Invalid, "the external URL", err)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.discovery)
	mux.HandleFunc("GET "+pathKeys, s.keys)
	mux.HandleFunc("GET "+pathAuthorize, s.page(s.authorize))
	mux.HandleFunc("POST "+pathAuthorize, s.page(s.authorizePosted))
	mux.Handle("POST "+pathConsent, sameSite.Handler(s.page(s.consent)))
	mux.HandleFunc("POST "+pathToken, s.json(s.token))
	mux.HandleFunc("POST "+pathDevice, s.json(s.device))
	mux.HandleFunc("POST "+pathRevoke, s.json(s.revoke))
	mux.HandleFunc("POST "+pathIntrospect, s.json(s.introspect))
	mux.HandleFunc("GET "+pathActivate, s.page(s.activate))
	mux.Handle("POST "+pathActivate, sameSite.Handler(s.page(s.activateShow)))
	mux.Handle("POST "+pathDecide, sameSite.Handler(s.page(s.activateDecide)))
	return nil
}

func loginPage(next string, _ sallyport.Assurance, again bool) string {
	path := "/login"
	if again {
		path = "/stepup"
	}
	return path + "?return=" + url.QueryEscape(next)
}

// current returns who is signed in, the zero principal when nobody is.
func (s *Server) current(r *http.Request) (sallyport.Principal, error) {
	who, err := s.cfg.Current(r)
	if sallyport.KindOf(err) == sallyport.Unknown {
		return sallyport.Principal{}, nil
	}
	if err == nil && who.Assurance == sallyport.NoAssurance {
		who = sallyport.Principal{}
	}
	return who, err
}

// bind makes a mark that ties words together, so that what comes back was given out by us for just these.
func (s *Server) bind(words ...string) string {
	mac := hmac.New(sha256.New, s.cfg.Key.Reveal())
	for _, w := range words {
		size := [4]byte{byte(len(w) >> 24), byte(len(w) >> 16), byte(len(w) >> 8), byte(len(w))}
		mac.Write(size[:])
		mac.Write([]byte(w))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *Server) bound(mark string, words ...string) bool {
	return hmac.Equal([]byte(mark), []byte(s.bind(words...)))
}

// refused writes a refusal down. It is refused in any case: an error goes to the log only.
func (s *Server) refused(r *http.Request, who sallyport.PrincipalID, client string, cause error) {
	if s.cfg.Record == nil {
		return
	}
	e := sallyport.Event{
		Type: sallyport.EventRefused, At: s.cfg.Now().UnixMicro(), Who: who, Action: sallyport.TokenIssue,
		Reasons: []string{sallyport.ReasonOf(cause)}, Asked: &sallyport.Asked{Door: "oidc", IP: httpsafe.PeerIP(r)},
		Detail: map[string]string{"path": r.URL.Path, "client": sallyport.OneLine(client)},
	}
	if err := s.cfg.Record(context.WithoutCancel(r.Context()), e); err != nil {
		s.cfg.Log.Error("record refusal", "path", r.URL.Path, "err", err)
	}
}

// single refuses a parameter that is given twice, except those named. Empty ones count as absent (RFC 6749, section 3.1).
func single(values url.Values, except ...string) error {
	for name, all := range values {
		all = nonEmpty(all)
		if len(all) > 1 && !slices.Contains(except, name) {
			return fault("invalid_request", "the parameter "+name+" is given twice")
		}
		if len(all) == 0 {
			delete(values, name)
			continue
		}
		values[name] = all
	}
	return nil
}

func nonEmpty(all []string) []string {
	var kept []string
	for _, v := range all {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}

// fault makes an error that an OAuth client gets under this code.
func fault(code, message string) error {
	return sallyport.E("request", sallyport.Invalid, message, "").Because(code)
}
