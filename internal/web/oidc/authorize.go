package oidc

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/page"
)

// A request is an authorization request, checked, with how it came.
type request struct {
	oauth.Request
	shown  url.Values // the query of the browser: for a pushed request not what it asks, only its name
	pushed *codes.Pushed
}

// markLife is how long a person has to prove themselves again.
const markLife = 15 * time.Minute

// Parameters that we add to an authorization request before a person goes to sign in.
const (
	paramProved = "proved_after" // since when they must have proved themselves
	paramTaken  = "taken"        // this browser has used the request_uri
	paramBack   = "signed_in"    // they come from the sign-in page
)

// authorizePosted is the POST form of the endpoint, which OpenID Connect asks for. It may come from any site, so it
// reads no cookie: it turns the form into the GET that any site can cause anyway.
func (s *Server) authorizePosted(w http.ResponseWriter, r *http.Request) error {
	form, err := oauth.ReadForm(w, r, "resource")
	if err != nil {
		return err
	}
	query := form.Encode()
	if len(query) > oauth.MaxQuery {
		return tooLong()
	}
	seeOther(w, s.cfg.URL+pathAuthorize+"?"+query)
	return nil
}

func tooLong() error {
	return sallyport.E("authorize", sallyport.TooLarge, "the request has more than 3.5 KiB", "push it to the pushed authorization request endpoint")
}

// authorize is the authorization endpoint (RFC 6749, section 3.1).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if len(r.URL.RawQuery) > oauth.MaxQuery {
		return tooLong()
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault("invalid_request", "the query cannot be read")
	}
	req, err := s.read(r, query)
	if err != nil {
		return s.sendError(w, r, req, err)
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if !s.suffices(req, who) {
		if req.Silent {
			return s.sendError(w, r, req, fault("login_required", "the person must sign in"))
		}
		seeOther(w, s.signIn(req, who))
		return nil
	}
	return s.ask(w, r, req, who)
}

// ask asks the person, unless they have allowed all this for good.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, req request, who sallyport.Principal) error {
	known, err := s.cfg.Codes.Remembered(r.Context(), who.ID, req.Ask)
	switch {
	case err != nil:
		return err
	case known && !req.Consent:
		return s.sendCode(w, r, req, who)
	case req.Silent:
		return s.sendError(w, r, req, fault("consent_required", "the person must confirm"))
	}
	return s.showConsent(w, r, req, who)
}

// read reads a request from the query of the browser, or what was pushed where the query names that.
func (s *Server) read(r *http.Request, query url.Values) (request, error) {
	req := request{shown: query}
	if !strings.HasPrefix(query.Get("request_uri"), codes.URNPrefix) {
		var err error
		req.Request, err = s.programs.Read(r.Context(), query)
		if err == nil && req.Ask.Client.Push {
			err = fault("invalid_request.push", "the client must push its authorization requests")
		}
		return req, err
	}
	if err := oauth.Single(query); err != nil || len(query["client_id"]) != 1 {
		return req, fault("invalid_request", "a pushed request is named by client_id and request_uri, each once")
	}
	uri := query.Get("request_uri")
	goingOn := query.Has(paramTaken)
	if goingOn && !s.bound(query.Get(paramTaken), "taken", query.Get("client_id"), uri) {
		return req, fault("invalid_request_uri", "the address was changed")
	}
	one, pushed, err := s.programs.ReadPushed(r.Context(), query, goingOn)
	req.Request, req.pushed = one, &pushed
	if err == nil {
		req.shown = url.Values{"client_id": {query.Get("client_id")}, "request_uri": {uri}, paramTaken: {s.bind("taken", query.Get("client_id"), uri)}}
		for _, ours := range []string{paramProved, paramBack} {
			if query.Has(ours) {
				req.shown.Set(ours, query.Get(ours))
			}
		}
	}
	return req, err
}

