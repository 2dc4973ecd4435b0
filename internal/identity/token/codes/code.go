package codes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/plumbing/secret"
)

// An Ask is an authorization request that was checked against its client.
type Ask struct {
	Client      clients.Client
	Scope       sallyport.Scope
	Audiences   []string
	RedirectURI string // of the code flow
	Challenge   string // PKCE S256 (RFC 7636, section 4.2)
	Key         string // that must redeem the code, "" for any (RFC 9449, section 10)
	Nonce       string // for the ID token
	Purpose     string
	OpenID      bool
	Detailed    bool // asked by authorization_details
}

// ValidChallenge reports whether s can be an S256 code challenge: 43 characters of base64url, 32 bytes.
func ValidChallenge(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// validVerifier holds a code_verifier against RFC 7636, section 4.1.
func validVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// Authorize starts a family for what a person has approved and returns its authorization code.
func (s *Service) Authorize(ctx context.Context, who sallyport.Principal, ask Ask) (secret.Text, error) {
	if !ask.Client.Allows(clients.Code) {
		return secret.Text{}, fault("unauthorized_client", "the client may not use authorization codes", "")
	}
	if !ask.Client.AllowsRedirect(ask.RedirectURI) || !ValidChallenge(ask.Challenge) {
		return secret.Text{}, fault("invalid_request", "redirect address or code challenge", "")
	}
	scope, audiences, err := ask.Client.Resolve(ask.Scope, ask.Audiences, ask.OpenID)
	if err != nil {
		return secret.Text{}, err
	}
	raw, hash, err := token.NewSecret(s.Issuer.Rand)
	if err != nil {
		return secret.Text{}, err
	}
	f, err := s.Issuer.Start(ctx, who, token.Approval{Client: ask.Client, Scope: scope, Audiences: audiences, Key: ask.Key,
		Purpose: ask.Purpose, OpenID: ask.OpenID, Detailed: ask.Detailed})
	if err != nil {
		return secret.Text{}, err
	}
	return raw, s.Store.AddCode(ctx, Code{
		Hash: hash, Family: f.ID, Client: ask.Client.ID, RedirectURI: ask.RedirectURI, Challenge: ask.Challenge,
		Expires: s.now().Add(CodeLifetime), Key: ask.Key, Nonce: ask.Nonce,
	})
}

// An Exchange is what a client shows for tokens.
type Exchange struct {
	Code        secret.Text
	RedirectURI string
	Verifier    secret.Text // PKCE
}

// Exchange redeems an authorization code, once. Whoever comes second ends the family, with all its tokens; a wrong
// verifier or redirect address burns the code, because its rightful client has neither wrong. What cannot be written down
// burns nothing: the client may come again.
func (s *Service) Exchange(ctx context.Context, by token.By, x Exchange, want token.Want) (token.Issued, error) {
	if !by.Client.Allows(clients.Code) {
		return token.Issued{}, fault("unauthorized_client", "the client may not use authorization codes", "")
	}
	if !validVerifier(x.Verifier.Reveal()) {
		return token.Issued{}, fault("invalid_grant.verifier", "the code verifier is missing or has a wrong form", "send code_verifier with 43 to 128 characters")
	}
	code, err := s.Store.FindCode(ctx, token.HashOf(x.Code.Reveal()), by.Client.ID)
	if err != nil {
		return token.Issued{}, s.spent(ctx, by, code, err)
	}
	burn := func(ctx context.Context) error {
		_, err := s.Store.TakeCode(ctx, code.Hash, by.Client.ID, s.now())
		return s.spent(ctx, by, code, err)
	}
	if wrong := x.check(code, by, s.now()); wrong != nil {
		if err := burn(ctx); err != nil {
			return token.Issued{}, err
		}
		return token.Issued{}, wrong
	}
	f, err := s.Issuer.Family(ctx, code.Family)
	if err != nil {
		return token.Issued{}, err
	}
	return s.Issuer.First(ctx, f, want, by, token.Ticket{Nonce: code.Nonce, Use: burn})
}

// check holds what a client shows against the code that it names.
func (x Exchange) check(code Code, by token.By, now time.Time) error {
	sum := sha256.Sum256([]byte(x.Verifier.Reveal()))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case !now.Before(code.Expires):
		return fault("invalid_grant.expired", "the code has expired", "start again")
	case code.Key != "" && code.Key != by.Key:
		return fault("invalid_grant.key", "the code is bound to a key that this request does not prove", "start again")
	case code.RedirectURI != x.RedirectURI:
		return fault("invalid_grant.redirect", "the redirect address is not that of the request", "start again")
	case subtle.ConstantTimeCompare([]byte(challenge), []byte(code.Challenge)) != 1:
		return fault("invalid_grant.verifier", "the code verifier does not belong to the code", "start again")
	}
	return nil
}

// spent turns what the store says of a code into what the client is told. A code that was burned before is theft.
func (s *Service) spent(ctx context.Context, by token.By, code Code, err error) error {
	switch sallyport.KindOf(err) {
	case sallyport.NotFound:
		return fault("invalid_grant.unknown", "the code is not valid", "start again")
	case sallyport.Conflict:
		f, err := s.Issuer.Family(ctx, code.Family)
		if err != nil {
			return err
		}
		return s.Issuer.Stolen(ctx, f, by, "an authorization code was used twice")
	}
	return err
}
