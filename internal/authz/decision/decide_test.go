package decision_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// rules is a small set with one policy for each thing a decision can say.
const rules = `
@id("ask") @owner("sec") @requirement("UX-4")
permit(principal is User, action == Action::"grant.request", resource);

@id("use.readers") @owner("ml") @requirement("AZ-5") @text("Readers may use models.")
permit(principal in Role::"reader", action in Action::"use", resource);

@id("pull.aux") @owner("ml") @requirement("AZ-8") @obligation("limit-bytes=1000, limit-rate=50")
permit(principal in Role::"reader", action == Action::"model.pullAux", resource);

@id("pull.aux-tight") @owner("ml") @requirement("AZ-8") @obligation("limit-bytes=500")
permit(principal in Role::"reader", action == Action::"model.pullAux", resource);

@id("pull.aux-open") @owner("ml") @requirement("AZ-8")
permit(principal in Role::"reader", action == Action::"model.pullAux", resource);

@id("pull.granted") @owner("sec") @requirement("AZ-15")
permit(principal, action in Action::"possess", resource) when { context.granted };

@id("pull.proof") @owner("sec") @requirement("ID-3") @outcome("step-up") @needs("aal2") @text("Weights need a second factor.")
forbid(principal, action == Action::"model.pull", resource) unless { context.assurance >= 2 };

@id("pull.fresh") @owner("sec") @requirement("ID-3") @outcome("step-up") @needs("aal1")
forbid(principal, action == Action::"model.export", resource) unless { context.authAge < 300 };

@id("train.paused") @owner("sec") @requirement("RE-1") @outcome("hold")
forbid(principal, action == Action::"model.train", resource);

@id("tune.paused") @owner("sec") @requirement("RE-1") @outcome("hold")
forbid(principal, action == Action::"model.tune", resource);

@id("tune.proof") @owner("sec") @requirement("RE-1") @outcome("step-up") @needs("aal2")
forbid(principal, action == Action::"model.tune", resource);

@id("delete.never") @owner("sec") @requirement("AZ-9") @contact("security@acme") @remedy("models are retired, not deleted")
forbid(principal, action == Action::"model.delete", resource);

@id("delete.paused") @owner("sec") @requirement("AZ-9") @outcome("hold")
forbid(principal, action == Action::"model.delete", resource);

@id("broken.permit") @owner("sec") @requirement("AZ-1")
permit(principal, action == Action::"model.sign", resource) when { context.assurance + 9223372036854775807 > 0 };

@id("broken.forbid") @owner("sec") @requirement("AZ-1")
forbid(principal, action == Action::"model.update", resource) when { context.assurance + 9223372036854775807 > 0 };

@id("update.readers") @owner("sec") @requirement("AZ-1")
permit(principal in Role::"reader", action == Action::"model.update", resource);
`

func compile(t testing.TB, text string) *cedar.Engine {
	t.Helper()
	return compileText(t, text)
}

// compileText is compile for whoever can only fail.
func compileText(t interface{ Fatal(...any) }, text string) *cedar.Engine {
	e, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"test.cedar": text}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

