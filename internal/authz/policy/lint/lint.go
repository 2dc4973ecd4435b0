// Package lint owns what is wrong with a policy set that a server would take: policies that concern everybody and
// everything, rights without effect, and rules that no test speaks of.
//
// What a server refuses (no @id, no @owner, no @requirement, a condition that may fail) is the compiler's, in
// authz/policy/cedar; questions over a bounded world are asked by authz/policy/world.
package lint

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/table"
	"sallyport/internal/authz/policy/world"
)

// A Finding is something to mend, or with Remark only to know.
type Finding struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"` // "unscoped", "no-effect", "idle", "no-test", "no-text"
	Text   string `json:"text"`
	Remark bool   `json:"remark"`
}

// Unscoped finds permits for anybody on anything. A forbid like that is a guard rail, and only remarked on.
func Unscoped(e policy.Surveyor) []Finding {
	var out []Finding
	for id, p := range e.Survey().Policies {
		if p.Principal == (policy.Scope{}) && p.Resource == (policy.Scope{}) {
			out = append(out, Finding{id, "unscoped", "its head names neither a principal nor a resource: it is asked of every call", p.Effect == policy.Forbid})
		}
	}
	return sorted(out)
}

// Texts finds policies that cannot tell people what they do.
func Texts(e policy.Engine) []Finding {
	var out []Finding
	for _, p := range e.Policies() {
		if p.Annotations["text"] == "" {
			out = append(out, Finding{p.ID, "no-text", "it has no @text: who it stops is not told why", true})
		}
	}
	return sorted(out)
}

// Untested finds policies that are a reason in no row of the tables. Nil results mean that there are no tables.
func Untested(e policy.Engine, results []table.Result) []Finding {
	used := map[string]bool{}
	for _, r := range results {
		for _, id := range r.Got.ReasonIDs() {
			used[id] = true
		}
	}
	var out []Finding
	for _, p := range e.Policies() {
		if !used[p.ID] {
			out = append(out, Finding{p.ID, "no-test", "no row of the test tables is decided by it", false})
		}
	}
	return sorted(out)
}

// Idle reads what a search of the bounded world found: permits that permit nothing, and those that change nothing.
func Idle(e policy.Engine, found map[string]world.Effect) []Finding {
	var out []Finding
	for _, p := range e.Policies() {
		f := found[p.ID]
		switch {
		case p.Effect == policy.Permit && !f.Applied:
			out = append(out, Finding{p.ID, "no-effect", "it permits nothing: it cannot apply, or is always forbidden", false})
		case p.Effect == policy.Permit && !f.Alone && len(f.With) > 0:
			out = append(out, Finding{p.ID, "idle", "it changes nothing: whatever it permits is permitted by " + strings.Join(f.With, " and by "), false})
		case p.Effect == policy.Permit && !f.Alone:
			out = append(out, Finding{p.ID, "idle", "it changes nothing: whatever it permits is permitted by others", false})
		case p.Effect == policy.Forbid && !f.Applied:
			out = append(out, Finding{p.ID, "no-effect", "it forbids nothing: it cannot apply", false})
		}
	}
	return sorted(out)
}

func sorted(list []Finding) []Finding {
	slices.SortFunc(list, func(a, b Finding) int { return strings.Compare(a.Policy, b.Policy) })
	return list
}

// String is a finding in one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Policy, f.Rule, f.Text) }
