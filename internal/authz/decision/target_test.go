package decision_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/authz/decision"
)

// targets is a set in which production is changed by who has two factors.
const targets = `
@id("release") @owner("x") @requirement("AZ-9") permit(principal, action in Action::"release", resource);
@id("production.proof") @owner("x") @requirement("AZ-9") @outcome("step-up") @needs("aal2")
forbid(principal, action in Action::"release", resource) when { context.to == "production" } unless { context.assurance >= 2 };
`

// TestAZ9WhereItGoesIsDecidedOn: policies see where a promotion goes and a deployment runs; without that both are refused, and
// of other actions they see none, whatever was said.
func TestAZ9WhereItGoesIsDecidedOn(t *testing.T) {
	e := compile(t, targets)
	for _, test := range []struct {
		action sallyport.Action
		to     sallyport.Environment
		want   string
	}{
		{sallyport.ModelPromote, sallyport.Staging, "allow release"},
		{sallyport.ModelPromote, sallyport.Production, "step-up production.proof"},
		{sallyport.ModelDeploy, sallyport.Production, "step-up production.proof"},
		{sallyport.ModelPromote, "", "deny target.missing"},
		{sallyport.ModelDeploy, "", "deny target.missing"},
		{sallyport.ModelPromote, "here", "deny question.invalid"},
		{sallyport.ModelDeploy, "Production", "deny question.invalid"},
		{sallyport.ModelRetire, sallyport.Production, "allow release"},
		{sallyport.ModelRetire, "mars", "allow release"},
	} {
		q := question(test.action)
		q.To = test.to
		f := decision.Facts{Basis: prepare(t, e, basis()), Question: q}
		d := decision.Decide(e, f)
		if got := d.Outcome.String() + " " + strings.Join(d.ReasonIDs(), " "); got != test.want {
			t.Errorf("%s to %q: %s, want %s", test.action, test.to, got, test.want)
		}
		if d.Outcome != sallyport.Allow && test.to != "here" && test.to != "Production" && len(d.Remedies) == 0 {
			t.Errorf("%s to %q: a refusal without a next step", test.action, test.to)
		}
		replayed(t, e, f, d)
	}
}

// TestRecordsFromBeforeTargets: a promotion that was recorded when nobody said where to is replayed as it was decided.
func TestRecordsFromBeforeTargets(t *testing.T) {
	e := compile(t, targets)
	asked := func(to string) sallyport.Event {
		q := question(sallyport.ModelPromote)
		recorded := q.Recorded()
		recorded.To = to
		return sallyport.Event{Type: sallyport.EventDecided, At: q.At.UnixMicro(), Action: q.Action, Asked: recorded}
	}
	for to, want := range map[string]sallyport.Outcome{"": sallyport.Allow, "-": sallyport.Deny, "staging": sallyport.Allow, "production": sallyport.StepUp} {
		q, err := decision.QuestionOf(asked(to))
		if err != nil {
			t.Fatal(err)
		}
		if d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, basis()), Question: q}); d.Outcome != want {
			t.Errorf("recorded as going to %q: %v %q, want %v", to, d.Outcome, d.ReasonIDs(), want)
		}
		if again := q.Recorded().To; again != to {
			t.Errorf("%q is recorded as %q", to, again)
		}
	}
}
