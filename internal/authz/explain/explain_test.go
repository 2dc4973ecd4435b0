package explain_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/explain"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }
func str(s string) policy.Value      { return policy.Value{Kind: policy.StringValue, String: s} }
func ref(kind, id string) policy.Value {
	return policy.Value{Kind: policy.EntityValue, Entity: uid(kind, id)}
}

func compile(t *testing.T, schema, policies string) *cedar.Engine {
	t.Helper()
	e, err := cedar.Compile(policy.Source{Schema: schema, Policies: map[string]string{"test.cedar": policies}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// facts are ana's, a reader, before acme/fraud; every attribute of the call has a value that nothing else has.
func facts(t *testing.T, e policy.Engine, change func(*decision.Basis, *decision.Question)) decision.Facts {
	t.Helper()
	b := &decision.Basis{Principal: uid("User", "ana"), PrincipalID: "user:ana", Person: "user:ana", Active: true,
		Resource:    sallyport.Resource{Kind: sallyport.ModelKind, Org: "acme", Project: "risk", Name: "fraud", Class: sallyport.Internal},
		ResourceUID: uid("Model", "acme/fraud"),
		Entities: []policy.Entity{
			{UID: uid("User", "ana"), Parents: []policy.UID{uid("Role", "reader")}, Attrs: map[string]policy.Value{"name": str("ana"), "person": ref("User", "ana")}},
			{UID: uid("Role", "reader")},
			{UID: uid("Model", "acme/fraud"), Parents: []policy.UID{uid("Project", "acme/risk")},
				Attrs: map[string]policy.Value{"class": str("internal"), "owners": {Kind: policy.SetValue, Set: []policy.Value{ref("User", "olga")}}, "purposes": {Kind: policy.SetValue}}},
			{UID: uid("Project", "acme/risk")},
		}}
	q := decision.Question{Action: sallyport.ModelPull, At: noon, Door: "door7101", IP: "198.51.100.71", File: "file7102", Scope: sallyport.Scope{"*"},
		Assurance: sallyport.SingleFactor, AuthTime: noon.Add(-7103 * time.Second), Session: "S-7104", Family: "F-1", Staleness: 2 * time.Second, Client: "client7105",
		Purpose: "purpose7106", Network: "network7107", Risk: 83, Country: "ZW", Working: true,
		Device:  decision.Device{ID: "DV-1", Class: "standard", Level: 2, Posture: 7109 * time.Second, OS: "os7110", Encrypted: true},
		History: policy.History{Day: policy.Window{Bytes: 7111, Denials: 7112, Models: 7113, Exports: 7114}, Short: policy.Window{Bytes: 7115}, Month: policy.Window{Bytes: 7116}}}
	if change != nil {
		change(b, &q)
	}
	p, err := decision.Prepare(e, b)
	if err != nil {
		t.Fatal(err)
	}
	return decision.Facts{Basis: p, Question: q}
}

// event is the decided event that a guard would write.
func event(f decision.Facts, d sallyport.Decision) sallyport.Event {
	e := sallyport.Event{Type: sallyport.EventDecided, At: f.At.UnixMicro(), Decision: "D-1", Who: f.PrincipalID, Action: f.Action, On: f.Resource.String(),
		Outcome: d.Outcome.String(), Reasons: d.ReasonIDs(), Errors: d.Errors, Facts: f.Basis.Hash(), Asked: f.Recorded()}
	return e
}

// everything is all that whom a decision is about may be shown of it.
func everything(t *testing.T, e policy.Engine, f decision.Facts, to explain.Audience) string {
	t.Helper()
	d := decision.Decide(e, f)
	parts := []any{explain.Of(e, f, d, to), d, event(f, d)}
	if to == explain.Asker {
		parts[1], parts[2] = decision.Shown(e, d), explain.Withhold(e, event(f, d))
	}
	text, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const readers = `@id("know") @owner("x") @requirement("T") permit(principal in Role::"reader", action == Action::"model.read", resource);
`

// TestAZ13WhatIsSecretNeverLeaves marks one attribute after the other in the schema as for auditors, under a policy that
// everybody may know and that reads it. The auditor is told its value, and whom it is about never, in nothing that they see.
func TestAZ13WhatIsSecretNeverLeaves(t *testing.T) {
	for name, c := range map[string]struct{ line, condition, value string }{
		"context.authAge":            {"  authAge: Long,", "context.authAge < 5", "7103"},
		"context.ip":                 {"  ip?: ipaddr,", `context has ip && context.ip == ip("1.1.1.1")`, "198.51.100.71"},
		"context.door":               {"  door: String,", `context.door == ""`, "door7101"},
		"context.file":               {"  file: String,", `context.file == ""`, "file7102"},
		"context.session":            {"  session: Bool,", "!context.session", "S-7104"},
		"context.client":             {"  client: String,", `context.client == ""`, "client7105"},
		"context.purpose":            {"  purpose: String,", `context.purpose == ""`, "purpose7106"},
		"context.network":            {"  network: String,", `context.network == ""`, "network7107"},
		"context.risk":               {"", "context.risk < 3", "83"},
		"context.country":            {"  country: String,", `context.country == ""`, "ZW"},
		"context.history":            {"", "context.history.day.denials < 3", "7112"},
		"context.device.os":          {"  os: String,", `context.device.os == ""`, "os7110"},
		"context.device.postureAge":  {"  postureAge: Long,", "context.device.postureAge < 3", "7109"},
		"context.history.day.models": {"", "context.history.day.models < 3", "7113"},
	} {
		schema := cedar.Schema
		if c.line != "" {
			if !strings.Contains(schema, c.line) {
				t.Fatalf("the schema has no line %q", c.line)
			}
			schema = strings.Replace(schema, c.line, `  @audience("auditor")`+"\n"+c.line, 1)
		}
		e := compile(t, schema, readers+`@id("pull") @owner("x") @requirement("T") permit(principal, action == Action::"model.pull", resource) when { `+c.condition+` };`)
		if !e.Withheld(name) {
			t.Errorf("%s is not withheld", name)
		}
		secret := regexp.MustCompile(`\b` + regexp.QuoteMeta(c.value) + `\b`)
		f := facts(t, e, func(_ *decision.Basis, q *decision.Question) {
			if name == "context.session" { // the session's id stands beside other attributes, too
				q.Assurance = sallyport.NoAssurance
			}
		})
		if told := everything(t, e, f, explain.Asker); name != "context.session" && secret.MatchString(told) {
			t.Errorf("%s: ana is told %s", name, told)
		}
		if told := everything(t, e, f, explain.Auditor); !secret.MatchString(told) || !strings.Contains(told, `"secret":true`) {
			t.Errorf("%s: the auditor is told %s", name, told)
		}
		plain := compile(t, schemaWithout(cedar.Schema), readers+`@id("pull") @owner("x") @requirement("T") permit(principal, action == Action::"model.pull", resource) when { `+c.condition+` };`)
		if told := everything(t, plain, facts(t, plain, nil), explain.Asker); !secret.MatchString(told) {
			t.Errorf("%s is not told where it is no secret, so this test shows nothing: %s", name, told)
		}
	}
}

// schemaWithout is a schema that keeps nothing for auditors.
func schemaWithout(schema string) string {
	return strings.ReplaceAll(schema, `@audience("auditor")`, "")
}

// TestAZ13PoliciesForAuditors: a policy for auditors is explained to them, clause by clause, and not even named to whom it stops.
func TestAZ13PoliciesForAuditors(t *testing.T) {
	e := compile(t, cedar.Schema, readers+`
@id("pull") @owner("x") @requirement("T") permit(principal, action == Action::"model.pull", resource) when { context.granted };
@id("hushed.bait") @owner("x") @requirement("T") @text("hushed") @audience("auditor")
forbid(principal, action == Action::"model.pull", resource) when { context.device.os == "os7110" } unless { context.purpose == "hushed-room" };
@id("hushed.fails") @owner("x") @requirement("T") @audience("auditor")
forbid(principal, action == Action::"model.pull", resource) when { 9223372036854775807 + (context.authAge + 1) > 0 };`)
	f := facts(t, e, nil)
	told := everything(t, e, f, explain.Asker)
	if strings.Contains(told, "hushed") || strings.Contains(told, "forbid.error") || strings.Contains(told, "context.device.os") || !strings.Contains(told, "default.deny") {
		t.Errorf("ana is told %s", told)
	}
	d := decision.Decide(e, f)
	x := explain.Of(e, f, d, explain.Auditor)
	if len(x.Sides) != 1 || len(x.Sides[0].Policies) != 3 {
		t.Fatalf("%+v", x)
	}
	got := map[string]string{}
	for _, p := range x.Sides[0].Policies {
		var clauses []string
		for _, c := range p.Clauses {
			clauses = append(clauses, fmt.Sprintf("%s %s=%s", c.Under, c.Text, c.Value))
		}
		got[p.Policy] = string(p.Applies) + " " + strings.Join(clauses[1:], "; ")
	}
	for id, want := range map[string]string{
		"pull":         `false when context.granted=false`,
		"hushed.bait":  `true when context.device.os == "os7110"=true; unless context.purpose == "hushed-room"=false`,
		"hushed.fails": `error when 9223372036854775807 + (context.authAge + 1) > 0=error`,
	} {
		if got[id] != want {
			t.Errorf("%s: %s, want %s", id, got[id], want)
		}
	}
}

// TestInputsHaveSourceAndAge: where each input is from, and since when it is so.
func TestInputsHaveSourceAndAge(t *testing.T) {
	e := compile(t, cedar.Schema, readers+`@id("pull") @owner("x") @requirement("T") permit(principal is User in Role::"reader", action == Action::"model.pull", resource)
when { context.assurance >= 2 && context.granted && context.device.encrypted && context.device.level > 1 && context.history.day.bytes < 1 && resource.class == "public" && resource.owners.contains(principal.person) && context.working && context.network == "x" && context.risk < 5 && context.now.toTime() > duration("1h") };`)
	f := facts(t, e, func(b *decision.Basis, _ *decision.Question) {
		b.Grants = []decision.Grant{{ID: "G-7", Actions: []sallyport.Action{sallyport.ModelPull}, From: noon, Until: noon.Add(time.Hour)}}
	})
	var got []string
	for _, in := range explain.Of(e, f, decision.Decide(e, f), explain.Auditor).Inputs {
		got = append(got, fmt.Sprintf("%s = %s (%s, %d, %t)", in.Name, in.Value, in.Source, in.Age, in.Secret))
	}
	want := []string{
		`action = model.pull (request, 0, false)`,
		`context.assurance = 1 (aal1) (session S-7104, 7103, false)`,
		`context.device.encrypted = true (device DV-1, 7109, false)`,
		`context.device.level = 2 (device DV-1, 2, false)`,
		`context.granted = true (grants G-7, 2, false)`,
		`context.history.day.bytes = 7111 (audit trail, 2, true)`,
		`context.network = network7107 (configuration, 0, false)`,
		`context.now = 2026-03-04T12:00:00Z (clock, 0, false)`,
		`context.risk = 83 (session S-7104, 2, true)`,
		`context.working = true (calendar, 0, false)`,
		`principal = User::"ana" in Role::"reader" (directory, 2, false)`,
		`principal.person = User::"ana" (directory, 2, false)`,
		`resource.class = internal (catalog, 2, false)`,
		`resource.owners = [User::"olga"] (catalog, 2, false)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPain27EachRefusalIsAnotherOne: forbidden, not permitted, not proved, held and unknown are told apart where they may be.
func TestPain27EachRefusalIsAnotherOne(t *testing.T) {
	e := compile(t, cedar.Schema, readers+`
@id("use") @owner("x") @requirement("T") permit(principal in Role::"reader", action in Action::"use", resource);
@id("never") @owner("x") @requirement("T") forbid(principal, action == Action::"model.delete", resource);
@id("proof") @owner("x") @requirement("T") @outcome("step-up") @needs("aal2") forbid(principal, action == Action::"model.embed", resource) unless { context.assurance >= 2 };
@id("pause") @owner("x") @requirement("T") @outcome("hold") forbid(principal, action == Action::"model.evaluate", resource);`)
	for _, test := range []struct {
		action  sallyport.Action
		change  func(*decision.Basis, *decision.Question)
		refused string
	}{
		{sallyport.ModelInfer, nil, ""},
		{sallyport.ModelPull, nil, explain.NotPermitted},
		{sallyport.ModelDelete, nil, explain.Forbidden},
		{sallyport.ModelEmbed, nil, explain.NotProved},
		{sallyport.ModelEvaluate, nil, explain.OnHold},
		{sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "H-1", Target: "user:ana"}}
		}, explain.OnHold},
		{sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Scope = sallyport.Scope{"model.pull@acme/fraud"} }, explain.NotPermitted},
		{sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Scope = sallyport.Scope{"model.pull@acme/other"} }, explain.Unknown},
		{sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Staleness = time.Hour }, explain.NotDecided},
		{sallyport.ModelDelete, func(b *decision.Basis, _ *decision.Question) { b.Entities[0].Parents = nil }, explain.Unknown}, // she may not read it
		{sallyport.ModelPull, func(b *decision.Basis, _ *decision.Question) {
			b.Resource, b.ResourceUID, b.Entities = sallyport.Resource{}, policy.UID{}, b.Entities[:2]
		}, explain.Unknown},
	} {
		f := facts(t, e, test.change)
		f.Action = test.action
		d := decision.Decide(e, f)
		x := explain.Of(e, f, d, explain.Asker)
		stale := test.refused == explain.NotDecided && x.Refused == explain.Unknown // nobody may know on facts that are too old
		if x.Refused != test.refused && !stale {
			t.Errorf("%s: %q because of %q, want %q", test.action, x.Refused, d.ReasonIDs(), test.refused)
		}
		if test.refused == explain.Unknown && (len(x.Inputs) > 0 || len(x.Sides) > 0) {
			t.Errorf("of what may not be known is told %+v", x)
		}
	}
}
