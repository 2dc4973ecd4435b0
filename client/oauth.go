package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// clientID is the name under which every server knows the command line and this package.
const clientID = "sallyport-cli"

// metadata is the part of RFC 8414 that is used.
type metadata struct {
	Issuer    string `json:"issuer"`
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	Device    string `json:"device_authorization_endpoint"`
	Revoke    string `json:"revocation_endpoint"`
}

// tokens is RFC 6749, section 5.1.
type tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int64  `json:"expires_in"` // seconds
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Ends    int64  `json:"refresh_expires_in"` // seconds until the login ends whatever is done; 0 where it was not said
}

// ends is when the login ends, the zero time where that was not said. Nonsense is as good as nothing: it only warns.
func (t tokens) ends(now time.Time) time.Time {
	if t.Ends <= 0 || t.Ends > int64(10*365*24*time.Hour/time.Second) {
		return time.Time{}
	}
	return now.Add(time.Duration(t.Ends) * time.Second)
}

// life is how long the access token is good; a server that says nonsense gets asked again soon.
func (t tokens) life() time.Duration {
	return time.Duration(min(max(t.Expires, 0), 3600)) * time.Second
}

// discover reads the metadata. All endpoints must be the server's own: what it says elsewhere is not followed, so that
// neither a code nor a refresh token goes to somebody else.
func (c *Client) discover(ctx context.Context) (metadata, error) {
	const op = "sign in"
	var m metadata
	err := c.plain(ctx, request{op: op, method: http.MethodGet, path: "/.well-known/oauth-authorization-server"}, &m)
	if err != nil {
		return m, err
	}
	if m.Issuer != c.server {
		return m, sallyport.E(op, sallyport.Invalid, "the server calls itself "+sallyport.OneLine(m.Issuer)+" and not "+c.server, "use the address that it calls itself")
	}
	for _, endpoint := range []string{m.Authorize, m.Token, m.Device, m.Revoke} {
		if !strings.HasPrefix(endpoint, c.server+"/") {
			return m, sallyport.E(op, sallyport.Invalid, "the server names the endpoint "+sallyport.OneLine(endpoint)+", which is not its own", "ask its operator")
		}
	}
	return m, nil
}

// plain sends a request without a token and reads a JSON answer. Refusals are those of RFC 6749, section 5.2.
func (c *Client) plain(ctx context.Context, r request, out any) error {
	answer, err := c.once(ctx, r, secret.Text{})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, maxRefuse)
	if err != nil {
		return unreachable(r.op, c.server, err)
	}
	if answer.StatusCode != http.StatusOK {
		return oauthError(r.op, answer.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return sallyport.Wrap(r.op, sallyport.Unavailable, "the answer of "+c.server+" is not that of an authorization server", err)
	}
	return nil
}

func oauthError(op string, status int, text []byte) error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(text, &said) != nil || said.Code == "" {
		return &Error{Op: op, API: api.Error{Status: status, Message: "the server answered " + http.StatusText(status) + " without saying why"}}
	}
	message := said.Description
	if message == "" {
		message = said.Code
	}
	return &Error{Op: op, API: api.Error{Status: status, Kind: said.Code, Message: sallyport.OneLine(message)}}
}

// form posts a form to an endpoint of the metadata.
func (c *Client) form(ctx context.Context, op, endpoint string, form url.Values, out any) error {
	form.Set("client_id", clientID)
	return c.plain(ctx, request{op: op, method: http.MethodPost, path: strings.TrimPrefix(endpoint, c.server), body: []byte(form.Encode()), prove: true,
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}}, out)
}

