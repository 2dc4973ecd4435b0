package workload

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/identity/jose"
)

// Limits on a rule.
const (
	MaxLife    = time.Hour // of what is given for a proof
	maxIssuer  = 512       // bytes
	maxMatches = 16
	maxClients = 32
	maxText    = 512 // bytes of a name or value of a match, and of a client's id
)

// A Kind says whose proofs a rule trusts, and so which claims name a workload for good.
type Kind string

// The kinds.
const (
	GitHub     Kind = "github"     // GitHub Actions
	GitLab     Kind = "gitlab"     // GitLab CI
	Kubernetes Kind = "kubernetes" // projected service account tokens
	SPIFFE     Kind = "spiffe"     // JWT-SVIDs
	OIDC       Kind = "oidc"       // any OpenID provider
)

// A Rule trusts proofs of one issuer. It never changes: another rule takes its place.
type Rule struct {
	Name string
	Kind Kind
	// Issuer is iss, byte by byte; of SPIFFE the trust domain, spiffe://DOMAIN, which is looked for in sub.
	Issuer   string
	Audience string // "" = our issuer; or another address of ours. It must be the proof's only one.
	// Match holds claims with the one value that each must have. Those of Kubernetes are namespace, serviceaccount and
	// uid, others are the names of top-level claims. A sub of SPIFFE may end in "/*", for all ids below a path.
	Match map[string]string
	// AnySubject lets the rule be without the claims that name one workload for good.
	AnySubject bool
	// Keys is a JWKS document of the issuer's keys; KeysURL where to fetch it; both empty = by discovery.
	Keys    json.RawMessage
	KeysURL string

	Principal sallyport.PrincipalID // a service or an agent
	Scope     sallyport.Scope       // at most
	Life      time.Duration         // at most, up to MaxLife
	Clients   []string              // OAuth clients that may use the rule; none = nobody

	By      sallyport.PrincipalID
	Created time.Time
}

// names are the claims without which a kind's proof does not name one workload for good, in groups of which one claim
// is needed. Names that can be given to somebody else later (a repository's, a service account's) are not enough.
func (k Kind) names() ([][]string, bool) {
	switch k {
	case GitHub:
		return [][]string{{"repository_id"}, {"repository_owner_id"}, {"environment", "job_workflow_ref", "ref", "sub"}}, true
	case GitLab:
		return [][]string{{"project_id"}, {"namespace_id"}, {"environment", "ci_config_ref_uri", "ref", "sub"}}, true
	case Kubernetes:
		return [][]string{{"namespace"}, {"serviceaccount"}, {"uid"}}, true
	case SPIFFE, OIDC:
		return [][]string{{"sub"}}, true
	}
	return nil, false
}

// path is where a match's claim stands in a proof.
func (k Kind) path(name string) []string {
	if k == Kubernetes {
		switch name {
		case "namespace":
			return []string{"kubernetes.io", "namespace"}
		case "serviceaccount":
			return []string{"kubernetes.io", "serviceaccount", "name"}
		case "uid":
			return []string{"kubernetes.io", "serviceaccount", "uid"}
		}
	}
	return []string{name}
}

// profile is the form of a kind's proofs. An access token, a logout token or a DPoP proof is none, whoever signed it.
func (k Kind) profile() jose.Profile {
	p := jose.Profile{Op: "workload proof", Types: []string{"", "jwt"}, Algorithms: jose.ForeignAlgorithms()}
	if k == SPIFFE {
		p.Types = append(p.Types, "jose")
	}
	return p
}

// speaksOf tells whether a proof says that it is of the rule's issuer.
func (r Rule) speaksOf(said jose.Unverified) bool {
	if r.Kind == SPIFFE {
		return strings.HasPrefix(said.Subject, r.Issuer+"/")
	}
	return said.Issuer == r.Issuer
}

// mismatch says which claim of a verified proof is not what the rule asks for, or "".
func (r Rule) mismatch(c jose.Claims) string {
	if r.Kind == SPIFFE && (!spiffeID(c.Subject) || !strings.HasPrefix(c.Subject, r.Issuer+"/")) {
		return "sub is no id of the trust domain"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Match)) {
		want := r.Match[name]
		got, ok := c.Text(r.Kind.path(name)...)
		below, prefix := strings.CutSuffix(want, "*")
		switch {
		case !ok:
			return fmt.Sprintf("%s is not there", name)
		case r.Kind == SPIFFE && name == "sub" && prefix:
			if !strings.HasPrefix(got, below) {
				return fmt.Sprintf("sub is %.200q, want one below %q", got, below)
			}
		case got != want:
			return fmt.Sprintf("%s is %.200q, want %q", name, got, want)
		}
	}
	return ""
}

