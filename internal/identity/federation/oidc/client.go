// Package oidc owns the conversation with an OpenID Connect provider as its client (OpenID Connect Core 1.0; RFC 6749, RFC
// 7636, RFC 9126, RFC 9207, RFC 9700; OpenID Connect Back-Channel Logout 1.0): authorization code with PKCE, nonce, and a
// pushed request where the provider takes one.
//
// Signatures are verified by identity/jose against keys that are fetched at most twice a minute, whoever sends how many
// tokens. What the client library leaves to its caller is checked here: nonce, azp, at_hash, auth_time, iss.
//
// It leaves to federation who somebody is here and that an answer counts once, to the http.Client that it is given which
// addresses may be called and how long answers may be.
package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

const (
	leeway = time.Minute // between two clocks
	wait   = 10 * time.Second
)

// A Config says who the provider is and who we are there.
type Config struct {
	Title    string // for messages
	Issuer   string
	Client   string      // our client id
	Secret   secret.Text // client_secret_basic; empty where there is none
	Key      *jose.Signer
	Redirect string   // our callback
	Scopes   []string // beside openid
	ACR      []string // acr_values to ask for, the best first
	UserInfo bool     // ask the userinfo endpoint for claims that the ID token lacks
	HTTP     *http.Client
	Now      func() time.Time
	Random   io.Reader
}

// A Client is one provider. It is safe for concurrent use.
type Client struct {
	config Config

	mu    sync.Mutex
	known *known
	tried time.Time
}

// New makes a client. It calls nobody yet.
func New(c Config) (*Client, error) {
	const op = "oidc provider"
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the issuer %.200q is no http(s) URL without a query", c.Issuer), "copy it from the provider's discovery document")
	}
	if c.Client == "" || c.Redirect == "" || c.HTTP == nil || c.Now == nil || c.Random == nil {
		return nil, sallyport.E(op, sallyport.Invalid, "client id, redirect address, HTTP client, clock and randomness are needed", "")
	}
	if c.Key != nil && !c.Secret.IsZero() {
		return nil, sallyport.E(op, sallyport.Invalid, "both a client secret and a client key are set", "choose one")
	}
	return &Client{config: c}, nil
}

// Begin implements [federation.Upstream].
func (c *Client) Begin(ctx context.Context, a federation.Attempt) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	k, err := c.provider(ctx)
	if err != nil {
		return "", err
	}
	o := c.oauth(k)
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	switch {
	case a.Fresh:
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	case a.MaxAge > 0:
		options = append(options, oauth2.SetAuthURLParam("max_age", fmt.Sprint(int64(a.MaxAge/time.Second))))
	}
	if len(c.config.ACR) > 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(c.config.ACR, " ")))
	}
	to := o.AuthCodeURL(a.State, options...)
	if k.meta.PAR == "" {
		return to, nil
	}
	return c.push(ctx, k, to)
}

