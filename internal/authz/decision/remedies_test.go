package decision_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// A world is a policy set with questions to ask under it: those of examples/acme and as many that chance wrote, some of
// them for auditors only. What only those name is "hushed" somewhere.
type world struct {
	chance *rand.Rand
	text   map[string]string
	engine *cedar.Engine
	open   *cedar.Engine  // compiled without what is for auditors
	turns  decision.Turns // of the question that was asked last
}

// office is the calendar of half of the questions: Monday to Friday, with a day off, and nights on Thursdays.
func office(t time.Time) bool {
	switch day := t.UTC().Weekday(); {
	case day == time.Sunday || day == time.Saturday || t.Day() == 9:
		return false
	case day == time.Thursday:
		return t.UTC().Hour() < 4 || t.UTC().Hour() >= 20
	}
	return t.UTC().Hour() >= 8 && t.UTC().Hour() < 18
}

// officeTurns finds them by looking at every hour.
func officeTurns(from, to time.Time) []time.Time {
	var turns []time.Time
	for t := from.Truncate(time.Hour).Add(time.Hour); !t.After(to); t = t.Add(time.Hour) {
		if office(t) != office(t.Add(-time.Hour)) {
			turns = append(turns, t)
		}
	}
	return turns
}

// Conditions in which what could be changed stands; those of %s name something that no other does.
var (
	conditions = []string{
		"context.granted", "context.assurance >= 2", "context.assurance >= 3 && context.authAge < 900", "context.bound", "context.device.level >= 2",
		"context.device.level >= 3 && context.device.encrypted", `context.device.class == "admin"`, "context.device.postureAge < 86400",
		`context.purpose == "%s-review"`, `["%s-audit", "training"].contains(context.purpose)`, `context.network == "%s-office"`, "resource.purposes.contains(context.purpose)",
		`context.now.toTime() >= duration("6h") && context.now.toTime() < duration("20h")`, `context.now.toTime() > duration("21h30m")`,
		`context.now.offset(duration("2h")).toTime() <= duration("9h")`, `context.now >= datetime("2026-03-06T08:00:00Z")`, `context.now.toDate() == datetime("2026-03-05")`,
		"context.risk < 60", "context.risk < 60 || context.assurance >= 3 && context.authAge < 300", `resource.class == "public"`, "context.session",
		"context.working", "context.history.day.bytes < 1000", "context.training <= 365", "9223372036854775807 + (context.authAge + 1) > 0", `!context.granted`, `context.purpose == ""`,
	}
	worldActions = []sallyport.Action{sallyport.ModelInfer, sallyport.ModelPull, sallyport.ModelExport, sallyport.ModelDeploy, sallyport.ModelDelete, sallyport.ModelPush, sallyport.ModelRead}
	worldRoles   = []string{"reader", "model-user", "data-scientist", "data-engineer", "model-developer", "evaluator", "operator", "governance-reviewer", "administrator", "model-server"}
)

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{chance: rand.New(rand.NewPCG(seed, 4)), text: map[string]string{}}
	if seed%4 != 0 { // the rest have rules of chance alone
		files, err := fs.Glob(acme.Files, "policies/*.cedar")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			text, err := fs.ReadFile(acme.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			w.text[name] = string(text)
		}
	}
	var open, hushed strings.Builder
	if seed%4 == 0 {
		open.WriteString(`@id("everybody.request") @owner("x") @requirement("T") permit(principal is User, action == Action::"grant.request", resource);` + "\n")
	}
	for i := range 4 + w.chance.IntN(10) {
		open.WriteString(w.policy(fmt.Sprintf("open-%d", i), "open", ""))
	}
	for i := range w.chance.IntN(3) {
		hushed.WriteString(w.policy(fmt.Sprintf("hushed-%d", i), "hushed", `@audience("auditor")`))
	}
	w.text["open.cedar"] = open.String()
	w.open = w.compile(t)
	w.text["hushed.cedar"] = hushed.String()
	w.engine = w.compile(t)
	return w
}

func (w *world) compile(t *testing.T) *cedar.Engine {
	t.Helper()
	e, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: w.text})
	if err != nil {
		t.Fatalf("%v\n%s%s", err, w.text["open.cedar"], w.text["hushed.cedar"])
	}
	return e
}

func pick[T any](w *world, from []T) T { return from[w.chance.IntN(len(from))] }