func str(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func ref(kind, id string) policy.Value {
	return policy.Value{Kind: policy.EntityValue, Entity: uid(kind, id)}
}

// basis is ana, a reader, before the internal model acme/fraud.
func basis() *decision.Basis {
	return &decision.Basis{
		Principal: uid("User", "ana"), PrincipalID: "user:ana", Person: "user:ana", Active: true,
		Resource:    sallyport.Resource{Kind: sallyport.ModelKind, Org: "acme", Project: "risk", Name: "fraud", Class: sallyport.Internal},
		ResourceUID: uid("Model", "acme/fraud"),
		Entities: []policy.Entity{
			{UID: uid("User", "ana"), Parents: []policy.UID{uid("Role", "reader")}, Attrs: map[string]policy.Value{"name": str("ana"), "person": ref("User", "ana")}},
			{UID: uid("Role", "reader")},
			{UID: uid("Model", "acme/fraud"), Parents: []policy.UID{uid("Project", "acme/risk")},
				Attrs: map[string]policy.Value{"class": str("internal"), "owners": {Kind: policy.SetValue, Set: []policy.Value{ref("User", "olga")}}}},
			{UID: uid("Project", "acme/risk"), Parents: []policy.UID{uid("Organisation", "acme")}},
			{UID: uid("Organisation", "acme")},
		},
	}
}

func question(a sallyport.Action) decision.Question {
	return decision.Question{Action: a, At: noon, Door: "test", IP: "127.0.0.1", Scope: sallyport.Scope{"*"}, Assurance: sallyport.SingleFactor,
		AuthTime: noon.Add(-time.Minute), Session: "s1", Family: "f1", To: sallyport.Resource{}.Toward(a)}
}

func prepare(t testing.TB, e policy.Engine, b *decision.Basis) *decision.Basis {
	t.Helper()
	p, err := decision.Prepare(e, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func kinds(d sallyport.Decision) []string {
	var list []string
	for _, r := range d.Remedies {
		list = append(list, string(r.Kind))
	}
	return list
}

func TestDecide(t *testing.T) {
	engine := compile(t, rules)
	grant := decision.Grant{ID: "g1", Actions: []sallyport.Action{sallyport.ModelPull, sallyport.ModelExport}, From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)}
	type facts = func(*decision.Basis, *decision.Question)
	tests := []struct {
		name     string
		action   sallyport.Action
		change   facts
		outcome  sallyport.Outcome
		reasons  string // joined by spaces
		remedies string
	}{
		{"a permit", sallyport.ModelInfer, nil, sallyport.Allow, "use.readers", ""},
		{"use is not possession", sallyport.ModelPull, nil, sallyport.Deny, "pull.proof", "step-up request"},
		{"proof alone does not help without a grant", sallyport.ModelPull, func(_ *decision.Basis, q *decision.Question) { q.Assurance = 2 }, sallyport.Deny, "default.deny", "request"},
		{"a grant, then proof", sallyport.ModelPull, func(b *decision.Basis, _ *decision.Question) { b.Grants = []decision.Grant{grant} }, sallyport.StepUp, "pull.proof", "step-up"},
		{"a grant and proof", sallyport.ModelPull, func(b *decision.Basis, q *decision.Question) { b.Grants = []decision.Grant{grant}; q.Assurance = 2 }, sallyport.Allow, "pull.granted", ""},
		{"a grant for another action", sallyport.ModelPullAux, func(b *decision.Basis, _ *decision.Question) {
			b.Grants = []decision.Grant{grant}
			b.Entities[0].Parents = nil
		}, sallyport.Deny, "default.deny", "request"},
		{"a grant that has not begun", sallyport.ModelPull, func(b *decision.Basis, q *decision.Question) {
			b.Grants = []decision.Grant{{ID: "g", Actions: grant.Actions, From: noon.Add(time.Microsecond), Until: noon.Add(time.Hour)}}
			q.Assurance = 2
		}, sallyport.Deny, "default.deny", "request"},
		{"a grant that ends now", sallyport.ModelPull, func(b *decision.Basis, q *decision.Question) {
			b.Grants = []decision.Grant{{ID: "g", Actions: grant.Actions, From: noon.Add(-time.Hour), Until: noon}}
			q.Assurance = 2
		}, sallyport.Deny, "default.deny", "request"},
		{"a service cannot step up", sallyport.ModelPull, func(b *decision.Basis, _ *decision.Question) {
			b.Grants = []decision.Grant{grant}
			b.PrincipalID = "service:trainer"
		}, sallyport.Deny, "pull.proof", "ask"},
		{"an old proof", sallyport.ModelExport, func(b *decision.Basis, q *decision.Question) {
			b.Grants = []decision.Grant{grant}
			q.AuthTime, q.Assurance = noon.Add(-time.Hour), 2
		}, sallyport.StepUp, "pull.fresh", "step-up"},
		{"a proof of unknown age", sallyport.ModelExport, func(b *decision.Basis, q *decision.Question) {
			b.Grants, q.AuthTime = []decision.Grant{grant}, time.Time{}
		}, sallyport.StepUp, "pull.fresh", "step-up"},
		{"a proof from the future", sallyport.ModelExport, func(b *decision.Basis, q *decision.Question) {
			b.Grants, q.AuthTime = []decision.Grant{grant}, noon.Add(time.Hour)
		}, sallyport.StepUp, "pull.fresh", "step-up"},
		{"a clock a little ahead", sallyport.ModelExport, func(b *decision.Basis, q *decision.Question) {
			b.Grants, q.AuthTime = []decision.Grant{grant}, noon.Add(time.Second)
		}, sallyport.Allow, "pull.granted", ""},
		{"a policy's hold", sallyport.ModelTrain, nil, sallyport.Hold, "train.paused", "ask"},
		{"hold before step-up", sallyport.ModelTune, nil, sallyport.Hold, "tune.paused tune.proof", "ask"},
		{"a plain forbid before hold", sallyport.ModelDelete, nil, sallyport.Deny, "delete.never delete.paused", "ask"},
		{"a permit that fails", sallyport.ModelSign, nil, sallyport.Deny, "default.deny", "ask"},
		{"a forbid that fails beside a permit", sallyport.ModelUpdate, nil, sallyport.Deny, "broken.forbid forbid.error", "ask"},

		{"an unknown action", "model.steal", nil, sallyport.Deny, "action.unknown", ""},
		{"no action", "", nil, sallyport.Deny, "action.unknown", ""},
		{"no time", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.At = time.Time{} }, sallyport.Deny, "question.invalid", ""},
		{"a level that is none", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Assurance = 5 }, sallyport.Deny, "question.invalid", ""},
		{"a negative age", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Staleness = -1 }, sallyport.Deny, "question.invalid", ""},
		{"no address", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.IP = "" }, sallyport.Allow, "use.readers", ""},
		{"what is no address", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.IP = "localhost" }, sallyport.Deny, "question.invalid", ""},
		{"an endless path", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.File = strings.Repeat("a", 2000) }, sallyport.Deny, "question.invalid", ""},
		{"a path that is not UTF-8", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.File = "\xff" }, sallyport.Deny, "question.invalid", ""},
		{"not active", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) { b.Active = false }, sallyport.Deny, "principal.inactive", "ask"},
		{"on hold", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "2", Target: "model:acme/fraud"}, {ID: "1", Target: "user:ana"}}
		}, sallyport.Hold, "hold:1 hold:2", "ask"},
		{"another session's hold", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "session:s2"}, {ID: "2", Target: "family:f2"}}
		}, sallyport.Allow, "use.readers", ""},
		{"this session's hold", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "session:s1"}}
		}, sallyport.Hold, "hold:1", "ask"},
		{"this token's hold", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "family:f1"}}
		}, sallyport.Hold, "hold:1", "ask"},
		{"a hold of a kind not known", sallyport.ModelInfer, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "device"}}
		}, sallyport.Hold, "hold:1", "ask"},
		{"a hold on the resource does not lock its lifting", sallyport.HoldLift, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "model:acme/fraud"}}
		}, sallyport.Deny, "default.deny", "ask"},
		{"a hold on the person does", sallyport.HoldLift, func(b *decision.Basis, _ *decision.Question) {
			b.Holds = []decision.Hold{{ID: "1", Target: "user:ana"}}
		}, sallyport.Hold, "hold:1", "ask"},
		{"fresh enough", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Staleness = time.Minute }, sallyport.Allow, "use.readers", ""},
		{"stale", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Staleness = time.Minute + 1 }, sallyport.Deny, "facts.stale", ""},
		{"stale without a class", sallyport.ModelInfer, func(b *decision.Basis, q *decision.Question) { b.Resource.Class, q.Staleness = "", 6*time.Second }, sallyport.Deny, "facts.stale", ""},
		{"no scope", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Scope = nil }, sallyport.Deny, "token.scope", "scope"},
		{"a scope for another model", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Scope = sallyport.Scope{"model.infer@acme/other"} }, sallyport.Deny, "token.scope", "scope"},
		{"a scope for this model", sallyport.ModelInfer, func(_ *decision.Basis, q *decision.Question) { q.Scope = sallyport.Scope{"model.infer@acme/fraud"} }, sallyport.Allow, "use.readers", ""},
		{"a scope is not all that is missing", sallyport.ModelPull, func(_ *decision.Basis, q *decision.Question) { q.Scope = nil }, sallyport.Deny, "token.scope", "scope step-up request"},
		{"a wider scope would not help", sallyport.ModelDelete, func(_ *decision.Basis, q *decision.Question) { q.Scope = nil }, sallyport.Deny, "token.scope", "ask"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, q := basis(), question(test.action)
			if test.change != nil {
				test.change(b, &q)
			}
			p := prepare(t, engine, b)
			d := decision.Decide(engine, decision.Facts{Basis: p, Question: q})
			if d.Outcome != test.outcome || strings.Join(d.ReasonIDs(), " ") != test.reasons || strings.Join(kinds(d), " ") != test.remedies {
				t.Errorf("%v because of %q, remedies %q, errors %q\nwant %v because of %q, remedies %q",
					d.Outcome, d.ReasonIDs(), kinds(d), d.Errors, test.outcome, test.reasons, test.remedies)
			}
			if d.Policy != engine.Version() {
				t.Errorf("policy %q, want the engine's version", d.Policy)
			}
			if i := slices.IndexFunc(d.Reasons, func(r sallyport.Reason) bool { return r.Text == "" && strings.Contains(r.ID, ":") }); i >= 0 {
				t.Errorf("%s says nothing to people", d.Reasons[i].ID)
			}
			checkReplay(t, engine, p, q, d)
		})
	}
}