// suffices reports whether the session is as strong and as fresh as the request wants, and the person the one it means.
// Who was sent to prove themselves again comes back with our mark of when that was, and is fresh if they did it since.
func (s *Server) suffices(req request, who sallyport.Principal) bool {
	if who.Assurance < req.Level || who.Assurance == sallyport.NoAssurance || req.Hint != "" && who.ID != req.Hint {
		return false
	}
	if !req.Login && !req.Aged {
		return true
	}
	now := s.cfg.Now()
	if req.Aged && !req.Login && req.MaxAge > 0 && now.Sub(who.AuthTime) <= req.MaxAge {
		return true
	}
	text, mark, _ := strings.Cut(req.shown.Get(paramProved), ".")
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !s.bound(mark, paramProved, text, req.Ask.Challenge) {
		return false
	}
	since := time.UnixMicro(micros)
	return now.Sub(since) <= markLife && !who.AuthTime.Before(since)
}

// signIn returns where the person proves themselves, and from where they come back to this request.
func (s *Server) signIn(req request, who sallyport.Principal) string {
	query := url.Values{}
	for name, all := range req.shown {
		query[name] = all
	}
	query.Set(paramBack, "1")
	if req.Login || req.Aged {
		text := strconv.FormatInt(s.cfg.Now().UnixMicro(), 10)
		query.Set(paramProved, text+"."+s.bind(paramProved, text, req.Ask.Challenge))
	}
	again := who.ID != "" && (req.Hint == "" || req.Hint == who.ID)
	return s.cfg.SignIn(Prompt{Next: pathAuthorize + "?" + query.Encode(), Needs: max(req.Level, sallyport.SingleFactor), Again: again, Name: req.Name})
}

// sendCode leads to the client with a code. What was pushed is used up by it.
func (s *Server) sendCode(w http.ResponseWriter, r *http.Request, req request, who sallyport.Principal) error {
	if req.pushed != nil {
		if err := s.cfg.Codes.Decided(r.Context(), *req.pushed); err != nil {
			return err
		}
	}
	code, err := s.cfg.Codes.Authorize(r.Context(), who, req.Ask)
	if err != nil {
		return s.sendError(w, r, req, err)
	}
	return s.sendBack(w, r, req, url.Values{"code": {code.Reveal()}})
}

// sendError tells the client by a redirect, or the person by a page where nothing may be sent to the client.
func (s *Server) sendError(w http.ResponseWriter, r *http.Request, req request, err error) error {
	s.programs.Refused(r, "", req.shown.Get("client_id"), err)
	code, status := oauth.CodeOf(err)
	if req.Ask.Client.ID == "" || status >= 500 {
		return err
	}
	return s.sendBack(w, r, req, url.Values{"error": {code}, "error_description": {oauth.Describe(err)}})
}

// sendBack leads to the client with state and iss (RFC 9207), by a 303, so that nothing posted travels on.
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, req request, answer url.Values) error {
	answer.Set("iss", s.cfg.URL)
	if req.State != "" {
		answer.Set("state", req.State)
	}
	glue := "?"
	if strings.Contains(req.Ask.RedirectURI, "?") {
		glue = "&"
	}
	to := req.Ask.RedirectURI + glue + answer.Encode()
	if r.Method == http.MethodPost && strings.HasPrefix(to, "http://[") || r.Method == http.MethodGet && req.shown.Has(paramBack) && !loopback(to) {
		// Browsers hold every redirect after a form against the policy of the form's page, which cannot name an IPv6
		// address, and which is the sign-in page's where nobody had to be asked here. So the page goes on by itself.
		data := struct{ Client, To string }{req.Ask.Client.Name, to}
		w.Header().Set("Refresh", "0; url="+to)
		return s.pages.Write(w, r, http.StatusOK, "continue", page.View{Data: data})
	}
	seeOther(w, to)
	return nil
}

// loopback reports whether the sign-in page lets a redirect lead there.
func loopback(to string) bool { return strings.HasPrefix(to, "http://127.0.0.1:") }

func seeOther(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