// policy writes one that validates: where a name stands for the one or the other kind.
func (w *world) policy(id, word, note string) string {
	effect, lift := "permit", "when"
	if w.chance.IntN(2) == 0 {
		effect, lift = "forbid", pick(w, []string{"unless", "unless", "when"})
	}
	if effect == "forbid" && note == "" && w.chance.IntN(3) == 0 {
		note = pick(w, []string{`@outcome("step-up") @needs("aal2")`, `@outcome("step-up") @needs("phr")`, `@outcome("hold")`})
	}
	var parts []string
	for range 1 + w.chance.IntN(2) {
		c := pick(w, conditions)
		if strings.Contains(c, "%s") {
			c = fmt.Sprintf(c, word)
		}
		parts = append(parts, "("+c+")")
	}
	return fmt.Sprintf("@id(%q) @owner(\"x\") @requirement(\"T\") %s %s(%s, %s, resource is Model) %s { %s };\n", id, note, effect,
		pick(w, []string{"principal", "principal is User", `principal in Role::"reader"`, `principal in Role::"operator"`}),
		pick(w, []string{`action in [Action::"use", Action::"possess"]`, `action in [Action::"know", Action::"use", Action::"possess", Action::"release"]`, `action == Action::"model.pull"`, `action == Action::"model.infer"`}),
		lift, strings.Join(parts, pick(w, []string{" && ", " || "})))
}

// ask draws facts and a question.
func (w *world) ask() (*decision.Basis, decision.Question) {
	c, b := w.chance, basis()
	class := pick(w, []sallyport.Class{sallyport.Public, sallyport.Internal, sallyport.Restricted})
	b.Resource.Class = class
	model := b.Entities[2].Attrs
	model["class"] = str(string(class))
	model["purposes"] = policy.Value{Kind: policy.SetValue, Set: []policy.Value{str("training"), str("scoring")}[:c.IntN(3)]}
	b.Entities[0].Parents = nil
	for range c.IntN(3) {
		b.Entities[0].Parents = append(b.Entities[0].Parents, uid("Role", pick(w, worldRoles)))
	}
	q := question(pick(w, worldActions))
	q.At = noon.Add(time.Duration(c.IntN(24*60)) * time.Minute)
	if c.IntN(6) == 0 {
		from := q.At.Add(time.Duration(c.IntN(5)-2) * time.Hour)
		b.Grants = []decision.Grant{{ID: "G-1", Actions: []sallyport.Action{pick(w, worldActions)}, From: from, Until: from.Add(3 * time.Hour)}}
	}
	if c.IntN(12) == 0 {
		h := decision.Hold{ID: "H-1", Target: pick(w, []string{"user:ana", "session:s1", "session:s2"})}
		if c.IntN(3) > 0 {
			h.Until = q.At.Add(time.Duration(1+c.IntN(40*24)) * time.Hour)
		}
		b.Holds = []decision.Hold{h}
	}
	q.Assurance, q.AuthTime = sallyport.Assurance(c.IntN(5)), q.At.Add(-time.Duration(c.IntN(30))*time.Minute)
	q.Scope = pick(w, []sallyport.Scope{{"*"}, {"*"}, {"*"}, {"model.infer@acme/fraud"}})
	q.Purpose, q.Network = pick(w, []string{"", "", "", "training", "scoring"}), pick(w, []string{"", "", "open-office", "elsewhere"})
	q.Working, q.Bound, q.Risk = c.IntN(2) == 0, c.IntN(2) == 0, pick(w, []int{0, 0, 59, 60, 100})
	if age := c.IntN(800); age < 500 {
		q.Trained = q.At.AddDate(0, 0, -age)
	}
	if w.turns = nil; c.IntN(2) == 0 {
		q.Working, w.turns = office(q.At), officeTurns
	}
	if c.IntN(2) == 0 {
		q.Device = decision.Device{ID: "DV-1", Class: pick(w, []string{"standard", "admin"}), Level: 1 + c.IntN(3), OS: "linux 6.1", Encrypted: c.IntN(2) == 0,
			Posture: pick(w, []time.Duration{-time.Second, time.Hour, 25 * time.Hour})}
	}
	return b, q
}