// checkReplay decides again from the text of the basis alone.
func checkReplay(t *testing.T, engine policy.Engine, p *decision.Basis, q decision.Question, want sallyport.Decision) {
	t.Helper()
	text, err := decision.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decision.Replay(engine, text, q)
	if err != nil || !decision.Same(got, want) {
		t.Errorf("replayed %+v, error %v, want %+v", got, err, want)
	}
}

func TestDecideWithoutFacts(t *testing.T) {
	engine := compile(t, rules)
	p := prepare(t, engine, basis())
	for name, d := range map[string]sallyport.Decision{
		"nothing":             decision.Decide(nil, decision.Facts{}),
		"no engine":           decision.Decide(nil, decision.Facts{Basis: p, Question: question(sallyport.ModelInfer)}),
		"no basis":            decision.Decide(engine, decision.Facts{Question: question(sallyport.ModelInfer)}),
		"an unprepared basis": decision.Decide(engine, decision.Facts{Basis: basis(), Question: question(sallyport.ModelInfer)}),
	} {
		if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{"facts.unprepared"}) {
			t.Errorf("%s: %v because of %q", name, d.Outcome, d.ReasonIDs())
		}
	}
}

func TestDecideUnderAnotherPolicy(t *testing.T) {
	one, two := compile(t, rules), compile(t, rules+"//")
	p := prepare(t, one, basis())
	d := decision.Decide(two, decision.Facts{Basis: p, Question: question(sallyport.ModelInfer)})
	if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{"policy.version"}) {
		t.Errorf("%v because of %q", d.Outcome, d.ReasonIDs())
	}
	if _, err := decision.Prepare(two, p); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("preparing facts of another set: error %v, want a conflict", err)
	}
}

