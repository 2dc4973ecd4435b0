package token

import (
	"context"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/plumbing/secret"
)

// The types of tokens in an exchange (RFC 8693, section 3).
const (
	TypeAccess = "urn:ietf:params:oauth:token-type:access_token"
	TypeID     = "urn:ietf:params:oauth:token-type:id_token"
	TypeJWT    = "urn:ietf:params:oauth:token-type:jwt"
)

// A Workload is who a proof of another issuer proves, by our trust rules.
type Workload struct {
	Principal sallyport.PrincipalID // a service, or an agent that wants to act for somebody
	Scope     sallyport.Scope       // the most its tokens may have
	Audiences []string              // the doors that its tokens may be for; none = all of the client's
	Expires   time.Time             // of the proof: no token that comes of it lives longer
	Rule      string                // the name of the trust rule, for the record
}

// A Trade is a request to exchange tokens (RFC 8693, section 2.1).
type Trade struct {
	Subject     secret.Text
	SubjectType string
	Actor       secret.Text // who wants to act; empty where the client itself is that, or nobody
	ActorType   string
	// Repo narrows the scope to one resource, "" for none: the resource of stock Hugging Face clients is a name such as
	// acme/fraud, where RFC 8707 has an address.
	Repo string
}

// Exchange gives a token for a token: for the proof of a workload one of the service that it proves; for one of our own
// access tokens a narrower one of the same family; and, where an agent proves itself beside it and the person has let
// it, one with which the agent acts for the person. What comes out is never more than what went in: not in scope,
// audience, life, assurance, binding, purpose or the number of those who act.
func (s *Issuer) Exchange(ctx context.Context, by By, t Trade, want Want) (Issued, error) {
	if !by.Client.Allows(clients.Exchange) {
		return Issued{}, fault("unauthorized_client", "the client may not exchange tokens", "")
	}
	if t.Subject.IsZero() {
		return Issued{}, fault("invalid_request", "subject_token is missing", "")
	}
	if t.Actor.IsZero() != (t.ActorType == "") {
		return Issued{}, fault("invalid_request", "actor_token and actor_token_type go together", "")
	}
	switch t.SubjectType {
	case TypeAccess:
		return s.ours(ctx, by, t, want)
	case TypeID, TypeJWT:
		return s.theirs(ctx, by, t, want)
	}
	return Issued{}, fault("invalid_request", "this subject_token_type cannot be exchanged here", "send an access_token, id_token or jwt")
}

// theirs exchanges the proof of a workload for a token of the service.
func (s *Issuer) theirs(ctx context.Context, by By, t Trade, want Want) (Issued, error) {
	if !t.Actor.IsZero() {
		return Issued{}, fault("invalid_request", "nobody can act for a workload", "")
	}
	w, err := s.workload(ctx, by, t.Subject)
	if err != nil {
		return Issued{}, err
	}
	if w.Principal.Kind() != sallyport.Service {
		return Issued{}, fault("invalid_request.agent", "an agent acts only for somebody: its proof is an actor_token", "send the person's access token as subject_token")
	}
	scope, err := narrowTo(meet(w.Scope, by.Client.Scopes), t.Repo)
	if err != nil {
		return Issued{}, err
	}
	audiences := by.Client.Audiences
	if len(w.Audiences) > 0 {
		audiences = slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(w.Audiences, a) })
	}
	return s.service(ctx, by, w.Principal, Approval{Client: by.Client, Scope: scope, Audiences: audiences,
		Life: min(TradedLifetime, w.Expires.Sub(s.now()))}, want)
}

// workload verifies a proof of another issuer. A proof that is not good is invalid_grant, whatever is wrong with it.
func (s *Issuer) workload(ctx context.Context, by By, proof secret.Text) (Workload, error) {
	if s.Workload == nil {
		return Workload{}, fault("invalid_request", "no issuer of workload proofs is trusted here", "an administrator adds a trust rule")
	}
	w, err := s.Workload(ctx, by.Client.ID, proof)
	switch sallyport.KindOf(err) {
	case sallyport.Unavailable, sallyport.Busy:
		return w, err
	}
	if err != nil {
		return w, sallyport.Wrap("token request", sallyport.Invalid, "no trust rule accepts this proof", err).Because("invalid_grant." + sallyport.ReasonOf(err))
	}
	if !s.now().Before(w.Expires) {
		return w, fault("invalid_grant.expired", "the proof has expired", "")
	}
	return w, nil
}

