package oidc

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/page"
)

// A request is an authorization request, checked.
type request struct {
	ask    token.Ask
	state  string
	query  url.Values
	login  bool // prompt=login
	silent bool // prompt=none
	maxAge time.Duration
	aged   bool // max_age was given
	level  sallyport.Assurance
}

// markLife is how long a person has to prove themselves again.
const markLife = 15 * time.Minute

// authorizePosted is the POST form of the endpoint, which OpenID Connect asks for. It may come from any site, so it
// reads no cookie: it turns the form into the GET that any site can cause anyway.
func (s *Server) authorizePosted(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "resource")
	if err != nil {
		return err
	}
	query := form.Encode()
	if len(query) > maxQuery {
		return sallyport.E("authorize", sallyport.TooLarge, "the request has more than 3.5 KiB", "")
	}
	seeOther(w, s.cfg.URL+pathAuthorize+"?"+query)
	return nil
}

// authorize is the authorization endpoint (RFC 6749, section 3.1).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if len(r.URL.RawQuery) > maxQuery {
		return sallyport.E("authorize", sallyport.TooLarge, "the request has more than 3.5 KiB", "")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault("invalid_request", "the query cannot be read")
	}
	req, err := s.read(query)
	if err != nil {
		return s.sendError(w, r, req, err)
	}
	who, err := s.current(r)
	if err != nil {
		return err
	}
	if !s.suffices(req, who) {
		if req.silent {
			return s.sendError(w, r, req, fault("login_required", "the person must sign in"))
		}
		seeOther(w, s.signIn(req, who))
		return nil
	}
	if req.silent {
		return s.sendError(w, r, req, fault("consent_required", "the person must confirm"))
	}
	return s.showConsent(w, r, req, who)
}

// read checks a request. The order matters: until client and redirect address are known to belong together, an error
// has no ask and nothing is sent anywhere.
func (s *Server) read(query url.Values) (request, error) {
	req := request{query: query}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if len(query[name]) != 1 {
			return req, fault("invalid_request", name+" must be given once")
		}
	}
	client, ok := s.cfg.Issuer.Clients.Find(query.Get("client_id"))
	if !ok {
		return req, fault("invalid_client", "no client has this client_id")
	}
	if !client.AllowsRedirect(query.Get("redirect_uri")) {
		return req, fault("invalid_request.redirect_uri", "the redirect address is not one of the client's")
	}
	req.ask.Client, req.ask.RedirectURI = client, query.Get("redirect_uri")
	if len(query["state"]) == 1 && len(query.Get("state")) <= maxState {
		req.state = query.Get("state")
	}
	if err := single(query, "resource"); err != nil {
		return req, err
	}
	if err := req.readProtocol(); err != nil {
		return req, err
	}
	return req, req.readPerson()
}

// readProtocol checks what the client must get right.
func (req *request) readProtocol() error {
	query := req.query
	switch {
	case len(query.Get("state")) > maxState:
		return fault("invalid_request", "state has more than 1024 bytes")
	case query.Has("request"):
		return fault("request_not_supported", "request objects are not supported")
	case query.Has("request_uri"):
		return fault("request_uri_not_supported", "request objects are not supported")
	case !query.Has("response_type"):
		return fault("invalid_request", "response_type is missing")
	case query.Get("response_type") != "code":
		return fault("unsupported_response_type", "response_type must be code")
	case query.Has("response_mode") && query.Get("response_mode") != "query":
		return fault("invalid_request", "response_mode must be query")
	case !req.ask.Client.Allows(token.GrantCode):
		return fault("unauthorized_client", "the client may not use authorization codes")
	case query.Get("code_challenge_method") != "S256" || !token.ValidChallenge(query.Get("code_challenge")):
		return fault("invalid_request", "PKCE is required: code_challenge_method=S256 and a code_challenge of 43 characters")
	}
	req.ask.Challenge = query.Get("code_challenge")
	scope, err := parseScope(query.Get("scope"))
	if err != nil {
		return err
	}
	req.ask.Scope, req.ask.Audiences, err = req.ask.Client.Resolve(scope, query["resource"])
	return err
}