func TestErrorsAreListed(t *testing.T) {
	engine := compile(t, rules)
	p := prepare(t, engine, basis())
	for action, want := range map[sallyport.Action]string{sallyport.ModelSign: "broken.permit", sallyport.ModelUpdate: "broken.forbid"} {
		d := decision.Decide(engine, decision.Facts{Basis: p, Question: question(action)})
		if d.Outcome == sallyport.Allow || !slices.Equal(d.Errors, []string{want}) {
			t.Errorf("%s: %v with errors %q, want %s", action, d.Outcome, d.Errors, want)
		}
	}
}

// TestStrictestObligation: of each kind the smallest, and a permit without limits
// does not cancel another's.
func TestStrictestObligation(t *testing.T) {
	engine := compile(t, rules)
	d := decision.Decide(engine, decision.Facts{Basis: prepare(t, engine, basis()), Question: question(sallyport.ModelPullAux)})
	want := []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 500}, {Kind: sallyport.LimitRate, Value: 50}}
	if d.Outcome != sallyport.Allow || !slices.Equal(d.Obligations, want) || len(d.Reasons) != 3 {
		t.Errorf("%v with %v because of %q, want allow with %v", d.Outcome, d.Obligations, d.ReasonIDs(), want)
	}
}

func TestRemediesSayWhatToType(t *testing.T) {
	engine := compile(t, rules)
	b := basis()
	b.Resource.Kind, b.Resource.Version = sallyport.VersionKind, "v3"
	b.ResourceUID = uid("Version", "acme/fraud@v3")
	b.Entities = append(b.Entities, policy.Entity{UID: b.ResourceUID, Parents: []policy.UID{uid("Model", "acme/fraud")}, Attrs: map[string]policy.Value{
		"class": str("internal"), "owners": {Kind: policy.SetValue, Set: []policy.Value{ref("User", "olga")}}, "number": str("v3"), "digest": str(strings.Repeat("a", 64))}})
	q := question(sallyport.ModelPull)
	q.Scope = nil
	d := decision.Decide(engine, decision.Facts{Basis: prepare(t, engine, b), Question: q})
	var got []string
	for _, r := range d.Remedies {
		got = append(got, r.Command)
	}
	want := []string{"sallyport token --for model.pull@acme/fraud@v3", "sallyport login --assurance aal2", `sallyport request model.pull acme/fraud@v3 --for 1h --why "…"`}
	if !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
	ask := func(a sallyport.Action) string {
		d := decision.Decide(engine, decision.Facts{Basis: prepare(t, engine, basis()), Question: question(a)})
		return d.Remedies[0].Text
	}
	if got := ask(sallyport.ModelDelete); !strings.Contains(got, "models are retired, not deleted; ask security@acme") {
		t.Errorf("a forbid with a contact: %q", got)
	}
	if got := ask(sallyport.ModelRename); !strings.Contains(got, "ask user:olga") {
		t.Errorf("the owners: %q", got)
	}
}

