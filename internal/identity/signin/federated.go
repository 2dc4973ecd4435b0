package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

// NeedsCodeHere is the stage after an identity provider's proof that is too weak alone: a code of ours is next.
const NeedsCodeHere Stage = "federated"

// Federated takes an answer of an identity provider that arrives with the browser's cookie.
func (s *Service) Federated(ctx context.Context, c Client, provider string, cookie secret.Text, answer url.Values) (Step, error) {
	p, back, err := s.Federation.Answer(ctx, provider, cookie, answer)
	if err != nil {
		return Step{}, s.refused(ctx, c, provider, err)
	}
	return s.arrived(ctx, c, p, back)
}

// Receive takes an answer that the provider has the browser post, without a cookie; Collect finishes.
func (s *Service) Receive(ctx context.Context, c Client, provider string, answer url.Values) error {
	if err := s.Federation.Receive(ctx, provider, answer); err != nil {
		return s.refused(ctx, c, provider, err)
	}
	return nil
}

// Collect signs in the browser that had asked for a received answer.
func (s *Service) Collect(ctx context.Context, c Client, provider string, cookie secret.Text) (Step, error) {
	p, back, err := s.Federation.Finish(ctx, provider, cookie)
	if err != nil {
		return Step{}, s.refused(ctx, c, provider, err)
	}
	return s.arrived(ctx, c, p, back)
}

// A Bind is what somebody types who has an account of an LDAP server.
type Bind struct {
	Provider string
	Name     string
	Password secret.Text
	Return   string
}

// Bind takes name and password of an LDAP server's account. Guesses are throttled by name like any password.
func (s *Service) Bind(ctx context.Context, c Client, b Bind) (Step, error) {
	p, err := s.Federation.Provider(b.Provider)
	if err != nil {
		return Step{}, err
	}
	if p.Check == nil {
		return Step{}, sallyport.E("sign in", sallyport.Invalid, p.Title+" takes no passwords here", "use its own page")
	}
	key := "password:" + p.Name + ":" + spelling(b.Name)
	if err := s.Credentials.Throttle.Try(ctx, key); err != nil {
		return Step{}, s.refused(ctx, c, b.Provider, err)
	}
	found, err := p.Check(ctx, b.Name, b.Password)
	if err != nil {
		return Step{}, s.refused(ctx, c, b.Provider, err)
	}
	person, err := s.Federation.Proved(p, found)
	if err != nil {
		return Step{}, s.refused(ctx, c, b.Provider, err)
	}
	if err := s.Credentials.Throttle.Reset(ctx, key); err != nil {
		return Step{}, err
	}
	return s.arrived(ctx, c, person, b.Return)
}

// spelling stands for every way to type a name that a directory may take for the same: it overlooks case, width, accents,
// spaces and what shows nothing (RFC 4518), and so does the count of guesses.
func spelling(name string) string {
	plain := strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(cases.Fold().String(name)))
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:8])
}

// FederatedCode takes the code of ours that a provider's weaker proof needs on top. With a wrong code comes the Step for the
// next attempt, while there is one.
func (s *Service) FederatedCode(ctx context.Context, c Client, provider string, cookie secret.Text, code string) (Step, error) {
	f, err := s.Federation.Kept(ctx, provider, cookie)
	if err != nil {
		return Step{}, err
	}
	step, err := s.federatedCode(ctx, c, f, code)
	if sallyport.KindOf(err) != sallyport.Unavailable || !step.Flow.IsZero() {
		return step, err
	}
	if f.Attempts++; f.Attempts >= mostCodes {
		return Step{}, err
	}
	again, kept := s.keep(ctx, f) // what is down does not end the sign-in
	if kept != nil {
		return Step{}, errors.Join(err, kept)
	}
	return again, err
}

