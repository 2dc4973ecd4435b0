package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport"
)

// Info describes one policy of a set. NewInfo makes it; it never changes.
type Info struct {
	ID           string
	Effect       Effect
	Owner        string                 // annotation @owner
	Requirements []string               // annotation @requirement, separated by commas
	Outcome      sallyport.Outcome      // of a forbid that applies: Deny, or what @outcome says
	Needs        sallyport.Assurance    // with the outcome StepUp: annotation @needs
	Obligations  []sallyport.Obligation // of a permit: annotation @obligation, separated by commas
	Approvers    []sallyport.Quorum     // annotation @approvers: who must approve a grant that this policy asks for or rests on
	Secret       bool                   // annotation @audience("auditor"): only who may read the log learns that it is there
	Annotations  map[string]string      // all of them, @id and @owner among them
	Text         string                 // the policy in its own language
}

// Limits on what an annotation may hold, in bytes.
const (
	maxID         = 80
	maxAnnotation = 500
)

// Annotations returns the names of the annotations that a policy may carry.
// Others are refused: a misspelt @outcome would be a rule that is not there.
func Annotations() []string {
	return []string{"id", "owner", "requirement", "text", "outcome", "needs", "obligation", "remedy", "contact", "audience", "approvers"}
}

// NewInfo checks a policy's annotations and reads what they say:
//
//	@id("weights.need-a-grant")       unique in the set, a-z, 0-9, "." and "-"
//	@owner("security")                who answers for the policy
//	@requirement("AZ-5, AZ-15")       why it is there
//	@text("...")                      optional: one sentence for whom it stops or lets in
//	@outcome("step-up") @needs("aal2")  on a forbid: stronger proof lifts it
//	@outcome("hold")                  on a forbid: a person lifts it
//	@obligation("limit-bytes=1048576")  on a permit: what must be done when it is used
//	@remedy("..."), @contact("...")   on a forbid: what else helps, and whom to ask
//	@approvers("2 of group:acme/risk, 1 of owners")  who must approve a grant: on what stops without one, or lets in with one
//	@audience("auditor")              whom it stops learns neither that it is there nor what it asks
func NewInfo(effect Effect, annotations map[string]string, text string) (Info, error) {
	i := Info{Effect: effect, ID: annotations["id"], Owner: annotations["owner"], Annotations: annotations, Text: text}
	if err := i.checkNames(); err != nil {
		return Info{}, err
	}
	if err := CheckID(i.ID); err != nil {
		return Info{}, err
	}
	for r := range strings.SplitSeq(annotations["requirement"], ",") {
		r = strings.TrimSpace(r)
		if r == "" || strings.ContainsFunc(r, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return Info{}, fault(`write @requirement("AZ-5")`, "@requirement %q of policy %s is not a list of ids", annotations["requirement"], i.ID)
		}
		i.Requirements = append(i.Requirements, r)
	}
	if strings.TrimSpace(i.Owner) == "" {
		return Info{}, fault("say who answers for the policy", "@owner %q of policy %s names nobody", i.Owner, i.ID)
	}
	if err := i.readOutcome(); err != nil {
		return Info{}, err
	}
	if rule, given := annotations["approvers"]; given {
		var err error
		if i.Approvers, err = sallyport.ParseQuorums(rule); err != nil {
			return Info{}, fault(`write @approvers("2 of group:acme/risk, 1 of owners")`, "@approvers %q of policy %s: %s", rule, i.ID, sallyport.PublicText(err))
		}
	}
	if audience, given := annotations["audience"]; given {
		if audience != Auditor {
			return Info{}, fault(`write @audience("auditor"), or leave it out`, "@audience %q of policy %s is not understood", audience, i.ID)
		}
		if i.Secret = true; i.Outcome != sallyport.Deny || annotations["remedy"] != "" || annotations["contact"] != "" {
			return Info{}, fault("leave out @outcome, @remedy and @contact: whom it stops may not see that it is there", "policy %s is for auditors and speaks to others", i.ID)
		}
	}
	return i, i.readObligations()
}

// checkNames refuses missing, unknown and endless annotations.
func (i Info) checkNames() error {
	for _, must := range []string{"id", "owner", "requirement"} {
		if _, ok := i.Annotations[must]; !ok {
			return fault("every policy carries @id, @owner and @requirement", "policy %q has no @%s", i.ID, must)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Annotations)) {
		switch {
		case !slices.Contains(Annotations(), name):
			return fault("known are @"+strings.Join(Annotations(), ", @"), "policy %q has the unknown annotation @%s", i.ID, name)
		case len(i.Annotations[name]) > maxAnnotation:
			return fault(fmt.Sprintf("use at most %d bytes", maxAnnotation), "@%s of policy %.80q is too long", name, i.ID)
		}
	}
	return nil
}

// CheckID refuses what cannot be a policy's id: the ids of reasons that the
// decision point gives by itself are taken.
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxID
	for k := 0; ok && k < len(id); k++ {
		c := id[k]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'
	}
	if !ok {
		return fault(fmt.Sprintf("use 1 to %d characters of a-z, 0-9, '.' and '-'", maxID), "%.80q is not a policy id", id)
	}
	first, _, _ := strings.Cut(id, ".")
	if slices.Contains([]string{"action", "agent", "default", "engine", "facts", "forbid", "policy", "principal", "question", "target", "token"}, first) {
		return fault("choose another first word", "the policy id %q begins with %q, which is kept for the decision point", id, first)
	}
	return nil
}

// readOutcome reads @outcome and @needs.
func (i *Info) readOutcome() error {
	outcome, given := i.Annotations["outcome"]
	needs, needed := i.Annotations["needs"]
	switch {
	case !given && !needed:
		return nil
	case i.Effect != Forbid:
		return fault("only a forbid has them", "policy %s is a permit and has @outcome or @needs", i.ID)
	case outcome == "hold" && !needed:
		i.Outcome = sallyport.Hold
		return nil
	case outcome == "step-up" && needed:
		level, err := sallyport.ParseAssurance(needs)
		if err != nil || level == sallyport.NoAssurance {
			return fault("use aal1, aal2 or aal3", "@needs %q of policy %s is no level", needs, i.ID)
		}
		i.Outcome, i.Needs = sallyport.StepUp, level
		return nil
	}
	return fault(`write @outcome("hold"), or @outcome("step-up") with @needs("aal2")`, "@outcome %q of policy %s is not understood", outcome, i.ID)
}

// readObligations reads @obligation.
func (i *Info) readObligations() error {
	list, given := i.Annotations["obligation"]
	if !given {
		return nil
	}
	if i.Effect != Permit {
		return fault("only a permit has obligations", "policy %s is a forbid and has @obligation", i.ID)
	}
	for item := range strings.SplitSeq(list, ",") {
		o, err := sallyport.ParseObligation(strings.TrimSpace(item))
		if err != nil {
			return err
		}
		i.Obligations = append(i.Obligations, o)
	}
	return nil
}

// fault is an error about a policy's annotations.
func fault(hint, format string, args ...any) error {
	return sallyport.E("policy", sallyport.Invalid, fmt.Sprintf(format, args...), hint)
}
