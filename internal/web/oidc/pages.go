package oidc

import (
	"embed"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

// newPages reads the pages. Browsers hold the redirect after a form against its form-action, so the policy names all
// addresses of clients.
func newPages(clients *token.Registry) (*page.Set, error) {
	dir, err := fs.Sub(pageFiles, "pages")
	if err != nil {
		return nil, err
	}
	sources := []string{"http://127.0.0.1:*"}
	for _, c := range clients.All() {
		for _, uri := range c.RedirectURIs {
			if u, err := url.Parse(uri); err == nil {
				sources = append(sources, u.Scheme+"://"+u.Host)
			}
		}
	}
	slices.Sort(sources)
	return page.New(dir, slices.Compact(sources)...)
}

type message struct {
	Title, Text string
	Bad         bool
}

// page turns a handler that returns an error into one for people. This is the one place where errors become pages.
func (s *Server) page(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page.Headers(w, r)
		err := h(w, r)
		if err == nil {
			return
		}
		_, status := codeOf(err)
		switch status {
		case http.StatusUnauthorized: // there is no challenge that a browser could answer
			status = http.StatusBadRequest
			if sallyport.KindOf(err) == sallyport.Unknown {
				status = http.StatusForbidden
			}
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", strconv.Itoa(waitOf(err)))
		}
		if status >= 500 {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
		}
		view := page.View{Data: message{Title: "This did not work", Text: sallyport.PublicText(err), Bad: true}}
		if err := s.pages.Write(w, r, status, "message", view); err != nil {
			s.cfg.Log.Error("authorization server", "path", r.URL.Path, "err", err)
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
}

type consentPage struct {
	Title, Client, Who, Where string
	Scope, Audiences          []string
	Action, Request, Mark     string
}

// showConsent asks the person. The form carries the request and a mark over it and the session: what is approved is
// what was shown, to whom it was shown.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, req request, who sallyport.Principal) error {
	text := req.query.Encode()
	return s.pages.Write(w, r, http.StatusOK, "consent", page.View{Who: who.ID.Name(), Data: consentPage{
		Title: "Allow access", Client: req.ask.Client.Name, Who: string(who.ID), Scope: req.ask.Scope, Audiences: req.ask.Audiences,
		Where: destination(req.ask), Action: pathConsent, Request: text, Mark: s.bind("consent", who.Session, string(who.ID), text),
	}})
}

// destination tells where the answer goes.
func destination(ask token.Ask) string {
	if port, ok := ask.Client.LoopbackPort(ask.RedirectURI); ok {
		return "The answer goes to the program on this computer that listens on port " + strconv.Itoa(port) + "."
	}
	if u, err := url.Parse(ask.RedirectURI); err == nil {
		return "The answer goes to " + u.Host + "."
	}
	return ""
}

// consent takes the person's decision.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	text := form.Get("request")
	query, err := url.ParseQuery(text)
	if err != nil || len(text) > maxQuery {
		return fault("invalid_request", "the form was changed")
	}
	req, err := s.read(query)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if !s.suffices(req, who) {
		seeOther(w, s.signIn(req, who))
		return nil
	}
	if !s.bound(form.Get("mark"), "consent", who.Session, string(who.ID), text) {
		err := sallyport.E("consent", sallyport.Unknown, "the form is not from this session", "go back and reload the page").Because("consent.mark")
		s.refused(r, who.ID, req.ask.Client.ID, err)
		return err
	}
	if form.Get("decision") != "approve" {
		return s.sendError(w, r, req, fault("access_denied", "the person refused"))
	}
	code, err := s.cfg.Issuer.Authorize(r.Context(), who, req.ask)
	if err != nil {
		return s.sendError(w, r, req, err)
	}
	return s.sendBack(w, r, req, url.Values{"code": {code.Reveal()}})
}