func (s *Service) federatedCode(ctx context.Context, c Client, f federation.Flow, code string) (Step, error) {
	if err := s.Credentials.VerifyTOTP(ctx, f.Member, code); err != nil {
		cause := s.failed(ctx, c, f.Member, err)
		if k := sallyport.KindOf(cause); k != sallyport.Unknown && k != sallyport.Busy {
			return Step{}, cause
		}
		if f.Attempts++; f.Attempts >= mostCodes {
			return Step{}, cause
		}
		step, err := s.keep(ctx, f)
		if err != nil {
			return Step{}, err
		}
		return step, cause
	}
	m, err := s.active(ctx, f.Member)
	if err != nil {
		return Step{}, s.failed(ctx, c, f.Member, err)
	}
	p := upstreamProof(m, *f.Proved)
	p.Methods, p.Assurance = append(p.Methods, "otp", "mfa"), max(p.Assurance, sallyport.MultiFactor)
	return s.enter(ctx, c, m, p, f.Return)
}

// LogoutToken ends the sessions that a provider's back-channel logout token names, and returns how many. It is recorded
// first, and the token counts as used last: after a failure the same one is taken again.
func (s *Service) LogoutToken(ctx context.Context, c Client, provider, token string) (int, error) {
	ctx = context.WithoutCancel(ctx)
	p, e, err := s.Federation.Ended(ctx, provider, token)
	if err != nil {
		return 0, err
	}
	over := session.Upstream{IdP: p.Issuer, Session: e.Session, Subject: e.Subject}
	found, err := s.Sessions.FromUpstream(ctx, over)
	if err != nil {
		return 0, err
	}
	for _, one := range found {
		if err := s.note(ctx, c, sallyport.EventSessionRevoked, one, map[string]string{"why": "signed out at the identity provider", "idp": p.Name}); err != nil {
			return 0, err
		}
	}
	if _, err := s.Sessions.RevokeUpstream(ctx, over, "signed out at "+p.Name); err != nil {
		return 0, err
	}
	return len(found), s.Federation.Over(ctx, p, e)
}

// arrived goes on from a provider's proof: it finds or makes the member, moves it between groups, and begins the session or
// asks for a code.
func (s *Service) arrived(ctx context.Context, c Client, p federation.Person, back string) (Step, error) {
	m, err := s.settle(ctx, c, p)
	if err != nil {
		return Step{}, s.refused(ctx, c, p.Provider, err)
	}
	if p.Assurance >= s.Require {
		return s.enter(ctx, c, m, upstreamProof(m, p), back)
	}
	factors, err := s.Credentials.Store.Factors(ctx, m.ID)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Step{}, err
	}
	if err != nil || factors.TOTP.Sealed == nil || s.Require > sallyport.MultiFactor {
		weak := sallyport.E("sign in", sallyport.Unknown, "what your identity provider proved is not enough here ("+p.Assurance.String()+", needed: "+s.Require.String()+")",
			"use a second factor there, or ask an administrator for an enrolment link and set up a code here").Because(federation.ReasonWeak)
		return Step{}, s.failed(ctx, c, m.ID, weak)
	}
	return s.keep(ctx, federation.Flow{Provider: p.Provider, Member: m.ID, Proved: &p, Return: back})
}

func (s *Service) keep(ctx context.Context, f federation.Flow) (Step, error) {
	handle, err := s.Federation.Keep(ctx, f)
	return Step{Next: NeedsCodeHere, Flow: handle, Return: f.Return}, err
}

// enter begins the session of a federated sign-in.
func (s *Service) enter(ctx context.Context, c Client, m directory.Member, proof session.Proof, back string) (Step, error) {
	return s.begin(ctx, Attempt{Member: m, Client: c, Ceremony: "federated"}, proof, back)
}

func upstreamProof(m directory.Member, p federation.Person) session.Proof {
	return session.Proof{Principal: m.ID, Person: m.Person, Assurance: p.Assurance, Methods: slices.Clone(p.Methods), AuthTime: p.AuthTime, Until: p.End,
		Upstream: session.Upstream{IdP: p.Issuer, Session: p.Session, Subject: p.Subject}}
}

