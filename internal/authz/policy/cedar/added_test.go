package cedar_test

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// before is the schema as it was before purposes, makers and history joined it.
//
//go:embed testdata/schema-1.cedarschema
var before string

const schemaPolicies = `
@id("use") @owner("x") @requirement("AZ-1") permit(principal, action in [Action::"use", Action::"model.read", Action::"model.promote", Action::"dataset.read"], resource);
@id("own") @owner("x") @requirement("AZ-9") forbid(principal is User, action == Action::"model.promote", resource is Version)
when { resource has pushedBy && resource.pushedBy == principal.person };
`

// newPolicies ask for what only the present schema has.
const newPolicies = `
@id("maker") @owner("x") @requirement("AZ-9") forbid(principal is User, action == Action::"model.promote", resource is Version)
when { resource.makers.contains(principal.person) };
@id("purpose") @owner("x") @requirement("AZ-10") forbid(principal, action == Action::"model.infer", resource is Version)
unless { resource.purposes.isEmpty() || resource.purposes.contains(context.purpose) };
@id("quota") @owner("x") @requirement("AZ-4") forbid(principal, action == Action::"model.infer", resource) when { context.history.day.bytes > 100 };
@id("hours") @owner("x") @requirement("AZ-4") forbid(principal, action == Action::"model.embed", resource) unless { context.working && context.country == "AT" };
@id("staged") @owner("x") @requirement("AZ-9") forbid(principal is Service, action == Action::"dataset.read", resource in Environment::"production")
when { principal has environment && principal.environment == "staging" };
`

