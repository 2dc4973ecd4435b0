package signin

import (
	"context"
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/session"
)

// An Attempt is a sign-in whose first proof was good.
type Attempt struct {
	Member   directory.Member
	Client   Client
	Ceremony string              // "password", "passkey", "federated" or "step-up"
	Methods  []string            // RFC 8176 names of the proofs so far
	Has      sallyport.Assurance // what the proofs so far are worth
	Session  string              // id of the session that is stepped up, "" otherwise
	Breached bool                // the password was right, and is known from a breach
}

// An Assessment is what is thought of an Attempt. The zero value finds nothing unusual.
type Assessment struct {
	Score   int                 // risk, 0 to 100
	Reasons []string            // names without spaces, the heaviest first
	Needs   sallyport.Assurance // the session must reach it; it can raise what is needed, never lower it
	Renew   bool                // another password comes before the session
	Hold    bool                // nobody is signed in by this attempt, whatever the proofs
	Device  string              // kept with the session, like Network and Country
	Network string
	Country string
	// Detail is what was seen, for the record of the sign-in: names without the meaning that the record gives to others.
	Detail map[string]string
}

// The reasons of refusals that follow from an assessment, for the record.
const (
	ReasonHeld       = "risk.held"
	ReasonTooWeak    = "risk.assurance"
	ReasonUnassessed = "risk.unavailable"
)

// Rating is the part of an assessment that a session keeps.
func (a Assessment) Rating() session.Rating {
	return session.Rating{Risk: a.Score, RiskReasons: slices.Clone(a.Reasons), Device: a.Device, Network: a.Network, Country: a.Country}
}

// assess asks what is thought of an attempt. Without an answer nobody is signed in: a risk that cannot be seen is not
// a risk that is not there.
func (s *Service) assess(ctx context.Context, a Attempt) (Assessment, error) {
	if s.Assess == nil {
		return Assessment{Device: a.Client.Device, Renew: a.Breached}, nil
	}
	found, err := s.Assess(ctx, a)
	if err != nil {
		return Assessment{}, sallyport.Wrap("sign in", sallyport.Unavailable, "the risk cannot be assessed at this moment; try again later", err).Because(ReasonUnassessed)
	}
	found.Renew = found.Renew || a.Breached
	if found.Device == "" {
		found.Device = a.Client.Device
	}
	if found.Hold {
		return found, sallyport.E("sign in", sallyport.Unknown, "this sign-in is held because it looks unusual", "try from a device and network that you use often, or ask an administrator").Because(ReasonHeld)
	}
	return found, nil
}

// strong refuses a proof that is weaker than what its assessment asks for.
func (a Assessment) strong(level sallyport.Assurance) error {
	if level >= a.Needs {
		return nil
	}
	return sallyport.E("sign in", sallyport.Unknown, "this sign-in looks unusual and needs a stronger proof ("+a.Needs.String()+")",
		"use a passkey, or sign in from a device and network that you use often").Because(ReasonTooWeak)
}

// begin signs a member in by one proof that was given elsewhere or is enough alone: a is who and how, p what it proves.
// The assessment comes first, then the record, then the session.
func (s *Service) begin(ctx context.Context, a Attempt, p session.Proof, back string) (Step, error) {
	a.Methods, a.Has = p.Methods, p.Assurance
	found, err := s.assess(ctx, a)
	if err != nil {
		return Step{}, s.failed(ctx, a.Client, a.Member.ID, err)
	}
	return s.start(ctx, a.Client, a.Member, p, Flow{Return: back, Found: found})
}
