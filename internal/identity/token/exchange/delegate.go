package exchange

import (
	"context"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
)

// Delegate lets an agent act for who, within scope and for a while (RFC 8693, section 4.4). It gives nothing out: the
// agent still needs a token of the person's and a proof of its own, and gets no more than both. The permission ends with
// the session by which it was given.
func (s *Service) Delegate(ctx context.Context, who sallyport.Principal, agent sallyport.PrincipalID, scope sallyport.Scope, life time.Duration) (token.Family, error) {
	const op = "delegate"
	switch {
	case agent.Kind() != sallyport.Agent:
		return token.Family{}, sallyport.E(op, sallyport.Invalid, "only an agent can act for somebody", "name it agent:NAME")
	case who.ID.Kind() != sallyport.User:
		return token.Family{}, sallyport.E(op, sallyport.Invalid, "only a person lets an agent act for them", "sign in as yourself")
	case len(who.Actors) > 0:
		return token.Family{}, sallyport.E(op, sallyport.Invalid, "who acts for somebody cannot let another act for them", "")
	case len(scope) == 0 || !scope.Within(who.Scope):
		return token.Family{}, sallyport.E(op, sallyport.Invalid, "the scope is empty, or wider than your own token's", "name what it may do, such as model.infer@acme/fraud")
	case life <= 0 || life > MaxDelegation:
		return token.Family{}, sallyport.E(op, sallyport.Invalid, "the time is not between 0 and 24 hours", "say --for 1h")
	}
	if _, err := s.standing(ctx, agent); err != nil {
		return token.Family{}, err
	}
	who.Actors, who.Key = []sallyport.PrincipalID{agent}, ""
	f, err := s.Issuer.NewFamily(who, token.Approval{Scope: scope, Audiences: token.Audiences(s.Issuer.URL), Life: life})
	if err != nil {
		return token.Family{}, err
	}
	if err := s.Issuer.Note(ctx, delegatedEvent(f)); err != nil {
		return token.Family{}, err
	}
	return f, s.Issuer.Families.StartFamily(ctx, f)
}

func delegatedEvent(f token.Family) sallyport.Event {
	e := token.FamilyEvent(sallyport.EventChanged, f, token.By{})
	e.On = string(f.Actors[0])
	e.Detail["what"], e.Detail["until"] = "delegation", f.Expires.Format(time.RFC3339)
	return e
}

// Delegations returns the live permissions that a principal has given, the newest first.
func (s *Service) Delegations(ctx context.Context, who sallyport.PrincipalID) ([]token.Family, error) {
	all, err := s.Issuer.Families.Families(ctx, token.Selector{Principal: who})
	return slices.DeleteFunc(all, func(f token.Family) bool { return !f.Delegates("") || !f.Live(s.now()) }), err
}
