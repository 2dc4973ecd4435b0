package decision_test

import (
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

func TestPrepareLeavesItsArgument(t *testing.T) {
	engine := compile(t, rules)
	b := basis()
	b.Grants = []decision.Grant{{ID: "g", Actions: []sallyport.Action{sallyport.ModelPull, sallyport.ModelExport},
		From: time.Now(), Until: time.Date(2026, 1, 1, 0, 0, 0, 1, time.FixedZone("far", 3600))}}
	p := prepare(t, engine, b)
	if b.Policy != "" || b.Hash() != "" || b.Entities[0].UID.Type != "User" || b.Grants[0].Actions[0] != sallyport.ModelPull {
		t.Errorf("Prepare changed its argument: %+v", b)
	}
	if p.Policy != engine.Version() || p.Entities[0].UID.Type != "Model" {
		t.Errorf("prepared %+v", p)
	}
	if got := p.Grants[0].Until; got.Location() != time.UTC || got.Nanosecond() != 0 {
		t.Errorf("a grant ends at %v: want UTC in microseconds", got)
	}
}

// TestHashCoversEverything: each part of a basis changes its hash.
func TestHashCoversEverything(t *testing.T) {
	engine := compile(t, rules)
	seen := map[string]string{}
	for name, change := range map[string]func(*decision.Basis){
		"nothing":     func(*decision.Basis) {},
		"principal":   func(b *decision.Basis) { b.Principal.ID = "bob" },
		"who":         func(b *decision.Basis) { b.PrincipalID = "user:bob" },
		"person":      func(b *decision.Basis) { b.Person = "user:bob" },
		"active":      func(b *decision.Basis) { b.Active = false },
		"class":       func(b *decision.Basis) { b.Resource.Class = sallyport.Public },
		"digest":      func(b *decision.Basis) { b.Resource.Digest = "00" },
		"environment": func(b *decision.Basis) { b.Resource.Environment = sallyport.Production },
		"resource":    func(b *decision.Basis) { b.ResourceUID.ID = "acme/other" },
		"entities":    func(b *decision.Basis) { b.Entities = b.Entities[1:] },
		"parents":     func(b *decision.Basis) { b.Entities[0].Parents = nil },
		"attributes":  func(b *decision.Basis) { b.Entities[0].Attrs["name"] = str("bob") },
		"grants":      func(b *decision.Basis) { b.Grants = []decision.Grant{{ID: "g"}} },
		"holds":       func(b *decision.Basis) { b.Holds = []decision.Hold{{ID: "h"}} },
	} {
		b := basis()
		change(b)
		h := prepare(t, engine, b).Hash()
		if other, twice := seen[h]; twice {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[h] = name
	}
}

func TestPrepareRefuses(t *testing.T) {
	engine := compile(t, rules)
	if _, err := decision.Prepare(nil, basis()); err == nil {
		t.Error("prepared without an engine")
	}
	if _, err := decision.Prepare(engine, nil); err == nil {
		t.Error("prepared nothing")
	}
	for name, change := range map[string]func(*decision.Basis){
		"another policy":              func(b *decision.Basis) { b.Policy = "sha256:0" },
		"an entity twice":             func(b *decision.Basis) { b.Entities = append(b.Entities, b.Entities[0]) },
		"an entity unlike its schema": func(b *decision.Basis) { b.Entities[0].Attrs = nil },
		"a reason that is not UTF-8":  func(b *decision.Basis) { b.Holds = []decision.Hold{{ID: "h", Why: "\xff"}} },
		"a basis too large": func(b *decision.Basis) {
			b.Holds = []decision.Hold{{ID: "h", Why: strings.Repeat("a", decision.MaxBasis)}}
		},
		"a time without JSON form": func(b *decision.Basis) {
			b.Grants = []decision.Grant{{ID: "g", From: time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)}}
		},
	} {
		b := basis()
		change(b)
		if p, err := decision.Prepare(engine, b); err == nil || p != nil {
			t.Errorf("%s: prepared", name)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	text, err := decision.Marshal(prepare(t, compile(t, rules), basis()))
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	if _, err := decision.Unmarshal(text); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing":             "",
		"null":                "null",
		"no object":           "[]",
		"a space":             " " + good,
		"a second value":      good + "{}",
		"an unknown name":     strings.Replace(good, "{", `{"x":1,`, 1),
		"a name twice":        strings.Replace(good, `"active":true`, `"active":false,"active":true`, 1),
		"another case":        strings.Replace(good, `"active"`, `"Active"`, 1),
		"another order":       strings.Replace(good, `"who":"user:ana","person":"user:ana"`, `"person":"user:ana","who":"user:ana"`, 1),
		"an escape":           strings.Replace(good, "user:ana", `\u0075ser:ana`, 1),
		"entities unsorted":   strings.Replace(good, `"entities":[{"uid":{"type":"Model"`, `"entities":[{"uid":{"type":"Zebra"`, 1),
		"too much":            good + strings.Repeat(" ", decision.MaxBasis),
		"a negative kind":     strings.Replace(good, `"k":3`, `"k":-3`, 1),
		"bytes that are text": strings.Replace(good, "user:ana", "user:\xff", 1),
	} {
		if bad == good {
			t.Fatalf("%s: the text was not changed", name)
		}
		if _, err := decision.Unmarshal([]byte(bad)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	one, two := compile(t, rules), compile(t, rules+"//")
	text, err := decision.Marshal(prepare(t, one, basis()))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := decision.Replay(two, text, question(sallyport.ModelInfer)); err == nil || d.Outcome != sallyport.Deny {
		t.Errorf("under another policy: %v, error %v", d.Outcome, err)
	}
	if d, err := decision.Replay(one, text[1:], question(sallyport.ModelInfer)); err == nil || d.Outcome != sallyport.Deny {
		t.Errorf("a broken text: %v, error %v", d.Outcome, err)
	}
}

// FuzzUnmarshal wants no panic, and of all that is read the same text again and a
// decision, whatever it is.
func FuzzUnmarshal(f *testing.F) {
	engine := compile(f, rules)
	full := basis()
	full.Grants = []decision.Grant{{ID: "g", Actions: []sallyport.Action{sallyport.ModelPull}, From: noon, Until: noon.Add(time.Hour)}}
	full.Holds = []decision.Hold{{ID: "h", Target: "session:s1", Why: "<b>"}}
	for _, b := range []*decision.Basis{basis(), full, {}, {Entities: []policy.Entity{{}}}} {
		text, err := decision.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	prepared, err := decision.Marshal(prepare(f, engine, full))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(prepared)
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := decision.Unmarshal(text)
		if err != nil {
			return
		}
		again, err := decision.Marshal(b)
		if err != nil || string(again) != string(text) {
			t.Fatalf("%q became %q, error %v", text, again, err)
		}
		d, err := decision.Replay(engine, text, question(sallyport.ModelInfer))
		if err == nil && len(d.Reasons) == 0 {
			t.Fatalf("a decision without reason: %+v", d)
		}
	})
}

func TestSame(t *testing.T) {
	d := sallyport.Decision{Outcome: sallyport.Deny, Reasons: []sallyport.Reason{{ID: "a", Text: "x"}}, Errors: []string{"e"},
		Obligations: []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 1}}, Needs: 2, Policy: "p"}
	like := d
	like.Reasons, like.Policy, like.Remedies = []sallyport.Reason{{ID: "a", Text: "y"}}, "q", []sallyport.Remedy{{}}
	if !decision.Same(d, like) {
		t.Error("texts, remedies and version are compared")
	}
	for name, change := range map[string]func(*sallyport.Decision){
		"outcome":     func(d *sallyport.Decision) { d.Outcome = sallyport.Hold },
		"reasons":     func(d *sallyport.Decision) { d.Reasons = nil },
		"errors":      func(d *sallyport.Decision) { d.Errors = nil },
		"obligations": func(d *sallyport.Decision) { d.Obligations = nil },
		"needs":       func(d *sallyport.Decision) { d.Needs = 1 },
	} {
		other := d
		change(&other)
		if decision.Same(d, other) {
			t.Errorf("another %s is the same", name)
		}
	}
}
