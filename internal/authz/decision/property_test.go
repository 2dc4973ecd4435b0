package decision_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// The actions and conditions that random policies and questions are made of. The
// conditions grow with assurance, grants, scope, key and device, as policies do that
// follow the documentation; "fails" cannot be evaluated.
var (
	someActions = []sallyport.Action{sallyport.ModelInfer, sallyport.ModelPull, sallyport.ModelEvaluate, sallyport.ModelDeploy}
	permitWhen  = []string{"", "when { context.granted }", "when { context.assurance >= 2 }", `when { resource.class != "restricted" }`, "when { context.session && context.authAge < 600 }",
		"when { context.bound }", "when { context.device.level >= 2 && context.device.postureAge < 86400 }", "when { context.risk < 60 }", fails}
	forbidWhen = []string{"", "unless { context.granted }", "unless { context.assurance >= 2 }", `when { resource.class == "restricted" }`,
		"unless { context.bound }", `unless { context.device.class == "admin" }`, "unless { context.device.level >= 3 && context.device.encrypted }",
		"when { context.risk >= 60 && context.assurance < 3 }", fails}
)

const fails = "when { 9223372036854775807 + (context.authAge + 1) > 0 }"

func drawPolicy(t *rapid.T, id, effect string) string {
	when, notes := permitWhen, []string{"", `@obligation("limit-bytes=10")`, `@obligation("limit-bytes=7, limit-rate=3")`}
	if effect == "forbid" {
		when, notes = forbidWhen, []string{"", `@outcome("hold")`, `@outcome("step-up") @needs("aal2")`, `@outcome("step-up") @needs("aal3")`}
	}
	pick := func(name string, from []string) string { return rapid.SampledFrom(from).Draw(t, name) }
	return fmt.Sprintf("@id(%q) @owner(\"x\") @requirement(\"AZ-1\") %s\n%s(%s, %s, %s) %s;\n", id, pick("note", notes), effect,
		pick("principal", []string{"principal", `principal == User::"ana"`, `principal in Role::"reader"`, `principal in Role::"other"`}),
		pick("action", []string{`action in Action::"use"`, `action == Action::"model.pull"`, `action in [Action::"model.infer", Action::"model.deploy"]`, `action in [Action::"use", Action::"possess", Action::"release"]`}),
		pick("resource", []string{`resource is Model`, `resource is Model in Project::"acme/risk"`, `resource == Model::"acme/fraud"`}),
		pick("when", when))
}

// drawSet draws a policy set as text, one policy an element.
func drawSet(t *rapid.T) []string {
	var set []string
	for i := range rapid.IntRange(0, 8).Draw(t, "policies") {
		set = append(set, drawPolicy(t, fmt.Sprintf("r%d", i), rapid.SampledFrom([]string{"permit", "permit", "forbid"}).Draw(t, "effect")))
	}
	return set
}

// drawFacts draws facts that are not prepared yet.
func drawFacts(t *rapid.T) (*decision.Basis, decision.Question) {
	b := basis()
	b.Resource.Class = rapid.SampledFrom([]sallyport.Class{sallyport.Public, sallyport.Internal, sallyport.Restricted}).Draw(t, "class")
	b.Entities[2].Attrs["class"] = str(string(b.Resource.Class))
	if rapid.Bool().Draw(t, "no role") {
		b.Entities[0].Parents = nil
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "grants") {
		b.Grants = append(b.Grants, decision.Grant{ID: fmt.Sprint(i), Actions: []sallyport.Action{rapid.SampledFrom(someActions).Draw(t, "granted")},
			From: noon.Add(-time.Hour), Until: noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "until")) * time.Minute)})
	}
	if rapid.IntRange(0, 4).Draw(t, "hold") == 0 {
		b.Holds = []decision.Hold{{ID: "h", Target: rapid.SampledFrom([]string{"user:ana", "session:s1", "session:s2", "token:f1"}).Draw(t, "target")}}
	}
	q := question(rapid.SampledFrom(someActions).Draw(t, "action"))
	q.Assurance = sallyport.Assurance(rapid.IntRange(0, 4).Draw(t, "assurance"))
	q.AuthTime = noon.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "age")) * time.Minute)
	q.Scope = rapid.SampledFrom([]sallyport.Scope{nil, {"*"}, {"model.*"}, {"model.infer@acme/fraud"}}).Draw(t, "scope")
	q.Staleness = time.Duration(rapid.IntRange(0, 9).Draw(t, "staleness")) * time.Second
	if rapid.Bool().Draw(t, "no session") {
		q.Session = ""
	}
	drawPlace(t, &q)
	return b, q
}

