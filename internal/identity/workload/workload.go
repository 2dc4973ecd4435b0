// Package workload owns trust rules: which proof of another issuer (GitHub, GitLab, Kubernetes, SPIFFE or any OpenID
// provider) proves which service or agent of ours, so that a job gets a token by exchange (RFC 8693) and keeps no secret.
//
// A rule names its issuer, the values of the claims that count, what a token got by it may have at most, and which
// clients may use it. Nothing matches by pattern unless the rule says so, and there is no rule to begin with. Keys of an
// issuer are uploaded, or fetched with a cool-down from an address that this server may call, and kept while the issuer
// is down.
//
// It leaves the token to token, whether the service is active to directory, and what it may do to policy.
package workload

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

const (
	maxRules = 256
	// maxProofLife is how long a proof may live between its iat and exp, however short what is left of it.
	maxProofLife = 24 * time.Hour
	leeway       = 30 * time.Second
)

// A Store keeps trust rules. Writes are durable when they return. Methods are safe for concurrent use.
type Store interface {
	// Rules returns all rules, sorted by name.
	Rules(ctx context.Context) ([]Rule, error)
	// InsertRule adds a rule. Conflict when its name is taken; Busy when there are most rules already.
	InsertRule(ctx context.Context, r Rule, most int) error
	// RemoveRule removes one, NotFound when it is not there.
	RemoveRule(ctx context.Context, name string) error
}

// A Service keeps the rules and verifies proofs by them. Its methods are safe for concurrent use; its fields are set
// before its first use.
type Service struct {
	Store Store
	// Issuer is our own issuer: the audience of every proof, where its rule names no other.
	Issuer string
	// Audiences are the other addresses of ours that a rule may name as audience, such as that of the Hub's door.
	Audiences []string
	// Client fetches the issuers' keys; it must refuse addresses that this server may not call.
	Client *http.Client
	Now    func() time.Time

	keys cache
}

// Proven is who a proof proves, and what a token that is given for it may have at most.
type Proven struct {
	Rule      string                // name of the rule
	Principal sallyport.PrincipalID // a service or an agent
	Scope     sallyport.Scope
	Expires   time.Time         // never after the proof itself
	Claims    map[string]string // for the record: iss, sub, jti and what the rule matched
}

// Add checks and adds a rule. By and Name say whose it is and how it is called; Created is set here.
func (s *Service) Add(ctx context.Context, r Rule) (Rule, error) {
	r.Created = s.Now().UTC().Truncate(time.Microsecond)
	if err := r.check(append([]string{s.Issuer}, s.Audiences...)); err != nil {
		return Rule{}, err
	}
	return r, s.Store.InsertRule(ctx, r, maxRules)
}

// Remove removes a rule. Tokens that were given by it live until they end; revoke them to end them now.
func (s *Service) Remove(ctx context.Context, name string) error {
	return s.Store.RemoveRule(ctx, name)
}

// List returns all rules, sorted by name.
func (s *Service) List(ctx context.Context) ([]Rule, error) { return s.Store.Rules(ctx) }

// Verify returns who a proof proves to a client. Of several rules that match, the one that asks for most claims
// counts; two that ask for as many and lead to different ends are refused. Errors are of kind Unknown with a reason
// that begins with "workload.", or Unavailable when the issuer's keys cannot be had.
func (s *Service) Verify(ctx context.Context, proof secret.Text, client string) (Proven, error) {
	trials, err := s.try(ctx, proof, client)
	if err != nil {
		return Proven{}, err
	}
	var best *trial
	for i, t := range trials {
		switch {
		case t.err != nil:
		case best == nil || len(t.rule.Match) > len(best.rule.Match):
			best = &trials[i]
		case len(t.rule.Match) == len(best.rule.Match) && !t.rule.same(best.rule):
			return Proven{}, refusal("ambiguous")
		}
	}
	if best != nil {
		return s.proven(best.rule, best.claims), nil
	}
	return Proven{}, worst(trials)
}

// same tells whether two rules lead to the same end.
func (r Rule) same(o Rule) bool {
	return r.Principal == o.Principal && slices.Equal(r.Scope, o.Scope) && r.Life == o.Life
}

