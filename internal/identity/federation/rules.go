package federation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport"
)

// Limits on what an upstream may say. More is refused, not cut: a list that is cut may lack the entry that takes a right away.
const (
	maxClaims  = 128
	maxValues  = 512  // of one claim
	maxValue   = 1024 // bytes
	maxRules   = 512
	maxSubject = 255
	leeway     = time.Minute // between two clocks
)

// Claims are what an upstream says about a person: each name with its values.
type Claims map[string][]string

// An Assertion is a verified answer of a provider.
type Assertion struct {
	Issuer   string
	Subject  string
	Session  string    // the provider's id of its session; may be empty
	ID       string    // of the message, where it must be used once only
	ACR      string    // authentication context class
	AMR      []string  // RFC 8176 names
	AuthTime time.Time // when the person proved themselves there; zero where it was not said
	Expires  time.Time // of the message
	End      time.Time // when the provider wants sessions to be over; zero where it was not said
	Claims   Claims
}

// Rules are what is taken from one provider, as data.
type Rules struct {
	Fields Fields
	Groups []GroupRule
	// ACR says which level an authentication context class stands for. One that is not listed stands for aal1.
	ACR map[string]sallyport.Assurance
	// AMR says which level a set of authentication methods stands for.
	AMR []MethodRule
	// MaxAge is how long ago the person may have proved themselves; 0 leaves it to the provider.
	MaxAge time.Duration
	// Domains are the e-mail domains for which the provider speaks with authority: a verified address in one of them may find
	// a member who has no identity of this provider yet. Empty: an address never does.
	Domains []string
	// Only lets in nobody whom none of these conditions holds for; empty lets everybody in who is a member.
	Only []Condition
	// Join makes members of people whom nobody here knows; nil refuses them.
	Join *Join
}

// Fields names the claims that say who somebody is. An empty name says that it is not taken over.
type Fields struct {
	Name     string // user name, for Join
	Display  string
	Email    string
	Verified string // claim that is "true" where the address was verified
}

// A Condition holds where a claim has a value, compared byte by byte.
type Condition struct {
	Claim string
	Is    string
}

// A GroupRule makes whom a condition holds for a member of groups.
type GroupRule struct {
	Condition
	Groups []string // "acme/engineers"
}

// A MethodRule gives a level to whoever used all of some methods.
type MethodRule struct {
	All   []string
	Level sallyport.Assurance
}

// Join says where new members belong.
type Join struct {
	Organisation string
	Groups       []string // beside those of the rules
}

// A Person is what the rules make of an assertion.
type Person struct {
	Provider  string
	Issuer    string
	Subject   string
	Session   string   `json:",omitempty"` // upstream
	Name      string   `json:",omitempty"` // the user name it would have here; "" where none can be made
	Display   string   `json:",omitempty"`
	Email     string   `json:",omitempty"`
	Trusted   bool     `json:",omitempty"` // the address may find a member
	Groups    []string // sorted
	Assurance sallyport.Assurance
	Methods   []string
	AuthTime  time.Time
	End       time.Time
}

// Check refuses rules that cannot be meant.
func (r Rules) Check(op string) error {
	bad := func(message, hint string) error { return sallyport.E(op, sallyport.Invalid, message, hint) }
	if len(r.Groups) > maxRules || len(r.Only) > maxRules || len(r.ACR) > maxRules || len(r.AMR) > maxRules {
		return bad(fmt.Sprintf("more than %d rules of one kind", maxRules), "map groups of groups")
	}
	conditions := slices.Clone(r.Only)
	for _, g := range r.Groups {
		if conditions = append(conditions, g.Condition); len(g.Groups) == 0 {
			return bad(fmt.Sprintf("the rule for %s %.80q gives no group", g.Claim, g.Is), "name groups as ORG/NAME")
		}
	}
	for _, c := range conditions {
		if c.Claim == "" || c.Is == "" || len(c.Claim) > maxValue || len(c.Is) > maxValue {
			return bad("a rule names no claim or no value", "write claim and is; there is no rule for every value")
		}
	}
	for _, g := range r.Managed() {
		if err := checkGroup(op, g); err != nil {
			return err
		}
	}
	if r.Join != nil {
		if err := sallyport.CheckName(op, r.Join.Organisation); err != nil {
			return err
		}
		if r.Fields.Name == "" {
			return bad("people can join, and no claim gives their user names", "set claims.name")
		}
	}
	return r.checkLevels(bad)
}

func (r Rules) checkLevels(bad func(message, hint string) error) error {
	for _, d := range r.Domains {
		if d == "" || strings.ContainsAny(d, "@ *") || strings.ToLower(d) != d || !strings.Contains(d, ".") {
			return bad(fmt.Sprintf("%.80q is not a domain", d), "write acme.example, in lower case")
		}
	}
	if len(r.Domains) > 0 && (r.Fields.Email == "" || r.Fields.Verified == "") {
		return bad("domains are listed, and no claims give address and verification", "set claims.email and claims.verified")
	}
	for acr, level := range r.ACR {
		if acr == "" || level < sallyport.SingleFactor || level > sallyport.Hardware {
			return bad("an acr rule has no class or no level", "use aal1, aal2, phr or aal3")
		}
	}
	for _, m := range r.AMR {
		if len(m.All) == 0 || slices.Contains(m.All, "") || m.Level < sallyport.SingleFactor || m.Level > sallyport.Hardware {
			return bad("an amr rule has no method or no level", "use aal1, aal2, phr or aal3")
		}
	}
	if r.MaxAge < 0 {
		return bad("max_age is negative", "")
	}
	return nil
}