// drawPlace draws the key, the device and the risk of a question.
func drawPlace(t *rapid.T, q *decision.Question) {
	q.Bound, q.Risk = rapid.Bool().Draw(t, "bound"), rapid.SampledFrom([]int{0, 0, 59, 60, 100}).Draw(t, "risk")
	if rapid.Bool().Draw(t, "no device") {
		return
	}
	q.Device = decision.Device{ID: "DV-1", Class: rapid.SampledFrom([]string{"standard", "admin"}).Draw(t, "device class"), Level: rapid.IntRange(1, 3).Draw(t, "device level"),
		Posture: rapid.SampledFrom([]time.Duration{-time.Second, 0, 24 * time.Hour}).Draw(t, "posture"), OS: "linux 6.1",
		Encrypted: rapid.Bool().Draw(t, "encrypted"), Locked: rapid.Bool().Draw(t, "locked"), Patched: rapid.Bool().Draw(t, "patched")}
}

// decide compiles, prepares and decides; the basis must not be prepared.
func decide(t *rapid.T, set []string, b *decision.Basis, q decision.Question) (sallyport.Decision, policy.Engine) {
	engine := compileText(t, strings.Join(set, ""))
	p, err := decision.Prepare(engine, b)
	if err != nil {
		t.Fatal(err)
	}
	return decision.Decide(engine, decision.Facts{Basis: p, Question: q}), engine
}

// TestAddingAForbidNeverPermits: a forbid added to any set turns no refusal into a permission.
func TestAddingAForbidNeverPermits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		before, _ := decide(t, set, b, q)
		after, _ := decide(t, append(slices.Clone(set), drawPolicy(t, "added", "forbid")), b, q)
		if before.Outcome != sallyport.Allow && after.Outcome == sallyport.Allow {
			t.Fatalf("%v because of %q became allow because of %q", before.Outcome, before.ReasonIDs(), after.ReasonIDs())
		}
	})
}

// TestAnErrorNeverPermits: what is allowed has no failing forbid, and stays
// allowed without the policies that failed.
func TestAnErrorNeverPermits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		d, engine := decide(t, set, b, q)
		if d.Outcome != sallyport.Allow {
			return
		}
		for _, id := range d.Errors {
			if i, ok := engine.Info(id); !ok || i.Effect != policy.Permit {
				t.Fatalf("allowed although %s failed", id)
			}
		}
		whole := slices.DeleteFunc(slices.Clone(set), func(p string) bool { return strings.Contains(p, fails) && strings.Contains(p, "permit(") })
		if again, _ := decide(t, whole, b, q); again.Outcome != sallyport.Allow || !slices.Equal(again.ReasonIDs(), d.ReasonIDs()) {
			t.Fatalf("allowed by %q, without the failing permits %v by %q", d.ReasonIDs(), again.Outcome, again.ReasonIDs())
		}
	})
}

// TestLessNeverPermitsMore: without grants, scope, session, role, or with weaker
// or older proof, older facts, nothing that was refused is allowed.
func TestLessNeverPermitsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		before, _ := decide(t, set, b, q)
		if before.Outcome == sallyport.Allow {
			return
		}
		less, q2 := *b, q
		switch rapid.IntRange(0, 9).Draw(t, "less") {
		case 7:
			q2.Device = decision.Device{}
		case 8:
			q2.Bound = false
		case 9:
			q2.Risk = 100
		case 0:
			less.Grants = nil
		case 1:
			q2.Scope = nil
		case 2:
			q2.Assurance = max(0, q.Assurance-1)
		case 3:
			q2.AuthTime = time.Time{}
		case 4:
			q2.Staleness += time.Second
		case 5:
			less.Active = false
		case 6:
			less.Holds = append(slices.Clone(b.Holds), decision.Hold{ID: "more", Target: "user:ana"})
		}
		if after, _ := decide(t, set, &less, q2); after.Outcome == sallyport.Allow {
			t.Fatalf("%v because of %q became allow because of %q", before.Outcome, before.ReasonIDs(), after.ReasonIDs())
		}
	})
}

// TestHoldsDominate: a hold on the person refuses whatever the policies say.
func TestHoldsDominate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		b.Holds = append(b.Holds, decision.Hold{ID: "person", Target: "user:ana"})
		if d, _ := decide(t, set, b, q); d.Outcome != sallyport.Hold || !slices.Contains(d.ReasonIDs(), "hold:person") {
			t.Fatalf("%v because of %q, want hold", d.Outcome, d.ReasonIDs())
		}
	})
}

