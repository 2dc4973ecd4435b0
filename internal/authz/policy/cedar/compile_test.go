package cedar_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/x/exp/schema"

	"sallyport"
	"sallyport/internal/authz/policy"
	own "sallyport/internal/authz/policy/cedar"
)

const head = `@id("x") @owner("sec") @requirement("AZ-1") `

func source(text string) policy.Source {
	return policy.Source{Schema: own.Schema, Policies: map[string]string{"a.cedar": text}}
}

// TestSchemaKnowsTheActions keeps the schema's actions those of the vocabulary,
// each in exactly one of the groups.
func TestSchemaKnowsTheActions(t *testing.T) {
	groups := map[string]bool{"know": true, "use": true, "possess": true, "make": true, "release": true,
		"serve": true, "data": true, "secrets": true, "jobs": true, "govern": true, "ask": true}
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(own.Schema)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for u, a := range r.Actions {
		id := string(u.ID)
		if groups[id] {
			if a.Entity.Parents.Len() != 0 || a.AppliesTo != nil {
				t.Errorf("group %s has parents or applies to something", id)
			}
			continue
		}
		got = append(got, id)
		if a.Entity.Parents.Len() != 1 || a.AppliesTo == nil {
			t.Errorf("action %s is in %d groups, want 1, and applies to %v", id, a.Entity.Parents.Len(), a.AppliesTo)
		}
		for g := range a.Entity.Parents.All() {
			if !groups[string(g.ID)] {
				t.Errorf("action %s is in %s, which is no group", id, g.ID)
			}
		}
	}
	var want []string
	for _, a := range sallyport.Actions() {
		want = append(want, string(a))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("schema has %q\nvocabulary has %q", got, want)
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"what is no policy", `permit(`, "a.cedar: "},
		{"no id", `@owner("s") @requirement("AZ-1") permit(principal, action, resource);`, "has no @id"},
		{"no owner", `@id("x") @requirement("AZ-1") permit(principal, action, resource);`, `policy "x" has no @owner`},
		{"an empty owner", `@id("x") @owner(" ") @requirement("AZ-1") permit(principal, action, resource);`, "names nobody"},
		{"no requirement", `@id("x") @owner("s") permit(principal, action, resource);`, `policy "x" has no @requirement`},
		{"an empty requirement", `@id("x") @owner("s") @requirement("AZ-1,,") permit(principal, action, resource);`, "not a list of ids"},
		{"an unknown annotation", head + `@outcom("hold") forbid(principal, action, resource);`, "unknown annotation @outcom"},
		{"an endless annotation", head + `@text("` + strings.Repeat("a", 600) + `") forbid(principal, action, resource);`, "too long"},
		{"an id in capitals", `@id("X") @owner("s") @requirement("AZ-1") permit(principal, action, resource);`, "not a policy id"},
		{"an id that is kept", `@id("default.deny") @owner("s") @requirement("AZ-1") permit(principal, action, resource);`, "kept for the decision point"},
		{"one id twice", head + `permit(principal, action, resource);` + head + `forbid(principal, action, resource);`, "is taken by a policy in a.cedar"},
		{"an unknown outcome", head + `@outcome("maybe") forbid(principal, action, resource);`, `@outcome "maybe"`},
		{"a step-up to nothing", head + `@outcome("step-up") forbid(principal, action, resource);`, "not understood"},
		{"a step-up to no level", head + `@outcome("step-up") @needs("none") forbid(principal, action, resource);`, "no level"},
		{"needs without step-up", head + `@needs("aal2") forbid(principal, action, resource);`, "not understood"},
		{"a permit with an outcome", head + `@outcome("hold") permit(principal, action, resource);`, "only a forbid"},
		{"a forbid with an obligation", head + `@obligation("limit-bytes=1") forbid(principal, action, resource);`, "only a permit"},
		{"a limit of nothing", head + `@obligation("limit-bytes=0") permit(principal, action, resource);`, "not an obligation"},
		{"an empty list of actions", head + `permit(principal, action in [], resource);`, "action in []"},
		{"an attribute that may be missing", head + `forbid(principal, action, resource) when { context.ip.isLoopback() };`, "policy `x`"},
		{"an attribute that does not exist", head + `permit(principal, action in Action::"use", resource) when { resource.secret };`, "`secret`"},
		{"an action that does not exist", head + `permit(principal, action == Action::"model.infr", resource);`, "model.infr"},
		{"a type that does not exist", head + `permit(principal is Robot, action, resource);`, "Robot"},
		{"texts compared with numbers", head + `permit(principal, action, resource) when { context.door == 1 };`, "a.cedar:1"},
		{"a template", head + `permit(principal == ?principal, action, resource);`, "a.cedar"},
		{"text that is not UTF-8", head + "permit(principal, action, resource) when { context.door == \"\xff\" };", "UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := own.Compile(source(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if k := sallyport.KindOf(err); k != sallyport.Invalid {
				t.Errorf("kind %v, want invalid", k)
			}
		})
	}
}