// readPerson checks what the client demands of the person (OpenID Connect Core, section 3.1.2.1).
func (req *request) readPerson() error {
	prompts := strings.Fields(req.query.Get("prompt"))
	for _, p := range prompts {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, p) || p == "none" && len(prompts) > 1 {
			return fault("invalid_request", "prompt")
		}
	}
	req.silent = slices.Contains(prompts, "none")
	req.login = slices.Contains(prompts, "login") || slices.Contains(prompts, "select_account")
	if text := req.query.Get("max_age"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fault("invalid_request", "max_age is not a number of seconds")
		}
		req.aged, req.maxAge = true, time.Duration(seconds)*time.Second
	}
	for _, name := range strings.Fields(req.query.Get("acr_values")) { // the least of those that would do
		if level, err := sallyport.ParseAssurance(name); err == nil && level != sallyport.NoAssurance && (req.level == sallyport.NoAssurance || level < req.level) {
			req.level = level
		}
	}
	return nil
}

// suffices reports whether the session is as strong and as fresh as the request wants. Who was sent to prove
// themselves again comes back with our mark of when that was, and is fresh if they did it since.
func (s *Server) suffices(req request, who sallyport.Principal) bool {
	if who.Assurance < req.level || who.Assurance == sallyport.NoAssurance {
		return false
	}
	if !req.login && !req.aged {
		return true
	}
	now := s.cfg.Now()
	if req.aged && !req.login && req.maxAge > 0 && now.Sub(who.AuthTime) <= req.maxAge {
		return true
	}
	text, mark, _ := strings.Cut(req.query.Get("proved_after"), ".")
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !s.bound(mark, "proved_after", text, req.ask.Challenge) {
		return false
	}
	since := time.UnixMicro(micros)
	return now.Sub(since) <= markLife && !who.AuthTime.Before(since)
}

// signIn returns where the person proves themselves, and from where they come back to this request.
func (s *Server) signIn(req request, who sallyport.Principal) string {
	query := url.Values{}
	for name, all := range req.query {
		query[name] = all
	}
	if req.login || req.aged {
		text := strconv.FormatInt(s.cfg.Now().UnixMicro(), 10)
		query.Set("proved_after", text+"."+s.bind("proved_after", text, req.ask.Challenge))
	}
	needs := max(req.level, sallyport.SingleFactor)
	return s.cfg.SignIn(pathAuthorize+"?"+query.Encode(), needs, who.ID != "")
}

// sendError tells the client by a redirect, or the person by a page where nothing may be sent to the client.
func (s *Server) sendError(w http.ResponseWriter, r *http.Request, req request, err error) error {
	s.refused(r, "", req.query.Get("client_id"), err)
	code, status := codeOf(err)
	if req.ask.Client.ID == "" || status >= 500 {
		return err
	}
	return s.sendBack(w, r, req, url.Values{"error": {code}, "error_description": {describe(err)}})
}

// sendBack leads to the client with state and iss (RFC 9207), by a 303, so that nothing posted travels on.
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, req request, answer url.Values) error {
	answer.Set("iss", s.cfg.URL)
	if req.state != "" {
		answer.Set("state", req.state)
	}
	glue := "?"
	if strings.Contains(req.ask.RedirectURI, "?") {
		glue = "&"
	}
	to := req.ask.RedirectURI + glue + answer.Encode()
	if r.Method == http.MethodPost && strings.HasPrefix(to, "http://[") {
		// Browsers hold a redirect after a form against the page's policy, which cannot name an IPv6 address. A link they follow.
		data := struct{ Client, To string }{req.ask.Client.Name, to}
		return s.pages.Write(w, r, http.StatusOK, "continue", page.View{Data: data})
	}
	seeOther(w, to)
	return nil
}

func seeOther(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
