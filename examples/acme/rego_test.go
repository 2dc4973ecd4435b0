package acme_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/policy/table"
)

// other compiles the policies of acme in Rego.
func other(t testing.TB) policy.Engine {
	t.Helper()
	src, err := engines.Read(acme.Files, "rego")
	if err != nil {
		t.Fatal(err)
	}
	e, err := engines.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestAZ3TheSamePolicies: both sets have the same policies, with the same owners, texts, outcomes and obligations.
func TestAZ3TheSamePolicies(t *testing.T) {
	one, two := engine(t).Policies(), other(t).Policies()
	ids := func(list []policy.Info) (ids []string) {
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		return ids
	}
	if !slices.Equal(ids(one), ids(two)) {
		t.Fatalf("in Cedar %q, in Rego %q: a policy that is added in one is ported to the other", ids(one), ids(two))
	}
	for i, p := range one {
		q := two[i]
		if p.Text, q.Text = "", ""; !reflect.DeepEqual(p, q) {
			t.Errorf("in Cedar %+v, in Rego %+v", p, q)
		}
	}
}

// TestAZ3TheTables: the Rego set answers the tables of the Cedar set.
func TestAZ3TheTables(t *testing.T) {
	e := other(t)
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	rows := readRows(t, "decisions")
	for _, r := range rows {
		if d := decision.Decide(e, facts(t, r, e, w)); d.Outcome != r.Outcome || !slices.Equal(d.ReasonIDs(), r.Reasons) || len(d.Errors) > 0 {
			t.Errorf("%s: %s %s %s: %v because of %q, errors %q; want %v because of %q", r.At, r.Who, r.Action, r.Resource, d.Outcome, d.ReasonIDs(), d.Errors, r.Outcome, r.Reasons)
		}
	}
	t.Logf("%d rows", len(rows))
}

// A requester makes up questions over an organisation, the same ones from the same seed.
type requester struct {
	*rand.Rand
	cast *cast.Cast
	who  []sallyport.PrincipalID
	on   []string
}

// question is who asks what about which resource, in a context, and through whom.
func (r *requester) question() (who sallyport.PrincipalID, on string, granted bool, q decision.Question) {
	now := time.Date(2026, 3, 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000)*int(time.Millisecond), time.UTC)
	who, on = pick(r, r.who...), pick(r, r.on...)
	q = decision.Question{
		Action: pick(r, sallyport.Actions()...), At: now, Door: pick(r, "hfhub", "openai", "admin"), IP: pick(r, "", "192.0.2.7", "2001:db8::7"),
		File: pick(r, "", "model.safetensors", "config.json"), Scope: sallyport.Scope{"*"},
		Assurance: pick(r, sallyport.NoAssurance, sallyport.SingleFactor, sallyport.MultiFactor, sallyport.PhishingResistant, sallyport.Hardware),
		AuthTime:  now.Add(-time.Duration(pick(r, 0, 60, 899, 900, 3600, 28799, 28800, 90000)) * time.Second),
		Session:   pick(r, "", "s1"), Family: "f1", Client: pick(r, "", "cli"), Bound: r.IntN(2) == 0, Purpose: pick(r, "", "research"),
		Network: pick(r, "", "office", "staging"), Risk: pick(r, 0, 0, 0, 49, 50, 59, 60, 89, 90, 100), Working: r.IntN(2) == 0, Country: pick(r, "", "DE"),
		History: policy.History{Day: policy.Window{Bytes: int64(r.IntN(1 << 30)), Denials: int64(r.IntN(40)), Models: int64(r.IntN(9))}},
	}
	if q.Risk > 0 {
		q.Trained = now.Truncate(time.Second).AddDate(0, 0, -4*q.Risk)
	}
	if q.Action.Enters() {
		q.To = pick(r, "", sallyport.Development, sallyport.Staging, sallyport.Production)
	}
	if r.IntN(3) == 0 {
		q.Device = decision.Device{ID: "DV-1", Class: pick(r, "standard", "admin"), Level: 1 + r.IntN(3), Posture: time.Duration(pick(r, -1, 0, 3600, 86401, 604801)) * time.Second,
			OS: "linux 6.1", Encrypted: r.IntN(2) == 0, Locked: r.IntN(2) == 0, Patched: r.IntN(2) == 0}
	}
	if r.IntN(10) == 0 && who.Kind() != sallyport.Agent {
		q.Actors = []sallyport.PrincipalID{"agent:helper"}
	}
	return who, on, r.IntN(3) == 0, q
}

