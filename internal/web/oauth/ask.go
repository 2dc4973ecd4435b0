package oauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
)

// A Request is an authorization request, checked.
type Request struct {
	Ask     codes.Ask
	State   string
	Query   url.Values    // the parameters, wherever they came from
	Login   bool          // prompt=login
	Silent  bool          // prompt=none
	Consent bool          // prompt=consent
	MaxAge  time.Duration // since the person proved themselves
	Aged    bool          // max_age was given
	Level   sallyport.Assurance
	Hint    sallyport.PrincipalID // who an id_token_hint says it is, "" for nobody in particular
	Name    string                // login_hint
}

// Read checks the parameters of an authorization request (RFC 6749, section 4.1.1). The order matters: until client and
// redirect address are known to belong together, an error has no ask and nothing is sent anywhere.
func (s *Server) Read(ctx context.Context, query url.Values) (Request, error) {
	req := Request{Query: query}
	if len(query["client_id"]) != 1 {
		return req, Fault("invalid_request", "client_id must be given once")
	}
	client, err := s.cfg.Issuer.Clients.Find(ctx, query.Get("client_id"))
	if err != nil {
		return req, err
	}
	return s.readFor(client, query)
}

func (s *Server) readFor(client clients.Client, query url.Values) (Request, error) {
	req := Request{Query: query}
	if len(query["redirect_uri"]) != 1 {
		return req, Fault("invalid_request", "redirect_uri must be given once")
	}
	if !client.AllowsRedirect(query.Get("redirect_uri")) {
		return req, Fault("invalid_request.redirect_uri", "the redirect address is not one of the client's")
	}
	req.Ask.Client, req.Ask.RedirectURI = client, query.Get("redirect_uri")
	if len(query["state"]) == 1 && len(query.Get("state")) <= maxState {
		req.State = query.Get("state")
	}
	if err := Single(query, "resource"); err != nil {
		return req, err
	}
	if err := req.readProtocol(); err != nil {
		return req, err
	}
	if err := req.readPerson(); err != nil {
		return req, err
	}
	err := s.readHint(&req)
	return req, err
}

// readProtocol checks what the client must get right.
func (req *Request) readProtocol() error {
	query := req.Query
	switch {
	case len(query.Get("state")) > maxState:
		return Fault("invalid_request", "state has more than 1024 bytes")
	case query.Has("request"):
		return Fault("request_not_supported", "request objects are not supported")
	case query.Has("request_uri"):
		return Fault("request_uri_not_supported", "request objects are not supported; a request_uri of ours comes from the pushed authorization request endpoint")
	case !query.Has("response_type"):
		return Fault("invalid_request", "response_type is missing")
	case query.Get("response_type") != "code":
		return Fault("unsupported_response_type", "response_type must be code")
	case query.Has("response_mode") && query.Get("response_mode") != "query":
		return Fault("invalid_request", "response_mode must be query")
	case !req.Ask.Client.Allows(clients.Code):
		return Fault("unauthorized_client", "the client may not use authorization codes")
	case query.Get("code_challenge_method") != "S256" || !codes.ValidChallenge(query.Get("code_challenge")):
		return Fault("invalid_request", "PKCE is required: code_challenge_method=S256 and a code_challenge of 43 characters")
	case len(query.Get("nonce")) > maxState:
		return Fault("invalid_request", "nonce has more than 1024 bytes")
	}
	req.Ask.Challenge, req.Ask.Nonce = query.Get("code_challenge"), query.Get("nonce")
	if jkt := query.Get("dpop_jkt"); jkt != "" {
		if !codes.ValidChallenge(jkt) { // both are 32 bytes in base64url
			return Fault("invalid_request", "dpop_jkt is not the thumbprint of a key")
		}
		req.Ask.Key = "jkt:" + jkt
	}
	return readRights(&req.Ask, query)
}

// readRights reads what is asked for: scope, authorization_details and resource.
func readRights(ask *codes.Ask, values url.Values) error {
	rights, err := parseRights(values)
	if err != nil {
		return err
	}
	ask.OpenID, ask.Purpose, ask.Detailed = rights.openid, rights.purpose, rights.detailed
	ask.Scope, ask.Audiences, err = ask.Client.Resolve(rights.scope, rights.audiences, rights.openid)
	return err
}

// rights are what a request asks for, by whatever parameters.
type rights struct {
	scope            sallyport.Scope
	audiences        []string
	purpose          string
	openid, detailed bool
}

