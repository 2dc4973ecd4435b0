package decision_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// agents are rules beside the others: what an agent may do, on whose side what fails.
const agents = rules + `
@id("helpers.use") @owner("ml") @requirement("ID-14") @text("Helpers may use models.") @obligation("limit-rate=9")
permit(principal in Role::"helper", action in [Action::"use", Action::"possess"], resource);

@id("helpers.no-embedding") @owner("ml") @requirement("ID-14") @outcome("hold")
forbid(principal is Agent, action == Action::"model.embed", resource);

@id("helpers.proof") @owner("ml") @requirement("ID-14") @outcome("step-up") @needs("aal2")
forbid(principal is Agent, action == Action::"model.evaluate", resource) unless { context.assurance >= 2 };
`

// actor is an agent before acme/fraud, in the roles given.
func actor(name string, roles ...string) *decision.Basis {
	b := basis()
	e := policy.Entity{UID: uid("Agent", name), Attrs: map[string]policy.Value{"owner": ref("User", "olga")}}
	for _, r := range roles {
		e.Parents = append(e.Parents, uid("Role", r))
		b.Entities = append(b.Entities, policy.Entity{UID: uid("Role", r)})
	}
	b.Entities = slices.DeleteFunc(b.Entities, func(x policy.Entity) bool { return x.UID.Type == "User" || x.UID == uid("Role", "reader") })
	b.Entities = append(b.Entities, e)
	b.Principal, b.PrincipalID, b.Person = e.UID, sallyport.PrincipalID("agent:"+name), "user:olga"
	return b
}

// through asks a question on behalf of ana, by actors.
func through(t testing.TB, e policy.Engine, q decision.Question, b *decision.Basis, actors ...*decision.Basis) (sallyport.Decision, decision.Facts) {
	t.Helper()
	f := decision.Facts{Basis: prepare(t, e, b), Question: q}
	for _, a := range actors {
		f.Actors = append(f.Actors, a.PrincipalID)
		f.Acting = append(f.Acting, prepare(t, e, a))
	}
	return decision.Decide(e, f), f
}

// TestID14BothMustBePermitted decides what a person and those who act for them may do together.
func TestID14BothMustBePermitted(t *testing.T) {
	e := compile(t, agents)
	grant := decision.Grant{ID: "g1", Actions: []sallyport.Action{sallyport.ModelPull}, From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)}
	held := actor("helper", "helper")
	held.Holds = []decision.Hold{{ID: "H-1", Target: "agent:helper"}}
	suspended := actor("helper", "helper")
	suspended.Active = false
	for _, test := range []struct {
		name    string
		action  sallyport.Action
		actors  []*decision.Basis
		outcome sallyport.Outcome
		reasons string
	}{
		{"both may", sallyport.ModelInfer, []*decision.Basis{actor("helper", "helper")}, sallyport.Allow, "helpers.use use.readers"},
		{"all three may", sallyport.ModelInfer, []*decision.Basis{actor("helper", "helper"), actor("other", "helper")}, sallyport.Allow, "helpers.use use.readers"},
		{"the agent may not", sallyport.ModelInfer, []*decision.Basis{actor("helper")}, sallyport.Deny, "actor:agent:helper default.deny"},
		{"the second may not", sallyport.ModelInfer, []*decision.Basis{actor("helper", "helper"), actor("other")}, sallyport.Deny, "actor:agent:other default.deny"},
		{"the person may not", sallyport.ModelExport, []*decision.Basis{actor("helper", "helper")}, sallyport.Deny, "default.deny"},
		{"both want more proof", sallyport.ModelPull, []*decision.Basis{actor("helper", "helper")}, sallyport.Deny, "actor:agent:helper pull.proof"},
		{"neither may", sallyport.ModelDelete, []*decision.Basis{actor("helper")}, sallyport.Deny, "actor:agent:helper delete.never delete.paused"},
		{"the agent is forbidden until a person lifts it", sallyport.ModelEmbed, []*decision.Basis{actor("helper", "helper")}, sallyport.Hold, "actor:agent:helper helpers.no-embedding"},
		{"proof would help, and an agent has none", sallyport.ModelEvaluate, []*decision.Basis{actor("helper", "helper")}, sallyport.Deny, "actor:agent:helper helpers.proof"},
		{"the agent is on hold", sallyport.ModelInfer, []*decision.Basis{held}, sallyport.Hold, "actor:agent:helper hold:H-1"},
		{"the agent is suspended", sallyport.ModelInfer, []*decision.Basis{suspended}, sallyport.Deny, "actor:agent:helper principal.inactive"},
	} {
		d, f := through(t, e, question(test.action), basis(), test.actors...)
		got := strings.Join(d.ReasonIDs(), " ")
		if d.Outcome != test.outcome || got != test.reasons {
			t.Errorf("%s: %v because of %q, want %v because of %q", test.name, d.Outcome, d.ReasonIDs(), test.outcome, test.reasons)
		}
		if d.Outcome != sallyport.Allow && len(d.Remedies) == 0 || d.Needs != 0 {
			t.Errorf("%s: remedies %v, needs %v", test.name, d.Remedies, d.Needs)
		}
		replayed(t, e, f, d)
	}
	b := basis()
	b.Grants = []decision.Grant{grant}
	q := question(sallyport.ModelPull)
	q.Assurance = sallyport.MultiFactor
	d, _ := through(t, e, q, b, actor("helper", "helper"))
	if d.Outcome != sallyport.Allow || len(d.Obligations) != 1 || d.Obligations[0].String() != "limit-rate=9" {
		t.Errorf("under a grant of the person's: %+v", d)
	}
	granted := actor("helper", "helper")
	granted.Grants = []decision.Grant{grant}
	if d, _ := through(t, e, q, basis(), granted); d.Outcome == sallyport.Allow {
		t.Error("an agent's own grant widens what its person may do")
	}
}