// grant asks the token endpoint, and takes nothing but tokens that are bound to the client's key, or bearer tokens where
// it has none.
func (c *Client) grant(ctx context.Context, endpoint string, form url.Values) (tokens, error) {
	var t tokens
	if err := c.form(ctx, "sign in", endpoint, form, &t); err != nil {
		return t, err
	}
	kind := "Bearer"
	if c.cfg.Key != nil {
		kind = "DPoP"
	}
	if !strings.EqualFold(t.Type, kind) || t.Access == "" {
		return t, sallyport.E("sign in", sallyport.Unavailable, "the server gave no token of the type "+kind, "ask its operator")
	}
	return t, nil
}

// refresh trades a refresh token for an access token and the next refresh token.
func (c *Client) refresh(ctx context.Context, old secret.Text, audience string, want wanted) (tokens, error) {
	m, err := c.discover(ctx)
	if err != nil {
		return tokens{}, err
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Reveal()}, "resource": {audience}}
	if err := want.write(form); err != nil {
		return tokens{}, err
	}
	return c.grant(ctx, m.Token, form)
}

// wanted narrows a token. The zero value is all of the login's rights, for the login's purpose.
type wanted struct {
	scope   sallyport.Scope
	purpose string
}

// write puts what is wanted into a request. A purpose travels with what it is for (RFC 9396).
func (w wanted) write(form url.Values) error {
	if w.purpose == "" {
		if len(w.scope) > 0 {
			form.Set("scope", w.scope.String())
		}
		return nil
	}
	type detail struct {
		Type       string   `json:"type"`
		Actions    []string `json:"actions"`
		Identifier string   `json:"identifier,omitempty"`
		Purpose    string   `json:"purpose"`
	}
	var all []detail
	for _, item := range w.scope {
		action, on, _ := strings.Cut(item, "@")
		all = append(all, detail{Type: "sallyport", Actions: []string{action}, Identifier: on, Purpose: w.purpose})
	}
	if len(all) == 0 {
		return sallyport.E("token", sallyport.Invalid, "a token for a purpose names what it is for", "say ACTION@RESOURCE")
	}
	text, err := json.Marshal(all)
	form.Set("authorization_details", string(text))
	return err
}

// isGrantEnded tells a login that is over from a server that has a bad moment.
func isGrantEnded(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.API.Kind == "invalid_grant"
}

// Token gets a new access token for a door, narrowed to a scope such as "model.infer@acme/fraud"; an empty scope is all
// of the login's. It says when the token ends, and needs a Store with a login.
func (c *Client) Token(ctx context.Context, d Door, scope sallyport.Scope) (secret.Text, time.Time, error) {
	return c.TokenFor(ctx, d, scope, "")
}

// TokenFor is Token for a purpose, such as "scoring": policies and the purposes of a model may ask what a token is for.
// A login that has a purpose keeps it.
func (c *Client) TokenFor(ctx context.Context, d Door, scope sallyport.Scope, purpose string) (secret.Text, time.Time, error) {
	source, ok := c.tokens.(*stored)
	if !ok {
		return secret.Text{}, time.Time{}, notSignedIn(c.server, "there is no login to make a token from")
	}
	t, err := source.refresh(ctx, c.Audience(d), wanted{scope, purpose}, true)
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	return secret.NewText(t.Access), source.store.now().Add(t.life()), nil
}

// Logout gives the login back to the server and forgets it. It is forgotten, too, when the server cannot be reached;
// the error then says that the server still holds it.
func (c *Client) Logout(ctx context.Context) error {
	if c.cfg.Store == nil {
		return nil
	}
	all, err := c.cfg.Store.read()
	if err != nil {
		return err
	}
	e, ok := all.Logins[c.server]
	if !ok {
		return nil
	}
	var revoked error
	if m, err := c.discover(ctx); err != nil {
		revoked = err
	} else {
		revoked = c.form(ctx, "sign out", m.Revoke, url.Values{"token": {e.Refresh}, "token_type_hint": {"refresh_token"}}, nil)
	}
	if err := c.cfg.Store.Forget(ctx, c.server); err != nil {
		return err
	}
	return revoked
}

func windows() bool { return runtime.GOOS == "windows" }