// Managed returns the groups that belong to the rules, sorted: whom no rule puts into one leaves it at the next sign-in.
func (r Rules) Managed() []string {
	all := map[string]bool{}
	for _, g := range r.Groups {
		for _, name := range g.Groups {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Read applies the rules to an assertion at a time. It is pure. Whom Only keeps out, and whose proof is older than MaxAge, is
// of kind Unknown; an assertion over a limit is TooLarge.
func (r Rules) Read(a Assertion, provider string, now time.Time) (Person, error) {
	const op = "sign in"
	if err := a.check(); err != nil {
		return Person{}, err
	}
	if len(r.Only) > 0 && !slices.ContainsFunc(r.Only, a.Claims.holds) {
		return Person{}, sallyport.E(op, sallyport.Unknown, "your identity provider knows you, but this system is not open to you", "ask for the group that it is open to").Because(ReasonOutside)
	}
	if r.MaxAge > 0 && (a.AuthTime.IsZero() || a.AuthTime.Add(r.MaxAge+leeway).Before(now)) {
		return Person{}, stale()
	}
	p := Person{Provider: provider, Issuer: a.Issuer, Subject: a.Subject, Session: a.Session, AuthTime: a.AuthTime, End: a.End, Groups: []string{}}
	if p.AuthTime.IsZero() || p.AuthTime.After(now) {
		p.AuthTime = now
	}
	p.Name, p.Display, p.Email = userName(a.Claims.one(r.Fields.Name)), display(a.Claims.one(r.Fields.Display)), a.Claims.one(r.Fields.Email)
	p.Trusted = r.trusts(p.Email, a.Claims.one(r.Fields.Verified))
	for _, g := range r.Groups {
		if a.Claims.holds(g.Condition) {
			p.Groups = append(p.Groups, g.Groups...)
		}
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	p.Assurance, p.Methods = r.level(a)
	return p, nil
}

// level is the highest level that a rule gives, aal1 where none does. Of the upstream's methods those are taken over that
// a rule needed: the others prove nothing here.
func (r Rules) level(a Assertion) (sallyport.Assurance, []string) {
	level, methods := sallyport.SingleFactor, []string{"fed"}
	if l, ok := r.ACR[a.ACR]; ok {
		level = max(level, l)
	}
	for _, m := range r.AMR {
		if slices.ContainsFunc(m.All, func(one string) bool { return !slices.Contains(a.AMR, one) }) {
			continue
		}
		level = max(level, m.Level)
		for _, one := range m.All {
			if !slices.Contains(methods, one) {
				methods = append(methods, one)
			}
		}
	}
	return level, methods
}

func (r Rules) trusts(address, verified string) bool {
	_, domain, ok := strings.Cut(address, "@")
	return ok && verified == "true" && slices.Contains(r.Domains, strings.ToLower(domain))
}

// holds reports whether a condition holds.
func (c Claims) holds(one Condition) bool { return slices.Contains(c[one.Claim], one.Is) }

// one returns the only value of a claim; of several none is the one.
func (c Claims) one(name string) string {
	if all := c[name]; name != "" && len(all) == 1 {
		return all[0]
	}
	return ""
}

// check holds an assertion to the limits.
func (a Assertion) check() error {
	tooLarge := func(what string) error {
		return sallyport.E("sign in", sallyport.TooLarge, "the identity provider says too much: "+what, "have it send only what the rules name")
	}
	if a.Issuer == "" || a.Subject == "" || !printable(a.Subject, maxSubject) {
		return badAnswer("the subject is missing, too long or does not print")
	}
	if len(a.Claims) > maxClaims {
		return tooLarge(fmt.Sprintf("more than %d claims", maxClaims))
	}
	for name, values := range a.Claims {
		if len(values) > maxValues || len(name) > maxValue {
			return tooLarge(fmt.Sprintf("more than %d values of one claim", maxValues))
		}
		for _, v := range values {
			if len(v) > maxValue {
				return tooLarge(fmt.Sprintf("a value of more than %d bytes", maxValue))
			}
		}
	}
	return nil
}

// recent refuses a proof from before the attempt where a new one was asked for.
func (a Assertion) recent(at Attempt, now time.Time) error {
	if a.AuthTime.After(now.Add(leeway)) {
		return badAnswer("the proof is from the future")
	}
	if at.Fresh && (a.AuthTime.IsZero() || a.AuthTime.Add(leeway).Before(at.Begun)) {
		return stale()
	}
	return nil
}

func stale() error {
	return sallyport.E("sign in", sallyport.Unknown, "you proved yourself to your identity provider too long ago", "sign out there and sign in again").Because(ReasonStale)
}

// userName makes a name of ours from what an upstream calls somebody: an address loses its domain. "" where none comes out.
func userName(s string) string {
	name, _, _ := strings.Cut(strings.ToLower(s), "@")
	if sallyport.CheckName("", name) != nil {
		return ""
	}
	return name
}

func display(s string) string {
	if !printable(s, 128) {
		return ""
	}
	return s
}

func printable(s string, most int) bool {
	return len(s) <= most && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0
}

func checkGroup(op, name string) error {
	org, rest, ok := strings.Cut(name, "/")
	if !ok {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.130q is not the name of a group", name), "write ORG/NAME")
	}
	if err := sallyport.CheckName(op, org); err != nil {
		return err
	}
	return sallyport.CheckName(op, rest)
}