// check refuses a rule with a field that is not understood, or that trusts more than one workload without saying so.
func (r *Rule) check(audiences []string) error {
	const op = "add trust rule"
	bad := func(message, hint string) error { return sallyport.E(op, sallyport.Invalid, message, hint) }
	if err := sallyport.CheckName(op, r.Name); err != nil {
		return err
	}
	if _, ok := r.Kind.names(); !ok {
		return bad(fmt.Sprintf("no kind of issuer is called %.40q", string(r.Kind)), "use github, gitlab, kubernetes, spiffe or oidc")
	}
	if r.Audience != "" && !slices.Contains(audiences, r.Audience) {
		return bad("the audience is not an address of this server", "use one of "+strings.Join(audiences, ", "))
	}
	for _, check := range []func(func(string, string) error) error{r.checkIssuer, r.checkMatch, r.checkWildcards, r.checkResult} {
		if err := check(bad); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rule) checkIssuer(bad func(string, string) error) error {
	if r.Kind == SPIFFE {
		domain, ok := strings.CutPrefix(r.Issuer, "spiffe://")
		if !ok || strings.Contains(domain, "/") || !spiffeID(r.Issuer+"/x") {
			return bad("the issuer is not a trust domain", "write spiffe://DOMAIN")
		}
		if len(r.Keys) == 0 && r.KeysURL == "" {
			return bad("a trust domain has no discovery", "upload its bundle, or name its bundle endpoint")
		}
	} else if !address(r.Issuer) {
		return bad("the issuer is not an https address", "write it as the iss of its tokens has it")
	}
	switch {
	case len(r.Keys) > 0 && r.KeysURL != "":
		return bad("both keys and their address are given", "choose one")
	case r.KeysURL != "" && !address(r.KeysURL):
		return bad("the address of the keys is not an https address", "")
	case len(r.Keys) > 0:
		set, err := r.Kind.parseKeys(r.Keys)
		if err != nil {
			return err
		}
		if len(set.Keys()) == 0 {
			return bad("no key of the document can verify a signature", "upload the issuer's JWKS")
		}
	}
	return nil
}

// address tells whether s is a plain https address with a host and no user, query or fragment.
func address(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxIssuer && u.Scheme == "https" && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && u.Fragment == "" && !u.ForceQuery && u.String() == s
}

func (r *Rule) checkMatch(bad func(string, string) error) error {
	if len(r.Match) == 0 || len(r.Match) > maxMatches {
		return bad(fmt.Sprintf("a rule matches 1 to %d claims", maxMatches), "name the claims that say which workload it is")
	}
	for name, value := range r.Match {
		if !plain(name) || !plain(value) {
			return bad(fmt.Sprintf("the match of %.80q is empty, too long or does not print", name), "write CLAIM=VALUE as the token has it")
		}
	}
	return nil
}

func plain(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// checkWildcards refuses what trusts more than one workload, unless the rule says that it means to.
func (r *Rule) checkWildcards(bad func(string, string) error) error {
	for name, value := range r.Match {
		if !strings.Contains(value, "*") {
			continue
		}
		below, atEnd := strings.CutSuffix(value, "/*")
		if r.Kind != SPIFFE || name != "sub" || !atEnd || !spiffeID(below+"/x") {
			return bad(fmt.Sprintf("the value of %s holds a wildcard, and values match exactly", name), "write one rule for each value")
		}
		if below == r.Issuer && !r.AnySubject {
			return bad("the rule trusts every workload of the trust domain", "name a path, or say that any subject will do")
		}
	}
	if sub, ok := r.Match["sub"]; ok && r.Kind == SPIFFE && !strings.HasPrefix(sub, r.Issuer+"/") {
		return bad("sub is of another trust domain", "")
	}
	if r.AnySubject {
		return nil
	}
	groups, _ := r.Kind.names()
	for _, group := range groups {
		if !slices.ContainsFunc(group, func(name string) bool { _, ok := r.Match[name]; return ok }) {
			return bad(fmt.Sprintf("the rule does not match %s, and so does not name one workload for good", strings.Join(group, " or ")),
				"add the claim, or say that any subject will do")
		}
	}
	return nil
}

func (r *Rule) checkResult(bad func(string, string) error) error {
	id, err := sallyport.ParsePrincipalID(string(r.Principal))
	if err != nil || id != r.Principal || id.Kind() == sallyport.User {
		return bad("a proof proves a service or an agent", "write service:NAME or agent:NAME")
	}
	if scope, err := sallyport.ParseScope(r.Scope.String()); err != nil || len(scope) == 0 || !slices.Equal(scope, r.Scope) {
		return bad("the scope is empty or no scope", "write what a token may be used for, such as model.push@acme/fraud")
	}
	for _, item := range r.Scope {
		if what, _, _ := strings.Cut(item, "@"); what == "*" {
			return bad("the scope holds every action", "name the actions that the workload needs")
		}
	}
	if r.Life <= 0 || r.Life > MaxLife {
		return bad(fmt.Sprintf("the life %v is not between 0 and %v", r.Life, MaxLife), "")
	}
	if len(r.Clients) == 0 || len(r.Clients) > maxClients || slices.ContainsFunc(r.Clients, func(c string) bool { return !plain(c) }) {
		return bad(fmt.Sprintf("a rule is for 1 to %d clients", maxClients), "name the clients that may use it")
	}
	return nil
}