func TestCompileRefusesSchemas(t *testing.T) {
	for name, text := range map[string]string{
		"what is no schema":          "entity",
		"a type that does not exist": "entity User in [Nobody];",
		"text that is not UTF-8":     "// \xff",
		"too long":                   strings.Repeat("// nothing\n", own.MaxSchema/10),
	} {
		if _, err := own.Compile(policy.Source{Schema: text}); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: error %v, want one about the schema", name, err)
		}
	}
}

// TestSchemaBombs: a few hundred bytes of a schema would make more types, or more pairs of them, than there is memory.
func TestSchemaBombs(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(format, "NEXT", fmt.Sprint(i+1)), "N", fmt.Sprint(i)))
		}
		return b.String()
	}
	const use = "entity A; action a appliesTo {principal: [A], resource: [A]%s};"
	doubled := list(40, "type TN = {a: TNEXT, b: TNEXT};") + "type T40 = Long;"
	for name, text := range map[string]string{
		"types that double":               doubled + fmt.Sprintf(use, ", context: T0"),
		"types that double, in a space":   "namespace x {" + doubled + "} " + fmt.Sprintf(use, ", context: x::T0"),
		"types that double, in an entity": doubled + "entity B = {x: Set<T0>}; " + fmt.Sprintf(use, ""),
		"types that double, in tags":      doubled + "entity B tags T0; " + fmt.Sprintf(use, ""),
		"many pairs":                      list(90, "entity EN;") + "entity E90;" + "action a appliesTo {principal: [" + list(90, "EN,") + "E90], resource: [" + list(90, "EN,") + "E90]};",
		"many types":                      list(101, "entity EN;"),
		"many parents":                    list(20, "entity EN in ["+list(19, "EN,")+"E19];"),
		"many actions":                    list(501, "action aN;"),
		"many groups":                     list(60, "action gN;") + list(50, "action aN in ["+strings.TrimSuffix(list(60, "gN,"), ",")+"];"),
	} {
		if _, err := own.Compile(policy.Source{Schema: text, Policies: map[string]string{"a": head + "permit(principal, action, resource);"}}); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%s: error %v, want one of kind too large", name, err)
		}
	}
	text := list(8, "type TN = {a: TNEXT, b: TNEXT};") + "type T8 = Long;" + fmt.Sprintf(use, ", context: T0")
	mustCompile(t, policy.Source{Schema: text, Policies: map[string]string{"a": head + "permit(principal, action, resource) when { context.a.b.a.a.b.b.a.a == 1 };"}})
}

