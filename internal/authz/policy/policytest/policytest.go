// Package policytest owns what every policy engine must do (the contract of policy.Engine as tests): an engine of
// another language, or one that asks somebody else, runs it over the sets that the package writes in each language. It
// leaves what is special to a language to the engine's own tests.
package policytest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// A Maker makes the engine under test with one of the sets; it fails the test where it cannot.
type Maker func(t testing.TB, s Set) policy.Engine

// Run runs the suite.
func Run(t *testing.T, make Maker) {
	for name, test := range map[string]func(*testing.T, Maker){
		"Version": version, "Policies": policies, "Load": load, "Answers": answers, "NotAQuestion": notAQuestion,
		"ForeignEntities": foreign, "Shuffled": shuffled, "Failing": failing, "AddingAForbid": adding, "Context": context,
		"SortedReasons": sorted, "Concurrency": concurrency, "MissingAncestors": missing,
	} {
		t.Run(name, func(t *testing.T) { test(t, make) })
	}
}

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

func text(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func ref(u policy.UID) policy.Value { return policy.Value{Kind: policy.EntityValue, Entity: u} }

// Entities are Ana, who reads and owns acme/open and acme/secret, Bo, who does neither, and Lea, who left; and what is acted on.
func Entities() []policy.Entity {
	user := func(name string, in ...policy.UID) policy.Entity {
		return policy.Entity{UID: uid("User", name), Parents: in, Attrs: map[string]policy.Value{"name": text(name), "person": ref(uid("User", name))}}
	}
	model := func(name, class string) policy.Entity {
		return policy.Entity{UID: uid("Model", "acme/"+name), Parents: []policy.UID{uid("Project", "acme/risk"), uid("Organisation", "acme")}, Attrs: map[string]policy.Value{
			"class": text(class), "owners": {Kind: policy.SetValue, Set: []policy.Value{ref(uid("User", "zoe")), ref(uid("User", "ana"))}}, "purposes": {Kind: policy.SetValue}}}
	}
	return []policy.Entity{
		user("ana", uid("Role", "auditor"), uid("Group", "acme/risk")), user("bo"), user("lea", uid("Role", "reader"), uid("Role", "leaver")),
		{UID: uid("Group", "acme/risk"), Parents: []policy.UID{uid("Group", "acme/staff")}}, {UID: uid("Group", "acme/staff")},
		{UID: uid("Role", "auditor"), Parents: []policy.UID{uid("Role", "reader")}}, {UID: uid("Role", "reader")}, {UID: uid("Role", "leaver")},
		{UID: uid("System", "sallyport")}, {UID: uid("Organisation", "acme")}, {UID: uid("Project", "acme/risk"), Parents: []policy.UID{uid("Organisation", "acme")}},
		model("open", "internal"), model("secret", "restricted"),
	}
}

// Query is a question that the schema knows: who asks about acme/ON, or about the system where on is "".
func Query(who, action, on string) policy.Query {
	q := policy.Query{Principal: uid("User", who), Action: uid("Action", action), Resource: uid("Model", "acme/"+on)}
	if on == "" {
		q.Resource = uid("System", "sallyport")
	}
	q.Context = policy.Context{Now: time.Unix(0, 0).UTC(), Assurance: sallyport.MultiFactor, Working: true, Device: policy.Device{Posture: policy.NoPosture}}
	return q
}

// Full is a context of which every member that Context's policies ask about is not zero.
func Full() policy.Context {
	w := policy.Window{Bytes: 2, Denials: 2, Models: 2, Exports: 2}
	return policy.Context{Now: time.Date(2026, 3, 4, 13, 5, 6, 7_000_000, time.UTC), Assurance: sallyport.Hardware, AuthAge: 2, IP: netip.MustParseAddr("192.0.2.7"),
		Door: "d", File: "f", Granted: true, Session: true, Bound: true, Client: "c", Actor: "agent:a", Purpose: "p", Network: "n", Risk: 2, Working: true, Country: "DE", To: "production", Probation: true, Training: policy.Training{Held: true, Days: 2},
		Device: policy.Device{Class: "admin", Level: 2, Posture: 2, OS: "linux", Encrypted: true, Locked: true, Patched: true}, History: policy.History{Short: w, Day: w, Month: w}}
}

func loaded(t testing.TB, e policy.Engine, list []policy.Entity) policy.Entities {
	t.Helper()
	over, err := e.Load(list)
	if err != nil {
		t.Fatal(err)
	}
	return over
}

// want compares a result.
//
// budget: a table's row, read aloud.
func want(t *testing.T, what string, got policy.Result, allowed bool, reasons, errors string) {
	t.Helper()
	if got.Allowed != allowed || strings.Join(got.Reasons, " ") != reasons || strings.Join(got.Errors, " ") != errors {
		t.Errorf("%s: allowed %v because of %q, errors %q; want %v because of %q, errors %q", what, got.Allowed, got.Reasons, got.Errors, allowed, reasons, errors)
	}
}

func version(t *testing.T, make Maker) {
	form, seen := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`), map[string]string{}
	for _, s := range Sets() {
		v := make(t, s).Version()
		if !form.MatchString(v) || v != make(t, s).Version() {
			t.Errorf("the version of %s is %q, or not the same twice", s.Name, v)
		}
		if other := seen[v]; other != "" {
			t.Errorf("%s and %s have one version", s.Name, other)
		}
		seen[v] = s.Name
	}
}

func policies(t *testing.T, make Maker) {
	e := make(t, Base())
	list := e.Policies()
	if len(list) != 6 || !slices.IsSortedFunc(list, func(a, b policy.Info) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("policies %+v", list)
	}
	for _, p := range list {
		if i, ok := e.Info(p.ID); !ok || !reflect.DeepEqual(i, p) || p.Text == "" || p.Owner != "test" || p.Annotations["id"] != p.ID {
			t.Errorf("info of %s is %+v", p.ID, i)
		}
	}
	if i, ok := e.Info("reader"); ok || i.ID != "" {
		t.Errorf("a policy that there is not: %+v", i)
	}
	proof, _ := e.Info("restricted.proof")
	take, _ := e.Info("owner.pull")
	if proof.Effect != policy.Forbid || proof.Outcome != sallyport.StepUp || proof.Needs != sallyport.MultiFactor || take.Effect != policy.Permit || len(take.Obligations) != 1 {
		t.Errorf("annotations are read as %+v and %+v", proof, take)
	}
}

func load(t *testing.T, make Maker) {
	e := make(t, Base())
	if over := loaded(t, e, Entities()); over.Len() != len(Entities()) {
		t.Errorf("%d entities of %d", over.Len(), len(Entities()))
	}
	loaded(t, e, nil)
	change := func(f func(*policy.Entity)) []policy.Entity {
		list := Entities()
		f(&list[len(list)-1])
		return list
	}
	for name, list := range map[string][]policy.Entity{
		"an unknown type":          append(Entities(), policy.Entity{UID: uid("Spaceship", "x")}),
		"an empty type":            append(Entities(), policy.Entity{UID: uid("", "x")}),
		"an action":                append(Entities(), policy.Entity{UID: uid("Action", "model.read")}),
		"an entity twice":          append(Entities(), Entities()[0]),
		"a missing attribute":      change(func(m *policy.Entity) { delete(m.Attrs, "class") }),
		"a mistyped attribute":     change(func(m *policy.Entity) { m.Attrs["class"] = policy.Value{Kind: policy.LongValue, Long: 1} }),
		"an undeclared attribute":  change(func(m *policy.Entity) { m.Attrs["colour"] = text("red") }),
		"a class of no name":       change(func(m *policy.Entity) { m.Attrs["class"] = text("Restricted") }),
		"a parent of a wrong type": change(func(m *policy.Entity) { m.Parents = []policy.UID{uid("User", "ana")} }),
		"a text that is not UTF-8": change(func(m *policy.Entity) { m.UID.ID = "a\xff" }),
		"no value":                 change(func(m *policy.Entity) { m.Attrs["class"] = policy.Value{} }),
	} {
		if over, err := e.Load(list); sallyport.KindOf(err) != sallyport.Invalid || over != nil {
			t.Errorf("%s: error %v, want one of kind invalid", name, err)
		}
	}
}

func answers(t *testing.T, make Maker) {
	e := make(t, Base())
	over := loaded(t, e, Entities())
	weak, risky := Query("ana", "model.pull", "secret"), Query("ana", "model.pull", "secret")
	weak.Context.Assurance, risky.Context.Risk = sallyport.SingleFactor, 90
	for _, x := range []struct {
		name    string
		q       policy.Query
		allowed bool
		reasons string
		decided string
	}{
		{"by a role of a role", Query("ana", "model.read", "open"), true, "reader.read", "allow"},
		{"nobody said so", Query("bo", "model.read", "open"), false, "", "deny"},
		{"about another action", Query("ana", "model.infer", "open"), false, "", "deny"},
		{"by two permits, the smaller limit", Query("ana", "model.pull", "open"), true, "owner.pull reader.pull", "allow limit-bytes=1024"},
		{"a forbid beside a permit", Query("lea", "model.read", "open"), false, "leavers.nothing", "deny"},
		{"a forbid that proof lifts", weak, false, "restricted.proof", "step-up"},
		{"a forbid that waits", risky, false, "restricted.risk", "hold"},
		{"somebody who was not loaded", Query("mo", "model.read", "open"), false, "", "deny"},
	} {
		r := e.Evaluate(x.q, over)
		want(t, x.name, r, x.allowed, x.reasons, "")
		d := decision.Combine(e, r)
		got := d.Outcome.String()
		for _, o := range d.Obligations {
			got += " " + o.String()
		}
		if got != x.decided {
			t.Errorf("%s: decided %s, want %s", x.name, got, x.decided)
		}
	}
}

// refused tells whether a result is that of a question which was not evaluated.
func refused(r policy.Result) bool {
	return !r.Allowed && len(r.Reasons) == 0 && len(r.Errors) == 1 && strings.HasPrefix(r.Errors[0], "engine.")
}

func notAQuestion(t *testing.T, make Maker) {
	e := make(t, Base())
	over := loaded(t, e, Entities())
	for name, change := range map[string]func(*policy.Query){
		"an unknown action":     func(q *policy.Query) { q.Action.ID = "model.melt" },
		"a group of actions":    func(q *policy.Query) { q.Action.ID = "know" },
		"an action of no type":  func(q *policy.Query) { q.Action.Type = "" },
		"another resource type": func(q *policy.Query) { q.Resource = uid("System", "sallyport") },
		"an unknown principal":  func(q *policy.Query) { q.Principal.Type = "Spaceship" },
		"nobody":                func(q *policy.Query) { q.Principal = policy.UID{} },
	} {
		q := Query("ana", "model.read", "open")
		change(&q)
		if r := e.Evaluate(q, over); !refused(r) || decision.Combine(e, r).Outcome != sallyport.Deny {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func foreign(t *testing.T, make Maker) {
	e, other := make(t, Base()), make(t, More())
	for name, over := range map[string]policy.Entities{"another engine's": loaded(t, other, Entities()), "none": nil, "somebody's own": own{}} {
		if r := e.Evaluate(Query("ana", "model.read", "open"), over); !refused(r) {
			t.Errorf("over %s entities: %+v", name, r)
		}
	}
}

type own struct{}

func (own) Len() int { return 0 }

// questions are made up, the same ones from the same seed.
func questions(seed uint64, n int) []policy.Query {
	r := rand.New(rand.NewPCG(seed, 1))
	var all []policy.Query
	for range n {
		q := Query([]string{"ana", "bo", "lea", "mo"}[r.IntN(4)], []string{"model.read", "model.pull", "model.infer"}[r.IntN(3)], []string{"open", "secret", "gone"}[r.IntN(3)])
		q.Context.Assurance, q.Context.Risk, q.Context.Working = sallyport.Assurance(r.IntN(5)), int64(r.IntN(101)), r.IntN(2) == 0
		all = append(all, q)
	}
	return all
}

func shuffled(t *testing.T, make Maker) {
	e := make(t, Base())
	r := rand.New(rand.NewPCG(2, 2))
	over := loaded(t, e, Entities())
	for _, q := range questions(1, 20) {
		first := e.Evaluate(q, over)
		for range 5 {
			list := Entities()
			r.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
			for i := range list {
				slices.Reverse(list[i].Parents)
			}
			again := make(t, Base())
			if got := again.Evaluate(q, loaded(t, again, list)); !reflect.DeepEqual(got, first) {
				t.Fatalf("%+v: %+v, and in another order %+v", q, first, got)
			}
		}
	}
}

// failing: a permit that fails does not permit and is told, a forbid that fails denies.
func failing(t *testing.T, make Maker) {
	e := make(t, Failing())
	over := loaded(t, e, Entities())
	for _, x := range []struct {
		action          string
		risk            int64
		allowed         bool
		reasons, errors string
		outcome         sallyport.Outcome
	}{
		{"model.read", 0, true, "plain.read shaky.read", "", sallyport.Allow},
		{"model.read", 100, true, "plain.read", "shaky.read", sallyport.Allow},
		{"model.infer", 0, true, "shaky.infer", "", sallyport.Allow},
		{"model.infer", 100, false, "", "shaky.infer", sallyport.Deny},
		{"model.pull", 0, true, "plain.pull", "", sallyport.Allow},
		{"model.pull", 100, true, "plain.pull", "shaky.forbid", sallyport.Deny},
	} {
		q := Query("ana", x.action, "open")
		q.Context.Risk = x.risk
		r := e.Evaluate(q, over)
		want(t, fmt.Sprintf("%s at risk %d", x.action, x.risk), r, x.allowed, x.reasons, x.errors)
		if d := decision.Combine(e, r); d.Outcome != x.outcome {
			t.Errorf("%s at risk %d: decided %v, want %v", x.action, x.risk, d.Outcome, x.outcome)
		}
	}
}

// adding: a forbid more never allows more.
func adding(t *testing.T, make Maker) {
	few, more := make(t, Base()), make(t, More())
	over, overMore := loaded(t, few, Entities()), loaded(t, more, Entities())
	fewer := 0
	for _, q := range questions(3, 300) {
		a, b := few.Evaluate(q, over), more.Evaluate(q, overMore)
		if b.Allowed && !a.Allowed {
			t.Errorf("%+v: denied by %q, and allowed with a forbid more by %q", q, a.Reasons, b.Reasons)
		}
		if a.Allowed && !b.Allowed {
			fewer++
		}
	}
	if fewer == 0 {
		t.Error("the forbid did nothing")
	}
}

// context: a policy reads each member of a context.
func context(t *testing.T, make Maker) {
	e := make(t, Context())
	over := loaded(t, e, Entities())
	q := Query("ana", "server.read", "")
	q.Context = policy.Context{Now: time.Unix(0, 0).UTC(), Device: policy.Device{Posture: policy.NoPosture}}
	want(t, "the zero context", e.Evaluate(q, over), false, "", "")
	q.Context = Full()
	var all []string
	for _, p := range e.Policies() {
		all = append(all, p.ID)
	}
	want(t, "a full context", e.Evaluate(q, over), true, strings.Join(all, " "), "")
}

func sorted(t *testing.T, make Maker) {
	e := make(t, Many(20))
	over := loaded(t, e, Entities())
	for _, action := range []string{"model.read", "model.pull"} {
		r := e.Evaluate(Query("bo", action, "open"), over)
		if len(r.Reasons) != 20 || !slices.IsSorted(r.Reasons) || r.Allowed != (action == "model.read") {
			t.Errorf("%s: %+v", action, r)
		}
	}
}

func concurrency(t *testing.T, make Maker) {
	e := make(t, More())
	over := loaded(t, e, Entities())
	all := questions(5, 60)
	var first []policy.Result
	for _, q := range all {
		first = append(first, e.Evaluate(q, over))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine, err := e.Load(Entities())
			if err != nil {
				t.Error(err)
				return
			}
			for i, q := range all {
				if a, b := e.Evaluate(q, over), e.Evaluate(q, mine); !reflect.DeepEqual(a, first[i]) || !reflect.DeepEqual(b, first[i]) {
					t.Errorf("%+v: alone %+v, among others %+v and %+v", q, first[i], a, b)
				}
			}
		})
	}
	wg.Wait()
}

// missing: an ancestor that was not given counts by its name.
func missing(t *testing.T, make Maker) {
	e := make(t, Base())
	list := slices.DeleteFunc(Entities(), func(x policy.Entity) bool { return x.UID == uid("Role", "reader") })
	want(t, "without the role itself", e.Evaluate(Query("ana", "model.read", "open"), loaded(t, e, list)), true, "reader.read", "")
}
