// Package oidc owns the authorization server's doors for people: the authorization endpoint (RFC 6749, section 3.1, and
// OpenID Connect Core) with consent, the page where a device is connected (RFC 8628, section 3.3), what people have
// allowed, and signing out on behalf of a client (OpenID Connect RP-Initiated Logout).
//
// It leaves the endpoints for programs to web/oauth, tokens and their life to identity/token, signing in to web/login,
// and what a token permits to policy. Every address it tells is made from the configured external URL; nothing in a
// request can change one.
package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"

	"sallyport"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/page"
)

// The paths of the pages, below the external URL.
const (
	pathAuthorize = oauth.PathAuthorize
	pathConsent   = "/oauth/consent"
	pathActivate  = oauth.PathActivate
	pathDecide    = "/activate/decide"
	pathLogout    = oauth.PathEndSession
	pathLoggedOut = "/oauth/logout/confirm"
	pathApps      = "/account/apps"
	pathForget    = "/account/apps/forget"
)

// A Prompt says how a person should prove themselves.
type Prompt struct {
	Next  string              // where they go afterwards: a path with a query on this server
	Needs sallyport.Assurance // at least
	Again bool                // even though they are signed in
	Name  string              // who they said they are, "" when nobody did
}

// Config is what the doors need. Fields are needed unless they say otherwise.
type Config struct {
	oauth.Config

	// Current returns who stands behind the request's browser session, with the session's public id. Without one the
	// error is of kind Unknown; any other kind means that nobody can tell.
	Current func(r *http.Request) (sallyport.Principal, error)
	// SignIn returns the address of the page where a person proves themselves. nil is the pages of web/login.
	SignIn func(Prompt) string
	// SignOut ends the request's browser session and takes its cookie away. nil leads to the page of web/login.
	SignOut func(w http.ResponseWriter, r *http.Request) error
	// Guess counts a guess at the key "usercode:PRINCIPAL" before it is checked; Busy while nothing may be guessed.
	Guess func(ctx context.Context, key string) error
	// Forgive takes back the one guess that was right; it must not touch those that were wrong. May be nil.
	Forgive func(ctx context.Context, key string) error

	Key secret.Bytes // at least 32 bytes, the same on all nodes: ties forms to what they show
}

// A Server answers the endpoints, those for programs too.
type Server struct {
	cfg      Config
	programs *oauth.Server
	pages    *page.Set
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	programs, err := oauth.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	bad := func(what string) (*Server, error) {
		return nil, sallyport.E("set up authorization server", sallyport.Invalid, what, "")
	}
	if cfg.Key.Len() < 32 {
		return bad("the key has less than 32 bytes")
	}
	if cfg.Current == nil || cfg.Guess == nil {
		return bad("a field of the configuration is not set")
	}
	if cfg.SignIn == nil {
		cfg.SignIn = loginPage
	}
	pages, err := newPages()
	if err != nil {
		return nil, sallyport.Wrap("set up authorization server", sallyport.Other, "the pages cannot be read", err)
	}
	return &Server{cfg: cfg, programs: programs, pages: pages}, nil
}

// Register adds the endpoints to a mux. Those where a cookie decides refuse what other sites send; the others read
// no cookie.
func (s *Server) Register(mux *http.ServeMux) error {
	sameSite := http.NewCrossOriginProtection()
	if err := sameSite.AddTrustedOrigin(s.cfg.URL); err != nil {
		return sallyport.Wrap("set up authorization server", sallyport.Invalid, "the external URL", err)
	}
	s.programs.Register(mux)
	mux.HandleFunc("GET "+pathAuthorize, s.page(s.authorize))
	mux.HandleFunc("POST "+pathAuthorize, s.page(s.authorizePosted))
	mux.HandleFunc("GET "+pathLogout, s.page(s.logout))
	mux.HandleFunc("POST "+pathLogout, s.page(s.logoutPosted))
	mux.HandleFunc("GET "+pathActivate, s.page(s.activate))
	mux.HandleFunc("GET "+pathApps, s.page(s.apps))
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST " + pathConsent: s.consent, "POST " + pathActivate: s.activateShow, "POST " + pathDecide: s.activateDecide,
		"POST " + pathLoggedOut: s.logoutConfirmed, "POST " + pathForget: s.forget,
	} {
		mux.Handle(pattern, sameSite.Handler(s.page(serve)))
	}
	return nil
}

func loginPage(p Prompt) string {
	query := url.Values{"return": {p.Next}}
	if !p.Again {
		if p.Name != "" {
			query.Set("name", p.Name)
		}
		return "/login?" + query.Encode()
	}
	if p.Needs > sallyport.SingleFactor {
		query.Set("needs", p.Needs.String())
	}
	return "/stepup?" + query.Encode()
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

// fault makes an error that an OAuth client gets under this code.
func fault(code, message string) error { return oauth.Fault(code, message) }
