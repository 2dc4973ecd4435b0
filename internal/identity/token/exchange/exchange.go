// Package exchange owns tokens for tokens (RFC 8693) and for services (RFC 6749, section 4.4): what a proof of a workload, an
// access token of ours, or a client's own proof may be exchanged for, and whom a person lets act for them.
//
// What comes out is never more than what went in. The package leaves the proofs of other issuers to identity/workload, and
// how a token is made to identity/token.
package exchange

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/plumbing/secret"
)

// Lifetimes.
const (
	TradedLifetime = time.Hour      // of the family of a workload, which comes again with a new proof
	MaxDelegation  = 24 * time.Hour // of a person's permission that an agent acts for them
)

// A Service exchanges tokens. All fields but Workload are needed; it is set before the first use. Methods are safe for
// concurrent use; errors are those of [token.Issuer].
type Service struct {
	Issuer   *token.Issuer
	Verifier *access.Verifier // reads the access tokens that are exchanged for others
	// Standing returns the person who answers for a service or an agent that may act now. Whoever is unknown, suspended
	// or at the end of their time is an error of kind NotFound.
	Standing func(ctx context.Context, id sallyport.PrincipalID) (person sallyport.PrincipalID, err error)
	// Workload verifies a proof that somebody else issued, by the trust rules for a client. Without it none is exchanged.
	Workload func(ctx context.Context, client string, proof secret.Text) (Workload, error)
}

func (s *Service) now() time.Time { return s.Issuer.Now().UTC().Truncate(time.Microsecond) }

func fault(reason, message, hint string) error {
	return sallyport.E("token request", sallyport.Invalid, message, hint).Because(reason)
}

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
func (s *Service) Exchange(ctx context.Context, by token.By, t Trade, want token.Want) (token.Issued, error) {
	if !by.Client.Allows(clients.Exchange) {
		return token.Issued{}, fault("unauthorized_client", "the client may not exchange tokens", "")
	}
	if t.Subject.IsZero() {
		return token.Issued{}, fault("invalid_request", "subject_token is missing", "")
	}
	if t.Actor.IsZero() != (t.ActorType == "") {
		return token.Issued{}, fault("invalid_request", "actor_token and actor_token_type go together", "")
	}
	switch t.SubjectType {
	case TypeAccess:
		return s.ours(ctx, by, t, want)
	case TypeID, TypeJWT:
		return s.theirs(ctx, by, t, want)
	}
	return token.Issued{}, fault("invalid_request", "this subject_token_type cannot be exchanged here", "send an access_token, id_token or jwt")
}

// theirs exchanges the proof of a workload for a token of the service.
func (s *Service) theirs(ctx context.Context, by token.By, t Trade, want token.Want) (token.Issued, error) {
	if !t.Actor.IsZero() {
		return token.Issued{}, fault("invalid_request", "nobody can act for a workload", "")
	}
	w, err := s.workload(ctx, by, t.Subject)
	if err != nil {
		return token.Issued{}, err
	}
	if w.Principal.Kind() != sallyport.Service {
		return token.Issued{}, fault("invalid_request.agent", "an agent acts only for somebody: its proof is an actor_token", "send the person's access token as subject_token")
	}
	by.Credential = shownProof(t.Subject)
	scope, err := narrowTo(meet(w.Scope, by.Client.Scopes), t.Repo)
	if err != nil {
		return token.Issued{}, err
	}
	audiences := by.Client.Audiences
	if len(w.Audiences) > 0 {
		audiences = slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(w.Audiences, a) })
	}
	return s.service(ctx, by, w.Principal, token.Approval{Client: by.Client, Scope: scope, Audiences: audiences,
		Life: min(TradedLifetime, w.Expires.Sub(s.now()))}, want)
}