// TestOrderDoesNotMatter: policies, entities, parents, grants in another order give
// the same decision, the same text and the same hash.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		want, _ := decide(t, set, b, q)
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		shuffled := *b
		shuffled.Entities, shuffled.Grants = slices.Clone(b.Entities), slices.Clone(b.Grants)
		chance.Shuffle(len(shuffled.Entities), func(i, k int) {
			shuffled.Entities[i], shuffled.Entities[k] = shuffled.Entities[k], shuffled.Entities[i]
		})
		slices.Reverse(shuffled.Grants)
		engine := compileText(t, strings.Join(set, ""))
		p1, err1 := decision.Prepare(engine, b)
		p2, err2 := decision.Prepare(engine, &shuffled)
		if err1 != nil || err2 != nil || p1.Hash() != p2.Hash() || len(p1.Hash()) != 43 {
			t.Fatalf("hashes %q and %q, errors %v and %v", p1.Hash(), p2.Hash(), err1, err2)
		}
		chance.Shuffle(len(set), func(i, k int) { set[i], set[k] = set[k], set[i] })
		if got, _ := decide(t, set, &shuffled, q); !decision.Same(got, want) {
			t.Fatalf("%+v became %+v", want, got)
		}
	})
}

// TestReplay is I-12: the recorded text and question give the same decision again,
// and the text reads and writes to itself.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		want, engine := decide(t, set, b, q)
		p, err := decision.Prepare(engine, b)
		if err != nil {
			t.Fatal(err)
		}
		text, err := decision.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decision.Replay(engine, text, q)
		if err != nil || !decision.Same(got, want) {
			t.Fatalf("%+v became %+v, error %v", want, got, err)
		}
		read, err := decision.Unmarshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decision.Marshal(read); err != nil || string(again) != string(text) {
			t.Fatalf("%s became %s, error %v", text, again, err)
		}
	})
}

// TestRemediesHelp: what a decision names as a way out, done together, permits.
func TestRemediesHelp(t *testing.T) {
	helped, devices := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		b, q := drawFacts(t)
		d, _ := decide(t, set, b, q)
		switch d.Outcome {
		case sallyport.Allow:
			if len(d.Remedies) > 0 || d.Needs != 0 {
				t.Fatalf("allowed, and %+v would help", d)
			}
			return
		case sallyport.StepUp:
			if d.Needs == 0 {
				t.Fatalf("step-up to no level: %+v", d)
			}
		default:
			if d.Needs != 0 {
				t.Fatalf("%v needs %v", d.Outcome, d.Needs)
			}
		}
		if len(d.Obligations) > 0 {
			t.Fatalf("refused with obligations %v", d.Obligations)
		}
		asked := false
		for _, r := range d.Remedies {
			switch r.Kind {
			case sallyport.RemedyScope:
				q.Scope = sallyport.Scope{strings.TrimPrefix(r.Command, "sallyport token --for ")}
			case sallyport.RemedyStepUp:
				level, err := sallyport.ParseAssurance(strings.TrimPrefix(r.Command, "sallyport login --assurance "))
				if err != nil {
					t.Fatal(err)
				}
				q.Assurance, q.AuthTime = level, q.At
			case sallyport.RemedyRequest:
				b.Grants = append(b.Grants, decision.Grant{ID: "new", Actions: []sallyport.Action{q.Action}, From: q.At, Until: q.At.Add(time.Hour)})
			case sallyport.RemedyBind:
				q.Bound = true
			case sallyport.RemedyDevice:
				q.Device = followed(t, q.Device, r)
				devices++
			default:
				asked = true
			}
		}
		if len(d.Remedies) == 0 || asked {
			return
		}
		helped++
		if after, _ := decide(t, set, b, q); after.Outcome != sallyport.Allow {
			t.Fatalf("%v because of %q; with %v still %v because of %q", d.Outcome, d.ReasonIDs(), d.Remedies, after.Outcome, after.ReasonIDs())
		}
	})
	if helped == 0 || devices == 0 {
		t.Errorf("%d drawn questions had a way out, %d from another device", helped, devices)
	}
}

// followed is the device after a person has done what a remedy says.
func followed(t interface{ Fatalf(string, ...any) }, d decision.Device, r sallyport.Remedy) decision.Device {
	switch {
	case r.Command == "sallyport agent" && d.ID != "":
	case r.Command == "sallyport device enroll" && strings.Contains(r.Text, "in its hardware"):
		d.ID, d.Class, d.Level = "DV-2", "standard", 3
	case r.Command == "sallyport device enroll":
		d.ID, d.Class, d.Level = "DV-2", "standard", 2
	case r.Command == "" && strings.Contains(r.Text, "class admin"):
		d.ID, d.Class, d.Level = "DV-3", "admin", 3
	default:
		t.Fatalf("nobody can follow %+v", r)
	}
	d.Posture, d.Encrypted, d.Locked, d.Patched = 0, true, true, true
	return d
}