// done is the question and the basis after a person has followed remedies, in their order.
func (w *world) done(t *testing.T, b *decision.Basis, q decision.Question, list []sallyport.Remedy) (*decision.Basis, decision.Question) {
	t.Helper()
	c := *b
	for _, r := range list {
		switch r.Kind {
		case sallyport.RemedyWait:
			at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(r.Text, "wait until "))
			if err != nil || !at.After(q.At) {
				t.Fatalf("nobody can %q at %s", r.Text, q.At)
			}
			if q.Device.Posture >= 0 {
				q.Device.Posture += at.Sub(q.At)
			}
			c.Holds = slices.DeleteFunc(slices.Clone(c.Holds), func(h decision.Hold) bool { return !h.Until.IsZero() && !at.Before(h.Until) })
			if q.At = at; w.turns != nil {
				q.Working = office(at)
			}
		case sallyport.RemedyScope:
			token, _, _ := strings.Cut(strings.TrimPrefix(r.Command, "sallyport token --for "), " ")
			q.Scope = sallyport.Scope{token}
		case sallyport.RemedyPurpose:
			q.Purpose = strings.TrimPrefix(r.Text, "use a token for the purpose ")
		case sallyport.RemedyNetwork:
			q.Network = strings.TrimPrefix(r.Text, "come from the network ")
		case sallyport.RemedyStepUp:
			level, err := sallyport.ParseAssurance(strings.TrimPrefix(r.Command, "sallyport login --assurance "))
			if err != nil {
				t.Fatal(err)
			}
			q.Assurance, q.AuthTime = level, q.At
		case sallyport.RemedyRequest:
			c.Grants = append(slices.Clone(c.Grants), decision.Grant{ID: "new", Actions: []sallyport.Action{q.Action}, From: q.At, Until: q.At.Add(time.Hour)})
		case sallyport.RemedyTrain:
			q.Trained = q.At
		case sallyport.RemedyBind:
			q.Bound = true
		case sallyport.RemedyDevice:
			q.Device = followed(t, q.Device, r)
		case sallyport.RemedyAction:
			q.Action = sallyport.Action(strings.TrimSuffix(strings.TrimPrefix(r.Text, "use "), " instead"))
		default:
			t.Fatalf("nobody can follow %+v", r)
		}
	}
	return &c, q
}

// subsets are all proper subsets of a list, in its order.
func subsets(list []sallyport.Remedy) [][]sallyport.Remedy {
	var all [][]sallyport.Remedy
	for set := range 1<<len(list) - 1 {
		var some []sallyport.Remedy
		for i, r := range list {
			if set&(1<<i) != 0 {
				some = append(some, r)
			}
		}
		all = append(all, some)
	}
	return all
}

// size is how many denials are drawn; SALLYPORT_DENIALS asks for more.
func size() int {
	if n, err := strconv.Atoi(os.Getenv("SALLYPORT_DENIALS")); err == nil {
		return n
	}
	return someDenials
}

// TestEveryRemedyHelpsAndNoneIsSuperfluous draws denials over random worlds. What is offered, done as it says, allows; no
// part of it alone does; and of policies for auditors nothing is seen: neither names nor what they ask, and no way out
// that would not be offered if they did not exist.
func TestEveryRemedyHelpsAndNoneIsSuperfluous(t *testing.T) {
	const each = 250
	kinds, ways, quiet, opened := map[sallyport.RemedyKind]int{}, 0, 0, 0
	denials := 0
	for seed := uint64(1); denials < size(); seed++ {
		w := newWorld(t, seed)
		for n := 0; n < each && denials < size(); n++ {
			b, q := w.ask()
			f := decision.Facts{Basis: prepare(t, w.engine, b), Question: q, Turns: w.turns}
			d := decision.Decide(w.engine, f)
			if d.Outcome == sallyport.Allow {
				continue
			}
			denials++
			without := decision.Decide(w.open, decision.Facts{Basis: prepare(t, w.open, b), Question: q, Turns: w.turns})
			for i, way := range append([][]sallyport.Remedy{d.Remedies}, d.Otherwise...) {
				if len(way) == 0 {
					t.Fatalf("an empty way out: %+v", d)
				}
				if way[0].Kind == sallyport.RemedyAsk {
					if i > 0 || len(way) > 1 {
						t.Fatalf("asking stands beside other ways: %+v", d)
					}
					quiet++
					continue
				}
				ways++
				for _, r := range way {
					kinds[r.Kind]++
					if at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(r.Text, "wait until ")); r.Kind == sallyport.RemedyWait && err == nil && w.turns != nil && office(at) != office(q.At) {
						opened++
					}
				}
				w.tryWay(t, b, q, d, way)
				if without.Outcome != sallyport.Allow && !offered(without, way) {
					t.Fatalf("seed %d: %+v would not be offered without what is for auditors, but %+v and %+v", seed, way, without.Remedies, without.Otherwise)
				}
			}
			shown, err := json.Marshal(decision.Shown(w.engine, d))
			if err != nil || strings.Contains(string(shown), "hushed") {
				t.Fatalf("seed %d: %s, error %v", seed, shown, err)
			}
		}
	}
	t.Logf("%d denials, %d ways out, %d with nobody but somebody to ask, %d waits over a turn of working hours; %v", denials, ways, quiet, opened, kinds)
	if denials < 5_000 {
		return // too few for every kind to be among them
	}
	for _, k := range []sallyport.RemedyKind{sallyport.RemedyStepUp, sallyport.RemedyRequest, sallyport.RemedyScope, sallyport.RemedyBind, sallyport.RemedyDevice,
		sallyport.RemedyPurpose, sallyport.RemedyNetwork, sallyport.RemedyWait, sallyport.RemedyAction, sallyport.RemedyTrain} {
		if kinds[k] == 0 {
			t.Errorf("no denial had the way out %q", k)
		}
	}
	if opened == 0 {
		t.Error("no way out waits for working hours")
	}
}