// TestPolicyBombs is the part of abuse case A-35 that compiling stops: a set that
// would cost the parser, the validator or every decision too much.
func TestPolicyBombs(t *testing.T) {
	permit := func(when string) string { return head + "permit(principal, action, resource) when { " + when + " };" }
	tests := map[string]string{
		"deep brackets":    permit(strings.Repeat("(", 500_000) + "true" + strings.Repeat(")", 500_000)),
		"deep sets":        permit(strings.Repeat("[", 100_000)),
		"a chain of ifs":   permit(strings.Repeat("if true then true else ", 10_000) + "true"),
		"a long condition": permit("true" + strings.Repeat(" && true", 100_000)),
		"a long string":    permit(`context.door == "` + strings.Repeat("a", 1<<20) + `"`),
		"a huge file":      strings.Repeat("// nothing\n", 1<<20),
		"has after has":    permit(strings.Repeat(`User::"x" has org && `, 600) + "true"),
		"a long list":      permit("[" + strings.Repeat("1, ", 5_000) + "1].contains(1)"),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := own.Compile(source(text))
			if sallyport.KindOf(err) != sallyport.TooLarge {
				t.Errorf("error %v, want one of kind too large", err)
			}
		})
	}
	t.Run("many files", func(t *testing.T) {
		files := map[string]string{}
		for i := range own.MaxFiles + 1 {
			files[fmt.Sprint(i)] = ""
		}
		if _, err := own.Compile(policy.Source{Schema: own.Schema, Policies: files}); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("error %v, want one of kind too large", err)
		}
	})
	t.Run("a deep schema", func(t *testing.T) {
		src := policy.Source{Schema: "entity A = {a: " + strings.Repeat("Set<{a:", 100_000)}
		if _, err := own.Compile(src); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("error %v, want one of kind too large", err)
		}
	})
}

// TestBudget is the part of abuse case A-35 that evaluation stops: policies that
// every question has to read, more of them than the budget, and patterns that a
// long path makes slow.
func TestBudget(t *testing.T) {
	unscoped := func(n int, condition string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "@id(\"bomb-%d\") @owner(\"s\") @requirement(\"AZ-1\")\npermit(principal, action, resource) when { %s };\n", i, condition)
		}
		return b.String()
	}
	slow := `context.file like "*` + strings.Repeat("a", 2_000) + `b"`
	tests := []struct {
		name, text string
		file       int // length of the path
		within     bool
	}{
		{"a hundred policies", unscoped(100, "context.granted"), 1024, true},
		{"a long text", unscoped(10, `context.door == "`+strings.Repeat("a", 15_000)+`"`), 1024, true},
		{"too many long texts", unscoped(75, `context.door == "`+strings.Repeat("a", 15_000)+`"`), 0, false},
		{"patterns, a short path", unscoped(30, slow), 16, true},
		{"patterns, a long path", unscoped(30, slow), 1024, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			engine := mustCompile(t, source(test.text))
			loaded, err := engine.Load(nil)
			if err != nil {
				t.Fatal(err)
			}
			q := policy.Query{Principal: policy.UID{Type: "User", ID: "ana"}, Action: policy.UID{Type: "Action", ID: "model.pull"},
				Resource: policy.UID{Type: "Model", ID: "acme/fraud"}, Context: policy.Context{File: strings.Repeat("a", test.file)}}
			r := engine.Evaluate(q, loaded)
			if over := slices.Equal(r.Errors, []string{"engine.budget"}); r.Allowed || over == test.within {
				t.Errorf("result %+v, want it within the budget: %v", r, test.within)
			}
			if len(engine.Warnings()) != len(engine.Policies()) {
				t.Errorf("%d warnings, want one for each of %d policies without scope", len(engine.Warnings()), len(engine.Policies()))
			}
		})
	}
}