// replayed decides again from the record alone.
func replayed(t testing.TB, e policy.Engine, f decision.Facts, want sallyport.Decision) {
	t.Helper()
	texts := map[string][]byte{}
	for _, b := range append([]*decision.Basis{f.Basis}, f.Acting...) {
		text, err := decision.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		texts[b.Hash()] = text
	}
	event := sallyport.Event{Type: sallyport.EventDecided, At: f.At.UnixMicro(), Action: f.Action, Facts: f.Basis.Hash(), Asked: f.Recorded()}
	written, err := event.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := sallyport.DecodeLogged(written)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decision.Again(e, read.Event, func(hash string) []byte { return texts[hash] })
	if err != nil || !decision.Same(got, want) {
		t.Errorf("%s: %+v became %+v, error %v", written, want, got, err)
	}
}

// TestID14AnAgentAloneIsDenied whatever the policies say.
func TestID14AnAgentAloneIsDenied(t *testing.T) {
	e := compile(t, agents+`@id("all") @owner("x") @requirement("T") permit(principal, action, resource);`)
	for _, a := range sallyport.Actions() {
		d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, actor("helper", "helper", "reader")), Question: question(a)})
		if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.AgentAlone}) || len(d.Remedies) != 1 {
			t.Errorf("%s: %+v", a, d)
		}
	}
}

// TestID14BasesBelongToTheirActors: bases that are missing, of somebody else, or about something else are no facts.
func TestID14BasesBelongToTheirActors(t *testing.T) {
	e := compile(t, agents)
	helper := prepare(t, e, actor("helper", "helper"))
	elsewhere := actor("helper", "helper")
	elsewhere.Resource.Version = "v1"
	raw := actor("helper", "helper")
	for name, acting := range map[string][]*decision.Basis{
		"none": nil, "too many": {helper, helper}, "somebody else's": {prepare(t, e, actor("other", "helper"))},
		"of another resource": {prepare(t, e, elsewhere)}, "not prepared": {raw}, "nothing": {nil},
	} {
		q := question(sallyport.ModelInfer)
		q.Actors = []sallyport.PrincipalID{"agent:helper"}
		d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, basis()), Question: q, Acting: acting})
		if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.FactsUnprepared}) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	for _, id := range []sallyport.PrincipalID{"", "helper", "agent:", "agent:a b", "robot:x"} {
		q := question(sallyport.ModelInfer)
		q.Actors = []sallyport.PrincipalID{id}
		odd := *helper
		odd.PrincipalID = id
		d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, basis()), Question: q, Acting: []*decision.Basis{&odd}})
		if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.QuestionInvalid}) {
			t.Errorf("actor %q: %+v", id, d)
		}
	}
}