// shownProof names a workload's proof in records by what is signed of it, which the signature is no part of: some can be written in
// two ways.
func shownProof(proof secret.Text) string {
	text := proof.Reveal()
	sum := sha256.Sum256([]byte(text[:max(0, strings.LastIndexByte(text, '.'))]))
	return "proof:" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// workload verifies a proof of another issuer. A proof that is not good is invalid_grant, whatever is wrong with it.
func (s *Service) workload(ctx context.Context, by token.By, proof secret.Text) (Workload, error) {
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
func (s *Service) service(ctx context.Context, by token.By, id sallyport.PrincipalID, a token.Approval, want token.Want) (token.Issued, error) {
	person, err := s.standing(ctx, id)
	if err != nil {
		return token.Issued{}, err
	}
	a.Key, a.Purpose = by.Key, want.Purpose
	f, err := s.Issuer.Start(ctx, sallyport.Principal{ID: id, Person: person, Assurance: sallyport.SingleFactor, Methods: []string{"swk"}, AuthTime: s.now()}, a)
	if err != nil {
		return token.Issued{}, err
	}
	return s.Issuer.Once(ctx, f, want, by)
}

func (s *Service) standing(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	person, err := s.Standing(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return "", fault("invalid_grant.standing", string(id)+" is not active", "its owner or an administrator knows why")
	}
	return person, err
}

// Credentials issues a token to a client that is a service (RFC 6749, section 4.4).
func (s *Service) Credentials(ctx context.Context, by token.By, want token.Want) (token.Issued, error) {
	if by.Client.Public() || !by.Client.Allows(clients.Credentials) || by.Client.Principal.Kind() != sallyport.Service {
		return token.Issued{}, fault("unauthorized_client", "the client cannot act for itself", "")
	}
	scope, audiences, err := by.Client.Resolve(want.Scope, nil, false)
	if err != nil {
		return token.Issued{}, err
	}
	return s.service(ctx, by, by.Client.Principal, token.Approval{Client: by.Client, Scope: scope, Audiences: audiences, Life: TradedLifetime}, want)
}

// ours exchanges one of our own access tokens.
func (s *Service) ours(ctx context.Context, by token.By, t Trade, want token.Want) (token.Issued, error) {
	p, err := s.shown(ctx, by, t.Subject)
	if err != nil {
		return token.Issued{}, err
	}
	f, err := s.Issuer.Family(ctx, p.Family)
	if err != nil {
		return token.Issued{}, err
	}
	if p.Key != "" && p.Key != by.Key {
		return token.Issued{}, fault("invalid_grant.key", "the token is bound to a key that this request does not prove", "send a DPoP proof or a client certificate of that key")
	}
	agent, err := s.agent(ctx, by, t)
	if err != nil {
		return token.Issued{}, err
	}
	own := p.Client == by.Client.ID || !by.Client.Public() && slices.Contains(by.Client.Serves, p.Audience)
	if agent == "" && !own {
		return token.Issued{}, fault("invalid_grant.client", "the token was issued to another client", "")
	}
	f = cut(f, p)
	by.Credential = "" // it proved who exchanges the token, not whom the token is of
	f.Client, f.Scope = by.Client.ID, meet(p.Scope, by.Client.Scopes)
	if agent != "" {
		if f, err = onBehalf(f, agent); err != nil {
			return token.Issued{}, err
		}
	}
	if f, err = s.permitted(ctx, f); err != nil {
		return token.Issued{}, err
	}
	if f.Scope, err = narrowTo(f.Scope, t.Repo); err != nil {
		return token.Issued{}, err
	}
	return s.Issuer.Once(ctx, f, want, by)
}

// shown verifies an access token of ours at whatever door it is for.
func (s *Service) shown(ctx context.Context, by token.By, raw secret.Text) (sallyport.Principal, error) {
	bad := fault("invalid_grant.subject", "the subject token is not valid here", "get a new one")
	for _, audience := range slices.Concat(token.Audiences(s.Issuer.URL), by.Client.Audiences, by.Client.Serves) {
		p, err := s.Verifier.Verify(ctx, raw, audience, s.now())
		if err == nil || sallyport.KindOf(err) != sallyport.Unknown {
			return p, err
		}
	}
	return sallyport.Principal{}, bad
}

// cut returns the family cut down to what one of its tokens has.
func cut(f token.Family, p sallyport.Principal) token.Family {
	f.Scope, f.Audiences, f.Assurance, f.Methods, f.AuthTime = p.Scope, []string{p.Audience}, min(f.Assurance, p.Assurance), p.Methods, p.AuthTime
	f.Actors, f.Purpose, f.OpenID, f.Key = p.Actors, p.Purpose, false, p.Key
	if p.Expires.Before(f.Expires) {
		f.Expires = p.Expires
	}
	return f
}

// agent returns who wants to act for the subject: the agent that the client is, or the one that the actor token proves.
func (s *Service) agent(ctx context.Context, by token.By, t Trade) (sallyport.PrincipalID, error) {
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
func onBehalf(f token.Family, agent sallyport.PrincipalID) (token.Family, error) {
	if len(f.Actors) >= access.MaxActors || slices.Contains(f.Actors, agent) {
		return f, fault("invalid_request.hops", "too many act for one another, or the agent acts already", "")
	}
	f.Actors = append([]sallyport.PrincipalID{agent}, f.Actors...)
	return f, nil
}

// permitted cuts a family down to what the person lets everybody who acts do. The token will name each permission, and
// die with any of them.
func (s *Service) permitted(ctx context.Context, f token.Family) (token.Family, error) {
	if len(f.Actors) == 0 {
		return f, nil
	}
	all, err := s.Issuer.Families.Families(ctx, token.Selector{Principal: f.Principal})
	if err != nil {
		return f, err
	}
	var named []string
	for _, agent := range f.Actors {
		i := slices.IndexFunc(all, func(c token.Family) bool { return c.Delegates(agent) && c.Live(s.now()) })
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
