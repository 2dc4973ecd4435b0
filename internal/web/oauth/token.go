package oauth

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/plumbing/secret"
)

// answerToken is RFC 6749, section 5.1, with RFC 8693, section 2.2, RFC 9396, section 7, and OpenID Connect Core, section
// 3.1.3.3.
type answerToken struct {
	Access   string          `json:"access_token"`
	Type     string          `json:"token_type"`
	Expires  int64           `json:"expires_in"`
	Refresh  string          `json:"refresh_token,omitempty"`
	Identity string          `json:"id_token,omitempty"`
	Scope    string          `json:"scope"`
	Details  json.RawMessage `json:"authorization_details,omitempty"`
	Issued   string          `json:"issued_token_type,omitempty"`
	Ends     int64           `json:"refresh_expires_in,omitempty"` // seconds until no refresh helps: the person signs in again
}

// token is the token endpoint (RFC 6749, section 3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	form, err := ReadForm(w, r)
	if err != nil {
		return err
	}
	return s.grant(w, r, form)
}

// hubDefault is the client id that stock Hugging Face clients send unless they are told another.
const hubDefault = "26be6b09-91c5-47da-9861-d2d2bb7a7e36"

// hubToken is the token endpoint as stock Hugging Face clients call it: below their own door, with JSON in a CI job.
func (s *Server) hubToken(w http.ResponseWriter, r *http.Request) error {
	form, err := readFormOrJSON(w, r)
	if err != nil {
		return err
	}
	if id := form.Get("client_id"); id == hubDefault || id == "" && form.Get("client_assertion") == "" {
		form.Set("client_id", token.HubID)
	}
	return s.grant(w, r, form)
}

func readFormOrJSON(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		return ReadForm(w, r)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxForm))
	if err != nil {
		return nil, sallyport.E("request", sallyport.TooLarge, "the body broke off or has more than 16 KiB", "")
	}
	var members map[string]string
	if err := strict.Unmarshal(body, &members); err != nil {
		return nil, Fault("invalid_request", "the body is no JSON object of texts")
	}
	form := url.Values{}
	for name, value := range members {
		form.Set(name, value)
	}
	return form, Single(form)
}

func (s *Server) grant(w http.ResponseWriter, r *http.Request, form url.Values) error {
	by, err := s.client(r, form)
	if err == nil {
		var issued token.Issued
		if issued, err = s.issue(r, by, form); err == nil {
			s.writeTokens(w, issued, clients.Grant(form.Get("grant_type")))
			return nil
		}
	}
	if code, _ := CodeOf(err); code != "authorization_pending" && code != "use_dpop_nonce" { // waiting is no offence
		s.Refused(r, "", said(r, form), err)
	}
	return err
}

func (s *Server) writeTokens(w http.ResponseWriter, issued token.Issued, grant clients.Grant) {
	a := answerToken{
		Access: issued.Text(), Type: tokenType(issued.Key), Expires: int64(issued.Expires.Sub(s.cfg.Now()).Seconds()),
		Refresh: issued.Refresh.Reveal(), Identity: issued.Identity.Reveal(), Scope: scopeText(issued.Family.OpenID, issued.Scope), Details: issued.Details,
	}
	if a.Refresh != "" {
		a.Ends = int64(issued.Family.Expires.Sub(s.cfg.Now()).Seconds())
	}
	if grant == clients.Exchange {
		a.Issued = exchange.TypeAccess
	}
	writeJSON(w, http.StatusOK, a)
}

func tokenType(key string) string {
	if strings.HasPrefix(key, "jkt:") {
		return "DPoP"
	}
	return "Bearer"
}

func scopeText(openid bool, scope sallyport.Scope) string {
	if !openid {
		return scope.String()
	}
	return strings.TrimSpace("openid " + scope.String())
}

// issue is the fork between the grants. What all have in common stands before it, so that no grant can forget it.
func (s *Server) issue(r *http.Request, by token.By, form url.Values) (token.Issued, error) {
	want, err := readWant(form)
	if err != nil {
		return token.Issued{}, err
	}
	need := func(name string) (secret.Text, error) {
		if form.Get(name) == "" {
			return secret.Text{}, Fault("invalid_request", name+" is missing")
		}
		return secret.NewText(form.Get(name)), nil
	}
	switch clients.Grant(form.Get("grant_type")) {
	case clients.Code:
		code, err := need("code")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Codes.Exchange(r.Context(), by, codes.Exchange{
			Code: code, RedirectURI: form.Get("redirect_uri"), Verifier: secret.NewText(form.Get("code_verifier")),
		}, token.Want{Audience: want.Audience})
	case clients.Refresh:
		refresh, err := need("refresh_token")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Issuer.Refresh(r.Context(), by, refresh, want)
	case clients.Device:
		code, err := need("device_code")
		if err != nil {
			return token.Issued{}, err
		}
		return s.cfg.Codes.PollDevice(r.Context(), by, code, token.Want{Audience: want.Audience})
	case clients.Credentials:
		return s.cfg.Exchange.Credentials(r.Context(), by, want)
	case clients.Exchange:
		return s.exchange(r, by, form, want)
	case "":
		return token.Issued{}, Fault("invalid_request", "grant_type is missing")
	}
	return token.Issued{}, Fault("unsupported_grant_type", "no grant type is called like this")
}