// TestID14AddingAnActorNeverPermitsMore: what is refused without an actor is refused with one, what is permitted with
// one is permitted without, and an agent in the chain is never asked for more proof.
func TestID14AddingAnActorNeverPermitsMore(t *testing.T) {
	both := 0
	rapid.Check(t, func(t *rapid.T) {
		e := compileText(t, strings.Join(drawSet(t), ""))
		b, q := drawFacts(t)
		person, err := decision.Prepare(e, b)
		if err != nil {
			t.Fatal(err)
		}
		f := decision.Facts{Basis: person, Question: q}
		before := decision.Decide(e, f)
		for i := range rapid.IntRange(1, 3).Draw(t, "actors") {
			a := actor([]string{"one", "two", "three"}[i], rapid.SampledFrom([]string{"reader", "other", "none"}).Draw(t, "role"))
			a.Resource = b.Resource
			for k := range a.Entities {
				if a.Entities[k].UID == a.ResourceUID {
					a.Entities[k] = b.Entities[2]
				}
			}
			a.Active = rapid.IntRange(0, 9).Draw(t, "active") > 0
			p, err := decision.Prepare(e, a)
			if err != nil {
				t.Fatal(err)
			}
			f.Actors, f.Acting = append(slices.Clone(f.Actors), p.PrincipalID), append(slices.Clone(f.Acting), p)
			after := decision.Decide(e, f)
			if before.Outcome != sallyport.Allow && after.Outcome == sallyport.Allow {
				t.Fatalf("%v because of %q became allow because of %q", before.Outcome, before.ReasonIDs(), after.ReasonIDs())
			}
			if after.Outcome == sallyport.StepUp || after.Needs != 0 {
				t.Fatalf("an agent is asked for %v", after.Needs)
			}
			if after.Outcome == sallyport.Allow {
				both++
				for _, o := range before.Obligations {
					at := slices.IndexFunc(after.Obligations, func(x sallyport.Obligation) bool { return x.Kind == o.Kind })
					if at < 0 || after.Obligations[at].Value > o.Value {
						t.Fatalf("obligations %v became %v", before.Obligations, after.Obligations)
					}
				}
			}
			before = after
		}
	})
	if both == 0 {
		t.Error("no drawn question was permitted through an actor")
	}
}

// TestRecordedQuestion: what a record says is the question, whole.
func TestRecordedQuestion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := question(rapid.SampledFrom(someActions).Draw(t, "action"))
		drawPlace(t, &q)
		word := rapid.StringMatching(`[a-z]{0,8}`)
		q.Client, q.Purpose, q.Network, q.File = word.Draw(t, "client"), word.Draw(t, "purpose"), word.Draw(t, "network"), word.Draw(t, "file")
		q.Assurance = sallyport.Assurance(rapid.IntRange(0, 4).Draw(t, "assurance"))
		q.Staleness = time.Duration(rapid.IntRange(0, 9000).Draw(t, "ms")) * time.Millisecond
		q.Working, q.Country = rapid.Bool().Draw(t, "working"), rapid.SampledFrom([]string{"", "AT", "NZ"}).Draw(t, "country")
		if rapid.Bool().Draw(t, "trained") {
			q.Trained = q.At.Add(-time.Duration(rapid.IntRange(-9, 1<<28).Draw(t, "ago")) * time.Second).Truncate(time.Second)
		}
		for _, w := range []*policy.Window{&q.History.Short, &q.History.Day, &q.History.Month} {
			for _, n := range []*int64{&w.Bytes, &w.Denials, &w.Models, &w.Exports} {
				*n = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Min(0)).Draw(t, "count")
			}
		}
		if q.Action.Enters() {
			q.To = rapid.SampledFrom([]sallyport.Environment{"", sallyport.Staging, sallyport.Production}).Draw(t, "to")
		}
		q.Carries = rapid.SampledFrom([]string{"", decision.Carries(nil), decision.Carries(sallyport.ObligationKinds())}).Draw(t, "carries")
		for range rapid.IntRange(0, 3).Draw(t, "actors") {
			q.Actors = append(q.Actors, sallyport.PrincipalID("agent:a"+word.Draw(t, "actor")))
		}
		body, err := sallyport.Event{Type: sallyport.EventDecided, At: q.At.UnixMicro(), Action: q.Action, Asked: q.Recorded()}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		l, err := sallyport.DecodeLogged(body)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decision.QuestionOf(l.Event)
		if err != nil {
			t.Fatal(err)
		}
		if one, two := show(q), show(again); one != two {
			t.Fatalf("%s became %s", one, two)
		}
	})
}
