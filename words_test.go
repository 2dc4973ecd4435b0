package sallyport_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sallyport"
)

func TestActionsAreNamedGroupVerb(t *testing.T) {
	seen := map[sallyport.Action]bool{}
	for _, a := range sallyport.Actions() {
		group, verb, ok := strings.Cut(string(a), ".")
		if !ok || group == "" || verb == "" || seen[a] || !a.Valid() || a.Group() != group {
			t.Errorf("action %q", a)
		}
		seen[a] = true
	}
	for _, s := range []string{"", "model", "model.", "MODEL.PULL", "model.pull ", "model.steal", strings.Repeat("x", 10_000)} {
		if a, err := sallyport.ParseAction(s); err == nil || a != "" || len(err.Error()) > 300 {
			t.Errorf("ParseAction(%.20q) = %q, %v", s, a, err)
		}
	}
}

func TestNamesHaveOneSpelling(t *testing.T) {
	for name, ok := range map[string]bool{
		"ana": true, "a": true, "base-7b": true, "llama3.1": true, "a_b": true, "0": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, "Ana": false, "-a": false, ".a": false, "_a": false, "a b": false, "a/b": false, "a..b": false,
		"ä": false, "аna": false /* Cyrillic */, "a\u200b": false, "a\x00": false, "a\n": false, "a%2f": false,
	} {
		if err := sallyport.CheckName("test", name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

func TestPrincipalID(t *testing.T) {
	id, err := sallyport.ParsePrincipalID("ana")
	if err != nil || id != "user:ana" || id.Kind() != sallyport.User || id.Name() != "ana" {
		t.Errorf("%q, %v", id, err)
	}
	if id, err := sallyport.ParsePrincipalID("service:trainer"); err != nil || id.Kind() != sallyport.Service {
		t.Errorf("%q, %v", id, err)
	}
	for _, s := range []string{"", "user:", "group:x", "user:Ana", "user:a:b", ":a"} {
		if id, err := sallyport.ParsePrincipalID(s); err == nil {
			t.Errorf("%q is %q", s, id)
		}
	}
}

func TestRefRoundTrip(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for _, s := range []string{"acme/fraud", "acme/fraud@v3", "acme/fraud@sha256:" + digest, "dataset:acme/claims", "endpoint:acme/chat", "project:acme/risk", "org:acme", "system"} {
		r, err := sallyport.ParseRef(s)
		if err != nil || r.String() != s {
			t.Errorf("%q became %q, %v", s, r, err)
		}
	}
	if r, err := sallyport.ParseRef("model:acme/fraud"); err != nil || r.String() != "acme/fraud" {
		t.Errorf("%q, %v", r, err)
	}
	for _, s := range []string{"", "acme", "acme/", "/fraud", "acme/fraud@", "acme/fraud@a/b", "acme/fraud@sha256:00", "acme/fraud/x", "dataset:acme/claims@v1",
		"org:", "org:acme/x", "System", "acme/fraud@V3", "acme\\fraud", "acme/../x", "endpoint:acme", "project:acme/risk@x"} {
		if r, err := sallyport.ParseRef(s); err == nil {
			t.Errorf("ParseRef(%q) = %+v", s, r)
		}
	}
}

func TestCovers(t *testing.T) {
	v3 := sallyport.Resource{Kind: sallyport.VersionKind, Org: "acme", Project: "risk", Name: "fraud", Version: "v3", Digest: strings.Repeat("ab", 32), Class: sallyport.Internal}
	model := v3
	model.Kind, model.Version, model.Digest = sallyport.ModelKind, "", ""
	data := sallyport.Resource{Kind: sallyport.DatasetKind, Org: "acme", Project: "risk", Name: "fraud"}
	loose := sallyport.Resource{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud2"}
	system := sallyport.Resource{Kind: sallyport.SystemKind}
	for _, c := range []struct {
		ref  string
		x    sallyport.Resource
		want bool
	}{
		{"acme/fraud", v3, true}, {"acme/fraud", model, true}, {"acme/fraud@v3", v3, true}, {"acme/fraud@v3", model, false}, {"acme/fraud@v2", v3, false},
		{"acme/fraud@sha256:" + v3.Digest, v3, true}, {"acme/fraud@main", v3, false}, {"acme/fraud", data, false}, {"dataset:acme/fraud", data, true},
		{"dataset:acme/fraud", v3, false}, {"project:acme/risk", v3, true}, {"project:acme/risk", loose, false}, {"project:acme/fraud", v3, false},
		{"org:acme", v3, true}, {"org:acme", system, false}, {"org:other", v3, false}, {"system", system, true}, {"system", v3, false}, {"project:other/risk", v3, false},
	} {
		r, err := sallyport.ParseRef(c.ref)
		if err != nil {
			t.Fatal(err)
		}
		if r.Covers(c.x) != c.want {
			t.Errorf("%s covers %s: %t", c.ref, c.x, !c.want)
		}
	}
	if (sallyport.Ref{}).Covers(sallyport.Resource{}) && (sallyport.Ref{Kind: sallyport.OrganisationKind}).Covers(sallyport.Resource{}) {
		t.Error("an empty organisation covers something")
	}
}

func TestScopeCovers(t *testing.T) {
	x := sallyport.Resource{Kind: sallyport.VersionKind, Org: "acme", Name: "fraud", Version: "v3"}
	other := sallyport.Resource{Kind: sallyport.VersionKind, Org: "acme", Name: "base", Version: "v1"}
	for _, c := range []struct {
		scope       string
		here, there bool
	}{
		{"", false, false}, {"*", true, true}, {"model.*", true, true}, {"model.infer", true, true}, {"model.pull", false, false},
		{"model.infer@acme/fraud", true, false}, {"*@acme/fraud@v3", true, false}, {"dataset.* model.infer@org:acme", true, true}, {"model.*@project:acme/x", false, false},
	} {
		s, err := sallyport.ParseScope(c.scope)
		if err != nil {
			t.Fatal(err)
		}
		if s.Covers(sallyport.ModelInfer, x) != c.here || s.Covers(sallyport.ModelInfer, other) != c.there {
			t.Errorf("scope %q", c.scope)
		}
	}
	for _, s := range []string{" ", "model.infer ", "  ", "model", "modelx.*", "**", "model.infer@", "model.infer@x", "*@", strings.Repeat("* ", 64) + "*"} {
		if got, err := sallyport.ParseScope(s); err == nil {
			t.Errorf("ParseScope(%.20q) = %q", s, got)
		}
	}
}

// TestI09ScopeWithinNeverWidens: whatever a scope covers, every scope that it is
// within covers too.
func TestI09ScopeWithinNeverWidens(t *testing.T) {
	items := []string{"*", "model.*", "dataset.*", "model.infer", "model.pull", "dataset.read"}
	refs := []string{"", "@acme/fraud", "@acme/fraud@v3", "@org:acme", "@project:acme/risk", "@dataset:acme/claims"}
	scope := rapid.Custom(func(t *rapid.T) sallyport.Scope {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom(items).Draw(t, "item") + rapid.SampledFrom(refs).Draw(t, "ref")
		}), 0, 4).Draw(t, "items")
	})
	resources := []sallyport.Resource{
		{Kind: sallyport.VersionKind, Org: "acme", Project: "risk", Name: "fraud", Version: "v3"},
		{Kind: sallyport.VersionKind, Org: "acme", Name: "fraud", Version: "v2"}, {Kind: sallyport.DatasetKind, Org: "acme", Project: "risk", Name: "claims"},
		{Kind: sallyport.ModelKind, Org: "other", Name: "m"}, {Kind: sallyport.SystemKind},
	}
	rapid.Check(t, func(t *rapid.T) {
		child, parent := scope.Draw(t, "child"), scope.Draw(t, "parent")
		if !child.Within(parent) {
			return
		}
		for _, a := range sallyport.Actions() {
			for _, x := range resources {
				if child.Covers(a, x) && !parent.Covers(a, x) {
					t.Fatalf("%q is within %q and covers %s on %s", child, parent, a, x)
				}
			}
		}
	})
}

func TestUnclassifiedIsRestricted(t *testing.T) {
	if c, err := sallyport.ParseClass(""); err != nil || c != sallyport.Restricted {
		t.Errorf("%q, %v", c, err)
	}
	if _, err := sallyport.ParseClass("secret"); err == nil {
		t.Error("an unknown class is accepted")
	}
	if _, err := sallyport.ParseEnvironment(""); err == nil {
		t.Error("no environment is accepted")
	}
}

func TestOutcomes(t *testing.T) {
	var zero sallyport.Decision
	if zero.Outcome != sallyport.Deny {
		t.Error("the zero decision does not deny")
	}
	for o, code := range map[sallyport.Outcome]int{sallyport.Allow: 0, sallyport.Deny: 2, sallyport.StepUp: 3, sallyport.Hold: 4} {
		back, err := sallyport.ParseOutcome(o.String())
		if err != nil || back != o || o.ExitCode() != code {
			t.Errorf("%s: %v, %d", o, err, o.ExitCode())
		}
	}
	if o, err := sallyport.ParseOutcome("permit"); err == nil || o != sallyport.Deny {
		t.Error("an unknown outcome is read as something")
	}
	for a := sallyport.NoAssurance; a <= sallyport.Hardware; a++ {
		if back, err := sallyport.ParseAssurance(a.String()); err != nil || back != a {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestObligations(t *testing.T) {
	if o, err := sallyport.ParseObligation("limit-bytes=1048576"); err != nil || o.Value != 1<<20 || o.String() != "limit-bytes=1048576" {
		t.Errorf("%v, %v", o, err)
	}
	for _, s := range []string{"", "limit-bytes", "limit-bytes=0", "limit-bytes=-1", "limit-bytes=1k", "limit-bytes=99999999999999999999", "limit-tokens=5"} {
		if o, err := sallyport.ParseObligation(s); err == nil {
			t.Errorf("%q is %v", s, o)
		}
	}
}

func TestErrorsHaveTwoFaces(t *testing.T) {
	cause := errors.New("password=hunter2")
	err := fmt.Errorf("outside: %w", sallyport.Wrap("push", sallyport.Unavailable, "the store is down", cause).Because("store.down"))
	if sallyport.KindOf(err) != sallyport.Unavailable || sallyport.ReasonOf(err) != "store.down" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if s := sallyport.PublicText(err); strings.Contains(s, "hunter2") || s != "push: the store is down" {
		t.Errorf("the caller reads %q", s)
	}
	if !strings.Contains(err.Error(), "hunter2") {
		t.Error("the log does not have the cause")
	}
	if s := sallyport.PublicText(errors.New("secret detail")); strings.Contains(s, "secret") {
		t.Errorf("the caller reads %q", s)
	}
	if sallyport.KindOf(nil) != sallyport.Other || sallyport.ReasonOf(errors.New("x")) != "internal" {
		t.Error("an error that is none of ours has a kind")
	}
}

func TestEventRoundTrip(t *testing.T) {
	e := sallyport.Event{Type: sallyport.EventDecided, At: 1_700_000_000_123_456, Decision: "D-x", Who: "user:ana", Action: sallyport.ModelPull, On: "acme/fraud@v3",
		Outcome: "allow", Facts: "h", Reasons: []string{"a"}, Asked: &sallyport.Asked{Door: "hfhub", IP: "192.0.2.1", Assurance: 2}}
	body, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	l, err := sallyport.DecodeLogged([]byte(`{"log":"l","seq":7,` + string(body[1:])))
	if err != nil || l.Seq != 7 || l.Log != "l" || l.Decision != "D-x" || l.Asked.Door != "hfhub" || l.Time().UnixMicro() != e.At {
		t.Errorf("%+v, %v", l, err)
	}
	if len(body) > 250 {
		t.Errorf("a decision takes %d bytes: %s", len(body), body)
	}
}

// TestA33LogInjection: what others wrote stays one line, whatever it holds.
func TestA33LogInjection(t *testing.T) {
	for _, s := range []string{"a\r\nb", "\x1b[31mred", "a\u202eb", "a\u2028b", strings.Repeat("x", 1<<20), "\xff\xfe", "tab\t", "\x00", "\u0085"} {
		got := sallyport.OneLine(s)
		if len(got) > 100 || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0x85 || r == 0x202e || r == 0x2028 }) {
			t.Errorf("OneLine(%.20q) = %q", s, got)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"acme/fraud@v3", "dataset:acme/claims", "org:acme", "system", "a/b@sha256:" + strings.Repeat("0", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := sallyport.ParseRef(s)
		if err != nil {
			return
		}
		again, err := sallyport.ParseRef(r.String())
		if err != nil || again != r {
			t.Errorf("%q became %q became %q, %v", s, r, again, err)
		}
	})
}

func FuzzParseScope(f *testing.F) {
	f.Add("model.infer@acme/fraud dataset.*")
	f.Add("*")
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := sallyport.ParseScope(s)
		if err == nil && (scope.String() != s || !scope.Within(scope)) {
			t.Errorf("%q became %q", s, scope)
		}
	})
}
