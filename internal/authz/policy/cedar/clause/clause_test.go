package clause_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar/clause"
)

func parse(t testing.TB, text string) *ast.Policy {
	t.Helper()
	list, err := cedar.NewPolicyListFromBytes("test", []byte(text))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return (*ast.Policy)(list[0].AST())
}

func env(context types.RecordMap) eval.Env {
	ana, model := types.NewEntityUID("User", "ana"), types.NewEntityUID("Model", "m")
	return eval.Env{Principal: ana, Action: types.NewEntityUID("Action", "pull"), Resource: model, Context: types.NewRecord(context),
		Entities: types.EntityMap{ana: {UID: ana, Parents: cedar.NewEntityUIDSet(types.NewEntityUID("Role", "reader"))},
			model: {UID: model, Attributes: types.NewRecord(types.RecordMap{"class": types.String("public")})}}}
}

func told(c policy.Clause) string {
	return fmt.Sprintf("%s %s: %s [%s]", c.Under, c.Text, c.Value, strings.Join(c.Reads, " "))
}

// TestTrace: a policy is taken apart where a part settles it, each part says what it came to and what it read.
func TestTrace(t *testing.T) {
	for _, test := range []struct {
		policy  string
		applies policy.Truth
		clauses []string
		bars    string // one letter a clause: y or n
	}{
		{`permit(principal, action, resource);`, policy.True, nil, ""},
		{`permit(principal in Role::"reader", action == Action::"pull", resource is Model);`, policy.True, []string{
			`scope principal in Role::"reader": true [principal]`, `scope action == Action::"pull": true [action]`, `scope resource is Model: true [resource]`}, "nnn"},
		{`permit(principal in Role::"writer", action, resource);`, policy.False, []string{`scope principal in Role::"writer": false [principal]`}, "y"},
		{`forbid(principal, action in [Action::"pull", Action::"push"], resource) when { context.a && resource.class == "public" && context.d.l >= 2 } unless { context.b || context.c };`, policy.False, []string{
			`scope action in [Action::"pull", Action::"push"]: true [action]`, `when context.a: true [context.a]`, `when resource.class == "public": true [resource.class]`,
			`when context.d.l >= 2: false [context.d.l]`, `unless context.b: false [context.b]`, `unless context.c: true [context.c]`}, "nnnyny"},
		{`forbid(principal, action, resource) when { context.a && (context.b || context.c) } when { !context.b };`, policy.True, []string{
			`when context.a: true [context.a]`, `when context.b || context.c: true [context.b context.c]`, `when !context.b: true [context.b]`}, "nnn"},
		{`permit(principal, action, resource) when { context has x && context.x > 1 };`, policy.False, []string{
			`when context has x: false [context.x]`, `when context.x > 1: skipped [context.x]`}, "yn"},
		{`permit(principal, action, resource) when { context.x > 1 };`, policy.Failed, []string{`when context.x > 1: error [context.x]`}, "y"},
		{`permit(principal, action, resource) when { context.s == "};" };`, policy.True, []string{`when context.s == "};": true [context.s]`}, "n"},
	} {
		applies, clauses := clause.Trace(parse(t, test.policy), env(types.RecordMap{"a": types.True, "b": types.False, "c": types.True, "s": types.String("};"),
			"d": types.NewRecord(types.RecordMap{"l": types.Long(1)})}))
		if applies != test.applies || len(clauses) != len(test.clauses) {
			t.Errorf("%s: %s, %+v", test.policy, applies, clauses)
			continue
		}
		for i, c := range clauses {
			if told(c) != test.clauses[i] {
				t.Errorf("%s: %s, want %s", test.policy, told(c), test.clauses[i])
			}
			if want := test.bars[i] == 'y'; c.Value != policy.Skipped && c.Bars() != want {
				t.Errorf("%s: %s bars %t", test.policy, told(c), !want)
			}
		}
	}
}

// TestLevers: what somebody could change is found wherever it stands, with the values that it is compared with.
func TestLevers(t *testing.T) {
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for condition, want := range map[string]policy.Levers{
		`true`:                       {},
		`resource.class == "public"`: {},
		`context.risk < 50`:          {},
		`context.assurance >= 2`:     {Reads: policy.LeverProof},
		`!(context.authAge > 5 || context.granted)`: {Reads: policy.LeverProof | policy.LeverGrant},
		`if context.bound then true else false`:     {Reads: policy.LeverKey},
		`context.device.level > 1`:                  {Reads: policy.LeverDevice | policy.LeverKey},
		`context.device.encrypted`:                  {Reads: policy.LeverDevice},
		`context.device == context.device`:          {Reads: policy.LeverDevice | policy.LeverKey},
		`context.working`:                           {Reads: policy.LeverTime | policy.LeverHours},
		`context.training <= 365`:                   {Reads: policy.LeverTraining},
		`context.purpose == "b" || "a" != context.purpose || ["c", "a"].contains(context.purpose)`:                 {Reads: policy.LeverPurpose, Purposes: []string{"a", "b", "c"}},
		`context.network like "x*" || context.network == "office"`:                                                 {Reads: policy.LeverNetwork, Networks: []string{"office"}},
		`context.now.toTime() >= duration("6h")`:                                                                   {Reads: policy.LeverTime, Days: []time.Duration{6 * time.Hour}},
		`context.now.toTime() < duration("20h") && context.now.offset(duration("-2h")).toTime() < duration("23h")`: {Reads: policy.LeverTime, Days: []time.Duration{time.Hour, 20 * time.Hour}},
		`context.now.toTime() > duration("6h")`:                                                                    {Reads: policy.LeverTime, Days: []time.Duration{6 * time.Hour, 6*time.Hour + time.Millisecond}},
		`context.now >= datetime("2026-01-02T03:04:05Z")`:                                                          {Reads: policy.LeverTime, Instants: []time.Time{at("2026-01-02T03:04:05Z")}},
		`context.now.toDate() == datetime("2026-01-02")`:                                                           {Reads: policy.LeverTime, Instants: []time.Time{at("2026-01-02T00:00:00Z"), at("2026-01-03T00:00:00Z")}},
		`context.now.durationSince(context.now) == duration("1h")`:                                                 {Reads: policy.LeverTime},
	} {
		got := clause.Levers(parse(t, "forbid(principal, action, resource) unless { "+condition+" };"))
		if fmt.Sprint(got.Levers) != fmt.Sprint(want) || got.Declared {
			t.Errorf("%s: %+v, want %+v", condition, got.Levers, want)
		}
	}
	if !clause.Levers(parse(t, "permit(principal, action, resource) when { resource.purposes.contains(context.purpose) };")).Declared {
		t.Error("the purposes of a resource are not asked about")
	}
}

// TestLeversAreBounded: a policy of a thousand purposes does not make a search of a thousand.
func TestLeversAreBounded(t *testing.T) {
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf("%q", fmt.Sprint("p", i)))
	}
	text := "permit(principal, action, resource) when { [" + strings.Join(list, ",") + "].contains(context.purpose) };"
	var all policy.Levers
	for range 3 {
		clause.Join(&all, clause.Levers(parse(t, text)))
	}
	if len(all.Purposes) > 8 || len(all.Purposes) == 0 {
		t.Errorf("%d purposes", len(all.Purposes))
	}
}
