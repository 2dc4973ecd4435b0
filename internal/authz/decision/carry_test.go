package decision_test

import (
	"testing"

	"sallyport"
	"sallyport/internal/authz/decision"
)

// What a door could carry out is part of the question: a replay refuses what was refused for it.
func TestCarried(t *testing.T) {
	allow := sallyport.Decision{Outcome: sallyport.Allow, Obligations: []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 5}, {Kind: sallyport.OnlyFiles, Text: "*.json"}}}
	for _, c := range []struct {
		what    string
		carries string
		want    sallyport.Outcome
	}{
		{"no door asked, or one from before this was recorded", "", sallyport.Allow},
		{"a door that can carry out nothing", decision.Carries(nil), sallyport.Deny},
		{"a door that can carry out a part", decision.Carries([]sallyport.ObligationKind{sallyport.LimitBytes, sallyport.LimitRate}), sallyport.Deny},
		{"a door that can carry out all", decision.Carries(sallyport.ObligationKinds()), sallyport.Allow},
	} {
		q := decision.Question{Carries: c.carries}
		got := q.Carried(allow)
		if got.Outcome != c.want || c.want == sallyport.Deny && (len(got.Obligations) != 0 || got.Reasons[0].ID != decision.ObligationUnsupported) {
			t.Errorf("%s: %+v", c.what, got)
		}
		for _, other := range []sallyport.Outcome{sallyport.Deny, sallyport.StepUp, sallyport.Hold} {
			if got := q.Carried(sallyport.Decision{Outcome: other}); got.Outcome != other {
				t.Errorf("%s: %v became %v", c.what, other, got.Outcome)
			}
		}
		if got := q.Carried(sallyport.Decision{Outcome: sallyport.Allow}); got.Outcome != sallyport.Allow {
			t.Errorf("%s: without obligations: %+v", c.what, got)
		}
	}
}
