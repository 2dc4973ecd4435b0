package lint_test

import (
	"slices"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/lint"
	"sallyport/internal/authz/policy/table"
	"sallyport/internal/authz/policy/world"
)

// GV-5, pain 14: each rule finds what it is for and nothing else; a finding in a guard rail is a remark.
func TestPain14RightsWithoutEffect(t *testing.T) {
	e, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"a.cedar": `
@id("good") @owner("o") @requirement("GV-5") @text("Developers call.")
permit (principal in Role::"developer", action == Action::"model.infer", resource);
@id("anybody") @owner("o") @requirement("GV-5") @text("Everybody embeds.")
permit (principal, action == Action::"model.embed", resource);
@id("rail") @owner("o") @requirement("GV-5")
forbid (principal, action == Action::"model.embed", resource) when { context.risk > 90 };
@id("forbidden") @owner("o") @requirement("GV-5") @text("Never.")
permit (principal in Role::"developer", action == Action::"model.pull", resource);
@id("never") @owner("o") @requirement("GV-5") @text("Nobody pulls.")
forbid (principal, action == Action::"model.pull", resource);
@id("within") @owner("o") @requirement("GV-5") @text("Within another.")
permit (principal in Role::"developer", action == Action::"model.infer", resource is Model);
@id("vain") @owner("o") @requirement("GV-5") @text("It forbids what cannot be.")
forbid (principal is User, action == Action::"model.infer", resource) when { context.risk > 50 && context.risk < 40 };`}})
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := world.Effects(t.Context(), e, world.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	results := []table.Result{{Got: sallyport.Decision{Reasons: []sallyport.Reason{{ID: "good"}, {ID: "rail"}, {ID: "never"}, {ID: "anybody"}, {ID: "within"}, {ID: "forbidden"}}}}}
	for rule, test := range map[string]struct {
		got  []lint.Finding
		want []string
	}{
		"unscoped": {lint.Unscoped(e), []string{"anybody", "never remark", "rail remark"}},
		"text":     {lint.Texts(e), []string{"rail remark"}},
		"test":     {lint.Untested(e, results), []string{"vain"}},
		"effect":   {lint.Idle(e, found), []string{"forbidden", "vain", "within"}},
	} {
		var got []string
		for _, f := range test.got {
			s := f.Policy
			if f.Remark {
				s += " remark"
			}
			got = append(got, s)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", rule, got, test.want)
		}
	}
}