// settle returns the active member of an upstream person, linked or joined if the rules say so, in the groups that they say.
func (s *Service) settle(ctx context.Context, c Client, p federation.Person) (directory.Member, error) {
	m, err := s.Directory.ByIdentity(ctx, p.Issuer, p.Subject)
	if sallyport.KindOf(err) == sallyport.NotFound {
		m, err = s.adopt(ctx, c, p)
	}
	if err != nil {
		return directory.Member{}, err
	}
	if m.State != directory.Active || m.ID.Kind() != sallyport.User {
		return directory.Member{}, sallyport.E("sign in", sallyport.Unknown, "this account cannot sign in now", "ask an administrator").Because("member.inactive")
	}
	return m, s.move(ctx, c, m, p)
}

// adopt takes an upstream person whom nobody here has for a member: one with the same verified address where the provider
// speaks for its domain, otherwise a new one where the rules let people join.
func (s *Service) adopt(ctx context.Context, c Client, p federation.Person) (directory.Member, error) {
	provider, err := s.Federation.Provider(p.Provider)
	if err != nil {
		return directory.Member{}, err
	}
	if p.Trusted {
		m, found, err := s.byAddress(ctx, p)
		if err != nil {
			return directory.Member{}, err
		}
		if found {
			if err := s.settled(ctx, c, p, sallyport.Event{Type: sallyport.EventIdentityLinked, Who: m.ID, Detail: map[string]string{"by": "verified e-mail"}}); err != nil {
				return directory.Member{}, err
			}
			return m, s.Directory.Link(ctx, m.ID, directory.Identity{Issuer: p.Issuer, Subject: p.Subject})
		}
	}
	if j := provider.Rules.Join; j != nil {
		return s.join(ctx, c, *j, p)
	}
	return directory.Member{}, sallyport.E("sign in", sallyport.Unknown, "nobody here goes with this account of "+provider.Title,
		"ask an administrator to link it").Because(federation.ReasonUnknown)
}

// byAddress finds the one active person of a verified address who has no identity of this provider: an address that a
// provider gave to somebody else is another person.
func (s *Service) byAddress(ctx context.Context, p federation.Person) (directory.Member, bool, error) {
	all, err := s.Directory.List(ctx)
	if err != nil {
		return directory.Member{}, false, err
	}
	var found []directory.Member
	for _, m := range all {
		if m.ID.Kind() == sallyport.User && m.State == directory.Active && m.Person == m.ID && strings.EqualFold(m.Email, p.Email) {
			found = append(found, m)
		}
	}
	if len(found) != 1 || slices.ContainsFunc(found[0].Identities, func(i directory.Identity) bool { return i.Issuer == p.Issuer }) {
		return directory.Member{}, false, nil
	}
	return found[0], true, nil
}

// join makes a member. A name that somebody has, or had, gets the provider's behind it, once.
func (s *Service) join(ctx context.Context, c Client, j federation.Join, p federation.Person) (directory.Member, error) {
	if p.Name == "" {
		return directory.Member{}, sallyport.E("sign in", sallyport.Unknown, "your identity provider gives no user name that can be used here", "ask an administrator for an account").Because(federation.ReasonUnknown)
	}
	for _, name := range []string{p.Name, p.Name + "." + p.Provider} {
		id, err := sallyport.NewPrincipalID(sallyport.User, name)
		if err != nil {
			return directory.Member{}, err
		}
		if _, err := s.Directory.Get(ctx, id); sallyport.KindOf(err) != sallyport.NotFound {
			if err != nil {
				return directory.Member{}, err
			}
			continue
		}
		m := directory.Member{ID: id, Person: id, Org: j.Organisation, Display: p.Display, Email: p.Email, State: directory.Active,
			Identities: []directory.Identity{{Issuer: p.Issuer, Subject: p.Subject}}}
		groups, err := s.unwithheld(ctx, c, p, m, change{join: j.Groups})
		if err != nil {
			return directory.Member{}, err
		}
		if err := s.settled(ctx, c, p, sallyport.Event{Type: sallyport.EventJoined, Who: id, Detail: map[string]string{"organisation": j.Organisation, "groups": strings.Join(groups, " ")}}); err != nil {
			return directory.Member{}, err
		}
		if _, err := s.Directory.Create(ctx, m); err != nil {
			return directory.Member{}, err
		}
		if _, _, err := s.Directory.Regroup(ctx, id, nil, groups); err != nil {
			return directory.Member{}, err
		}
		return s.Directory.Get(ctx, id)
	}
	return directory.Member{}, sallyport.E("sign in", sallyport.Unknown, "the user name "+p.Name+" belongs to somebody else here", "ask an administrator for an account").Because(federation.ReasonUnknown)
}

