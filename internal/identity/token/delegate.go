package token

import (
	"context"
	"slices"
	"time"

	"sallyport"
)

// delegates reports whether a family is a person's permission that an agent acts for them. Such a family has no client:
// no code and no refresh token leads to it.
func (f Family) delegates(agent sallyport.PrincipalID) bool {
	return f.Client == "" && len(f.Actors) == 1 && (agent == "" || f.Actors[0] == agent)
}

// Delegate lets an agent act for who, within scope and for a while (RFC 8693, section 4.4). It gives nothing out: the
// agent still needs a token of the person's and a proof of its own, and gets no more than both. The permission ends with
// the session by which it was given.
func (s *Issuer) Delegate(ctx context.Context, who sallyport.Principal, agent sallyport.PrincipalID, scope sallyport.Scope, life time.Duration) (Family, error) {
	const op = "delegate"
	switch {
	case agent.Kind() != sallyport.Agent:
		return Family{}, sallyport.E(op, sallyport.Invalid, "only an agent can act for somebody", "name it agent:NAME")
	case len(who.Actors) > 0:
		return Family{}, sallyport.E(op, sallyport.Invalid, "who acts for somebody cannot let another act for them", "")
	case len(scope) == 0 || !scope.Within(who.Scope):
		return Family{}, sallyport.E(op, sallyport.Invalid, "the scope is empty, or wider than your own token's", "name what it may do, such as model.infer@acme/fraud")
	case life <= 0 || life > MaxDelegation:
		return Family{}, sallyport.E(op, sallyport.Invalid, "the time is not between 0 and 24 hours", "say --for 1h")
	}
	if _, err := s.standing(ctx, agent); err != nil {
		return Family{}, err
	}
	who.Actors, who.Key = []sallyport.PrincipalID{agent}, ""
	f, err := s.prepare(who, Approval{Scope: scope, Audiences: Audiences(s.URL), Life: life})
	if err != nil {
		return Family{}, err
	}
	if err := s.record(ctx, delegatedEvent(f)); err != nil {
		return Family{}, err
	}
	return f, s.Families.StartFamily(ctx, f)
}

func delegatedEvent(f Family) sallyport.Event {
	e := familyEvent(sallyport.EventChanged, f, By{})
	e.On = string(f.Actors[0])
	e.Detail["what"], e.Detail["until"] = "delegation", f.Expires.Format(time.RFC3339)
	return e
}

// Delegations returns the live permissions that a principal has given, the newest first.
func (s *Issuer) Delegations(ctx context.Context, who sallyport.PrincipalID) ([]Family, error) {
	all, err := s.Families.Families(ctx, Selector{Principal: who})
	return slices.DeleteFunc(all, func(f Family) bool { return !f.delegates("") || !f.Live(s.now()) }), err
}

// Audiences returns the doors behind an external URL that tokens can be for: the API, which is the default, then
// the model doors.
func Audiences(external string) []string {
	return []string{external + "/api", external + "/hf", external + "/openai", external + "/vault"}
}