// readWant reads what narrows a token: scope and authorization_details, resource, and audience as another word for it
// (RFC 8693, section 2.1). A resource that is no address is the name of a repository, which the exchange reads itself.
func readWant(form url.Values) (token.Want, error) {
	rights, err := parseRights(url.Values{"scope": form["scope"], "authorization_details": form["authorization_details"]})
	if err != nil {
		return token.Want{}, err
	}
	want := token.Want{Scope: rights.scope, Purpose: rights.purpose, OpenID: rights.openid, Detailed: rights.detailed}
	if rights.openid && rights.scope == nil {
		want.Scope = sallyport.Scope{} // openid and nothing else
	}
	named := slices.Compact(slices.DeleteFunc([]string{form.Get("resource"), form.Get("audience")}, func(v string) bool { return !strings.Contains(v, "://") }))
	named = slices.Compact(append(named, rights.audiences...))
	if len(named) > 1 {
		return want, Fault("invalid_target", "a token is for one resource")
	}
	if len(named) == 1 {
		want.Audience = named[0]
	}
	return want, nil
}

// exchange is RFC 8693.
func (s *Server) exchange(r *http.Request, by token.By, form url.Values, want token.Want) (token.Issued, error) {
	if kind := form.Get("requested_token_type"); kind != "" && kind != exchange.TypeAccess && kind != exchange.TypeJWT {
		return token.Issued{}, Fault("invalid_request", "requested_token_type: only access tokens are issued here")
	}
	t := exchange.Trade{
		Subject: secret.NewText(form.Get("subject_token")), SubjectType: form.Get("subject_token_type"),
		Actor: secret.NewText(form.Get("actor_token")), ActorType: form.Get("actor_token_type"),
	}
	if repo := form.Get("resource"); !strings.Contains(repo, "://") && strings.Contains(repo, "/") { // a bare name is a user, and narrows nothing
		if name, ok := strings.CutPrefix(repo, "datasets/"); ok {
			repo = "dataset:" + name
		}
		t.Repo = repo
	}
	return s.cfg.Exchange.Exchange(r.Context(), by, t, want)
}

// answerDevice is RFC 8628, section 3.2.
type answerDevice struct {
	Code     string `json:"device_code"`
	UserCode string `json:"user_code"`
	Address  string `json:"verification_uri"`
	Complete string `json:"verification_uri_complete"`
	Expires  int64  `json:"expires_in"`
	Interval int64  `json:"interval"`
}

// device is the device authorization endpoint (RFC 8628, section 3.1).
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	form, err := ReadForm(w, r, "resource")
	if err != nil {
		return err
	}
	if form.Get("client_id") == hubDefault {
		form.Set("client_id", token.HubID)
	}
	started, err := s.startDevice(r, form)
	if err != nil {
		s.Refused(r, "", said(r, form), err)
		return err
	}
	writeJSON(w, http.StatusOK, answerDevice{
		Code: started.Code.Reveal(), UserCode: started.UserCode, Address: s.cfg.URL + PathActivate,
		Complete: s.cfg.URL + PathActivate + "?" + url.Values{"user_code": {started.UserCode}}.Encode(),
		Expires:  int64(started.Expires.Sub(s.cfg.Now()).Seconds()), Interval: int64(started.Interval.Seconds()),
	})
	return nil
}

func (s *Server) startDevice(r *http.Request, form url.Values) (codes.Started, error) {
	if err := s.rates.check(r); err != nil {
		return codes.Started{}, err
	}
	by, err := s.client(r, form)
	if err != nil {
		return codes.Started{}, err
	}
	ask := codes.Ask{Client: by.Client}
	if err := readRights(&ask, form); err != nil {
		return codes.Started{}, err
	}
	return s.cfg.Codes.StartDevice(r.Context(), by, ask)
}
