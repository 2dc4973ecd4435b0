package decision_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
)

const probations = `
@id("use") @owner("x") @requirement("AZ-1") permit(principal, action in [Action::"use", Action::"possess"], resource);
@id("wide") @owner("x") @requirement("AZ-1") @obligation("limit-bytes=4096") permit(principal, action == Action::"model.pull", resource);
@id("no-export") @owner("x") @requirement("RE-3") forbid(principal, action == Action::"model.export", resource) when { context.probation };
`

// RE-3: during a probation, and not a microsecond longer, weights leave under its limits, and policies see it. It concerns
// the target only, and replays from the record.
func TestRE3ProbationTightens(t *testing.T) {
	e := compile(t, probations)
	limits := []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 1024}, {Kind: sallyport.LimitRate, Value: 512}}
	for _, test := range []struct {
		target string
		until  time.Time
		action sallyport.Action
		want   string
	}{
		{"user:ana", noon.Add(time.Microsecond), sallyport.ModelPull, "allow [limit-bytes=1024 limit-rate=512]"},
		{"model:acme/fraud", noon.Add(time.Hour), sallyport.ModelPull, "allow [limit-bytes=1024 limit-rate=512]"},
		{"session:s1", noon.Add(time.Hour), sallyport.ModelPullAux, "allow [limit-bytes=1024 limit-rate=512]"},
		{"session:s2", noon.Add(time.Hour), sallyport.ModelPull, "allow [limit-bytes=4096]"},
		{"user:ana", noon, sallyport.ModelPull, "allow [limit-bytes=4096]"},
		{"user:ana", noon.Add(time.Hour), sallyport.ModelInfer, "allow []"},
		{"user:ana", noon.Add(time.Hour), sallyport.ModelExport, "deny []"},
		{"user:ana", noon, sallyport.ModelExport, "allow []"},
	} {
		b := basis()
		b.Probation = []decision.Probation{{ID: "H-1", Target: test.target, Until: test.until, Obligations: limits}}
		f := decision.Facts{Basis: prepare(t, e, b), Question: question(test.action)}
		d := decision.Decide(e, f)
		texts := []string{}
		for _, o := range d.Obligations {
			texts = append(texts, o.String())
		}
		if got := d.Outcome.String() + " " + fmt.Sprint(texts); got != test.want {
			t.Errorf("%s, %s until %v: %s, want %s", test.action, test.target, test.until, got, test.want)
		}
		replayed(t, e, f, d)
	}
}