func (s *Service) proven(r Rule, c jose.Claims) Proven {
	p := Proven{Rule: r.Name, Principal: r.Principal, Scope: r.Scope, Expires: s.Now().Add(r.Life), Claims: map[string]string{
		"iss": r.Issuer, "sub": clip(c.Subject), "jti": clip(c.ID),
	}}
	if c.Expires.Before(p.Expires) {
		p.Expires = c.Expires
	}
	for name := range r.Match {
		value, _ := c.Text(r.Kind.path(name)...)
		p.Claims[name] = clip(value)
	}
	return p
}

// clip shortens what goes into a record.
func clip(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}

// A Trial says whether one rule of the proof's issuer accepts a proof, and why not.
type Trial struct {
	Rule   string
	Proven *Proven // nil where it does not
	Why    string  // the first thing that does not fit; "" where all does
}

// Try tells for each rule of the proof's issuer whether it accepts a proof, for whoever writes rules. It gives nothing out.
func (s *Service) Try(ctx context.Context, proof secret.Text, client string) ([]Trial, error) {
	trials, err := s.try(ctx, proof, client)
	if err != nil {
		return nil, err
	}
	out := make([]Trial, len(trials))
	for i, t := range trials {
		out[i].Rule = t.rule.Name
		if t.err != nil {
			out[i].Why = cmp.Or(t.why, sallyport.ReasonOf(t.err))
			continue
		}
		p := s.proven(t.rule, t.claims)
		out[i].Proven = &p
	}
	return out, nil
}

// A trial is one rule held against a proof.
type trial struct {
	rule   Rule
	claims jose.Claims
	err    error
	why    string
}

// try holds every rule of the proof's issuer against it.
func (s *Service) try(ctx context.Context, proof secret.Text, client string) ([]trial, error) {
	text := proof.Reveal()
	said, err := jose.Peek(text)
	if err != nil {
		return nil, refusal("form")
	}
	rules, err := s.Store.Rules(ctx)
	if err != nil {
		return nil, err
	}
	var trials []trial
	for _, r := range rules {
		if r.speaksOf(said) {
			trials = append(trials, s.hold(ctx, r, text, said.Header.KeyID, client))
		}
	}
	if len(trials) == 0 {
		return nil, refusal("issuer")
	}
	return trials, nil
}

// hold holds one rule against a proof, the cheap before the expensive.
func (s *Service) hold(ctx context.Context, r Rule, text, kid, client string) trial {
	t := trial{rule: r}
	if !slices.Contains(r.Clients, client) {
		t.err, t.why = refusal("client"), fmt.Sprintf("the client %.80q may not use this rule", client)
		return t
	}
	keys, err := s.keysOf(ctx, r, kid)
	if err != nil {
		t.err, t.why = err, "the keys of the issuer cannot be had"
		return t
	}
	token, err := jose.Verify(text, keys, r.Kind.profile())
	if err != nil {
		t.err = refusal(reasonOf(err))
		return t
	}
	t.claims = token.Claims
	issuer := r.Issuer
	if r.Kind == SPIFFE { // iss is optional there: the trust domain is in sub, and the keys are its own
		t.claims.Issuer = issuer
	}
	err = t.claims.Check(jose.Rules{
		Op: "workload proof", Issuer: issuer, Audience: cmp.Or(r.Audience, s.Issuer), Sole: true, Now: s.Now(), MaxLife: maxProofLife, Leeway: leeway,
	})
	if err != nil {
		t.err = refusal(reasonOf(err))
		return t
	}
	if why := r.mismatch(t.claims); why != "" {
		t.err, t.why = refusal("match"), why
	}
	return t
}

// reasonOf is the reason of a refusal by jose, without its prefix.
func reasonOf(err error) string {
	const prefix = len("jose.")
	if r := sallyport.ReasonOf(err); len(r) > prefix {
		return r[prefix:]
	}
	return "proof"
}

// worst returns the error that says most about why no rule accepts a proof: that keys cannot be had above all, since
// the same proof may be good later.
func worst(trials []trial) error {
	for _, t := range trials {
		if sallyport.KindOf(t.err) != sallyport.Unknown {
			return t.err
		}
	}
	return trials[len(trials)-1].err
}

// refusal is why a proof proves nothing. Whoever sent it learns only that it does not; the reason is for the record.
func refusal(reason string) error {
	return sallyport.E("workload proof", sallyport.Unknown, "no trust rule accepts this proof", "an administrator sees why with 'sallyport trust test'").Because("workload." + reason)
}