// Read implements [federation.Upstream].
func (c *Client) Read(ctx context.Context, a federation.Attempt, answer url.Values) (federation.Assertion, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	k, err := c.provider(ctx)
	if err != nil {
		return federation.Assertion{}, err
	}
	code, err := c.code(k, answer)
	if err != nil {
		return federation.Assertion{}, err
	}
	token, err := c.exchange(ctx, k, code, a.Verifier)
	if err != nil {
		return federation.Assertion{}, err
	}
	if _, err := k.keys.current(ctx); err != nil {
		return federation.Assertion{}, c.down(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := c.verifier(k, idTokens()).Verify(ctx, raw)
	if err != nil {
		return federation.Assertion{}, refuse("the token does not verify", err)
	}
	var claims idClaims
	if err := id.Claims(&claims); err != nil {
		return federation.Assertion{}, refuse("the claims of the token cannot be read", err)
	}
	if err := c.check(a, id, claims, token.AccessToken); err != nil {
		return federation.Assertion{}, err
	}
	return c.assertion(ctx, k, id, claims, token)
}

// code reads the answer of the authorization endpoint. Whose answer it is comes first: a provider must not end, or feed, what
// was begun with another (RFC 9207, RFC 9700 section 4.4).
func (c *Client) code(k *known, answer url.Values) (string, error) {
	for name := range answer {
		if len(answer[name]) > 1 {
			return "", refuse("the parameter "+name+" is there twice", nil)
		}
	}
	if iss := answer.Get("iss"); answer.Has("iss") && iss != c.config.Issuer || !answer.Has("iss") && k.meta.SendsIssuer {
		return "", refuse("the answer is not this provider's (iss)", nil)
	}
	if e := answer.Get("error"); e != "" {
		declined := sallyport.E("sign in", sallyport.Unknown, c.config.Title+" did not sign you in", "try again, or ask who runs it")
		declined.Err = fmt.Errorf("%.80q: %.200q", e, answer.Get("error_description"))
		return "", declined.Because(federation.ReasonRefused)
	}
	if answer.Get("code") == "" {
		return "", refuse("there is no code", nil)
	}
	return answer.Get("code"), nil
}

func (c *Client) exchange(ctx context.Context, k *known, code, verifier string) (*oauth2.Token, error) {
	options := []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}
	prove, err := c.prove()
	if err != nil {
		return nil, err
	}
	for name, value := range prove {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	token, err := c.oauth(k).Exchange(oidc.ClientContext(ctx, c.config.HTTP), code, options...)
	if err == nil {
		return token, nil
	}
	if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok && said.Response != nil && said.Response.StatusCode < 500 {
		return nil, refuse("the token endpoint refused the code", fmt.Errorf("%d %.80q", said.Response.StatusCode, said.ErrorCode))
	}
	return nil, c.down(err)
}

// idClaims are the claims of an ID token that the library does not check.
type idClaims struct {
	Party    string       `json:"azp"`
	ACR      string       `json:"acr"`
	AMR      []string     `json:"amr"`
	AuthTime *json.Number `json:"auth_time"`
	Session  string       `json:"sid"`
}

// check is what OpenID Connect Core section 3.1.3.7 asks of the client beyond signature, issuer, audience and expiry.
func (c *Client) check(a federation.Attempt, id *oidc.IDToken, claims idClaims, access string) error {
	now := c.config.Now()
	switch {
	case a.Nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1:
		return refuse("the nonce is another", nil)
	case claims.Party != "" && claims.Party != c.config.Client, claims.Party == "" && len(id.Audience) > 1:
		return refuse("the token is another party's (azp)", nil)
	case id.IssuedAt.IsZero() || id.IssuedAt.After(now.Add(leeway)):
		return refuse("the token is from the future, or from no time (iat)", nil)
	case id.AccessTokenHash != "" && id.VerifyAccessToken(access) != nil:
		return refuse("the access token is another (at_hash)", nil)
	case (a.Fresh || a.MaxAge > 0) && claims.AuthTime == nil:
		return refuse("a time of proof was asked for and is not there (auth_time)", nil)
	}
	return nil
}

func (c *Client) assertion(ctx context.Context, k *known, id *oidc.IDToken, claims idClaims, token *oauth2.Token) (federation.Assertion, error) {
	var raw json.RawMessage
	if err := id.Claims(&raw); err != nil {
		return federation.Assertion{}, refuse("the claims of the token cannot be read", err)
	}
	all, err := federation.Flatten(raw)
	if err != nil {
		return federation.Assertion{}, refuse("the claims of the token cannot be read", err)
	}
	if c.config.UserInfo {
		more, err := c.userInfo(ctx, k, id.Subject, token)
		if err != nil {
			return federation.Assertion{}, err
		}
		for name, values := range more {
			if _, signed := all[name]; !signed {
				all[name] = values
			}
		}
	}
	a := federation.Assertion{Issuer: id.Issuer, Subject: id.Subject, Session: claims.Session, ACR: claims.ACR, AMR: claims.AMR, Expires: id.Expiry, Claims: all}
	if claims.AuthTime != nil {
		seconds, err := claims.AuthTime.Int64()
		if err != nil || seconds < 0 || seconds > 1<<40 {
			return federation.Assertion{}, refuse("auth_time is no time", err)
		}
		a.AuthTime = time.Unix(seconds, 0).UTC()
	}
	return a, nil
}

// userInfo asks for claims by the access token. An answer about somebody else is refused (Core section 5.3.2).
func (c *Client) userInfo(ctx context.Context, k *known, subject string, token *oauth2.Token) (federation.Claims, error) {
	info, err := k.provider.UserInfo(oidc.ClientContext(ctx, c.config.HTTP), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, c.down(err)
	}
	if info.Subject != subject {
		return nil, refuse("the userinfo endpoint answers about somebody else", nil)
	}
	var raw json.RawMessage
	if err := info.Claims(&raw); err != nil {
		return nil, refuse("the userinfo endpoint's answer cannot be read", err)
	}
	more, err := federation.Flatten(raw)
	if err != nil {
		return nil, refuse("the userinfo endpoint's answer cannot be read", err)
	}
	return more, nil
}

func (c *Client) verifier(k *known, want jose.Profile) *oidc.IDTokenVerifier {
	var algorithms []string
	for _, a := range want.Algorithms {
		algorithms = append(algorithms, string(a))
	}
	return oidc.NewVerifier(c.config.Issuer, keySet{k.keys, want}, &oidc.Config{ClientID: c.config.Client, SupportedSigningAlgs: algorithms, Now: c.config.Now})
}

// idTokens are what ID tokens look like: an access token, a logout token or a proof is none.
func idTokens() jose.Profile {
	return jose.Profile{Op: "ID token", Types: []string{"", "jwt"}, Algorithms: jose.ForeignAlgorithms()}
}

// Logout reads a back-channel logout token. That it counts once is the caller's to see to.
func (c *Client) Logout(ctx context.Context, token string) (federation.Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	k, err := c.provider(ctx)
	if err != nil {
		return federation.Ended{}, err
	}
	if _, err := k.keys.current(ctx); err != nil {
		return federation.Ended{}, c.down(err)
	}
	tokens := jose.Profile{Op: "logout token", Types: []string{"", "jwt", "logout+jwt"}, Algorithms: jose.ForeignAlgorithms()}
	t, err := c.verifier(k, tokens).VerifyLogout(ctx, token)
	if err != nil {
		return federation.Ended{}, refuse("the logout token does not verify", err)
	}
	now := c.config.Now()
	if t.IssuedAt.IsZero() || t.IssuedAt.After(now.Add(leeway)) || t.IssuedAt.Add(10*time.Minute).Before(now) || len(t.TokenID) > 255 || len(t.Audience) != 1 {
		return federation.Ended{}, refuse("the logout token is too old, from the future, or for others too", nil)
	}
	return federation.Ended{Subject: t.Subject, Session: t.SessionID, ID: t.TokenID, Until: t.Expiry}, nil
}

// Test reports what the provider presents, one line each.
func (c *Client) Test(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	k, err := c.provider(ctx)
	if err != nil {
		return nil, err
	}
	set, err := k.keys.current(ctx)
	if err != nil {
		return nil, c.down(err)
	}
	lines := []string{"issuer " + c.config.Issuer, fmt.Sprintf("%d signing keys", len(set.Keys())), "authorization " + k.provider.Endpoint().AuthURL}
	if k.meta.PAR != "" {
		lines = append(lines, "pushed requests "+k.meta.PAR)
	}
	for what, has := range map[string]bool{"names itself in answers (RFC 9207)": k.meta.SendsIssuer, "back-channel logout": k.meta.Logout, "back-channel logout names sessions": k.meta.LogoutSession} {
		if has {
			lines = append(lines, what)
		}
	}
	slices.Sort(lines[2:])
	return lines, nil
}

func (c *Client) down(err error) error {
	e := sallyport.Wrap("sign in", sallyport.Unavailable, c.config.Title+" cannot be reached at this moment", err)
	e.Hint = "try again later, or sign in another way"
	return e.Because(federation.ReasonDown)
}

func refuse(why string, cause error) error {
	err := errors.New(why)
	if cause != nil {
		err = fmt.Errorf("%s: %w", why, cause)
	}
	return sallyport.Wrap("sign in", sallyport.Unknown, "the identity provider's answer proves nothing", err).Because(federation.ReasonAnswer)
}