func compileWith(t *testing.T, schema, text string) *cedar.Engine {
	t.Helper()
	e, err := cedar.Compile(policy.Source{Schema: schema, Policies: map[string]string{"a.cedar": text}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func set(v ...policy.Value) policy.Value { return policy.Value{Kind: policy.SetValue, Set: v} }
func str(s string) policy.Value          { return policy.Value{Kind: policy.StringValue, String: s} }
func ref(u policy.UID) policy.Value      { return policy.Value{Kind: policy.EntityValue, Entity: u} }

// whole are facts of the present version, with everything that joined the schema.
func whole() []policy.Entity {
	ana, bob := policy.UID{Type: "User", ID: "ana"}, policy.UID{Type: "User", ID: "bob"}
	person := func(u policy.UID) policy.Entity {
		return policy.Entity{UID: u, Attrs: map[string]policy.Value{"name": str(u.ID), "person": ref(u)}}
	}
	model := policy.UID{Type: "Model", ID: "acme/fraud"}
	class, production := str("internal"), policy.UID{Type: "Environment", ID: "production"}
	return []policy.Entity{
		person(ana), person(bob),
		{UID: policy.UID{Type: "Service", ID: "ci"}, Attrs: map[string]policy.Value{"owner": ref(bob), "environment": str("staging")}},
		{UID: production},
		{UID: model, Attrs: map[string]policy.Value{"class": class, "owners": set(), "purposes": set(str("training"))}},
		{UID: policy.UID{Type: "Version", ID: "acme/fraud@v1"}, Parents: []policy.UID{model}, Attrs: map[string]policy.Value{
			"class": class, "owners": set(), "number": str("v1"), "digest": str("00"), "pushedBy": ref(bob), "trainedBy": ref(ana),
			"makers": set(ref(ana), ref(bob)), "purposes": set(str("training"))}},
		{UID: policy.UID{Type: "Dataset", ID: "acme/claims"}, Parents: []policy.UID{production},
			Attrs: map[string]policy.Value{"class": class, "owners": set(), "purposes": set(str("training"))}},
	}
}

// old are the same facts as they were gathered before.
func old() []policy.Entity {
	list := whole()
	for i := range list {
		for _, name := range []string{"purposes", "makers", "trainedBy", "environment"} {
			delete(list[i].Attrs, name)
		}
		if list[i].UID.Type == "Dataset" {
			list[i].Parents = nil
		}
	}
	return list
}

// TestSchemasOfOtherVersions: a set that was written against the former schema decides
// on today's facts as on yesterday's, and today's set on yesterday's facts as on ones
// that say nothing.
func TestSchemasOfOtherVersions(t *testing.T) {
	engines := map[string]*cedar.Engine{"former": compileWith(t, before, schemaPolicies), "present": compileWith(t, cedar.Schema, schemaPolicies+newPolicies)}
	service, version := policy.UID{Type: "Service", ID: "ci"}, policy.UID{Type: "Version", ID: "acme/fraud@v1"}
	user := func(id string) policy.UID { return policy.UID{Type: "User", ID: id} }
	for _, test := range []struct {
		set, facts string
		who        policy.UID
		action     sallyport.Action
		on         policy.UID
		context    policy.Context
		want       string
	}{
		{"former", "today", user("ana"), sallyport.ModelPromote, version, policy.Context{}, "true [use]"},
		{"former", "today", user("bob"), sallyport.ModelPromote, version, policy.Context{}, "false [own]"},
		{"former", "before", user("bob"), sallyport.ModelPromote, version, policy.Context{}, "false [own]"},
		{"former", "today", user("ana"), sallyport.ModelInfer, version, policy.Context{History: policy.History{Day: policy.Window{Bytes: 101}}}, "true [use]"},
		{"former", "today", service, sallyport.DatasetRead, policy.UID{Type: "Dataset", ID: "acme/claims"}, policy.Context{}, "true [use]"},
		{"present", "today", user("ana"), sallyport.ModelPromote, version, policy.Context{}, "false [maker]"},
		{"present", "before", user("ana"), sallyport.ModelPromote, version, policy.Context{}, "true [use]"},
		{"present", "before", user("bob"), sallyport.ModelPromote, version, policy.Context{}, "false [own]"},
		{"present", "today", user("ana"), sallyport.ModelInfer, version, policy.Context{}, "false [purpose]"},
		{"present", "today", user("ana"), sallyport.ModelInfer, version, policy.Context{Purpose: "training"}, "true [use]"},
		{"present", "before", user("ana"), sallyport.ModelInfer, version, policy.Context{}, "true [use]"},
		{"present", "before", user("ana"), sallyport.ModelInfer, version, policy.Context{History: policy.History{Day: policy.Window{Bytes: 101}}}, "false [quota]"},
		{"present", "today", user("ana"), sallyport.ModelEmbed, version, policy.Context{Working: true, Country: "AT"}, "true [use]"},
		{"present", "today", user("ana"), sallyport.ModelEmbed, version, policy.Context{Working: true, Country: "NZ"}, "false [hours]"},
		{"present", "today", service, sallyport.DatasetRead, policy.UID{Type: "Dataset", ID: "acme/claims"}, policy.Context{}, "false [staged]"},
		{"present", "before", service, sallyport.DatasetRead, policy.UID{Type: "Dataset", ID: "acme/claims"}, policy.Context{}, "true [use]"},
	} {
		e, facts := engines[test.set], whole()
		if test.facts == "before" {
			facts = old()
		}
		loaded, err := e.Load(facts)
		if err != nil {
			t.Fatalf("%s set, %s facts: %v", test.set, test.facts, err)
		}
		got := e.Evaluate(policy.Query{Principal: test.who, Action: policy.UID{Type: "Action", ID: string(test.action)}, Resource: test.on, Context: test.context}, loaded)
		if text := fmt.Sprint(got.Allowed, " ", got.Reasons); text != test.want || len(got.Errors) > 0 {
			t.Errorf("%s set, facts of %s: %v %s: %s, errors %q; want %s", test.set, test.facts, test.who, test.action, text, got.Errors, test.want)
		}
	}
}

// TestTheTargetJoined: a set that was written before questions had a target is not told one, and today's is.
func TestTheTargetJoined(t *testing.T) {
	start, end := strings.Index(cedar.Schema, "  to: String,"), strings.Index(cedar.Schema, `  @audience("auditor")`+"\n  history:")
	if start < 0 || end < start {
		t.Fatal("the schema has no target")
	}
	former := cedar.Schema[:start] + cedar.Schema[end:]
	const night = `@id("night") @owner("x") @requirement("AZ-9") forbid(principal, action == Action::"model.promote", resource) when { context.to == "production" };`
	for schema, want := range map[string]string{former: "true [use]", cedar.Schema: "false [night]"} {
		text := schemaPolicies
		if schema == cedar.Schema {
			text += night
		} else if _, err := cedar.Compile(policy.Source{Schema: former, Policies: map[string]string{"a.cedar": night}}); err == nil {
			t.Error("the former schema knows the target")
		}
		e := compileWith(t, schema, text)
		loaded, err := e.Load(whole())
		if err != nil {
			t.Fatal(err)
		}
		got := e.Evaluate(policy.Query{Principal: policy.UID{Type: "User", ID: "ana"}, Action: policy.UID{Type: "Action", ID: "model.promote"},
			Resource: policy.UID{Type: "Version", ID: "acme/fraud@v1"}, Context: policy.Context{To: "production"}}, loaded)
		if said := fmt.Sprint(got.Allowed, " ", got.Reasons); said != want || len(got.Errors) > 0 {
			t.Errorf("%s, errors %q; want %s", said, got.Errors, want)
		}
	}
}

// TestOnlyWhatJoinedIsLeftOut: another attribute that a schema does not have is an error still.
func TestOnlyWhatJoinedIsLeftOut(t *testing.T) {
	for _, schema := range []string{before, cedar.Schema} {
		e := compileWith(t, schema, schemaPolicies)
		facts := whole()
		at := slices.IndexFunc(facts, func(x policy.Entity) bool { return x.UID.Type == "Model" })
		facts[at].Attrs["colour"] = str("red")
		if _, err := e.Load(facts); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("an attribute that nobody declared: %v", err)
		}
	}
}

// TestTrainingJoined: a set that was written before training was known is not told of it, and today's is; who never was
// trained fails what demands it.
func TestTrainingJoined(t *testing.T) {
	line := "  training: Long,"
	start := strings.Index(cedar.Schema, line)
	if start < 0 {
		t.Fatal("the schema has no training")
	}
	former := cedar.Schema[:start] + cedar.Schema[start+strings.Index(cedar.Schema[start:], "\n")+1:]
	const demand = `@id("untrained") @owner("x") @requirement("ID-13") forbid(principal, action, resource) unless { context.training <= 365 };`
	if _, err := cedar.Compile(policy.Source{Schema: former, Policies: map[string]string{"a.cedar": demand}}); err == nil {
		t.Error("the former schema knows training")
	}
	for _, test := range []struct {
		schema, text string
		training     policy.Training
		want         string
	}{
		{former, schemaPolicies, policy.Training{Held: true, Days: 9}, "true [use]"},
		{former, schemaPolicies, policy.Training{}, "true [use]"},
		{cedar.Schema, schemaPolicies + demand, policy.Training{Held: true, Days: 365}, "true [use]"},
		{cedar.Schema, schemaPolicies + demand, policy.Training{Held: true, Days: 366}, "false [untrained]"},
		{cedar.Schema, schemaPolicies + demand, policy.Training{}, "false [untrained]"},
	} {
		e := compileWith(t, test.schema, test.text)
		loaded, err := e.Load(whole())
		if err != nil {
			t.Fatal(err)
		}
		got := e.Evaluate(policy.Query{Principal: policy.UID{Type: "User", ID: "ana"}, Action: policy.UID{Type: "Action", ID: "model.promote"},
			Resource: policy.UID{Type: "Version", ID: "acme/fraud@v1"}, Context: policy.Context{Training: test.training}}, loaded)
		if said := fmt.Sprint(got.Allowed, " ", got.Reasons); said != test.want || len(got.Errors) > 0 {
			t.Errorf("%+v: %s, errors %q; want %s", test.training, said, got.Errors, test.want)
		}
	}
}