// parseRights reads scope and authorization_details, which add up, and resource. Of the words that OpenID Connect has
// for scopes, openid counts; the others promise claims that we do not have, and are passed over.
func parseRights(values url.Values) (rights, error) {
	out := rights{audiences: values["resource"]}
	var items []string
	for _, item := range strings.Split(values.Get("scope"), " ") {
		switch item {
		case "openid":
			out.openid = true
		case "profile", "email", "offline_access":
		default:
			items = append(items, item)
		}
	}
	scope, err := sallyport.ParseScope(strings.Join(items, " "))
	if err != nil {
		return out, Fault("invalid_scope", sallyport.PublicText(err))
	}
	out.scope = scope
	text := values.Get("authorization_details")
	if text == "" {
		return out, nil
	}
	more, locations, purpose, err := access.ParseDetails(text)
	if err != nil {
		return out, err
	}
	for _, a := range out.audiences {
		if len(locations) > 0 && !slices.Contains(locations, a) {
			return out, Fault("invalid_target", "resource and locations differ")
		}
	}
	if len(out.audiences) == 0 {
		out.audiences = locations
	}
	out.scope, out.purpose, out.detailed = append(out.scope, more...), purpose, true
	return out, nil
}

// readPerson checks what the client demands of the person (OpenID Connect Core, section 3.1.2.1).
func (req *Request) readPerson() error {
	prompts := strings.Fields(req.Query.Get("prompt"))
	for _, p := range prompts {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, p) || p == "none" && len(prompts) > 1 {
			return Fault("invalid_request", "prompt")
		}
	}
	req.Silent = slices.Contains(prompts, "none")
	req.Login = slices.Contains(prompts, "login") || slices.Contains(prompts, "select_account")
	req.Consent = slices.Contains(prompts, "consent")
	req.Name = req.Query.Get("login_hint")
	if len(req.Name) > 256 {
		return Fault("invalid_request", "login_hint has more than 256 bytes")
	}
	if text := req.Query.Get("max_age"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return Fault("invalid_request", "max_age is not a number of seconds")
		}
		req.Aged, req.MaxAge = true, time.Duration(seconds)*time.Second
	}
	for _, name := range strings.Fields(req.Query.Get("acr_values")) { // the least of those that would do
		if level, err := sallyport.ParseAssurance(name); err == nil && level != sallyport.NoAssurance && (req.Level == sallyport.NoAssurance || level < req.Level) {
			req.Level = level
		}
	}
	return nil
}

// readHint reads an ID token that we issued to this client, however long ago.
func (s *Server) readHint(req *Request) error {
	text := req.Query.Get("id_token_hint")
	if text == "" {
		return nil
	}
	hint, err := s.cfg.Issuer.ReadIdentity(text)
	if err != nil || hint.Client != req.Ask.Client.ID {
		return Fault("invalid_request.id_token_hint", "the id_token_hint is not an ID token of this client's")
	}
	req.Hint = hint.Principal
	return nil
}

// push is the pushed authorization request endpoint (RFC 9126).
func (s *Server) push(w http.ResponseWriter, r *http.Request) error {
	form, err := ReadForm(w, r, "resource")
	if err != nil {
		return err
	}
	uri, err := s.pushed(r, form)
	if err != nil {
		s.Refused(r, "", said(r, form), err)
		return err
	}
	writeJSON(w, http.StatusCreated, map[string]any{"request_uri": uri, "expires_in": int64(codes.PushLifetime.Seconds())})
	return nil
}

func (s *Server) pushed(r *http.Request, form url.Values) (string, error) {
	if err := s.rates.check(r); err != nil {
		return "", err
	}
	by, err := s.client(r, form)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"client_assertion", "client_assertion_type"} {
		form.Del(name)
	}
	form.Set("client_id", by.Client.ID)
	if form.Has("request_uri") {
		return "", Fault("invalid_request", "a pushed request has no request_uri")
	}
	text := form.Encode()
	if len(text) > MaxForm {
		return "", sallyport.E("push request", sallyport.TooLarge, "the request has more than 16 KiB", "")
	}
	req, err := s.readFor(by.Client, form)
	if err != nil {
		return "", err
	}
	// RFC 9449, section 10.1: what the push proves and what it says must be one key.
	if req.Ask.Key != "" && by.Key != "" && by.Key != req.Ask.Key {
		return "", Fault("invalid_dpop_proof.jkt", "dpop_jkt is not the key of the proof")
	}
	if !strings.HasPrefix(by.Key, "jkt:") { // a certificate is proved again at the token endpoint
		by.Key = ""
	}
	return s.cfg.Codes.Push(r.Context(), by, text)
}

// ReadPushed returns the request behind a request_uri, for the client that the query names. goingOn is as for
// [codes.Service.Pushed]. A client that must push cannot be read by Read.
func (s *Server) ReadPushed(ctx context.Context, query url.Values, goingOn bool) (Request, codes.Pushed, error) {
	p, err := s.cfg.Codes.Pushed(ctx, query.Get("client_id"), query.Get("request_uri"), goingOn)
	if err != nil {
		return Request{Query: query}, p, err
	}
	values, err := url.ParseQuery(p.Request)
	if err != nil {
		return Request{Query: query}, p, err
	}
	req, err := s.Read(ctx, values)
	if req.Ask.Key == "" {
		req.Ask.Key = p.Key
	}
	return req, p, err
}
