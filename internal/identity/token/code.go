package token

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// An Ask is an authorization request that was checked against its client.
type Ask struct {
	Client      Client
	Scope       sallyport.Scope
	Audiences   []string
	RedirectURI string // of the code flow
	Challenge   string // PKCE S256 (RFC 7636, section 4.2)
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
func (s *Issuer) Authorize(ctx context.Context, who sallyport.Principal, ask Ask) (secret.Text, error) {
	if !ask.Client.Allows(GrantCode) {
		return secret.Text{}, fault("unauthorized_client", "the client may not use authorization codes", "")
	}
	if !ask.Client.AllowsRedirect(ask.RedirectURI) || !ValidChallenge(ask.Challenge) {
		return secret.Text{}, fault("invalid_request", "redirect address or code challenge", "")
	}
	scope, audiences, err := ask.Client.Resolve(ask.Scope, ask.Audiences)
	if err != nil {
		return secret.Text{}, err
	}
	raw, hash, err := newSecret(s.Rand)
	if err != nil {
		return secret.Text{}, err
	}
	f, err := s.start(ctx, who, ask.Client, scope, audiences)
	if err != nil {
		return secret.Text{}, err
	}
	return raw, s.Codes.AddCode(ctx, Code{
		Hash: hash, Family: f.ID, Client: ask.Client.ID, RedirectURI: ask.RedirectURI, Challenge: ask.Challenge,
		Expires: s.now().Add(CodeLifetime),
	})
}

// An Exchange is what a client shows for tokens.
type Exchange struct {
	Code        secret.Text
	RedirectURI string
	Verifier    secret.Text // PKCE
}

// Exchange redeems an authorization code, once. Whoever comes second ends the family, with all its tokens; a wrong
// verifier or redirect address burns the code, because its rightful client has neither wrong.
func (s *Issuer) Exchange(ctx context.Context, by By, x Exchange, want Want) (Issued, error) {
	if !by.Client.Allows(GrantCode) {
		return Issued{}, fault("unauthorized_client", "the client may not use authorization codes", "")
	}
	if !validVerifier(x.Verifier.Reveal()) {
		return Issued{}, fault("invalid_grant.verifier", "the code verifier is missing or has a wrong form", "send code_verifier with 43 to 128 characters")
	}
	now := s.now()
	code, err := s.Codes.TakeCode(ctx, HashOf(x.Code.Reveal()), by.Client.ID, now)
	switch sallyport.KindOf(err) {
	case sallyport.NotFound:
		return Issued{}, fault("invalid_grant.unknown", "the code is not valid", "start again")
	case sallyport.Conflict:
		f, err := s.family(ctx, code.Family)
		if err != nil {
			return Issued{}, err
		}
		return Issued{}, s.stolen(ctx, f, by, "an authorization code was used twice")
	}
	if err != nil {
		return Issued{}, err
	}
	sum := sha256.Sum256([]byte(x.Verifier.Reveal()))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case !now.Before(code.Expires):
		return Issued{}, fault("invalid_grant.expired", "the code has expired", "start again")
	case code.RedirectURI != x.RedirectURI:
		return Issued{}, fault("invalid_grant.redirect", "the redirect address is not that of the request", "start again")
	case subtle.ConstantTimeCompare([]byte(challenge), []byte(code.Challenge)) != 1:
		return Issued{}, fault("invalid_grant.verifier", "the code verifier does not belong to the code", "start again")
	}
	f, err := s.family(ctx, code.Family)
	if err != nil {
		return Issued{}, err
	}
	return s.first(ctx, f, want, by)
}

func (s *Issuer) family(ctx context.Context, id string) (Family, error) {
	all, err := s.Families.Families(ctx, Selector{Family: id})
	if err != nil {
		return Family{}, err
	}
	if len(all) != 1 {
		return Family{}, fault("invalid_grant.dead", "the approval has ended", "sign in again")
	}
	return all[0], nil
}
