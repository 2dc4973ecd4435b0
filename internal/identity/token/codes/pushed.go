package codes

import (
	"context"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token"
)

// URNPrefix begins every request_uri of ours (RFC 9126, section 2.2).
const URNPrefix = "urn:ietf:params:oauth:request_uri:"

// Push keeps an authorization request that a client has sent on its own connection, and returns its request_uri.
func (s *Service) Push(ctx context.Context, by token.By, request string) (string, error) {
	raw, hash, err := token.NewSecret(s.Issuer.Rand)
	if err != nil {
		return "", err
	}
	now := s.now()
	err = s.Flows.AddPushed(ctx, Pushed{Hash: hash, Client: by.Client.ID, Request: request, Key: by.Key, Created: now, Expires: now.Add(PushLifetime)})
	return URNPrefix + raw.Reveal(), err
}

func badPushed() error {
	return fault("invalid_request_uri", "the request_uri is unknown, used, expired or another client's", "push the request again")
}

// Pushed returns a pushed request. The first use takes it: without going on, a second one finds nothing. Whoever goes on
// is the browser that used it first, as the door has made sure.
func (s *Service) Pushed(ctx context.Context, client, uri string, goingOn bool) (Pushed, error) {
	raw, ok := strings.CutPrefix(uri, URNPrefix)
	if !ok {
		return Pushed{}, badPushed()
	}
	find := func() (Pushed, error) { return s.Flows.UsePushed(ctx, token.HashOf(raw), client, s.now()) }
	if goingOn {
		find = func() (Pushed, error) {
			return s.Flows.FindPushed(ctx, token.HashOf(raw), client, s.now().Add(-FlowLifetime))
		}
	}
	p, err := find()
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = badPushed()
	}
	return p, err
}

// Decided removes a pushed request that the person has decided on: it leads to one code.
func (s *Service) Decided(ctx context.Context, p Pushed) error {
	err := s.Flows.DropPushed(ctx, p.Hash)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = badPushed()
	}
	return err
}

// Remembered reports whether a principal has allowed for good all that is asked. Who answers on a loopback address is
// never remembered: any program on the computer could be listening there (RFC 8252, section 8.6).
func (s *Service) Remembered(ctx context.Context, who sallyport.PrincipalID, ask Ask) (bool, error) {
	if !rememberable(ask) {
		return false, nil
	}
	c, _, err := s.consent(ctx, who, ask.Client.ID)
	if err != nil {
		return false, err
	}
	for _, a := range ask.Audiences {
		if !slices.Contains(c.Audiences, a) {
			return false, nil
		}
	}
	return c.Client != "" && ask.Scope.Within(c.Scope) && (c.OpenID || !ask.OpenID), nil
}

// Remember keeps what a principal has allowed, beside what they had allowed the client before.
func (s *Service) Remember(ctx context.Context, who sallyport.PrincipalID, ask Ask) error {
	if !rememberable(ask) {
		return nil
	}
	c, old, err := s.consent(ctx, who, ask.Client.ID)
	if err != nil {
		return err
	}
	c = Consent{Principal: who, Client: ask.Client.ID, Scope: merge(old.Scope, ask.Scope), Audiences: merge(old.Audiences, ask.Audiences),
		OpenID: c.OpenID || ask.OpenID, Given: s.now()}
	return s.Flows.KeepConsent(ctx, c)
}

// consent returns what a principal has allowed a client, the zero value where that is nothing, and the same once more
// with no shared memory.
func (s *Service) consent(ctx context.Context, who sallyport.PrincipalID, client string) (Consent, Consent, error) {
	all, err := s.Flows.Consents(ctx, who)
	for _, c := range all {
		if c.Client == client {
			return c, c, err
		}
	}
	return Consent{}, Consent{}, err
}

func rememberable(ask Ask) bool {
	return slices.Contains(ask.Client.RedirectURIs, ask.RedirectURI) && strings.HasPrefix(ask.RedirectURI, "https://")
}

func merge[S ~[]string](old, more S) S {
	all := slices.Clone(old)
	for _, x := range more {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// Forget takes back what a principal has allowed a client, and ends what the client has by it.
func (s *Service) Forget(ctx context.Context, who sallyport.PrincipalID, client string) error {
	err := s.Flows.DropConsent(ctx, who, client)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return err
	}
	all, err := s.Issuer.Families.Families(ctx, token.Selector{Principal: who})
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Client == client && f.Live(s.now()) {
			if _, err := s.Issuer.Revoke(ctx, token.Selector{Family: f.ID}, "the person took the permission back"); err != nil {
				return err
			}
		}
	}
	return nil
}