func TestVersion(t *testing.T) {
	one, two := head+"permit(principal, action, resource);", strings.Replace(head, "x", "y", 1)+"permit(principal, action, resource);"
	base := policy.Source{Schema: own.Schema, Policies: map[string]string{"a": one, "b": two}}
	v := mustCompile(t, base).Version()
	if !strings.HasPrefix(v, "sha256:") || len(v) != 7+64 || v != mustCompile(t, base).Version() {
		t.Errorf("version %q is no hash, or not the same twice", v)
	}
	others := map[string]policy.Source{
		"a comment":       {Schema: own.Schema, Policies: map[string]string{"a": one + "//", "b": two}},
		"another name":    {Schema: own.Schema, Policies: map[string]string{"a": one, "c": two}},
		"texts swapped":   {Schema: own.Schema, Policies: map[string]string{"a": two, "b": one}},
		"texts joined":    {Schema: own.Schema, Policies: map[string]string{"a": one + two}},
		"a schema's line": {Schema: own.Schema + "\n", Policies: base.Policies},
	}
	for name, src := range others {
		if mustCompile(t, src).Version() == v {
			t.Errorf("%s: the same version", name)
		}
	}
}

func TestInfo(t *testing.T) {
	engine := mustCompile(t, source(`
@id("b") @owner("sec") @requirement("AZ-1, AU-2") @text("Weights need proof.") @outcome("step-up") @needs("aal2") @contact("sec@acme")
forbid(principal, action == Action::"model.pull", resource);
@id("a") @owner("ml") @requirement("AZ-5") @obligation("limit-rate=5, limit-bytes=7")
permit(principal in Role::"r", action, resource);`))
	if p := engine.Policies(); len(p) != 2 || p[0].ID != "a" || p[1].ID != "b" {
		t.Fatalf("policies %+v, want a and b", p)
	}
	b, ok := engine.Info("b")
	if !ok || b.Effect != policy.Forbid || b.Owner != "sec" || !slices.Equal(b.Requirements, []string{"AZ-1", "AU-2"}) ||
		b.Outcome != sallyport.StepUp || b.Needs != sallyport.MultiFactor || b.Annotations["contact"] != "sec@acme" || !strings.Contains(b.Text, "forbid") {
		t.Errorf("b is %+v", b)
	}
	a, _ := engine.Info("a")
	if want := []sallyport.Obligation{{Kind: sallyport.LimitRate, Value: 5}, {Kind: sallyport.LimitBytes, Value: 7}}; !slices.Equal(a.Obligations, want) || a.Effect != policy.Permit {
		t.Errorf("a is %+v, want obligations %v", a, want)
	}
	if _, ok := engine.Info("c"); ok {
		t.Error("there is a policy c")
	}
	if w := engine.Warnings(); len(w) != 1 || !strings.Contains(w[0], "policy b has no principal and no resource scope") {
		t.Errorf("warnings %q, want one about b", w)
	}
}

// fuzzSchema is small: most of the time of a fuzzed compilation would be the schema's.
const fuzzSchema = `entity Group in [Group]; entity User in [Group] = {name: String, friends: Set<User>}; entity Model = {class: String};
action use; action "model.pull" in [use] appliesTo { principal: [User], resource: [Model], context: {ip?: ipaddr, n: Long, r: {a: Bool}} };`

// FuzzCompile wants no panic, and of every set that compiles the same version and
// policies again.
func FuzzCompile(f *testing.F) {
	f.Add(head + "permit(principal, action, resource);")
	f.Add(head + `@outcome("hold") forbid(principal in Group::"g", action in [Action::"use"], resource is Model) unless { resource.class == "public" };`)
	f.Add(head + `permit(principal, action, resource) when { principal.friends.contains(principal) && context has ip && context.ip.isLoopback() };`)
	f.Add(head + `permit(principal, action == Action::"model.pull", resource) when { if context.r.a then -context.n * 3 < 2 else principal.name like "a*\*" };`)
	f.Add(`"`)
	f.Add("@id(\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		src := policy.Source{Schema: fuzzSchema, Policies: map[string]string{"a.cedar": text}}
		e, err := own.Compile(src)
		if err != nil {
			if k := sallyport.KindOf(err); k != sallyport.Invalid && k != sallyport.TooLarge {
				t.Fatalf("error %v of kind %v", err, k)
			}
			return
		}
		again := mustCompile(t, src)
		if e.Version() != again.Version() || len(e.Policies()) != len(again.Policies()) {
			t.Fatal("compiled twice, two results")
		}
	})
}