func TestStalenessLimit(t *testing.T) {
	for class, want := range map[sallyport.Class]time.Duration{
		sallyport.Public: 10 * time.Minute, sallyport.Internal: time.Minute, sallyport.Restricted: 5 * time.Second, "": 5 * time.Second, "secret": 5 * time.Second,
	} {
		if got := decision.StalenessLimit(class); got != want {
			t.Errorf("%q: %v, want %v", class, got, want)
		}
	}
}

// TestCombineTrustsNobody: a result that does not fit its engine permits nothing.
func TestCombineTrustsNobody(t *testing.T) {
	engine := compile(t, rules)
	for _, r := range []policy.Result{
		{Allowed: true},
		{Allowed: true, Reasons: []string{"nobody"}},
		{Allowed: true, Reasons: []string{"delete.never"}},
		{Allowed: true, Reasons: []string{"use.readers", "delete.never"}},
		{Allowed: true, Reasons: []string{"use.readers"}, Errors: []string{"delete.never"}},
		{Allowed: true, Reasons: []string{"use.readers"}, Errors: []string{"engine.budget"}},
		{Reasons: []string{"use.readers"}},
	} {
		if d := decision.Combine(engine, r); d.Outcome != sallyport.Deny || len(d.Reasons) == 0 {
			t.Errorf("%+v: %v because of %q", r, d.Outcome, d.ReasonIDs())
		}
	}
	if d := decision.Combine(engine, policy.Result{Allowed: true, Reasons: []string{"use.readers"}, Errors: []string{"broken.permit"}}); d.Outcome != sallyport.Allow {
		t.Errorf("a permit that fails beside one that applies: %v", d.Outcome)
	}
}

// TestEveryReasonHasAText keeps what people read complete.
func TestEveryReasonHasAText(t *testing.T) {
	engine := compile(t, "")
	b := basis()
	b.Policy = engine.Version()
	for _, id := range []string{decision.FactsUnprepared, decision.ActionUnknown, decision.QuestionInvalid, decision.PrincipalInactive,
		decision.PolicyVersion, decision.FactsStale, decision.TokenScope, decision.ForbidError, decision.DefaultDeny, "engine.budget"} {
		d := decision.Combine(engine, policy.Result{Errors: []string{id}})
		if len(d.Reasons) != 1 || d.Reasons[0].ID != id || d.Reasons[0].Text == "" {
			t.Errorf("%s: reasons %+v, want one with a text", id, d.Reasons)
		}
		if err := policy.CheckID(id); err == nil {
			t.Errorf("a policy may call itself %s", id)
		}
	}
}

// BenchmarkDecide measures the whole decision with a prepared basis; the entities
// are those of one question, as facts gathers them.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		w := cedar.NewWorkload(n, 1_000)
		engine, err := cedar.Compile(w.Source)
		if err != nil {
			b.Fatal(err)
		}
		f := workloadFacts(b, engine, w, "u5", "bench/m0")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				decision.Decide(engine, f)
			}
			for range 2_000 {
				start := time.Now()
				decision.Decide(engine, f)
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
			if d := decision.Decide(engine, f); d.Outcome != sallyport.Allow {
				b.Errorf("%v because of %q, want allow", d.Outcome, d.ReasonIDs())
			}
		})
	}
}

// workloadFacts takes the entities of one question out of a workload.
func workloadFacts(t testing.TB, engine policy.Engine, w cedar.Workload, user, model string) decision.Facts {
	b := &decision.Basis{Principal: uid("User", user), PrincipalID: sallyport.PrincipalID("user:" + user), Person: sallyport.PrincipalID("user:" + user), Active: true,
		ResourceUID: uid("Model", model), Resource: sallyport.Resource{Kind: sallyport.ModelKind, Org: "bench", Name: "m", Class: sallyport.Internal}}
	byUID := map[policy.UID]policy.Entity{}
	for _, e := range w.Entities {
		byUID[e.UID] = e
	}
	for todo := []policy.UID{b.Principal, b.ResourceUID}; len(todo) > 0; todo = todo[1:] {
		e := byUID[todo[0]]
		b.Entities = append(b.Entities, e)
		todo = append(todo, e.Parents...)
	}
	return decision.Facts{Basis: prepare(t, engine, b), Question: decision.Question{Action: sallyport.ModelInfer, At: noon, Door: "bench", Scope: sallyport.Scope{"model.*"},
		Assurance: sallyport.MultiFactor, AuthTime: noon.Add(-time.Minute), Session: "s", Family: "f"}}
}