// service issues a token to a service that has proved itself, without a person and without a refresh token.
func (s *Issuer) service(ctx context.Context, by By, id sallyport.PrincipalID, a Approval, want Want) (Issued, error) {
	person, err := s.standing(ctx, id)
	if err != nil {
		return Issued{}, err
	}
	a.Key, a.Purpose = by.Key, want.Purpose
	f, err := s.Start(ctx, sallyport.Principal{ID: id, Person: person, Assurance: sallyport.SingleFactor, Methods: []string{"swk"}, AuthTime: s.now()}, a)
	if err != nil {
		return Issued{}, err
	}
	return s.once(ctx, f, want, by)
}

func (s *Issuer) standing(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	if s.Standing == nil {
		return "", fault("unauthorized_client", "services get no tokens here", "")
	}
	person, err := s.Standing(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return "", fault("invalid_grant.standing", string(id)+" is not active", "its owner or an administrator knows why")
	}
	return person, err
}

// once issues an access token and nothing to renew it.
func (s *Issuer) once(ctx context.Context, f Family, want Want, by By) (Issued, error) {
	issued, err := s.mint(f, want, by)
	if err != nil {
		return Issued{}, err
	}
	if err := s.record(ctx, issuedEvent(issued, by)); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// Credentials issues a token to a client that is a service (RFC 6749, section 4.4).
func (s *Issuer) Credentials(ctx context.Context, by By, want Want) (Issued, error) {
	if by.Client.Public() || !by.Client.Allows(clients.Credentials) || by.Client.Principal.Kind() != sallyport.Service {
		return Issued{}, fault("unauthorized_client", "the client cannot act for itself", "")
	}
	scope, audiences, err := by.Client.Resolve(want.Scope, nil, false)
	if err != nil {
		return Issued{}, err
	}
	return s.service(ctx, by, by.Client.Principal, Approval{Client: by.Client, Scope: scope, Audiences: audiences, Life: TradedLifetime}, want)
}

// ours exchanges one of our own access tokens.
func (s *Issuer) ours(ctx context.Context, by By, t Trade, want Want) (Issued, error) {
	p, err := s.shown(ctx, by, t.Subject)
	if err != nil {
		return Issued{}, err
	}
	f, err := s.Family(ctx, p.Family)
	if err != nil {
		return Issued{}, err
	}
	if p.Key != "" && p.Key != by.Key {
		return Issued{}, fault("invalid_grant.key", "the token is bound to a key that this request does not prove", "send a DPoP proof or a client certificate of that key")
	}
	agent, err := s.agent(ctx, by, t)
	if err != nil {
		return Issued{}, err
	}
	own := p.Client == by.Client.ID || !by.Client.Public() && slices.Contains(by.Client.Serves, p.Audience)
	if agent == "" && !own {
		return Issued{}, fault("invalid_grant.client", "the token was issued to another client", "")
	}
	f = f.as(p)
	f.Client, f.Scope = by.Client.ID, meet(p.Scope, by.Client.Scopes)
	if agent != "" {
		if f, err = f.onBehalf(agent); err != nil {
			return Issued{}, err
		}
	}
	if f, err = s.permitted(ctx, f); err != nil {
		return Issued{}, err
	}
	if f.Scope, err = narrowTo(f.Scope, t.Repo); err != nil {
		return Issued{}, err
	}
	return s.once(ctx, f, want, by)
}

// shown verifies an access token of ours at whatever door it is for.
func (s *Issuer) shown(ctx context.Context, by By, raw secret.Text) (sallyport.Principal, error) {
	bad := fault("invalid_grant.subject", "the subject token is not valid here", "get a new one")
	if s.Verifier == nil {
		return sallyport.Principal{}, bad
	}
	for _, audience := range slices.Concat(Audiences(s.URL), by.Client.Audiences, by.Client.Serves) {
		p, err := s.Verifier.Verify(ctx, raw, audience, s.now())
		if err == nil || sallyport.KindOf(err) != sallyport.Unknown {
			return p, err
		}
	}
	return sallyport.Principal{}, bad
}

// as returns the family cut down to what one of its tokens has.
func (f Family) as(p sallyport.Principal) Family {
	f.Scope, f.Audiences, f.Assurance, f.Methods, f.AuthTime = p.Scope, []string{p.Audience}, min(f.Assurance, p.Assurance), p.Methods, p.AuthTime
	f.Actors, f.Purpose, f.OpenID, f.Key = p.Actors, p.Purpose, false, p.Key
	if p.Expires.Before(f.Expires) {
		f.Expires = p.Expires
	}
	return f.clone()
}

// agent returns who wants to act for the subject: the agent that the client is, or the one that the actor token proves.
func (s *Issuer) agent(ctx context.Context, by By, t Trade) (sallyport.PrincipalID, error) {
	id := by.Client.Principal
	if !t.Actor.IsZero() {
		if t.ActorType != TypeID && t.ActorType != TypeJWT {
			return "", fault("invalid_request", "this actor_token_type proves no agent", "send an id_token or jwt")
		}
		w, err := s.workload(ctx, by, t.Actor)
		if err != nil {
			return "", err
		}
		if id != "" && id != w.Principal {
			return "", fault("invalid_request.actor", "the client and the actor token are two agents", "send one proof")
		}
		id = w.Principal
	}
	if id == "" || id.Kind() == sallyport.Service && t.Actor.IsZero() {
		return "", nil
	}
	if id.Kind() != sallyport.Agent {
		return "", fault("invalid_request.actor", "only an agent acts for somebody", "")
	}
	_, err := s.standing(ctx, id)
	return id, err
}

// onBehalf puts an agent in front of those who act.
func (f Family) onBehalf(agent sallyport.PrincipalID) (Family, error) {
	if len(f.Actors) >= access.MaxActors || slices.Contains(f.Actors, agent) {
		return f, fault("invalid_request.hops", "too many act for one another, or the agent acts already", "")
	}
	f.Actors = append([]sallyport.PrincipalID{agent}, f.Actors...)
	return f, nil
}

// permitted cuts a family down to what the person lets everybody who acts do. The token will name each permission, and
// die with any of them.
func (s *Issuer) permitted(ctx context.Context, f Family) (Family, error) {
	if len(f.Actors) == 0 {
		return f, nil
	}
	all, err := s.Families.Families(ctx, Selector{Principal: f.Principal})
	if err != nil {
		return f, err
	}
	var named []string
	for _, agent := range f.Actors {
		i := slices.IndexFunc(all, func(c Family) bool { return c.delegates(agent) && c.Live(s.now()) })
		if i < 0 {
			return f, fault("access_denied.consent", string(f.Principal)+" has not let "+string(agent)+" act",
				"the person runs 'sallyport delegate "+string(agent)+" --scope … --for 1h'")
		}
		f.Scope, named = meet(f.Scope, all[i].Scope), append(named, all[i].ID)
		if all[i].Expires.Before(f.Expires) {
			f.Expires = all[i].Expires
		}
	}
	f.Consent = strings.Join(named, " ")
	return f, nil
}

// meet returns the items of two scopes that the other one covers: what both permit.
func meet(a, b sallyport.Scope) sallyport.Scope {
	both := sallyport.Scope{}
	for _, pair := range [][2]sallyport.Scope{{a, b}, {b, a}} {
		for _, item := range pair[0] {
			if (sallyport.Scope{item}).Within(pair[1]) && !slices.Contains(both, item) {
				both = append(both, item)
			}
		}
	}
	return both
}

// narrowTo limits a scope to one resource, by its name.
func narrowTo(scope sallyport.Scope, repo string) (sallyport.Scope, error) {
	if repo == "" {
		return scope, nil
	}
	if _, err := sallyport.ParseRef(repo); err != nil || strings.ContainsAny(repo, " @") {
		return nil, fault("invalid_target", "the resource is not a name such as acme/fraud", "")
	}
	narrow := sallyport.Scope{}
	for _, item := range scope {
		what, on, bound := strings.Cut(item, "@")
		if !bound || on == repo {
			narrow = append(narrow, what+"@"+repo)
		}
	}
	if len(narrow) == 0 {
		return nil, fault("invalid_target", "the token covers nothing on this resource", "ask for another")
	}
	return narrow, nil
}