func pick[T any](r *requester, from ...T) T { return from[r.IntN(len(from))] }

// facts are those of a question, for one engine.
func (r *requester) facts(t *testing.T, e policy.Engine, who sallyport.PrincipalID, on string, granted bool, q decision.Question) decision.Facts {
	t.Helper()
	f := decision.Facts{Question: q}
	basis := func(id sallyport.PrincipalID) *decision.Basis {
		b, err := r.cast.Basis(string(id), on)
		if err != nil {
			t.Fatal(err)
		}
		if q.Door == "admin" && q.Network == "staging" { // nobody holds the emergency's role otherwise
			at := slices.IndexFunc(b.Entities, func(e policy.Entity) bool { return e.UID == b.Principal })
			b.Entities[at].Parents = append(slices.Clone(b.Entities[at].Parents), policy.UID{Type: "Role", ID: "break-glass-data"})
		}
		if granted {
			b.Grants = []decision.Grant{{ID: "G-1", Actions: []sallyport.Action{q.Action}, From: q.At.Add(-time.Hour), Until: q.At.Add(time.Hour)}}
		}
		if q.Country == "" && q.Risk%3 == 0 { // a hold was lifted of late
			b.Probation = []decision.Probation{{ID: "H-1", Target: string(id), Until: q.At.Add(time.Hour)}}
		}
		if granted && q.Purpose != "" { // and an emergency right is open
			if err := table.Given([]string{"role break-glass-data"}, b, &q); err != nil {
				t.Fatal(err)
			}
		}
		if b, err = decision.Prepare(e, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	f.Basis = basis(who)
	for _, a := range q.Actors {
		f.Acting = append(f.Acting, basis(a))
	}
	return f
}

// TestAZ3TwoEnginesDecideAlike asks both sets 5,000 made-up questions, fewer where races are looked for (SALLYPORT_REQUESTS says another number,
// SALLYPORT_SEED another seed): outcome, reasons, failed policies, obligations and the level needed are the same.
func TestAZ3TwoEnginesDecideAlike(t *testing.T) {
	n, seed := requests, uint64(1)
	if s := os.Getenv("SALLYPORT_REQUESTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("SALLYPORT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	w, err := load()
	if err != nil {
		t.Fatal(err)
	}
	one, two := engine(t), other(t)
	r := &requester{Rand: rand.New(rand.NewPCG(seed, 3)), cast: w, who: w.Principals(), on: w.Resources()}
	outcomes, reasons := map[sallyport.Outcome]int{}, map[string]int{}
	// ask asks Cedar, and the other where the answer is one that is wanted.
	ask := func(who sallyport.PrincipalID, on string, granted bool, q decision.Question, wanted func(sallyport.Decision) bool) bool {
		a := decision.Decide(one, r.facts(t, one, who, on, granted, q))
		if !wanted(a) {
			return false
		}
		b := decision.Decide(two, r.facts(t, two, who, on, granted, q))
		if !decision.Same(a, b) {
			t.Errorf("%s %s %s, granted %v, %+v:\n  Cedar %v %q %q %v %v\n  Rego  %v %q %q %v %v", who, q.Action, on, granted, q,
				a.Outcome, a.ReasonIDs(), a.Errors, a.Obligations, a.Needs, b.Outcome, b.ReasonIDs(), b.Errors, b.Obligations, b.Needs)
		}
		outcomes[a.Outcome]++
		for _, id := range a.ReasonIDs() {
			reasons[id]++
		}
		return true
	}
	asked := 0
	for ; asked < n; asked++ {
		who, on, granted, q := r.question()
		done := false
		for tries := 0; asked%4 > 0 && tries < 50 && !done; tries++ { // most questions are ones that some policy is about
			who, on = r.near()
			done = ask(who, on, granted, q, func(d sallyport.Decision) bool { return !dull(d) })
			if !done {
				_, _, granted, q = r.question()
			}
		}
		if !done {
			ask(who, on, granted, q, func(sallyport.Decision) bool { return true })
		}
	}
	for _, p := range one.Policies() { // and some question that each policy decides
		for tries := 0; n >= 5_000 && reasons[p.ID] == 0 && tries < 50_000; tries++ {
			_, _, granted, q := r.question()
			who, on := r.near()
			if ask(who, on, granted, q, func(d sallyport.Decision) bool { return slices.Contains(d.ReasonIDs(), p.ID) }) {
				asked++
			}
		}
		if n >= 5_000 && reasons[p.ID] == 0 {
			t.Errorf("policy %s was no reason for any answer", p.ID)
		}
	}
	t.Logf("%d questions: %v; reasons %v", asked, outcomes, reasons)
	for _, o := range []sallyport.Outcome{sallyport.Allow, sallyport.Deny, sallyport.StepUp, sallyport.Hold} {
		if outcomes[o] == 0 {
			t.Errorf("no answer was %v", o)
		}
	}
}

// dull tells whether no policy had a part in an answer.
func dull(d sallyport.Decision) bool {
	return slices.ContainsFunc(d.ReasonIDs(), func(id string) bool {
		return slices.Contains([]string{decision.DefaultDeny, decision.AgentAlone, decision.PrincipalInactive, "engine.request"}, id)
	})
}

// near is somebody with a role, and something below what the role is on.
func (r *requester) near() (sallyport.PrincipalID, string) {
	a := pick(r, r.cast.Assignments()...)
	var who []sallyport.PrincipalID
	for _, id := range r.who {
		if u, err := r.cast.Principal(string(id)); err == nil && id.Kind() != sallyport.Agent && slices.Contains(a.To, u) {
			who = append(who, id)
		}
	}
	if len(who) == 0 {
		who = r.who
	}
	var on []string
	for _, name := range r.on {
		if x, ok := r.cast.Resource(name); ok && a.On.Covers(x) {
			on = append(on, name)
		}
	}
	return pick(r, who...), pick(r, on...)
}

// BenchmarkEngines decides the same questions with both sets.
func BenchmarkEngines(b *testing.B) {
	w, err := load()
	if err != nil {
		b.Fatal(err)
	}
	for name, e := range map[string]policy.Engine{"cedar": engine(b), "rego": other(b)} {
		r := &requester{Rand: rand.New(rand.NewPCG(1, 3)), cast: w, who: w.Principals(), on: w.Resources()}
		type asked struct {
			q    policy.Query
			over policy.Entities
		}
		var all []asked
		for range 200 {
			who, on := r.near()
			_, _, _, q := r.question()
			basis, err := w.Basis(string(who), on)
			if err != nil {
				b.Fatal(err)
			}
			over, err := e.Load(basis.Entities)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, asked{policy.Query{Principal: basis.Principal, Action: policy.UID{Type: "Action", ID: string(q.Action)}, Resource: basis.ResourceUID,
				Context: policy.Context{Now: q.At, Assurance: q.Assurance, Risk: int64(q.Risk), Session: true}}, over})
		}
		b.Run(fmt.Sprintf("acme-%s", name), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e.Evaluate(all[i%len(all)].q, all[i%len(all)].over)
			}
		})
	}
}
