package decision

import (
	"slices"
	"strings"

	"sallyport"
)

// ObligationUnsupported is the reason of a refusal where the policies permit under an obligation that the door which asked
// cannot carry out.
const ObligationUnsupported = "obligation.unsupported"

// carriesNothing is Carries of a door that can carry out no obligation.
const carriesNothing = "none"

// Carries writes down what a door can carry out, as Question.Carries keeps it.
func Carries(can []sallyport.ObligationKind) string {
	if len(can) == 0 {
		return carriesNothing
	}
	words := make([]string, len(can))
	for i, k := range can {
		words[i] = string(k)
	}
	return strings.Join(words, " ")
}

// Carried is d, unless it permits under an obligation that the door cannot carry out.
func (q *Question) Carried(d sallyport.Decision) sallyport.Decision {
	if q.Carries == "" || d.Outcome != sallyport.Allow || len(d.Obligations) == 0 {
		return d
	}
	can := strings.Fields(q.Carries)
	for _, o := range d.Obligations {
		if !slices.Contains(can, string(o.Kind)) {
			return sallyport.Decision{Outcome: sallyport.Deny, Policy: d.Policy, Errors: d.Errors, Reasons: []sallyport.Reason{{
				ID: ObligationUnsupported, Text: "the policy obliges to " + o.String() + ", which this door cannot carry out"}}}
		}
	}
	return d
}