// tryWay does what a way says, and every part of it.
func (w *world) tryWay(t *testing.T, b *decision.Basis, q decision.Question, d sallyport.Decision, way []sallyport.Remedy) {
	t.Helper()
	answer := func(list []sallyport.Remedy) sallyport.Decision {
		b2, q2 := w.done(t, b, q, list)
		return decision.Judge(w.engine, decision.Facts{Basis: prepare(t, w.engine, b2), Question: q2})
	}
	if after := answer(way); after.Outcome != sallyport.Allow {
		t.Fatalf("%s because of %q; after %+v still %s because of %q\n%+v\n%s%s", d.Outcome, d.ReasonIDs(), way, after.Outcome, after.ReasonIDs(), q, w.text["open.cedar"], w.text["hushed.cedar"])
	}
	for _, part := range subsets(way) {
		if after := answer(part); after.Outcome == sallyport.Allow && !hushedPermit(after) {
			t.Fatalf("%s because of %q; of %+v this is enough: %+v\n%+v\n%s%s", d.Outcome, d.ReasonIDs(), way, part, q, w.text["open.cedar"], w.text["hushed.cedar"])
		}
	}
}

// hushedPermit reports whether only what is for auditors permits: a lesser way that may not be named.
func hushedPermit(d sallyport.Decision) bool {
	return !slices.ContainsFunc(d.ReasonIDs(), func(id string) bool { return !strings.HasPrefix(id, "hushed") })
}

func offered(d sallyport.Decision, way []sallyport.Remedy) bool {
	return slices.ContainsFunc(append([][]sallyport.Remedy{d.Remedies}, d.Otherwise...), func(x []sallyport.Remedy) bool { return slices.Equal(x, way) })
}

// counting is an engine that counts its evaluations.
type counting struct {
	*cedar.Engine
	asked int
}

func (c *counting) Evaluate(q policy.Query, over policy.Entities) policy.Result {
	c.asked++
	return c.Engine.Evaluate(q, over)
}

func (c *counting) Open() policy.Engine { return c }

// TestADenialIsNoAmplifier: what a search for ways out costs is bounded, whatever the policies ask and however many they
// are; and where nothing that they ask could be changed, nothing is tried.
func TestADenialIsNoAmplifier(t *testing.T) {
	bomb := `@id("use") @owner("x") @requirement("T") permit(principal, action == Action::"model.infer", resource);` + "\n"
	for i := range 60 {
		bomb += fmt.Sprintf(`@id("f%d") @owner("x") @requirement("T") @outcome("step-up") @needs("aal1") forbid(principal, action == Action::"model.infer", resource)
unless { context.purpose == "p%d" && context.network == "n%d" && context.now.toTime() > duration("%dm") && context.assurance >= 4 && context.granted && context.bound && context.device.level > 2 };`+"\n", i, i, i, i)
	}
	long := strings.Repeat(`@id("n%d") @owner("x") @requirement("T") forbid(principal, action == Action::"model.infer", resource) when { context.assurance > 9 && context.file == "`+strings.Repeat("x", 4000)+`" };`+"\n", 1)
	heavy := `@id("never") @owner("x") @requirement("T") forbid(principal, action == Action::"model.infer", resource) unless { context.granted };` + "\n"
	for i := range 200 {
		heavy += fmt.Sprintf(long, i)
	}
	for name, c := range map[string]struct {
		text        string
		least, most int // evaluations
	}{
		"a bomb":              {bomb, 10, 96 + 20},
		"a heavy set":         {heavy, 1, 12},
		"nothing to change":   {`@id("a") @owner("x") @requirement("T") permit(principal, action == Action::"model.infer", resource) when { resource.class == "public" };`, 1, 1},
		"nothing at all":      {`@id("a") @owner("x") @requirement("T") permit(principal, action == Action::"model.pull", resource);`, 1, 1},
		"never, by any means": {`@id("a") @owner("x") @requirement("T") forbid(principal, action, resource); @id("b") @owner("x") @requirement("T") permit(principal, action, resource) when { context.granted || context.assurance > 1 };`, 2, 6},
	} {
		e := &counting{Engine: compile(t, c.text)}
		f := decision.Facts{Basis: prepare(t, e, basis()), Question: question(sallyport.ModelInfer)}
		d := decision.Decide(e, f)
		if d.Outcome == sallyport.Allow || len(d.Remedies) == 0 || e.asked < c.least || e.asked > c.most {
			t.Errorf("%s: %s after %d evaluations, want %d to %d; %+v", name, d.Outcome, e.asked, c.least, c.most, d.Remedies)
		}
	}
}