// move brings a member into the groups that the rules give it now, and out of those that they do not.
func (s *Service) move(ctx context.Context, c Client, m directory.Member, p federation.Person) error {
	provider, err := s.Federation.Provider(p.Provider)
	if err != nil {
		return err
	}
	among := provider.Rules.Managed()
	d, err := s.Directory.Dump(ctx)
	if err != nil {
		return err
	}
	joined, left := d.Regrouping(m, among, p.Groups)
	refused := len(joined)
	if joined, err = s.unwithheld(ctx, c, p, m, change{joined, left}); err != nil {
		return err
	}
	want := p.Groups
	if refused -= len(joined); refused > 0 {
		want = slices.DeleteFunc(slices.Clone(want), func(g string) bool { return !slices.Contains(joined, g) && !slices.Contains(m.Groups, g) })
	}
	if len(joined)+len(left) == 0 {
		return nil
	}
	if err := s.settled(ctx, c, p, sallyport.Event{Type: sallyport.EventMoved, Who: m.ID, Detail: map[string]string{"joined": strings.Join(joined, " "), "left": strings.Join(left, " ")}}); err != nil {
		return err
	}
	_, _, err = s.Directory.Regroup(ctx, m.ID, among, want)
	return err
}

// A change is into which groups a sign-in brings somebody, and out of which.
type change struct{ join, leave []string }

// unwithheld are the groups that a member may join. A provider's word is not refused as a whole: somebody whom it gives what
// is kept apart is signed in without that membership, and it is recorded, for a finding, at every sign-in until it is settled.
func (s *Service) unwithheld(ctx context.Context, c Client, p federation.Person, m directory.Member, x change) ([]string, error) {
	may, refused, err := s.Directory.Joining(ctx, m, x.join, x.leave)
	if err != nil || refused == nil {
		return may, err
	}
	withheld := slices.DeleteFunc(slices.Clone(x.join), func(g string) bool { return slices.Contains(may, g) })
	return may, s.settled(ctx, c, p, sallyport.Event{Type: sallyport.EventRefused, Who: m.ID, Reasons: []string{ReasonApart},
		Detail: map[string]string{"withheld": strings.Join(withheld, " "), "why": sallyport.PublicText(refused)}})
}

// ReasonApart is why a membership that an identity provider gives is not taken.
const ReasonApart = "roles.apart"

// settled records what an upstream's word is about to change.
func (s *Service) settled(ctx context.Context, c Client, p federation.Person, e sallyport.Event) error {
	all := map[string]string{"idp": p.Provider, "issuer": p.Issuer, "subject": p.Subject}
	maps.Copy(all, e.Detail)
	e.At, e.Asked, e.Detail = s.Now().UnixMicro(), &sallyport.Asked{Door: "login", IP: c.Source}, all
	if err := s.Note(ctx, e); err != nil {
		return unrecorded(err)
	}
	return nil
}

// refused records a federated sign-in that proved nobody, and returns its cause.
func (s *Service) refused(ctx context.Context, c Client, provider string, cause error) error {
	if k := sallyport.KindOf(cause); k != sallyport.Unknown && k != sallyport.Busy && k != sallyport.TooLarge {
		return cause
	}
	e := sallyport.Event{
		Type: sallyport.EventSignInFailed, At: s.Now().UnixMicro(), Reasons: []string{sallyport.ReasonOf(cause)},
		Asked:  &sallyport.Asked{Door: "login", IP: c.Source},
		Detail: map[string]string{"agent": sallyport.OneLine(c.Agent), "idp": sallyport.OneLine(provider)},
	}
	if err := s.Note(ctx, e); err != nil {
		return unrecorded(err)
	}
	return cause
}
