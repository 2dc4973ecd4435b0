package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sallyport"
)

const (
	knownFor = time.Hour        // discovery is read again after this
	retry    = 15 * time.Second // not more often where it fails
	proofFor = 5 * time.Minute  // life of a client assertion
)

// A known is what discovery has said.
type known struct {
	provider *oidc.Provider
	meta     metadata
	keys     *keys
	read     time.Time
}

// metadata is what is used of a discovery document beyond the library (OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	Keys          string   `json:"jwks_uri"`
	PAR           string   `json:"pushed_authorization_request_endpoint"`
	SendsIssuer   bool     `json:"authorization_response_iss_parameter_supported"`
	Logout        bool     `json:"backchannel_logout_supported"`
	LogoutSession bool     `json:"backchannel_logout_session_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
}

// provider returns what discovery says, read again now and then. While the provider is down, what it said before counts; what
// fails is not tried again at once, so that people who wait do not wait for each other.
func (c *Client) provider(ctx context.Context) (*known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Now()
	if c.known != nil && now.Sub(c.known.read) < knownFor {
		return c.known, nil
	}
	if now.Sub(c.tried) < retry {
		if c.known != nil {
			return c.known, nil
		}
		return nil, c.down(fmt.Errorf("tried %s ago", now.Sub(c.tried)))
	}
	fresh, err := c.discover(ctx)
	if err == nil {
		c.known, c.tried = fresh, time.Time{}
		return fresh, nil
	}
	c.tried = now
	if c.known != nil && sallyport.KindOf(err) == sallyport.Unavailable {
		return c.known, nil
	}
	return nil, err
}

func (c *Client) discover(ctx context.Context) (*known, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, c.config.HTTP), c.config.Issuer)
	if err != nil {
		return nil, c.down(err)
	}
	k := &known{provider: provider, read: c.config.Now()}
	if err := provider.Claims(&k.meta); err != nil {
		return nil, c.down(err)
	}
	e := provider.Endpoint()
	for what, address := range map[string]string{"authorization_endpoint": e.AuthURL, "token_endpoint": e.TokenURL, "jwks_uri": k.meta.Keys,
		"pushed_authorization_request_endpoint": k.meta.PAR, "userinfo_endpoint": provider.UserInfoEndpoint()} {
		optional := what == "pushed_authorization_request_endpoint" || what == "userinfo_endpoint"
		if optional && address == "" {
			continue
		}
		if err := c.acceptable(address); err != nil {
			return nil, c.down(fmt.Errorf("%s: %w", what, err))
		}
	}
	if c.known != nil && c.known.meta.Keys == k.meta.Keys {
		k.keys = c.known.keys
	} else {
		k.keys = &keys{url: k.meta.Keys, http: c.config.HTTP, now: c.config.Now}
	}
	return k, nil
}

// acceptable refuses an endpoint less protected than the issuer.
func (c *Client) acceptable(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !strings.HasPrefix(c.config.Issuer, "http://")) {
		return fmt.Errorf("%.200q is no https address", address)
	}
	return nil
}

func (c *Client) oauth(k *known) *oauth2.Config {
	e := k.provider.Endpoint()
	if e.AuthStyle = oauth2.AuthStyleInParams; !c.config.Secret.IsZero() {
		e.AuthStyle = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{ClientID: c.config.Client, ClientSecret: c.config.Secret.Reveal(), Endpoint: e, RedirectURL: c.config.Redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, c.config.Scopes...)}
}

// prove returns the parameters by which we prove ourselves with a key (RFC 7523). The audience is the issuer and nothing else.
func (c *Client) prove() (map[string]string, error) {
	if c.config.Key == nil {
		return nil, nil
	}
	id := make([]byte, 16)
	if _, err := c.config.Random.Read(id); err != nil {
		return nil, sallyport.Wrap("sign in", sallyport.Unavailable, "no randomness", err)
	}
	now := c.config.Now()
	text, err := c.config.Key.Sign("JWT", map[string]any{"iss": c.config.Client, "sub": c.config.Client, "aud": c.config.Issuer,
		"jti": fmt.Sprintf("%x", id), "iat": now.Unix(), "exp": now.Add(proofFor).Unix()})
	if err != nil {
		return nil, err
	}
	return map[string]string{"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": text.Reveal()}, nil
}

// push hands the request to the provider itself (RFC 9126), so that the browser carries nothing that it could change.
func (c *Client) push(ctx context.Context, k *known, to string) (string, error) {
	u, err := url.Parse(to)
	if err != nil {
		return "", c.down(err)
	}
	form := u.Query()
	prove, err := c.prove()
	if err != nil {
		return "", err
	}
	for name, value := range prove {
		form.Set(name, value)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.meta.PAR, strings.NewReader(form.Encode()))
	if err != nil {
		return "", c.down(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !c.config.Secret.IsZero() {
		r.SetBasicAuth(url.QueryEscape(c.config.Client), url.QueryEscape(c.config.Secret.Reveal()))
	}
	answer, err := c.config.HTTP.Do(r)
	if err != nil {
		return "", c.down(err)
	}
	defer answer.Body.Close()
	var said struct {
		URI   string `json:"request_uri"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || answer.StatusCode != http.StatusCreated || said.URI == "" {
		return "", c.down(fmt.Errorf("pushed request: %d %.80q %w", answer.StatusCode, said.Error, err))
	}
	e, err := url.Parse(k.provider.Endpoint().AuthURL)
	if err != nil {
		return "", c.down(err)
	}
	q := e.Query()
	q.Set("client_id", c.config.Client)
	q.Set("request_uri", said.URI)
	e.RawQuery = q.Encode()
	return e.String(), nil
}
