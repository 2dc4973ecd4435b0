package oidc

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/page"
)

// A leaving is a request to sign out that was checked (OpenID Connect RP-Initiated Logout, section 2).
type leaving struct {
	client string // name, "" when no client asks
	back   string // where to go afterwards, "" for nowhere
	leads  []string
	query  url.Values
}

// logoutPosted is the POST form of the endpoint. Like an authorization request it may come from any site.
func (s *Server) logoutPosted(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	if len(form.Encode()) > oauth.MaxQuery {
		return sallyport.E("sign out", sallyport.TooLarge, "the request has more than 3.5 KiB", "")
	}
	seeOther(w, s.cfg.URL+pathLogout+"?"+form.Encode())
	return nil
}

// logout asks the person whether they want to sign out: any site can lead here.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > oauth.MaxQuery {
		return fault("invalid_request", "the query cannot be read, or has more than 3.5 KiB")
	}
	l, err := s.leave(r, query)
	if err != nil {
		s.programs.Refused(r, "", query.Get("client_id"), err)
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		return s.left(w, r, l)
	}
	text := l.query.Encode()
	return s.pages.Write(w, r, http.StatusOK, "logout", page.View{Who: who.ID.Name(), Leads: l.leads, Data: struct{ Client, Who, Action, Request, Mark string }{
		l.client, string(who.ID), pathLoggedOut, text, s.bind("logout", who.Session, string(who.ID), text),
	}})
}

// leave checks a request to sign out. An address to go to afterwards must be one that the client has registered, and
// without a client there is none.
func (s *Server) leave(r *http.Request, query url.Values) (leaving, error) {
	l := leaving{query: url.Values{}}
	if err := oauth.Single(query); err != nil {
		return l, err
	}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if query.Has(name) {
			l.query.Set(name, query.Get(name))
		}
	}
	id := query.Get("client_id")
	if hint := query.Get("id_token_hint"); hint != "" {
		one, err := s.cfg.Issuer.ReadIdentity(hint)
		if err != nil || id != "" && one.Client != id {
			return l, fault("invalid_request.id_token_hint", "the id_token_hint is not an ID token of this client's")
		}
		id = one.Client
	}
	back := query.Get("post_logout_redirect_uri")
	if id == "" {
		if back != "" {
			return l, fault("invalid_request", "post_logout_redirect_uri needs an id_token_hint or a client_id")
		}
		return l, nil
	}
	client, err := s.cfg.Issuer.Clients.Find(r.Context(), id)
	if err != nil {
		return l, err
	}
	if back != "" && !slices.Contains(client.PostLogout, back) {
		return l, fault("invalid_request.redirect_uri", "the post_logout_redirect_uri is not one of the client's")
	}
	l.client, l.back, l.leads = client.Name, back, client.RedirectOrigins()
	return l, nil
}

// logoutConfirmed ends the session, with everything that was given out by it.
func (s *Server) logoutConfirmed(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r)
	if err != nil {
		return err
	}
	text := form.Get("request")
	query, err := url.ParseQuery(text)
	if err != nil || len(text) > oauth.MaxQuery {
		return fault("invalid_request", "the form was changed")
	}
	l, err := s.leave(r, query)
	if err != nil {
		return err
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if who.ID == "" {
		return s.left(w, r, l)
	}
	if !s.bound(form.Get("mark"), "logout", who.Session, string(who.ID), text) {
		return sallyport.E("sign out", sallyport.Unknown, "the form is not from this session", "go back and reload the page").Because("consent.mark")
	}
	if form.Get("decision") == "approve" {
		if _, err := s.cfg.Issuer.Revoke(r.Context(), token.Selector{Session: who.Session}, "signed out"); err != nil {
			return err
		}
		if s.cfg.SignOut == nil {
			seeOther(w, "/logout")
			return nil
		}
		if err := s.cfg.SignOut(w, r); err != nil {
			return err
		}
	}
	return s.left(w, r, l)
}

// left leads to where the client wants the person afterwards, or says that it is done.
func (s *Server) left(w http.ResponseWriter, r *http.Request, l leaving) error {
	if l.back == "" {
		return s.pages.Write(w, r, http.StatusOK, "message", page.View{Data: message{Title: "Done", Text: "You can close this page."}})
	}
	to := l.back
	if state := l.query.Get("state"); state != "" {
		glue := "?"
		if strings.Contains(to, "?") {
			glue = "&"
		}
		to += glue + url.Values{"state": {state}}.Encode()
	}
	seeOther(w, to)
	return nil
}
