package sallyport

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxApprovals is the most approvals that anything may ask for.
const MaxApprovals = 16

// Owners is the group of a quorum that the owners of the resource make up.
const Owners = "owners"

// A Quorum is how many members of a group must say yes.
type Quorum struct {
	Group string `json:"group"` // "group:ORG/NAME", or Owners
	Need  int    `json:"need"`  // at least 1
}

// String writes "2 of group:acme/risk".
func (q Quorum) String() string { return strconv.Itoa(q.Need) + " of " + q.Group }

// ParseQuorums reads who must approve: "2 of group:acme/risk, 1 of owners". Zero approvals, a group twice, more than
// MaxApprovals in all, and a text that asks nobody are errors.
func ParseQuorums(s string) ([]Quorum, error) {
	var all []Quorum
	for part := range strings.SplitSeq(s, ",") {
		number, group, ok := strings.Cut(strings.TrimSpace(part), " of ")
		need, err := strconv.Atoi(number)
		if !ok || err != nil || number != strconv.Itoa(need) || len(all) == MaxApprovals {
			return nil, errQuorum(fmt.Sprintf("%q is no quorum", clip(part)))
		}
		all = append(all, Quorum{Group: group, Need: need})
	}
	return all, CheckQuorums(all)
}

// CheckQuorums refuses quorums of nobody, of what is no group, and of too many. None at all are no error: then whoever may
// approve may.
func CheckQuorums(all []Quorum) error {
	for i, q := range all {
		if q.Need < 1 {
			return E("read quorum", Invalid, fmt.Sprintf("%d approvals approve nothing", q.Need), "ask for at least 1")
		}
		if q.Group != Owners {
			org, name, ok := strings.Cut(strings.TrimPrefix(q.Group, "group:"), "/")
			if !ok || !strings.HasPrefix(q.Group, "group:") || CheckName("read quorum", org) != nil || CheckName("read quorum", name) != nil {
				return errQuorum(fmt.Sprintf("%q is no group", clip(q.Group)))
			}
		}
		if slices.ContainsFunc(all[:i], func(o Quorum) bool { return o.Group == q.Group }) {
			return E("read quorum", Invalid, q.Group+" stands there twice", "write each group once")
		}
	}
	if n := Approvals(all); n > MaxApprovals {
		return E("read quorum", Invalid, fmt.Sprintf("%d approvals are asked for", n), fmt.Sprintf("ask for at most %d", MaxApprovals))
	}
	return nil
}

// Approvals is how many people quorums ask for: nobody counts for two of them. It stops counting above MaxApprovals.
func Approvals(all []Quorum) int {
	n := 0
	for _, q := range all {
		n = min(n+min(max(q.Need, 0), MaxApprovals+1), MaxApprovals+1)
	}
	return n
}

// JoinQuorums writes quorums as ParseQuorums reads them.
func JoinQuorums(all []Quorum) string {
	parts := make([]string, len(all))
	for i, q := range all {
		parts[i] = q.String()
	}
	return strings.Join(parts, ", ")
}

// MergeQuorums returns what fills both of two rules: of each group the larger number.
func MergeQuorums(a, b []Quorum) []Quorum {
	merged := slices.Clone(a)
	for _, q := range b {
		if i := slices.IndexFunc(merged, func(o Quorum) bool { return o.Group == q.Group }); i >= 0 {
			merged[i].Need = max(merged[i].Need, q.Need)
		} else {
			merged = append(merged, q)
		}
	}
	return merged
}

func errQuorum(text string) error {
	return E("read quorum", Invalid, text, `write for example "2 of group:acme/risk, 1 of owners"`)
}
